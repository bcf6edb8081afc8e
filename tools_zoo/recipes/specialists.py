"""Tools that know one kind of damage each, as photos have it: how those of `world` are trained."""

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from restoration_toolchain.data.damage.world import FAMILIES
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.images import ByteImage, to_float, to_tensor
from restoration_toolchain.data.metrics import batch_psnr, psnr
from restoration_toolchain.data.patches.store import MAX_INPUT_PSNR
from restoration_toolchain.data.patches.world_crops import Crop, WorldCrops, gather
from restoration_toolchain.data.photos.sources import read_photos
from restoration_toolchain.tools_zoo.catalog import WORLD_TOOLBOX
from restoration_toolchain.tools_zoo.losses import pixel_loss
from restoration_toolchain.tools_zoo.networks import NETWORKS
from restoration_toolchain.tools_zoo.origin import Origin, joined, origin_of
from restoration_toolchain.tools_zoo.recipes.tool_runs import TOOLBOX, add_tool, unfinished
from restoration_toolchain.tools_zoo.storage import (
    MANIFEST,
    load_toolbox,
    read_manifest,
    read_notes,
    read_origin,
    toolbox_folder,
)
from restoration_toolchain.tools_zoo.tool import Task, Tool, ToolSpec
from restoration_toolchain.tools_zoo.training.batches import MAX_DRAWS, DrawnBatches
from restoration_toolchain.tools_zoo.training.config import (
    NOT_NOTED,
    LoopConfig,
    check_positive,
)
from restoration_toolchain.tools_zoo.training.errors import (
    RunMismatchError,
)
from restoration_toolchain.tools_zoo.training.loop import make_fabric, train_module
from restoration_toolchain.tools_zoo.training.objective import Objective

OnToolStep = Callable[[str, int, int, dict[str, float]], None]
"""Called with (tool, step, total, newest metrics)."""

ANY_PSNR: Final = (0.0, MAX_INPUT_PSNR)
"""Range of the PSNR of inputs, in dB, of a tool that is for all that can be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Specialist:
    """One tool of a plan.

    Attributes:
        families: Families of damage that it is trained on, and how often each beside the others.
        psnr: Range of the PSNR of its input in dB; a weak and a strong tool share families so.
        task: What it removes, in the words of `tools_zoo.tool.Task`.
        network: Name of its layers.
        init: Tool whose weights it starts from: one before it in the plan, or ``TOOLBOX/TOOL``;
            None starts from random weights.
        total_crops: Crops seen; 0 takes the tool that it would start from as it is.
    """

    families: Mapping[str, float]
    psnr: tuple[float, float] = ANY_PSNR
    task: Task = "mixed"
    network: str = "unshuffled_unet"
    init: str | None = None
    total_crops: int = 40_000

    def __post_init__(self) -> None:
        """Check the families and the ranges."""
        for family in self.families:
            if family not in FAMILIES:
                raise UnknownNameError("family", family, FAMILIES)
        if not self.families or min(self.families.values()) <= 0.0:
            raise ValueError("a tool needs families, each with a positive weight")
        if len(self.psnr) != 2 or self.psnr[0] >= self.psnr[1]:
            raise ValueError(f"a range of PSNR has two ends and goes up, got {self.psnr}")
        if self.network not in NETWORKS:
            raise UnknownNameError("network", self.network, NETWORKS)
        if self.total_crops < 0:
            raise ValueError(f"total_crops must not be negative, got {self.total_crops}")
        if not self.total_crops and self.init is None:
            raise ValueError("a tool that is not trained needs another to be taken from")

    def spec(self, name: str) -> ToolSpec:
        """What is known of the tool of this plan."""
        return ToolSpec(
            name,
            self.task,
            network=self.network,
            families=tuple(self.families),
            psnr=None if self.psnr == ANY_PSNR else self.psnr,
            source="this project",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialistConfig(LoopConfig):
    """How the tools of a plan are trained."""

    photos: tuple[str, ...] = ()
    """Clean photos to learn from: folders, or names of public sets."""
    tools: Mapping[str, Specialist] = field(default_factory=dict)
    """The tools by name, in action order, which is the order of training."""
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: float = 1e-3
    ema_decay: float = 0.995
    eval_every: int = 250
    batch_size: int = 24
    """Crops per step."""
    side: int = 96
    """Side of a crop in pixels."""
    loss: str = "psnr"
    eval_crops: int = 96
    """Crops of each validation, of photos that a tool does not learn from."""
    eval_photos: int = 20
    """Photos, the last ones, that no tool learns from."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        LoopConfig.__post_init__(self)
        if not self.photos:
            raise ToolchainError("photos to learn from must be named")
        if not self.tools:
            raise ToolchainError("a plan names at least one tool")
        check_positive(self, "batch_size", "side", "eval_crops", "eval_photos")
        for name, plan in self.tools.items():
            if 0 < plan.total_crops < self.batch_size:
                raise ToolchainError(f"{name}: total_crops must hold a batch of {self.batch_size}")


class CropPairs(NamedTuple):
    """Crops, each float32 (N, 3, S, S) in [0, 1].

    Attributes:
        lq: Degraded.
        gt: Clean.
    """

    lq: Tensor
    gt: Tensor


@dataclass(eq=False)
class SpecialistCrops:
    """Draws crops for one tool: of its families, and as damaged as it is for.

    Args:
        photos: Clean photos, RGB uint8 (H, W, 3).
        specialist: The tool.
        side: Side of a crop in pixels.
    """

    photos: Sequence[ByteImage]
    specialist: Specialist
    side: int

    def __post_init__(self) -> None:
        """Leave out all other families."""
        weights = dict.fromkeys(FAMILIES, 0.0) | dict(self.specialist.families)
        self._crops = WorldCrops(
            self.photos, side=self.side, drawn_share=0.0, clean_share=0.0, weights=weights
        )

    def draw(self, rng: np.random.Generator) -> Crop:
        """Draw a crop; after `MAX_DRAWS` that are out of the range, the next is taken as it is."""
        low, high = self.specialist.psnr
        for _ in range(MAX_DRAWS):
            crop = self._crops.draw(rng)
            if low <= psnr(crop.lq, crop.gt, data_range=255) <= high:
                break
        return crop

    def pairs(self, count: int, rng: np.random.Generator) -> CropPairs:
        """Draw so many pairs."""
        lq, gt = gather([self.draw(rng) for _ in range(count)])
        return CropPairs(to_tensor(to_float(lq)), to_tensor(to_float(gt)))


class CropObjective:
    """Training objective of a specialist: the clean partners of crops.

    Args:
        config: Settings.
        specialist: Plan of the tool.
        photos: Clean photos; the last ones are held out.

    Raises:
        ToolchainError: There are too few photos.
    """

    def __init__(
        self,
        config: SpecialistConfig,
        specialist: Specialist,
        photos: Sequence[ByteImage],
    ) -> None:
        learnt, kept = split(photos, config.eval_photos)
        self._loss = pixel_loss(config.loss)
        steps = specialist.total_crops // config.batch_size
        crops = SpecialistCrops(learnt, specialist, config.side)
        self.batches = DrawnBatches(crops.pairs, config.batch_size, steps, config.seed)
        rng = np.random.default_rng((config.seed, 1, 1))
        self._held_out = SpecialistCrops(kept, specialist, config.side).pairs(
            config.eval_crops, rng
        )

    def loss(self, module: nn.Module, batch: CropPairs) -> Tensor:
        """Mean loss of the batch."""
        lq = batch.lq.contiguous(memory_format=torch.channels_last)
        return self._loss(module(lq).float(), batch.gt)

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """PSNR in dB on held-out crops, and what is gained over doing nothing."""
        lq, gt = (side.to(device) for side in self._held_out)
        return gain_metrics(module(lq), lq, gt)


def gain_metrics(restored: Tensor, lq: Tensor, gt: Tensor) -> dict[str, float]:
    """Mean PSNR in dB of what was restored, not clipped yet, and what is gained over ``lq``."""
    after = batch_psnr(restored.clamp(0.0, 1.0), gt).mean()
    return {"psnr": float(after), "gain": float(after - batch_psnr(lq, gt).mean())}


def split(
    photos: Sequence[ByteImage], num_kept: int
) -> tuple[Sequence[ByteImage], Sequence[ByteImage]]:
    """Photos to learn from, and the last ones, on which it is only measured.

    Raises:
        ToolchainError: There are too few.
    """
    learnt, kept = photos[:-num_kept], photos[-num_kept:]
    if not learnt:
        raise ToolchainError(f"{num_kept} photos are held out, and there are only {len(photos)}")
    return learnt, kept


def train_specialists(
    config: SpecialistConfig,
    run_path: Path,
    *,
    names: Sequence[str] = (),
    toolbox: str = WORLD_TOOLBOX,
    resume: bool = False,
    on_step: OnToolStep = lambda name, step, total, metrics: None,
) -> Path:
    """Train the tools of a plan, each in a folder of its own below ``run_path``.

    Tools that are finished are skipped; each is put into the toolbox as soon as it is.

    Args:
        config: Plan, and settings of the training.
        run_path: Folder of the runs, and of the toolbox below it.
        names: Tools to train now; none means all.
        toolbox: Name of the toolbox.
        resume: Go on with a tool that was interrupted.
        on_step: Progress.

    Returns:
        The folder of the toolbox.

    Raises:
        UnknownNameError: A tool is not in the plan, or one to start from is nowhere.
        RunMismatchError: The folder has tools of another plan.
        ToolchainError: A run was interrupted and is not to go on, does not fit, or there is none
            to go on with; the photos are unusable.
    """
    for name in names:
        if name not in config.tools:
            raise UnknownNameError("tool", name, config.tools)
    check_starts(config.tools)
    folder = run_path / TOOLBOX
    if (folder / MANIFEST).is_file():
        _check_same_plans(config, folder)
    left, begun = unfinished(names or config.tools, run_path, resume=resume)
    photos = read_photos(config.photos) if left else []
    for name in left:
        tool, notes = _train(
            name,
            config,
            photos,
            run_path,
            resume=name in begun,
            on_step=partial(on_step, name),
        )
        origins = [origin_of(config.photos), *_starting_origin(config.tools[name].init)]
        add_tool(
            tool,
            folder,
            joined(origins),
            name=toolbox,
            notes=notes,
            order=list(config.tools),
        )
    return folder


def check_starts(tools: Mapping[str, Specialist]) -> None:
    """Make sure that every tool can start from what its plan says, before any is trained.

    Raises:
        UnknownNameError: There is no such toolbox, or no such tool in it.
        ToolchainError: The tool to start from is not trained before, or has another network.
    """
    before: dict[str, str] = {}
    for name, plan in tools.items():
        if plan.init is not None:
            network = _network_of(plan.init, name, before)
            if network != plan.network:
                raise ToolchainError(
                    f"{name} has the network {plan.network}, but {plan.init}, which it is to start "
                    f"from, has {network}"
                )
        before[name] = plan.network


def _network_of(init: str, name: str, before: Mapping[str, str]) -> str:
    """Name of the network of a tool that another one is to start from."""
    home, slash, tool = init.rpartition("/")
    if slash:
        entries = read_manifest(toolbox_folder(home))["tools"]
        before = {entry["name"]: str(entry["network"]) for entry in entries}
        if tool not in before:
            raise UnknownNameError("tool", tool, before)
    elif init not in before:
        raise ToolchainError(
            f"{name} is to start from {init!r}, which is no tool before it in the plan"
        )
    return before[tool]


def _check_same_plans(config: SpecialistConfig, folder: Path) -> None:
    """Refuse to go on with tools that were trained for something else than what is planned now."""
    for name, notes in read_notes(folder).items():
        plan = config.tools.get(name)
        planned = None if plan is None else _facts_of(config, plan)
        if planned != {key: notes.get(key) for key in ("trained", "plan")}:
            raise RunMismatchError(
                f"the plan of {name} in {folder} is another one, or its settings are; "
                "train in another folder"
            )


def _facts_of(config: SpecialistConfig, plan: Specialist) -> dict[str, Any]:
    """What a manifest says of how a tool was trained."""
    return {"trained": settings_of(config), "plan": plain_plan(plan)}


def plain_plan(plan: Specialist) -> dict[str, Any]:
    """A plan as a manifest has it."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(plan)))
    return plain


def settings_of(config: SpecialistConfig) -> dict[str, Any]:
    """Settings of a training as a manifest has them."""
    left_out = (*NOT_NOTED, "tools", "photos")
    settings = dataclasses.asdict(config)
    return {key: value for key, value in settings.items() if key not in left_out}


def validation_of(objective: Objective, averaged: nn.Module) -> dict[str, float]:
    """What a manifest says of how well a tool does on crops that it did not learn from."""
    with torch.no_grad():
        metrics = objective.evaluate(averaged.eval(), torch.device("cpu"))
    return {name: round(value, 3) for name, value in metrics.items()}


def _train(
    name: str,
    config: SpecialistConfig,
    photos: Sequence[ByteImage],
    run_path: Path,
    *,
    resume: bool,
    on_step: Callable[[int, int, dict[str, float]], None],
) -> tuple[Tool, dict[str, Any]]:
    plan = config.tools[name]
    spec = plan.spec(name)
    own = dataclasses.replace(config, tools={name: plan})  # what a run records is of this tool
    fabric = make_fabric(own)
    tool = Tool(spec)
    if plan.init is not None:
        start = _starting_network(plan.init, run_path / TOOLBOX)
        try:
            tool.network.load_state_dict(start.state_dict())
        except RuntimeError as error:
            raise ToolchainError(f"the weights of {plan.init} do not fit {name!r}") from error
    notes = _facts_of(own, plan)
    if not plan.total_crops:
        return tool.requires_grad_(False).eval(), notes
    objective = CropObjective(own, plan, photos)
    averaged = train_module(
        tool.network,  # not the tool, whose door clips
        objective,
        own,
        run_path / name,
        fabric,
        num_steps=len(objective.batches),
        resume=resume,
        on_step=on_step,
    )
    notes["validation"] = validation_of(objective, averaged)
    return Tool(spec, averaged).eval(), notes


def _starting_network(init: str, folder: Path) -> nn.Module:
    """The network of a tool that was trained before, or of one of another toolbox."""
    home, slash, name = init.rpartition("/")
    toolbox = load_toolbox(home if slash else folder)
    return copy.deepcopy(toolbox[name].network)


def _starting_origin(init: str | None) -> list[Origin]:
    """The origin of starting weights of another toolbox; nothing of those of the plan."""
    home, slash, _ = (init or "").rpartition("/")
    return [read_origin(toolbox_folder(home))] if slash else []
