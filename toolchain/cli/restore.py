"""``toolchain restore``: photos in, restored photos out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from toolchain.cli.errors import STATUS_FAILED, fail
from toolchain.cli.options import (
    DEFAULT_TILE_PIXELS,
    DEFAULT_TOOLBOX,
    AddToolOption,
    AgentOption,
    DeviceOption,
    MaxRiskOption,
    MaxStepsOption,
    MaxTilePixelsOption,
    OverwriteOption,
    PrecisionOption,
    PreferOption,
    RegionsOption,
    ScaleOption,
    StrengthOption,
    ToolboxOption,
)

if TYPE_CHECKING:
    from toolchain.batch import Outcome


def restore(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Photos, or folders of them (searched recursively).", metavar="INPUT"),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Folder of the results; for one photo, also a file."),
    ],
    max_steps: MaxStepsOption = 3,
    agent: AgentOption = None,
    toolbox: ToolboxOption = DEFAULT_TOOLBOX,
    add_tool: AddToolOption = None,
    scale: ScaleOption = 1,
    prefer: PreferOption = None,
    strength: StrengthOption = 1.0,
    regions: RegionsOption = False,
    max_risk: MaxRiskOption = 1.0,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    trace: Annotated[
        Path | None,
        typer.Option(help="Write what was done to each photo, and why, as a list in this .json."),
    ] = None,
    save_steps: Annotated[
        Path | None, typer.Option(help="Write the image after every tool below this folder.")
    ] = None,
    overwrite: OverwriteOption = False,
    max_tile_pixels: MaxTilePixelsOption = DEFAULT_TILE_PIXELS,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Restore photos.

    Any size; gray, alpha, 16 bits and EXIF are kept where the format of the result has them.
    """
    from toolchain.batch import check_trace_target, plan_batch, restore_batch, write_traces
    from toolchain.restorer import load

    plan = plan_batch(inputs, output, steps_folder=save_steps)
    if trace is not None:
        check_trace_target(trace, overwrite=overwrite)
    restorer = load(
        agent,
        toolbox,
        device=device,
        precision=precision,
        max_steps=max_steps,
        max_tile_pixels=max_tile_pixels,
        add_tools=add_tool or (),
        scale=scale,
        prefer=prefer,
        strength=strength,
        regions=regions,
        max_risk=max_risk,
    )
    outcomes = restore_batch(restorer, plan, overwrite=overwrite, steps_folder=save_steps)
    finished = list(_shown(outcomes, len(plan), quiet=quiet))
    if trace is not None:
        write_traces(trace, finished)
    _summarise(finished, quiet=quiet)


def _shown(outcomes: "Iterator[Outcome]", total: int, *, quiet: bool) -> "Iterator[Outcome]":
    """Pass outcomes on, with a line for each and a bar below."""
    out = Console()
    # The bar may not swallow lines that go to a pipe, nor write over those on the same terminal.
    bar_console = out if out.is_terminal else Console(stderr=True)
    columns = (
        TextColumn("restoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(
        *columns,
        console=bar_console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=quiet or not bar_console.is_terminal,
    ) as progress:
        task = progress.add_task("", total=total)
        for outcome in outcomes:
            progress.advance(task)
            if not quiet and outcome.error is None:
                out.print(_line(outcome), soft_wrap=True, highlight=False)
            yield outcome


def _line(outcome: "Outcome") -> str:
    from toolchain.restoration import BICUBIC

    without_tool = [f"{BICUBIC} enlargement"] if outcome.enlarged_by == BICUBIC else []
    tools = ", ".join([*outcome.sequence, *without_tool]) or "left as it is"
    seconds = outcome.trace["seconds"]
    return f"{escape(str(outcome.photo.target))}  [cyan]{tools}[/]  [dim]{seconds:.1f} s[/]"


def _summarise(outcomes: "Sequence[Outcome]", *, quiet: bool) -> None:
    failures = [outcome for outcome in outcomes if outcome.error is not None]
    console = Console(stderr=True)
    for note in (note for outcome in outcomes for note in outcome.notes if not quiet):
        console.print(f"note: {escape(note)}", style="yellow", soft_wrap=True, highlight=False)
    if not failures:
        if not quiet and len(outcomes) > 1:
            console.print(f"{len(outcomes)} photos restored", style="green", highlight=False)
        return
    if len(outcomes) == 1:
        fail(str(failures[0].error), STATUS_FAILED)
    console.print(
        f"{len(failures)} of {len(outcomes)} photos failed:", style="bold red", highlight=False
    )
    for outcome in failures:
        console.print(
            f"  {escape(str(outcome.error))}", style="red", soft_wrap=True, highlight=False
        )
    raise typer.Exit(STATUS_FAILED)
