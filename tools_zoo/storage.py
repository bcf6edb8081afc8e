"""Tools on disk: one safetensors file per tool and a manifest with checksums beside them."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.data.errors import ChecksumError, ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.catalog import DEFAULT_TOOLBOX, TOOLBOXES
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox

MANIFEST: Final = "manifest.json"
_PARTS: Final = {MANIFEST, "agent", "agent-texture", "sfd_iqa"}
"""What may lie in a toolbox folder beside weights."""

FROM: Final = "from"
"""In the entry of a tool: the shipped toolbox that has its weights."""

FORMAT_VERSION: Final = 1
WEIGHTS_FOLDER: Final = Path(__file__).parent / "weights"


class ToolboxError(ToolchainError):
    """A toolbox on disk is missing, incomplete or malformed."""


def save_toolbox(
    toolbox: Toolbox,
    folder: Path,
    notes: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    shared: str | None = None,
    half: bool = False,
) -> None:
    """Write every tool's weights, then the manifest that vouches for them.

    Args:
        toolbox: What to save.
        folder: Made if missing; files of the same names are replaced.
        notes: Per tool, facts to record with it, such as how it was trained.
        shared: Name of a shipped toolbox. Tools of the same weights are not written again; the
            manifest says that they are ``from`` there.
        half: Write numbers of 16 bits; what is loaded has 32 again, and differs by a twentieth of a
            per cent at most.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = None if shared is None else load_toolbox(shared)
    entries = []
    for tool in toolbox:
        name = tool.spec.name
        if there is not None and name in there.names and _same_weights(tool, there[name]):
            home, sha256 = {FROM: shared}, there.checksums[name]
        else:
            weights = tool.network.state_dict().items()
            content = save({key: _stored(value, half=half) for key, value in weights})
            write_atomically(folder / f"{name}.safetensors", content)
            home, sha256 = {}, hashlib.sha256(content).hexdigest()
        entries.append(
            {
                **tool.spec.to_dict(),
                **home,
                "sha256": sha256,
                "notes": dict((notes or {}).get(name, {})),
            }
        )
    manifest = {"format_version": FORMAT_VERSION, "name": toolbox.name, "tools": entries}
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=2).encode())


def load_toolbox(name_or_path: str | Path = DEFAULT_TOOLBOX) -> Toolbox:
    """Load a toolbox that ships, by name, or one on disk, by its folder; on the CPU, frozen.

    Every file is compared with its checksum in the manifest before it is used.

    Raises:
        UnknownNameError: No toolbox of that name ships, and there is no such folder.
        ToolboxError: The manifest or a weight file is missing or malformed.
        ChecksumError: A weight file is not the one that the manifest vouches for.
    """
    folder = toolbox_folder(name_or_path)
    manifest = read_manifest(folder)
    tools, checksums = [], {}
    for entry in manifest["tools"]:
        tool = Tool(read_spec(entry))
        path = weights_path(folder, entry)
        load_weights(tool.network, read_checked(path, entry["sha256"]), path)
        tools.append(tool)
        checksums[tool.spec.name] = entry["sha256"]
    toolbox = Toolbox(manifest["name"], tools, checksums, folder)
    toolbox.requires_grad_(False).eval()
    return toolbox.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def read_spec(entry: Mapping[str, Any]) -> ToolSpec:
    """What an entry of a manifest says of the tool itself."""
    others = {"sha256", "notes", FROM}
    return ToolSpec.from_dict({key: value for key, value in entry.items() if key not in others})


def weights_path(folder: Path, entry: Mapping[str, Any]) -> Path:
    """The file with the weights of a tool.

    Args:
        folder: Of the toolbox.
        entry: Of the tool in its manifest.

    Raises:
        UnknownNameError: They are to be from a toolbox that does not ship.
    """
    home = entry.get(FROM)
    if home is not None and home not in shipped_toolboxes():
        raise UnknownNameError("toolbox", str(home), shipped_toolboxes())
    return (folder if home is None else WEIGHTS_FOLDER / home) / f"{entry['name']}.safetensors"


def shipped_toolboxes() -> tuple[str, ...]:
    """Names of the toolboxes of the catalogue whose weights are here: not all of them ship."""
    return tuple(name for name in TOOLBOXES if (WEIGHTS_FOLDER / name / MANIFEST).is_file())


def toolbox_folder(name_or_path: str | Path) -> Path:
    """Where a toolbox lies: a shipped one by name, any other by its folder.

    Raises:
        ToolboxError: The catalogue has a toolbox of that name, but its weights do not ship.
        UnknownNameError: There is neither such a toolbox nor such a folder.
    """
    name = str(name_or_path)
    if name in shipped_toolboxes():
        return WEIGHTS_FOLDER / name
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder
    if name in TOOLBOXES:
        raise ToolboxError(
            f"the weights of the toolbox {name!r} do not ship; train it (toolchain train tools "
            f"--config {name}) and name the folder that it is in"
        )
    raise UnknownNameError("toolbox", name, shipped_toolboxes())


def check_replaceable(folder: Path, *, overwrite: bool) -> None:
    """Make sure that a toolbox may be written to a folder, before any work is done for it.

    Args:
        folder: Where; it need not exist.
        overwrite: Whether a toolbox that is there may be replaced; anything else never.

    Raises:
        ToolboxError: It may not.
    """
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise ToolboxError(f"{folder} exists already; choose another, or add --overwrite")
    entries = list(folder.iterdir()) if folder.is_dir() else [folder]
    others = [
        entry.name
        for entry in entries
        if entry.name not in _PARTS and entry.suffix != ".safetensors"
    ]
    if others or folder.is_symlink():
        raise ToolboxError(f"{folder} is not replaced: it holds other things than a toolbox")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a toolbox folder.

    Raises:
        ToolboxError: It is missing, is not JSON, or has another format version.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        version = manifest["format_version"]
        if not all("sha256" in entry for entry in manifest["tools"]) or "name" not in manifest:
            raise KeyError("sha256 or name")
    except OSError as error:
        raise ToolboxError(f"no toolbox in {folder}: it has no readable {MANIFEST}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ToolboxError(f"{path} is not a toolbox manifest ({error})") from error
    if version != FORMAT_VERSION:
        raise ToolboxError(f"{path} has format version {version}, this program reads 1")
    return manifest


def read_notes(folder: Path) -> dict[str, dict[str, Any]]:
    """What the manifest of a toolbox folder notes of each tool, such as how it was trained.

    Raises:
        ToolboxError: It is missing, is not JSON, or has another format version.
    """
    return {entry["name"]: entry.get("notes", {}) for entry in read_manifest(folder)["tools"]}


def read_checked(path: Path, sha256: str) -> bytes:
    """Read a file whose content must have the given checksum.

    Raises:
        ToolboxError: The file cannot be read.
        ChecksumError: The content is another.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ToolboxError(f"cannot read the weights {path}: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ChecksumError(f"{path} is damaged or was replaced: its checksum does not match")
    return content


def load_weights(
    module: nn.Module, content: bytes, path: Path, *, apart: Mapping[str, nn.Module] | None = None
) -> None:
    """Load safetensors content strictly into a module.

    Args:
        module: Where the weights go.
        content: Of the file.
        path: Named in errors.
        apart: Other modules, by what the names of their weights begin with.

    Raises:
        ToolboxError: The content is no safetensors file, or names or shapes differ.
    """
    try:
        state: dict[str, Tensor] = load(content)
    except SafetensorError as error:
        raise ToolboxError(f"{path} is not a safetensors file") from error
    parts = []
    for prefix, other in (apart or {}).items():
        names = [name for name in state if name.startswith(prefix)]
        parts.append((other, {name.removeprefix(prefix): state.pop(name) for name in names}))
    for part, weights in ((module, state), *parts):
        try:
            part.load_state_dict(weights)
        except RuntimeError as error:
            kind = type(part).__name__
            raise ToolboxError(
                f"{path} holds weights of another shape than {kind} needs"
            ) from error


def _stored(value: Tensor, *, half: bool) -> Tensor:
    return (value.half() if half and value.is_floating_point() else value).contiguous()


def _same_weights(tool: Tool, other: Tool) -> bool:
    ours, theirs = tool.network.state_dict(), other.network.state_dict()
    return tool.spec == other.spec and all(torch.equal(ours[key], theirs[key]) for key in ours)
