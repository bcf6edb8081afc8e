"""A critic that looks at the middle features of an encoder: Feat-D."""

from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

NUM_FEAT: Final = 128
NUM_MAPS: Final = 2
"""The coarsest maps of the encoder, with a head each."""

_SLOPE: Final = 0.2


class FeatureCritic(nn.Module):
    """Convolutions of 1x1 on each map: every position is judged for itself.

    Args:
        map_channels: Channels of the encoder's maps; the last `NUM_MAPS` are looked at.

    Source:
        The idea is that of SFD, Dong et al., CVPR 2025 (pixel-wise middle semantic features); its
        layers were not to be had, and these are this project's.
    """

    def __init__(self, map_channels: Sequence[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_head(channels) for channels in map_channels[-NUM_MAPS:])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Judge what an encoder saw: a logit map (N, 1, h, w) per head, high where it is clean."""
        own = list(maps)[-NUM_MAPS:]
        return [head(map_) for head, map_ in zip(self.heads, own, strict=True)]


def _head(channels: int) -> nn.Sequential:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(channels, NUM_FEAT, 1)),
        nn.LeakyReLU(_SLOPE),
        spectral_norm(nn.Conv2d(NUM_FEAT, NUM_FEAT, 1)),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(NUM_FEAT, 1, 1),
    )
