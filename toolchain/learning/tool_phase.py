"""The tool phase of joint training: tools learn through the chains that a frozen agent plays."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from restoration_toolchain.agents.players.rollout import rollout
from restoration_toolchain.agents.policy.decision import Decision, decide
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.data.damage.degradation import degrade_crop
from restoration_toolchain.data.damage.levels import TRAINING_LEVELS, sampler
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import FloatImage
from restoration_toolchain.data.patches.store import PatchStore
from restoration_toolchain.envs.chain import MAX_STEPS, Chain
from restoration_toolchain.tools_zoo.device import choose_device, choose_precision
from restoration_toolchain.tools_zoo.losses import pixel_loss
from restoration_toolchain.tools_zoo.precision import Precision, computing
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.batches import ToolDegrader, degrade_batch, flip
from restoration_toolchain.tools_zoo.training.config import (
    PatchConfig,
    check_not_negative,
    check_shares,
)
from restoration_toolchain.tools_zoo.training.loop import OnStep, make_fabric, train_module


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPhaseConfig(PatchConfig):
    """How a tool phase is run."""

    # The tools have learnt before, so their average begins one step older.
    steps_averaged_before: ClassVar[int] = 1

    store: str = ""
    """Path of the patch store."""
    total_patches: int = 40_000
    """Chains played in all; the schedule spans them."""
    own_patches: int = 16
    """Patches with a single distortion per step, all for one tool: so that none forgets its own."""
    levels: tuple[str, ...] = TRAINING_LEVELS
    """Levels at which clean patches are degraded anew; chains start there."""
    epsilon: float = 0.05
    """Share of actions drawn at random, so that no tool stays without practice."""
    persistence: float = 0.5
    """Share of chains in which the agent may not stop. It helps with an agent that is content with
    one tool: such an agent shows no tool what another leaves, so that none ever learns to add to
    it. Set 0 for tools that follow each other already, as those of ``efficient`` do."""
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: float = 3e-4
    """Peak of the one-cycle schedule; see `tools_zoo.training.muon`."""
    warmup: float = 0.1
    """Share of the phase in which the learning rate rises. Full steps before Adam knows its
    gradients can kill all channels of a tool."""
    weight_decay: float = 0.0
    loss: str = "psnr"
    early_weight: float = 0.3
    """Weight of the loss behind each tool that another one follows; behind the last it is 1.
    Without it, a tool learns to serve those behind it alone, and an agent that looks one step ahead
    cannot see what it is worth."""
    max_steps: int = MAX_STEPS
    """Tools per chain."""
    frozen: tuple[str, ...] = ()
    """Names of tools that stay as they are, but pass gradients on. Those for the slightest damage
    forget it in chains, where there is hardly any."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        PatchConfig.__post_init__(self)
        check_not_negative(self, "own_patches", "early_weight")
        check_shares(self, "epsilon", "persistence")


class ChainBatch(NamedTuple):
    """What one optimiser step sees; images are float32 (N, 3, P, P) in [0, 1].

    Attributes:
        step: Index of the batch.
        lq: Mixed damage, where chains start.
        gt: Clean partners.
        tool: Index of the tool whose own damage the rest carries.
        own_lq: Damage of that tool's own kind.
        own_gt: Clean partners.
    """

    step: int
    lq: Tensor
    gt: Tensor
    tool: int
    own_lq: Tensor
    own_gt: Tensor


class ChainBatches(Dataset[ChainBatch]):
    """Item ``i`` is training batch ``i``: a pure function of the seed and ``i``."""

    def __init__(self, config: ToolPhaseConfig, degraders: Mapping[int, ToolDegrader]) -> None:
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
        return ChainBatch(index, *mixed, tool, *own)

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
    config: ToolPhaseConfig,
    rng: np.random.Generator,
    *,
    precision: Precision = "fp32",
) -> tuple[list[Tensor], Tensor]:
    """Let the agent play chains through which gradients flow back to the tools.

    The choices are the agent's on the images as they are; no gradient passes through them
    (Yu et al., CVPR 2018, algorithm 1).

    Args:
        toolbox: The tools.
        policy: Who chooses.
        lq: Degraded images (N, 3, 63, 63) in [0, 1].
        config: Settings; ``max_steps``, ``epsilon`` and ``persistence`` of them.
        rng: Source of both draws.
        precision: Number format that the tools compute in; the agent always uses float32.

    Returns:
        The images after each step, up to ``max_steps`` times (N, 3, 63, 63) in [0, 1], and the
        actions taken, (N, max_steps), *stop* from where a chain ended.
    """

    def apply(images: Tensor, actions: Tensor) -> Tensor:
        with computing(precision, images.device):
            return toolbox.restore(images, actions)

    allowed = torch.ones(len(lq), toolbox.stop + 1, dtype=torch.bool)
    if config.persistence:
        allowed[:, toolbox.stop] = torch.from_numpy(rng.random(len(lq)) >= config.persistence)
    state = policy.initial_state(len(lq))

    def choose(chain: Chain) -> Decision:
        nonlocal state
        images = chain.result().detach()
        values, state = policy.action_values(images, chain.last_action, state)
        decision = decide(values.cpu(), allowed=allowed)
        if not config.epsilon:
            return decision
        explore = torch.from_numpy(rng.random(len(lq)) < config.epsilon)
        drawn = torch.from_numpy(rng.integers(toolbox.stop, size=len(lq)))
        return replace(decision, actions=torch.where(explore, drawn, decision.actions))

    steps = config.max_steps
    chain = Chain(lq, toolbox.scales, max_steps=steps, apply=apply, differentiable=True)
    taken = torch.full((len(lq), steps), toolbox.stop)
    after = []
    for step, move in enumerate(rollout(chain, choose)):
        taken[:, step] = move.decision.actions
        after.append(chain.result())
    return after, taken


def tune_tools(
    toolbox: Toolbox,
    policy: LstmPolicy,
    config: ToolPhaseConfig,
    run_path: Path,
    *,
    resume: bool = False,
    on_step: OnStep = lambda step, total, metrics: None,
) -> Toolbox:
    """Fine-tune a toolbox to a frozen agent.

    Args:
        toolbox: Tools to start from; not changed.
        policy: Agent that plays the chains; not changed.
        config: Settings of the phase.
        run_path: Run folder; Ctrl-C leaves a checkpoint there that ``resume`` goes on from.
        resume: Go on from the checkpoint.
        on_step: Called with (step, total, newest metrics) after every optimiser step.

    Returns:
        The toolbox with averaged weights, on the CPU, frozen.

    Raises:
        ToolchainError: The store or the run folder is unusable, or all tools are frozen.
        NotANumberError: The loss or its gradient stops being a number.
    """
    trained = copy.deepcopy(toolbox).requires_grad_(True)
    for name in config.frozen:
        trained[name].requires_grad_(False)
    objective = ChainObjective(trained, policy, config)
    averaged = train_module(
        trained,
        objective,
        config,
        run_path,
        make_fabric(config),
        num_steps=config.num_batches,
        resume=resume,
        on_step=on_step,
    )
    assert isinstance(averaged, Toolbox)
    return averaged


class ChainObjective:
    """Training objective: the clean partners, behind every tool of the chains that an agent plays.

    Args:
        toolbox: Tools that are trained; those without a gradient are frozen.
        policy: The agent.
        config: Settings of the phase.

    Raises:
        ToolchainError: All tools are frozen.
    """

    def __init__(self, toolbox: Toolbox, policy: LstmPolicy, config: ToolPhaseConfig) -> None:
        self.loss_per_image = 0.0
        self._toolbox, self._policy, self._config = toolbox, policy, config
        self._loss = pixel_loss(config.loss)
        self._precision = choose_precision(config.precision, choose_device(config.device))
        self._counts = torch.zeros(len(toolbox))
        if not any(parameter.requires_grad for parameter in toolbox.parameters()):
            raise ToolchainError("all tools are frozen: there is nothing to train")

    @property
    def batches(self) -> Dataset[ChainBatch]:
        """Batches of the whole phase; those with a single distortion are for unfrozen tools."""
        degraders = {
            index: ToolDegrader(tool.spec)
            for index, tool in enumerate(self._toolbox)
            if tool.spec.name not in self._config.frozen
        }
        return ChainBatches(self._config, degraders)

    def loss(self, module: nn.Module, batch: ChainBatch) -> Tensor:
        """Sum of the losses of all images: `bound_gradients` divides by their number."""
        config, toolbox = self._config, self._toolbox
        rng = np.random.default_rng((config.seed, 1, batch.step))
        after, actions = walk(
            toolbox, self._policy, batch.lq, config, rng, precision=self._precision
        )
        self._counts = torch.bincount(actions.flatten(), minlength=len(toolbox) + 1)
        ran = actions != toolbox.stop
        touched = ran[:, 0]
        # Where no tool ran that learns, there is still something to differentiate.
        losses = [torch.zeros((), device=batch.lq.device, requires_grad=True)]
        losses.append(self._total(after[-1][touched], batch.gt[touched]))
        for images, goes_on in zip(after, ran.T[1:], strict=False):
            losses.append(config.early_weight * self._total(images[goes_on], batch.gt[goes_on]))
        if len(batch.own_lq):
            self._counts[batch.tool] += len(batch.own_lq)
            with computing(self._precision, batch.lq.device):
                own = toolbox[batch.tool].unclipped(batch.own_lq)
            losses.append(self._total(own, batch.own_gt))
        loss = torch.stack(losses).sum()
        images_seen = int(touched.sum()) + len(batch.own_lq)
        self.loss_per_image = float(loss.detach()) / max(images_seen, 1)
        return loss

    def bound_gradients(self, module: nn.Module) -> float:
        """Give each tool the mean gradient over its own images, bounded for itself.

        A tool that is chosen often would take longer steps otherwise, and one with large gradients
        would shorten those of all (Yu et al., CVPR 2018, algorithm 1).
        """
        norms = [torch.zeros(())]
        for tool, count in zip(self._toolbox, self._counts.tolist(), strict=False):
            parameters = [p for p in tool.parameters() if p.grad is not None]
            for parameter in parameters:
                assert parameter.grad is not None
                parameter.grad /= max(count, 1)
            if parameters:
                norm = nn.utils.clip_grad_norm_(parameters, self._config.max_grad_norm)
                norms.append(norm.cpu())
        return float(torch.stack(norms).norm())

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Newest loss per image; a phase is judged by the chains that an agent plays afterwards."""
        return {"loss": self.loss_per_image}

    def _total(self, restored: Tensor, gt: Tensor) -> Tensor:
        if len(restored) == 0:
            return torch.zeros((), device=restored.device)
        return self._loss(restored.float(), gt) * len(restored)
