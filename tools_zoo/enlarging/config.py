"""The settings of a training of super-resolution; every term of the loss has its weight here."""

from dataclasses import dataclass
from typing import Final, Literal

from restoration_toolchain.data.damage.levels import SCALED_LEVELS, check_level
from restoration_toolchain.tools_zoo.training.config import (
    PatchConfig,
    check_not_negative,
    check_shares,
)

GanKind = Literal["bce", "relativistic", "hinge"]

_PLAIN: Final = ("pixel", "perceptual", "grid", "high_frequency", "semantic", "self_similarity")
_CRITICS: Final = ("adversarial", "classification", "feature_discrimination", "text_guided")
WEIGHTS: Final = (*_PLAIN, *_CRITICS)
"""Terms of the loss; a weight of 0 takes the term out, with the networks that it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SrTrainConfig(PatchConfig):
    """How one tool that makes images larger is trained; patches are the large images."""

    total_patches: int = 160_000
    batch_size: int = 16
    levels: tuple[str, ...] = ("clean", "clean", "slight")
    """Damage of the small images (`damage.levels.SCALED_LEVELS`), each drawn alike often."""
    learning_rate: float = 1e-3
    ema_decay: float = 0.995
    eval_patches: int = 48

    pixel: float = 1.0
    """Weight of the mean absolute difference."""
    perceptual: float = 0.0
    """Weight of the distance between features of `encoder`."""
    grid: float = 0.0
    """Weight of the loss on patterns that repeat with every pixel of the small image."""
    high_frequency: float = 0.0
    """Weight of the high-frequency perception loss (VPD-SR style)."""
    semantic: float = 0.0
    """Weight of explicit semantic supervision (VPD-SR style)."""
    self_similarity: float = 0.0
    """Weight of the self-similarity loss (SSL), of both its distances."""
    adversarial: float = 0.0
    """Weight of a critic that looks at pixels."""
    classification: float = 0.0
    """Weight of that critic's second opinion: of what category an image is (SFTGAN); for tools with
    a categorical prior."""
    feature_discrimination: float = 0.0
    """Weight of a critic that looks at middle features of `encoder` (Feat-D of SFD)."""
    text_guided: float = 0.0
    """Weight of learnable prompts that look at its output (TG-D of SFD)."""

    encoder: str = "auto"
    """Encoder of the terms that look at features; see `tools_zoo.encoders.load_encoder`."""
    gan: GanKind = "relativistic"
    adversarial_start: float = 0.0
    """Share of the run in which critics learn, but are not listened to."""
    damaged_negatives: float = 0.0
    """Share of clean images that the critics of features are shown damaged, as bad ones."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        PatchConfig.__post_init__(self)
        if not self.levels:
            raise ValueError(f"levels must name at least one of {', '.join(SCALED_LEVELS)}")
        for level in self.levels:
            check_level(level, scale=2)
        check_not_negative(self, *WEIGHTS)
        check_shares(self, "adversarial_start", "damaged_negatives")
        self._check_terms()

    def _check_terms(self) -> None:
        """Make sure that every step has something to lower."""
        # A one-step tool has one more.
        if any(getattr(self, name, 0.0) > 0.0 for name in (*_PLAIN, "distillation")):
            return
        if not any(getattr(self, name) > 0.0 for name in _CRITICS):
            raise ValueError("all weights of the loss are 0; give one, such as pixel=1.0")
        if self.adversarial_start > 0.0:
            raise ValueError(
                "until adversarial_start, critics are not listened to, and all other weights of "
                "the loss are 0; give one, such as pixel=1.0, or set adversarial_start to 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SftTrainConfig(SrTrainConfig):
    """How a tool with a categorical prior is trained."""

    prior: str = "own"
    """Where the categories come from: ``own`` clusters, or a SegFormer model (its folder, or its
    name in the local cache)."""
    prior_patches: int = 24_000
    """Patches from which the own clusters are learnt, before everything else."""
    prior_learning_rate: float = 2e-3
    clean_prior: float = 0.0
    """Share of the images whose prior is what their clean partners show, and not what the network
    finds in the small ones: so it learns to do as its prior says. Needs clusters that were found in
    the same run."""
    warm_steps: int = 0
    """Steps in which only the layers that the starting weights lack are trained; none without
    starting weights."""
    new_layers_factor: float = 1.0
    """Factor on the learning rate of those layers."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        SrTrainConfig.__post_init__(self)
        check_shares(self, "clean_prior")
        if self.clean_prior > 0.0 and self.prior != "own":
            raise ValueError("clean_prior is for a prior of own clusters; set it to 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class OneStepTrainConfig(SrTrainConfig):
    """How a one-step tool is distilled from a teacher of several steps."""

    teacher_patches: int = 120_000
    """Patches from which the teacher learns, before the student."""
    teacher_learning_rate: float = 5e-4
    teacher_perceptual: float = 0.0
    """Weight of the distance of features in the teacher's training, beside its squared error."""
    distillation: float = 1.0
    """Weight of the student's distance to its teacher."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        SrTrainConfig.__post_init__(self)
        check_not_negative(self, "teacher_perceptual", "distillation")
