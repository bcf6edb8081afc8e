"""What a toolbox on disk holds, and whether its weights are sound."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.errors import ChecksumError, ToolchainError
from tools_zoo.storage import read_checked, read_manifest, toolbox_folder
from tools_zoo.tool import ToolSpec

WeightState = Literal["ok", "damaged", "missing"]


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool of a manifest and the state of its weight file."""

    spec: ToolSpec
    state: WeightState


def list_tools(name_or_path: str | Path = "classic") -> list[ListedTool]:
    """List the tools of a toolbox in action order; damaged weights are reported, not raised.

    Raises:
        UnknownNameError: No toolbox of that name ships, and there is no such folder.
        ToolboxError: The manifest is missing or malformed.
    """
    folder = toolbox_folder(name_or_path)
    listed = []
    for entry in read_manifest(folder)["tools"]:
        facts = {key: value for key, value in entry.items() if key not in {"sha256", "notes"}}
        spec = ToolSpec.from_dict(facts)
        path = folder / f"{spec.name}.safetensors"
        listed.append(ListedTool(spec, _weight_state(path, entry["sha256"])))
    return listed


def _weight_state(path: Path, sha256: str) -> WeightState:
    try:
        read_checked(path, sha256)
    except ChecksumError:
        return "damaged"
    except ToolchainError:
        return "missing"
    return "ok"
