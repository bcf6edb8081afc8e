"""The plots of a suite, drawn with matplotlib, which is an extra."""

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.toolchain.measuring.suite.contenders import AGENT, GREEDY
from restoration_toolchain.toolchain.measuring.suite.results import SuiteResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH: Final = 120

_CURVES: Final = {AGENT: "-", "agent-without-stop": ":", "fixed-sequence": "-.", GREEDY: "--"}
"""Line style of the rows whose steps are drawn."""

_QUANTILES: Final = 10


class NoPlotsError(ToolchainError):
    """A plot is to be drawn, and matplotlib is missing."""


def check_plotting() -> None:
    """Make sure that plots can be drawn.

    Raises:
        NoPlotsError: matplotlib is missing.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise NoPlotsError(
            'plots need matplotlib: pip install "restoration-toolchain[plots]"'
        ) from error


def draw_plots(results: SuiteResults) -> dict[str, bytes]:
    """Draw every plot: PNG content by file name.

    Raises:
        ToolchainError: matplotlib is missing.
    """
    check_plotting()
    drawn = {}
    for name, (draw, _) in PLOTS.items():
        stream = io.BytesIO()
        draw(results).savefig(stream, format="png", dpi=DOTS_PER_INCH)
        drawn[name] = stream.getvalue()
    return drawn


def draw_gain_per_step(results: SuiteResults) -> "Figure":
    """Draw the mean gain after each step, with a colour per level and a line style per row."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(7.0, 4.5)
    axes = figure.subplots()
    for k, level in enumerate(results.levels):
        for row in results.of_level(level):
            if row.key in _CURVES:
                style, label = _CURVES[row.key], f"{level}: {row.label}"
                axes.plot(row.gain_after_step, style, color=f"C{k}", marker=".", label=label)
    axes.set_xlabel("steps")
    axes.set_ylabel("mean PSNR gain, dB")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=3.5)
    return figure


def draw_usage(results: SuiteResults) -> "Figure":
    """Draw heat maps: the share of the inputs of a strength that met an action, first and ever."""
    figure = new_figure(1.5 + 4.0 * len(results.usage), 7.5)
    grid = figure.subplots(2, len(results.usage), squeeze=False)
    for column, usage in enumerate(results.usage):
        inputs = np.array(usage.first).sum(axis=0, dtype=np.float64)
        inputs[inputs == 0] = np.nan  # no input of such a strength: its column stays blank
        for axes, counts, when in zip(
            grid[:, column], (usage.first, usage.every), ("first step", "all steps"), strict=True
        ):
            shares = np.array(counts) / inputs
            image = axes.imshow(shares, aspect="auto", cmap="viridis", vmin=0.0)
            axes.set_title(when, fontsize="small")
            axes.set_xticks(range(len(usage.columns)), usage.columns)
            names = results.actions if column == 0 else [""] * len(results.actions)
            axes.set_yticks(range(len(results.actions)), names, fontsize="small")
            is_last = column == len(results.usage) - 1
            figure.colorbar(image, ax=axes, label="times per input" if is_last else None)
        about = usage.by if usage.by == "patches" else f"{usage.by} level of the input"
        grid[1, column].set_xlabel(about)
    return figure


def draw_calibration(results: SuiteResults) -> "Figure":
    """Draw predicted against realised gains of all tool runs, with means of groups of one size."""
    figure = new_figure(9.0, 4.5)
    for axes, attribute, title in zip(
        figure.subplots(1, 2),
        ("gains", "gains_to_end"),
        ("gain of the step", "gain to the end of the chain"),
        strict=True,
    ):
        for k, decisions in enumerate(results.decisions):
            values, gains = np.array(decisions.values), np.array(getattr(decisions, attribute))
            axes.scatter(values, gains, s=4, alpha=0.25, color=f"C{k}", linewidths=0)
            centres, means = _group_means(values, gains)
            axes.plot(centres, means, marker="o", color=f"C{k}", label=decisions.level)
        axes.axline((0.0, 0.0), slope=1.0, color="black", linewidth=0.8, linestyle="--")
        axes.set_xlabel("action value, dB")
        axes.set_ylabel(f"{title}, dB")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def draw_stops(results: SuiteResults) -> "Figure":
    """Draw bars: the share of the patches on which the agent stopped in each step, or did not."""
    figure = new_figure(6.5, 4.0)
    axes = figure.subplots()
    width = 0.8 / max(len(results.decisions), 1)
    for k, decisions in enumerate(results.decisions):
        shares = [*decisions.stops, 1.0 - sum(decisions.stops)]
        places = np.arange(len(shares)) + (k - (len(results.decisions) - 1) / 2) * width
        axes.bar(places, shares, width, color=f"C{k}", label=decisions.level)
    n_steps = len(results.decisions[0].stops)
    names = [*(f"step {step}" for step in range(1, n_steps + 1)), "not at all"]
    axes.set_xticks(range(n_steps + 1), names)
    axes.set_ylabel("share of patches on which the agent stops")
    axes.legend(fontsize="small")
    return figure


def _group_means(values: Any, gains: Any) -> tuple[list[float], list[float]]:
    """Average groups of neighbouring values: (values, gains)."""
    groups = np.array_split(np.argsort(values), min(_QUANTILES, len(values)) or 1)
    filled = [group for group in groups if len(group)]
    return (
        [float(values[group].mean()) for group in filled],
        [float(gains[group].mean()) for group in filled],
    )


def new_figure(width: float, height: float) -> "Figure":
    """Make an empty figure, sides in inches, without pyplot, whose figures are global."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


PLOTS: Final[Mapping[str, tuple[Callable[[SuiteResults], "Figure"], str]]] = {
    "gain_per_step.png": (draw_gain_per_step, "Mean PSNR gain after each step."),
    "tool_usage.png": (
        draw_usage, "Share of inputs of a strength on which the agent chose an action."
    ),
    "calibration.png": (draw_calibration, "What the agent expected of a tool, and what it gained."),
    "stops.png": (draw_stops, "Share of patches on which the agent stopped, by step."),
}  # fmt: skip
"""Function that draws a plot, and its caption, by the name of the file."""
