"""What an agent gives its tools: which families of damage, and behind which other tool."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np

from restoration_toolchain.agents.outcomes.batches import OutcomeBatches
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.tuning.caution import choices_on
from restoration_toolchain.tools_zoo.recipes.joint_tools import NO_TOOL, Encounters

TEMPERATURE: Final = 0.2
"""dB; a tool that promises so much less is chosen e times less often."""

NOTICED: Final = 0.05
"""Smaller probabilities of a tool do not count."""


UNTOUCHED_WEIGHT: Final = 0.25
"""Weight of images that are to be left as they are: to learn to do nothing costs a tool much of
what it is for, and to leave them alone is the agent's part."""


def encounters_of(
    policy: LstmPolicy, batches: OutcomeBatches, names: Sequence[str]
) -> dict[str, Encounters]:
    """Which crops an agent would give each of its tools, if it chose by chance among good ones.

    An agent that always takes the best would never meet what it is nearly wrong about. So tools are
    weighted by the softmax of what they promise. What they risk has no price here: the agent is to
    dare more when its tools have learnt these crops.

    Args:
        policy: Agent that knows distributions.
        batches: Recorded outcomes of photos that it did not learn from.
        names: Names of the tools, in action order.

    Returns:
        For each tool, the weights of (family, tool that ran before).
    """
    choices = choices_on(policy, batches)
    promised = np.pad(choices.values, ((0, 0), (0, 1))) / TEMPERATURE  # to stop promises nothing
    chance = np.exp(promised - promised.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    chance[chance < NOTICED] = 0.0
    named = policy.recognition
    untouched = () if named is None else named.untouched
    met: dict[str, dict[tuple[str, str], float]] = {name: defaultdict(float) for name in names}
    before = [*names, NO_TOOL]
    for row in np.flatnonzero(choices.is_whole):
        situation = (str(choices.family[row]), before[int(choices.last_action[row])])
        weight = UNTOUCHED_WEIGHT if situation[0] in untouched else 1.0
        for index in np.flatnonzero(chance[row, :-1]):
            met[names[int(index)]][situation] += weight * float(chance[row, index])
    return {name: dict(weights) for name, weights in met.items()}
