"""Tools learn what their agent gives them: the half of joint training that is theirs.

A tool that knows one kind of damage is no use to an agent that cannot be sure of the kind, if it
spoils all others. So each tool learns two things at once: its own families, which keep it true to
its name, and what its agent would give it, or nearly does. Those are families that look alike, and
images that another tool has half restored. Tools that are known to follow each other well learn as
one network, end to end.
"""

import copy
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.images import ByteImage, to_float, to_tensor
from restoration_toolchain.data.patches.world_crops import Crop, WorldCrops, gather
from restoration_toolchain.data.photos.sources import read_photos
from restoration_toolchain.tools_zoo.losses import pixel_loss
from restoration_toolchain.tools_zoo.origin import joined, origin_of
from restoration_toolchain.tools_zoo.recipes.specialists import (
    OnToolStep,
    Specialist,
    SpecialistConfig,
    SpecialistCrops,
    gain_metrics,
    plain_plan,
    settings_of,
    split,
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
from restoration_toolchain.tools_zoo.training.batches import DrawnBatches
from restoration_toolchain.tools_zoo.training.config import (
    check_not_negative,
    check_positive,
    check_shares,
)
from restoration_toolchain.tools_zoo.training.errors import RunMismatchError
from restoration_toolchain.tools_zoo.training.loop import make_fabric, train_module
from restoration_toolchain.tools_zoo.training.processes import in_processes
from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT

NO_TOOL: Final = ""
"""In the place of the tool that ran before, where none did."""

Team = tuple[str, ...]
"""Tools that learn together, in the order in which they run."""

Encounters = Mapping[tuple[str, str], float]
"""How often a tool is given what: (family of the damage, tool that ran before or `NO_TOOL`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointToolsConfig:
    """How tools learn what their agent gives them; all else is as when they were trained."""

    total_crops: int = 16_000
    """Crops that each tool learns from."""
    chain_crops: int = 96_000
    """Crops that the tools of a chain learn from, end to end."""
    met: float = 0.5
    """Share of the crops that are such as the agent gives the tool; the others are its own."""
    early: float = 0.3
    """Weight of the error behind the first tool of a chain: it must be worth something by itself,
    or an agent would not begin with it."""
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
        check_positive(self, "total_crops", "chain_crops")
        check_shares(self, "met", "untouched")
        check_not_negative(self, "early")
        for name in ("temperature", "learning_rate"):
            if not getattr(self, name) > 0.0:  # this way round it also catches NaN
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        object.__setattr__(self, "frozen", tuple(self.frozen))

    def teams(self, names: Sequence[str], chains: Sequence[tuple[str, str]]) -> list[Team]:
        """Tools that learn together, in the order in which they run: chains, and all others alone.

        Args:
            names: Names of all tools.
            chains: Pairs of tools that are known to follow each other well.

        Raises:
            UnknownNameError: A tool that is to be frozen is none of these.
            ToolchainError: A tool would have to learn in two chains at once.
        """
        for name in self.frozen:
            if name not in names:
                raise UnknownNameError("tool", name, names)
        teams: list[Team] = [chain for chain in chains if self.learning(chain)]
        taken = [name for team in teams for name in self.learning(team)]
        for name in taken:
            if taken.count(name) > 1:
                raise ToolchainError(
                    f"{name} would learn in two chains at once: name it in joint.tools.frozen"
                )
        return [*teams, *((name,) for name in names if name not in (*taken, *self.frozen))]

    def learning(self, team: Team) -> Team:
        """Those tools of a team that are not frozen."""
        return tuple(name for name in team if name not in self.frozen)

    def settings(self, config: SpecialistConfig, team: Team) -> SpecialistConfig:
        """Settings with which the tools of a team learn.

        Raises:
            ToolchainError: There are fewer crops than a batch has.
        """
        key = "total_crops" if len(team) == 1 else "chain_crops"
        crops = getattr(self, key)
        if crops < config.batch_size:
            raise ToolchainError(f"joint.tools.{key} must hold a batch of {config.batch_size}")
        tools = {
            name: dataclasses.replace(config.tools[name], total_crops=crops, init=None)
            for name in self.learning(team)
        }
        # Another seed: others than the crops that the tools know already.
        return dataclasses.replace(
            config, learning_rate=self.learning_rate, tools=tools, seed=config.seed + 1
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRunConfig(SpecialistConfig):
    """How the tools of a team learn what their agent gives them: all that their run depends on."""

    team: Team
    """Tools that run one behind the other; those in ``tools`` learn."""
    own: Specialist
    """Plan of the first of them: what comes in is what all of them are for."""
    met: float
    """Share of the crops that are such as the agent gives one of them."""
    early: float
    """Weight of the error behind the first of two."""
    encounters: str
    """Checksum of what the agent gives them."""
    toolbox: str
    """Checksum of all tools as they were: they begin as such, and any may run before them."""

    @property
    def total_crops(self) -> int:
        """Crops seen in all."""
        return max(plan.total_crops for plan in self.tools.values())


class TeamSample(NamedTuple):
    """A batch; images are float32 (N, 3, S, S) in [0, 1].

    Attributes:
        lq: Degraded, and what other tools left of it.
        gt: Clean.
        runs: (N, tools of the team) bool, which of them run.
    """

    lq: Tensor
    gt: Tensor
    runs: Tensor


@dataclass(eq=False)
class TeamCrops:
    """Draws crops as the tools of a team meet them: their own, and those that the agent gives one.

    Args:
        own: Crops that the team is for; all of its tools run on them.
        crops: Crops of the world, of the same photos.
        encounters: What the agent gives each tool of the team; only this one runs there.
        share: Share of crops that the agent gives one of them, 0 to 1.
        toolbox: All tools as they were; those that ran before are among them.
    """

    own: SpecialistCrops
    crops: WorldCrops
    encounters: Sequence[Encounters]
    share: float
    toolbox: Toolbox

    def __post_init__(self) -> None:
        """Put what the tools are given into one list."""
        self._given = [
            (place, family, tool, weight)
            for place, given in enumerate(self.encounters)
            for (family, tool), weight in given.items()
            if weight > 0.0
        ]
        weights = np.array([weight for *_, weight in self._given])
        self._chances = weights / weights.sum() if self._given else weights

    def sample(self, count: int, rng: np.random.Generator) -> TeamSample:
        """Draw a batch of so many crops."""
        drawn: list[Crop] = []
        before = np.full(count, NO_TOOL, dtype=object)
        runs = torch.ones(count, len(self.encounters), dtype=torch.bool)
        for row in range(count):
            if self._given and rng.random() < self.share:
                place, family, before[row], _ = self._given[
                    rng.choice(len(self._given), p=self._chances)
                ]
                drawn.append(self.crops.draw_of(family, rng))
                runs[row] = torch.arange(len(self.encounters)) == place
            else:
                drawn.append(self.own.draw(rng))
        lq, gt = (to_tensor(to_float(side)) for side in gather(drawn))
        for name in sorted(set(before) - {NO_TOOL}):
            rows = torch.from_numpy(np.flatnonzero(before == name))
            with torch.no_grad():
                batch = lq[rows].contiguous(memory_format=torch.channels_last)
                lq[rows] = self.toolbox[name](batch).to(lq)
        return TeamSample(lq, gt, runs)


class TeamNetwork(nn.Module):
    """Networks of tools that run one behind the other.

    Args:
        networks: The networks; not the tools, which clip what they give, and with it gradients.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self._networks = nn.ModuleList(networks)

    @property
    def networks(self) -> list[nn.Module]:
        """Each has a first and a last convolution of its own (`training.muon`)."""
        return list(self._networks)

    def forward(self, lq: Tensor, runs: Tensor) -> list[Tensor]:
        """Run on each image (N, 3, S, S) in [0, 1] those networks that are to, (N, networks) bool.

        Returns:
            Images after each network, float32, not clipped.
        """
        images, after = lq, list[Tensor]()
        for network, does_run in zip(self._networks, runs.T, strict=True):
            rows = torch.nonzero(does_run).flatten()
            if not len(rows):  # not every network takes an empty batch
                after.append(images)
                continue
            batch = images[rows].clamp(0.0, 1.0).contiguous(memory_format=torch.channels_last)
            images = images.clone()
            images[rows] = network(batch).float()
            after.append(images)
        return after


class TeamObjective:
    """Training objective of a team: the clean partners, behind each of its tools.

    Args:
        config: Settings.
        crops_of: Makes crops of some of the photos, of which a share is such as the agent gives.
        photos: Clean photos; the last ones are held out.

    Raises:
        ToolchainError: There are too few photos.
    """

    def __init__(
        self,
        config: JointRunConfig,
        crops_of: Callable[[Sequence[ByteImage], float], TeamCrops],
        photos: Sequence[ByteImage],
    ) -> None:
        learnt, kept = split(photos, config.eval_photos)
        self._loss, self._early = pixel_loss(config.loss), config.early
        steps = config.total_crops // config.batch_size
        crops = crops_of(learnt, config.met)
        self.batches = DrawnBatches(crops.sample, config.batch_size, steps, config.seed)
        self._held_out = {
            name: crops_of(kept, share).sample(
                config.eval_crops, np.random.default_rng((config.seed, 1, 1))
            )
            for name, share in (("", 0.0), ("met_", 1.0))
        }

    def loss(self, module: nn.Module, batch: TeamSample) -> Tensor:
        """Mean loss of the batch, with a part behind the first of two tools."""
        after = cast(list[Tensor], module(batch.lq, batch.runs))
        loss = self._loss(after[-1], batch.gt)
        for place, images in enumerate(after[:-1]):
            goes_on = batch.runs[:, place] & batch.runs[:, place + 1 :].any(dim=1)
            if goes_on.any():
                part = self._loss(images[goes_on], batch.gt[goes_on])
                loss = loss + self._early * goes_on.float().mean() * part
        return loss

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """PSNR in dB on held-out crops, and what is gained over doing nothing."""
        metrics: dict[str, float] = {}
        for name, sample in self._held_out.items():
            lq, gt, runs = (part.to(device) for part in sample)
            found = gain_metrics(module(lq, runs)[-1], lq, gt)
            metrics |= {f"{name}{key}": value for key, value in found.items()}
        return metrics


@dataclass(frozen=True, slots=True)
class _Job:
    """What a process needs to know to train a team."""

    config: JointRunConfig
    tools: Path
    encounters: tuple[Encounters, ...]
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
    """Train all tools of a toolbox that are not frozen, those of a chain end to end.

    Each team has a folder of its own, which is called as the first of its tools that learns.

    Args:
        config: Plan and settings with which they were trained.
        joint: What is different now.
        tools: Folder of the toolbox that they were trained to.
        encounters: What their agent gives each of them.
        run_path: Folder of the runs, and of the new toolbox below it.
        chains: Pairs of tools that are known to follow each other well.
        num_processes: Teams that are trained at once, each with one thread; one alone has all.
        resume: Go on with what was interrupted.
        on_step: Called whenever a team is finished, with the number of tools that are.

    Returns:
        The folder of the new toolbox.

    Raises:
        RunMismatchError: The folder has tools that learnt by other settings, from other weights, or
            from other encounters.
        ToolchainError: A run was interrupted and is not to go on; a tool would learn in two chains;
            the photos are unusable; a process ended too early.
    """
    folder, names = run_path / TOOLBOX, list(config.tools)
    begun, notes = load_toolbox(tools), read_notes(tools)
    runs = _runs(config, joint, begun, encounters, chains)
    by_name = {name: run for run in runs for name in run.tools}
    if (folder / MANIFEST).is_file():
        _check_same_runs(by_name, begun, folder)
    left, _ = unfinished(names, run_path, resume=resume)
    jobs = [
        _Job(
            run,
            tools,
            _given(run, encounters),
            run_path / next(iter(run.tools)),
        )
        for run in runs
        if set(run.tools) & set(left)
    ]
    origin = joined([read_origin(tools), origin_of(config.photos)])
    for name in [name for name in left if name not in by_name]:
        add_tool(begun[name], folder, origin, name=begun.name, notes=notes[name], order=names)
        left.remove(name)
    with in_processes(_train, jobs, num_processes) as trained:
        for learnt, validation in trained:
            for tool in learnt:
                name = tool.spec.name
                if name in left:  # or it was put away before an interruption, and its partner not
                    run = by_name[name]
                    # What two tools reach together says little of one.
                    of = "" if len(run.team) == 1 else "chain_"
                    reached = {f"{of}{key}": value for key, value in validation.items()}
                    facts = {**_facts_of(run, name), "validation": reached}
                    said = {**notes[name], "joint": facts}
                    add_tool(tool, folder, origin, name=begun.name, notes=said, order=names)
                    left.remove(name)
            on_step("joint: tools", len(names) - len(left), len(names), validation)
    return folder


def _runs(
    config: SpecialistConfig,
    joint: JointToolsConfig,
    begun: Toolbox,
    encounters: Mapping[str, Encounters],
    chains: Sequence[tuple[str, str]],
) -> list[JointRunConfig]:
    """How each team learns."""
    fields = [field.name for field in dataclasses.fields(SpecialistConfig)]
    before = _checksum(sorted(begun.checksums.items()))
    runs = []
    for team in joint.teams(list(config.tools), chains):
        settings = joint.settings(config, team)
        run = JointRunConfig(
            **{name: getattr(settings, name) for name in fields},
            team=team,
            own=config.tools[team[0]],
            met=joint.met,
            early=joint.early,
            encounters="",
            toolbox=before,
        )
        given = _checksum([sorted(met.items()) for met in _given(run, encounters)])
        runs.append(dataclasses.replace(run, encounters=given))
    return runs


def _given(run: JointRunConfig, encounters: Mapping[str, Encounters]) -> tuple[Encounters, ...]:
    """What each tool of a team is given; nothing, if it does not learn."""
    return tuple(encounters[name] if name in run.tools else {} for name in run.team)


def _checksum(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _facts_of(run: JointRunConfig, name: str) -> dict[str, Any]:
    """What a manifest says of how a tool learnt what its agent gives it."""
    plain = {"trained": settings_of(run), "plan": plain_plan(run.tools[name])}
    return cast(dict[str, Any], json.loads(json.dumps(plain)))


def _check_same_runs(runs: Mapping[str, JointRunConfig], begun: Toolbox, folder: Path) -> None:
    """Refuse to go on with tools that learnt otherwise, or learnt and are to be frozen."""
    there = load_toolbox(folder).checksums
    for name, said in read_notes(folder).items():
        run, learnt = runs.get(name), dict(said.get("joint", {}))
        learnt.pop("validation", None)
        is_same = there[name] == begun.checksums.get(name) if run is None else True
        if not is_same or learnt != ({} if run is None else _facts_of(run, name)):
            raise RunMismatchError(
                f"{name} in {folder} learnt by other settings, from other weights, or from other "
                "encounters; train in another folder"
            )


@functools.lru_cache(maxsize=1)
def _photos_of(sources: tuple[str, ...]) -> list[ByteImage]:
    """Photos of some sources; a process reads them once, however many tools it trains."""
    return read_photos(sources)


def _train(job: _Job) -> tuple[list[Tool], dict[str, float]]:
    """Train a team: the tools that learnt, and how well they do on photos that they did not see."""
    config = job.config
    toolbox = load_toolbox(job.tools).requires_grad_(False).eval()

    def crops_of(some: Sequence[ByteImage], share: float) -> TeamCrops:
        own = SpecialistCrops(some, config.own, config.side)
        crops = WorldCrops(some, side=config.side)
        return TeamCrops(own, crops, job.encounters, share, toolbox)

    objective = TeamObjective(config, crops_of, _photos_of(tuple(config.photos)))
    begun = [copy.deepcopy(toolbox[name].network) for name in config.team]
    for name, network in zip(config.team, begun, strict=True):
        network.requires_grad_(name in config.tools).train(name in config.tools)
    averaged = train_module(
        TeamNetwork(begun),
        objective,
        config,
        job.run_path,
        make_fabric(config, skips_parts=True),
        num_steps=len(objective.batches),
        resume=(job.run_path / CHECKPOINT).is_file(),
    )
    assert isinstance(averaged, TeamNetwork)
    learnt = [
        Tool(config.tools[name].spec(name), network).eval()
        for name, network in zip(config.team, averaged.networks, strict=True)
        if name in config.tools
    ]
    return learnt, validation_of(objective, averaged)
