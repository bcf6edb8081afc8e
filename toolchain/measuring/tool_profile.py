"""Measure what each tool of a toolbox does to the families of the world, and to its own damage."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from restoration_toolchain.agents.outcomes.record import PSNR_CAP, CropSource
from restoration_toolchain.data.damage.world import FAMILIES
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import ByteImage, to_float, to_tensor
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.world_crops import CLEAN, CROP_SIDE, WorldCrops, gather
from restoration_toolchain.tools_zoo.profile import FamilyGains, ToolProfile
from restoration_toolchain.tools_zoo.recipes.specialists import (
    ANY_PSNR,
    Specialist,
    SpecialistCrops,
)
from restoration_toolchain.tools_zoo.tool import ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox

PROFILED: Final = (*FAMILIES, CLEAN)
"""What is measured: every family, and photos that nothing happened to."""

COUNT: Final = 64
"""Crops of each family."""

_AT_ONCE: Final = 16  # crops that a tool runs on together

OnFamily = Callable[[int, int, str], None]
"""Called with (families and specialists done, all of them, name of the latest)."""


def measure_profile(
    toolbox: Toolbox,
    photos: Sequence[ByteImage],
    *,
    source: str,
    count: int = COUNT,
    side: int = CROP_SIDE,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_family: OnFamily = lambda done, total, name: None,
) -> ToolProfile:
    """Run every tool on crops of every family; those that enlarge are left out.

    Args:
        toolbox: Tools, loaded from a folder; moved to the device.
        photos: Clean photos that no tool learnt from, RGB uint8 (H, W, 3).
        source: Name of the photos, to be recorded.
        count: Crops of each family.
        side: Side of a crop in pixels.
        seed: Seed of the crops; each family has random numbers of its own.
        device: Device that the tools run on, in float32.
        on_family: Progress.

    Raises:
        SourceError: No photo is large enough.
        ToolchainError: All tools enlarge.
    """
    checksums = {
        tool.spec.name: toolbox.checksums[tool.spec.name]
        for tool in toolbox
        if tool.spec.scale == 1
    }
    if not checksums:
        raise ToolchainError(f"all tools of {toolbox.name} enlarge: there is no gain to measure")
    toolbox.to(device)
    families, own = dict[str, FamilyGains](), dict[str, FamilyGains]()
    sources = [(families, family, _family(photos, family, side)) for family in PROFILED]
    specs = [tool.spec for tool in toolbox if tool.spec.families]
    sources += [(own, spec.name, _own(photos, spec, side)) for spec in specs]
    for number, (measured, name, crops) in enumerate(sources):
        rng = np.random.default_rng((seed, number))
        lq, gt = gather([crops.draw(rng) for _ in range(count)])
        pairs = to_tensor(to_float(lq)), to_tensor(to_float(gt))
        before = _capped(*pairs)
        gains = {}
        for tool in checksums:
            with torch.inference_mode():
                after = [
                    _capped(toolbox[tool](part.to(device)).cpu(), clean)
                    for part, clean in _parts(*pairs)
                ]
            gains[tool] = round(float((torch.cat(after) - before).mean()), 4)
        measured[name] = FamilyGains(count, round(float(before.mean()), 4), gains)
        on_family(number + 1, len(sources), name)
    return ToolProfile(checksums, families, source, side, seed, PSNR_CAP, own)


def _family(photos: Sequence[ByteImage], family: str, side: int) -> CropSource:
    is_clean = family == CLEAN
    weights = None if is_clean else dict.fromkeys(FAMILIES, 0.0) | {family: 1.0}
    return WorldCrops(
        photos, side=side, drawn_share=0.0, clean_share=float(is_clean), weights=weights
    )


def _own(photos: Sequence[ByteImage], spec: ToolSpec, side: int) -> CropSource:
    """What a tool is for: its families, each alike often, as damaged as it was trained for."""
    families = dict.fromkeys(spec.families, 1.0)
    return SpecialistCrops(photos, Specialist(families=families, psnr=spec.psnr or ANY_PSNR), side)


def _parts(lq: Tensor, gt: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for first in range(0, len(lq), _AT_ONCE):
        part = lq[first : first + _AT_ONCE].contiguous(memory_format=torch.channels_last)
        yield part, gt[first : first + _AT_ONCE]


def _capped(images: Tensor, gt: Tensor) -> Tensor:
    return batch_psnr(images, gt).double().clamp(max=PSNR_CAP)
