"""Losses of a generator and a critic, on the critic's logits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import Tensor
from torch.nn import functional

from restoration_toolchain.data.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class GanLoss:
    """Two losses on logits of any shape: high where the critic takes an image for a clean one.

    Attributes:
        generator: (logits of restored, logits of clean) to a scalar that the generator lowers.
        critic: The same arguments, to a scalar that the critic lowers.
    """

    generator: Callable[[Tensor, Tensor], Tensor]
    critic: Callable[[Tensor, Tensor], Tensor]


def bce_generator_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """``-mean log sigmoid(D(x))``: Goodfellow et al., NeurIPS 2014, in its non-saturating form."""
    return functional.softplus(-restored).mean()


def bce_critic_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """``-mean log sigmoid(D(y)) - mean log(1 - sigmoid(D(x)))``."""
    return functional.softplus(-clean).mean() + functional.softplus(restored).mean()


def relativistic_generator_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """Relativistic average: restored images should look cleaner than clean ones do on average.

    ``-E log sigmoid(D(x) - E D(y)) - E log(1 - sigmoid(D(y) - E D(x)))``, halved.

    Source:
        Jolicoeur-Martineau, "The Relativistic Discriminator", ICLR 2019; as in ESRGAN, Wang et al.,
        ECCV Workshops 2018.
    """
    above, below = restored - clean.mean(), clean - restored.mean()
    return 0.5 * (functional.softplus(-above).mean() + functional.softplus(below).mean())


def relativistic_critic_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """`relativistic_generator_loss` with the parts exchanged."""
    return relativistic_generator_loss(clean, restored)


def hinge_generator_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """``-mean D(x)``: Miyato et al., "Spectral Normalization", ICLR 2018, equation 17."""
    return -restored.mean()


def hinge_critic_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """``mean max(0, 1 - D(y)) + mean max(0, 1 + D(x))``: equation 16 of the same."""
    return functional.relu(1.0 - clean).mean() + functional.relu(1.0 + restored).mean()


GAN_LOSSES: Final[dict[str, GanLoss]] = {
    "bce": GanLoss(bce_generator_loss, bce_critic_loss),
    "relativistic": GanLoss(relativistic_generator_loss, relativistic_critic_loss),
    "hinge": GanLoss(hinge_generator_loss, hinge_critic_loss),
}


def gan_loss(kind: str) -> GanLoss:
    """Look up a pair of losses.

    Raises:
        UnknownNameError: The name is not in `GAN_LOSSES`.
    """
    if kind not in GAN_LOSSES:
        raise UnknownNameError("GAN loss", kind, GAN_LOSSES)
    return GAN_LOSSES[kind]
