"""Brightness and colour of areas: measured behind every tool, and kept from running away.

A tool may move the mean of an area for good reason: noise that was clipped at black has made it
brighter. On photos with such damage the largest move was 30 grey levels (docs/results.md), so more
than `LIMIT` is an accident.
"""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from data.images import FloatImage, to_tensor

AREA: Final = 64
"""Side in pixels of the areas whose means are compared."""

LIMIT: Final = 32.0 / 255.0
"""Largest move of a mean that a tool is granted, in [0, 1]."""


def colour_drift(before: FloatImage, after: FloatImage) -> float | None:
    """Largest move of the mean of a channel in an area.

    Args:
        before: (H, W, 3) in [0, 1].
        after: Of any size.

    Returns:
        In 8-bit grey levels; None where the sizes differ.
    """
    if before.shape != after.shape:
        return None
    means = (_means(to_tensor(image[None])) for image in (before, after))
    moved = torch.sub(*means).abs().amax()
    return float(moved) * 255.0


def bound_drift(before: Tensor, after: Tensor, limit: float = LIMIT) -> Tensor:
    """Take back what moved the means of areas by more than a limit.

    Args:
        before: (1, 3, H, W) in [0, 1].
        after: The same shape; changed in place, some rows at a time, so that a photo that lies on
            disk does not come into memory.
        limit: In [0, 1].

    Returns:
        ``after``.
    """
    moved = _means(after) - _means(before)
    excess = moved - moved.clamp(-limit, limit)
    height, width = after.shape[-2:]
    for row in range(excess.shape[-2]):
        first = max(0, row - 1)
        near = excess[..., first : row + 2, :]  # all that bilinear weights reach from this row
        if near.any():
            field = functional.interpolate(near, scale_factor=AREA, mode="bilinear")
            top, start = row * AREA, (row - first) * AREA
            n_rows = min(AREA, height - top)
            after[..., top : top + n_rows, :] -= field[..., start : start + n_rows, :width]
    return after


def _means(image: Tensor) -> Tensor:
    return functional.avg_pool2d(image, AREA, ceil_mode=True)
