"""Brightness and colour of areas: measured behind every tool, and kept from running away.

A tool may move the mean of an area for good reason: noise that was clipped at black has made it
brighter. On photos with such damage the largest move was 30 grey levels (docs/results.md), so more
than `LIMIT` is an accident.
"""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from restoration_toolchain.data.images import FloatImage, to_tensor
from restoration_toolchain.toolchain.photos.arrays import IN_MEMORY, Arrays

AREA: Final = 64
"""Side in pixels of the areas whose means are compared."""

LIMIT: Final = 32.0 / 255.0
"""Largest move of a mean that a tool is granted, in [0, 1]."""


def colour_drift(before: FloatImage, after: FloatImage, arrays: Arrays = IN_MEMORY) -> float | None:
    """Largest move of the mean of a channel in an area, in 8-bit grey levels.

    Args:
        before: Image before, (H, W, 3) in [0, 1].
        after: Image after; None is returned where it has another size.
        arrays: Makers of the images.
    """
    if before.shape != after.shape:
        return None
    means = (_means(to_tensor(image[None]), arrays) for image in (before, after))
    moved = torch.sub(*means).abs().amax()
    return float(moved) * 255.0


def bound_drift(before: Tensor, after: Tensor, arrays: Arrays = IN_MEMORY) -> Tensor:
    """Take back what moved the means of areas by more than `LIMIT`.

    Args:
        before: Image before, (1, 3, H, W) in [0, 1].
        after: Image after, of the same shape; changed in place, and returned.
        arrays: Makers of the images.
    """
    moved = _means(after, arrays) - _means(before, arrays)
    excess = moved - moved.clamp(-LIMIT, LIMIT)
    height, width = after.shape[-2:]
    for row, rows in enumerate(arrays.bands(height, AREA)):
        first = max(0, row - 1)
        near = excess[..., first : row + 2, :]  # all that bilinear weights reach from this row
        if near.any():
            field = functional.interpolate(near, scale_factor=AREA, mode="bilinear")
            start = (row - first) * AREA
            after[..., rows, :] -= field[..., start : start + rows.stop - rows.start, :width]
    return after


def _means(image: Tensor, arrays: Arrays) -> Tensor:
    height, width = image.shape[-2:]
    means = image.new_empty(*image.shape[:-2], -(-height // AREA), -(-width // AREA))
    for row, rows in enumerate(arrays.bands(height, AREA)):
        # Put in its place at once: small results that live on between large temporaries keep the
        # allocator from using the same memory again.
        pooled = functional.avg_pool2d(image[..., rows, :], AREA, ceil_mode=True)
        means[..., row : row + 1, :] = pooled
    return means
