"""The command line: each module holds the commands of one group, which parse, call and print.

Heavy imports stay inside the commands, so that ``toolchain --help`` answers at once.
"""

import os
import sys
import threading
from typing import Annotated

import typer

import restoration_toolchain
from restoration_toolchain.toolchain.batches.pipeline import THREAD_NAME
from restoration_toolchain.toolchain.cli import (
    calibrate,
    data,
    demo,
    evaluate,
    extend,
    fit,
    inspect,
    replay,
    restore,
    serve,
    tools,
    train,
)
from restoration_toolchain.toolchain.cli.errors import OneLineErrors

__all__ = ["app", "main"]

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Restore photos with a learned sequence of small tools, and see why each was chosen.",
)


def _say_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"restoration-toolchain {restoration_toolchain.__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Print name and version."
        ),
    ] = False,
) -> None:
    """Options of the program itself; the command is run after it."""


for command in (
    *(restore.restore, replay.replay, inspect.inspect, serve.serve, fit.fit, extend.extend),
    *(calibrate.calibrate, tools.tools, demo.demo, evaluate.evaluate),
):
    app.command()(command)
app.add_typer(train.app, name="train")
app.add_typer(data.app, name="data")


def main() -> None:
    """Entry point of the command ``toolchain``."""
    try:
        app()
    except SystemExit as end:
        if not any(thread.name == THREAD_NAME for thread in threading.enumerate()):
            raise
        # A network that computes on in a thread would be torn down under its feet, and abort.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
