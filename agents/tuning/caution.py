"""How cautious an agent is to be: what its risks are worth, how much of them it takes, and where.

All of it is learnt on recorded outcomes of photos that neither the agent nor its tools have seen.
There, what every tool would have done is known, so no tool has to run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from restoration_toolchain.agents.outcomes.batches import OutcomeBatches
from restoration_toolchain.agents.policy.guard import Guard, features
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.recognition import NOT_DAMAGED
from restoration_toolchain.agents.tuning.guard import fit_logistic, look_of

PRICES: Final = (*(0.5 * i for i in range(20)), *(2.0 * i for i in range(5, 11)), 40.0)
"""Candidates for the price of a risk in dB, the most daring first."""

MAX_RISK: Final = 0.3
"""Largest risk that is taken at any price."""

NOTICED: Final = 0.05
"""dB; a smaller loss is no harm."""

MAX_HARMED: Final = (0.004, 0.002)
"""Share of recorded crops that the first step may harm, and a later one. A third of these crops are
undamaged, and three steps add up: of damaged images it comes to about 1 %."""

UNFAMILIAR_RISK: Final = 0.02
"""Largest risk that is taken on photos that are unlike all that was learnt from."""

FAMILIAR: Final = 0.99
"""Share of the photos of the calibration that count as familiar."""

_CHUNK: Final = 32  # crops


@dataclass(frozen=True, slots=True)
class Choices:
    """What an agent would choose in M recorded states, views and whole crops, and what comes of it.

    Attributes:
        values: (M, n_tools) dB that tools promise beyond stopping.
        claimed: (M, n_tools) probability of harm, as the network has it.
        gains: (M, n_tools) dB that the tools bring.
        is_first: (M,) whether no tool ran before.
        is_whole: (M,) whether it is a crop as a whole.
        last_action: (M,) tool that ran before; n_tools where none did.
        family: (M,) name of the family of the damage.
    """

    values: npt.NDArray[np.float64]
    claimed: npt.NDArray[np.float64]
    gains: npt.NDArray[np.float64]
    is_first: npt.NDArray[np.bool_]
    is_whole: npt.NDArray[np.bool_]
    last_action: npt.NDArray[np.int64]
    family: npt.NDArray[np.str_]

    def best(self, risk: npt.NDArray[np.float64], caution: float) -> npt.NDArray[np.int64]:
        """Tool of the largest worth; -1 where none is worth more than to stop.

        Args:
            risk: (M, n_tools) probability of harm; above `MAX_RISK`, a tool does not run.
            caution: Price of a risk (`policy.decision.cautious`).
        """
        worth = np.where(risk <= MAX_RISK, self.values - caution * risk, -np.inf)
        return np.where(worth.max(axis=1) > 0.0, worth.argmax(axis=1), -1)

    def outcome(self, tools: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """What came of these choices, in dB; 0 where nothing ran."""
        return np.where(tools >= 0, self.gains[np.arange(len(tools)), tools], 0.0)


def choices_on(policy: LstmPolicy, batches: OutcomeBatches) -> Choices:
    """Ask an agent about every recorded state, without any limit on the risk."""
    daring = policy.daring().changed(guard=None)
    parts = [_choices(daring, batches, start) for start in range(0, len(batches.episodes), _CHUNK)]
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Choices(*columns)


def _choices(
    policy: LstmPolicy, batches: OutcomeBatches, start: int
) -> tuple[npt.NDArray[np.generic], ...]:
    rows = batches.episodes[start : start + _CHUNK]
    batch = batches.batch(rows)
    padded = batch.arranged(policy.see(batch.images.flatten(0, 1)))
    columns = padded.shape[2]
    state = policy.initial_state(len(rows) * columns)
    values, claimed = [], []
    for step in range(rows.shape[1]):
        last = batch.last_action[:, step].repeat_interleave(columns)
        judged, state = policy.judge(padded[:, step].flatten(0, 1), last, state)
        assert judged.risks is not None
        promised = judged.values[:, :-1] - judged.values[:, -1:]
        values.append(promised.reshape(len(rows), columns, -1))
        claimed.append(judged.risks.reshape(len(rows), columns, -1))
    gains = batch.gains.numpy()
    known = ~np.isnan(gains).any(axis=-1)
    stacked = [torch.stack(parts, dim=1).cpu().double().numpy() for parts in (values, claimed)]
    is_first = np.broadcast_to((np.arange(rows.shape[1]) == 0)[:, None], known.shape)
    is_whole = np.broadcast_to(np.arange(columns) == columns - 1, known.shape)
    family = np.broadcast_to(batches.family_of(rows)[:, None, None], known.shape)
    last_action = np.broadcast_to(batch.last_action.numpy()[:, :, None], known.shape)
    kept = (*stacked, gains, is_first, is_whole, last_action, family)
    return tuple(part[known] for part in kept)


def make_cautious(
    policy: LstmPolicy,
    batches: OutcomeBatches,
    *,
    max_harmed: tuple[float, float] = MAX_HARMED,
) -> LstmPolicy:
    """Give a policy that knows distributions its guard, and the price that it sets on risks.

    Args:
        policy: The policy; not changed.
        batches: Recorded outcomes of photos that it did not learn from.
        max_harmed: Share of crops that may lose more than `NOTICED` in the first step, and in a
            later one.

    Returns:
        The same network. It sets the lowest of `PRICES` with which no more crops are harmed than
        permitted, by the first step and by later ones.
    """
    choices = choices_on(policy, batches)
    chosen = choices.best(np.zeros_like(choices.claimed), 0.0)  # whatever the risk
    ran = np.flatnonzero(chosen >= 0)
    claimed = choices.claimed[ran, chosen[ran]]
    is_worse = choices.gains[ran, chosen[ran]] < 0.0
    intercept, slope = fit_logistic(np.log(claimed / (1.0 - claimed)), is_worse)
    first_views = _first_views(batches, not_photos(policy))
    described = features(policy.q_net, first_views.flatten(0, 1))
    guard = Guard(intercept, slope, *look_of(described, first_views.shape[1], FAMILIAR))
    risk = guard.risk(torch.logit(torch.from_numpy(choices.claimed))).numpy()
    prices = [
        next((one for one in PRICES if harmed(choices, risk, one, first) <= most), PRICES[-1])
        for first, most in zip((True, False), max_harmed, strict=True)
    ]
    return policy.changed(
        guard=guard,
        max_risk=MAX_RISK,
        unfamiliar_risk=UNFAMILIAR_RISK,
        caution=prices[0],
        later_caution=prices[1],
    )


def harmed(
    choices: Choices, risk: npt.NDArray[np.float64], caution: float, is_first: bool
) -> float:
    """Share of whole crops that lose more than `NOTICED` in a step, the first or a later one."""
    outcome = choices.outcome(choices.best(risk, caution))
    counted = choices.is_whole & (choices.is_first == is_first)
    return float((outcome[counted] < -NOTICED).mean()) if counted.any() else 0.0


def not_photos(policy: LstmPolicy) -> tuple[str, ...]:
    """Families of pictures that are no photos: seen in training, and strange all the same."""
    known = policy.recognition
    return () if known is None else tuple(n for n in known.untouched if n != NOT_DAMAGED)


def _first_views(batches: OutcomeBatches, left_out: Sequence[str]) -> Tensor:
    """The views of each crop as it came, one behind the other: (N, V, 3, 63, 63)."""
    rows = batches.episodes[:, :1]
    rows = rows[~np.isin(batches.family_of(rows), left_out)]
    parts = [
        batches.batch(rows[start : start + _CHUNK]).images for start in range(0, len(rows), _CHUNK)
    ]
    return torch.cat(parts)
