"""Tools trained in chains that are prescribed by what was done to an image, before any agent.

A tool that is trained on degraded photos alone has never seen what another tool leaves, and adds
little to it. Here the degradation, which is known in training, says which tools run one after the
other, and all of them learn end to end. The agent then has to find such chains by looking.

Source:
    This project; after the joint training of Yu et al., CVPR 2018, section 3.4, in which an agent
    chooses the chains.
"""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from restoration_toolchain.data.damage.degradation import Degradation, central_patch, degrade_crop
from restoration_toolchain.data.damage.levels import SEVERITY, sampler
from restoration_toolchain.data.damage.steps import STEP_KINDS, graded_kinds
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.images import FloatImage, to_float, to_tensor
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.store import PatchStore
from restoration_toolchain.tools_zoo.losses import pixel_loss
from restoration_toolchain.tools_zoo.origin import joined, origin_of_store
from restoration_toolchain.tools_zoo.recipes.plan import SPECS
from restoration_toolchain.tools_zoo.storage import (
    load_toolbox,
    read_notes,
    read_origin,
    save_toolbox,
    toolbox_folder,
)
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.batches import ToolDegrader, degrade_batch, flip
from restoration_toolchain.tools_zoo.training.config import (
    NOT_NOTED,
    PatchConfig,
    check_not_negative,
    check_shares,
)
from restoration_toolchain.tools_zoo.training.loop import (
    OnStep,
    is_main_process,
    make_fabric,
    train_module,
)

RANDOM: Final = "random"
"""In `ChainTrainConfig.starts`, fresh weights."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which tool a stage of a chain runs, if a degradation is strong enough.

    Attributes:
        tool: Name of the tool.
        kind: Name of one of `data.damage.steps.graded_kinds`, or None for a rule that always holds.
        strength: Weakest strength that it holds for, in the unit of its kind.
    """

    tool: str
    kind: str | None = None
    strength: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Read ``TOOL`` or ``TOOL: KIND STRENGTH``, such as ``denoise_e4: noise 37.5``.

        Raises:
            ToolchainError: It is neither.
        """
        tool, colon, condition = (part.strip() for part in text.partition(":"))
        if not colon:
            return cls(tool)
        kind, _, number = condition.partition(" ")
        try:
            strength = float(number)
        except ValueError:
            strength = float("nan")
        kinds = [each.name for each in graded_kinds()]
        if kind not in kinds or strength != strength:
            raise ToolchainError(
                f"a rule is TOOL, or TOOL: KIND STRENGTH with a kind of {', '.join(kinds)}; "
                f"got {text!r}"
            )
        return cls(tool, kind, strength)

    def holds(self, degradation: Degradation) -> bool:
        """Whether the tool is for this degradation."""
        if self.kind is None:
            return True
        strength = degradation.strength(self.kind)
        return strength is not None and STEP_KINDS[self.kind].is_as_strong(strength, self.strength)


class Prescription:
    """For each stage of a chain, the first of its rules that holds names the tool.

    Args:
        stages: Per stage, its rules as `Rule.parse` reads them.
        toolbox: Toolbox with the tools.

    Raises:
        ToolchainError: A rule cannot be read, or there is no stage.
        UnknownNameError: A tool is not in the toolbox.
    """

    def __init__(self, stages: Sequence[Sequence[str]], toolbox: Toolbox) -> None:
        if not stages:
            raise ToolchainError("a prescription needs stages, each a list of rules")
        self._stages = [[Rule.parse(text) for text in rules] for rules in stages]
        for rule in (rule for rules in self._stages for rule in rules):
            _ = toolbox[rule.tool]
        self._index = {name: index for index, name in enumerate(toolbox.names)}
        self._stop = toolbox.stop

    @property
    def tools(self) -> list[int]:
        """Indices of the tools that appear, each once."""
        return sorted({self._index[rule.tool] for rules in self._stages for rule in rules})

    def __len__(self) -> int:
        """Number of stages."""
        return len(self._stages)

    def chain(self, degradation: Degradation) -> list[int]:
        """Tools in the order they run, one per stage; *stop* where no rule of a stage holds."""
        return [
            next((self._index[rule.tool] for rule in rules if rule.holds(degradation)), self._stop)
            for rules in self._stages
        ]

    def detour(self, rng: np.random.Generator) -> list[int]:
        """A chain of tools drawn at random, one of each stage."""
        return [self._index[rules[int(rng.integers(len(rules)))].tool] for rules in self._stages]

    def alone(self, tool: int) -> list[int]:
        """The chain in which one tool runs, at its own stage."""
        names = [[self._index[rule.tool] for rule in rules] for rules in self._stages]
        return [tool if tool in stage else self._stop for stage in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainTrainConfig(PatchConfig):
    """How tools are trained in prescribed chains; every patch is one chain."""

    stages: tuple[Sequence[str], ...]
    """The prescription: per stage, rules as `Rule.parse` reads them."""
    starts: tuple[str, ...] = ()
    """Where tools begin, if not as they are: ``TOOL: OTHER`` is a copy of another one of the
    toolbox, ``TOOL: random`` fresh weights. A tool of the catalogue that is missing is added."""
    batch_size: int = 48
    """Chains per step and process."""
    own: float = 0.15
    """Share of the images that carry the distortion of one tool alone and meet that tool only."""
    levels: tuple[str, ...] = tuple(SEVERITY)
    """Levels of damage of the other images."""
    detour: float = 0.0
    """Share of the others whose tools are drawn at random from those of each stage: an agent takes
    wrong turns, and no tool should be helpless on what was meant for its neighbour."""
    loss: str = "psnr"
    early_weight: float = 0.3
    """Weight of the loss behind each stage but the last: every tool must be worth something by
    itself, or an agent that looks one step ahead would not begin with it."""
    eval_patches: int = 128
    """Held-out patches of each level."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        PatchConfig.__post_init__(self)
        check_shares(self, "own", "detour")
        check_not_negative(self, "early_weight")


class ChainSample(NamedTuple):
    """A batch; images are float32 (N, 3, P, P) in [0, 1].

    Attributes:
        lq: Degraded.
        gt: Clean.
        actions: (N, stages) int64, tools by index, or *stop* for none.
    """

    lq: Tensor
    gt: Tensor
    actions: Tensor


class PrescribedChains(nn.Module):
    """A toolbox that runs whole chains, so that all tools in them are one network to train."""

    def __init__(self, toolbox: Toolbox) -> None:
        super().__init__()
        self.toolbox = toolbox

    @property
    def networks(self) -> list[Tool]:
        """The tools, each with a first and a last convolution of its own (`training.muon`)."""
        return self.toolbox.networks

    def forward(self, lq: Tensor, actions: Tensor) -> list[Tensor]:
        """Run the chains ``actions``, (N, stages) int64, on images (N, 3, P, P) in [0, 1].

        Returns:
            Images after each stage, float32 of the same shape, in [0, 1].
        """
        images, after = lq, []
        for stage in actions.T:
            images = self.toolbox.restore(images, stage)
            after.append(images)
        return after


def train_chains(
    toolbox: Toolbox,
    config: ChainTrainConfig,
    run_path: Path,
    *,
    resume: bool = False,
    on_step: OnStep = lambda step, total, metrics: None,
) -> Toolbox:
    """Train tools end to end in prescribed chains; those in no rule stay as they are, bit by bit.

    Args:
        toolbox: Tools to start from; not changed.
        config: Settings of the training.
        run_path: Run folder.
        resume: Go on from the checkpoint in ``run_path``.
        on_step: Called with (step, total, newest metrics) after every optimiser step.

    Returns:
        The toolbox with averaged weights, on the CPU.

    Raises:
        ToolchainError: The prescription does not fit the toolbox, the run folder or the store is
            unusable, or the loss stops being a number.
    """
    prescription = Prescription(config.stages, toolbox)
    trained = copy.deepcopy(toolbox)
    for index, tool in enumerate(trained):
        tool.requires_grad_(index in prescription.tools)
    averaged = train_module(
        PrescribedChains(trained),
        _ChainObjective(trained, prescription, config),
        config,
        run_path,
        make_fabric(config, skips_parts=True),
        num_steps=config.num_batches,
        resume=resume,
        on_step=on_step,
    )
    assert isinstance(averaged, PrescribedChains)
    return averaged.toolbox


def train_toolbox_chains(
    toolbox: str | Path,
    config: ChainTrainConfig,
    run_path: Path,
    toolbox_path: Path,
    **options: Any,
) -> None:
    """Train the tools of a toolbox by `train_chains`, and note it in the manifest of the result.

    Args:
        toolbox: Tools to start from: a shipped toolbox by name, or a folder.
        config: Settings of the training.
        run_path: Run folder.
        toolbox_path: Toolbox folder to write; what it holds is replaced.
        **options: ``resume`` and ``on_step`` of `train_chains`.
    """
    start, notes = load_toolbox(toolbox), read_notes(toolbox_folder(toolbox))
    origins = _parsed(config.starts)
    torch.manual_seed(config.seed)
    start = with_starts(start, config.starts)
    prescribed = Prescription(config.stages, start).tools
    trained = train_chains(start, config, run_path, **options)
    if not is_main_process():
        return
    settings = dataclasses.asdict(config)
    facts = {key: settings[key] for key in settings if key not in NOT_NOTED}
    for name in (start.names[index] for index in prescribed):
        before = notes.get(origins.get(name, name), {})
        notes[name] = {**before, "chains": [*before.get("chains", []), facts]}
    origin = joined([read_origin(toolbox_folder(toolbox)), origin_of_store(config.store)])
    save_toolbox(trained, toolbox_path, notes, origin=origin)


def with_starts(toolbox: Toolbox, starts: Sequence[str]) -> Toolbox:
    """Give tools other starting weights, as entries of `ChainTrainConfig.starts` say.

    Returns:
        A toolbox in the order of the catalogue, if a tool was added, or as it was.

    Raises:
        ToolchainError: An entry cannot be read, or the tools have different networks.
        UnknownNameError: There is no such tool.
    """
    tools = {tool.spec.name: tool for tool in toolbox}
    for name, origin in _parsed(starts).items():
        if name not in tools and name not in SPECS:
            raise UnknownNameError("tool", name, SPECS)
        tool = Tool(tools[name].spec if name in tools else SPECS[name])
        if origin != RANDOM:
            try:
                tool.network.load_state_dict(toolbox[origin].network.state_dict())
            except RuntimeError as error:
                raise ToolchainError(f"{name} cannot start from {origin}: {error}") from error
        tools[name] = tool
    known = list(SPECS)
    order = sorted(tools, key=lambda name: known.index(name) if name in known else len(known))
    names = list(toolbox.names) if len(tools) == len(toolbox) else order
    return Toolbox(toolbox.name, [tools[name] for name in names])


def _parsed(starts: Sequence[str]) -> dict[str, str]:
    """What each tool begins as, by its name."""
    parts = (entry.partition(":") for entry in starts)
    return {name.strip(): origin.strip() for name, _, origin in parts}


class ChainSamples(Dataset[ChainSample]):
    """Item ``i`` is training batch ``i``: a pure function of the seed and ``i``."""

    def __init__(
        self, toolbox: Toolbox, prescription: Prescription, config: ChainTrainConfig
    ) -> None:
        self._store = PatchStore(Path(config.store))
        self._config = config
        self._prescription = prescription
        self._draw = sampler(*config.levels)
        self._own = {
            index: ToolDegrader(toolbox[index].spec, mixed=0.0) for index in prescription.tools
        }

    def __len__(self) -> int:
        """Number of batches."""
        return self._config.num_batches

    def __getitem__(self, index: int) -> ChainSample:
        """Draw clean patches, what is done to them, and the tools that are to undo it."""
        config = self._config
        rng = np.random.default_rng((config.seed, index))
        chosen = rng.choice(self._store.train_indices, config.batch_size)
        windows = np.stack([flip(window, rng) for window in self._store.read_windows(chosen)])
        chains: list[list[int]] = []

        def degrade(window: FloatImage, rng: np.random.Generator) -> FloatImage:
            if rng.random() < config.own:
                tool = int(rng.choice(self._prescription.tools))
                chains.append(self._prescription.alone(tool))
                return self._own[tool](window, rng)
            degradation = self._draw(rng)
            # Drawn only where it is asked for: other runs keep their random numbers.
            if config.detour and rng.random() < config.detour:
                chains.append(self._prescription.detour(rng))
            else:
                chains.append(self._prescription.chain(degradation))
            return degrade_crop(degradation, window, rng)

        lq, gt = degrade_batch(windows, degrade, rng)
        return ChainSample(lq, gt, torch.tensor(chains))


class _ChainObjective:
    """Training objective: the clean partners, behind every tool of a chain."""

    def __init__(
        self, toolbox: Toolbox, prescription: Prescription, config: ChainTrainConfig
    ) -> None:
        self._config = config
        self._loss = pixel_loss(config.loss)
        self._prescription = prescription
        self.batches = ChainSamples(toolbox, prescription, config)
        self._stop = toolbox.stop
        self._eval_sets = self._load_eval_sets()

    def loss(self, module: nn.Module, batch: ChainSample) -> Tensor:
        lq = batch.lq.contiguous(memory_format=torch.channels_last)
        after = module(lq, batch.actions)
        loss = self._loss(after[-1].float(), batch.gt)
        ran = (batch.actions != self._stop).T
        for stage, images in enumerate(after[:-1]):
            goes_on = ran[stage] & ran[stage + 1 :].any(dim=0)
            if goes_on.any():
                part = self._loss(images[goes_on].float(), batch.gt[goes_on])
                loss = loss + self._config.early_weight * goes_on.float().mean() * part
        return loss

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Gain in dB of the chains of each level, and of their first stage alone."""
        metrics = {}
        for level, (lq, gt, actions) in self._eval_sets.items():
            after = module(lq.to(device), actions)
            before = batch_psnr(lq, gt).mean()
            for name, images in (("first", after[0]), ("gain", after[-1])):
                metrics[f"{name}_{level}"] = float(batch_psnr(images.cpu(), gt).mean() - before)
        metrics["gain"] = float(np.mean([metrics[f"gain_{level}"] for level in self._eval_sets]))
        return metrics

    def _load_eval_sets(self) -> dict[str, ChainSample]:
        config, sets = self._config, {}
        with PatchStore(Path(config.store)) as store:
            indices = store.val_indices if len(store.val_indices) else store.train_indices
            for level in SEVERITY:
                rng = np.random.default_rng((config.seed, 1))
                chosen = rng.choice(indices, min(config.eval_patches, len(indices)), replace=False)
                drawn = [sampler(level)(rng) for _ in chosen]
                chains = torch.tensor([self._prescription.chain(item) for item in drawn])
                windows = store.read_windows(np.sort(chosen))
                pairs = zip(drawn, windows, strict=True)
                lq = np.stack([degrade_crop(done, to_float(window), rng) for done, window in pairs])
                sets[level] = ChainSample(to_tensor(lq), to_tensor(central_patch(windows)), chains)
        return sets
