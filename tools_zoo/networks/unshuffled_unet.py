"""A small U-Net on pixel-unshuffled images: residual blocks at half and at a quarter of the side.

Source:
    Two levels of the U-Net, Ronneberger et al., MICCAI 2015, joined by sums as in DRUNet, Zhang et
    al., TPAMI 2021, around the blocks of `tools_zoo.networks.unshuffled`.
"""

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.tools_zoo.networks.unshuffled import FACTOR, ResidualBlock

NUM_FEAT: Final = (32, 64)
"""Channels at half and at a quarter of the side, of the tools that ship."""

WIDE: Final = (40, 80)
"""The same of a network that takes as much arithmetic as an agent with its tools does."""

NUM_BLOCK: Final = (2, 5, 3)
"""Residual blocks on the way down, below, and on the way up."""

NEGATIVE_SLOPE: Final = 0.1
"""Slope of the leaky ReLUs below zero. With ReLUs, a long training left one block dead and three
with one unit in a hundred at work (docs/results.md)."""


class UnshuffledUnet(nn.Module):
    """Two levels and a global skip: 485,292 parameters, 49 k multiply-accumulates per pixel.

    Noise and the edges of blocks are fine and are dealt with above; what a blur was, and what lies
    flat, shows from afar, where a convolution costs a quarter as much and sees twice as wide.

    Args:
        num_feat: Channels at half and at a quarter of the side.
    """

    grid = 2 * FACTOR
    """A tile must start at a multiple of this many pixels, or pixels change their channels."""

    def __init__(self, num_feat: tuple[int, int] = NUM_FEAT) -> None:
        super().__init__()
        num_ch = 3 * FACTOR**2
        upper, lower = num_feat
        num_down, num_below, num_up = NUM_BLOCK
        self.conv_first = nn.Conv2d(num_ch, upper, 3, padding=1)
        self.blocks_down = _blocks(upper, num_down)
        self.shrink = nn.Conv2d(upper, lower, 2, stride=2)
        self.blocks_below = _blocks(lower, num_below)
        self.widen = nn.Conv2d(lower, 4 * upper, 1)
        self.blocks_up = _blocks(upper, num_up)
        self.conv_last = nn.Conv2d(upper, num_ch, 3, padding=1)
        # Start near the identity; see `SmallCnn`.
        self.conv_last.weight.data.mul_(0.1)
        num_conv = 2 + 2 * num_down + 2 * num_up
        self.halo = FACTOR * (num_conv + 2 * 2 * num_below) + self.grid - 1

    def forward(self, lq: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to the same shape, not clipped.

        A side that is no multiple of four is continued by its last row or column, and cut back.
        """
        height, width = lq.shape[-2:]
        padded = functional.pad(lq, (0, -width % self.grid, 0, -height % self.grid), "replicate")
        feat = self.blocks_down(self.conv_first(functional.pixel_unshuffle(padded, FACTOR)))
        below = self.blocks_below(self.shrink(_activated(feat)))
        feat = self.blocks_up(feat + functional.pixel_shuffle(self.widen(_activated(below)), 2))
        residual = functional.pixel_shuffle(self.conv_last(_activated(feat)), FACTOR)
        out: Tensor = lq + residual[..., :height, :width]
        return out


def _blocks(num_feat: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(num_feat, NEGATIVE_SLOPE) for _ in range(count)))


def _activated(feat: Tensor) -> Tensor:
    return functional.leaky_relu(feat, NEGATIVE_SLOPE)
