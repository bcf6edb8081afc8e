"""``toolchain tools``: what is in a toolbox."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from restoration_toolchain.toolchain.cli.errors import STATUS_FAILED
from restoration_toolchain.toolchain.cli.options import DEFAULT_TOOLBOX, ToolboxOption

_STATE_STYLES = {"ok": "green", "damaged": "bold red", "missing": "bold yellow"}


def tools(
    toolbox: ToolboxOption = DEFAULT_TOOLBOX,
    store: Annotated[
        Path | None,
        typer.Option(help="Patch store: measure each tool on its own range, on held-out photos."),
    ] = None,
) -> None:
    """List the tools of a toolbox, and whether their weights are sound."""
    from restoration_toolchain.toolchain.measuring.tool_list import list_tools, measure_tools
    from restoration_toolchain.tools_zoo.storage import load_toolbox
    from restoration_toolchain.tools_zoo.tool import UNITS

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("tool", style="cyan", no_wrap=True)
    table.add_column("task")
    table.add_column("range", justify="right")
    table.add_column("unit")
    # Short enough for terminals of 80 columns, gains included.
    for heading in ("params", "MACs/px", "halo"):
        table.add_column(heading, justify="right")
    table.add_column("weights")
    listed = list_tools(toolbox)
    gains = {} if store is None else measure_tools(load_toolbox(toolbox), store)
    if gains:
        table.add_column("gain dB", justify="right", no_wrap=True)
    for tool in listed:
        spec, (low, high) = tool.spec, tool.spec.strength
        table.add_row(
            spec.name,
            spec.task,
            f"{low:g}-{high:g}" if low < high else f"{low:g}",
            UNITS[spec.task],
            f"{spec.num_params:,}",
            f"{spec.macs_per_pixel:,}",
            str(spec.halo),
            f"[{_STATE_STYLES[tool.state]}]{tool.state}[/]",
            *([f"{gains[spec.name]:+.2f}"] if gains else []),
        )
    Console().print(table)
    if any(tool.state != "ok" for tool in listed):
        raise typer.Exit(STATUS_FAILED)
