"""The residual network that images are made larger with: the start of all generative tools.

Source:
    The blocks are those of EDSR, Lim et al., CVPR Workshops 2017; the sub-pixel convolution is that
    of ESPCN, Shi et al., CVPR 2016. Only two slim convolutions work at the large size, where each
    costs scale^2 times as much.
"""

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.data.scaling import upsample_bicubic
from restoration_toolchain.tools_zoo.networks.unshuffled import ResidualBlock

NUM_FEAT: Final = 40
NUM_BLOCK: Final = 8
NUM_UP_FEAT: Final = 12
"""Channels at the large size."""


class Enlarger(nn.Module):
    """Features of the small image to the pixels of the large one: what is missing in its bicubic.

    Args:
        num_feat: Channels that come in.
        scale: Side of the output over side of the input.
    """

    halo = 2
    """Pixels of the small image that an output pixel looks to each side."""

    def __init__(self, num_feat: int, scale: int) -> None:
        super().__init__()
        self._scale = scale
        self.conv_up = nn.Conv2d(num_feat, NUM_UP_FEAT * scale**2, 3, padding=1)
        self.conv_hr = nn.Conv2d(NUM_UP_FEAT, NUM_UP_FEAT, 3, padding=1)
        self.conv_last = nn.Conv2d(NUM_UP_FEAT, 3, 3, padding=1)
        # Start near the bicubic image.
        self.conv_last.weight.data.mul_(0.1)
        self.conv_last.bias.data.zero_()  # type: ignore[union-attr]

    def forward(self, feat: Tensor) -> Tensor:
        """Map (N, num_feat, H, W) to (N, 3, H * scale, W * scale)."""
        large = functional.pixel_shuffle(self.conv_up(feat), self._scale)
        large = functional.leaky_relu(large, 0.1)
        large = functional.leaky_relu(self.conv_hr(large), 0.1)
        out: Tensor = self.conv_last(large)
        return out


class SrNet(nn.Module):
    """Residual blocks at the small size, a sub-pixel convolution, and the bicubic image as a skip.

    265,563 parameters at scale 2, 317,547 at scale 4.

    Args:
        scale: Side of the output over side of the input, 2 or 4.
        num_feat: Channels.
        num_block: Residual blocks.
    """

    def __init__(self, scale: int, num_feat: int = NUM_FEAT, num_block: int = NUM_BLOCK) -> None:
        super().__init__()
        self.scale = scale
        self.conv_first = nn.Conv2d(3, num_feat, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(num_feat) for _ in range(num_block))
        self.conv_trunk = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.enlarger = Enlarger(num_feat, scale)
        self.halo = 2 * num_block + 2 + self.enlarger.halo

    def forward(self, lq: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to (N, 3, H * scale, W * scale), not clipped."""
        first = self.conv_first(lq)
        feat = first
        for block in self.blocks:
            feat = block(feat)
        feat = self.conv_trunk(feat) + first
        out: Tensor = upsample_bicubic(lq, self.scale) + self.enlarger(feat)
        return out
