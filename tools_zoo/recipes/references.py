"""Networks that know one family of damage each: what tools for everything are measured against."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.damage.world import FAMILIES
from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.tools_zoo.origin import origin_of_store
from restoration_toolchain.tools_zoo.recipes.tool_runs import TOOLBOX, add_tool, unfinished
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.training.batches import level_degrader
from restoration_toolchain.tools_zoo.training.config import PatchConfig
from restoration_toolchain.tools_zoo.training.loop import (
    count_steps_within,
    make_fabric,
    train_module,
)
from restoration_toolchain.tools_zoo.training.run_folder import recorded_config
from restoration_toolchain.tools_zoo.training.supervised import PairsObjective

NETWORK: Final = "unshuffled_unet"
"""Layers of every reference: those of the largest tools that ship."""

OnFamilyStep = Callable[[str, int, int, dict[str, float]], None]
"""Called with (family, step, total, newest metrics)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceConfig(PatchConfig):
    """How references are trained."""

    optimizer: Literal["muon", "adamw"] = "muon"
    minutes: float = 20.0
    """Time for each network, on this machine as it is when its training begins."""
    total_patches: int = 0
    """Patches seen by each network; 0 is as many as fit into the time."""
    loss: str = "psnr"
    eval_patches: int = 128
    """Held-out patches of the validation set."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.total_patches:
            PatchConfig.__post_init__(self)
        if self.minutes <= 0.0:
            raise ValueError(f"minutes must be positive, got {self.minutes}")


def train_references(
    families: Sequence[str],
    config: ReferenceConfig,
    run_path: Path,
    *,
    resume: bool = False,
    on_step: OnFamilyStep = lambda name, step, total, metrics: None,
) -> Path:
    """Train a network for each family, in a folder of its own below ``run_path``.

    Families that are finished are skipped; each is put into the toolbox as soon as it is.

    Args:
        families: Some of `data.damage.world.FAMILIES`.
        config: Settings of each training.
        run_path: Folder of the runs, and of the toolbox below it.
        resume: Go on with a family that was interrupted.
        on_step: Progress.

    Returns:
        The folder of the toolbox; its tools are named like their families.

    Raises:
        UnknownNameError: There is no such family.
        ToolchainError: A run was interrupted and is not to go on, does not fit, or there is none
            to go on with; the store is unusable.
    """
    for family in families:
        if family not in FAMILIES:
            raise UnknownNameError("family", family, FAMILIES)
    folder = run_path / TOOLBOX
    left, begun = unfinished(families, run_path, resume=resume)
    for family in left:
        tool = _train(
            family,
            config,
            run_path / family,
            resume=family in begun,
            on_step=partial(on_step, family),
        )
        add_tool(tool, folder, origin_of_store(config.store), name="references")
    return folder


def _train(
    family: str,
    config: ReferenceConfig,
    run_path: Path,
    *,
    resume: bool,
    on_step: Callable[[int, int, dict[str, float]], None],
) -> Tool:
    spec = ToolSpec(family, "mixed", (0.0, 1.0), NETWORK, source="a reference for one family")
    fabric = make_fabric(config)
    tool = Tool(spec)
    if resume:
        planned = recorded_config(run_path)["total_patches"]
        config = dataclasses.replace(config, total_patches=config.total_patches or planned)
    elif not config.total_patches:
        trial = _family_pairs(family, dataclasses.replace(config, total_patches=config.batch_size))
        seconds = 60.0 * config.minutes
        steps = count_steps_within(seconds, tool.network, trial, config.eval_every, fabric)
        config = dataclasses.replace(config, total_patches=steps * config.batch_size)
    averaged = train_module(
        tool.network,
        _family_pairs(family, config),
        config,
        run_path,
        fabric,
        num_steps=config.num_batches,
        resume=resume,
        on_step=on_step,
    )
    return Tool(spec, averaged).eval()


def _family_pairs(family: str, config: ReferenceConfig) -> PairsObjective:
    degrade = level_degrader(sampler(family))
    measured = {"": degrade}
    return PairsObjective(
        config, degrade, measured, loss=config.loss, eval_patches=config.eval_patches
    )
