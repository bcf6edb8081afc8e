"""``toolchain tools``: what is in a toolbox."""

import typer
from rich.console import Console
from rich.table import Table

from toolchain.cli.errors import STATUS_FAILED
from toolchain.cli.options import ToolboxOption

_STATE_STYLES = {"ok": "green", "damaged": "bold red", "missing": "bold yellow"}


def tools(toolbox: ToolboxOption = "classic") -> None:
    """List the tools of a toolbox, and whether their weights are sound."""
    from toolchain.tool_list import list_tools
    from tools_zoo.tool import UNITS

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("tool", style="cyan", no_wrap=True)
    table.add_column("task")
    table.add_column("range", justify="right")
    table.add_column("unit")
    for heading in ("parameters", "MACs/pixel", "halo px"):
        table.add_column(heading, justify="right")
    table.add_column("weights")
    listed = list_tools(toolbox)
    for tool in listed:
        spec, (low, high) = tool.spec, tool.spec.strength
        table.add_row(
            spec.name,
            spec.task,
            f"{low:g}-{high:g}",
            UNITS[spec.task],
            f"{spec.num_params:,}",
            f"{spec.macs_per_pixel:,}",
            str(spec.halo),
            f"[{_STATE_STYLES[tool.state]}]{tool.state}[/]",
        )
    Console().print(table)
    if any(tool.state != "ok" for tool in listed):
        raise typer.Exit(STATUS_FAILED)
