"""Training plans: which tools, in which order, from which starting weights, with which settings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.catalog import CLASSIC, TOOLBOXES
from restoration_toolchain.tools_zoo.enlarging.config import (
    OneStepTrainConfig,
    SftTrainConfig,
    SrTrainConfig,
)
from restoration_toolchain.tools_zoo.tool import ToolSpec
from restoration_toolchain.tools_zoo.training.run_folder import config_from_dict, load_toml
from restoration_toolchain.tools_zoo.training.supervised import ToolTrainConfig

RECIPES_FOLDER: Final = Path(__file__).parent

SPECS: Final[dict[str, ToolSpec]] = {
    spec.name: spec for specs in TOOLBOXES.values() for spec in specs
}
"""Every tool that can be trained, by name."""

SR_BASE: Final = "sr-psnr"
"""What all other tools of its scale start from."""

_SR_KINDS: Final[dict[str, type[SrTrainConfig]]] = {
    "sft_x4": SftTrainConfig,
    "film_x4": SftTrainConfig,
    "concat_x4": SftTrainConfig,
    "one_step_x4": OneStepTrainConfig,
}
"""Settings of tools that make images larger and have trainers of their own, by their network."""

_PLAN_KEYS: Final = ("init", "keep")
_RECIPE_KEYS: Final = ("tools", "include")


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One tool to train.

    Attributes:
        spec: The tool.
        config: How to train it; its kind is the trainer's (`config_kind`).
        init: Where its starting weights come from: the name of a tool (one trained before it in
            the plan, or a shipped one), or a path: a safetensors file, a toolbox folder, or the run
            folder of this tool; None starts from random weights.
        keep: Put the tool into the toolbox; off for one that others only start from.
    """

    spec: ToolSpec
    config: ToolTrainConfig | SrTrainConfig
    init: str | None = None
    keep: bool = True


def config_kind(spec: ToolSpec) -> type[ToolTrainConfig] | type[SrTrainConfig]:
    """The settings that the training of a tool takes."""
    if spec.task != "sr":
        return ToolTrainConfig
    return _SR_KINDS.get(spec.network, SrTrainConfig)


def read_recipe(name_or_path: str | Path) -> dict[str, Any]:
    """Read a recipe: a shipped one by name (``classic``, ``baselines``), or a TOML file.

    At its top stand options of `ToolTrainConfig` or, for tools that make images larger, of
    `SrTrainConfig`, for every tool; ``include`` names a toolbox whose tools are put in as they are
    (`included_toolbox`). A table ``[tools.NAME]`` has
    options for one tool and, as ``init``, where its starting weights come from; ``keep = false``
    leaves the tool out of the toolbox. The order of the tables is the order of training.

    Raises:
        ToolchainError: The file is missing or is not TOML.
    """
    shipped = RECIPES_FOLDER / f"{name_or_path}.toml"
    return load_toml(shipped if shipped.is_file() else Path(name_or_path))


def plan_training(
    names: Sequence[str],
    recipe: Mapping[str, Any],
    overrides: Mapping[str, Any],
    *,
    init: str | None = None,
    warm_start: bool = True,
) -> list[TrainingJob]:
    """Decide what to train, and how.

    Args:
        names: Tools to train; none means all of the recipe, or all of the toolbox ``classic``.
        recipe: What `read_recipe` gave, or nothing.
        overrides: Options that win over the recipe, for every tool.
        init: Where the starting weights of every tool come from, whatever the recipe says.
        warm_start: Where neither ``init`` nor the recipe says anything, start a tool from the next
            weaker one of its task if that has the same network and is trained before it here.

    Raises:
        UnknownNameError: A tool or an option does not exist.
        ToolchainError: A value is refused.
    """
    tables: dict[str, dict[str, Any]] = recipe.get("tools", {})
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise ToolchainError("a recipe has one table [tools.NAME] for each tool")
    for name in (*names, *tables):
        if name not in SPECS:
            raise UnknownNameError("tool", name, SPECS)
    shared = {key: value for key, value in recipe.items() if key not in _RECIPE_KEYS}
    jobs: list[TrainingJob] = []
    for name in _in_order(names, tables):
        table = tables.get(name, {})
        own = {key: value for key, value in table.items() if key not in _PLAN_KEYS}
        spec = SPECS[name]
        start = init
        if start is None and warm_start:
            start = table.get("init") if name in tables else _weaker(spec, jobs)
        config = config_from_dict(config_kind(spec), {**shared, **own, **overrides})
        jobs.append(TrainingJob(spec, config, start, bool(table.get("keep", True))))
    return jobs


def included_toolbox(recipe: Mapping[str, Any]) -> str | None:
    """Name of the toolbox whose tools a recipe puts in beside those that it trains."""
    name = recipe.get("include")
    if name is not None and not isinstance(name, str):
        raise ToolchainError(f"include names one toolbox, got {name!r}")
    return name


def _in_order(names: Sequence[str], tables: Iterable[str]) -> list[str]:
    planned = list(tables) or [spec.name for spec in CLASSIC]
    if not names:
        return planned
    wanted = list(dict.fromkeys(names))
    return [name for name in planned if name in wanted] + [n for n in wanted if n not in planned]


def _weaker(spec: ToolSpec, before: Sequence[TrainingJob]) -> str | None:
    # The catalogue lists each task from weak to strong.
    if spec.task == "sr":
        trained = [job.spec.name for job in before]
        return SR_BASE if SR_BASE in trained and spec.scale == SPECS[SR_BASE].scale else None
    family = [other for other in SPECS.values() if other.task == spec.task]
    place = family.index(spec)
    if place == 0 or family[place - 1].network != spec.network:
        return None
    weaker = family[place - 1].name
    return weaker if weaker in [job.spec.name for job in before] else None
