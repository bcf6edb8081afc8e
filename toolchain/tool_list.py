"""What a toolbox on disk holds, and whether its weights are sound."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from data.errors import ChecksumError, ToolchainError
from data.metrics import batch_psnr
from data.store import PatchStore
from tools_zoo.catalog import DEFAULT_TOOLBOX
from tools_zoo.storage import read_checked, read_manifest, toolbox_folder
from tools_zoo.tool import ToolSpec
from tools_zoo.tool_data import ToolDegrader, validation_pairs
from tools_zoo.toolbox import Toolbox

WeightState = Literal["ok", "damaged", "missing"]


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool of a manifest and the state of its weight file."""

    spec: ToolSpec
    state: WeightState


def list_tools(name_or_path: str | Path = DEFAULT_TOOLBOX) -> list[ListedTool]:
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


def measure_tools(toolbox: Toolbox, store: Path, *, count: int = 256) -> dict[str, float]:
    """Mean PSNR gain in dB of each tool on its own range alone.

    Args:
        toolbox: The tools.
        store: Patch store; its held-out photos are degraded.
        count: Patches per tool.

    Raises:
        StoreError: The store cannot be read.
    """
    gains = {}
    with PatchStore(store) as patches, torch.inference_mode():
        for tool in toolbox:
            degrade = ToolDegrader(tool.spec).own_only
            lq, gt = validation_pairs(patches, degrade, count=count, seed=0)
            restored = tool(lq).clamp(0.0, 1.0)
            gains[tool.spec.name] = float((batch_psnr(restored, gt) - batch_psnr(lq, gt)).mean())
    return gains


def _weight_state(path: Path, sha256: str) -> WeightState:
    try:
        read_checked(path, sha256)
    except ChecksumError:
        return "damaged"
    except ToolchainError:
        return "missing"
    return "ok"
