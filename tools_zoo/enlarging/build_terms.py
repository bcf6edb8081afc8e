"""From a configuration to the terms that it gives a weight."""

from collections.abc import Callable
from typing import Final

from restoration_toolchain.tools_zoo.critics.patch import PatchCritic
from restoration_toolchain.tools_zoo.encoders import SemanticEncoder
from restoration_toolchain.tools_zoo.enlarging.config import WEIGHTS, SrTrainConfig
from restoration_toolchain.tools_zoo.enlarging.critic_terms import (
    AdversarialTerm,
    ClassificationTerm,
    FeatureDiscriminationTerm,
    SelfSimilarityTerm,
    TextGuidedTerm,
)
from restoration_toolchain.tools_zoo.enlarging.terms import (
    GridTerm,
    HighFrequencyTerm,
    PerceptualTerm,
    PixelTerm,
    SemanticTerm,
    Term,
)
from restoration_toolchain.tools_zoo.networks.segmenter import NUM_CATEGORIES

_BUILDERS: Final[dict[str, Callable[[SrTrainConfig], Term]]] = {
    "pixel": lambda config: PixelTerm(),
    "perceptual": lambda config: PerceptualTerm(),
    "grid": lambda config: GridTerm(),
    "high_frequency": lambda config: HighFrequencyTerm(),
    "semantic": lambda config: SemanticTerm(),
    "self_similarity": SelfSimilarityTerm,
}

_FEATURE_BUILDERS: Final[dict[str, Callable[[SemanticEncoder, float], Term]]] = {
    "feature_discrimination": FeatureDiscriminationTerm,
    "text_guided": TextGuidedTerm,
}


def build_terms(config: SrTrainConfig, encoder: SemanticEncoder | None) -> list[Term]:
    """Build the terms whose weight is above 0, and none of the others' networks."""
    critic = PatchCritic(NUM_CATEGORIES if config.classification > 0.0 else 0)
    terms: list[Term] = []
    for name in (name for name in WEIGHTS if getattr(config, name) > 0.0):
        if name in _FEATURE_BUILDERS:
            assert encoder is not None
            terms.append(_FEATURE_BUILDERS[name](encoder, config.damaged_negatives))
        elif name == "adversarial":
            terms.append(AdversarialTerm(config.gan, critic))
        elif name == "classification":
            terms.append(ClassificationTerm(critic))
        else:
            terms.append(_BUILDERS[name](config))
    return terms
