"""Loss on patterns that repeat with every pixel of the small image."""

from typing import Final

from torch import Tensor
from torch.nn import functional

AREA: Final = 5
"""Pixels of the small image: side of the areas within which a pattern is looked for."""

_STRIDE: Final = 2


def grid_loss(restored: Tensor, gt: Tensor, scale: int) -> Tensor:
    """Find the part of the error that repeats with each pixel of the small image.

    Each pixel of the small image becomes a block of ``scale`` x ``scale``. With ``e_k`` the error
    ``x - y`` at place ``k`` of every block, averaged over areas of `AREA` x `AREA` blocks, it is
    ``mean |e_k - mean_k e_k|``. An error that has nothing to do with the blocks averages out.

    A network that makes images larger by a sub-pixel convolution has weights of its own for each
    place. Asked for more detail than it can know, it learns a pattern of dots, which coarse
    features take for texture; nothing else in a loss of features forbids it.

    Args:
        restored: (N, 3, H * scale, W * scale) in [0, 1], of blocks of at least `AREA` a side.
        gt: Same shape.
        scale: Side of a block, in pixels.

    Source:
        This project; the pattern is that of Odena et al., "Deconvolution and checkerboard
        artifacts", Distill 2016.
    """
    places = functional.pixel_unshuffle(restored - gt, scale)
    means = functional.avg_pool2d(places, AREA, _STRIDE)
    count, _, rows, columns = means.shape
    means = means.view(count, -1, scale**2, rows, columns)
    return (means - means.mean(dim=2, keepdim=True)).abs().mean()
