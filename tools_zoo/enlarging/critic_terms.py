"""The terms of a generator's loss that come with a critic."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.tools_zoo.critics.features import FeatureCritic
from restoration_toolchain.tools_zoo.critics.patch import PatchCritic
from restoration_toolchain.tools_zoo.critics.prompts import PromptPair
from restoration_toolchain.tools_zoo.encoders import SemanticEncoder, Semantics
from restoration_toolchain.tools_zoo.enlarging.terms import Made, Term
from restoration_toolchain.tools_zoo.losses.adversarial import (
    bce_critic_loss,
    bce_generator_loss,
    gan_loss,
)
from restoration_toolchain.tools_zoo.losses.text_guided import (
    text_guided_critic_loss,
    text_guided_generator_loss,
)


def adversarial(critic: PatchCritic, kind: str) -> Term:
    """A critic of pixels, with one of `tools_zoo.losses.adversarial.GAN_LOSSES`."""
    gan = gan_loss(kind)

    def loss(made: Made) -> Tensor:
        with torch.no_grad():
            clean = critic(made.gt)[0]
        return gan.generator(critic(made.restored)[0], clean)

    def critic_loss(made: Made) -> Tensor:
        return gan.critic(critic(made.restored)[0], critic(made.gt)[0])

    return Term("adversarial", loss, critic, critic_loss)


def classification(critic: PatchCritic) -> Term:
    """The same critic's opinion of what category an image is; it needs the head for categories.

    Source:
        SFTGAN, Wang et al., CVPR 2018: the head learns from restored images too, with the category
        that they should show.
    """

    def loss(made: Made) -> Tensor:
        return _cross_entropy(critic(made.restored)[1], made.category)

    def critic_loss(made: Made) -> Tensor:
        return _cross_entropy(critic(made.gt)[1], made.category) + loss(made)

    return Term("classification", loss, critic, critic_loss)


def feature_discrimination(encoder: SemanticEncoder, damaged: float) -> Term:
    """A critic of middle features (Feat-D): ``BCE(D(phi(x)), 1)`` for the generator."""
    critic = FeatureCritic(encoder.map_channels)

    def generator_loss(verdict: Tensor) -> Tensor:
        return bce_generator_loss(verdict, verdict)

    losses = generator_loss, bce_critic_loss
    return _of_features("feature_discrimination", critic, lambda s: critic(s.maps), losses, damaged)


def text_guided(encoder: SemanticEncoder, damaged: float) -> Term:
    """Learnable prompts (TG-D): ``-log p(x)`` for the generator."""
    critic = PromptPair(encoder)
    losses = text_guided_generator_loss, text_guided_critic_loss
    return _of_features("text_guided", critic, lambda s: [critic(s.embedding)], losses, damaged)


def _of_features(
    name: str,
    critic: nn.Module,
    judge: Callable[[Semantics], Sequence[Tensor]],
    losses: tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]],
    damaged: float,
) -> Term:
    """A critic of what an encoder sees; both its losses are means over its verdicts.

    Args:
        name: Name of the term.
        critic: Critic.
        judge: Map from features of images to verdicts of the critic.
        losses: Loss of a verdict on restored images, for the generator; and of one on bad images
            and one on clean images, for the critic.
        damaged: Share of clean images that the critic is shown damaged as well, as bad ones.
    """
    generator_loss, pair_loss = losses

    def loss(made: Made) -> Tensor:
        return torch.stack([generator_loss(each) for each in judge(made.restored_seen)]).mean()

    def critic_loss(made: Made) -> Tensor:
        good = judge(made.gt_seen)
        bad = [made.restored_seen]
        if damaged > 0.0:
            bad.append(made.damaged_seen(damaged))
        pairs = [pair for seen in bad for pair in zip(judge(seen), good, strict=True)]
        return torch.stack([pair_loss(verdict, clean) for verdict, clean in pairs]).mean()

    return Term(name, loss, critic, critic_loss)


def _cross_entropy(logits: Tensor | None, category: Tensor | None) -> Tensor:
    assert logits is not None
    assert category is not None
    # A sum and a count: the mean over no image is not a number.
    total = functional.cross_entropy(logits, category, ignore_index=-1, reduction="sum")
    return total / (category >= 0).sum().clamp_min(1)
