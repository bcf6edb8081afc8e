"""A U-Net that predicts every pixel without seeing it, by complementary masks.

Source:
    Liao et al., "Asymmetric Mask Scheme for Self-Supervised Real Image Denoising", ECCV 2024: the
    multi-mask inference. The U-Net follows Lehtinen et al., "Noise2Noise", ICML 2018, at three
    levels and with averages in place of maxima, so that no visible pixel is ever cut off.
"""

import itertools
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.tools_zoo.networks.masks import checkerboard_masks, denoise_hidden
from restoration_toolchain.tools_zoo.networks.starting_weights import (
    carry_colours,
    convolutions,
    draw_weights,
    neighbours,
)
from restoration_toolchain.tools_zoo.networks.subsampling import (
    STRIDE,
    pixel_shuffle_down,
    pixel_shuffle_up,
)

NUM_LEVEL: Final = 3

SLOPE: Final = 0.2
"""Slope of the leaky ReLU below zero."""


class Unet(nn.Module):
    """Two 3x3 convolutions per level on the way down and up; no skip from input to output.

    Args:
        num_feat: Channels at full resolution, at least 3; twice as many one level deeper.
    """

    cell = 2 ** (NUM_LEVEL - 1)
    """Side in pixels of what the deepest level sees as one pixel."""

    # Down and up, each level's convolutions look this far; then there is the place in the cell.
    halo = sum(2 * 2**level for level in (0, 1, 2, 1, 0)) + cell - 1

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        widths = [num_feat * 2**level for level in range(NUM_LEVEL)]
        pairs = list(itertools.pairwise(widths))
        self.first = _block(3, num_feat)
        self.down = nn.ModuleList(
            nn.Sequential(nn.AvgPool2d(2), _block(fine, coarse)) for fine, coarse in pairs
        )
        self.up = nn.ModuleList(_double(coarse, fine) for fine, coarse in reversed(pairs))
        self.merge = nn.ModuleList(_block(2 * fine, fine) for fine, _ in reversed(pairs))
        self.last = nn.Conv2d(num_feat, 3, 1)
        self._start_from_neighbours()

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to the same shape, not clipped.

        Sides are filled up to whole cells with zeros, like those of the convolutions, and cut back.
        """
        height, width = images.shape[-2:]
        feat = self.first(_fill_up(images, self.cell))
        skips = []
        for down in self.down:
            skips.append(feat)
            feat = down(feat)
        for up, merge in zip(self.up, self.merge, strict=True):
            feat = merge(torch.cat([skips.pop(), up(feat)], dim=1))
        out: Tensor = self.last(feat)
        return out[..., :height, :width]

    def _start_from_neighbours(self) -> None:
        """Begin as the mean of the visible neighbours, which are four of eight."""
        draw_weights(self)
        carry_colours(convolutions(self.first)[0], neighbours(3) / 4.0)
        for conv in convolutions(self.first)[1:] + convolutions(self.merge[-1]):
            carry_colours(conv)
        self.last.weight.data.mul_(0.1)
        carry_colours(self.last)


class MaskedUnet(nn.Module):
    """Sub-images, two complementary masks on each, and a U-Net that sees either half.

    Args:
        num_feat: Channels of the U-Net at full resolution. With 32 it has 466,883 parameters, and
            two passes take 194 k multiply-accumulates per pixel.

    Attributes:
        denoiser: The U-Net, which is what is trained.
    """

    grid = STRIDE * Unet.cell
    """A tile must start at a multiple of this many pixels, or masks and levels shift."""

    halo = STRIDE * Unet.halo

    def __init__(self, num_feat: int = 32) -> None:
        super().__init__()
        self.denoiser = Unet(num_feat)

    def forward(self, noisy: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to the same shape, not clipped.

        An odd side is filled up with zeros and cut back: to the U-Net, 0 means hidden, and a pixel
        that was repeated instead would be shown beside its hidden self.
        """
        height, width = noisy.shape[-2:]
        sub_images = pixel_shuffle_down(_fill_up(noisy, STRIDE), STRIDE)
        rows, columns = sub_images.shape[-2:]
        masks = checkerboard_masks(rows, columns, noisy.device)
        restored = denoise_hidden(self.denoiser, sub_images, masks)
        return pixel_shuffle_up(restored, STRIDE)[..., :height, :width]


def _fill_up(images: Tensor, multiple: int) -> Tensor:
    height, width = images.shape[-2:]
    return functional.pad(images, (0, -width % multiple, 0, -height % multiple))


def _block(num_in_ch: int, num_out_ch: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(num_in_ch, num_out_ch, 3, padding=1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(num_out_ch, num_out_ch, 3, padding=1),
        nn.LeakyReLU(SLOPE),
    )


def _double(num_in_ch: int, num_out_ch: int) -> nn.Sequential:
    """A transposed 2x2 convolution of stride 2, written as what it is: 1x1 and pixel shuffle."""
    return nn.Sequential(nn.Conv2d(num_in_ch, 4 * num_out_ch, 1), nn.PixelShuffle(2))
