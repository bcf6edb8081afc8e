"""Masks that hide pixels from a denoiser, so that it cannot predict their noise.

A network that must predict a noisy pixel without seeing it cannot predict its noise, if the noise
of the pixels it does see tells nothing about it. Masks and blind spots hide the pixel; sub-sampling
moves its neighbours, whose noise a camera correlates with its own, out of the way.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Denoiser = Callable[[Tensor], Tensor]
"""Maps (N, 3, H, W) in [0, 1] to the same shape."""

MaskKind = Literal["checkerboard", "random"]
"""Way of choosing half of the pixels."""


def random_masks(
    count: int, num_images: int, height: int, width: int, generator: torch.Generator
) -> Tensor:
    """Put every pixel of every image into one of ``count`` hidden sets, at random.

    Returns:
        (count, N, 1, H, W) bool, true where set ``i`` hides the pixel, in all channels.
    """
    shape = (num_images, 1, height, width)
    chosen = torch.randint(count, shape, generator=generator, device=generator.device)
    return torch.stack([chosen == index for index in range(count)])


def checkerboard_masks(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Divide images like a chessboard: the same two hidden sets whenever they are asked for.

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

    Returns:
        (N, 1, H, W) bool, true where the pixel is hidden, in all channels.
    """
    if kind == "random":
        return random_masks(2, num_images, height, width, generator)[0]
    masks = checkerboard_masks(height, width, generator.device)
    chosen = torch.randint(2, (num_images,), generator=generator, device=generator.device)
    return masks[chosen, 0]


def denoise_hidden(denoiser: Denoiser, images: Tensor, masks: Tensor) -> Tensor:
    """Take every pixel from the pass in which it was hidden: one call per mask.

    Args:
        denoiser: Denoiser, which sees 0 in place of hidden pixels.
        images: (N, C, H, W) in [0, 1].
        masks: bool (K, N or 1, 1, H, W): hidden sets, each pixel in exactly one of them.

    Returns:
        Same shape as ``images``; a pixel does not depend on its own input value.
    """
    passes = (
        torch.where(hidden, denoiser(images.masked_fill(hidden, 0.0)), 0.0) for hidden in masks
    )
    return torch.stack(list(passes)).sum(dim=0)
