import itertools
import math

import numpy as np
import pytest
import torch

from restoration_toolchain.agents.players import play as playing
from restoration_toolchain.agents.players import reference
from restoration_toolchain.agents.players.play import play, play_as_trained
from restoration_toolchain.agents.players.reference import (
    FixedPlayer,
    GreedyOracle,
    RandomPlayer,
    ScriptPlayer,
    search_sequences,
)
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.reward import MAX_LOSS, REWARDS

BRIGHTER, NEAREST, DARK, STOP = 0, 1, 2, 3  # of the toolbox that enlarges


def test_stopping_at_once_changes_nothing(shifts, dark_pairs):
    results = play(FixedPlayer((), stop=3), shifts, dark_pairs)
    assert (results.psnr_after == results.psnr_before).all()
    assert np.array_equal(results.restored, to_tensor(dark_pairs.lq).numpy())
    assert (results.actions == 3).all()


def test_a_fixed_player_plays_its_sequence_on_every_image(shifts, dark_pairs):
    results = play(FixedPlayer((0, 2), stop=3), shifts, dark_pairs)
    assert (results.actions == [0, 2, 3]).all()
    expected = (to_tensor(dark_pairs.lq) + 0.1 + 0.2).clamp(0, 1)
    np.testing.assert_allclose(results.restored, expected, atol=1e-6)


def test_the_ladder_holds_on_every_image(setting):
    toolbox, pairs = setting.toolbox, setting.pairs
    players = {
        "stop": FixedPlayer((), stop=3),
        "first": FixedPlayer((1,), stop=3),
        "greedy": GreedyOracle(),
    }
    after = {
        name: play(player, toolbox, pairs, scale=setting.scale).psnr_after
        for name, player in players.items()
    }
    table = search_sequences(toolbox, pairs, scale=setting.scale)
    assert (table.oracle >= after["greedy"] - 1e-3).all()
    assert (after["greedy"] >= np.maximum(after["stop"], after["first"] - 1e-4)).all()
    assert table.oracle.mean() > after["stop"].mean() + 5
    rows = dict(zip(table.sequences, table.psnr, strict=True))
    np.testing.assert_allclose(rows[()], after["stop"], atol=1e-4)
    np.testing.assert_allclose(rows[(1,)], after["first"], atol=1e-4)


def test_the_greedy_oracle_undoes_what_single_tools_can_undo(shifts, dark_pairs):
    results = play(GreedyOracle(), shifts, dark_pairs)
    assert results.psnr_after.min() > 28
    untouched = np.arange(16) % 4 == 3
    assert (results.actions[untouched] == 3).all()


def test_the_search_meets_every_sequence_once(shifts, dark_pairs):
    table = search_sequences(shifts, dark_pairs)
    every = {s for n in range(4) for s in itertools.product(range(3), repeat=n)}
    assert set(table.sequences) == every
    assert len(table.sequences) == len(every) == 1 + 3 + 9 + 27


def test_sequences_that_enlarge_do_so_once(enlarging, blocks):
    sequences = search_sequences(enlarging, blocks, scale=4).sequences
    assert (NEAREST, DARK) not in sequences
    assert (NEAREST, BRIGHTER) in sequences
    kept = search_sequences(enlarging, ArrayPairs(blocks.lq, blocks.lq)).sequences
    assert set(kept) == {(), (BRIGHTER,), (BRIGHTER,) * 2, (BRIGHTER,) * 3}


def test_the_search_scores_what_playing_the_sequence_scores(setting):
    toolbox, pairs, scale = setting.toolbox, setting.pairs, setting.scale
    sequence = (0, 1, 0)
    table = search_sequences(toolbox, pairs, scale=scale)
    played = play(FixedPlayer(sequence, stop=3), toolbox, pairs, scale=scale)
    row = table.sequences.index(sequence)
    np.testing.assert_allclose(table.psnr[row], played.psnr_after, atol=1e-4)


def test_the_best_fixed_sequence_is_the_best_on_average(shifts, dark_pairs):
    table = search_sequences(shifts, dark_pairs)
    best = table.best_fixed(max_length=1)
    scores = {s: table.psnr[i].mean() for i, s in enumerate(table.sequences) if len(s) <= 1}
    assert best == max(scores, key=scores.get)


def test_a_random_player_repeats_itself_from_the_same_seed(setting):
    first, second = (
        play(
            RandomPlayer(4, np.random.default_rng(5)),
            setting.toolbox,
            setting.pairs,
            scale=setting.scale,
        ).actions
        for _ in range(2)
    )
    assert np.array_equal(first, second)


def test_random_players_draw_every_permitted_action_and_no_other(enlarging, blocks):
    drawn, rng = [], np.random.default_rng(0)
    for _ in range(20):
        drawn.append(play(RandomPlayer(4, rng), enlarging, blocks, scale=4).actions)
    actions = np.concatenate(drawn)
    assert set(actions[:, 0]) == {BRIGHTER, NEAREST, DARK, STOP}
    assert np.isin(actions, (NEAREST, DARK)).sum(axis=1).max() == 1


def test_an_oracle_that_watches_nothing_says_so():
    with pytest.raises(RuntimeError, match="watch"):
        GreedyOracle().predict({"image": np.zeros((1, 3, 63, 63))})


def test_results_report_the_share_made_worse(shifts, dark_pairs):
    results = play(FixedPlayer((1,), stop=3), shifts, dark_pairs)
    assert results.share_worse == 1.0
    assert results.gain < 0
    final = batch_psnr(torch.from_numpy(results.restored), to_tensor(dark_pairs.gt))
    np.testing.assert_allclose(results.psnr_after, final, atol=1e-4)


def test_psnr_is_kept_after_every_step(shifts, dark_pairs):
    results = play(FixedPlayer((0, 2), stop=3), shifts, dark_pairs)
    assert results.psnr.shape == (16, 4)
    once = play(FixedPlayer((0,), stop=3), shifts, dark_pairs)
    np.testing.assert_allclose(results.psnr[:, 1], once.psnr_after)
    assert (results.psnr[:, 2] == results.psnr[:, 3]).all()
    assert (results.psnr_after == results.psnr[:, 3]).all()
    assert results.seconds > 0.0


def test_the_exhaustive_oracle_can_be_played(shifts, dark_pairs):
    table = search_sequences(shifts, dark_pairs)
    played = play(ScriptPlayer(table.best_sequences, stop=3), shifts, dark_pairs)
    np.testing.assert_allclose(played.psnr_after, table.oracle, atol=1e-3)


def test_a_search_in_chunks_equals_a_search_at_once(shifts, dark_pairs, monkeypatch):
    whole = search_sequences(shifts, dark_pairs, max_steps=2)
    monkeypatch.setattr(reference, "SEARCH_CHUNK", 5)
    seen = []
    chunked = search_sequences(
        shifts, dark_pairs, max_steps=2, on_images=lambda *done: seen.append(done)
    )
    assert chunked.sequences == whole.sequences
    np.testing.assert_allclose(chunked.psnr, whole.psnr, atol=1e-4)
    assert seen == [(5, 16), (10, 16), (15, 16), (16, 16)]


def test_a_bounded_gain_counts_no_loss_beyond_the_bound(shifts, dark_pairs):
    harmless = ArrayPairs(dark_pairs.gt, dark_pairs.gt)
    results = play(FixedPlayer((1,), stop=3), shifts, harmless)
    assert results.gain < -10.0
    assert results.bounded_gain == -MAX_LOSS
    kept = play(FixedPlayer((), stop=3), shifts, harmless)
    assert kept.bounded_gain == kept.gain == 0.0


@pytest.fixture
def policy(shifts):
    """Values that differ between images and between actions."""
    torch.manual_seed(3)
    q_net = RecurrentQNet(3)
    torch.nn.init.normal_(q_net.shortcut.weight, std=0.5)
    return LstmPolicy(q_net, shifts.names, stop_margin=0.1)


@pytest.mark.parametrize("chunk", [128, 5])
def test_the_values_that_an_agent_chose_by_are_kept(shifts, dark_pairs, policy, monkeypatch, chunk):
    monkeypatch.setattr(playing, "CHUNK", chunk)
    results = play(policy, shifts, dark_pairs)
    obs = {"image": to_tensor(dark_pairs.lq).numpy(), "last_action": np.full(16, 3)}
    first, _ = policy.decide(obs)
    assert (results.actions[:, 0] == first.actions.numpy()).all()
    np.testing.assert_allclose(results.values[:, 0], first.values.max(dim=1).values, atol=1e-5)
    np.testing.assert_allclose(results.expected[:, 0], first.expected, atol=1e-5)


def test_values_end_where_an_episode_ends(shifts, dark_pairs, policy):
    results = play(policy.with_stop_margin(math.inf), shifts, dark_pairs)
    assert np.isinf(results.values[:, 0]).all()
    assert np.isnan(results.values[:, 1:]).all()
    assert np.isnan(play(FixedPlayer((), stop=3), shifts, dark_pairs).values).all()  # it has none


def test_an_agent_without_stop_never_stops(shifts, dark_pairs, policy):
    restless = policy.with_stop_margin(-math.inf)
    assert (play(restless, shifts, dark_pairs).actions != shifts.stop).all()
    assert policy.stop_margin == 0.1
    assert restless.tool_checksums == policy.tool_checksums


def greedy_policy(*biases, **facts):
    """Values every action the same whatever it sees."""
    net = RecurrentQNet(3)
    for parameter in (*net.head.parameters(), *net.shortcut.parameters()):
        torch.nn.init.zeros_(parameter)
    net.head.bias.data[:] = torch.tensor(biases)
    return LstmPolicy(net, ("brighter", "nearest", "dark"), **facts)


def test_a_policy_enlarges_once_and_then_takes_the_next_best(enlarging, blocks):
    policy = greedy_policy(0.5, 2.0, 1.0, 0.0, task="real-sr", reward=REWARDS["psnr"])
    for results in (
        play(policy, enlarging, blocks, scale=4),
        play_as_trained(policy, enlarging, blocks),
    ):
        assert results.actions.tolist() == [[NEAREST, BRIGHTER, BRIGHTER]] * 8
        assert results.restored.shape == (8, 3, 128, 128)


def test_where_the_size_is_kept_a_policy_never_enlarges(enlarging):
    flat = np.full((2, 32, 32, 3), 90, np.uint8)
    results = play_as_trained(greedy_policy(0.5, 2.0, 1.0, 0.0), enlarging, ArrayPairs(flat, flat))
    assert results.actions.tolist() == [[BRIGHTER] * 3] * 2
