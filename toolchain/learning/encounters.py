"""What an agent gives its tools: which families of damage, and behind which other tool."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from restoration_toolchain.agents.outcomes.batches import OutcomeBatches
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.tuning.caution import choices_on
from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.tools_zoo.recipes.joint_tools import (
    NO_TOOL,
    Encounters,
    JointToolsConfig,
)
from restoration_toolchain.tools_zoo.training.errors import DamagedRunError, RunMismatchError

NOTICED: Final = 0.05
"""Smaller probabilities of a tool do not count."""


def encounters_of(
    policy: LstmPolicy, batches: OutcomeBatches, names: Sequence[str], joint: JointToolsConfig
) -> dict[str, Encounters]:
    """Which crops an agent would give each of its tools, if it chose by chance among good ones.

    An agent that always takes the best would never meet what it is nearly wrong about. So tools are
    weighted by the softmax of what they promise. What they risk has no price here: the agent is to
    dare more when its tools have learnt these crops.

    Args:
        policy: Agent that knows distributions.
        batches: Recorded outcomes of photos that it did not learn from.
        names: Names of the tools, in action order.
        joint: How sharply it chooses, and what images to be left alone weigh.

    Returns:
        For each tool, the weights of (family, tool that ran before).
    """
    choices = choices_on(policy, batches)
    # To stop promises nothing.
    promised = np.pad(choices.values, ((0, 0), (0, 1))) / joint.temperature
    chance = np.exp(promised - promised.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    chance[chance < NOTICED] = 0.0
    named = policy.recognition
    untouched = () if named is None else named.untouched
    met: dict[str, dict[tuple[str, str], float]] = {name: defaultdict(float) for name in names}
    before = [*names, NO_TOOL]
    for row in np.flatnonzero(choices.is_whole):
        situation = (str(choices.family[row]), before[int(choices.last_action[row])])
        weight = joint.untouched if situation[0] in untouched else 1.0
        for index in np.flatnonzero(weight * chance[row, :-1]):
            met[names[int(index)]][situation] += weight * float(chance[row, index])
    return {name: dict(weights) for name, weights in met.items()}


def write_encounters(
    met: Mapping[str, Encounters], agent: str, joint: JointToolsConfig, path: Path
) -> None:
    """Keep what an agent gives its tools, with the checksum of the agent and the settings."""
    plain = {
        "agent": agent,
        **_settings_of(joint),
        "tools": {
            name: [[family, tool, weight] for (family, tool), weight in given.items()]
            for name, given in met.items()
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(plain, indent=1).encode())


def read_encounters(path: Path, agent: str, joint: JointToolsConfig) -> dict[str, Encounters]:
    """Read what `write_encounters` kept.

    Raises:
        RunMismatchError: It was kept of another agent, or by other settings.
        DamagedRunError: The file is damaged.
    """
    try:
        plain = json.loads(path.read_text())
        kept = {key: plain[key] for key in ("agent", *_settings_of(joint))}
        met: dict[str, Encounters] = {
            name: {(str(family), str(tool)): float(weight) for family, tool, weight in given}
            for name, given in plain["tools"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedRunError(f"{path} is damaged; delete it, and it is made again") from error
    if kept != {"agent": agent, **_settings_of(joint)}:
        raise RunMismatchError(
            f"{path} is of another agent, or of other settings; train in another folder"
        )
    return met


def _settings_of(joint: JointToolsConfig) -> dict[str, float]:
    return {"temperature": joint.temperature, "untouched": joint.untouched}
