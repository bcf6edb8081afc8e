"""The batched restoration environment: hundreds of images advanced by one call."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn
from torch import Tensor

from restoration_toolchain.data.errors import ImageFormatError, ToolchainError
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.patches.pairs import PairSource
from restoration_toolchain.envs.chain import MAX_STEPS, Chain, Ended
from restoration_toolchain.envs.render import side_by_side
from restoration_toolchain.envs.reward import PSNR, Judge, Reward, Scores
from restoration_toolchain.tools_zoo.precision import Precision, computing
from restoration_toolchain.tools_zoo.toolbox import Toolbox

Observation = dict[str, npt.NDArray[Any]]


class RestorationVecEnv(VecEnv):
    """Episodes of `envs.restoration_env.RestorationEnv`, many at a time.

    Tools run grouped by action, one forward pass per distinct tool. An episode that ends is reset
    in the same step (Stable-Baselines3's convention): the observation returned is the first of
    the next episode, and ``info["terminal_observation"]`` the last of the ended one.

    Args:
        toolbox: The action space.
        pairs: Pairs that episodes start from; their clean images are ``scale`` times as large.
        n_envs: Number of images advanced per call.
        scale: Side of a result over side of an image; 1 keeps the size.
        reward: What is to grow from step to step.
        max_steps: Largest number of tools in one episode.
        stop_when_worse: End an episode (terminated) when its PSNR (or what else is rewarded) falls
            below that of the input; for training, as in RL-Restore.
        seed: Seed of the draws of pairs.
        device: Device that the tools run on.
        precision: Number format that the tools compute in.

    Attributes:
        chain: The images on their way.

    Raises:
        ToolchainError: The pairs or the toolbox do not suit the scale, or the reward cannot look.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "autoreset_mode": "SameStep"}  # noqa: RUF012

    def __init__(
        self,
        toolbox: Toolbox,
        pairs: PairSource,
        n_envs: int,
        *,
        scale: int = 1,
        reward: Reward = PSNR,
        max_steps: int = MAX_STEPS,
        stop_when_worse: bool = False,
        seed: int | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> None:
        if scale not in {1, *toolbox.scales}:
            raise ToolchainError(f"no tool of {toolbox.name} enlarges by {scale}")
        self.toolbox = toolbox.to(device)
        self.max_steps, self.scale, self.reward = max_steps, scale, reward
        self.render_mode = "rgb_array"
        self._pairs = pairs
        self._device = torch.device(device)
        self.precision: Precision = precision
        self._stop_when_worse = stop_when_worse
        self._rng = np.random.default_rng(seed)
        self._has_mask = max(toolbox.scales) > 1
        self._judge = Judge(reward, self._device, toolbox.folder)
        actions, side = spaces.Discrete(len(toolbox) + 1), self._patch_size()
        space: dict[str, spaces.Space[Any]] = {
            "image": spaces.Box(0.0, 1.0, (3, side, side), np.float32),
            "last_action": actions,
        }
        if self._has_mask:
            space["action_mask"] = spaces.MultiBinary(len(toolbox) + 1)
        super().__init__(n_envs, spaces.Dict(space), actions)
        self._actions = torch.full((n_envs,), toolbox.stop)
        self._frames: list[list[Tensor]] = []
        self._scores: Scores
        self.reset()

    # What the environment is -------------------------------------------------------------------

    @property
    def psnr(self) -> Tensor:
        """PSNR of the current images in dB, (n_envs,); until enlarged, of their bicubic."""
        return self._scores.psnr

    @property
    def value(self) -> Tensor:
        """What the rewards add to, (n_envs,): the PSNR, if nothing else is rewarded."""
        return self._scores.value

    @property
    def images(self) -> Tensor:
        """Current results, (n_envs, 3, P, P) in [0, 1], P being the side of the clean images."""
        return self.chain.result()

    @property
    def stop(self) -> int:
        """Index of the stop action."""
        return self.toolbox.stop

    def observe(self) -> Observation:
        """The current observation of every episode."""
        obs = {
            "image": self.chain.view().cpu().numpy(),
            "last_action": self.chain.last_action.numpy().copy(),
        }
        if self._has_mask:
            obs["action_mask"] = self.chain.allowed().numpy().astype(np.int8)
        return obs

    def advance(self, actions: Tensor) -> Ended:
        """Run the chosen tools (n_envs,) and score what comes of them; no episode is reset."""
        ended = self.chain.advance(actions)
        images = self.images
        # An image that was not touched scores the same to the last bit.
        self._scores = _merged(ended.terminated, self._scores, self._judge.score(images))
        for frames, image in zip(self._frames, images, strict=True):
            frames.append(image)
        return ended

    def play_on(self, actions: Tensor) -> tuple[Tensor, Ended, list[dict[str, Any]]]:
        """Take a step that leaves ended episodes as they are.

        Returns:
            The rewards (n_envs,), which episodes ended, and what is known of each.
        """
        before = self.value
        ended = self.advance(actions)
        if self._stop_when_worse:
            worse = self.value < self._first.value
            ended = Ended(ended.terminated | worse, ended.truncated & ~worse)
        return self.value - before, ended, self._infos(actions, ended)

    def outcomes(self) -> Iterator[tuple[Chain, Tensor]]:
        """What every tool would do now: a look ahead that only a simulator can offer.

        Yields:
            For each tool the chain after it, and its rewards (n_envs,).
        """
        for after in self.chain.outcomes():
            yield after, self._judge.score(after.result()).value - self.value

    def value_of(self, chain: Chain, rows: Tensor) -> Tensor:
        """The `value` that some rows of a chain from `outcomes` have, (len(rows),)."""
        return self._judge.score(chain.result()[rows], rows).value

    # The VecEnv interface ----------------------------------------------------------------------

    def reset(self) -> Observation:
        """Start a new episode everywhere; a seed given by `seed` takes effect here."""
        if self._seeds[0] is not None:
            self._rng = np.random.default_rng(self._seeds[0])
        indices = [options.get("index") for options in self._options]
        self._reset_seeds()
        self._reset_options()
        lq, gt = self._draw(indices)
        self._judge.remember(gt)
        self.chain = Chain(
            lq, self.toolbox.scales, scale=self.scale, max_steps=self.max_steps, apply=self._apply
        )
        images = self.images
        self._scores = self._judge.score(images)
        self._first = _copied(self._scores)
        self._frames = [[image] for image in images]
        self.reset_infos = [self._known(row) for row in range(len(lq))]
        return self.observe()

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Take note of the actions, (n_envs,)."""
        self._actions = torch.as_tensor(np.asarray(actions), dtype=torch.int64)

    def step_wait(self) -> VecEnvStepReturn:
        """Advance every episode by the noted actions."""
        rewards, ended, infos = self.play_on(self._actions)
        rows = torch.nonzero(ended.done).flatten()
        if len(rows):
            self._restart(rows, infos)
        return self.observe(), rewards.numpy(), ended.done.numpy(), infos

    def close(self) -> None:
        """Nothing to release."""

    def get_images(self) -> Sequence[npt.NDArray[np.uint8] | None]:
        """Each episode's images so far, then the clean one, side by side: uint8 (H, W, 3)."""
        return [
            side_by_side([*frames, gt])
            for frames, gt in zip(self._frames, self._judge.gt, strict=True)
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
        with computing(self.precision, self._device):
            return self.toolbox.restore(images, actions)

    def _draw(self, indices: Sequence[int | None]) -> tuple[Tensor, Tensor]:
        drawn = self._rng.integers(len(self._pairs), size=len(indices))
        for row, index in enumerate(indices):
            if index is not None:
                drawn[row] = index
        lq, gt = self._pairs.pairs(drawn, self._rng)
        return to_tensor(lq).to(self._device), to_tensor(gt).to(self._device)

    def _patch_size(self) -> int:
        """Side of what is observed, in pixels."""
        lq, gt = self._pairs.pairs(np.zeros(1, np.int64), np.random.default_rng(0))
        side: int = lq.shape[1]
        if gt.shape[1] != side * self.scale:
            sides = f"{side} and {gt.shape[1]} pixels a side"
            raise ImageFormatError(f"pairs of {sides} do not suit scale {self.scale}")
        return side

    def _restart(self, rows: Tensor, infos: list[dict[str, Any]]) -> None:
        last = self.observe()
        for row in rows.tolist():
            infos[row]["terminal_observation"] = {
                **{key: value[row] for key, value in last.items()},
                "last_action": int(last["last_action"][row]),
            }
        lq, gt = self._draw([None] * len(rows))
        self.chain.restart(rows, lq)
        self._judge.replace(rows, gt)
        images = self.images[rows]
        fresh = self._judge.score(images, rows)
        self._scores = _copied(self._scores)
        for scores in (self._scores, self._first):
            for column, values in zip(scores, fresh, strict=True):
                if column is not None and values is not None:
                    column[rows] = values
        for row, image in zip(rows.tolist(), images, strict=True):
            self._frames[row] = [image]
            self.reset_infos[row] = self._known(row)

    def _known(self, row: int) -> dict[str, Any]:
        """Every score of an image that is measured, by name; not the value made of them."""
        columns = self._scores._replace(value=None)._asdict()  # type: ignore[arg-type]
        return {name: float(column[row]) for name, column in columns.items() if column is not None}

    def _infos(self, actions: Tensor, ended: Ended) -> list[dict[str, Any]]:
        gains = self.psnr - self._first.psnr
        return [
            {
                "tool": self.toolbox.action_names[action],
                **self._known(row),
                "psnr_gain": float(gains[row]),
                "TimeLimit.truncated": bool(ended.truncated[row]),
            }
            for row, action in enumerate(actions.tolist())
        ]


def _copied(scores: Scores) -> Scores:
    return Scores(*(None if column is None else column.clone() for column in scores))  # type: ignore[arg-type]


def _merged(keep: Tensor, before: Scores, after: Scores) -> Scores:
    """Scores of before where ``keep``, else those of after."""
    columns = zip(before, after, strict=True)
    merged = [None if a is None or b is None else torch.where(keep, a, b) for a, b in columns]
    return Scores(*merged)  # type: ignore[arg-type]
