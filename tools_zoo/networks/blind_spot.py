"""A network that predicts every pixel without seeing it, by convolutions with a blind spot.

Source:
    Pan et al., "Random Sub-Samples Generation for Self-Supervised Real Image Denoising", ICCV 2023
    (SDAP); its network is the light DBSN of Lee et al., "AP-BSN", CVPR 2022, after Wu et al.,
    "Unpaired Learning of Deep Image Denoising", ECCV 2020.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

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

DILATIONS: Final = (2, 3)
"""Dilations of the branches, in pixels."""


class DbsnLight(nn.Module):
    """Two dilated branches behind convolutions without a centre: a pixel does not see itself.

    A masked convolution of side 2d - 1 looks at most d - 1 pixels far and not at the centre; after
    it come steps of multiples of d only, which lead back to the centre from none of those pixels.

    Args:
        num_feat: Channels, at least 6.
        num_module: Residual modules per branch. The paper has 128 channels and 9 modules.
    """

    def __init__(self, num_feat: int, num_module: int) -> None:
        super().__init__()
        self.halo = max(d - 1 + d * num_module for d in DILATIONS)
        self.head = nn.Sequential(nn.Conv2d(3, num_feat, 1), nn.ReLU())
        self.branches = nn.ModuleList(_branch(num_feat, num_module, d) for d in DILATIONS)
        self.tail = nn.Sequential(
            nn.Conv2d(len(DILATIONS) * num_feat, num_feat, 1),
            nn.ReLU(),
            nn.Conv2d(num_feat, num_feat // 2, 1),
            nn.ReLU(),
            nn.Conv2d(num_feat // 2, num_feat // 2, 1),
            nn.ReLU(),
            nn.Conv2d(num_feat // 2, 3, 1),
        )
        self._start_from_neighbours()

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to the same shape, not clipped."""
        feat = self.head(images)
        out: Tensor = self.tail(torch.cat([branch(feat) for branch in self.branches], dim=1))
        return out

    def _start_from_neighbours(self) -> None:
        """Begin as the mean of the eight neighbours, which is what the first branch makes."""
        draw_weights(self)
        for layer in (layer for part in (self.head, *self.branches, self.tail) for layer in part):
            if isinstance(layer, _CentreMaskedConv2d):
                around = neighbours(layer.kernel_size[0])
                carry_colours(layer, around / around.sum())
            elif isinstance(layer, nn.Conv2d):
                carry_colours(layer)
            elif isinstance(layer, _DilatedModule):
                layer.conv2.weight.data.mul_(0.1)
        last = convolutions(self.tail)[-1]
        last.weight.data.mul_(0.1)
        carry_colours(last)


class BlindSpot(nn.Module):
    """The blind-spot network on sub-images, and once more on what they make together.

    The second pass, at full resolution, takes away the texture that four sub-images leave behind
    that know nothing of each other (the paper's performance enhancement, "E").

    Args:
        num_feat: Channels. With 32, and 3 modules, there are 106,099 parameters, and two passes
            take 211 k multiply-accumulates per pixel.
        num_module: Residual modules per branch.

    Attributes:
        denoiser: The blind-spot network, which is what is trained.
    """

    grid = STRIDE
    """A tile must start at a multiple of this many pixels, or pixels change their sub-image."""

    def __init__(self, num_feat: int = 32, num_module: int = 3) -> None:
        super().__init__()
        self.denoiser = DbsnLight(num_feat, num_module)
        self.halo = (STRIDE + 1) * self.denoiser.halo

    def forward(self, noisy: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to the same shape, not clipped.

        An odd side is continued by reflection, and cut back.
        """
        height, width = noisy.shape[-2:]
        sub_images = pixel_shuffle_down(_make_even(noisy), STRIDE)
        restored = pixel_shuffle_up(self.denoiser(sub_images), STRIDE)[..., :height, :width]
        out: Tensor = self.denoiser(restored)
        return out


class _CentreMaskedConv2d(nn.Conv2d):
    """A convolution that ignores the pixel it stands on.

    The weights are masked as they are used, so the centre stays out whatever an optimiser, an
    average or a cast does to what is stored.
    """

    def __init__(self, num_feat: int, kernel_size: int) -> None:
        super().__init__(num_feat, num_feat, kernel_size, padding=kernel_size // 2)

    def forward(self, feat: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        mask = neighbours(self.kernel_size[0]).to(self.weight)
        out: Tensor = self._conv_forward(feat, self.weight * mask, self.bias)
        return out


class _DilatedModule(nn.Module):
    def __init__(self, num_feat: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 1)

    def forward(self, feat: Tensor) -> Tensor:
        residual: Tensor = self.conv2(torch.relu(self.conv1(feat)))
        return feat + residual


def _branch(num_feat: int, num_module: int, dilation: int) -> nn.Sequential:
    return nn.Sequential(
        _CentreMaskedConv2d(num_feat, 2 * dilation - 1),
        nn.ReLU(),
        nn.Conv2d(num_feat, num_feat, 1),
        nn.ReLU(),
        nn.Conv2d(num_feat, num_feat, 1),
        nn.ReLU(),
        *(_DilatedModule(num_feat, dilation) for _ in range(num_module)),
        nn.Conv2d(num_feat, num_feat, 1),
        nn.ReLU(),
    )


def _make_even(images: Tensor) -> Tensor:
    for axis, padding in ((-2, (0, 0, 0, 1)), (-1, (0, 1, 0, 0))):
        length = images.shape[axis]
        if length % STRIDE:  # a single row or column has no second one to reflect
            images = functional.pad(images, padding, mode="reflect" if length > 1 else "replicate")
    return images
