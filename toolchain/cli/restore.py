"""``toolchain restore``: photos in, restored photos out."""

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.toolchain.cli.errors import (
    STATUS_FAILED,
    STATUS_INTERRUPTED,
    fail,
    with_hint,
)
from restoration_toolchain.toolchain.cli.options import OverwriteOption, grouped
from restoration_toolchain.toolchain.errors import printable
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings

if TYPE_CHECKING:
    from restoration_toolchain.toolchain.batches.batch import Outcome


@grouped()
def restore(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Photos, or folders of them (searched recursively).", metavar="INPUT"),
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Folder of the results; for one photo, also a file."),
    ],
    settings: RestoreSettings,
    trace: Annotated[
        Path | None,
        typer.Option(help="Write what was done to each photo, and why, as a list in this .json."),
    ] = None,
    save_steps: Annotated[
        Path | None, typer.Option(help="Write the image after every tool below this folder.")
    ] = None,
    sidecar: Annotated[
        bool,
        typer.Option(
            "--sidecar", help="Write NAME.EXT.json beside each result: for toolchain replay."
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Skip photos whose results are there and still hold."),
    ] = False,
    overwrite: OverwriteOption = False,
    max_memory: Annotated[
        str | None,
        typer.Option(
            help="Keep within so much memory (800M, 2G): with smaller tiles, and photos that are "
            "too large for it on disk.",
            metavar="SIZE",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Restore photos.

    Any size; gray, alpha, 16 bits and EXIF are kept where the format of the result has them.
    """
    from restoration_toolchain.toolchain.batches import batch, memory
    from restoration_toolchain.toolchain.batches.folder_lock import locked_folder
    from restoration_toolchain.toolchain.restoring.load import load

    limit = None if max_memory is None else memory.parse_size(max_memory)
    if limit is not None:
        pixels = memory.tile_pixels_within(limit, settings.max_tile_pixels)
        settings = dataclasses.replace(settings, max_tile_pixels=pixels)
    plan = batch.plan_batch(inputs, output, steps_folder=save_steps)
    settings.check_photos(len(plan))
    if trace is not None:
        batch.check_trace_target(trace, overwrite=overwrite)
    restorer = load(settings=settings)
    stop = threading.Event()
    finished: list[Outcome] = []
    is_folder = plan[0].target != output
    with (
        locked_folder(output) if is_folder else contextlib.nullcontext(),
        _first_interrupt_sets(stop),
    ):
        outcomes = batch.restore_batch(
            restorer,
            plan,
            overwrite=overwrite,
            steps_folder=save_steps,
            sidecars=sidecar,
            resume=resume,
            stop=stop,
            max_memory=limit,
        )
        try:
            finished.extend(_shown(outcomes, len(plan), quiet=quiet))
        finally:
            if trace is not None and finished:
                batch.write_traces(trace, finished)
    _summarise(finished, len(plan), quiet=quiet)


@contextlib.contextmanager
def _first_interrupt_sets(stop: threading.Event) -> Iterator[None]:
    """Let the first Ctrl-C ask for an end, and the second one end at once."""
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return

    def ask(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Printing may be what was interrupted, so not through the console and its lock.
        os.write(2, b"\nfinishing the photo in work; Ctrl-C again stops at once\n")

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
            if not quiet and outcome.error is None and not outcome.is_skipped:
                out.print(_line(outcome), soft_wrap=True, highlight=False)
            yield outcome


def _line(outcome: "Outcome") -> str:
    from restoration_toolchain.toolchain.restoring.restoration import BICUBIC

    trace = outcome.trace
    without_tool = [f"{BICUBIC} enlargement"] if trace["enlarged_by"] == BICUBIC else []
    tools = ", ".join([*trace["sequence"], *without_tool]) or "left as it is"
    figures = f"{trace['seconds']:.1f} s"
    before, after = trace["quality_before"], trace["quality_after"]
    if before is not None and after is not None:
        figures += f"  SFD-IQA {before['score']:.3f} -> {after['score']:.3f} ({after['encoder']})"
    return f"{escape(printable(outcome.photo.target))}  [cyan]{tools}[/]  [dim]{figures}[/]"


def _why(failure: "Outcome") -> str:
    """What went wrong with a photo, and what to do about it."""
    cause = failure.cause
    return with_hint(cause) if isinstance(cause, ToolchainError) else str(failure.error)


def _summarise(outcomes: "Sequence[Outcome]", n_planned: int, *, quiet: bool) -> None:
    """Say what was done, skipped and why what failed; the status says it too."""
    failures = [outcome for outcome in outcomes if outcome.error is not None]
    n_skipped = sum(outcome.is_skipped for outcome in outcomes)
    console = Console(stderr=True)
    notes = [note for outcome in outcomes for note in outcome.trace.get("notes", ())]
    for note in notes if not quiet else ():
        text = escape(printable(note))
        console.print(f"note: {text}", style="yellow", soft_wrap=True, highlight=False)
    if failures and n_planned == 1:
        fail(_why(failures[0]), STATUS_FAILED)
    skipped = f", {n_skipped} skipped: done before" if n_skipped else ""
    if failures:
        text = f"{len(failures)} of {len(outcomes)} photos failed{skipped}:"
        console.print(text, style="bold red", highlight=False)
        for outcome in failures:
            text = escape(printable(_why(outcome)))
            console.print(f"  {text}", style="red", soft_wrap=True, highlight=False)
    elif not quiet and (n_planned > 1 or n_skipped):
        n_done = len(outcomes) - n_skipped
        console.print(f"{n_done} photos restored{skipped}", style="green", highlight=False)
    if len(outcomes) < n_planned:
        left = n_planned - len(outcomes)
        fail(
            f"stopped by Ctrl-C with {left} of {n_planned} photos to go; "
            "the same command with --resume goes on",
            STATUS_INTERRUPTED,
        )
    if failures:
        raise typer.Exit(STATUS_FAILED)
