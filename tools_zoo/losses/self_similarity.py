"""Self-similarity loss (SSL): an image should look like itself where its clean partner does.

Source:
    Chen et al., "SSL: A Self-similarity Loss for Improving Generative Image Super-resolution", ACM
    MM 2024. The unfolded form of its equations needs gigabytes; here patch distances are computed
    by convolution (``|a - b|^2 = |a|^2 - 2ab + |b|^2``), a bounded number of pixels at a time.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

EDGE_THRESHOLD: Final = 20  # of the Laplacian in 8-bit grey levels
BANDWIDTH: Final = 0.004
CHUNK: Final = 512
"""Pixels whose graphs are in memory at once."""

_LUMA: Final = (19595.0, 38470.0, 7471.0)  # of 65536: Pillow's grey
_FLOOR: Final = 1e-10


@dataclass(frozen=True, slots=True)
class Similarity:
    """Way of looking for similarity.

    Attributes:
        search: Side of the area around a pixel, odd.
        window: Side of the patches that are compared, odd, not above ``search``.
        bandwidth: Squared difference at which similarity has fallen to 1/e.
    """

    search: int = 25
    window: int = 9
    bandwidth: float = BANDWIDTH

    @property
    def margin(self) -> int:
        """Pixels around the image that it is continued by, mirrored; less than its sides."""
        return self.search // 2


def edge_pixels(
    gt: Tensor,
    *,
    stride: int = 1,
    most: int = 0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Find the pixels where a clean image has an edge: on its darker side.

    The 8-bit grey image's 3x3 Laplacian lies above `EDGE_THRESHOLD` there.

    Args:
        gt: (N, 3, H, W) in [0, 1].
        stride: Keep pixels whose row and column agree modulo this; 1 keeps all.
        most: Pixels per image, drawn at random; 0 is no bound.
        generator: Random source of that draw.

    Returns:
        (M, 3) int64: image, row and column of each.
    """
    weights = torch.tensor(_LUMA, device=gt.device).view(1, 3, 1, 1)
    levels = (255.0 * gt.float()).round()
    grey = torch.floor(((levels * weights).sum(1, keepdim=True) + 32768.0) / 65536.0)
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], device=gt.device)
    padded = functional.pad(grey, (1, 1, 1, 1), mode="reflect")
    mask = functional.conv2d(padded, kernel.view(1, 1, 3, 3))[:, 0] > EDGE_THRESHOLD
    if stride > 1:
        rows, columns = (torch.arange(side, device=gt.device) % stride for side in mask.shape[1:])
        mask &= rows[:, None] == columns[None, :]
    pixels = torch.nonzero(mask)
    if not most:
        return pixels
    kept = []
    for image in range(len(gt)):
        own = pixels[pixels[:, 0] == image]
        if len(own) > most:
            own = own[torch.randperm(len(own), generator=generator)[:most].to(own.device)]
        kept.append(own)
    return torch.cat(kept)


def similarity_graph(images: Tensor, pixels: Tensor, kind: Similarity) -> Tensor:
    """How similar the area around each pixel is to the pixel's own patch.

    ``d2(i, q) = mean (I(i + w) - I(q + w))^2`` over channels and the window, ``s = exp(-d2 / h)``,
    and ``S(i, q) = s(i, q) / sum_q' s(i, q')``. As released, pixels of a window beyond the area
    count as 0.

    Args:
        images: (N, C, H, W) in [0, 1], float32 or float64; sides above ``kind.margin``.
        pixels: (M, 3), as `edge_pixels` finds them.
        kind: Sizes and bandwidth.

    Returns:
        (M, search^2), rows sum to 1.
    """
    areas = _areas(images, pixels, kind)
    count, channels, side, _ = areas.shape
    half = kind.window // 2
    centre = side // 2
    own = areas[..., centre - half : centre + half + 1, centre - half : centre + half + 1]
    energy = areas.square().sum(dim=1, keepdim=True)
    box = torch.ones(1, 1, kind.window, kind.window, device=images.device, dtype=images.dtype)
    energies = functional.conv2d(energy, box, padding=half)[:, 0]
    products = functional.conv2d(
        areas.reshape(1, count * channels, side, side), own, padding=half, groups=count
    )[0]
    squares = energies - 2.0 * products + own.square().sum(dim=(1, 2, 3))[:, None, None]
    distance = squares.clamp_min(0.0) / (channels * kind.window**2)
    similar = torch.exp(-distance / kind.bandwidth).flatten(1)
    return similar / (similar.sum(dim=1, keepdim=True) + _FLOOR)


def _areas(images: Tensor, pixels: Tensor, kind: Similarity) -> Tensor:
    """(M, C, side, side): what lies around each pixel, the image mirrored at its borders."""
    margin = kind.margin
    padded = functional.pad(images, (margin,) * 4, mode="reflect")
    offsets = torch.arange(2 * margin + 1, device=images.device)
    rows = (pixels[:, 1, None] + offsets)[:, :, None]
    columns = (pixels[:, 2, None] + offsets)[:, None, :]
    # Indexed dimensions around a slice come first: (M, side, side, C).
    return padded[pixels[:, 0, None, None], :, rows, columns].permute(0, 3, 1, 2).contiguous()


def self_similarity_loss(
    restored: Tensor,
    gt: Tensor,
    pixels: Tensor,
    kind: Similarity,
    *,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """Two distances between the graphs of restored and clean images.

    ``mean |S_x - S_y|`` and ``mean S_y (log S_y - log S_x)`` over all pixels and entries; the
    paper's loss is their sum, times 1000 for an area of 25x25.

    Args:
        restored: (N, 3, H, W) in [0, 1].
        gt: Same shape.
        pixels: Pixels as `edge_pixels` returns them.
        kind: Way of looking for similarity.
        chunk: Pixels whose graphs are in memory at once. With more pixels than that, each chunk is
            computed again for its gradient.

    Returns:
        The two scalars. Without pixels both are a 0 through which an empty gradient flows.
    """
    if not len(pixels):
        nothing = 0.0 * restored.sum()
        return nothing, nothing
    with torch.autocast(restored.device.type, enabled=False):
        # float32: the difference of large sums is compared with a tiny bandwidth.
        restored, gt = restored.float(), gt.float()
        parts = torch.split(pixels, chunk)
        recompute = len(parts) > 1 and restored.requires_grad
        sums = [
            checkpoint(_distances, restored, gt, part, kind, use_reentrant=False)
            if recompute
            else _distances(restored, gt, part, kind)
            for part in parts
        ]
        absolute, divergence = torch.stack(sums).sum(dim=0) / (len(pixels) * kind.search**2)
    return absolute, divergence


def _distances(restored: Tensor, gt: Tensor, pixels: Tensor, kind: Similarity) -> Tensor:
    with torch.no_grad():
        wanted = similarity_graph(gt, pixels, kind)
    got = similarity_graph(restored, pixels, kind)
    absolute = (got - wanted).abs().sum()
    floored = wanted.clamp_min(_FLOOR)
    divergence = floored * (floored.log() - got.clamp_min(_FLOOR).log())
    return torch.stack([absolute, divergence.sum()])


def artefact_distance(restored: Tensor, gt: Tensor) -> Tensor:
    """How much unlike itself a restored image looks at edges: ``mean |S_x - S_y|`` times 625.

    With the paper's sizes, on a third of the edge pixels but at most 500, always the same ones of a
    clean image; 0 (as the clean image) to 2. Both are (N, 3, H, W) in [0, 1], sides above 12.
    """
    kind = Similarity()
    generator = torch.Generator().manual_seed(0)
    pixels = edge_pixels(gt, stride=3, most=500, generator=generator)
    return self_similarity_loss(restored, gt, pixels, kind)[0] * kind.search**2
