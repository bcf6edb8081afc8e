"""Tools that are trained one after the other, each in a folder of its own, into one toolbox."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from restoration_toolchain.tools_zoo.origin import Origin, joined
from restoration_toolchain.tools_zoo.storage import (
    MANIFEST,
    load_toolbox,
    read_notes,
    read_origin,
    save_toolbox,
)
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.errors import NothingToResumeError, RunTakenError
from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT

TOOLBOX: Final = "toolbox"
"""Folder of the toolbox, beside those of the runs."""


def unfinished(
    names: Iterable[str], run_path: Path, *, resume: bool
) -> tuple[list[str], list[str]]:
    """Which tools are left to train, and which of them were interrupted.

    Args:
        names: Tools to train.
        run_path: Folder of the runs, and of the toolbox below it.
        resume: Whether interrupted ones are to go on.

    Raises:
        NothingToResumeError: They are to go on, and nothing was begun.
        RunTakenError: One was begun, and is not to go on.
    """
    folder = run_path / TOOLBOX
    finished = load_toolbox(folder).names if (folder / MANIFEST).is_file() else ()
    left = [name for name in names if name not in finished]
    begun = [name for name in left if (run_path / name / CHECKPOINT).is_file()]
    if resume and not begun and not finished:
        raise NothingToResumeError(f"nothing to resume in {run_path}")
    if begun and not resume:
        raise RunTakenError(f"{run_path / begun[0]} already holds a run")
    return left, begun


def add_tool(
    tool: Tool,
    folder: Path,
    origin: Origin,
    *,
    name: str,
    notes: Mapping[str, Any] | None = None,
    order: Sequence[str] = (),
) -> None:
    """Put a tool into a toolbox folder, which is made if it is not there.

    Args:
        tool: Tool that is not there yet.
        folder: Folder of the toolbox.
        origin: Licence of its weights, and data that they were learnt from.
        name: Name of the toolbox.
        notes: Facts to record of the tool.
        order: Names of all tools in action order; none puts it behind those that are there.
    """
    there = (folder / MANIFEST).is_file()
    tools = [*load_toolbox(folder), tool] if there else [tool]
    if order:
        tools.sort(key=lambda one: order.index(one.spec.name))
    all_notes = {**(read_notes(folder) if there else {}), tool.spec.name: notes or {}}
    origins = [*([read_origin(folder)] if there else []), origin]
    save_toolbox(Toolbox(name, tools), folder, all_notes, origin=joined(origins))
