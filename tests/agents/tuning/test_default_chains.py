"""Properties of the chain that an agent falls back on."""

import numpy as np
import pytest
import torch

from restoration_toolchain.agents.players.play import play
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import LstmState, RecurrentQNet
from restoration_toolchain.agents.policy.storage import load_policy, save_policy
from restoration_toolchain.agents.tuning.default_chains import best_chain, tune_default_chains

NAMES = ("brighter", "darker", "much_brighter")


def indifferent(**facts):
    """A policy to which all actions are worth nothing."""
    net = RecurrentQNet(3, "rl_restore")
    with torch.no_grad():
        for parameter in net.head.parameters():
            parameter.zero_()
    return LstmPolicy(net, NAMES, **facts)


def test_the_best_chain_gains_with_every_tool(shifts, dark_pairs):
    chain = best_chain(shifts, dark_pairs)
    followers = {name: indifferent(default_chains=((name,),), default_margin=1.0) for name in NAMES}
    alone = {name: play(one, shifts, dark_pairs).gain for name, one in followers.items()}
    assert chain[0] == max(alone, key=alone.get)
    gain = play(indifferent(default_chains=(chain,), default_margin=1.0), shifts, dark_pairs).gain
    assert gain >= alone[chain[0]]
    assert len(best_chain(shifts, dark_pairs, max_steps=1)) == 1


def test_an_agent_without_an_opinion_follows_the_chain_and_stops(shifts, dark_pairs):
    chain = ("much_brighter", "darker")
    results = play(indifferent(default_chains=(chain,), default_margin=0.1), shifts, dark_pairs)
    assert (results.actions == np.array([2, 1, 3])).all()


def test_an_agent_chooses_among_its_chains(shifts, dark_pairs):
    chains = (("brighter",), ("much_brighter", "darker"))
    policy = indifferent(default_chains=chains, default_margin=0.5)
    with torch.no_grad():
        policy.q_net.head.bias[2] = 0.01
        policy.q_net.head.bias[1] = 0.3  # begins no chain
    assert (play(policy, shifts, dark_pairs).actions[:, :2] == [2, 1]).all()
    with torch.no_grad():
        policy.q_net.head.bias[0] = 0.02
    results = play(policy, shifts, dark_pairs)
    assert (results.actions[:, 0] == 0).all()
    assert (results.actions[:, 1] == 3).all()


def test_an_agent_departs_from_the_chain_for_more_than_the_margin(shifts, dark_pairs):
    policy = indifferent(default_chains=(("brighter",),), default_margin=0.2)
    with torch.no_grad():
        policy.q_net.head.bias[1] = 0.3
    assert (play(policy, shifts, dark_pairs).actions[:, 0] == 1).all()
    careful = policy.changed(default_margin=0.4)
    assert (play(careful, shifts, dark_pairs).actions[:, 0] == 0).all()


def test_the_margin_does_not_make_an_agent_begin(shifts, dark_pairs):
    policy = indifferent(default_chains=(("brighter",),), default_margin=5.0)
    with torch.no_grad():
        policy.q_net.head.bias[3] = 0.1  # nothing need be done
    assert (play(policy, shifts, dark_pairs).actions == 3).all()


def test_the_margin_serves_an_agent_that_is_wrong(shifts, dark_pairs):
    wrong = indifferent()
    with torch.no_grad():
        wrong.q_net.head.bias[1] = 0.3  # darkens what is too dark already
    tuned = tune_default_chains(wrong, shifts, dark_pairs)
    assert tuned.default_chains == (best_chain(shifts, dark_pairs),)
    assert tuned.default_margin > 0.3
    assert play(tuned, shifts, dark_pairs).gain > play(wrong, shifts, dark_pairs).gain
    known = (("darker",), ("brighter",))
    assert tune_default_chains(wrong, shifts, dark_pairs, chains=known).default_chains == known
    assert wrong.default_chains == ()


def test_margins_are_added_to_the_values_and_kept_on_disk(tmp_path):
    policy = indifferent(default_chains=(("darker",),), default_margin=0.5, stop_margin=0.1)
    save_policy(policy, tmp_path)
    loaded = load_policy(tmp_path)
    assert (loaded.default_chains, loaded.default_margin) == ((("darker",),), 0.5)
    images, last = torch.rand(3, 3, 63, 63), torch.tensor([3, 1, 0])
    values, _ = loaded.action_values(images, last, LstmState.zeros(3))
    expected = [[-0.5, 0.0, -0.5, 0.1], [0.0, 0.0, 0.0, 0.6], [0.0, 0.0, 0.0, 0.1]]
    assert torch.allclose(values, torch.tensor(expected), atol=1e-6)
    assert loaded.with_stop_margin(0.3).default_chains == (("darker",),)


def test_a_chain_of_unknown_tools_is_refused():
    for bad in (("sharpen",), ("darker", "darker")):
        with pytest.raises(ValueError, match="no chain of different tools"):
            indifferent(default_chains=(bad,))
