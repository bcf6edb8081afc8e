"""Residual networks on pixel-unshuffled images: a wide view at little arithmetic.

Source:
    The layout (space-to-depth, then convolutions at half the resolution) is that of FFDNet, Zhang
    et al., IEEE TIP 2018; the residual blocks are those of EDSR, Lim et al., CVPR Workshops 2017.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

FACTOR: Final = 2
"""Side of the blocks of pixels that become channels."""


class UnshuffledCnn(nn.Module):
    """Residual blocks at half the resolution, and a global skip.

    32 channels and 4 blocks have 80,940 parameters and take 20 k multiply-accumulates per pixel.
    """

    grid = FACTOR
    """A tile must start at a multiple of this many pixels, or pixels change their channels."""

    def __init__(self, num_feat: int, num_block: int) -> None:
        super().__init__()
        num_ch = 3 * FACTOR**2
        self.conv_first = nn.Conv2d(num_ch, num_feat, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(num_feat) for _ in range(num_block))
        self.conv_last = nn.Conv2d(num_feat, num_ch, 3, padding=1)
        # Start near the identity; see `SmallCnn`.
        self.conv_last.weight.data.mul_(0.1)
        self.halo = FACTOR * (2 * num_block + 2) + FACTOR - 1

    def forward(self, lq: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to the same shape, not clipped.

        An odd side is continued by its last row or column, and cut back.
        """
        height, width = lq.shape[-2:]
        padded = functional.pad(lq, (0, width % FACTOR, 0, height % FACTOR), mode="replicate")
        feat = self.conv_first(functional.pixel_unshuffle(padded, FACTOR))
        for block in self.blocks:
            feat = block(feat)
        residual = functional.pixel_shuffle(self.conv_last(torch.relu(feat)), FACTOR)
        out: Tensor = lq + residual[..., :height, :width]
        return out


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip, without normalisation.

    Args:
        num_feat: Channels.
        negative_slope: Slope of the leaky ReLU between them below zero; 0 is a ReLU.
    """

    def __init__(self, num_feat: int, negative_slope: float = 0.0) -> None:
        super().__init__()
        self._negative_slope = negative_slope
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        # Each block starts small, so that the sum of all does not grow with their number.
        self.conv2.weight.data.mul_(0.1)

    def forward(self, feat: Tensor) -> Tensor:
        """Map (N, num_feat, H, W) to the same shape."""
        hidden = functional.leaky_relu(self.conv1(feat), self._negative_slope)
        residual: Tensor = self.conv2(hidden)
        return feat + residual
