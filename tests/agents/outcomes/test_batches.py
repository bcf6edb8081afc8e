"""Properties of batches of outcomes: what is drawn, what belongs together, and what follows."""

from typing import Any

import numpy as np
import pytest
import torch

from restoration_toolchain.agents.outcomes.batches import (
    OutcomeBatches,
    episodes_of,
    returns_of,
)
from restoration_toolchain.agents.outcomes.record import Outcomes, corner_views
from restoration_toolchain.agents.policy.q_net import VIEW_SIZE

SIDE, N_TOOLS = 80, 2
NAN = float("nan")


def outcomes_of(
    gains: Any, last_action: Any, step: Any, episode: Any, chained: Any = None, side: int = SIDE
) -> Outcomes:
    """Noise, with these gains (N, columns, tools) of it."""
    rng = np.random.default_rng(0)
    known = np.asarray(gains, np.float32)
    count, columns, _ = known.shape
    families = np.array(["blurred", "noisy"])
    return Outcomes(
        images=rng.integers(0, 256, (count, side, side, 3)).astype(np.uint8),
        gains=known,
        chained=np.zeros((count, columns, 0), np.float32) if chained is None else chained,
        psnr=np.full((count, columns), 30.0, np.float32),
        last_action=np.asarray(last_action),
        step=np.asarray(step),
        episode=np.asarray(episode),
        family=families[np.asarray(episode) % 2],
    )


@pytest.fixture
def outcomes() -> Outcomes:
    """Twelve crops of one or two states, whose gains are the mean brightness of each view."""
    episode = np.array([0, 0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 11, 11])
    step = np.array([0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1])
    last = np.where(step == 0, N_TOOLS, 1)
    made = outcomes_of(np.zeros((16, 5, N_TOOLS)), last, step, episode)
    for row, image in enumerate(made.images / 255.0):
        views = [image[t : t + VIEW_SIZE, s : s + VIEW_SIZE] for t, s in corner_views(SIDE)]
        for column, seen in enumerate([*views, image]):
            made.gains[row, column] = seen.mean()
    return made


def batches_of(outcomes: Outcomes, **how: Any) -> OutcomeBatches:
    return OutcomeBatches(outcomes, ("noisy", "blurred"), [], batch_size=4, **how)


def test_a_batch_is_a_function_of_the_step_alone(outcomes: Outcomes) -> None:
    one, other = batches_of(outcomes, epochs=2), batches_of(outcomes, epochs=2)
    assert len(one) == 2 * one.steps_per_epoch == 6
    later = one[4]
    one[0]
    for mine, theirs in zip(later, other[4], strict=True):
        assert torch.equal(mine.nan_to_num(), theirs.nan_to_num())
    assert not torch.equal(one[0].gains.nan_to_num(), one[3].gains.nan_to_num())  # another order
    reseeded = batches_of(outcomes, epochs=2, seed=1)
    assert not torch.equal(one[0].gains.nan_to_num(), reseeded[0].gains.nan_to_num())


def test_an_epoch_sees_every_crop_once(outcomes: Outcomes) -> None:
    batches = batches_of(outcomes)
    first = [batches[step].gains[:, 0, -1, 0] for step in range(batches.steps_per_epoch)]
    expected = outcomes.gains[outcomes.step == 0, -1, 0]
    assert sorted(torch.cat(first).tolist()) == sorted(expected.tolist())


def test_views_belong_to_their_gains_however_they_are_turned(outcomes: Outcomes) -> None:
    batches, looks = batches_of(outcomes), set()
    for seed in range(12):
        batch = batches.batch(batches.episodes, np.random.default_rng(seed))
        brightness = batch.images.mean(dim=(2, 3, 4))
        assert torch.allclose(brightness, batch.gains[batch.rows][:, :4, 0], atol=1e-4)
        looks.add(batch.images[0, 0].numpy().tobytes())
    assert 4 <= len(looks) <= 8  # two flips and a transposition
    as_it_is = batches.batch(batches.episodes).images[0, 0]
    first = torch.from_numpy(outcomes.images[0, :VIEW_SIZE, :VIEW_SIZE]).permute(2, 0, 1) / 255.0
    assert torch.equal(as_it_is, first)


def test_where_a_crop_has_no_more_states_nothing_is_known(outcomes: Outcomes) -> None:
    batches = batches_of(outcomes)
    batch = batches.batch(batches.episodes)
    assert batch.rows.shape == (12, 2)
    assert int(batch.rows.sum()) == len(batch.images) == 16
    assert torch.equal(batch.gains.isnan().all(dim=(2, 3)), ~batch.rows)
    assert (batch.last_action[~batch.rows] == N_TOOLS).all()
    assert batch.family.tolist() == [1, 0] * 6  # in the order of the names given
    unnamed = OutcomeBatches(outcomes, ("noisy",), [])
    assert unnamed.batch(unnamed.episodes).family.tolist() == [-1, 0] * 6
    assert batches.family_of(batches.episodes[:2]).tolist() == ["blurred", "noisy"]


def test_episodes_are_rows_in_order(outcomes: Outcomes) -> None:
    rows = episodes_of(outcomes)
    assert rows[:3].tolist() == [[0, 1], [2, -1], [3, 4]]
    assert sorted(rows[rows >= 0].tolist()) == list(range(16))


def test_a_state_that_no_tool_ran_on_is_not_looked_at(outcomes: Outcomes) -> None:
    outcomes.gains[[1, 8]] = NAN  # second states
    rows = episodes_of(outcomes)
    assert rows.shape == (12, 2)
    assert set(range(16)) - set(rows[rows >= 0].tolist()) == {1, 8}
    assert rows[:3].tolist() == [[0, -1], [2, -1], [3, 4]]


def test_a_return_is_a_gain_and_the_best_that_is_known_to_follow() -> None:
    # One crop of four states, at most three tools; the first tool begins the only chain.
    gains = [[[1.0, 0.5]], [[0.2, 2.0]], [[0.3, -1.0]], [[NAN, NAN]]]
    chained = np.array([[[0.4]], [[-0.2]], [[5.0]], [[NAN]]], np.float32)
    outcomes = outcomes_of(gains, [2, 1, 0, 0], [0, 1, 2, 3], [0] * 4, chained, VIEW_SIZE)
    returns = returns_of(outcomes, [0])[:, 0]
    assert returns[2] == pytest.approx([0.3, -1.0])  # the last tool: no chain goes on
    # Tool 0 was kept: 0.2, and 0.3 behind it. A chain that loses is not played on.
    assert returns[1] == pytest.approx([0.2 + 0.3, 2.0])
    # Tool 1 was kept: 0.5, and 2.0 behind it. The chain adds 0.4 to the other.
    assert returns[0] == pytest.approx([1.4, 2.5])
    assert np.isnan(returns[3]).all()


def test_behind_what_only_harms_an_agent_stops() -> None:
    gains = [[[1.0, -3.0]], [[-1.0, -2.0]], [[-1.0, -2.0]]]
    outcomes = outcomes_of(gains, [2, 0, 2], [0, 1, 0], [0, 0, 1], side=VIEW_SIZE)
    returns = returns_of(outcomes, [])[:, 0]
    assert returns[0] == pytest.approx([1.0, -3.0])
    assert returns[2] == pytest.approx([-1.0, -2.0])  # of another crop


def test_where_no_crop_met_the_last_step_all_chains_go_on() -> None:
    chained = np.array([[[0.4]]], np.float32)
    outcomes = outcomes_of([[[1.0, 0.5]]], [2], [0], [0], chained, VIEW_SIZE)
    assert returns_of(outcomes, [0])[0, 0] == pytest.approx([1.4, 0.5])
