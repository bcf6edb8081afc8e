"""``toolchain demo``: damage a photo, restore it, show how."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from restoration_toolchain.toolchain.cli.options import DEFAULT_TOOLBOX, grouped, option_of
from restoration_toolchain.toolchain.cli.tables import print_inspection
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings


@grouped(toolbox=option_of("toolbox", usual=DEFAULT_TOOLBOX))
def demo(
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the pictures.")] = Path(
        "demo"
    ),
    settings: RestoreSettings,
) -> None:
    """Damage a photo that is at hand, restore it with what ships, and show every step.

    Pictures of an earlier demo are replaced.
    """
    from restoration_toolchain.toolchain.batches.batch import check_writable
    from restoration_toolchain.toolchain.looking.demo import write_demo
    from restoration_toolchain.toolchain.restoring.load import load

    check_writable(output / "sheet.png")
    restorer = load(settings=settings)
    inspection, paths = write_demo(restorer, output)
    console = Console()
    print_inspection(console, inspection)
    for path in paths:
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
