"""``toolchain extend``: a toolbox gains a fitted tool, and its agent learns when to use it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from restoration_toolchain.toolchain.cli.training_options import with_progress

if TYPE_CHECKING:
    from restoration_toolchain.toolchain.learning.extend import Usefulness


def extend(
    toolbox: Annotated[
        str, typer.Argument(help="A shipped toolbox's name, or a folder with its agent in it.")
    ],
    add_tool: Annotated[
        str,
        typer.Option("--add-tool", help="Fitted tool, by name or folder.", metavar="NAME"),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the new toolbox.")],
    store: Annotated[
        str, typer.Option(help="Clean patches: a patch store (toolchain data prepare).")
    ] = "embedded",
    total_timesteps: Annotated[int, typer.Option(help="Tools run in training.", min=1)] = 6_000,
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of the checkpoint.", show_default="runs/extend-NAME"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was interrupted.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the folder of the new toolbox.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda.")] = "auto",
) -> None:
    """Add a fitted tool to a toolbox, and fine-tune its agent until it uses it."""
    from restoration_toolchain.toolchain.batches.batch import check_writable
    from restoration_toolchain.toolchain.learning.extend import ExtendConfig, extend_toolbox
    from restoration_toolchain.tools_zoo.device import choose_device
    from restoration_toolchain.tools_zoo.own_tools import load_own_tool
    from restoration_toolchain.tools_zoo.training.run_folder import check_run

    choose_device(device)
    own = load_own_tool(add_tool)
    run_path = run or Path(f"runs/extend-{own.name}")
    check_writable(output)
    check_writable(run_path)
    check_run(run_path / "agent", resume=resume)
    config = ExtendConfig(
        store=store, toolbox=toolbox, total_timesteps=total_timesteps, seed=seed, device=device
    )
    work = partial(
        extend_toolbox, own, config, output, run_path, resume=resume, overwrite=overwrite
    )
    brings = with_progress(run_path, work, "gain", "{:.2f} dB gained", title="agent")
    _print_usefulness(own.name, brings)
    typer.echo(f"toolbox with its agent: {output}")


def _print_usefulness(name: str, brings: "Sequence[Usefulness]") -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("gain in dB on")
    for heading in ("before", "now", f"uses {name}"):
        table.add_column(heading, justify="right")
    for kind in brings:
        cells = (f"{kind.before:+.2f}", f"{kind.after:+.2f}", f"{kind.share:.0%}")
        table.add_row(kind.kind, *cells)
    Console().print(table)
