"""The plots of the suite of the world: the agent's share and its harm, quality and arithmetic."""

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

EFFORT_PLOT: Final = "effort.png"
EFFORT_CAPTION: Final = (
    "Mean gain on the damaged families against multiply-accumulates per pixel: the agent at "
    "several efforts, and others."
)

_SHARES: Final = (-1.0, 1.2)
_HEIGHT: Final = 0.28  # inches a family


def draw_plots(results: WorldResults) -> dict[str, bytes]:
    """Draw what can be drawn of the results: PNG content by file name.

    Raises:
        ToolchainError: matplotlib is missing.
    """
    check_plotting()
    figures = {PLOT: draw_shares(results)}
    if any(results.spending(unit) for unit in results.units):
        figures[EFFORT_PLOT] = draw_efforts(results)
    drawn = {}
    for name, figure in figures.items():
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=DOTS_PER_INCH)
        drawn[name] = stream.getvalue()
    return drawn


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


def draw_efforts(results: WorldResults) -> "Figure":
    """Draw the gain against the arithmetic, with a panel for each unit."""
    units = [unit for unit in results.units if results.spending(unit)]
    figure = new_figure(5.5 * len(units), 4.5)
    for axes, unit in zip(figure.subplots(1, len(units), squeeze=False)[0], units, strict=True):
        spending = results.spending(unit)
        curve = [one for one in spending if one.price is not None]
        curve.sort(key=lambda one: one.macs)
        axes.plot([one.macs for one in curve], [one.gain for one in curve], "C0o-")
        for one in spending:
            if one.price is None:
                axes.plot(one.macs, one.gain, "C1s")
            place = (one.macs, one.gain)
            axes.annotate(one.player, place, (4, -10), textcoords="offset points", fontsize="small")
        axes.set_title(unit)
        axes.set_xlabel("multiply-accumulates per pixel")
        axes.set_ylabel("mean PSNR gain, dB")
        axes.margins(x=0.2, y=0.1)
        axes.grid(alpha=0.3)
    return figure
