"""The batched restoration environment: hundreds of images advanced by one call."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn
from torch import Tensor

from data.images import to_tensor
from data.metrics import batch_psnr
from data.pairs import PairSource
from envs.chain import Chain, Ended
from envs.render import side_by_side
from tools_zoo.toolbox import Toolbox

Observation = dict[str, npt.NDArray[Any]]

MAX_STEPS: Final = 3
"""Tools per episode, as in RL-Restore."""


def observation_space(num_tools: int, patch_size: int) -> spaces.Dict:
    """The current image and the previous action (``num_tools``, i.e. stop, at the start)."""
    return spaces.Dict(
        {
            "image": spaces.Box(0.0, 1.0, (3, patch_size, patch_size), np.float32),
            "last_action": spaces.Discrete(num_tools + 1),
        }
    )


class RestorationVecEnv(VecEnv):
    """Episodes of `envs.restoration_env.RestorationEnv`, many at a time.

    Tools run grouped by action, one forward pass per distinct tool. An episode that ends is reset
    in the same step (Stable-Baselines3's convention): the observation returned is the first of
    the next episode, and ``info["terminal_observation"]`` the last of the ended one.

    Args:
        toolbox: The action space.
        pairs: Where episodes start.
        n_envs: Images advanced per call.
        max_steps: Tools per episode.
        stop_when_worse: End an episode (terminated) when its PSNR falls below that of the input;
            for training, as in RL-Restore.
        auto_reset: Reset an ended episode in the same step; without it the caller resets.
        seed: Of the draws of pairs.
        device: Where the tools run.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "autoreset_mode": "SameStep"}  # noqa: RUF012

    def __init__(
        self,
        toolbox: Toolbox,
        pairs: PairSource,
        n_envs: int,
        *,
        max_steps: int = MAX_STEPS,
        stop_when_worse: bool = False,
        auto_reset: bool = True,
        seed: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.toolbox = toolbox.to(device)
        self.max_steps = max_steps
        self.render_mode = "rgb_array"
        self._pairs = pairs
        self._device = torch.device(device)
        self._stop_when_worse = stop_when_worse
        self._auto_reset = auto_reset
        self._rng = np.random.default_rng(seed)
        patch_size = pairs.pairs(np.zeros(1, np.int64), np.random.default_rng(0))[0].shape[1]
        super().__init__(
            n_envs,
            observation_space(len(toolbox), patch_size),
            spaces.Discrete(len(toolbox) + 1),
        )
        self.render_mode = "rgb_array"
        self._actions = torch.full((n_envs,), toolbox.stop)
        self.reset()

    # What the environment is -------------------------------------------------------------------

    @property
    def psnr(self) -> Tensor:
        """PSNR of the current images in dB, (n_envs,)."""
        return self._psnr

    @property
    def images(self) -> Tensor:
        """Current images, (n_envs, 3, P, P) in [0, 1]."""
        return self._chain.images

    @property
    def num_steps(self) -> Tensor:
        """Tools run so far in each episode, (n_envs,)."""
        return self._chain.num_steps

    def observe(self) -> Observation:
        """The current observation of every episode."""
        return {
            "image": self._chain.images.cpu().numpy(),
            "last_action": self._chain.last_action.numpy().copy(),
        }

    def outcomes(self) -> tuple[Tensor, Tensor]:
        """What every tool would do now: a look ahead that only a simulator can offer.

        Returns:
            Restored images (n_tools, n_envs, 3, P, P), clipped to [0, 1], and the PSNR gains of
            each, (n_tools, n_envs) in dB.
        """
        with torch.inference_mode():
            restored = torch.stack([tool(self._chain.images) for tool in self.toolbox])
            restored = restored.clamp_(0.0, 1.0)
            gains = [batch_psnr(images, self._gt) - self._psnr.to(images) for images in restored]
        return restored.clone(), torch.stack(gains).cpu()

    # The VecEnv interface ----------------------------------------------------------------------

    def reset(self) -> Observation:
        """Start a new episode everywhere; a seed given by `seed` takes effect here."""
        if self._seeds[0] is not None:
            self._rng = np.random.default_rng(self._seeds[0])
        indices = [options.get("index") for options in self._options]
        self._reset_seeds()
        self._reset_options()
        lq, self._gt = self._draw(indices)
        self._chain = Chain(lq, stop=self.toolbox.stop, max_steps=self.max_steps, apply=self._apply)
        self._psnr = batch_psnr(lq, self._gt).cpu()
        self._first_psnr = self._psnr.clone()
        self._frames = [[image] for image in lq]
        self.reset_infos = [{"psnr": float(value)} for value in self._psnr]
        return self.observe()

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Take note of the actions, (n_envs,)."""
        self._actions = torch.as_tensor(np.asarray(actions), dtype=torch.int64)

    def step_wait(self) -> VecEnvStepReturn:
        """Advance every episode by the noted actions."""
        ended = self._chain.advance(self._actions)
        psnr = batch_psnr(self._chain.images, self._gt).cpu()
        # An image that was not touched scores the same to the last bit.
        psnr = torch.where(ended.terminated, self._psnr, psnr)
        rewards = psnr - self._psnr
        self._psnr = psnr
        if self._stop_when_worse:
            worse = psnr < self._first_psnr
            ended = Ended(ended.terminated | worse, ended.truncated & ~worse)
        for frames, image in zip(self._frames, self._chain.images, strict=True):
            frames.append(image)
        infos = self._infos(ended)
        rows = torch.nonzero(ended.done).flatten()
        if self._auto_reset and len(rows):
            self._restart(rows, infos)
        return self.observe(), rewards.numpy(), ended.done.numpy(), infos

    def close(self) -> None:
        """Nothing to release."""

    def get_images(self) -> Sequence[npt.NDArray[np.uint8] | None]:
        """Each episode's images so far, then the clean one, side by side: uint8 (H, W, 3)."""
        return [
            side_by_side([*frames, gt]) for frames, gt in zip(self._frames, self._gt, strict=True)
        ]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The same attribute for each of the chosen episodes."""
        value = getattr(self, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute, which all episodes share."""
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method once and hand its result to each of the chosen episodes."""
        result = getattr(self, method_name)(*args, **kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """No wrapper is ever in between."""
        return [False for _ in self._get_indices(indices)]

    # Private -----------------------------------------------------------------------------------

    def _apply(self, images: Tensor, actions: Tensor) -> Tensor:
        return self.toolbox.restore(images, actions)

    def _draw(self, indices: Sequence[int | None]) -> tuple[Tensor, Tensor]:
        drawn = self._rng.integers(len(self._pairs), size=len(indices))
        for row, index in enumerate(indices):
            if index is not None:
                drawn[row] = index
        lq, gt = self._pairs.pairs(drawn, self._rng)
        return to_tensor(lq).to(self._device), to_tensor(gt).to(self._device)

    def _restart(self, rows: Tensor, infos: list[dict[str, Any]]) -> None:
        last = self._chain.images.cpu().numpy().copy()  # `restart` overwrites the rows
        for row in rows.tolist():
            infos[row]["terminal_observation"] = {
                "image": last[row],
                "last_action": int(self._chain.last_action[row]),
            }
        lq, gt = self._draw([None] * len(rows))
        self._chain.restart(rows, lq)
        self._gt[rows] = gt
        fresh = batch_psnr(lq, gt).cpu()
        self._psnr = self._psnr.clone()
        self._psnr[rows] = fresh
        self._first_psnr[rows] = fresh
        for row, image in zip(rows.tolist(), lq, strict=True):
            self._frames[row] = [image]
            self.reset_infos[row] = {"psnr": float(self._psnr[row])}

    def _infos(self, ended: Ended) -> list[dict[str, Any]]:
        columns = zip(
            self._actions.tolist(),
            self._psnr.tolist(),
            (self._psnr - self._first_psnr).tolist(),
            ended.truncated.tolist(),
            strict=True,
        )
        return [
            {
                "tool": self.toolbox.action_names[action],
                "psnr": psnr,
                "psnr_gain": gain,
                "TimeLimit.truncated": truncated,
            }
            for action, psnr, gain, truncated in columns
        ]
