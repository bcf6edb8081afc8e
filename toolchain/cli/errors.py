"""How commands end when something goes wrong: one line on standard error, and a status."""

import contextlib
import errno
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.toolchain.errors import PhotoError, one_line, printable

STATUS_FAILED: Final = 1
"""The command ran, and some of its files failed."""

STATUS_USAGE: Final = 2
"""What was asked for is impossible as asked; nothing was done."""

STATUS_INTERRUPTED: Final = 130
"""Ctrl-C, as shells report it."""


HINTS: Final[Mapping[str, str]] = {
    "OfflineError": "or run once without --offline",
    "PatchSizeError": "make a store with: toolchain data prepare --patch-size {patch_size}",
    "ScaleError": "inspect and evaluate take --scale 4, and train agent --set task=real-sr",
    "StoreError": "make one with: toolchain data prepare",
    "TargetExistsError": "pass --overwrite to replace it",
    "LearntToEnlargeError": "add --scale {scale} (restore, inspect, evaluate), or leave out "
    "--toolbox {toolbox} to keep the size",
    "NoFittedToolError": "toolchain fit PHOTOS --name {tool} makes one",
    "NoEnlargerError": "take one that has such tools, such as --toolbox generative",
    "NotCalibratedError": "toolchain calibrate does that; or leave out --max-risk",
    "NotShippedError": "train it with: toolchain train tools --config {toolbox}",
    "OwnToolNameError": "leave --add-tool out",
    "SmallAgentError": "train one with: toolchain train agent --set task=real-sr",
    "TakenError": "choose another, or add --overwrite",
    "IqaEncoderError": "--iqa names a score, and --iqa-encoder its encoder, a folder or a name "
    "in the local cache (in training: --set iqa=FOLDER, --set iqa_encoder=FOLDER)",
    "DamagedRunError": "start again with another --run",
    "NotFittedError": "toolchain fit PHOTOS makes one",
    "NotANumberError": "start again with a lower learning_rate and another --run (--init can name "
    "the folder of a tool's run)",
    "NothingToResumeError": "leave out --resume to start",
    "RunMismatchError": "resume with the same settings, or choose another --run",
    "RunTakenError": "add --resume or choose another --run",
    "NoAgentError": "name one with --agent",
    "NoPlotsError": "or leave them out (--no-plots, or no --picture)",
    "NoProfileError": "measure them with: --measure-profile PHOTOS",
    "OtherToolsError": "measure them with: --measure-profile PHOTOS --overwrite",
    "NoScoreError": "in training: --set iqa=FOLDER",
    "NoTextureAgentError": "add --scale 4 to take it",
    "OtherWeightsError": "toolchain train agent does that",
    "PreferenceError": "leave --agent out, or --prefer",
}
"""What to do on the command line about an error, by the name of its class or of one above it.

In braces stand attributes of the error. Errors themselves speak of the library only: who calls it
from Python has no flags. Names stand for classes, since most live beside PyTorch.
"""


def with_hint(error: Exception) -> str:
    """What an error says, and what to do about it on the command line."""
    hints = (HINTS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in HINTS)
    hint = next(hints, "").format_map(vars(error))
    return f"{error}; {hint}" if hint else str(error)


def fail(message: str, status: int = STATUS_USAGE) -> NoReturn:
    """Say what is wrong in one line and end the command."""
    # Built here and not once: standard error may have been redirected since the import.
    console = Console(stderr=True)
    line = Text.assemble(("error: ", "bold red"), (printable(message.strip()), "red"))
    console.print(line, soft_wrap=True)
    raise typer.Exit(status)


@contextlib.contextmanager
def failure_of_photos() -> Iterator[None]:
    """End the command with a failure, not as wrong usage, if a photo cannot be used."""
    try:
        yield
    except PhotoError as error:
        fail(str(error), STATUS_FAILED)


class OneLineErrors(TyperGroup):
    """A group of commands whose users see a line where a programmer would see a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; see `fail` for what becomes of the errors a user can cause."""
        try:
            return super().invoke(ctx)
        except ToolchainError as error:
            fail(with_hint(error))
        except KeyboardInterrupt:
            fail("interrupted", STATUS_INTERRUPTED)
        except MemoryError:
            fail("not enough memory; try a smaller photo or --max-tile-pixels", STATUS_FAILED)
        except OSError as error:
            if error.errno in (None, errno.EPIPE):  # the reader of our output has gone
                raise
            place = f"{error.filename}: " if error.filename else ""
            fail(f"{place}{one_line(error)}", STATUS_FAILED)
