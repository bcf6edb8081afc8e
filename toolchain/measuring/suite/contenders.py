"""The rows of a suite: who plays, with which tools, and what that takes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from restoration_toolchain.agents.players.player import Player
from restoration_toolchain.agents.players.reference import (
    FixedPlayer,
    GreedyOracle,
    RandomPlayer,
    ScriptPlayer,
    SequenceTable,
)
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.toolchain.measuring.suite.cast import Bundle, Cast
from restoration_toolchain.tools_zoo.toolbox import Toolbox

AGENT: Final = "agent"
GREEDY: Final = "greedy-oracle"
ORACLE: Final = "oracle"
STEP_LIMITS: Final = (1, 2, 3, 4)
"""Most steps of the rows that show what each further step brings."""

Lookahead = Literal["none", "next", "all"]
"""What is tried before a choice: nothing, every next tool, or every sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One row, before it is measured.

    Attributes:
        key: Stable name of the row.
        label: The same for people.
        player: Who plays.
        toolbox: The action space.
        tools: Indices of the tools that must be at hand.
        max_steps: Tools per image.
        policy: Network that chooses, if one does.
        lookahead: What is tried before a choice.
        note: What else is worth knowing.
    """

    key: str
    label: str
    player: Player
    toolbox: Toolbox
    tools: tuple[int, ...]
    max_steps: int
    policy: LstmPolicy | None = None
    lookahead: Lookahead = "none"
    note: str = ""


def contenders(
    cast: Cast, *, single: SequenceTable, searched: SequenceTable, max_steps: int, seed: int
) -> Iterator[Contender]:
    """All rows of a level that play on all its pairs, in order.

    Args:
        cast: Who takes part.
        single: What single tools reach on all pairs.
        searched: What every sequence reaches on the oracle's pairs.
        max_steps: Tools per image.
        seed: Seed of the random player.
    """
    toolbox, policy = cast.ours
    yield _fixed("input", "input", toolbox, (), "does nothing")
    best = single.best_fixed(max_length=1)
    yield _fixed("single-tool", "best single tool", toolbox, best, "known in hindsight")
    best = searched.best_fixed(max_length=max_steps)
    note = "in hindsight, on the oracle's patches"
    yield _fixed("fixed-sequence", "best fixed sequence", toolbox, best, note)
    anything = RandomPlayer(toolbox.stop + 1, np.random.default_rng(seed))
    yield _free("random", "random", anything, toolbox, max_steps, note="any tool or stop")
    if cast.baselines is not None:
        for action, name in enumerate(cast.baselines.names):
            yield _fixed(name, f"single network {name}", cast.baselines, (action,), "")
    for label, rival in cast.rivals.items():
        yield _agent(label, label, rival, max_steps)
    if cast.before is not None:
        yield _agent("before-joint", "agent before joint training", cast.before, max_steps)
    label = "agent" if cast.before is None else "agent after joint training"
    yield _agent(AGENT, label, cast.ours, max_steps)
    unstoppable = Bundle(toolbox, policy.with_stop_margin(-math.inf))
    yield _agent("agent-without-stop", "agent without stop", unstoppable, max_steps)
    for limit in STEP_LIMITS:
        steps = f"{limit} step{'s' if limit > 1 else ''}"
        note = "" if limit <= max_steps else "longer than in training"
        yield _agent(f"agent-{limit}", f"agent, at most {steps}", cast.ours, limit, note)
    note, label = "best next tool, clean image known", "greedy oracle"
    yield _free(GREEDY, label, GreedyOracle(), toolbox, max_steps, lookahead="next", note=note)


def oracle(cast: Cast, searched: SequenceTable, max_steps: int) -> Contender:
    """The row that plays the best sequence of each of the pairs that were searched."""
    toolbox = cast.ours.toolbox
    player = ScriptPlayer(searched.best_sequences, stop=toolbox.stop)
    knowing: dict[str, Any] = {
        "lookahead": "all",
        "note": "best of all sequences, clean image known",
    }
    return _free(ORACLE, "exhaustive oracle", player, toolbox, max_steps, **knowing)


def _fixed(
    key: str, label: str, toolbox: Toolbox, actions: tuple[int, ...], note: str
) -> Contender:
    names = ", ".join(toolbox.names[action] for action in actions)
    parts = (names if names != key else "", note)
    return Contender(
        key=key,
        label=label,
        player=FixedPlayer(actions, stop=toolbox.stop),
        toolbox=toolbox,
        tools=tuple(sorted(set(actions))),
        max_steps=max(len(actions), 1),
        note="; ".join(part for part in parts if part),
    )


def _agent(key: str, label: str, bundle: Bundle, max_steps: int, note: str = "") -> Contender:
    toolbox, policy = bundle
    return _free(key, label, policy, toolbox, max_steps, policy=policy, note=note)


def _free(
    key: str, label: str, player: Player, toolbox: Toolbox, max_steps: int, **facts: Any
) -> Contender:
    """A row that may use any tool."""
    return Contender(
        key=key,
        label=label,
        player=player,
        toolbox=toolbox,
        tools=tuple(range(len(toolbox))),
        max_steps=max_steps,
        **facts,
    )
