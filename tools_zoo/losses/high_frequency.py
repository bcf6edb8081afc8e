"""Loss on high frequencies, and how much of them an image has."""

import torch
from torch import Tensor
from torch.nn import functional

SIGMA = 1.5
"""Standard deviation of the blur, in pixels; finer than this is high."""

RADIUS = 5
"""Radius of the kernel, in pixels."""


def high_pass(images: Tensor) -> Tensor:
    """What a Gaussian blur of `SIGMA` takes away, per channel, with mirrored borders.

    Args:
        images: (N, C, H, W), sides above `RADIUS`.

    Returns:
        Same shape, around 0.
    """
    offsets = torch.arange(-RADIUS, RADIUS + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / SIGMA).square())
    kernel = kernel / kernel.sum()
    channels = images.shape[1]
    padded = functional.pad(images, (RADIUS,) * 4, mode="reflect")
    rows = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    columns = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    blurred = functional.conv2d(
        functional.conv2d(padded, rows, groups=channels), columns, groups=channels
    )
    return images - blurred


def high_frequency_loss(restored: Tensor, gt: Tensor) -> Tensor:
    """High-frequency perception (HFP): ``mean |HP(x) - HP(y)|``.

    Args:
        restored: (N, 3, H, W) in [0, 1].
        gt: Same shape.

    Source:
        The idea is that of VPD-SR, Wu et al., arXiv 2506.02605; the transform is this project's,
        since the paper's was not to be had.
    """
    return (high_pass(restored) - high_pass(gt)).abs().mean()


def detail_ratio(restored: Tensor, gt: Tensor) -> Tensor:
    """Energy of high frequencies over that of the clean images: ``|HP(x)| / |HP(y)|``, (N,).

    1 is as much as there should be; smooth images have less, noisy ones more.
    """
    energy = high_pass(restored).abs().mean(dim=(1, 2, 3))
    return energy / high_pass(gt).abs().mean(dim=(1, 2, 3)).clamp_min(1e-6)
