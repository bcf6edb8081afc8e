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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from restoration_toolchain.agents.outcomes.record import load
from restoration_toolchain.agents.policy.storage import (
    AGENT_FOLDER,
    checksum_of,
    load_policy,
    origin_of_agent,
    save_policy,
)
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.photos.sources import name_of
from restoration_toolchain.toolchain.learning.encounters import (
    encounters_of,
    read_encounters,
    write_encounters,
)
from restoration_toolchain.toolchain.learning.world import (
    BEST,
    HELD_OUT,
    WorldConfig,
    begin,
    photos_of,
    recording_of,
    train_world,
)
from restoration_toolchain.toolchain.measuring.tool_profile import COUNT, measure_profile
from restoration_toolchain.tools_zoo.device import choose_device
from restoration_toolchain.tools_zoo.origin import Origin, joined, origin_of
from restoration_toolchain.tools_zoo.profile import write_profile
from restoration_toolchain.tools_zoo.recipes.joint_tools import (
    Encounters,
    JointToolsConfig,
    train_tools_jointly,
)
from restoration_toolchain.tools_zoo.recipes.specialists import (
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
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.errors import (
    DamagedRunError,
    NothingToResumeError,
    RunTakenError,
)
from restoration_toolchain.tools_zoo.training.run_folder import (
    CHECKPOINT,
    check_table,
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

ENCOUNTERS: Final = "encounters.json"
"""File within it: what the first agent gives its tools."""

_TABLES: Final = ("specialists", "agent")
_STARTS: Final = ("init", "init_encoder")
"""Settings of an agent that name another one, which it begins with."""

SHARED: Final = ("photos", "seed", "device", "precision")
"""Settings that all stages take from the run."""

FRESH_FACTOR: Final = 3
"""How many times more crops a tool needs that begins with nothing, and not with one that ships."""
FRESH_CROPS: Final = 96_000
"""Crops of such a tool whose plan takes the one that ships as it is."""


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
    shared = {key: values[key] for key in SHARED if key in values}
    held_out = {"held_out": values["held_out"]} if "held_out" in values else {}
    if "toolbox" in values["agent"]:
        raise ToolchainError("the agent of a recipe learns with the tools of the recipe")
    toolbox = str(run_path / TOOLBOX)
    agent = {**values["agent"], **shared, **held_out, "toolbox": toolbox}
    if values.get("fresh", False):
        agent = {key: value for key, value in agent.items() if key not in _STARTS}
    profile_crops = values.get("profile_crops", COUNT)
    if not isinstance(profile_crops, int) or profile_crops < 1:
        raise ToolchainError(f"profile_crops must be a positive number, got {profile_crops!r}")
    specialists = read_specialists(values)
    chosen = config_from_dict(WorldConfig, agent, "agent.")
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


def read_specialists(values: Mapping[str, Any]) -> SpecialistConfig:
    """Read how the tools of a recipe are trained; errors as for `read_recipe`."""
    shared = {key: values[key] for key in SHARED if key in values}
    table = check_table(values["specialists"], "specialists")
    config = config_from_dict(SpecialistConfig, {**table, **shared}, "specialists.")
    if values.get("fresh", False):
        config = _from_nothing(config)
    check_starts(config.tools)
    return config


def _joint_of(
    table: Mapping[str, Any], agent: Mapping[str, Any], run_path: Path, tools: SpecialistConfig
) -> JointPhase:
    """Read the table of the joint phase; the agent keeps all settings that it does not name."""
    for key in check_table(table, "joint"):
        if key not in ("tools", "agent"):
            raise UnknownNameError("option", f"joint.{key}", ("joint.tools", "joint.agent"))
    own, of_tools = (check_table(table.get(key, {}), f"joint.{key}") for key in ("agent", "tools"))
    for key in ("toolbox", "chains", *_STARTS, "held_out", *SHARED):
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
        config_from_dict(JointToolsConfig, of_tools, "joint.tools."),
        config_from_dict(WorldConfig, merge_options(first, own) | ours, "joint.agent."),
    )
    for team in joint.tools.teams(list(tools.tools), joint.agent.chains):
        joint.tools.settings(tools, team)
    return joint


def _from_nothing(config: SpecialistConfig) -> SpecialistConfig:
    """The same plan, without the weights of other toolboxes that its tools begin with."""
    tools = {}
    for name, plan in config.tools.items():
        if "/" in (plan.init or ""):
            crops = FRESH_FACTOR * plan.total_crops or FRESH_CROPS
            plan = dataclasses.replace(plan, init=None, total_crops=crops)
        tools[name] = plan
    return dataclasses.replace(config, tools=tools)


def _check_tables(values: Mapping[str, Any], name: str) -> None:
    """Refuse unknown keys, missing tables, and in a table what is that of the whole run."""
    known = (*_TABLES, "joint", *SHARED, "held_out", "profile_crops", "fresh")
    for key in values:
        if key not in known:
            raise UnknownNameError("option", key, known)
    for key in _TABLES:
        if key not in values:
            raise ToolchainError(f"the recipe {name} has no table [{key}]")
        check_table(values[key], key)
    if not isinstance(values.get("fresh", False), bool):
        raise ToolchainError(f"fresh must be true or false, got {values['fresh']!r}")
    for table, taken in (("specialists", SHARED), ("agent", (*SHARED, "held_out"))):
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
    pack(tools, folder, recipe.name, learnt_from(recipe.agent))
    policy = train_world(config, agent, resume=(agent / CHECKPOINT).is_file(), on_step=on_step)
    save_policy(policy, folder / AGENT_FOLDER, {"recipe": recipe.name})
    return folder


def _train_tools_jointly(
    recipe: Recipe, joint: JointPhase, run_path: Path, on_step: OnPhaseStep
) -> Path:
    """Let the tools learn what the agent gives them on photos that it did not learn from."""
    config = recipe.agent
    met = _encounters(recipe, joint, run_path)
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


def _encounters(recipe: Recipe, joint: JointPhase, run_path: Path) -> dict[str, Encounters]:
    """What the first agent gives its tools: kept beside it, for its record may be deleted."""
    agent, path = run_path / AGENT / BEST, run_path / JOINT / ENCOUNTERS
    checksum = checksum_of(agent)
    if not path.is_file():
        config, names = recipe.agent, list(recipe.specialists.tools)
        recording = recording_of(config, names)
        shards = recording.shards(run_path / AGENT / HELD_OUT, config.held_out_crops)
        try:
            batches = config.batches(load(shards), names)
        except ToolchainError as error:
            raise DamagedRunError(
                f"what the agent gives its tools is not known: its record in {run_path / AGENT} is "
                "gone or damaged; delete that folder and resume, and the agent is trained again"
            ) from error
        met = encounters_of(load_policy(agent), batches, names, joint.tools)
        write_encounters(met, checksum, joint.tools, path)
    return read_encounters(path, checksum, joint.tools)


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


def pack(tools: Path, folder: Path, name: str, of_agent: Origin) -> None:
    """Write a toolbox as it ships: under its name, in numbers of 16 bits.

    Args:
        tools: Folder of the toolbox as it was trained.
        folder: Destination.
        name: Name of the toolbox.
        of_agent: Origin of the agent that will lie beside it, for the bundle has only one.
    """
    toolbox = load_toolbox(tools)
    notes = {tool: {**said, "recipe": name} for tool, said in read_notes(tools).items()}
    origin = joined([read_origin(tools), of_agent])
    save_toolbox(Toolbox(name, list(toolbox)), folder, notes, origin=origin, half=True)


def learnt_from(config: WorldConfig) -> Origin:
    """The origin of a first agent: its photos, and what the agents come from that it begins with.

    That of the joint phase begins with this one, and learns from the same photos.
    """
    begun = [origin_of_agent(agent) for agent in (config.init, config.init_encoder) if agent]
    return joined([origin_of([*config.photos, config.held_out]), *begun])
