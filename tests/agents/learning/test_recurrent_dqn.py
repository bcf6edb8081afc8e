import copy

import numpy as np
import pytest
import torch

from restoration_toolchain.agents.learning.buffer import EpisodeBatch
from restoration_toolchain.agents.learning.errors import (
    quantile_errors,
    ranking_errors,
    value_errors,
)
from restoration_toolchain.agents.learning.recurrent_dqn import (
    RecurrentDqn,
    judge_all,
    unroll,
)
from restoration_toolchain.agents.policy.guard import Guard
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.agents.policy.recognition import Recognition
from restoration_toolchain.envs import RestorationVecEnv
from restoration_toolchain.envs.reward import MAX_LOSS

BRIGHTER, NEAREST, DARK = 0, 1, 2  # of the toolbox that enlarges


@pytest.fixture
def learner(shifts, dark_pairs):
    env = RestorationVecEnv(shifts, dark_pairs, 16, seed=0)
    model = RecurrentDqn(
        env, buffer_size=200, batch_size=16, learning_starts=48, train_freq=1, seed=0
    )
    torch.nn.init.normal_(model.q_net.head.weight, std=0.1)
    torch.nn.init.normal_(model.q_net_target.head.weight, std=0.1)
    return model


def make_batch(n_tools=3, episodes=5, seed=0):
    rng = np.random.default_rng(seed)
    shape = (episodes, 3)
    actions = torch.from_numpy(rng.integers(n_tools + 1, size=shape))
    last = torch.cat([torch.full((episodes, 1), n_tools), actions[:, :-1]], dim=1)
    return EpisodeBatch(
        images=torch.from_numpy(rng.random((*shape, 3, 63, 63), np.float32)),
        last_action=last,
        actions=actions,
        rewards=torch.from_numpy(rng.standard_normal(shape).astype(np.float32)),
        gains=torch.from_numpy(rng.standard_normal((*shape, n_tools)).astype(np.float32)),
        next_values=torch.zeros(*shape, n_tools),
        lengths=torch.tensor([1, 2, 3, 3, 1])[:episodes],
    )


def reorder(batch, order):
    return EpisodeBatch._make([field[order] for field in batch])


def test_unrolling_equals_stepping_by_hand(learner):
    batch = make_batch()
    learner.policy.set_training_mode(False)
    values = unroll(learner.q_net, batch)
    for row in range(5):
        state = None
        for step in range(int(batch.lengths[row])):
            images = batch.images[row : row + 1, step]
            last = batch.last_action[row : row + 1, step]
            state = state or learner.lstm_policy().initial_state(1)
            expected, state = learner.q_net(images, last, state)
            torch.testing.assert_close(values[row, step], expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("double_q", [False, True])
def test_the_target_of_the_last_step_is_its_reward(learner, double_q):
    learner.double_q = double_q
    batch = make_batch()
    targets = learner.targets(batch, unroll(learner.q_net, batch).detach())
    for row, length in enumerate(batch.lengths.tolist()):
        assert targets[row, length - 1] == batch.rewards[row, length - 1]


def test_an_earlier_target_adds_the_discounted_best_value_of_the_next_step(learner):
    learner.double_q = False
    batch = make_batch()
    targets = learner.targets(batch, unroll(learner.q_net, batch).detach())
    following = unroll(learner.q_net_target, batch)
    expected = batch.rewards[2, 0] + 0.99 * following[2, 1].max()
    torch.testing.assert_close(targets[2, 0], expected)


@pytest.mark.parametrize("full_backup", [False, True])
def test_the_order_of_episodes_does_not_change_the_loss(learner, full_backup):
    learner.full_backup = full_backup
    batch = make_batch()
    swapped = reorder(batch, torch.tensor([3, 0, 4, 2, 1]))
    torch.testing.assert_close(learner.loss(batch), learner.loss(swapped))


def test_steps_beyond_an_episode_do_not_count(learner):
    batch = make_batch()
    other = batch._replace(rewards=batch.rewards.masked_fill(~batch.mask, 1e6))
    torch.testing.assert_close(learner.loss(batch), learner.loss(other))


def test_a_ruined_image_counts_no_more_than_a_bad_one(learner):
    learner.full_backup, learner.gamma = True, 0.0
    batch = make_batch()
    bad, ruined = (
        batch._replace(gains=torch.full_like(batch.gains, g)) for g in (-MAX_LOSS, -60.0)
    )
    torch.testing.assert_close(learner.loss(bad), learner.loss(ruined))


def make_learner(setting, *, learning_starts=16, **options):
    env = RestorationVecEnv(
        setting.toolbox, setting.pairs, len(setting.pairs), scale=setting.scale, seed=0
    )
    options = {"buffer_size": 50, "batch_size": 8, "train_freq": 1, "seed": 0, **options}
    return RecurrentDqn(env, learning_starts=learning_starts, **options)


MEASURED = {"full_backup": True, "gamma": 1.0}


@pytest.mark.parametrize(
    ("chains", "next_tool"),
    [([(0, 2)], 2), ([(0, 2), (1, 0)], 0)],
    ids=["the first chain", "its own"],
)
def test_what_follows_a_tool_is_what_the_rest_of_the_chain_gains(
    shifts, dark_pairs, chains, next_tool
):
    env = RestorationVecEnv(shifts, dark_pairs, 16, seed=0)
    model = RecurrentDqn(env, rollout_chains=chains, buffer_size=4, seed=0, **MEASURED)
    images, before = env.images.clone(), env.value.clone()
    gains, next_values = model._simulate()
    env.step(np.full(16, 1))  # darker
    middle = env.value.clone()
    np.testing.assert_allclose(gains[:, 1], middle - before, atol=1e-4)
    env.step(np.full(16, next_tool))  # then what the chain has in second place
    expected = (env.value - middle).clamp(min=0.0)
    assert (expected > 0.0).any()
    assert not torch.equal(env.images, images)
    np.testing.assert_allclose(next_values[:, 1], expected, atol=1e-4)


def test_what_follows_a_tool_is_the_enlargement_that_ends_its_chain(enlarging, blocks):
    env = RestorationVecEnv(enlarging, blocks, 8, scale=4, seed=0)
    chains = [(BRIGHTER, NEAREST)]
    model = RecurrentDqn(env, rollout_chains=chains, buffer_size=50, seed=0, **MEASURED)
    _, first = model._simulate()
    assert (first[:, [NEAREST, DARK]] == 0.0).all()  # is large already
    env.step(np.full(8, BRIGHTER))
    before = env.value.clone()
    _, second = model._simulate()
    env.step(np.full(8, NEAREST))
    gained = (env.value - before).numpy()
    assert (gained > 0.0).any()
    np.testing.assert_allclose(first[:, BRIGHTER], gained.clip(min=0.0), atol=1e-4)
    assert (second[:, BRIGHTER] != 0.0).any()  # after it, too, there is a step for it
    _, third = model._simulate()
    assert (third == 0.0).all()


def test_nothing_follows_the_end_of_the_chain(shifts, dark_pairs):
    env = RestorationVecEnv(shifts, dark_pairs, 4, seed=0)
    model = RecurrentDqn(env, rollout_chains=[(0, 2)], buffer_size=4, seed=0, **MEASURED)
    env.step(np.zeros(4, np.int64))
    assert (model._simulate()[1] == 0.0).all()


def test_without_chains_what_follows_a_tool_does_not_count(setting):
    model = make_learner(setting, **MEASURED)
    assert (model._simulate()[1] == 0.0).all()


@pytest.mark.parametrize("full_backup", [False, True])
def test_learning_knows_at_each_step_what_was_permitted(setting, full_backup):
    learner = make_learner(setting, full_backup=full_backup)
    learner.learn(96)
    batch = learner.replay_buffer.sample(32)
    allowed = learner.allowed(batch)
    assert allowed[batch.mask].gather(1, batch.actions[batch.mask].unsqueeze(1)).all()
    assert allowed[:, 0].all()
    assert torch.isfinite(learner.loss(batch))
    if setting.scale > 1:
        enlarged = ((batch.actions == NEAREST) | (batch.actions == DARK)).cumsum(dim=1)[:, :-1] > 0
        counts = batch.mask[:, 1:]  # what lies beyond an episode's end is no step of it
        assert torch.equal(allowed[:, 1:, NEAREST][counts], ~enlarged[counts])
    else:
        assert allowed.all()


def test_what_is_not_permitted_is_not_learnt(setting):
    learner = make_learner(setting, full_backup=True)
    learner.learn(48)
    batch = learner.replay_buffer.sample(16)
    ruined = batch.gains.masked_fill(~learner.allowed(batch)[..., :-1], 1e6)
    learner.policy.set_training_mode(False)
    torch.testing.assert_close(learner.loss(batch._replace(gains=ruined)), learner.loss(batch))


@pytest.mark.parametrize("full_backup", [False, True])
def test_optimising_the_loss_brings_the_values_to_the_targets(learner, full_backup):
    learner.full_backup, learner.gamma = full_backup, 0.0
    batch = make_batch(episodes=3)
    optimizer = torch.optim.Adam(learner.q_net.parameters(), lr=5e-3)
    first = float(learner.loss(batch).detach())
    for _ in range(80):
        optimizer.zero_grad()
        loss = learner.loss(batch)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1 * first
    values = unroll(learner.q_net, batch)
    known = batch.gains if full_backup else batch.rewards
    found = values[..., :-1] if full_backup else values.gather(2, batch.actions[..., None])[..., 0]
    errors = (found - known)[batch.mask].abs()
    assert float(errors.mean().detach()) < 0.3


def test_it_learns_to_brighten_what_is_too_dark(shifts, dark_pairs):
    """Half of the images lack 0.2 or more, and looking at the brightness tells which."""
    env = RestorationVecEnv(shifts, dark_pairs, 16, seed=0)
    model = RecurrentDqn(
        env,
        full_backup=True,
        learning_rate=1e-3,
        buffer_size=500,
        batch_size=12,
        learning_starts=64,
        train_freq=1,
        gradient_steps=4,
        target_update_interval=64,
        exploration_fraction=0.8,
        exploration_final_eps=0.1,
        gamma=0.0,
        seed=0,
    )
    model.learn(1200)
    obs = {
        "image": dark_pairs.lq.transpose(0, 3, 1, 2).astype(np.float32) / 255,
        "last_action": np.full(16, 3),
    }
    actions, _ = model.lstm_policy().predict(obs)
    much_too_dark = np.tile([False, True, True, False], 4)
    assert (actions[much_too_dark] == 2).mean() >= 0.75


def test_exploration_differs_between_environments(learner):
    learner.learn(16)  # sets up the first observation
    learner.exploration_rate = 1.0
    learner.num_timesteps = 1000
    actions, _ = learner._sample_action(0, None, 16)
    assert len(set(actions.tolist())) > 1


@pytest.mark.parametrize("decay", [0.0, 0.999])
def test_the_policy_plays_with_averaged_weights(learner, decay):
    learner.ema_decay = decay
    learner.learn(256)
    online, played = learner.q_net.state_dict(), learner.lstm_policy().q_net.state_dict()
    same = [torch.allclose(online[name], played[name]) for name in online]
    assert all(same) == (decay == 0.0)


def test_averaged_weights_survive_a_checkpoint(learner):
    learner.learn(128)
    before = learner.lstm_policy().q_net.state_dict()
    state = copy.deepcopy(learner.policy.state_dict())
    learner.learn(128)
    learner.policy.load_state_dict(state)
    after = learner.lstm_policy().q_net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_rare_harm_weighs_as_much_as_it_takes_away():
    gains = torch.tensor([1.0, 1.0, -4.0])
    value = torch.tensor(float(gains.mean()), requires_grad=True)
    value_errors(value.expand(3), gains).mean().backward()
    assert abs(float(value.grad)) < 1e-6


def test_the_ranking_asks_which_is_best_and_not_by_how_much_all_gain():
    targets = torch.tensor([[1.0, 0.9, -3.0, 0.0]])
    assert float(ranking_errors(targets + 5.0, targets)) < 1e-5
    wrong = torch.tensor([[0.9, 1.0, -3.0, 0.0]])
    assert float(ranking_errors(wrong, targets)) > 0.3
    bad_too = torch.tensor([[1.0, 0.9, -1.0, 0.5]])  # of bad tools it does not matter how bad
    assert float(ranking_errors(bad_too, targets)) < 0.02


def test_the_ranking_is_part_of_the_loss(learner):
    learner.full_backup, learner.gamma = True, 0.0
    batch = make_batch()
    plain = float(learner.loss(batch).detach())
    learner.ranking = 0.5
    values = unroll(learner.q_net, batch).detach()
    stop = torch.zeros_like(batch.gains[..., :1])
    targets = torch.cat([batch.gains.clamp(min=-MAX_LOSS), stop], dim=2)
    expected = plain + 0.5 * float(ranking_errors(values, targets)[batch.mask].mean())
    assert float(learner.loss(batch).detach()) == pytest.approx(expected, rel=1e-4)


@pytest.fixture
def knowing(shifts):
    """An agent that knows distributions, names of damage, and its own limits."""
    torch.manual_seed(1)
    net = RecurrentQNet(3, "pooled_statistics", quantiles=True)
    named = Recognition(net.encoder.out_features, ("dark", "clean"))
    return LstmPolicy(
        net,
        shifts.names,
        recognition=named,
        max_risk=0.1,
        unfamiliar_risk=0.02,
        caution=3.0,
        guard=Guard(0.0, 1.0, torch.zeros(1), torch.eye(1), 1.0),
    )


def make_knowing_learner(shifts, dark_pairs, knowing, **options):
    env = RestorationVecEnv(shifts, dark_pairs, 4, seed=0)
    how = {"buffer_size": 50, "batch_size": 4, "learning_starts": 4, "train_freq": 1, "seed": 0}
    return RecurrentDqn(env, encoder="pooled_statistics", start=knowing, **how, **options)


def test_what_an_agent_knows_stays_with_it_but_for_its_guard(shifts, dark_pairs, knowing):
    found = make_knowing_learner(shifts, dark_pairs, knowing, full_backup=True).lstm_policy()
    start = knowing.q_net.state_dict()
    assert all(torch.equal(value, start[name]) for name, value in found.q_net.state_dict().items())
    assert found.recognition is knowing.recognition
    assert (found.max_risk, found.unfamiliar_risk, found.caution) == (0.1, 0.02, 3.0)
    assert found.guard is None  # other weights than it was learnt from


def test_distributions_are_learnt_on_where_it_is_known_what_every_tool_gains(
    shifts, dark_pairs, knowing
):
    learner = make_knowing_learner(shifts, dark_pairs, knowing, full_backup=True, gamma=0.0)
    batch = make_batch()

    def error():
        _, quantiles = judge_all(learner.q_net, batch)
        return float(quantile_errors(quantiles, batch.gains)[batch.mask].mean().detach())

    learner.policy.set_training_mode(False)
    before = error()
    optimizer = torch.optim.Adam(learner.q_net.spread.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        learner.loss(batch).backward()
        optimizer.step()
    assert error() < 0.9 * before
    learner.full_backup = False  # nothing is known of the other tools
    optimizer.zero_grad()
    learner.loss(batch).backward()
    assert learner.q_net.spread.weight.grad is None
