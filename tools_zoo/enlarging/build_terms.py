"""From a configuration to the terms that it gives a weight."""

from restoration_toolchain.tools_zoo.critics.patch import PatchCritic
from restoration_toolchain.tools_zoo.encoders import SemanticEncoder
from restoration_toolchain.tools_zoo.enlarging.config import WEIGHTS, SrTrainConfig
from restoration_toolchain.tools_zoo.enlarging.critic_terms import (
    adversarial,
    classification,
    feature_discrimination,
    text_guided,
)
from restoration_toolchain.tools_zoo.enlarging.terms import PLAIN_LOSSES, Term
from restoration_toolchain.tools_zoo.networks.segmenter import NUM_CATEGORIES

_FEATURE_TERMS = {"feature_discrimination": feature_discrimination, "text_guided": text_guided}


def build_terms(config: SrTrainConfig, encoder: SemanticEncoder | None) -> list[Term]:
    """Build the terms whose weight is above 0, and none of the others' networks."""
    critic = PatchCritic(NUM_CATEGORIES if config.classification > 0.0 else 0)
    terms: list[Term] = []
    for name in (name for name in WEIGHTS if getattr(config, name) > 0.0):
        if name in PLAIN_LOSSES:
            terms.append(Term(name, PLAIN_LOSSES[name]))
        elif name == "adversarial":
            terms.append(adversarial(critic, config.gan))
        elif name == "classification":
            terms.append(classification(critic))
        else:
            assert encoder is not None
            terms.append(_FEATURE_TERMS[name](encoder, config.damaged_negatives))
    return terms
