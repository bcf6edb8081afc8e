"""The picture of a profile: a heat map of what every tool does to every family of damage."""

import io
from typing import TYPE_CHECKING, Final

import numpy as np

from restoration_toolchain.toolchain.measuring.suite.plots import (
    DOTS_PER_INCH,
    check_plotting,
    new_figure,
)
from restoration_toolchain.tools_zoo.profile import ToolProfile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL: Final = (0.42, 0.21)  # inches, width and height
_LEAST_RANGE: Final = 1.0  # dB of the colours, where hardly anything is gained


def draw_profile(profile: ToolProfile) -> bytes:
    """Draw the heat map: PNG content.

    Raises:
        NoPlotsError: matplotlib is missing.
    """
    check_plotting()
    stream = io.BytesIO()
    draw_gains(profile).savefig(stream, format="png", dpi=DOTS_PER_INCH)
    return stream.getvalue()


def draw_gains(profile: ToolProfile) -> "Figure":
    """Draw gains in dB, the best tool of a family in bold; losses have colours as gains have."""
    tools, names = profile.tools, list(profile.families)
    gains = np.array([[profile.families[name].gains[tool] for tool in tools] for name in names])
    limit = max(float(gains.max()), _LEAST_RANGE)
    width, height = _CELL
    figure = new_figure(3.0 + width * len(tools), 1.8 + height * len(names))
    axes = figure.subplots()
    image = axes.imshow(gains, aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit)
    for row, name in enumerate(names):
        for column, tool in enumerate(tools):
            gain = float(gains[row, column])
            axes.text(
                column,
                row,
                f"{gain:.1f}",
                ha="center",
                va="center",
                fontsize=6,
                fontweight="bold" if tool == profile.families[name].best else "normal",
                color="white" if abs(gain) > 0.6 * limit else "black",
            )
    axes.set_xticks(range(len(tools)), tools, rotation=60, ha="right", fontsize="small")
    axes.set_yticks(range(len(names)), names, fontsize="small")
    figure.colorbar(image, ax=axes, label="mean PSNR gain, dB")
    return figure
