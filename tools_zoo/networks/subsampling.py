"""Sub-images: every ``stride``-th pixel of an image, at fixed or at random places."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

STRIDE: Final = 2
"""Stride of the sub-images at inference, in pixels. Smaller than in training, to keep detail."""


def pixel_shuffle_down(images: Tensor, stride: int) -> Tensor:
    """Split images into sub-images of every ``stride``-th row and column, on the batch axis.

    Args:
        images: (N, C, H, W); both sides multiples of ``stride``.
        stride: s, in pixels.

    Returns:
        (N * s * s, C, H / s, W / s): of image ``n``, the pixels ``[a::s, b::s]`` are entry
        ``n * s * s + a * s + b``.

    Source:
        Zhou et al., "When AWGN-based Denoiser Meets Real Noises", AAAI 2020.
    """
    return _cells(images, stride).transpose(0, 1).flatten(0, 1)


def pixel_shuffle_up(sub_images: Tensor, stride: int) -> Tensor:
    """Put sub-images together again: the inverse of `pixel_shuffle_down`.

    Args:
        sub_images: (N * s * s, C, h, w), in the order of `pixel_shuffle_down`.
        stride: s, in pixels.

    Returns:
        (N, C, h * s, w * s).
    """
    _, num_ch, height, width = sub_images.shape
    cells = sub_images.reshape(-1, stride**2, num_ch, height, width).transpose(1, 2)
    return functional.pixel_shuffle(cells.flatten(1, 2), stride)


def random_subsamples(images: Tensor, stride: int, generator: torch.Generator) -> Tensor:
    """Split images into sub-images that take one random pixel of every cell of s x s pixels.

    Every cell is permuted on its own, all channels alike, and sub-image ``j`` takes the pixel of
    rank ``j``; so together the sub-images hold every pixel exactly once.

    Args:
        images: (N, C, H, W); both sides multiples of ``stride``.
        stride: s, in pixels.
        generator: Random source of the permutations.

    Returns:
        (s * s, N, C, H / s, W / s).

    Source:
        Pan et al., "Random Sub-Samples Generation for Self-Supervised Real Image Denoising",
        ICCV 2023.
    """
    cells = _cells(images, stride)
    keys = torch.rand(
        (cells.shape[0], cells.shape[1], 1, *cells.shape[-2:]),
        generator=generator,
        device=generator.device,
    )
    order = keys.argsort(dim=0).to(cells.device)
    return cells.gather(0, order.expand_as(cells))


def _cells(images: Tensor, stride: int) -> Tensor:
    """(N, C, H, W) to (s * s, N, C, H / s, W / s), the pixels of a cell row by row."""
    num_images, num_ch, height, width = images.shape
    if height % stride or width % stride:
        raise ValueError(f"a side of {width}x{height} pixels is not a multiple of {stride}")
    cells = functional.pixel_unshuffle(images, stride)
    cells = cells.reshape(num_images, num_ch, stride**2, height // stride, width // stride)
    return cells.permute(2, 0, 1, 3, 4)
