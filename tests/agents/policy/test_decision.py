"""Properties of decisions: what overrules what, and the reasons that are given."""

import math

import pytest
import torch

from restoration_toolchain.agents.policy.decision import (
    decide,
    expected_gain,
    margins,
    permitted,
    tempered,
)
from restoration_toolchain.agents.policy.guard import Guard
from restoration_toolchain.envs.reward import MAX_LOSS

STOP = 2
VALUES = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.2, 0.3]])
GUARD = Guard(0.0, -4.0, torch.zeros(1), torch.eye(1), 1.0)  # a risk of 1/2 where no gain is likely


def test_the_largest_value_wins() -> None:
    decision = decide(VALUES)
    assert decision.actions.tolist() == [0, STOP]
    assert decision.risk is None
    assert decision.values is not None
    assert torch.equal(decision.values, VALUES)


def test_the_expected_gain_leaves_the_margin_out() -> None:
    values = torch.tensor([[0.5, 0.2, 0.3]])  # stop is worth 0.1, and has a margin of 0.2
    assert torch.allclose(expected_gain(values, 0.2), torch.tensor([[0.4, 0.1, 0.2]]))
    decision = decide(VALUES, stop_margin=0.2)
    assert decision.expected is not None
    assert torch.allclose(decision.expected, torch.tensor([0.4, 0.1]))  # of stop: the best tool


def test_what_is_not_allowed_is_not_chosen_whatever_it_is_worth() -> None:
    allowed = torch.tensor([[False, True, True], [False, True, False]])
    decision = decide(VALUES, allowed=allowed)
    assert decision.actions.tolist() == [STOP, 1]
    assert decision.values is not None
    assert decision.values[0].tolist()[0] == -math.inf
    assert torch.equal(permitted(VALUES, allowed), decision.values)


def test_a_risk_is_that_of_the_action_and_of_stop_that_of_the_best_tool() -> None:
    decision = decide(VALUES, guard=GUARD)
    assert decision.risk is not None
    expected = torch.sigmoid(-4.0 * torch.tensor([0.5 - 0.3, 0.2 - 0.3]))
    assert torch.allclose(decision.risk, expected)


def test_too_risky_a_tool_does_not_run_unless_it_is_forced() -> None:
    risk = float(torch.sigmoid(torch.tensor(-0.8)))
    for limit, action in ((1.0, 0), (risk + 0.01, 0), (risk - 0.01, STOP)):
        assert decide(VALUES, guard=GUARD, max_risk=limit).actions.tolist() == [action, STOP]
    forced = decide(VALUES, guard=GUARD, max_risk=0.0, forced=1)
    assert forced.actions.tolist() == [1, 1]
    assert forced.risk is not None
    assert torch.allclose(forced.risk, torch.sigmoid(torch.tensor([0.4, 0.4])))


def test_a_proposal_takes_the_place_of_the_largest_value_and_is_limited_too() -> None:
    proposed = torch.tensor([1, 0])
    assert decide(VALUES, guard=GUARD, proposed=proposed).actions.tolist() == [1, 0]
    careful = decide(VALUES, guard=GUARD, proposed=proposed, max_risk=0.6)
    assert careful.actions.tolist() == [1, STOP]


def test_an_episode_that_has_ended_stops() -> None:
    decision = decide(torch.tensor([[0.5, 0.2, 0.3]] * 2))
    assert decision.stopping(torch.tensor([True, False]), STOP).actions.tolist() == [STOP, 0]


def test_a_tool_loses_on_what_is_clean_and_gains_as_expected_on_what_is_not() -> None:
    clean = tempered(VALUES, torch.tensor([1.0, 0.0]))
    assert torch.allclose(clean[0], torch.tensor([0.3 - MAX_LOSS, 0.3 - MAX_LOSS, 0.3]))
    assert torch.allclose(clean[1], VALUES[1])


def test_margins_favour_stopping_and_the_chains_but_make_nobody_begin() -> None:
    found = margins(("a", "b"), 0.1, (("b",),), 0.5)
    assert torch.allclose(found, torch.tensor([[0, 0, 0.1], [0, 0, 0.6], [-0.5, 0, 0.1]]))
    with pytest.raises(ValueError, match="no chain of different tools"):
        margins(("a", "b"), 0.0, (("c",),), 0.5)
