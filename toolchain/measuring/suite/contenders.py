"""The rows of a suite: who plays, with which tools, and what that takes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from restoration_toolchain.agents.players import reference
from restoration_toolchain.agents.players.player import Player
from restoration_toolchain.toolchain.measuring.suite.cast import Cast
from restoration_toolchain.tools_zoo.toolbox import Toolbox

AGENT: Final = "agent"
GREEDY: Final = "greedy-oracle"
STEP_LIMITS: Final = (1, 2, 3, 4)
"""Most steps of the rows that show what each further step brings."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One row, before it is measured.

    Attributes:
        key: Stable name of the row.
        label: Name of the row for people.
        toolbox: The action space.
        player: Who plays.
        max_steps: Tools per image.
        note: Remark on the player.
        tools: Indices of the tools that must be at hand; None means all.
        lookahead: What is tried before a choice: nothing, every next tool, or every sequence.
    """

    key: str
    label: str
    toolbox: Toolbox
    player: Player
    max_steps: int
    note: str = ""
    tools: tuple[int, ...] | None = None
    lookahead: Literal["none", "next", "all"] = "none"


def everybody(
    cast: Cast,
    *,
    single: reference.SequenceTable,
    searched: reference.SequenceTable,
    max_steps: int,
    seed: int,
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
    best, note = searched.best_fixed(max_length=max_steps), "in hindsight, on the oracle's patches"
    yield _fixed("fixed-sequence", "best fixed sequence", toolbox, best, note)
    anything = reference.RandomPlayer(toolbox.stop + 1, np.random.default_rng(seed))
    yield Contender("random", "random", toolbox, anything, max_steps, "any tool or stop")
    if cast.baselines is not None:
        for action, name in enumerate(cast.baselines.names):
            yield _fixed(name, f"single network {name}", cast.baselines, (action,), "")
    for label, rival in cast.rivals.items():
        yield Contender(label, label, *rival, max_steps)
    if cast.before is not None:
        yield Contender("before-joint", "agent before joint training", *cast.before, max_steps)
    label = "agent" if cast.before is None else "agent after joint training"
    yield Contender(AGENT, label, toolbox, policy, max_steps)
    unstoppable = policy.with_stop_margin(-math.inf)
    yield Contender("agent-without-stop", "agent without stop", toolbox, unstoppable, max_steps)
    for limit in STEP_LIMITS:
        label = f"agent, at most {limit} step{'s' if limit > 1 else ''}"
        note = "" if limit <= max_steps else "longer than in training"
        yield Contender(f"agent-{limit}", label, toolbox, policy, limit, note)
    player, note = reference.GreedyOracle(), "best next tool, clean image known"
    yield Contender(GREEDY, "greedy oracle", toolbox, player, max_steps, note, lookahead="next")


def oracle(cast: Cast, searched: reference.SequenceTable, max_steps: int) -> Contender:
    """The row that plays the best sequence of each of the pairs that were searched."""
    toolbox, note = cast.ours.toolbox, "best of all sequences, clean image known"
    player = reference.ScriptPlayer(searched.best_sequences, stop=toolbox.stop)
    return Contender(
        "oracle", "exhaustive oracle", toolbox, player, max_steps, note, lookahead="all"
    )


def _fixed(
    key: str, label: str, toolbox: Toolbox, actions: tuple[int, ...], note: str
) -> Contender:
    """A row that plays one sequence on every image."""
    names = ", ".join(toolbox.names[action] for action in actions)
    note = "; ".join(part for part in (names if names != key else "", note) if part)
    player = reference.FixedPlayer(actions, stop=toolbox.stop)
    tools = tuple(set(actions))
    return Contender(key, label, toolbox, player, max(len(actions), 1), note, tools)
