"""The terms of a generator's loss that come with a critic, and the one on self-similarity."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from restoration_toolchain.tools_zoo.critics.features import FeatureCritic
from restoration_toolchain.tools_zoo.critics.patch import PatchCritic
from restoration_toolchain.tools_zoo.critics.prompts import PromptPair
from restoration_toolchain.tools_zoo.encoders import SemanticEncoder, Semantics
from restoration_toolchain.tools_zoo.enlarging.config import SrTrainConfig
from restoration_toolchain.tools_zoo.enlarging.terms import Made, PlainTerm
from restoration_toolchain.tools_zoo.losses.adversarial import (
    bce_critic_loss,
    bce_generator_loss,
    gan_loss,
)
from restoration_toolchain.tools_zoo.losses.self_similarity import (
    Similarity,
    edge_pixels,
    self_similarity_loss,
)
from restoration_toolchain.tools_zoo.losses.text_guided import (
    text_guided_critic_loss,
    text_guided_generator_loss,
)

SSL_STRIDE: Final = 3
"""Thins the mask of edges; 1 keeps all of it."""
SSL_PIXELS: Final = 160
"""Most edge pixels per image, drawn anew in every step."""


class SelfSimilarityTerm(PlainTerm):
    """Self-similarity at edges, both its distances with one weight.

    Args:
        config: Its ``ssl_`` settings.
    """

    name = "self_similarity"

    def __init__(self, config: SrTrainConfig) -> None:
        self._kind = Similarity(search=config.ssl_search, window=config.ssl_window)

    def loss(self, made: Made) -> Tensor:
        """See `tools_zoo.losses.self_similarity.self_similarity_loss`."""
        pixels = edge_pixels(
            made.gt, stride=SSL_STRIDE, most=SSL_PIXELS, generator=made.generator(self.name)
        )
        absolute, divergence = self_similarity_loss(made.restored, made.gt, pixels, self._kind)
        return absolute + divergence


class AdversarialTerm:
    """A critic of pixels.

    Args:
        kind: Of the loss, in `tools_zoo.losses.adversarial.GAN_LOSSES`.
        critic: Judges.
    """

    name = "adversarial"
    needs_encoder = False

    def __init__(self, kind: str, critic: PatchCritic) -> None:
        self.critic = critic
        self._gan = gan_loss(kind)

    def loss(self, made: Made) -> Tensor:
        """What the generator lowers."""
        with torch.no_grad():
            clean = self.critic(made.gt)[0]
        verdict = self.critic(made.restored)[0]
        return self._gan.generator(verdict, clean)

    def critic_loss(self, made: Made) -> Tensor:
        """What the critic lowers."""
        return self._gan.critic(self.critic(made.restored)[0], self.critic(made.gt)[0])


class ClassificationTerm:
    """The same critic's opinion of what category an image is.

    Args:
        critic: With a head for categories.

    Source:
        SFTGAN, Wang et al., CVPR 2018: the head learns from restored images too, with the category
        that they should show.
    """

    name = "classification"
    needs_encoder = False

    def __init__(self, critic: PatchCritic) -> None:
        self.critic = critic

    def loss(self, made: Made) -> Tensor:
        """``CE(D_cls(x), category)``."""
        return _cross_entropy(self.critic(made.restored)[1], made.category)

    def critic_loss(self, made: Made) -> Tensor:
        """``CE(D_cls(y), category) + CE(D_cls(x), category)``."""
        return _cross_entropy(self.critic(made.gt)[1], made.category) + _cross_entropy(
            self.critic(made.restored)[1], made.category
        )


class _FeatureTerm:
    needs_encoder = True

    def __init__(self, damaged: float) -> None:
        self._damaged = damaged

    def negatives(self, made: Made) -> list[Semantics]:
        """What is shown as bad: the restored images, and some clean ones that were damaged."""
        bad = [made.restored_seen]
        if self._damaged > 0.0:
            bad.append(made.damaged_seen(self._damaged))
        return bad


class FeatureDiscriminationTerm(_FeatureTerm):
    """A critic of middle features (Feat-D).

    Args:
        encoder: Whose features.
        damaged: Share of clean images that are shown damaged as well.
    """

    name = "feature_discrimination"

    def __init__(self, encoder: SemanticEncoder, damaged: float) -> None:
        super().__init__(damaged)
        self.critic = FeatureCritic(encoder.map_channels)

    def loss(self, made: Made) -> Tensor:
        """``BCE(D(phi(x)), 1)``, the mean over the maps."""
        verdicts = self.critic(made.restored_seen.maps)
        return torch.stack([bce_generator_loss(verdict, verdict) for verdict in verdicts]).mean()

    def critic_loss(self, made: Made) -> Tensor:
        """``BCE(D(phi(y)), 1) + BCE(D(phi(x)), 0)``, the mean over the maps and kinds of bad."""
        good = self.critic(made.gt_seen.maps)
        losses = [
            bce_critic_loss(verdict, clean)
            for bad in self.negatives(made)
            for verdict, clean in zip(self.critic(bad.maps), good, strict=True)
        ]
        return torch.stack(losses).mean()


class TextGuidedTerm(_FeatureTerm):
    """Learnable prompts (TG-D).

    Args:
        encoder: Whose embedding.
        damaged: Share of clean images that are shown damaged as well.
    """

    name = "text_guided"

    def __init__(self, encoder: SemanticEncoder, damaged: float) -> None:
        super().__init__(damaged)
        self.critic = PromptPair(encoder)

    def loss(self, made: Made) -> Tensor:
        """``-log p(x)``."""
        return text_guided_generator_loss(self.critic(made.restored_seen.embedding))

    def critic_loss(self, made: Made) -> Tensor:
        """``-log p(y) - log(1 - p(x))``, the mean over the kinds of bad."""
        good = self.critic(made.gt_seen.embedding)
        losses = [
            text_guided_critic_loss(self.critic(bad.embedding), good)
            for bad in self.negatives(made)
        ]
        return torch.stack(losses).mean()


def _cross_entropy(logits: Tensor | None, category: Tensor | None) -> Tensor:
    assert logits is not None
    assert category is not None
    # A sum and a count: the mean over no image is not a number.
    total = functional.cross_entropy(logits, category, ignore_index=-1, reduction="sum")
    return total / (category >= 0).sum().clamp_min(1)
