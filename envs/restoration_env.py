"""The restoration environment in Gymnasium's form: a batch of one."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces

from restoration_toolchain.data.patches.pairs import PairSource, embedded_pairs
from restoration_toolchain.envs.chain import MAX_STEPS
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv
from restoration_toolchain.envs.reward import Reward, make_reward
from restoration_toolchain.envs.task import Task, default_task_toolbox, task_scale
from restoration_toolchain.tools_zoo.storage import load_toolbox
from restoration_toolchain.tools_zoo.toolbox import Toolbox


class RestorationEnv(gym.Env[dict[str, Any], np.int64]):
    """Restore one degraded image by choosing a tool at each step, until it is better to stop.

    ## Description
    A photo patch suffers from blur, noise and JPEG compression at once. Every action runs one
    small restoration network on the whole image; a good sequence undoes the mixture, a bad one
    makes it worse. The setting is that of RL-Restore (Yu et al., CVPR 2018).

    With `task="real-sr"` the clean photo is larger, and tools that enlarge may be used, once in an
    episode; other tools work before and after. Until then, the bicubic enlargement is what is
    scored.

    ## Action Space
    `Discrete(n_tools + 1)`. Action `i < n_tools` runs tool `i` of the toolbox; `n_tools` stops.

    ## Observation Space
    | Key           | Shape       | Dtype   | Min | Max     | Meaning                             |
    |---------------|-------------|---------|-----|---------|-------------------------------------|
    | `image`       | (3, 63, 63) | float32 | 0   | 1       | current RGB image                   |
    | `last_action` | ()          | int64   | 0   | n_tools | previous choice; stop after `reset` |

    The side of the image is that of the patches: 63 for the embedded ones, 40 before enlargement.
    Of a larger image the middle is seen. If a tool of the toolbox enlarges, there is a third entry,
    `action_mask`, `MultiBinary(n_tools + 1)`: 0 for an action that would leave the image as it is,
    because it was enlarged already, or because the task is not to enlarge it.

    ## Rewards
    PSNR gain of the step in dB, `psnr(after, gt) - psnr(before, gt)`, both at most 100 dB; or the
    weighted sum of that, of the fall in distance of features, and of the rise of SFD-IQA, a score
    without a reference (`envs.reward`). Stopping earns 0; an episode's rewards sum to its total
    gain.

    ## Starting State
    A pair drawn with `np_random`; `options={"index": 7}` chooses one.

    ## Episode End
    1. Termination: the stop action (and, with `stop_when_worse`, a score below the input's).
    2. Truncation: `max_steps` tools have run.

    ## Information
    `psnr` (dB) after `reset` and every step; `tool` (name), and `psnr_gain` (dB, since the start
    of the episode) after every step. With a perceptual reward also `distance`, of features; with
    one that weighs SFD-IQA also `quality`.

    ## Arguments
    | Name              | Type              | Default    | Meaning                            |
    |-------------------|-------------------|------------|------------------------------------|
    | `toolbox`         | Toolbox or str    | by task    | the action space, its name or path |
    | `pairs`           | PairSource or str | "moderate" | where episodes start; a level name |
    |                   |                   |            | stands for embedded photos,        |
    |                   |                   |            | freshly degraded                   |
    | `task`            | str               | "restore"  | or "real-sr"                       |
    | `reward`          | Reward or str     | "psnr"     | or "perceptual", "mixed"           |
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
        toolbox: Toolbox | str | None = None,
        pairs: PairSource | str = "moderate",
        *,
        task: Task = "restore",
        reward: Reward | str = "psnr",
        max_steps: int = MAX_STEPS,
        stop_when_worse: bool = False,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in {None, "rgb_array"}:
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self.render_mode = render_mode
        if toolbox is None:
            toolbox = default_task_toolbox(task)
        if isinstance(toolbox, str):
            toolbox = load_toolbox(toolbox)
        scale = task_scale(task, toolbox)
        if isinstance(pairs, str):
            pairs = embedded_pairs(pairs, scale=scale)
        self._batch = RestorationVecEnv(
            toolbox,
            pairs,
            n_envs=1,
            scale=scale,
            reward=make_reward(reward) if isinstance(reward, str) else reward,
            max_steps=max_steps,
            stop_when_worse=stop_when_worse,
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
        rewards, ended, (info,) = self._batch.play_on(torch.tensor([int(action)]))
        del info["TimeLimit.truncated"]  # a convention of batches
        obs = _first(self._batch.observe())
        return obs, float(rewards[0]), bool(ended.terminated[0]), bool(ended.truncated[0]), info

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Every image of the episode so far, then the clean one, side by side."""
        return self._batch.get_images()[0] if self.render_mode else None


def _first(obs: Any) -> dict[str, Any]:
    first = {key: value[0] for key, value in obs.items()}
    return {**first, "last_action": np.int64(first["last_action"])}
