"""Tools that a user fitted to own photos: each a toolbox of one, with the noise it is made for."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from restoration_toolchain.data.atomic import folder_written_atomically
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.catalog import TOOLBOXES
from restoration_toolchain.tools_zoo.storage import (
    MANIFEST,
    WEIGHTS_FOLDER,
    ToolboxError,
    check_replaceable,
    load_toolbox,
    read_notes,
    save_toolbox,
    shipped_toolboxes,
)
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import DuplicateToolError, Toolbox

if TYPE_CHECKING:  # brings OpenCV along, which a restoration without a fitted tool does without
    from restoration_toolchain.data.damage.noise_model import NoiseModel

HOME_VARIABLE: Final = "RESTORATION_TOOLCHAIN_HOME"
"""Environment variable that moves what the user made to another folder."""

WEAKEST: Final = 0.6
STRONGEST: Final = 2.5
"""Bounds of a photo's noise over that of the photos a tool was fitted to; wider on the side where
a photo's own grain and texture add to it."""
STRONGEST_UNSURE: Final = 1.5
"""The upper bound where the noise may as well be texture: of clean photos, too."""
CORRELATION_GAP: Final = 0.25
"""Largest difference of the correlation between neighbours."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class NoFittedToolError(ToolchainError):
    """A fitted tool was asked for by name, and none was made yet.

    Attributes:
        tool: Name that was asked for.
    """

    def __init__(self, tool: str, home: Path) -> None:
        super().__init__(f"no fitted tool {tool!r}; none is in {home}")
        self.tool = tool


class NotFittedError(ToolboxError):
    """A folder holds tools, but not a fitted one."""


@dataclass(frozen=True, slots=True, eq=False)
class OwnTool:
    """A fitted tool and what is known of it.

    Attributes:
        tool: Tool itself, on the CPU, frozen.
        noise: Noise of the photos that it was fitted to.
        gain: Estimated PSNR gain in dB on held-out crops of those photos.
        sha256: Checksum of its weight file; empty if it comes from none.
        notes: Facts of how it was fitted and judged, plain data.
    """

    tool: Tool
    noise: "NoiseModel"
    gain: float
    sha256: str
    notes: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.tool.spec.name

    def unfitting(self, noise: "NoiseModel") -> str:
        """Say why a photo's noise is not the kind that the tool was fitted to; empty if it is."""
        ratio = noise.strength_beside(self.noise)
        own, theirs = self.noise.neighbour_correlation, noise.neighbour_correlation
        if ratio > STRONGEST_UNSURE and not noise.is_sure:
            return "its noise cannot be told from its texture"
        if not WEAKEST <= ratio <= STRONGEST:
            return (
                f"its noise is {ratio:.1f} times as strong as that of the photos it was fitted to"
            )
        if noise.is_sure and abs(own - theirs) > CORRELATION_GAP:
            return (
                f"neighbouring pixels share {theirs:.1f} of their noise, in the photos it was "
                f"fitted to {own:.1f}"
            )
        return ""


def default_home() -> Path:
    """Folder of what the user made: ``$RESTORATION_TOOLCHAIN_HOME``, or the platform's own."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen)
    import platformdirs  # takes as long as many a module of ours, and few have a fitted tool

    return platformdirs.user_data_path("restoration-toolchain", appauthor=False)


def own_tool_folder(name: str, home: Path) -> Path:
    """Folder in which the fitted tool of a name lies, or would lie."""
    return home / "tools" / name


def own_tool_names(home: Path) -> tuple[str, ...]:
    """Names of the fitted tools, sorted."""
    return tuple(sorted(path.parent.name for path in home.glob(f"tools/[!.]*/{MANIFEST}")))


def check_new_name(name: str) -> None:
    """Refuse what cannot name a new tool: it becomes a file's name and an action's.

    Raises:
        ToolchainError: Letters, digits, - and _ are not all that it has.
        DuplicateToolError: A tool of the project has it.
    """
    if not _NAME.fullmatch(name):
        raise ToolchainError(f"{name!r} cannot name a tool; take up to 64 letters, digits, - and _")
    known = {spec.name for specs in TOOLBOXES.values() for spec in specs}
    for toolbox in shipped_toolboxes():
        known.update(read_notes(WEIGHTS_FOLDER / toolbox))
    if name in {*known, "stop"}:
        raise DuplicateToolError(f"{name!r} is an action of a shipped toolbox; choose another name")


def save_own_tool(
    tool: Tool,
    noise: "NoiseModel",
    gain: float,
    folder: Path,
    *,
    notes: Mapping[str, Any],
    overwrite: bool = False,
) -> OwnTool:
    """Write a tool as a toolbox of one, with its noise model: completely or not at all.

    Args:
        tool: Tool to save.
        noise: Noise of the photos that it was fitted to.
        gain: Estimated PSNR gain in dB.
        folder: Destination; made.
        notes: Further facts to record, plain data.
        overwrite: Replace a tool that is there.

    Raises:
        ToolboxError: The folder exists already, or holds something else than a tool.
        OSError: The folder cannot be written.
    """
    check_replaceable(folder, overwrite=overwrite)
    name = tool.spec.name
    recorded = {**notes, "noise": noise.to_dict(), "gain": gain}
    with folder_written_atomically(folder) as part:
        save_toolbox(Toolbox(name, [tool]), part, {name: recorded})
    return _load(folder)


def load_own_tool(name_or_path: str | Path, home: Path | None = None) -> OwnTool:
    """Load a fitted tool by its name or by its folder.

    Args:
        name_or_path: Name or folder of the tool.
        home: Folder of the user's tools; None is `default_home`.

    Raises:
        NoFittedToolError: No tool was fitted yet.
        UnknownNameError: There is neither such a tool nor such a folder.
        ToolboxError: The folder holds something else.
        ChecksumError: The weights are damaged.
    """
    home, name = default_home() if home is None else home, str(name_or_path)
    names = own_tool_names(home)
    if name in names:
        return _load(own_tool_folder(name, home))
    if Path(name_or_path).is_dir():
        return _load(Path(name_or_path))
    if not names:
        raise NoFittedToolError(name, home)
    raise UnknownNameError("fitted tool", name, names)


def _load(folder: Path) -> OwnTool:
    from restoration_toolchain.data.damage.noise_model import NoiseModel

    toolbox = load_toolbox(folder)
    notes = read_notes(folder)[toolbox.names[0]]
    if len(toolbox) != 1 or not {"noise", "gain"} <= notes.keys():
        raise NotFittedError(f"{folder} holds no fitted tool")
    noise, gain = NoiseModel.from_dict(notes["noise"]), float(notes["gain"])
    about = {key: value for key, value in notes.items() if key not in {"noise", "gain"}}
    return OwnTool(toolbox[0], noise, gain, toolbox.checksums[toolbox.names[0]], about)
