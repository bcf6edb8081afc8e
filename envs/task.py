"""What an agent is asked for by name, and the scale that the name stands for in a toolbox."""

from typing import Final, Literal, get_args

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.catalog import DEFAULT_TOOLBOX, GENERATIVE_TOOLBOX
from restoration_toolchain.tools_zoo.toolbox import Toolbox

Task = Literal["restore", "real-sr"]
"""*restore* keeps the size of an image; *real-sr* restores and enlarges it."""

TASKS: Final[tuple[Task, ...]] = get_args(Task)


def check_task(task: str) -> None:
    """Raise UnknownNameError unless ``task`` is one of `TASKS`."""
    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)


def default_task_toolbox(task: str) -> str:
    """Name of the toolbox for a task where the user names none."""
    return GENERATIVE_TOOLBOX if task == "real-sr" else DEFAULT_TOOLBOX


def task_at(scale: int) -> Task:
    """The task in which a result has this many times the side of an image."""
    return "restore" if scale == 1 else "real-sr"


def task_scale(task: str, toolbox: Toolbox) -> int:
    """Side of a result over side of an image: 1, or the scale of the tools that enlarge.

    Raises:
        ToolchainError: The task is unknown, or to enlarge, and the toolbox has not just one scale.
    """
    check_task(task)
    if task == "restore":
        return 1
    scales = sorted({scale for scale in toolbox.scales if scale > 1})
    if not scales:
        raise ToolchainError(
            f"the toolbox {toolbox.name} has no tool that makes images larger; take one that has, "
            "such as generative"
        )
    if len(scales) > 1:
        raise ToolchainError(
            f"the tools of {toolbox.name} enlarge by {' and '.join(map(str, scales))}; the task "
            "real-sr needs one scale"
        )
    return scales[0]
