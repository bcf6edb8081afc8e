"""Prior and steps of tools that enlarge, where they leave a choice."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.toolchain.restoring.settings import (
    OWN_PRIOR,
    RestoreSettings,
    SettingError,
    is_map,
)
from restoration_toolchain.tools_zoo.enlarging.priors import ConstantPrior, MapPrior, read_map
from restoration_toolchain.tools_zoo.enlarging.segformer import SegformerPrior, load_segformer
from restoration_toolchain.tools_zoo.networks.one_step import OneStepNet
from restoration_toolchain.tools_zoo.networks.sft import SCENES, PriorError, SftNet
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox

PRIOR_NAMES: Final = (OWN_PRIOR, *SCENES, *map(str, range(len(SCENES))))
"""Priors that have a name or a number; any other is the path of a map, or a model."""

AnyPrior = ConstantPrior | MapPrior | SegformerPrior


def instruct(toolbox: Toolbox, settings: RestoreSettings) -> AnyPrior | None:
    """Tell the tools of a toolbox how to enlarge; those that nothing is asked of stay as they are.

    Args:
        toolbox: Tools whose networks are changed.
        settings: Scale, prior and steps that are asked for.

    Returns:
        The prior that was given; None leaves each tool its own.

    Raises:
        SettingError: Nothing is enlarged, or no tool has such a choice.
        PriorError: The prior does not fit, or a tool needs one that it does not bring along.
        ToolchainError: It is no prior, or cannot be read.
    """
    if settings.scale == 1 and settings.asks_enlargers:
        raise SettingError("a prior and steps are for tools that enlarge; give a scale as well")
    if settings.steps > 1:
        for tool in _with(OneStepNet, toolbox, "has steps to choose"):
            tool.network.steps = settings.steps  # type: ignore[assignment]
    prior = None if settings.prior == OWN_PRIOR else _give_prior(toolbox, settings.prior)
    for tool in toolbox if settings.scale > 1 else ():
        if isinstance(tool.network, SftNet) and tool.network.needs_prior:
            raise PriorError(
                f"{tool.spec.name} was trained with scenes as categories, which it does not find "
                "by itself: give it a prior, such as a SegFormer model or 'water'"
            )
    return prior


def unused(toolbox: Toolbox, settings: RestoreSettings, ran: Collection[str]) -> tuple[str, ...]:
    """Say of what was asked for that no tool which knows it ran, a sentence each."""
    known = [toolbox[name].network for name in ran if name in toolbox.names]
    prior, steps, notes = settings.prior, settings.steps, []
    if prior != OWN_PRIOR and not any(isinstance(network, SftNet) for network in known):
        notes.append(f"the prior {prior} was not used: no tool that has a prior ran")
    if steps > 1 and not any(isinstance(network, OneStepNet) for network in known):
        notes.append(f"the {steps} steps were not used: no tool that has steps ran")
    return tuple(notes)


def _give_prior(toolbox: Toolbox, name: str) -> AnyPrior:
    tools = _with(SftNet, toolbox, "has a categorical prior")
    prior = open_prior(name)
    for tool in tools:
        assert isinstance(tool.network, SftNet)
        try:
            tool.network.use_prior(prior)
        except PriorError as error:
            raise PriorError(f"{tool.spec.name}: {error}") from error
    return prior


def open_prior(name: str) -> AnyPrior:
    """The prior that a name, a number, a file or a folder stands for; see `RestoreSettings.prior`.

    Raises:
        PriorError: There is no such category, or the map or the model does not fit.
        UnknownNameError: It is none of these.
        ToolchainError: There is no such SegFormer model on this machine, or it cannot be read.
    """
    if name in SCENES:
        return ConstantPrior(name)
    if name.removeprefix("-").isdecimal():
        return ConstantPrior(int(name))
    if is_map(name):
        return read_map(Path(name))
    if "/" not in name and not Path(name).exists():  # a model's name in the cache has an owner
        raise UnknownNameError("prior", name, (OWN_PRIOR, *SCENES))
    return load_segformer(name)


def beside_tiles(
    tool: Tool, photo: Tensor, device: torch.device
) -> Callable[[slice, slice], Tensor] | None:
    """What a tool is to know besides a tile, for `restoring.tiling.apply_tiled`; None is nothing.

    Args:
        tool: Tool that will run.
        photo: Photo as the tool is to have it, (1, 3, H, W) in [0, 1].
        device: Where tools run.

    Raises:
        PriorError: The photo has another size than the map of its categories.
    """
    network = tool.network
    if isinstance(network, SftNet) and network.has_given:
        return network.look(photo.to(device))
    return None


def _with(kind: type, toolbox: Toolbox, what: str) -> list[Tool]:
    tools = [tool for tool in toolbox if isinstance(tool.network, kind)]
    if not tools:
        raise SettingError(f"no tool of the toolbox {toolbox.name} {what}")
    return tools
