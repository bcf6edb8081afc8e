"""Look, choose, advance, until all have stopped: the one loop in which every chain is played."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from restoration_toolchain.agents.policy.decision import Decision
from restoration_toolchain.envs.chain import Ended


class Advancing(Protocol):
    """N episodes that advance together: a `Chain`, an environment, or the regions of a photo."""

    @property
    def stop(self) -> int:
        """Index of the stop action."""

    def advance(self, actions: Tensor) -> Ended:
        """Run the chosen tools (N,); tell which episodes ended."""


class Move(NamedTuple):
    """One step of all episodes.

    Attributes:
        decision: What was done, *stop* where an episode had ended before.
        playing: (N,) bool, episodes that had not ended before.
        seconds: Time that looking, choosing and running the tools took.
    """

    decision: Decision
    playing: Tensor
    seconds: float


E = TypeVar("E", bound=Advancing)


def rollout(chain: E, choose: Callable[[E], Decision]) -> Iterator[Move]:
    """Play until every episode has ended.

    Args:
        chain: What is played; it has advanced when a move is yielded.
        choose: Looks at it and decides; it keeps what memory it needs.

    Yields:
        Every move, at least one.
    """
    playing = torch.tensor(True)
    while playing.any():
        start = time.perf_counter()
        decision = choose(chain)
        playing = playing.expand(len(decision.actions))
        decision = decision.stopping(~playing, chain.stop)
        ended = chain.advance(decision.actions)
        yield Move(decision, playing, time.perf_counter() - start)
        playing = playing & ~ended.done
