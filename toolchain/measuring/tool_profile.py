"""Measure what each tool of a toolbox does to each family of damage of the world."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from restoration_toolchain.agents.outcomes.record import PSNR_CAP
from restoration_toolchain.data.damage.world import FAMILIES
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import ByteImage, to_float, to_tensor
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.world_crops import CLEAN, CROP_SIDE, WorldCrops, gather
from restoration_toolchain.tools_zoo.precision import Precision, computing
from restoration_toolchain.tools_zoo.profile import FamilyGains, ToolProfile
from restoration_toolchain.tools_zoo.toolbox import Toolbox

PROFILED: Final = (*FAMILIES, CLEAN)
"""What is measured: every family, and photos that nothing happened to."""

COUNT: Final = 64
"""Crops of each family."""

_AT_ONCE: Final = 16  # crops that a tool runs on together

OnFamily = Callable[[int, int, str], None]
"""Called with (families done, all of them, name of the latest)."""


def measure_profile(
    toolbox: Toolbox,
    photos: Sequence[ByteImage],
    *,
    source: str,
    count: int = COUNT,
    side: int = CROP_SIDE,
    seed: int = 0,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
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
        device: Device that the tools run on.
        precision: Number format that they compute in.
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
    families = {}
    for number, family in enumerate(PROFILED):
        rng = np.random.default_rng((seed, number))
        lq, gt = _pairs(photos, family, count, side, rng)
        before = _capped(lq, gt)
        gains = {}
        for name in checksums:
            with torch.inference_mode(), computing(precision, torch.device(device)):
                after = [
                    _capped(toolbox[name](part.to(device)).float().cpu(), clean)
                    for part, clean in _parts(lq, gt)
                ]
            gains[name] = round(float((torch.cat(after) - before).mean()), 4)
        families[family] = FamilyGains(count, round(float(before.mean()), 4), gains)
        on_family(number + 1, len(PROFILED), family)
    return ToolProfile(checksums, families, source, side, seed, PSNR_CAP)


def _pairs(
    photos: Sequence[ByteImage], family: str, count: int, side: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Draw (lq, gt) of one family, each float32 (N, 3, S, S) in [0, 1]."""
    is_clean = family == CLEAN
    weights = None if is_clean else dict.fromkeys(FAMILIES, 0.0) | {family: 1.0}
    crops = WorldCrops(
        photos, side=side, drawn_share=0.0, clean_share=float(is_clean), weights=weights
    )
    lq, gt = gather([crops.draw(rng) for _ in range(count)])
    return to_tensor(to_float(lq)), to_tensor(to_float(gt))


def _parts(lq: Tensor, gt: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for first in range(0, len(lq), _AT_ONCE):
        part = lq[first : first + _AT_ONCE].contiguous(memory_format=torch.channels_last)
        yield part, gt[first : first + _AT_ONCE]


def _capped(images: Tensor, gt: Tensor) -> Tensor:
    return batch_psnr(images, gt).double().clamp(max=PSNR_CAP)
