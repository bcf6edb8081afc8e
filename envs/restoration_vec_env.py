"""The batched restoration environment: hundreds of images advanced by one call."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn
from torch import Tensor

from restoration_toolchain.data.errors import ImageFormatError
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.patches.pairs import PairSource
from restoration_toolchain.envs.chain import BaseChain, Chain, Ended
from restoration_toolchain.envs.render import side_by_side
from restoration_toolchain.envs.reward import PSNR, Judge, Reward, Scores
from restoration_toolchain.envs.scaled_chain import ScaledChain
from restoration_toolchain.envs.task import Task, task_scale
from restoration_toolchain.tools_zoo.precision import Precision, computing
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox

Observation = dict[str, npt.NDArray[Any]]

MAX_STEPS: Final = 3
"""Tools per episode, as in RL-Restore."""


def observation_space(
    num_tools: int, patch_size: int, *, has_mask: bool = False
) -> dict[str, spaces.Space[Any]]:
    """The current image, the previous action (``num_tools``, i.e. stop, at the start), a mask."""
    space: dict[str, spaces.Space[Any]] = {
        "image": spaces.Box(0.0, 1.0, (3, patch_size, patch_size), np.float32),
        "last_action": spaces.Discrete(num_tools + 1),
    }
    return {**space, "action_mask": spaces.MultiBinary(num_tools + 1)} if has_mask else space


class RestorationVecEnv(VecEnv):
    """Episodes of `envs.restoration_env.RestorationEnv`, many at a time.

    Tools run grouped by action, one forward pass per distinct tool. An episode that ends is reset
    in the same step (Stable-Baselines3's convention): the observation returned is the first of
    the next episode, and ``info["terminal_observation"]`` the last of the ended one.

    Args:
        toolbox: The action space.
        pairs: Where episodes start; of the task *real-sr*, with clean images that are larger.
        n_envs: Images advanced per call.
        task: Whether images keep their size or are enlarged.
        reward: What is to grow from step to step.
        max_steps: Tools per episode.
        stop_when_worse: End an episode (terminated) when its PSNR (or what else is rewarded) falls
            below that of the input; for training, as in RL-Restore.
        auto_reset: Reset an ended episode in the same step; without it the caller resets.
        seed: Of the draws of pairs.
        device: Where the tools run.
        precision: What the tools compute in.

    Raises:
        ImageFormatError: The clean images are not as much larger as the tools make theirs.
        ToolchainError: The toolbox has no tool for the task, the encoder of a perceptual reward is
            not installed, or there is no SFD-IQA to weigh.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "autoreset_mode": "SameStep"}  # noqa: RUF012

    def __init__(
        self,
        toolbox: Toolbox,
        pairs: PairSource,
        n_envs: int,
        *,
        task: Task = "restore",
        reward: Reward = PSNR,
        max_steps: int = MAX_STEPS,
        stop_when_worse: bool = False,
        auto_reset: bool = True,
        seed: int | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> None:
        self.toolbox = toolbox.to(device)
        self.max_steps = max_steps
        self.render_mode = "rgb_array"
        self._pairs = pairs
        self._device = torch.device(device)
        self.precision: Precision = precision
        self._stop_when_worse = stop_when_worse
        self._auto_reset = auto_reset
        self._rng = np.random.default_rng(seed)
        self.task, self.reward = task, reward
        self.scale = task_scale(task, toolbox)
        self._has_mask = max(toolbox.scales) > 1
        self._judge = Judge(reward, self._device, toolbox.folder)
        patch_size = self._patch_size()
        super().__init__(
            n_envs,
            spaces.Dict(observation_space(len(toolbox), patch_size, has_mask=self._has_mask)),
            spaces.Discrete(len(toolbox) + 1),
        )
        self.render_mode = "rgb_array"
        self._actions = torch.full((n_envs,), toolbox.stop)
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
        return self._chain.result()

    @property
    def num_steps(self) -> Tensor:
        """Tools run so far in each episode, (n_envs,)."""
        return self._chain.num_steps

    def observe(self) -> Observation:
        """The current observation of every episode."""
        obs = {
            "image": self._chain.view().cpu().numpy(),
            "last_action": self._chain.last_action.numpy().copy(),
        }
        if self._has_mask:
            obs["action_mask"] = self._chain.allowed().numpy().astype(np.int8)
        return obs

    def allowed(self) -> Tensor:
        """Which actions make sense now, (n_envs, n_tools + 1) bool."""
        return self._chain.allowed()

    def outcomes(self) -> tuple[Tensor, Tensor]:
        """What every tool would do now: a look ahead that only a simulator can offer.

        Returns:
            What would be observed, (n_tools, n_envs, 3, P, P) in [0, 1], and the rewards of each,
            (n_tools, n_envs): gains in dB, if nothing but PSNR is rewarded.
        """
        views, gains = [], []
        with torch.inference_mode():
            for action, tool in enumerate(self.toolbox):
                result, view = self._chain.ahead(action, partial(self._run, tool))
                views.append(view)
                gains.append(self._judge.score(result).value - self.value)
        return torch.stack(views).clone(), torch.stack(gains)

    def further(self, images: Tensor, action: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What a tool would do to images that `outcomes` showed; not to the middle of large ones.

        Args:
            images: (N, 3, P, P) in [0, 1].
            action: Index of the tool.
            rows: (N,) episodes that the images belong to.

        Returns:
            The images after it, and their `value`, (N,).
        """
        with torch.inference_mode():
            restored = self._run(self.toolbox[action], images.to(self._device)).clamp(0.0, 1.0)
            return restored, self._judge.score(self._chain.as_result(restored), rows).value

    def allowed_after(self, action: int) -> Tensor:
        """Which actions would make sense after a tool has run, (n_envs, n_tools + 1) bool."""
        return self._chain.allowed_after(action)

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
        self._chain = self._make_chain(lq)
        images = self._chain.result()
        self._scores = self._judge.score(images)
        self._first = _copied(self._scores)
        self._frames = [[image] for image in images]
        self.reset_infos = [self._start_info(row) for row in range(len(lq))]
        return self.observe()

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Take note of the actions, (n_envs,)."""
        self._actions = torch.as_tensor(np.asarray(actions), dtype=torch.int64)

    def step_wait(self) -> VecEnvStepReturn:
        """Advance every episode by the noted actions."""
        ended = self._chain.advance(self._actions)
        images = self._chain.result()
        # An image that was not touched scores the same to the last bit.
        scores = _merged(ended.terminated, self._scores, self._judge.score(images))
        rewards = scores.value - self._scores.value
        self._scores = scores
        if self._stop_when_worse:
            worse = scores.value < self._first.value
            ended = Ended(ended.terminated | worse, ended.truncated & ~worse)
        for frames, image in zip(self._frames, images, strict=True):
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

    def _run(self, tool: Tool, images: Tensor) -> Tensor:
        with computing(self.precision, self._device):
            restored: Tensor = tool(images).to(images)
        return restored

    def _draw(self, indices: Sequence[int | None]) -> tuple[Tensor, Tensor]:
        drawn = self._rng.integers(len(self._pairs), size=len(indices))
        for row, index in enumerate(indices):
            if index is not None:
                drawn[row] = index
        lq, gt = self._pairs.pairs(drawn, self._rng)
        return to_tensor(lq).to(self._device), to_tensor(gt).to(self._device)

    def _make_chain(self, lq: Tensor) -> BaseChain:
        stop, max_steps, apply = self.toolbox.stop, self.max_steps, self._apply
        if not self._has_mask:
            return Chain(lq, stop=stop, max_steps=max_steps, apply=apply)
        return ScaledChain(
            lq,
            stop=stop,
            max_steps=max_steps,
            apply=apply,
            scales=self.toolbox.scales,
            scale=self.scale,
        )

    def _patch_size(self) -> int:
        """Side of what is observed, in pixels."""
        lq, gt = self._pairs.pairs(np.zeros(1, np.int64), np.random.default_rng(0))
        side: int = lq.shape[1]
        if gt.shape[1] != side * self.scale:
            raise ImageFormatError(
                f"pairs of {side} and {gt.shape[1]} pixels a side do not suit scale {self.scale}"
            )
        return side

    def _restart(self, rows: Tensor, infos: list[dict[str, Any]]) -> None:
        last = {key: value.copy() for key, value in self.observe().items()}
        for row in rows.tolist():  # `restart` overwrites the rows
            infos[row]["terminal_observation"] = {
                **{key: value[row] for key, value in last.items()},
                "last_action": int(last["last_action"][row]),
            }
        lq, gt = self._draw([None] * len(rows))
        self._chain.restart(rows, lq)
        self._judge.replace(rows, gt)
        images = self._chain.result()[rows]
        fresh = self._judge.score(images, rows)
        self._scores = _copied(self._scores)
        for scores in (self._scores, self._first):
            for column, values in zip(scores, fresh, strict=True):
                if column is not None and values is not None:
                    column[rows] = values
        for row, image in zip(rows.tolist(), images, strict=True):
            self._frames[row] = [image]
            self.reset_infos[row] = self._start_info(row)

    def _start_info(self, row: int) -> dict[str, Any]:
        return {"psnr": float(self._scores.psnr[row]), **self._looks_info(row)}

    def _looks_info(self, row: int) -> dict[str, float]:
        known = {"distance": self._scores.distance, "quality": self._scores.quality}
        return {name: float(column[row]) for name, column in known.items() if column is not None}

    def _infos(self, ended: Ended) -> list[dict[str, Any]]:
        columns = zip(
            self._actions.tolist(),
            self.psnr.tolist(),
            (self.psnr - self._first.psnr).tolist(),
            ended.truncated.tolist(),
            strict=True,
        )
        return [
            {
                "tool": self.toolbox.action_names[action],
                "psnr": psnr,
                "psnr_gain": gain,
                "TimeLimit.truncated": truncated,
                **self._looks_info(row),
            }
            for row, (action, psnr, gain, truncated) in enumerate(columns)
        ]


def _copied(scores: Scores) -> Scores:
    return Scores(*(None if column is None else column.clone() for column in scores))  # type: ignore[arg-type]


def _merged(keep: Tensor, before: Scores, after: Scores) -> Scores:
    """Scores of before where ``keep``, else those of after."""
    columns = zip(before, after, strict=True)
    merged = [None if a is None or b is None else torch.where(keep, a, b) for a, b in columns]
    return Scores(*merged)  # type: ignore[arg-type]
