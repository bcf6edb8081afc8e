"""Average the weights of toolboxes that come from one training.

With a learning rate that does not vanish, weights end up beside the bottom of the valley that they
are in, each time on another side; their mean lies nearer to it and costs no more arithmetic.

Sources:
    Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.
    Wortsman et al., "Model soups", ICML 2022 (uniform averages of what one start was tuned to).
"""

import copy
from collections.abc import Sequence

import torch

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox


def average_toolboxes(toolboxes: Sequence[Toolbox]) -> Toolbox:
    """Make a toolbox whose weights are the mean of those of others, tool by tool.

    That is of use only if the weights descend from one another: of networks that were trained apart
    the mean does nothing sensible.

    Args:
        toolboxes: With the same tools in the same order. One that is given twice counts twice.

    Returns:
        A toolbox of its own, with the name of the first.

    Raises:
        ToolchainError: There is none, or their tools differ in name, order or network.
    """
    if not toolboxes:
        raise ToolchainError("no toolboxes to average; name at least one")
    first = toolboxes[0]
    for other in toolboxes[1:]:
        if other.names != first.names:
            raise ToolchainError(
                "toolboxes to average need the same tools in the same order, not "
                f"{', '.join(first.names)} and {', '.join(other.names)}"
            )
    return Toolbox(first.name, map(_average, zip(*toolboxes, strict=True)))


def _average(tools: tuple[Tool, ...]) -> Tool:
    first = tools[0]
    if any(tool.spec.network != first.spec.network for tool in tools):
        raise ToolchainError(f"{first.spec.name} has another network in each of the toolboxes")
    average = copy.deepcopy(first)
    states = [tool.network.state_dict() for tool in tools]
    with torch.no_grad():
        for key, value in average.network.state_dict().items():
            # Counters and the like are no weights: they stay as they are in the first.
            if value.is_floating_point():
                value.copy_(torch.stack([state[key].double() for state in states]).mean(dim=0))
    return average
