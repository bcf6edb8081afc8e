"""One recipe for everything that ships: tools, the record of what they do, and their agent.

A recipe is a file with tables. ``[specialists]`` are the settings of the tools
(`tools_zoo.recipes.specialists`), ``[agent]`` those of their agent (`toolchain.learning.world`).
The run folder has a folder for each stage, and each goes on from where it was interrupted:
``tools`` are the runs of the tools, ``toolbox`` is the bundle of tools and agent, and ``agent`` is
the run of the agent. If the recipe has a table ``[joint]``, tools and agent then learn from each
other: first the tools learn what the agent gives them (`tools_zoo.recipes.joint_tools`), then the
agent learns what they do now. The folder ``joint`` holds the same three once more, and the bundle
there is what ships.
"""

import dataclasses
import itertools
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from restoration_toolchain.agents.learning.fresh_crops import Lessons
from restoration_toolchain.agents.learning.outcome_learning import OutcomeObjective
from restoration_toolchain.agents.outcomes.record import load, record_shard
from restoration_toolchain.agents.policy.storage import AGENT_FOLDER, load_policy, save_policy
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.patches.world_crops import WorldCrops
from restoration_toolchain.data.photos.sources import name_of, open_source
from restoration_toolchain.toolchain.learning.encounters import encounters_of
from restoration_toolchain.toolchain.learning.world import (
    BEST,
    HELD_OUT,
    WorldConfig,
    begin,
    families_of_the_world,
    photos_of,
    recording_of,
    train_world,
)
from restoration_toolchain.toolchain.measuring.tool_profile import COUNT, PROFILED, measure_profile
from restoration_toolchain.tools_zoo.device import choose_device
from restoration_toolchain.tools_zoo.profile import write_profile
from restoration_toolchain.tools_zoo.recipes.joint_tools import (
    JointToolsConfig,
    train_tools_jointly,
)
from restoration_toolchain.tools_zoo.recipes.specialists import (
    CropObjective,
    SpecialistConfig,
    check_starts,
    train_specialists,
)
from restoration_toolchain.tools_zoo.recipes.tool_runs import TOOLBOX
from restoration_toolchain.tools_zoo.storage import (
    MANIFEST,
    load_toolbox,
    read_notes,
    read_origin,
    save_toolbox,
)
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.errors import NothingToResumeError, RunTakenError
from restoration_toolchain.tools_zoo.training.loop import count_steps_within, make_fabric
from restoration_toolchain.tools_zoo.training.run_folder import (
    CHECKPOINT,
    config_from_dict,
    merge_options,
)

OnPhaseStep = Callable[[str, int, int, dict[str, float]], None]
"""Called with (phase, step, total, newest metrics)."""

TOOLS: Final = "tools"
AGENT: Final = "agent"
"""Folders of the stages within a run; the toolbox lies beside them."""

JOINT: Final = "joint"
"""Folder of the joint phase within a run: the same three again."""

_TABLES: Final = ("specialists", "agent")
_SHARED: Final = ("photos", "seed", "device", "precision")
"""Settings that both stages take from the run."""

FRESH_FACTOR: Final = 3
"""How many times more crops a tool needs that begins with nothing, and not with one that ships."""
FRESH_CROPS: Final = 96_000
"""Crops of such a tool whose plan takes the one that ships as it is."""

_TRIAL_CROPS: Final = 8
_TRIAL_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained, stage by stage.

    Attributes:
        name: Name of the recipe, and of the toolbox that it makes.
        specialists: Settings of the tools.
        agent: Settings of the agent; its toolbox is that of the run.
        joint: Joint phase, if there is one.
        profile_crops: Crops of each family on which the tools are measured in the end.
    """

    name: str
    specialists: SpecialistConfig
    agent: WorldConfig
    joint: "JointPhase | None" = None
    profile_crops: int = COUNT


@dataclass(frozen=True, slots=True)
class JointPhase:
    """How tools and agent learn from each other.

    Attributes:
        tools: How the tools learn what the agent gives them.
        agent: How the agent then goes on with them.
    """

    tools: JointToolsConfig
    agent: WorldConfig


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stage takes on this machine.

    Attributes:
        stage: Name of the stage: a tool, *recording*, *learning*, these of the joint phase, or
            *measuring*.
        crops: Crops that it works on.
        minutes: Time, as a trial of a few crops says.
    """

    stage: str
    crops: int
    minutes: float


def read_recipe(values: Mapping[str, Any], *, name: str, run_path: Path) -> Recipe:
    """Read a recipe of plain values, as a TOML file has them.

    Args:
        values: Tables ``specialists``, ``agent`` and ``joint``; beside them ``photos``,
            ``held_out``, ``profile_crops``, and ``seed``, ``device`` and ``precision``, which all
            stages share; and ``fresh``, whether nothing begins with weights that ship, and so with
            what these were learnt from.
        name: Name of the recipe.
        run_path: Run folder.

    Raises:
        UnknownNameError: A key is none of these, or a tool or a toolbox does not exist.
        ToolchainError: A value is refused, or a table is missing.
    """
    _check_tables(values, name)
    if values.get("fresh", False):
        values = _from_nothing(values)
    shared = {key: values[key] for key in _SHARED if key in values}
    held_out = {"held_out": values["held_out"]} if "held_out" in values else {}
    if "toolbox" in values["agent"]:
        raise ToolchainError("the agent of a recipe learns with the tools of the recipe")
    toolbox = str(run_path / TOOLBOX)
    agent = {**values["agent"], **shared, **held_out, "toolbox": toolbox}
    profile_crops = values.get("profile_crops", COUNT)
    if not isinstance(profile_crops, int) or profile_crops < 1:
        raise ToolchainError(f"profile_crops must be a positive number, got {profile_crops!r}")
    specialists = config_from_dict(
        SpecialistConfig, {**values["specialists"], **shared}, "specialists."
    )
    chosen = config_from_dict(WorldConfig, agent, "agent.")
    check_starts(specialists.tools)
    for tool in itertools.chain(*chosen.chains):
        if tool not in specialists.tools:
            raise UnknownNameError("tool", tool, specialists.tools)
    return Recipe(
        name,
        specialists,
        chosen,
        _joint_of(values["joint"], agent, run_path, specialists) if "joint" in values else None,
        profile_crops,
    )


def _joint_of(
    table: Mapping[str, Any], agent: Mapping[str, Any], run_path: Path, tools: SpecialistConfig
) -> JointPhase:
    """Read the table of the joint phase; the agent keeps all settings that it does not name."""
    if not isinstance(table, Mapping):
        raise ToolchainError("the recipe's joint is no table")
    for key in table:
        if key not in ("tools", "agent"):
            raise UnknownNameError("option", f"joint.{key}", ("joint.tools", "joint.agent"))
    own = table.get("agent", {})
    for key in ("toolbox", "chains", "init", "init_encoder", "held_out", *_SHARED):
        if key in own:
            raise ToolchainError(f"joint.agent.{key} is that of the whole run")
    first = {key: value for key, value in agent.items() if key != "init_encoder"}
    ours = {
        "toolbox": str(run_path / JOINT / TOOLBOX),
        "init": str(run_path / AGENT / BEST),
        # Others than the crops that the agent knows already.
        "seed": first.get("seed", 0) + 1,
    }
    joint = JointPhase(
        config_from_dict(JointToolsConfig, table.get("tools", {}), "joint.tools."),
        config_from_dict(WorldConfig, merge_options(first, own) | ours, "joint.agent."),
    )
    joint.tools.settings(tools)
    return joint


def _from_nothing(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same recipe, without the weights of other toolboxes and agents that it begins with."""
    tools = {}
    for name, plan in values["specialists"].get("tools", {}).items():
        if "/" in plan.get("init", ""):
            crops = FRESH_FACTOR * plan.get("total_crops", 0) or FRESH_CROPS
            plan = {**plan, "total_crops": crops}
            del plan["init"]
        tools[name] = plan
    agent = {key: value for key, value in values["agent"].items() if key != "init_encoder"}
    return {**values, "specialists": {**values["specialists"], "tools": tools}, "agent": agent}


def _check_tables(values: Mapping[str, Any], name: str) -> None:
    """Refuse unknown keys, missing tables, and in a table what is that of the whole run."""
    known = (*_TABLES, "joint", *_SHARED, "held_out", "profile_crops", "fresh")
    for key in values:
        if key not in known:
            raise UnknownNameError("option", key, known)
    for key in _TABLES:
        if not isinstance(values.get(key), Mapping):
            raise ToolchainError(f"the recipe {name} has no table [{key}]")
    if not isinstance(values.get("fresh", False), bool):
        raise ToolchainError(f"fresh must be true or false, got {values['fresh']!r}")
    for table, taken in (("specialists", _SHARED), ("agent", (*_SHARED, "held_out"))):
        for key in taken:
            if key in values[table]:
                raise ToolchainError(f"{table}.{key} is that of the whole run: set {key}")


def train_recipe(
    recipe: Recipe,
    run_path: Path,
    *,
    resume: bool = False,
    on_step: OnPhaseStep = lambda phase, step, total, metrics: None,
) -> Path:
    """Make tools and their agent from nothing; a stage that is finished is not made again.

    Args:
        recipe: What is trained.
        run_path: Run folder.
        resume: Go on from what the folder holds.
        on_step: Progress.

    Returns:
        The folder of the toolbox with its agent in it.

    Raises:
        ToolchainError: The photos are unusable, or the folder holds another run.
    """
    tools = run_path / TOOLS
    begun = (tools / TOOLBOX / MANIFEST).is_file() or any(tools.rglob(CHECKPOINT))
    if begun and not resume:
        raise RunTakenError(f"{run_path} already holds a run")
    if resume and not begun:
        raise NothingToResumeError(f"nothing to resume in {run_path}")
    # What is wrong with the agent's settings is said before the hours that its tools take.
    begin(recipe.agent, list(recipe.specialists.tools))
    photos_of(recipe.agent, HELD_OUT)
    tools = train_specialists(recipe.specialists, tools, resume=begun, on_step=on_step)
    folder = _train_agent(recipe, recipe.agent, tools, run_path, on_step)
    if recipe.joint is not None:
        tools = _train_tools_jointly(recipe, recipe.joint, run_path, on_step)
        folder = _train_agent(recipe, recipe.joint.agent, tools, run_path / JOINT, on_step)
    _measure(recipe, folder, on_step)
    return folder


def _train_agent(
    recipe: Recipe, config: WorldConfig, tools: Path, run_path: Path, on_step: OnPhaseStep
) -> Path:
    """Pack tools as they ship, train their agent, and put it beside them."""
    folder, agent = run_path / TOOLBOX, run_path / AGENT
    pack(tools, folder, recipe.name)
    policy = train_world(config, agent, resume=(agent / CHECKPOINT).is_file(), on_step=on_step)
    save_policy(policy, folder / AGENT_FOLDER, {"recipe": recipe.name})
    return folder


def _train_tools_jointly(
    recipe: Recipe, joint: JointPhase, run_path: Path, on_step: OnPhaseStep
) -> Path:
    """Let the tools learn what the agent gives them on photos that it did not learn from."""
    config, names = recipe.agent, list(recipe.specialists.tools)
    shards = recording_of(config, names).shards(run_path / AGENT / HELD_OUT, config.held_out_crops)
    met = encounters_of(
        load_policy(run_path / AGENT / BEST), config.batches(load(shards), names), names
    )
    runs = run_path / JOINT / TOOLS
    return train_tools_jointly(
        recipe.specialists,
        joint.tools,
        run_path / TOOLS / TOOLBOX,
        met,
        runs,
        chains=config.chains,
        num_processes=config.num_processes,
        resume=any(runs.rglob(CHECKPOINT)),
        on_step=on_step,
    )


def _measure(recipe: Recipe, folder: Path, on_step: OnPhaseStep) -> None:
    """Put the profile of the tools into their folder, measured on the photos that are held out."""
    toolbox, agent = load_toolbox(folder), recipe.agent
    if toolbox.profile is not None:
        return
    profile = measure_profile(
        toolbox,
        photos_of(agent, HELD_OUT),
        source=name_of(agent.held_out),
        count=recipe.profile_crops,
        seed=agent.seed,
        device=choose_device(agent.device),
        on_family=lambda done, total, name: on_step("measuring tools", done, total, {}),
    )
    write_profile(profile, folder)


def pack(tools: Path, folder: Path, name: str) -> None:
    """Write a toolbox as it ships: under its name, in numbers of 16 bits."""
    toolbox = load_toolbox(tools)
    notes = {tool: {**said, "recipe": name} for tool, said in read_notes(tools).items()}
    save_toolbox(Toolbox(name, list(toolbox)), folder, notes, origin=read_origin(tools), half=True)


def estimate(recipe: Recipe) -> list[Cost]:
    """Say what the stages cost on this machine, by trying a few crops of each.

    Raises:
        ToolchainError: The photos are unusable.
    """
    specialists, agent = recipe.specialists, recipe.agent
    photos = [photo for source in specialists.photos for _, photo in open_source(source)]
    costs = []
    speeds: dict[str, float] = {}
    for name, plan in specialists.tools.items():
        if plan.network not in speeds:
            tried = dataclasses.replace(specialists, eval_crops=_TRIAL_CROPS)
            objective = CropObjective(tried, plan, photos)
            network = Tool(plan.spec(name)).network
            fabric = make_fabric(tried)
            steps = count_steps_within(_TRIAL_SECONDS, network, objective, 10**6, fabric)
            seconds = _TRIAL_SECONDS / steps + _seconds(partial(objective.batches.__getitem__, 0))
            speeds[plan.network] = seconds / specialists.batch_size
        minutes = plan.total_crops * speeds[plan.network] / 60.0
        costs.append(Cost(name, plan.total_crops, minutes))
    pace = _pace_of(recipe, WorldCrops(photos))
    costs += pace.of_agent(agent)
    if (joint := recipe.joint) is not None:
        plans = joint.tools.settings(specialists).tools.values()
        minutes = sum(plan.total_crops * speeds[plan.network] for plan in plans) / 60.0
        costs.append(Cost("joint: tools", sum(plan.total_crops for plan in plans), minutes))
        costs += pace.of_agent(joint.agent, "joint: ")
    measured = recipe.profile_crops * (len(PROFILED) + len(specialists.tools))
    return [*costs, Cost("measuring", measured, measured * pace.measuring / 60.0)]


@dataclass(frozen=True, slots=True)
class _Pace:
    """Seconds that a crop takes in each of the stages behind the tools."""

    recording: float
    learning: float
    measuring: float

    def of_agent(self, agent: WorldConfig, phase: str = "") -> list[Cost]:
        """What the stages of an agent cost."""
        recorded = agent.num_crops + agent.held_out_crops
        learnt = agent.num_crops * agent.learning.epochs * agent.rounds
        return [
            Cost(f"{phase}recording", recorded, recorded * self.recording / 60.0),
            Cost(f"{phase}learning", learnt, learnt * self.learning / 60.0),
        ]


def _pace_of(recipe: Recipe, crops: WorldCrops) -> _Pace:
    """Try the stages of the agent on a shard."""
    agent = recipe.agent
    tools = [Tool(plan.spec(name)) for name, plan in recipe.specialists.tools.items()]
    toolbox = Toolbox(recipe.name, tools).requires_grad_(False).eval()
    recording = recording_of(agent, toolbox.names)
    toolbox.to(recording.device)
    with tempfile.TemporaryDirectory() as folder:
        (shard,) = recording.shards(Path(folder), 1)
        started = time.perf_counter()
        record_shard(toolbox, crops, recording, shard, 0)
        seconds = time.perf_counter() - started
        outcomes = load([shard])
    count = len(np.unique(outcomes.episode))
    settings = agent.round(0)
    batches = agent.batches(outcomes, toolbox.names)
    most = agent if recipe.joint is None else recipe.joint.agent
    lessons = Lessons(batches, crops, families_of_the_world(), num_fresh=most.learning.fresh)
    objective = OutcomeObjective(lessons, batches, settings)
    steps = count_steps_within(
        _TRIAL_SECONDS, begin(agent, toolbox.names), objective, 10**6, make_fabric(settings)
    )
    return _Pace(
        recording=seconds / count,
        learning=_TRIAL_SECONDS / steps / min(count, settings.batch_size),
        # All tools run on these once, as on a state of the record.
        measuring=seconds / len(outcomes.images),
    )


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
