import pytest
import torch

from restoration_toolchain.agents.players.play import play
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.agents.tuning.stop_margin import MAX_COST, tune_stop_margin
from restoration_toolchain.data.patches.pairs import ArrayPairs


def always(action, value):
    """A policy that gives one action a fixed value and all others less."""
    net = RecurrentQNet(3, "rl_restore")
    torch.nn.init.zeros_(net.head.weight)
    with torch.no_grad():
        net.head.bias.fill_(-1.0)
        net.head.bias[3] = 0.0
        net.head.bias[action] = value
    return LstmPolicy(net, ("brighter", "darker", "much_brighter"))


def test_an_agent_that_only_harms_is_made_to_stop(shifts, dark_pairs):
    policy = always(1, 0.1)  # darkens what is too dark already
    assert play(policy, shifts, dark_pairs).share_worse > 0.5
    tuned = tune_stop_margin(policy, shifts, dark_pairs, max_worse=0.02)
    assert tuned.stop_margin > 0.1
    assert play(tuned, shifts, dark_pairs).share_worse == 0.0


def test_an_agent_that_does_no_harm_keeps_its_freedom(shifts, dark_pairs):
    policy = always(0, 0.1)
    tuned = tune_stop_margin(policy, shifts, dark_pairs, max_worse=1.0)
    assert tuned.stop_margin == 0.0
    assert policy.stop_margin == 0.0


def test_caution_that_misses_its_aim_is_not_bought_dearly(shifts, dark_pairs):
    policy = always(0, 0.1)
    very_dark = ArrayPairs(dark_pairs.lq[2::4], dark_pairs.gt[2::4])
    assert play(policy, shifts, very_dark).gain > MAX_COST
    # Stopping at once harms nothing, but an aim below zero is never reached, and it costs all gain.
    tuned = tune_stop_margin(policy, shifts, very_dark, max_worse=-1.0, margins=(0.0, 0.5))
    assert tuned.stop_margin == 0.0


def test_no_candidates_are_refused(shifts, dark_pairs):
    with pytest.raises(ValueError, match="at least one"):
        tune_stop_margin(always(0, 1.0), shifts, dark_pairs, max_worse=0.0, margins=())
