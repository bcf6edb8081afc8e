"""Averages of toolboxes."""

import copy
from dataclasses import replace

import pytest
import torch

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.catalog import CLASSIC
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.averaging import average_toolboxes


def moved(toolbox: Toolbox, by: float) -> Toolbox:
    other = copy.deepcopy(toolbox)
    with torch.no_grad():
        for weights in other.parameters():
            weights.add_(by)
    return other


def test_every_weight_is_the_mean_and_one_given_twice_counts_twice(tiny_toolbox: Toolbox) -> None:
    average = average_toolboxes([tiny_toolbox, tiny_toolbox, moved(tiny_toolbox, 3.0)])
    assert average.names == tiny_toolbox.names
    for mean, first in zip(average.parameters(), tiny_toolbox.parameters(), strict=True):
        torch.testing.assert_close(mean, first + 1.0)


def test_the_average_shares_no_memory_with_the_first(tiny_toolbox: Toolbox) -> None:
    before = next(tiny_toolbox.parameters()).clone()
    average = average_toolboxes([tiny_toolbox])
    with torch.no_grad():
        next(average.parameters()).add_(1.0)
    assert torch.equal(next(tiny_toolbox.parameters()), before)


def test_what_cannot_be_averaged_is_refused(tiny_toolbox: Toolbox) -> None:
    with pytest.raises(ToolchainError, match="at least one"):
        average_toolboxes([])
    reverse = Toolbox("reverse", list(tiny_toolbox)[::-1])
    with pytest.raises(ToolchainError, match="same tools in the same order"):
        average_toolboxes([tiny_toolbox, reverse])
    small, large = (Tool(spec) for spec in (CLASSIC[0], CLASSIC[3]))
    assert small.spec.network != large.spec.network
    renamed = Tool(replace(large.spec, name=small.spec.name))
    with pytest.raises(ToolchainError, match="another network"):
        average_toolboxes([Toolbox("one", [small]), Toolbox("other", [renamed])])
