"""The terms of a generator's loss that come with a critic."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.tools_zoo.critics.features import FeatureCritic
from restoration_toolchain.tools_zoo.critics.patch import PatchCritic
from restoration_toolchain.tools_zoo.critics.prompts import PromptPair
from restoration_toolchain.tools_zoo.encoders import SemanticEncoder, Semantics
from restoration_toolchain.tools_zoo.enlarging.terms import Made
from restoration_toolchain.tools_zoo.losses.adversarial import (
    bce_critic_loss,
    bce_generator_loss,
    gan_loss,
)
from restoration_toolchain.tools_zoo.losses.text_guided import (
    text_guided_critic_loss,
    text_guided_generator_loss,
)


class AdversarialTerm:
    """A critic of pixels.

    Args:
        kind: Kind of the loss, in `tools_zoo.losses.adversarial.GAN_LOSSES`.
        critic: Critic of images.
    """

    name = "adversarial"

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
        critic: Critic with a head for categories.

    Source:
        SFTGAN, Wang et al., CVPR 2018: the head learns from restored images too, with the category
        that they should show.
    """

    name = "classification"

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


@dataclass(frozen=True, slots=True)
class FeatureTerm:
    """A critic of what an encoder sees.

    Attributes:
        name: Name of the term.
        critic: Critic.
        judge: Maps features of images to verdicts of the critic.
        generator_loss: Loss of a verdict on restored images, for the generator.
        pair_loss: Loss of a verdict on bad images and of one on clean images, for the critic.
        damaged: Share of clean images that are shown damaged as well, as bad ones.
    """

    name: str
    critic: nn.Module
    judge: Callable[[Semantics], Sequence[Tensor]]
    generator_loss: Callable[[Tensor], Tensor]
    pair_loss: Callable[[Tensor, Tensor], Tensor]
    damaged: float

    def loss(self, made: Made) -> Tensor:
        """What the generator lowers, the mean over the verdicts."""
        verdicts = self.judge(made.restored_seen)
        return torch.stack([self.generator_loss(verdict) for verdict in verdicts]).mean()

    def critic_loss(self, made: Made) -> Tensor:
        """What the critic lowers, the mean over the verdicts and kinds of bad images."""
        good = self.judge(made.gt_seen)
        bad = [made.restored_seen]
        if self.damaged > 0.0:
            bad.append(made.damaged_seen(self.damaged))
        losses = [
            self.pair_loss(verdict, clean)
            for seen in bad
            for verdict, clean in zip(self.judge(seen), good, strict=True)
        ]
        return torch.stack(losses).mean()


def feature_discrimination(encoder: SemanticEncoder, damaged: float) -> FeatureTerm:
    """A critic of middle features (Feat-D): ``BCE(D(phi(x)), 1)`` for the generator."""
    critic = FeatureCritic(encoder.map_channels)
    return FeatureTerm(
        "feature_discrimination",
        critic,
        lambda seen: critic(seen.maps),
        lambda verdict: bce_generator_loss(verdict, verdict),
        bce_critic_loss,
        damaged,
    )


def text_guided(encoder: SemanticEncoder, damaged: float) -> FeatureTerm:
    """Learnable prompts (TG-D): ``-log p(x)`` for the generator."""
    critic = PromptPair(encoder)
    return FeatureTerm(
        "text_guided",
        critic,
        lambda seen: [critic(seen.embedding)],
        text_guided_generator_loss,
        text_guided_critic_loss,
        damaged,
    )


def _cross_entropy(logits: Tensor | None, category: Tensor | None) -> Tensor:
    assert logits is not None
    assert category is not None
    # A sum and a count: the mean over no image is not a number.
    total = functional.cross_entropy(logits, category, ignore_index=-1, reduction="sum")
    return total / (category >= 0).sum().clamp_min(1)
