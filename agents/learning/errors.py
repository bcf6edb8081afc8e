"""Errors that agents learn by: of values, of the choice between tools, and of distributions."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from restoration_toolchain.agents.policy.q_net import LEVELS, LITTLE
from restoration_toolchain.envs.reward import MAX_LOSS

MAX_GAIN: Final = 15.0
"""dB; a larger gain counts as this one, where distributions are learnt."""

TEMPERATURE: Final = 0.1
"""dB; tools that differ by less are about as good as each other."""


def value_errors(values: Tensor, targets: Tensor) -> Tensor:
    """Huber loss between values and targets, in dB; same shape as both.

    Errors count squared up to `MAX_LOSS`, so that values become means of what may follow. Medians,
    which a loss that turns linear at 1 dB leads to, deny a risk: of photos that look noisy, some
    are clean.
    """
    return functional.huber_loss(values, targets, reduction="none", delta=MAX_LOSS)


def ranking_errors(values: Tensor, targets: Tensor) -> Tensor:
    """Kullback-Leibler divergence of two ways to choose, over the last dimension.

    ``KL(softmax(targets / T) || softmax(values / T))``, T being `TEMPERATURE`. Among tools that are
    nearly as good as each other, what all of them gain depends on the image a hundred times as much
    as which is best, and errors of values hardly notice that.

    Source:
        The softmax of outcomes that are known, as a target, is that of policy distillation, Rusu et
        al., ICLR 2016.
    """
    wanted = functional.log_softmax(targets / TEMPERATURE, dim=-1)
    found = functional.log_softmax(values / TEMPERATURE, dim=-1)
    return functional.kl_div(found, wanted, reduction="none", log_target=True).sum(dim=-1)


def quantile_errors(quantiles: Tensor, gains: Tensor) -> Tensor:
    """Pinball loss of quantiles (..., len(LEVELS)), averaged over them, to the shape of gains.

    Both are compared on a scale that is logarithmic above `LITTLE`: a quantile is one on any scale,
    and so a tenth of a dB counts where little is to be gained.

    Source:
        Koenker and Bassett, "Regression Quantiles", Econometrica 1978.
    """
    levels = torch.tensor(LEVELS, device=quantiles.device)
    above = torch.asinh(gains.unsqueeze(-1) / LITTLE) - torch.asinh(quantiles / LITTLE)
    return torch.maximum(levels * above, (levels - 1.0) * above).mean(dim=-1)
