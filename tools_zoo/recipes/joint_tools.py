"""Tools learn what their agent gives them: the half of joint training that is theirs.

A tool that knows one kind of damage is no use to an agent that cannot be sure of the kind, if it
spoils all others. So each tool learns two things at once: its own families, which keep it true to
its name, and what its agent would give it, or nearly does. Those are families that look alike, and
images that another tool has half restored.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.images import ByteImage, to_float, to_tensor
from restoration_toolchain.data.patches.world_crops import WorldCrops, gather
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.tools_zoo.origin import joined, origin_of
from restoration_toolchain.tools_zoo.recipes.specialists import (
    CropObjective,
    OnToolStep,
    SpecialistConfig,
    SpecialistCrops,
    plain_plan,
    settings_of,
    validation_of,
)
from restoration_toolchain.tools_zoo.recipes.tool_runs import TOOLBOX, add_tool, unfinished
from restoration_toolchain.tools_zoo.storage import (
    MANIFEST,
    load_toolbox,
    read_notes,
    read_origin,
)
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.config import check_positive, check_shares
from restoration_toolchain.tools_zoo.training.errors import RunMismatchError
from restoration_toolchain.tools_zoo.training.loop import make_fabric, train_module
from restoration_toolchain.tools_zoo.training.processes import in_processes
from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT

NO_TOOL: Final = ""
"""In the place of the tool that ran before, where none did."""

Encounters = Mapping[tuple[str, str], float]
"""How often a tool is given what: (family of the damage, tool that ran before or `NO_TOOL`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointToolsConfig:
    """How tools learn what their agent gives them; all else is as when they were trained."""

    total_crops: int = 16_000
    """Crops that each tool learns from."""
    met: float = 0.5
    """Share of the crops that are such as the agent gives the tool; the others are its own."""
    temperature: float = 0.2
    """dB; what promises so much less than another tool is given to a tool e times less often."""
    untouched: float = 0.25
    """Weight of images that are to be left as they are: to learn to do nothing costs a tool much of
    what it is for, and to leave them alone is the agent's part."""
    learning_rate: float = 7e-4
    frozen: tuple[str, ...] = ()
    """Tools that stay as they are."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive(self, "total_crops")
        check_shares(self, "met", "untouched")
        for name in ("temperature", "learning_rate"):
            if not getattr(self, name) > 0.0:  # this way round it also catches NaN
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        object.__setattr__(self, "frozen", tuple(self.frozen))

    def settings(self, config: SpecialistConfig) -> SpecialistConfig:
        """Settings of the training of all tools that are not frozen.

        Raises:
            UnknownNameError: A tool that is to be frozen is not in the plan.
        """
        for name in self.frozen:
            if name not in config.tools:
                raise UnknownNameError("tool", name, config.tools)
        tools = {
            name: dataclasses.replace(plan, total_crops=self.total_crops, init=None)
            for name, plan in config.tools.items()
            if name not in self.frozen
        }
        # Another seed: others than the crops that the tools know already.
        return dataclasses.replace(
            config, learning_rate=self.learning_rate, tools=tools, seed=config.seed + 1
        )

    def check_chains(self, chains: Sequence[tuple[str, str]]) -> None:
        """Make sure that no tool learns to finish what another does not leave any more.

        Raises:
            ToolchainError: The first tool of a chain learns, and so does the second.
        """
        for first, second in chains:
            if not {first, second} & set(self.frozen):
                raise ToolchainError(
                    f"{second} learns to finish what {first} leaves: name {first} in "
                    "joint.tools.frozen"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRunConfig(SpecialistConfig):
    """How one tool learns what its agent gives it: all that its run depends on."""

    met: float
    """Share of the crops that are such as the agent gives the tool."""
    encounters: str
    """Checksum of what the agent gives it."""
    toolbox: str
    """Checksum of all tools as they were: it begins as one, and any may run before it."""
    behind: str = NO_TOOL
    """Tool that its own crops have gone through."""


@dataclass(eq=False)
class MetCrops:
    """Draws crops as a tool meets them: its own ones, and those that its agent gives it.

    Args:
        own: Crops that the tool is for.
        crops: Crops of the world, of the same photos.
        encounters: What its agent gives it.
        share: Share of crops that its agent gives it, 0 to 1.
        toolbox: All tools as they were; those that ran before are among them.
        behind: Tool that its own crops have gone through, or `NO_TOOL`: a tool that is the second
            one of a chain knows nothing else.
    """

    own: SpecialistCrops
    crops: WorldCrops
    encounters: Encounters
    share: float
    toolbox: Toolbox
    behind: str = NO_TOOL

    def pairs(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw (lq, gt), each float32 (N, 3, S, S) in [0, 1]."""
        met, weights = list(self.encounters), np.array(list(self.encounters.values()))
        drawn, before = [], []
        for _ in range(count):
            if met and rng.random() < self.share:
                family, tool = met[rng.choice(len(met), p=weights / weights.sum())]
                drawn.append(self.crops.draw_of(family, rng))
            else:
                tool = self.behind
                drawn.append(self.own.draw(rng))
            before.append(tool)
        lq, gt = (to_tensor(to_float(side)) for side in gather(drawn))
        tools = np.array(before)
        for name in sorted(set(before) - {NO_TOOL}):
            rows = torch.from_numpy(np.flatnonzero(tools == name))
            with torch.no_grad():
                batch = lq[rows].contiguous(memory_format=torch.channels_last)
                lq[rows] = self.toolbox[name](batch).to(lq)
        return lq, gt


@dataclass(frozen=True, slots=True)
class _Job:
    """What a process needs to know to train one tool."""

    name: str
    config: JointRunConfig
    tools: Path
    encounters: Encounters
    run_path: Path


def train_tools_jointly(
    config: SpecialistConfig,
    joint: JointToolsConfig,
    tools: Path,
    encounters: Mapping[str, Encounters],
    run_path: Path,
    *,
    chains: Sequence[tuple[str, str]] = (),
    num_processes: int = 1,
    resume: bool = False,
    on_step: OnToolStep = lambda name, step, total, metrics: None,
) -> Path:
    """Train all tools of a toolbox that are not frozen, each in a folder of its own.

    Args:
        config: Plan and settings with which they were trained.
        joint: What is different now.
        tools: Folder of the toolbox that they were trained to.
        encounters: What their agent gives each of them.
        run_path: Folder of the runs, and of the new toolbox below it.
        chains: Pairs of tools that are known to follow each other well.
        num_processes: Tools that are trained at once, each with one thread; one alone has all.
        resume: Go on with what was interrupted.
        on_step: Called whenever a tool is finished, with the number of those that are.

    Returns:
        The folder of the new toolbox.

    Raises:
        RunMismatchError: The folder has tools that learnt by other settings, from other weights, or
            from other encounters.
        ToolchainError: A run was interrupted and is not to go on; a chain begins with a tool that
            learns; the photos are unusable; a process ended too early.
    """
    joint.check_chains(chains)
    folder, names = run_path / TOOLBOX, list(config.tools)
    begun, notes = load_toolbox(tools), read_notes(tools)
    runs = _runs(config, joint, begun, encounters, chains)
    if (folder / MANIFEST).is_file():
        _check_same_runs(runs, folder)
    left, _ = unfinished(names, run_path, resume=resume)
    jobs = [
        _Job(name, runs[name], tools, encounters[name], run_path / name)
        for name in left
        if name in runs
    ]
    kept = [name for name in left if name not in runs]
    origin = joined([read_origin(tools), origin_of(config.photos)])
    for name in kept:
        add_tool(begun[name], folder, origin, name=begun.name, notes=notes[name], order=names)
    with in_processes(_train, jobs, num_processes) as trained:
        for done, (name, tool, facts) in enumerate(trained, len(names) - len(jobs) + 1):
            said = {**notes[name], "joint": facts}
            add_tool(tool, folder, origin, name=begun.name, notes=said, order=names)
            on_step("joint: tools", done, len(names), facts["validation"])
    return folder


def _runs(
    config: SpecialistConfig,
    joint: JointToolsConfig,
    begun: Toolbox,
    encounters: Mapping[str, Encounters],
    chains: Sequence[tuple[str, str]],
) -> dict[str, JointRunConfig]:
    """How each tool that is not frozen learns."""
    settings = joint.settings(config)
    fields = dataclasses.fields(SpecialistConfig)
    shared = {field.name: getattr(settings, field.name) for field in fields}
    behind = {second: first for first, second in chains}
    before = _checksum(sorted(begun.checksums.items()))
    return {
        name: JointRunConfig(
            **{**shared, "tools": {name: plan}},
            met=joint.met,
            encounters=_checksum(sorted(encounters[name].items())),
            toolbox=before,
            behind=behind.get(name, NO_TOOL),
        )
        for name, plan in settings.tools.items()
    }


def _checksum(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _facts_of(run: JointRunConfig, name: str) -> dict[str, Any]:
    """What a manifest says of how a tool learnt what its agent gives it."""
    return {"trained": settings_of(run), "plan": plain_plan(run.tools[name])}


def _check_same_runs(runs: Mapping[str, JointRunConfig], folder: Path) -> None:
    """Refuse to go on with tools that learnt otherwise, or learnt and are to be frozen."""
    for name, said in read_notes(folder).items():
        run, learnt = runs.get(name), dict(said.get("joint", {}))
        learnt.pop("validation", None)
        if learnt != ({} if run is None else _facts_of(run, name)):
            raise RunMismatchError(
                f"{name} in {folder} learnt by other settings, from other weights, or from other "
                "encounters; train in another folder"
            )


@functools.lru_cache(maxsize=1)
def _photos_of(sources: tuple[str, ...]) -> list[ByteImage]:
    """Photos of some sources; a process reads them once, however many tools it trains."""
    return [photo for source in sources for _, photo in open_source(source)]


def _train(job: _Job) -> tuple[str, Tool, dict[str, Any]]:
    config, plan = job.config, job.config.tools[job.name]
    toolbox = load_toolbox(job.tools).requires_grad_(False).eval()

    def met(some: Sequence[ByteImage], share: float = config.met) -> MetCrops:
        own, crops = SpecialistCrops(some, plan, config.side), WorldCrops(some, side=config.side)
        return MetCrops(own, crops, job.encounters, share, toolbox, config.behind)

    measured = {"": functools.partial(met, share=0.0), "met_": functools.partial(met, share=1.0)}
    objective = CropObjective(config, plan, _photos_of(tuple(config.photos)), met, measured)
    tool = Tool(plan.spec(job.name))
    tool.network.load_state_dict(toolbox[job.name].network.state_dict())
    averaged = train_module(
        tool.network,  # not the tool, whose door clips
        objective,
        config,
        job.run_path,
        make_fabric(config),
        num_steps=len(objective.batches),
        resume=(job.run_path / CHECKPOINT).is_file(),
    )
    notes = {**_facts_of(config, job.name), "validation": validation_of(objective, averaged)}
    return job.name, Tool(plan.spec(job.name), averaged).eval(), notes
