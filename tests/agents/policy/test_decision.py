"""Properties of decisions: what overrules what, and the reasons that are given."""

import math

import pytest
import torch

from restoration_toolchain.agents.policy.decision import (
    PRICED_SIDE,
    Limits,
    decide,
    expected_gain,
    margins,
    permitted,
    tempered,
    tool_prices,
)
from restoration_toolchain.data.patches.world_crops import CROP_SIDE
from restoration_toolchain.envs.reward import MAX_LOSS
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox

STOP = 2
VALUES = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.2, 0.3]])
RISKS = torch.tensor([[0.3, 0.1], [0.2, 0.2]])


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
    decision = decide(VALUES, risks=RISKS)
    assert decision.risk is not None
    assert torch.allclose(decision.risk, torch.tensor([0.3, 0.2]))


def test_too_risky_a_tool_gives_way_to_the_best_of_the_others() -> None:
    values = torch.tensor([[0.5, 0.4, 0.3], [0.5, 0.2, 0.3]])
    for limit, actions in ((1.0, [0, 0]), (0.3, [0, 0]), (0.2, [1, STOP]), (0.05, [STOP, STOP])):
        risks = torch.tensor([[0.3, 0.1], [0.3, 0.1]])
        assert decide(values, risks=risks, limits=Limits(limit)).actions.tolist() == actions


def test_an_image_is_held_back_if_nothing_but_the_risk_keeps_a_tool_from_it() -> None:
    for images, limit, is_held_back in (
        ([0], 0.1, True),
        ([0], 0.3, False),
        ([1], 0.1, False),  # stop is best there
        ([0, 1], 0.1, True),  # one of two, and nothing runs on the other
    ):
        decision = decide(VALUES[images], risks=RISKS[images], limits=Limits(limit))
        assert decision.is_held_back == is_held_back
    assert not decide(VALUES[:1], risks=RISKS[:1], limits=Limits(0.1), forced=STOP).is_held_back
    some = decide(
        torch.tensor([[0.5, 0.4, 0.3], [0.5, 0.2, 0.3]]), risks=RISKS, limits=Limits(0.25)
    )
    assert some.held_back is not None
    assert (some.actions.tolist(), some.held_back.tolist()) == ([1, 0], [False, False])
    careful = decide(
        torch.tensor([[0.5, 0.4, 0.3], [0.5, 0.2, 0.3]]), risks=RISKS, limits=Limits(0.15)
    )
    assert careful.held_back is not None
    assert (careful.actions.tolist(), careful.held_back.tolist()) == ([1, STOP], [False, True])
    assert not careful.is_held_back  # a tool runs on one of them


def test_a_forced_action_runs_whatever_its_risk() -> None:
    forced = decide(VALUES, risks=RISKS, limits=Limits(0.0), forced=1)
    assert forced.actions.tolist() == [1, 1]
    assert forced.risk is not None
    assert torch.allclose(forced.risk, RISKS[:, 1])


def test_a_proposal_takes_the_place_of_the_largest_value_and_is_limited_too() -> None:
    proposed = torch.tensor([1, 0])
    assert decide(VALUES, risks=RISKS, proposed=proposed).actions.tolist() == [1, 0]
    careful = decide(VALUES, risks=RISKS, proposed=proposed, limits=Limits(0.15))
    assert careful.actions.tolist() == [1, STOP]
    assert careful.held_back is not None
    assert careful.held_back.tolist() == [False, True]


def test_what_is_allowed_and_what_is_safe_limit_a_choice_together() -> None:
    values = torch.tensor([[0.5, 0.4, 0.3]])
    allowed = torch.tensor([[True, False, True]])
    risks = torch.tensor([[0.3, 0.0]])
    assert decide(values, risks=risks, allowed=allowed, limits=Limits(0.4)).actions.tolist() == [0]
    careful = decide(values, risks=risks, allowed=allowed, limits=Limits(0.2))
    assert careful.actions.tolist() == [STOP]
    assert careful.is_held_back


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


def test_a_risk_has_a_price_and_is_taken_where_more_is_to_be_gained() -> None:
    values = torch.tensor([[5.0, 0.6, 0.0], [0.5, 0.6, 0.0], [0.5, 0.1, 0.0]])
    risks = torch.tensor([[0.2, 0.01], [0.2, 0.01], [0.2, 0.2]])
    decision = decide(values, risks=risks, limits=Limits(1.0, caution=4.0))
    # 5.0 - 0.8 is worth more than 0.6 - 0.04; 0.5 - 0.8 is not; nothing is left of the last.
    assert decision.actions.tolist() == [0, 1, STOP]
    assert decision.held_back is not None
    assert decision.held_back.tolist() == [False, False, True]
    assert decision.values is not None
    assert torch.equal(decision.values, values)  # what is told has no price in it


def test_a_price_changes_nothing_where_no_risk_is_known() -> None:
    decision = decide(VALUES, limits=Limits(1.0, caution=100.0))
    assert decision.actions.tolist() == decide(VALUES).actions.tolist()


def test_arithmetic_has_a_price_and_a_tool_runs_where_more_is_promised() -> None:
    values = torch.tensor([[1.0, 0.6, 0.0], [0.5, 0.4, 0.0], [0.2, 0.05, 0.0]])
    decision = decide(values, limits=Limits(tool_prices=(0.3, 0.1)))
    # 1.0 - 0.3 is worth more than 0.6 - 0.1; 0.5 - 0.3 less than 0.4 - 0.1; nothing of the last.
    assert decision.actions.tolist() == [0, 1, STOP]
    assert decision.values is not None
    assert torch.equal(decision.values, values)  # what is told has no price in it
    assert decision.expected is not None
    assert torch.allclose(decision.expected, torch.tensor([1.0, 0.4, 0.2]))
    assert decision.held_back is not None
    assert not decision.held_back.any()  # it was the arithmetic, and not the risk


def test_risk_and_arithmetic_are_paid_for_together() -> None:
    values, risks = torch.tensor([[0.5, 0.1, 0.0]]), torch.tensor([[0.1, 0.0]])
    risky, dear = Limits(caution=3.0), Limits(tool_prices=(0.3, 0.3))
    assert decide(values, risks=risks, limits=risky).actions.tolist() == [0]
    assert decide(values, risks=risks, limits=dear).actions.tolist() == [0]
    both = decide(values, risks=risks, limits=risky._replace(tool_prices=(0.3, 0.3)))
    assert both.actions.tolist() == [STOP]
    assert both.is_held_back  # but for the risk it would have run


def test_a_forced_action_runs_whatever_its_arithmetic() -> None:
    limits = Limits(tool_prices=(100.0, 100.0))
    assert decide(VALUES, limits=limits).actions.tolist() == [STOP, STOP]
    assert decide(VALUES, limits=limits, forced=1).actions.tolist() == [1, 1]


def test_the_price_of_a_tool_is_that_of_its_multiply_accumulates() -> None:
    specs = [ToolSpec(name, "noise", (0, 1), name) for name in ("small", "vdsr_s")]
    toolbox = Toolbox("pair", [Tool(spec) for spec in specs])
    expected = [0.5 * spec.macs_per_pixel / 1e5 for spec in specs]
    assert tool_prices(toolbox, 0.5) == pytest.approx(expected)
    assert expected[0] < expected[1]
    assert tool_prices(toolbox, 0.0) == ()


def test_risks_cost_less_where_more_is_to_be_seen_and_never_more_than_was_learnt() -> None:
    learnt = Limits(0.3, caution=6.0, later_caution=1.5, tool_prices=(0.1,))
    assert PRICED_SIDE == CROP_SIDE
    assert learnt.for_area(CROP_SIDE**2) == learnt
    assert learnt.for_area(63**2) == learnt
    four_times = learnt.for_area(4 * CROP_SIDE**2)
    assert four_times == Limits(0.3, caution=3.0, later_caution=0.75, tool_prices=(0.1,))
