"""Categories without names: clusters of what an ImageNet encoder sees, taught to a small network.

What the network learns is to say, from the small image alone, to which of eight clusters of middle
features the clean large image belongs at each place. The clusters come from the photos of the
training's patch store. They tell textures apart; nobody labelled them, and they have no names.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from restoration_toolchain.tools_zoo.encoders import SemanticEncoder
from restoration_toolchain.tools_zoo.enlarging.objective import SrObjective
from restoration_toolchain.tools_zoo.networks.segmenter import NUM_CATEGORIES
from restoration_toolchain.tools_zoo.training.batches import Batch

MAP: Final = 2
"""Which of the encoder's maps is clustered: 1/8 of the large image in the offline default."""

NUM_BATCHES: Final = 24
"""Batches from which the clusters are found."""

NUM_ROUNDS: Final = 20
SOFTNESS: Final = 0.125
"""Softness of the borders, over the mean squared distance within a cluster. Of eight shares, the
largest is 0.7 on average. With four times as much it was 0.3, and networks learnt to ignore the
prior."""


class Clusters:
    """Centres in the space of unit features, and how soft their borders are.

    Args:
        encoder: Encoder whose features are clustered.
        centres: (8, C), float32.
        softness: Surplus of squared distance at which a share falls to 1/e of a nearer cluster's.
    """

    def __init__(self, encoder: SemanticEncoder, centres: Tensor, softness: float) -> None:
        self._encoder = encoder
        self._centres = centres
        self._softness = softness

    def to(self, device: torch.device | str) -> None:
        """Move the encoder."""
        if isinstance(self._encoder, nn.Module):
            self._encoder.to(device)

    @torch.no_grad()
    def shares(self, gt: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Soft clusters of clean images.

        Args:
            gt: (N, 3, H, W) in [0, 1].
            size: Height and width of the result; None are those of the encoder's map.

        Returns:
            (N, 8, height, width), sum to 1 over the second.
        """
        features = functional.normalize(self._encoder(gt).maps[MAP], dim=1)
        distances = _squared_distances(features.movedim(1, -1), self._centres.to(gt.device))
        shares = (-distances / self._softness).softmax(dim=-1).movedim(-1, 1)
        if size is None:
            return shares
        return functional.interpolate(shares, list(size), mode="bilinear", align_corners=False)


def find_clusters(encoder: SemanticEncoder, batches: Dataset[Batch], seed: int) -> Clusters:
    """k-means (Lloyd) on the features of the first batches; a pure function of its arguments."""
    with torch.no_grad():
        maps = [encoder(batches[index].gt).maps[MAP] for index in range(NUM_BATCHES)]
    points = torch.cat([functional.normalize(map_, dim=1).movedim(1, -1) for map_ in maps])
    points = points.flatten(0, -2)
    generator = torch.Generator().manual_seed(seed)
    centres = points[torch.randperm(len(points), generator=generator)[:NUM_CATEGORIES]]
    for _ in range(NUM_ROUNDS):
        nearest = _squared_distances(points, centres).argmin(dim=1)
        members = functional.one_hot(nearest, NUM_CATEGORIES).to(points)
        sizes = members.sum(dim=0)[:, None]
        # A cluster that lost all its members stays where it is.
        centres = torch.where(sizes > 0, members.T @ points / sizes.clamp_min(1.0), centres)
    within = float(_squared_distances(points, centres).min(dim=1).values.mean())
    return Clusters(encoder, centres, SOFTNESS * within)


class Clustering:
    """Training objective: the clusters of the clean large image, from the small one.

    Args:
        objective: Objective of the main training, for its batches and its held-out pairs.
        clusters: Clusters to teach.
    """

    def __init__(self, objective: SrObjective, clusters: Clusters) -> None:
        self.batches: Dataset[Batch] = objective.batches
        self._pairs = objective.eval_sets["own"]
        self._clusters = clusters

    def to(self, device: torch.device | str) -> None:
        """Move the encoder of the clusters."""
        self._clusters.to(device)

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Cross entropy of what the network says and what the clean image shows."""
        logits, shares = self._compare(module, batch.lq, batch.gt)
        return functional.cross_entropy(logits, shares)

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Share of places with the right cluster, and the loss, on held-out images."""
        lq, gt = (images.to(device) for images in self._pairs)
        logits, shares = self._compare(module, lq, gt)
        agreement = (logits.argmax(dim=1) == shares.argmax(dim=1)).float().mean()
        return {
            "agreement": float(agreement),
            "cross_entropy": float(functional.cross_entropy(logits, shares)),
        }

    def _compare(self, module: nn.Module, lq: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
        logits = module(lq).float()
        return logits, self._clusters.shares(gt, logits.shape[-2:])


def _squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """(..., C) and (K, C) to (..., K)."""
    return (
        points.square().sum(dim=-1, keepdim=True)
        - 2.0 * points @ centres.T
        + centres.square().sum(dim=1)
    ).clamp_min(0.0)
