"""Tools on disk: one safetensors file per tool and a manifest with checksums beside them."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.data.errors import ChecksumError, ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.catalog import DEFAULT_TOOLBOX, NAMED_TOOLBOXES
from restoration_toolchain.tools_zoo.origin import Origin
from restoration_toolchain.tools_zoo.profile import (
    PROFILE,
    ProfileError,
    find_profile,
    read_profile,
)
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox

MANIFEST: Final = "manifest.json"
WEIGHTS_SUFFIX: Final = ".safetensors"

FROM: Final = "from"
"""Key in the entry of a tool: the shipped toolbox that has its weights."""

FORMAT_VERSION: Final = 1
UNKNOWN_ORIGIN: Final = Origin()
WEIGHTS_FOLDER: Final = Path(__file__).parent / "weights"


class ToolboxError(ToolchainError):
    """A toolbox on disk is missing, incomplete or malformed."""


class NotShippedError(ToolboxError):
    """A toolbox of the catalogue has to be trained first: its weights do not ship.

    Attributes:
        toolbox: Name of the toolbox.
    """

    def __init__(self, toolbox: str) -> None:
        super().__init__(
            f"the weights of the toolbox {toolbox!r} do not ship; train it, and name its folder"
        )
        self.toolbox = toolbox


class TakenError(ToolboxError):
    """A place to write to is taken, and nobody allowed to replace what is there."""


def save_toolbox(
    toolbox: Toolbox,
    folder: Path,
    notes: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    origin: Origin = UNKNOWN_ORIGIN,
    shared: str | None = None,
    half: bool = False,
) -> None:
    """Write every tool's weights, then the manifest that vouches for them.

    A profile that lies in the folder and was measured for other weights is deleted.

    Args:
        toolbox: Toolbox to save.
        folder: Destination, made if missing; files of the same names are replaced.
        notes: Facts to record of each tool by its name, such as how it was trained.
        origin: Licence of the weights, and data that they were learnt from.
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
            path = folder / f"{name}{WEIGHTS_SUFFIX}"
            home, sha256 = {}, write_weights(path, tool.network.state_dict(), half=half)
        entries.append(
            {
                **tool.spec.to_dict(),
                **home,
                "sha256": sha256,
                "notes": dict((notes or {}).get(name, {})),
            }
        )
    manifest = {
        "format_version": FORMAT_VERSION,
        "name": toolbox.name,
        **origin.to_dict(),
        "tools": entries,
    }
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=2).encode())
    try:
        read_profile(folder, measured_checksums(manifest))
    except ProfileError:
        (folder / PROFILE).unlink(missing_ok=True)


def load_toolbox(name_or_path: str | Path = DEFAULT_TOOLBOX, *, draws: bool = True) -> Toolbox:
    """Load a toolbox that ships, by name, or one on disk, by its folder; on the CPU, frozen.

    Every file is compared with its checksum in the manifest before it is used.

    Args:
        name_or_path: The name or the folder.
        draws: Draw weights first, which those of the files then replace. It takes longer than all
            else, but PyTorch's generator moves on with it: a training that was seeded before goes
            on with the numbers that it always had.

    Raises:
        UnknownNameError: No toolbox of that name ships, and there is no such folder.
        ToolboxError: The manifest or a weight file is missing or malformed.
        ChecksumError: A weight file is not the one that the manifest vouches for.
    """
    folder = toolbox_folder(name_or_path)
    manifest = read_manifest(folder)
    tools, checksums = [], {}
    for entry in manifest["tools"]:
        with contextlib.nullcontext() if draws else torch.device("meta"):
            tool = Tool(read_spec(entry))
        tool.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        path = weights_path(folder, entry)
        load_weights(tool.network, read_checked(path, entry["sha256"]), path)
        tools.append(tool)
        checksums[tool.spec.name] = entry["sha256"]
    profile = find_profile(folder, measured_checksums(manifest))
    toolbox = Toolbox(manifest["name"], tools, checksums, folder, profile)
    return toolbox.requires_grad_(False).eval()


def read_spec(entry: Mapping[str, Any]) -> ToolSpec:
    """Read what an entry of a manifest says of the tool itself."""
    others = {"sha256", "notes", FROM}
    return ToolSpec.from_dict({key: value for key, value in entry.items() if key not in others})


def weights_path(folder: Path, entry: Mapping[str, Any]) -> Path:
    """Find the file with the weights of a tool, by its entry in the manifest of a folder.

    Raises:
        UnknownNameError: The weights are to come from a toolbox that does not ship.
    """
    home = entry.get(FROM)
    if home is not None and home not in shipped_toolboxes():
        raise UnknownNameError("toolbox", str(home), shipped_toolboxes())
    return (folder if home is None else WEIGHTS_FOLDER / home) / f"{entry['name']}{WEIGHTS_SUFFIX}"


def shipped_toolboxes() -> tuple[str, ...]:
    """Names of the toolboxes of the catalogue whose weights are here: not all of them ship."""
    return tuple(name for name in NAMED_TOOLBOXES if (WEIGHTS_FOLDER / name / MANIFEST).is_file())


def toolbox_folder(name_or_path: str | Path) -> Path:
    """Find the folder of a toolbox: a shipped one by name, any other by its folder.

    Raises:
        NotShippedError: The catalogue has a toolbox of that name, but its weights do not ship.
        UnknownNameError: There is neither such a toolbox nor such a folder.
    """
    name = str(name_or_path)
    if name in shipped_toolboxes():
        return WEIGHTS_FOLDER / name
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder
    if name in NAMED_TOOLBOXES:
        raise NotShippedError(name)
    raise UnknownNameError("toolbox", name, shipped_toolboxes())


def check_replaceable(folder: Path, *, overwrite: bool) -> None:
    """Make sure that a toolbox may be written to a folder, before any work is done for it.

    Args:
        folder: Destination; it need not exist.
        overwrite: Whether a toolbox that is there may be replaced; anything else never is.

    Raises:
        TakenError: The folder exists, and nothing may be replaced.
        ToolboxError: The folder holds other things than a toolbox.
    """
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise TakenError(f"{folder} exists already")
    entries = list(folder.iterdir()) if folder.is_dir() else [folder]
    if folder.is_symlink() or not all(_is_part(entry) for entry in entries):
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
    """Read what the manifest of a toolbox folder notes of each tool, such as how it was trained.

    Raises:
        ToolboxError: It is missing, is not JSON, or has another format version.
    """
    return {entry["name"]: entry.get("notes", {}) for entry in read_manifest(folder)["tools"]}


def read_origin(folder: Path) -> Origin:
    """Read what the manifest of a toolbox folder says of the licence and the data of its weights.

    Raises:
        ToolboxError: It is missing, is not JSON, or has another format version.
    """
    return Origin.from_dict(read_manifest(folder))


def measured_checksums(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Checksums of the tools that a profile is about: those that keep the size of images."""
    return {
        entry["name"]: entry["sha256"] for entry in manifest["tools"] if entry.get("scale", 1) == 1
    }


def write_weights(path: Path, weights: Mapping[str, Tensor], *, half: bool = False) -> str:
    """Write weights as safetensors, completely or not at all; ``half`` has numbers of 16 bits.

    Returns:
        SHA-256 of the file.
    """
    if half:
        weights = {name: v.half() if v.is_floating_point() else v for name, v in weights.items()}
    content = save({name: value.contiguous() for name, value in weights.items()})
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def read_checked(path: Path, sha256: str | None) -> bytes:
    """Read a file whose content must have the given checksum; None accepts any content.

    Raises:
        ToolboxError: The file cannot be read.
        ChecksumError: The content is another.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ToolboxError(f"cannot read the weights {path}: {error.strerror}") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ChecksumError(f"{path} is damaged or was replaced: its checksum does not match")
    return content


def load_weights(
    module: nn.Module, content: bytes, path: Path, *, apart: Mapping[str, nn.Module] | None = None
) -> None:
    """Load safetensors content strictly into a module.

    Args:
        module: Module to fill; one that was built on the device ``meta`` comes to the CPU.
        content: Content of the file.
        path: Name of the file in errors.
        apart: Other modules to fill, by the prefix of their weights' names.

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
            part.load_state_dict(_placed(weights, part), assign=True)
        except RuntimeError as error:
            kind = type(part).__name__
            says = f"{path} holds weights of another shape than {kind} needs"
            raise ToolboxError(says) from error


def _is_part(entry: Path) -> bool:
    """Whether what lies in a toolbox folder belongs there: weights, and what describes them."""
    if entry.is_dir():  # an agent, a score
        return all(part.suffix in {".json", WEIGHTS_SUFFIX} for part in entry.iterdir())
    return entry.name in {MANIFEST, PROFILE} or entry.suffix == WEIGHTS_SUFFIX


def _placed(weights: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Copy weights into memory of the dtype and layout that a module has; other shapes stay."""
    placed = dict(weights)
    for name, needed in module.state_dict().items():
        if name in weights and weights[name].shape == needed.shape:
            placed[name] = torch.empty_strided(needed.shape, needed.stride(), dtype=needed.dtype)
            # By NumPy, in one thread: PyTorch would wake all of them for each small tensor.
            np.copyto(placed[name].numpy(), weights[name].to(needed.dtype).numpy())
    return placed


def _same_weights(tool: Tool, other: Tool) -> bool:
    ours, theirs = tool.network.state_dict(), other.network.state_dict()
    return tool.spec == other.spec and all(torch.equal(ours[key], theirs[key]) for key in ours)
