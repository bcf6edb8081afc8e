"""The terms of a generator's loss, by name: each with its weight, and with its critic if any."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn

from restoration_toolchain.tools_zoo.encoders import SemanticEncoder, Semantics
from restoration_toolchain.tools_zoo.enlarging.draws import step_generator
from restoration_toolchain.tools_zoo.enlarging.negatives import damage
from restoration_toolchain.tools_zoo.losses.features import feature_distance
from restoration_toolchain.tools_zoo.losses.grid import grid_loss
from restoration_toolchain.tools_zoo.losses.high_frequency import high_frequency_loss
from restoration_toolchain.tools_zoo.losses.pixel import absolute_loss
from restoration_toolchain.tools_zoo.losses.self_similarity import (
    Similarity,
    edge_pixels,
    self_similarity_loss,
)
from restoration_toolchain.tools_zoo.losses.semantic import semantic_loss

MAX_SHIFT: Final = 32
"""Pixels; an encoder's coarsest stride."""

SSL_AREA: Final = Similarity(search=13, window=5)
"""Area in which self-similarity is looked for, and the size of the patches compared, in pixels."""
SSL_STRIDE: Final = 3
"""Thins the mask of edges; 1 keeps all of it."""
SSL_PIXELS: Final = 160
"""Most edge pixels per image, drawn anew in every step."""


@dataclass
class Made:
    """What a generator made of a batch, beside what it should have made.

    What an encoder sees is computed when a term first asks for it, and once for all terms. It looks
    at all images of a step moved by the same number of pixels, another one in each step: its
    strides would otherwise lie where those of the generator do, which then learns to please it by
    dots on that grid.

    Attributes:
        lq: (N, 3, H, W) in [0, 1].
        restored: (N, 3, H * scale, W * scale), float32, not clipped.
        gt: Same shape, in [0, 1].
        step: Index of the batch.
        encoder: Encoder that looks at them.
        category: Index of the category that each image shows most of, (N,), or -1 for one that is
            not to be judged; None without a categorical prior.
        seed: Seed of the run.
    """

    lq: Tensor
    restored: Tensor
    gt: Tensor
    step: int
    encoder: SemanticEncoder | None = None
    category: Tensor | None = None
    seed: int = 0
    _seen: dict[str, Semantics] = field(default_factory=dict)

    @property
    def restored_seen(self) -> Semantics:
        """What the encoder sees in the restored images."""
        if "restored" not in self._seen:
            self._seen["restored"] = self._look(self.restored)
        return self._seen["restored"]

    @property
    def gt_seen(self) -> Semantics:
        """What the encoder sees in the clean images."""
        if "gt" not in self._seen:
            with torch.no_grad():
                self._seen["gt"] = self._look(self.gt)
        return self._seen["gt"]

    @torch.no_grad()
    def damaged_seen(self, share: float) -> Semantics:
        """What the encoder sees in a share of the clean images after blur, noise or JPEG."""
        if "damaged" not in self._seen:
            self._seen["damaged"] = self._look(damage(self.gt, share, self.generator("damage")))
        return self._seen["damaged"]

    def _look(self, images: Tensor) -> Semantics:
        assert self.encoder is not None
        down, right = torch.randint(MAX_SHIFT, (2,), generator=self.generator("look")).tolist()
        return self.encoder(torch.roll(images, (down, right), dims=(-2, -1)))

    def detached(self) -> "Made":
        """The same without gradients: what critics learn from."""
        seen = {
            name: Semantics(tuple(map_.detach() for map_ in seen.maps), seen.embedding.detach())
            for name, seen in self._seen.items()
        }
        return dataclasses.replace(self, restored=self.restored.detach(), _seen=seen)

    def generator(self, name: str) -> torch.Generator:
        """Random numbers that depend on the seed, the step and who asks, so that runs resume."""
        return step_generator(self.seed, self.step, sum(name.encode()))


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a generator's loss.

    Attributes:
        name: Name of its weight in the configuration.
        loss: Scalar for the generator to lower, unweighted.
        critic: Network that learns along with it, if any.
        critic_loss: Scalar for that critic to lower; what it is given carries no gradients.
    """

    name: str
    loss: Callable[[Made], Tensor]
    critic: nn.Module | None = None
    critic_loss: Callable[[Made], Tensor] | None = None


def _self_similarity(made: Made) -> Tensor:
    """Self-similarity at edges, both its distances with one weight."""
    generator = made.generator("self_similarity")
    pixels = edge_pixels(made.gt, stride=SSL_STRIDE, most=SSL_PIXELS, generator=generator)
    absolute, divergence = self_similarity_loss(made.restored, made.gt, pixels, SSL_AREA)
    return absolute + divergence


PLAIN_LOSSES: Final[dict[str, Callable[[Made], Tensor]]] = {
    "pixel": lambda made: absolute_loss(made.restored, made.gt),
    "perceptual": lambda made: feature_distance(made.restored_seen.maps, made.gt_seen.maps),
    "grid": lambda made: grid_loss(
        made.restored, made.gt, scale=made.gt.shape[-1] // made.lq.shape[-1]
    ),
    "high_frequency": lambda made: high_frequency_loss(made.restored, made.gt),
    "semantic": lambda made: semantic_loss(made.restored_seen, made.gt_seen),
    "self_similarity": _self_similarity,
}
"""What the terms without a critic lower."""
