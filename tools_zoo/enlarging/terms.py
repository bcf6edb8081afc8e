"""The terms of a generator's loss, by name: each with its weight, and with its critic if any."""

from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from restoration_toolchain.tools_zoo.encoders import SemanticEncoder, Semantics
from restoration_toolchain.tools_zoo.enlarging.draws import step_generator
from restoration_toolchain.tools_zoo.enlarging.negatives import damage
from restoration_toolchain.tools_zoo.losses.features import feature_distance
from restoration_toolchain.tools_zoo.losses.grid import grid_loss
from restoration_toolchain.tools_zoo.losses.high_frequency import high_frequency_loss
from restoration_toolchain.tools_zoo.losses.pixel import absolute_loss
from restoration_toolchain.tools_zoo.losses.semantic import semantic_loss

MAX_SHIFT: Final = 32
"""Pixels; an encoder's coarsest stride."""


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
        encoder: What looks at them.
        category: Index of the category that each image shows most of, (N,), or -1 for one that is
            not to be judged; None without a categorical prior.
        seed: Of the run.
    """

    lq: Tensor
    restored: Tensor
    gt: Tensor
    step: int
    encoder: SemanticEncoder | None = None
    category: Tensor | None = None
    seed: int = 0
    _restored_seen: Semantics | None = None
    _gt_seen: Semantics | None = None
    _damaged_seen: Semantics | None = None

    @property
    def restored_seen(self) -> Semantics:
        """What the encoder sees in the restored images."""
        if self._restored_seen is None:
            self._restored_seen = self._look(self.restored)
        return self._restored_seen

    @property
    def gt_seen(self) -> Semantics:
        """What the encoder sees in the clean images."""
        if self._gt_seen is None:
            with torch.no_grad():
                self._gt_seen = self._look(self.gt)
        return self._gt_seen

    def damaged_seen(self, share: float) -> Semantics:
        """What the encoder sees in a share of the clean images after blur, noise or JPEG."""
        if self._damaged_seen is None:
            with torch.no_grad():
                damaged = damage(self.gt, share, self.generator("damage"))
                self._damaged_seen = self._look(damaged)
        return self._damaged_seen

    def _look(self, images: Tensor) -> Semantics:
        assert self.encoder is not None
        down, right = torch.randint(MAX_SHIFT, (2,), generator=self.generator("look")).tolist()
        return self.encoder(torch.roll(images, (down, right), dims=(-2, -1)))

    def detached(self) -> "Made":
        """The same without gradients: what critics learn from."""
        seen = self._restored_seen
        return Made(
            self.lq,
            self.restored.detach(),
            self.gt,
            self.step,
            self.encoder,
            self.category,
            self.seed,
            None if seen is None else _detach(seen),
            self._gt_seen,
        )

    def generator(self, name: str) -> torch.Generator:
        """Random numbers that depend on the seed, the step and who asks, so that runs resume."""
        return step_generator(self.seed, self.step, sum(name.encode()))


class Term(Protocol):
    """A part of a generator's loss."""

    @property
    def name(self) -> str:
        """As its weight is named in the configuration."""

    @property
    def needs_encoder(self) -> bool:
        """Whether it looks at `Made.restored_seen`."""

    @property
    def critic(self) -> nn.Module | None:
        """What it learns itself, if anything."""

    def loss(self, made: Made) -> Tensor:
        """Scalar for the generator to lower, unweighted."""

    def critic_loss(self, made: Made) -> Tensor:
        """Scalar for the critic to lower; ``made`` carries no gradients."""


class PlainTerm:
    """A term without a critic."""

    critic: nn.Module | None = None
    needs_encoder = False

    def critic_loss(self, made: Made) -> Tensor:
        """Nothing to lower."""
        raise NotImplementedError


class PixelTerm(PlainTerm):
    """Mean absolute difference."""

    name = "pixel"

    def loss(self, made: Made) -> Tensor:
        """See `tools_zoo.losses.pixel.absolute_loss`."""
        return absolute_loss(made.restored, made.gt)


class PerceptualTerm(PlainTerm):
    """Distance between features."""

    name = "perceptual"
    needs_encoder = True

    def loss(self, made: Made) -> Tensor:
        """See `tools_zoo.losses.features.feature_distance`."""
        return feature_distance(made.restored_seen.maps, made.gt_seen.maps)


class HighFrequencyTerm(PlainTerm):
    """High-frequency perception."""

    name = "high_frequency"

    def loss(self, made: Made) -> Tensor:
        """See `tools_zoo.losses.high_frequency.high_frequency_loss`."""
        return high_frequency_loss(made.restored, made.gt)


class GridTerm(PlainTerm):
    """Patterns that repeat with every pixel of the small image."""

    name = "grid"

    def loss(self, made: Made) -> Tensor:
        """See `tools_zoo.losses.grid.grid_loss`."""
        scale = made.gt.shape[-1] // made.lq.shape[-1]
        return grid_loss(made.restored, made.gt, scale)


class SemanticTerm(PlainTerm):
    """Explicit semantic supervision."""

    name = "semantic"
    needs_encoder = True

    def loss(self, made: Made) -> Tensor:
        """See `tools_zoo.losses.semantic.semantic_loss`."""
        return semantic_loss(made.restored_seen, made.gt_seen)


def _detach(seen: Semantics) -> Semantics:
    return Semantics(tuple(map_.detach() for map_ in seen.maps), seen.embedding.detach())
