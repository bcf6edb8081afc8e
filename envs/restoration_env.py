"""The restoration environment in Gymnasium's form: a batch of one."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from data.pairs import PairSource, embedded_pairs
from envs.restoration_vec_env import MAX_STEPS, RestorationVecEnv
from tools_zoo.catalog import DEFAULT_TOOLBOX
from tools_zoo.storage import load_toolbox
from tools_zoo.toolbox import Toolbox


class RestorationEnv(gym.Env[dict[str, Any], np.int64]):
    """Restore one degraded image by choosing a tool at each step, until it is better to stop.

    ## Description
    A photo patch suffers from blur, noise and JPEG compression at once. Every action runs one
    small restoration network on the whole image; a good sequence undoes the mixture, a bad one
    makes it worse. The setting is that of RL-Restore (Yu et al., CVPR 2018).

    ## Action Space
    `Discrete(n_tools + 1)`. Action `i < n_tools` runs tool `i` of the toolbox; `n_tools` stops.

    ## Observation Space
    | Key           | Shape       | Dtype   | Min | Max     | Meaning                             |
    |---------------|-------------|---------|-----|---------|-------------------------------------|
    | `image`       | (3, 63, 63) | float32 | 0   | 1       | current RGB image                   |
    | `last_action` | ()          | int64   | 0   | n_tools | previous choice; stop after `reset` |

    ## Rewards
    PSNR gain of the step in dB, `psnr(after, gt) - psnr(before, gt)`, both at most 100 dB.
    Stopping earns 0; an episode's rewards sum to its total gain.

    ## Starting State
    A pair drawn with `np_random`; `options={"index": 7}` chooses one.

    ## Episode End
    1. Termination: the stop action (and, with `stop_when_worse`, a PSNR below the input's).
    2. Truncation: `max_steps` tools have run.

    ## Information
    `psnr` (dB) after `reset` and every step; `tool` (name), and `psnr_gain` (dB, since the start
    of the episode) after every step.

    ## Arguments
    | Name              | Type              | Default    | Meaning                            |
    |-------------------|-------------------|------------|------------------------------------|
    | `toolbox`         | Toolbox or str    | shipped    | the action space, its name or path |
    | `pairs`           | PairSource or str | "moderate" | where episodes start; a level name |
    |                   |                   |            | stands for embedded photos,        |
    |                   |                   |            | freshly degraded                   |
    | `max_steps`       | int               | 3          | tools per episode                  |
    | `stop_when_worse` | bool              | False      | see Episode End                    |
    | `render_mode`     | str or None       | None       | "rgb_array": every step side by    |
    |                   |                   |            | side, then the clean image         |

    ## Version History
    * v0: Initial version.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        toolbox: Toolbox | str = DEFAULT_TOOLBOX,
        pairs: PairSource | str = "moderate",
        *,
        max_steps: int = MAX_STEPS,
        stop_when_worse: bool = False,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in {None, "rgb_array"}:
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self.render_mode = render_mode
        self._batch = RestorationVecEnv(
            load_toolbox(toolbox) if isinstance(toolbox, str) else toolbox,
            embedded_pairs(pairs) if isinstance(pairs, str) else pairs,
            n_envs=1,
            max_steps=max_steps,
            stop_when_worse=stop_when_worse,
            auto_reset=False,
        )
        self.observation_space = self._batch.observation_space
        self.action_space: spaces.Discrete = self._batch.action_space  # type: ignore[assignment]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode on a pair drawn with `np_random`, or on ``options["index"]``."""
        super().reset(seed=seed)
        # One draw seeds the batch, so that the sequence of episodes follows from np_random alone.
        self._batch.seed(int(self.np_random.integers(2**31)))
        if options:
            self._batch.set_options(options)
        obs = self._batch.reset()
        return _first(obs), dict(self._batch.reset_infos[0])

    def step(self, action: np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Run the chosen tool, or stop."""
        obs, rewards, dones, infos = self._batch.step(np.array([action]))
        info = dict(infos[0])
        truncated = bool(info.pop("TimeLimit.truncated"))
        return _first(obs), float(rewards[0]), bool(dones[0]) and not truncated, truncated, info

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Every image of the episode so far, then the clean one, side by side."""
        return self._batch.get_images()[0] if self.render_mode else None


def _first(obs: Any) -> dict[str, Any]:
    return {"image": obs["image"][0], "last_action": np.int64(obs["last_action"][0])}
