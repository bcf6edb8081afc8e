import itertools

import numpy as np
import pytest
import torch

from restoration_toolchain.agents.players import reference
from restoration_toolchain.agents.players.play import play
from restoration_toolchain.agents.players.reference import (
    FixedPlayer,
    GreedyOracle,
    RandomPlayer,
    ScriptPlayer,
    StopPlayer,
    search_sequences,
)
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.reward import MAX_LOSS


def test_stopping_at_once_changes_nothing(shifts, dark_pairs):
    results = play(StopPlayer(stop=3), shifts, dark_pairs)
    assert (results.psnr_after == results.psnr_before).all()
    assert np.array_equal(results.restored, to_tensor(dark_pairs.lq).numpy())
    assert (results.actions == 3).all()


def test_a_fixed_player_plays_its_sequence_on_every_image(shifts, dark_pairs):
    results = play(FixedPlayer((0, 2), stop=3), shifts, dark_pairs)
    assert (results.actions == [0, 2, 3]).all()
    expected = (to_tensor(dark_pairs.lq) + 0.1 + 0.2).clamp(0, 1)
    np.testing.assert_allclose(results.restored, expected, atol=1e-6)


def test_the_ladder_holds_on_every_image(shifts, dark_pairs):
    table = search_sequences(shifts, dark_pairs)
    greedy = play(GreedyOracle(), shifts, dark_pairs).psnr_after
    stop = play(StopPlayer(stop=3), shifts, dark_pairs).psnr_after
    assert (table.oracle >= greedy - 1e-4).all()
    assert (greedy >= stop).all()
    assert table.oracle.mean() > stop.mean() + 5


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


def test_the_search_scores_what_playing_the_sequence_scores(shifts, dark_pairs):
    table = search_sequences(shifts, dark_pairs)
    row = table.sequences.index((1, 2, 0))
    played = play(FixedPlayer((1, 2, 0), stop=3), shifts, dark_pairs)
    np.testing.assert_allclose(table.psnr[row], played.psnr_after, atol=1e-4)


def test_the_best_fixed_sequence_is_the_best_on_average(shifts, dark_pairs):
    table = search_sequences(shifts, dark_pairs)
    best = table.best_fixed(max_length=1)
    scores = {s: table.psnr[i].mean() for i, s in enumerate(table.sequences) if len(s) <= 1}
    assert best == max(scores, key=scores.get)


def test_a_random_player_repeats_itself_from_the_same_seed(shifts, dark_pairs):
    first, second = (
        play(RandomPlayer(4, np.random.default_rng(5)), shifts, dark_pairs).actions
        for _ in range(2)
    )
    assert np.array_equal(first, second)


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
    kept = play(StopPlayer(stop=3), shifts, harmless)
    assert kept.bounded_gain == kept.gain == 0.0
