"""The tool phase of joint training: tools learn through the chains that a frozen agent plays."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.data.damage.degradation import TRAINING_LEVELS, degrade_crop, sampler
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import FloatImage
from restoration_toolchain.data.patches.store import PatchStore
from restoration_toolchain.envs.chain import Chain
from restoration_toolchain.tools_zoo.losses import pixel_loss
from restoration_toolchain.tools_zoo.precision import Precision, computing
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.batches import ToolDegrader, degrade_batch, flip
from restoration_toolchain.tools_zoo.training.loop import average_into, load_batches
from restoration_toolchain.tools_zoo.training.muon import Muon, parameter_groups


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainTuningConfig:
    """How a tool phase is run."""

    store: str
    """Path of the patch store."""
    total_patches: int = 40_000
    """Chains played in all; the schedule spans them."""
    batch_size: int = 32
    """Chains per optimiser step."""
    own_patches: int = 16
    """Patches with a single distortion per step, all for one tool: so that none forgets its own."""
    levels: tuple[str, ...] = TRAINING_LEVELS
    """Where chains start: clean patches are degraded anew at one of these levels."""
    epsilon: float = 0.05
    """Share of actions drawn at random, so that no tool stays without practice."""
    persistence: float = 0.0
    """Share of chains in which the agent may not stop. An agent that is content with one tool shows
    no tool what another leaves, so that none ever learns to add to it."""
    learning_rate: float = 3e-4
    """Peak of the one-cycle schedule; see `tools_zoo.training.muon`."""
    warmup: float = 0.1
    """Share of the phase in which the learning rate rises."""
    max_grad_norm: float = 1.0
    ema_decay: float = 0.99
    loss: str = "psnr"
    early_weight: float = 0.3
    """Of the loss behind each tool that another one follows; behind the last it is 1. Without it,
    a tool learns to serve those behind it alone, and an agent that looks one step ahead cannot see
    what it is worth."""
    max_steps: int = 3
    frozen: tuple[str, ...] = ()
    """Names of tools that stay as they are, but pass gradients on. Those for the slightest damage
    forget it in chains, where there is hardly any."""
    num_workers: int = 1
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "fp32"
    """What the tools compute in."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.total_patches < self.batch_size or self.batch_size < 1:
            raise ValueError("total_patches must hold at least one batch of positive size")
        if self.own_patches < 0:
            raise ValueError(f"own_patches must not be negative, got {self.own_patches}")
        if not 0.0 < self.warmup < 1.0:
            raise ValueError(f"warmup must lie in (0, 1), got {self.warmup}")
        if not 0.0 <= self.persistence <= 1.0:
            raise ValueError(f"persistence must lie in [0, 1], got {self.persistence}")
        if self.early_weight < 0.0:
            raise ValueError(f"early_weight must not be negative, got {self.early_weight}")
        if not 0.0 <= self.epsilon <= 1.0:
            raise ValueError(f"epsilon must lie in [0, 1], got {self.epsilon}")

    @property
    def num_batches(self) -> int:
        """Optimiser steps of the phase."""
        return self.total_patches // self.batch_size


class ChainBatch(NamedTuple):
    """What one optimiser step sees; images are float32 (N, 3, P, P) in [0, 1].

    Attributes:
        lq: Mixed damage, where chains start.
        gt: Clean partners.
        tool: Index of the tool whose own damage the rest carries.
        own_lq: Damage of that tool's own kind.
        own_gt: Clean partners.
    """

    lq: Tensor
    gt: Tensor
    tool: int
    own_lq: Tensor
    own_gt: Tensor


class ChainBatches(Dataset[ChainBatch]):
    """Item ``i`` is training batch ``i``: a pure function of the seed and ``i``."""

    def __init__(self, config: ChainTuningConfig, degraders: Mapping[int, ToolDegrader]) -> None:
        self._store = PatchStore(Path(config.store))
        self._config = config
        self._draw = sampler(*config.levels)
        self._degraders = degraders

    def __len__(self) -> int:
        """Number of batches."""
        return self._config.num_batches

    def __getitem__(self, index: int) -> ChainBatch:
        """Draw clean patches and degrade them."""
        config = self._config
        rng = np.random.default_rng((config.seed, index))
        tool = int(rng.choice(list(self._degraders)))
        mixed = self._pairs(config.batch_size, self._degrade, rng)
        own = self._pairs(config.own_patches, self._degraders[tool], rng)
        return ChainBatch(*mixed, tool, *own)

    def _degrade(self, window: FloatImage, rng: np.random.Generator) -> FloatImage:
        return degrade_crop(self._draw(rng), window, rng)

    def _pairs(
        self, count: int, degrade: Callable[..., FloatImage], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        side = self._store.patch_size
        if count == 0:
            return torch.empty(0, 3, side, side), torch.empty(0, 3, side, side)
        chosen = rng.choice(self._store.train_indices, count)
        windows = np.stack([flip(window, rng) for window in self._store.read_windows(chosen)])
        return degrade_batch(windows, degrade, rng)


def walk(
    toolbox: Toolbox,
    policy: LstmPolicy,
    lq: Tensor,
    *,
    max_steps: int,
    epsilon: float = 0.0,
    persistence: float = 0.0,
    rng: np.random.Generator | None = None,
    precision: Precision = "fp32",
) -> tuple[list[Tensor], Tensor]:
    """Let the agent play chains through which gradients flow back to the tools.

    The choices are the agent's on the images as they are; no gradient passes through them
    (Yu et al., CVPR 2018, algorithm 1).

    Args:
        toolbox: The tools.
        policy: Who chooses.
        lq: Degraded images (N, 3, 63, 63) in [0, 1].
        max_steps: Tools per chain.
        epsilon: Probability of a random tool in place of a chosen one; needs ``rng``.
        persistence: Probability of a chain in which the agent may not stop; needs ``rng``.
        rng: Of both.
        precision: What the tools compute in; the agent always uses float32.

    Returns:
        The images after each step, up to ``max_steps`` times (N, 3, 63, 63) in [0, 1], and the
        actions taken, (N, max_steps), *stop* from where a chain ended.
    """

    def apply(images: Tensor, actions: Tensor) -> Tensor:
        with computing(precision, images.device):
            return toolbox.restore(images, actions)

    chain = Chain(lq, stop=toolbox.stop, max_steps=max_steps, apply=apply, differentiable=True)
    state = policy.initial_state(len(lq))
    done = torch.zeros(len(lq), dtype=torch.bool)
    taken = torch.full((len(lq), max_steps), toolbox.stop)
    after = []
    persists = torch.zeros(len(lq), dtype=torch.bool)
    if persistence:
        assert rng is not None
        persists = torch.from_numpy(rng.random(len(lq)) < persistence)
    for step in range(max_steps):
        values, state = policy.action_values(chain.images.detach(), chain.last_action, state)
        values = values.cpu().clone()  # out of the policy's inference mode
        values[persists, toolbox.stop] = -torch.inf
        actions = values.argmax(dim=1)
        if epsilon:
            assert rng is not None
            explore = torch.from_numpy(rng.random(len(lq)) < epsilon)
            drawn = torch.from_numpy(rng.integers(toolbox.stop, size=len(lq)))
            actions = torch.where(explore, drawn, actions)
        actions[done] = toolbox.stop
        done |= chain.advance(actions).done
        taken[:, step] = actions
        after.append(chain.images)
        if done.all():
            break
    return after, taken


class ChainTuner:
    """Fine-tunes a toolbox to a frozen agent.

    Args:
        toolbox: The tools; a copy is trained.
        policy: The agent; not changed.
        config: How to train.

    Attributes:
        averaged: The toolbox with averaged weights: what is validated and kept.
    """

    def __init__(self, toolbox: Toolbox, policy: LstmPolicy, config: ChainTuningConfig) -> None:
        self._config = config
        self._policy = policy
        self.averaged = copy.deepcopy(toolbox).requires_grad_(False).eval()
        self._toolbox = copy.deepcopy(toolbox).requires_grad_(True).to(config.device)
        for name in config.frozen:
            self._toolbox[name].requires_grad_(False)
        self._loss = pixel_loss(config.loss)
        groups = [
            group
            for tool in self._toolbox
            if tool.spec.name not in config.frozen
            for group in parameter_groups(tool, config.learning_rate)
        ]
        if not groups:
            raise ToolchainError("all tools are frozen: there is nothing to train")
        self._optimizer = Muon(groups, lr=config.learning_rate)
        # From nothing: full steps before Adam knows its gradients can kill all channels of a tool.
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            config.learning_rate,
            total_steps=config.num_batches + 1,
            pct_start=config.warmup,
            cycle_momentum=False,
        )
        self.step = 0

    def run(self, on_step: Callable[[int, int, dict[str, float]], None]) -> None:
        """Train to the end of the schedule, from wherever it stands.

        Raises:
            ToolchainError: The store is unusable, or the loss stops being a number.
        """
        config = self._config
        degraders = {
            index: ToolDegrader(tool.spec)
            for index, tool in enumerate(self._toolbox)
            if tool.spec.name not in config.frozen
        }
        batches = ChainBatches(config, degraders)
        rest = range(self.step, config.num_batches)
        for batch in load_batches(batches, rest, config.num_workers):
            loss = self.update(batch)
            on_step(self.step, config.num_batches, {"loss": loss})

    def update(self, batch: ChainBatch) -> float:
        """Take one optimiser step; tools that nothing ran are not touched.

        Returns:
            Loss per image.
        """
        config, device = self._config, self._config.device
        rng = np.random.default_rng((config.seed, 1, self.step))
        after, actions = walk(
            self._toolbox,
            self._policy,
            batch.lq.to(device),
            max_steps=config.max_steps,
            epsilon=config.epsilon,
            persistence=config.persistence,
            rng=rng,
            precision=config.precision,
        )
        counts = torch.bincount(actions.flatten(), minlength=len(self._toolbox) + 1)
        ran = actions != self._toolbox.stop
        touched, gt = ran[:, 0], batch.gt.to(device)
        losses = [self._total(after[-1][touched], gt[touched])]
        for images, goes_on in zip(after, ran.T[1:], strict=False):
            losses.append(config.early_weight * self._total(images[goes_on], gt[goes_on]))
        if len(batch.own_lq):
            counts[batch.tool] += len(batch.own_lq)
            with computing(config.precision, device):
                own = self._toolbox[batch.tool].unclipped(batch.own_lq.to(device))
            losses.append(self._total(own, batch.own_gt.to(device)))
        loss = torch.stack(losses).sum()
        value = float(loss.detach())
        if value != value:
            raise ToolchainError(
                "the loss is not a number any more; start again with a lower learning_rate"
            )
        self._optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        for index, tool in enumerate(self._toolbox):
            parameters = [p for p in tool.parameters() if p.grad is not None]
            for parameter in parameters:
                assert parameter.grad is not None
                parameter.grad /= max(int(counts[index]), 1)
            if parameters:
                nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        self._optimizer.step()
        self._schedule.step()
        self.step += 1
        average_into(self.averaged, self._toolbox, config.ema_decay, self.step)
        return value / max(int(touched.sum()) + len(batch.own_lq), 1)

    def state(self) -> dict[str, Any]:
        """Everything that `load_state` goes on from."""
        return {
            "toolbox": self._toolbox.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "step": self.step,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self._toolbox.load_state_dict(state["toolbox"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.step = state["step"]

    def _total(self, restored: Tensor, gt: Tensor) -> Tensor:
        """Sum of the losses of all images: each tool divides its gradient by its own count."""
        if len(restored) == 0:
            return torch.zeros((), device=restored.device)
        return self._loss(restored.float(), gt) * len(restored)
