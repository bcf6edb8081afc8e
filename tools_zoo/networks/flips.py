"""A network asked eight times: an image and its mirrored and transposed versions, averaged.

Source:
    The geometric self-ensemble of Timofte et al., "Seven Ways to Improve Example-Based Single Image
    Super Resolution", CVPR 2016.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools_zoo.networks.unshuffled import FACTOR, UnshuffledCnn, UnshuffledSmall

VERSIONS: Final = 8


class FlippedSmall(nn.Module):
    """`UnshuffledSmall` on all eight versions: 162 k multiply-accumulates per pixel.

    Worth 0.2 dB where a network has learnt little, as in a fit of a few minutes.

    Args:
        denoiser: Another network in its place.

    Attributes:
        denoiser: What is trained.
    """

    grid = FACTOR

    def __init__(self, denoiser: UnshuffledCnn | None = None) -> None:
        super().__init__()
        self.denoiser = UnshuffledSmall() if denoiser is None else denoiser
        self.halo = self.denoiser.halo

    def forward(self, noisy: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to the same shape, not clipped.

        An odd side is continued by its last row or column, and cut back: a mirrored image then has
        the same blocks.
        """
        height, width = noisy.shape[-2:]
        padded = functional.pad(noisy, (0, width % FACTOR, 0, height % FACTOR), mode="replicate")
        change = torch.zeros_like(padded)
        for version in range(VERSIONS):
            turned = _turn(padded, version)
            change = change + _turn_back(self.denoiser(turned) - turned, version)
        return (padded + change / VERSIONS)[..., :height, :width]


def _turn(images: Tensor, version: int) -> Tensor:
    turned = images.flip(_axes(version))
    return turned.transpose(-1, -2) if version & 4 else turned


def _turn_back(images: Tensor, version: int) -> Tensor:
    return (images.transpose(-1, -2) if version & 4 else images).flip(_axes(version))


def _axes(version: int) -> list[int]:
    return [axis for axis, bit in ((-1, 1), (-2, 2)) if version & bit]
