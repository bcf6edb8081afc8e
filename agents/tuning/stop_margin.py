"""How sure an agent must be before it touches an image, chosen on validation pairs."""

from collections.abc import Sequence
from typing import Final

import torch

from restoration_toolchain.agents.players.play import play_as_trained
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.tools_zoo.precision import Precision
from restoration_toolchain.tools_zoo.toolbox import Toolbox

MARGINS: Final = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
"""Candidates in the unit of the action values: dB for Q-learning."""

MAX_COST: Final = 0.03
"""dB of mean gain given up for caution that still does not reach the aim."""


def tune_stop_margin(
    policy: LstmPolicy,
    toolbox: Toolbox,
    pairs: ArrayPairs,
    *,
    max_worse: float,
    margins: Sequence[float] = MARGINS,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
) -> LstmPolicy:
    """Give a policy the stop margin that serves it best.

    An estimate of a gain near zero is as often wrong as right, and a tool that runs on it makes
    the image worse. Asking for a little more before acting costs little gain and avoids that.

    Args:
        policy: The policy; not changed. It is judged at its own task, by its own reward.
        toolbox: Its tools.
        pairs: Validation pairs.
        max_worse: Largest share of images that may end worse than they began.
        margins: Candidates.
        device: Device that the tools run on.
        precision: Number format that they compute in.

    Returns:
        The same network with the candidate of the largest mean gain among those that keep to
        ``max_worse``. If none does, caution is bought only while it is cheap: of the candidates
        within `MAX_COST` of the largest gain, the one that harms the fewest images.
    """
    if not margins:
        raise ValueError("there must be at least one margin to choose from")
    tried = []
    for margin in margins:
        candidate = policy.with_stop_margin(margin)
        results = play_as_trained(candidate, toolbox, pairs, device=device, precision=precision)
        tried.append((candidate, results))
    keeping = [pair for pair in tried if pair[1].share_worse <= max_worse]
    if keeping:
        return max(keeping, key=lambda pair: pair[1].bounded_gain)[0]
    most = max(results.bounded_gain for _, results in tried)
    cheap = [pair for pair in tried if pair[1].bounded_gain >= most - MAX_COST]
    return min(cheap, key=lambda pair: pair[1].share_worse)[0]
