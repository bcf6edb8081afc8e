"""Properties of caution: risks that come true, and a limit that keeps to what was asked."""

import numpy as np
import pytest
import torch
from torch import Tensor

from restoration_toolchain.agents.outcomes.batches import OutcomeBatches
from restoration_toolchain.agents.outcomes.record import Outcomes
from restoration_toolchain.agents.policy.lstm_policy import Judgement, LstmPolicy
from restoration_toolchain.agents.policy.q_net import VIEW_SIZE, LstmState, RecurrentQNet
from restoration_toolchain.agents.tuning.caution import (
    MAX_RISK,
    NOTICED,
    PRICES,
    UNFAMILIAR_RISK,
    choices_on,
    make_cautious,
)

COUNT = 500


class Frank(LstmPolicy):
    """Wants its first tool on everything, and says that the risk is an eighth of the brightness."""

    def see(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))[:, None]

    def judge(
        self, seen: Tensor, last_action: Tensor, state: LstmState, *, together: bool = False
    ) -> tuple[Judgement, LstmState]:
        values = torch.tensor([[1.0, 0.5, 0.0]]).repeat(len(seen), 1)
        claimed = (seen / 8.0).clamp(1e-4, 1.0 - 1e-4).repeat(1, 2)
        risks = claimed if self.guard is None else self.guard.risk(torch.logit(claimed))
        return Judgement(values, risks), state


@pytest.fixture
def frank() -> Frank:
    torch.manual_seed(0)
    return Frank(RecurrentQNet(2, "statistics", quantiles=True), ("one", "two"))


def batches_of(brightness: np.ndarray, harmed: np.ndarray) -> OutcomeBatches:
    """Flat crops of one view; both tools take 1 dB from the harmed, and bring it to others."""
    count = len(brightness)
    images = np.rint(255.0 * brightness)[:, None, None, None] * np.ones((VIEW_SIZE, VIEW_SIZE, 3))
    gains = np.where(harmed, -1.0, 1.0)[:, None, None] * np.ones((2, 2))
    outcomes = Outcomes(
        images=images.astype(np.uint8),
        gains=gains.astype(np.float32),
        chained=np.zeros((count, 2, 0), np.float32),
        psnr=np.full((count, 2), 30.0, np.float32),
        last_action=np.full(count, 2),
        step=np.zeros(count, np.int64),
        episode=np.arange(count),
        family=np.full(count, "dark"),
    )
    return OutcomeBatches(outcomes, ("dark",), [])


@pytest.fixture
def honest() -> OutcomeBatches:
    """Crops on which harm comes as often as the agent says."""
    rng = np.random.default_rng(0)
    brightness = rng.uniform(0.02, 1.0, COUNT)
    return batches_of(brightness, rng.random(COUNT) < brightness / 8.0)


def harmed(policy: LstmPolicy, batches: OutcomeBatches, caution: float) -> float:
    choices = choices_on(policy, batches)
    assert policy.guard is not None
    risk = policy.guard.risk(torch.logit(torch.from_numpy(choices.claimed))).numpy()
    return float((choices.outcome(choices.best(risk, caution)) < -NOTICED).mean())


@pytest.mark.parametrize("max_harmed", [0.002, 0.01, 0.03])
def test_the_price_is_the_lowest_that_harms_no_more_than_permitted(
    frank: Frank, honest: OutcomeBatches, max_harmed: float
) -> None:
    cautious = make_cautious(frank, honest, max_harmed=(max_harmed, max_harmed))
    place = PRICES.index(cautious.caution)
    assert place == len(PRICES) - 1 or harmed(cautious, honest, PRICES[place]) <= max_harmed
    for daring in PRICES[:place]:
        assert harmed(cautious, honest, daring) > max_harmed
    assert (cautious.max_risk, cautious.unfamiliar_risk) == (MAX_RISK, UNFAMILIAR_RISK)
    assert (frank.guard, frank.max_risk, frank.caution) == (None, 1.0, 0.0)  # not changed


def test_more_harm_permitted_is_a_lower_price(frank: Frank, honest: OutcomeBatches) -> None:
    prices = [make_cautious(frank, honest, max_harmed=(m, m)).caution for m in (0.0, 0.01, 0.1)]
    assert prices == sorted(prices, reverse=True)
    assert prices[0] > prices[-1] == PRICES[0]


def test_a_risk_that_was_said_too_low_is_put_right(frank: Frank) -> None:
    rng = np.random.default_rng(1)
    brightness = rng.uniform(0.3, 1.0, COUNT)
    batches = batches_of(brightness, rng.random(COUNT) < brightness / 2.0)  # four times as often
    cautious = make_cautious(frank, batches)
    assert cautious.guard is not None
    claimed = choices_on(frank, batches).claimed[:, 0]
    risk = cautious.guard.risk(torch.logit(torch.from_numpy(claimed)))
    assert float(risk.mean()) == pytest.approx(float((brightness / 2.0).mean()), abs=0.05)
    assert float(np.mean(claimed)) < 0.5 * float(risk.mean())


def test_an_agent_that_always_harms_does_nothing_any_more(frank: Frank) -> None:
    brightness = np.random.default_rng(0).uniform(0.1, 1.0, 64)
    batches = batches_of(brightness, np.ones(64, bool))
    cautious = make_cautious(frank, batches)
    assert harmed(cautious, batches, 0.0) == 0.0  # riskier than any price would permit


def test_where_no_price_keeps_to_it_the_highest_is_taken(frank: Frank) -> None:
    # One of very many is harmed, nothing tells it from the others, and all promise 1 dB.
    is_harmed = np.arange(COUNT) == 7
    cautious = make_cautious(
        frank, batches_of(np.full(COUNT, 0.1), is_harmed), max_harmed=(0.0, 0.0)
    )
    assert cautious.caution == PRICES[-1]


def test_only_the_first_step_and_the_better_promise_are_chosen(
    frank: Frank, honest: OutcomeBatches
) -> None:
    choices = choices_on(frank, honest)
    assert choices.values.shape == choices.claimed.shape == choices.gains.shape == (2 * COUNT, 2)
    assert choices.is_whole.sum() == COUNT
    assert choices.is_first.all()
    assert (choices.best(np.zeros_like(choices.claimed), 0.0) == 0).all()
    risk = np.tile([0.29, 0.1], (2 * COUNT, 1))  # of tools that promise 1 and 0.5 dB
    assert (choices.best(risk, 1.0) == 0).all()
    assert (choices.best(risk, 3.0) == 1).all()  # the second best, which is safer
    assert (choices.best(risk + 0.02, 0.0) == 1).all()  # too risky at any price
    nothing = choices.best(risk, 6.5)
    assert (nothing == -1).all()
    assert (choices.outcome(nothing) == 0.0).all()
