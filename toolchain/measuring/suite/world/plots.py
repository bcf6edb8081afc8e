"""The plot of the suite of the world: what the agent takes of what can be had, and its harm."""

import io
from typing import TYPE_CHECKING, Final

import numpy as np

from restoration_toolchain.toolchain.measuring.suite.plots import (
    DOTS_PER_INCH,
    check_plotting,
    new_figure,
)
from restoration_toolchain.toolchain.measuring.suite.world.results import (
    SHARE_TO_REACH,
    WorldResults,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOT: Final = "world.png"
CAPTION: Final = (
    "Left: share of the greedy oracle's gain that the agent takes, cut off at -1 and 1.2; the "
    "line is what it is to reach, and no bar means that there is nothing to gain. Right: share of "
    "images made worse by more than 0.05 dB."
)

_SHARES: Final = (-1.0, 1.2)
_HEIGHT: Final = 0.28  # inches a family


def draw_plot(results: WorldResults) -> bytes:
    """Draw bars for every family and unit: PNG content.

    Raises:
        ToolchainError: matplotlib is missing.
    """
    check_plotting()
    stream = io.BytesIO()
    draw_shares(results).savefig(stream, format="png", dpi=DOTS_PER_INCH)
    return stream.getvalue()


def draw_shares(results: WorldResults) -> "Figure":
    """Draw the share of the oracle's gain, and the share of images made worse, by family."""
    names = list(dict.fromkeys(one.family for one in results.families))
    figure = new_figure(9.0, 1.5 + _HEIGHT * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    width = 0.8 / len(results.units)
    for k, unit in enumerate(results.units):
        found = results.of(unit)
        places = np.array([names.index(one.family) for one in found]) + (k + 0.5) * width - 0.4
        shares = [
            0.0 if one.share is None else float(np.clip(one.share, *_SHARES)) for one in found
        ]
        left.barh(places, shares, width, color=f"C{k}", label=unit)
        right.barh(places, [one.harmed / one.count for one in found], width, color=f"C{k}")
    left.axvline(SHARE_TO_REACH, color="black", linewidth=0.8, linestyle="--")
    left.set_xlim(*_SHARES)
    left.set_xticks([-1.0, -0.5, 0.0, 0.5, 1.0])
    left.set_yticks(range(len(names)), names, fontsize="small")
    left.invert_yaxis()
    left.set_xlabel("agent's share of the oracle's gain")
    right.set_xlabel("share of images made worse")
    right.set_xlim(0.0, 1.0)
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
    left.legend(fontsize="small", loc="lower left")
    return figure
