import math

import numpy as np
import pytest
import torch

from restoration_toolchain.agents.players import play as evaluation
from restoration_toolchain.agents.players.play import play
from restoration_toolchain.agents.players.recording import ValueRecorder
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet


@pytest.fixture
def policy(shifts):
    """Values that differ between images and between actions."""
    torch.manual_seed(3)
    q_net = RecurrentQNet(3)
    torch.nn.init.normal_(q_net.shortcut.weight, std=0.5)
    return LstmPolicy(q_net, shifts.names, stop_margin=0.1)


@pytest.mark.parametrize("chunk", [128, 5])
def test_a_recorder_plays_as_its_policy_does(shifts, dark_pairs, policy, monkeypatch, chunk):
    monkeypatch.setattr(evaluation, "CHUNK", chunk)
    plain, recorder = play(policy, shifts, dark_pairs), ValueRecorder(policy)
    recorded = play(recorder, shifts, dark_pairs)
    np.testing.assert_array_equal(plain.actions, recorded.actions)
    values = recorder.values_of(recorded.actions)
    first, _ = policy.evaluate({"image": lq_of(dark_pairs), "last_action": np.full(16, 3)})
    np.testing.assert_allclose(values[:, 0], first.max(dim=1).values, atol=1e-5)


def test_values_end_where_an_episode_ends(shifts, dark_pairs, policy):
    recorder = ValueRecorder(policy.with_stop_margin(math.inf))
    values = recorder.values_of(play(recorder, shifts, dark_pairs).actions)
    assert np.isinf(values[:, 0]).all()
    assert np.isnan(values[:, 1:]).all()


def test_an_agent_without_stop_never_stops(shifts, dark_pairs, policy):
    restless = policy.with_stop_margin(-math.inf)
    assert (play(restless, shifts, dark_pairs).actions != shifts.stop).all()
    assert policy.stop_margin == 0.1
    assert restless.tool_checksums == policy.tool_checksums


def test_a_recorder_that_watches_nothing_says_so(policy):
    with pytest.raises(RuntimeError, match="watch"):
        ValueRecorder(policy).predict({"image": np.zeros((1, 3, 63, 63), np.float32)})


def lq_of(pairs):
    return (pairs.lq / 255).transpose(0, 3, 1, 2).astype(np.float32)
