"""Which pixels are hidden from a network: sets that are disjoint and together cover an image."""

from typing import Literal

import torch
from torch import Tensor

MaskKind = Literal["checkerboard", "random"]
"""How half of the pixels are chosen."""


def random_masks(
    count: int, num_images: int, height: int, width: int, generator: torch.Generator
) -> Tensor:
    """Put every pixel of every image into one of ``count`` hidden sets, at random.

    Args:
        count: Number of sets; one hides a share of ``1 / count`` of the pixels.
        num_images: N.
        height: In pixels.
        width: In pixels.
        generator: Of the choice.

    Returns:
        (count, N, 1, H, W) bool, true where set ``i`` hides the pixel, in all channels.
    """
    shape = (num_images, 1, height, width)
    chosen = torch.randint(count, shape, generator=generator, device=generator.device)
    return torch.stack([chosen == index for index in range(count)])


def checkerboard_masks(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Divide images like a chessboard: the same two hidden sets whenever they are asked for.

    Args:
        height: In pixels.
        width: In pixels.
        device: Where the masks go.

    Returns:
        (2, 1, 1, H, W) bool; the first set hides the upper left pixel.
    """
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)
    even = ((rows + columns) % 2 == 0)[None, None]
    return torch.stack([even, ~even])


def draw_half(
    kind: MaskKind, num_images: int, height: int, width: int, generator: torch.Generator
) -> Tensor:
    """Choose half of the pixels of every image: one of its two hidden sets.

    Args:
        kind: Of the sets.
        num_images: N.
        height: In pixels.
        width: In pixels.
        generator: Of the choice.

    Returns:
        (N, 1, H, W) bool, true where the pixel is hidden, in all channels.
    """
    if kind == "random":
        return random_masks(2, num_images, height, width, generator)[0]
    masks = checkerboard_masks(height, width, generator.device)
    chosen = torch.randint(2, (num_images,), generator=generator, device=generator.device)
    return masks[chosen, 0]
