"""What can be seen in an agent's episodes: when it stops, what it expects, which tools it uses."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from restoration_toolchain.agents.players.play import EpisodeResults
from restoration_toolchain.data.damage.step import NUM_LEVELS
from restoration_toolchain.data.damage.steps import graded_kinds
from restoration_toolchain.toolchain.measuring.suite.cost import decisions_of
from restoration_toolchain.toolchain.measuring.suite.results import Decisions, Usage

Strengths = tuple[tuple[int, ...], ...]


def decisions_on(level: str, results: EpisodeResults, stop: int) -> Decisions:
    """Compare what the agent expected with what came.

    Args:
        level: Level of the damage.
        results: Episodes that the agent played.
        stop: Index of the stop action.
    """
    chosen, actions = decisions_of(results.actions, stop), results.actions
    is_tool = actions != stop
    gains = np.diff(results.psnr, axis=1)
    to_end = results.psnr_after[:, None] - results.psnr[:, :-1]
    steps = np.broadcast_to(np.arange(1, actions.shape[1] + 1), actions.shape)
    return Decisions(
        level=level,
        stops=tuple((chosen & ~is_tool).mean(axis=0).tolist()),
        steps=tuple(steps[is_tool].tolist()),
        values=_rounded(results.values[is_tool]),
        gains=_rounded(gains[is_tool]),
        gains_to_end=_rounded(to_end[is_tool]),
    )


def usage_of(
    actions: Sequence[npt.NDArray[np.int64]], strengths: Sequence[Strengths | None], stop: int
) -> tuple[Usage, ...]:
    """Count which actions were chosen, by the strength of each distortion that occurs in the input.

    Args:
        actions: Per level, (N, max_steps).
        strengths: Per level, the strength levels of each input, where known.
        stop: Index of the stop action.
    """
    played = np.concatenate(actions)
    of_inputs = np.array([levels for known in strengths if known for levels in known])
    if any(known is None for known in strengths) or not of_inputs.any():
        return (_count("patches", ("all",), played, np.zeros(len(played), np.int64), stop),)
    columns = tuple(map(str, range(NUM_LEVELS + 1)))
    return tuple(
        _count(kind.name, columns, played, of_inputs[:, k], stop)
        for k, kind in enumerate(graded_kinds())
        if of_inputs[:, k].any()
    )


def _count(
    by: str,
    columns: tuple[str, ...],
    actions: npt.NDArray[np.int64],
    column: npt.NDArray[np.int64],
    stop: int,
) -> Usage:
    first = np.zeros((stop + 1, len(columns)), np.int64)
    every = first.copy()
    np.add.at(first, (actions[:, 0], column), 1)
    rows, steps = np.nonzero(decisions_of(actions, stop))
    np.add.at(every, (actions[rows, steps], column[rows]), 1)
    kept = [k for k in range(len(columns)) if k > 0 or len(columns) == 1 or first[:, 0].any()]
    return Usage(
        by=by,
        columns=tuple(columns[k] for k in kept),
        first=tuple(map(tuple, first[:, kept].tolist())),
        every=tuple(map(tuple, every[:, kept].tolist())),
    )


def _rounded(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.round(values, 4).tolist())
