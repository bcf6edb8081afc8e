"""Distance between what an encoder sees in two images."""

from collections.abc import Sequence

import torch
from torch import Tensor

_EPSILON = 1e-6


def feature_distance(maps: Sequence[Tensor], references: Sequence[Tensor]) -> Tensor:
    """Squared difference of features of unit length, averaged over positions, images and maps.

    ``mean_l mean_p || f_l(p) / |f_l(p)| - g_l(p) / |g_l(p)| ||^2``, so each position of each map
    counts alike, 0 (same direction) to 4 (opposite).

    Args:
        maps: Features of the restored images, each (N, C, h, w).
        references: Those of the clean images, of the same shapes.

    Source:
        Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR
        2018 (LPIPS), equation 1 with all channels weighted alike: nothing was fitted to opinions.
    """
    return feature_distances(maps, references).mean()


def feature_distances(maps: Sequence[Tensor], references: Sequence[Tensor]) -> Tensor:
    """`feature_distance` of each image of a batch, (N,)."""
    distances = [
        (_unit(map_) - _unit(reference)).square().sum(dim=1).mean(dim=(1, 2))
        for map_, reference in zip(maps, references, strict=True)
    ]
    return torch.stack(distances).mean(dim=0)


def _unit(features: Tensor) -> Tensor:
    # Not `functional.normalize`: its gradient is not a number where all features are 0.
    return features * torch.rsqrt(features.square().sum(dim=1, keepdim=True) + _EPSILON)
