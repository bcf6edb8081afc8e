"""What a toolbox on disk holds, and whether its weights are sound."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.errors import ChecksumError, ToolchainError
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.store import PatchStore
from restoration_toolchain.tools_zoo import storage
from restoration_toolchain.tools_zoo.catalog import DEFAULT_TOOLBOX
from restoration_toolchain.tools_zoo.enlarging.objective import bicubic
from restoration_toolchain.tools_zoo.tool import ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training import batches

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
    folder = storage.toolbox_folder(name_or_path)
    listed = []
    for entry in storage.read_manifest(folder)["tools"]:
        state = _weight_state(storage.weights_path(folder, entry), entry["sha256"])
        listed.append(ListedTool(storage.read_spec(entry), state))
    return listed


def measure_tools(toolbox: Toolbox, store: Path, *, count: int = 256) -> dict[str, float]:
    """Mean PSNR gain in dB of each tool on its own range alone; of one that enlarges, over bicubic.

    Args:
        toolbox: Toolbox with the tools to measure.
        store: Patch store; its held-out photos are degraded.
        count: Number of patches per tool.

    Raises:
        StoreError: The store cannot be read, or its patches do not divide by a tool's scale.
    """
    gains = {}
    for tool in toolbox:
        scale = tool.spec.scale
        degrade: batches.Degrade = batches.ToolDegrader(tool.spec).own_only
        if scale > 1:
            small = Degradation().shrunk(scale)
            degrade = batches.level_degrader(lambda _, small=small: small)  # type: ignore[misc]
        with PatchStore(store, scale=scale) as patches, torch.inference_mode():
            lq, gt = batches.validation_pairs(patches, degrade, count=count, seed=0)
            before = batch_psnr(bicubic(lq, scale), gt)
            after = batch_psnr(tool(lq), gt)
        gains[tool.spec.name] = float((after - before).mean())
    return gains


def _weight_state(path: Path, sha256: str) -> WeightState:
    try:
        storage.read_checked(path, sha256)
    except ChecksumError:
        return "damaged"
    except ToolchainError:
        return "missing"
    return "ok"
