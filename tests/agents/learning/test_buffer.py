import numpy as np
import pytest
from gymnasium import spaces

from restoration_toolchain.agents.learning.buffer import EpisodeReplayBuffer

STOP = 4


def make_buffer(size=5, n_envs=2):
    space = spaces.Dict(
        {"image": spaces.Box(0, 1, (3, 2, 2), np.float32), "last_action": spaces.Discrete(STOP + 1)}
    )
    return EpisodeReplayBuffer(size, space, spaces.Discrete(STOP + 1), n_envs=n_envs, seed=0)


def add(buffer, tag, dones, last=STOP):
    """One step whose image, action and reward all carry ``tag``."""
    n = buffer.n_envs
    obs = {"image": np.full((n, 3, 2, 2), tag / 255, np.float32), "last_action": np.full(n, last)}
    rewards = np.full(n, tag, np.float32)
    buffer.add(obs, np.full(n, tag % STOP), rewards, np.array(dones))


def test_only_finished_episodes_can_be_drawn():
    buffer = make_buffer()
    add(buffer, 1, [False, True])
    add(buffer, 2, [False, False])
    assert buffer.size() == 1
    batch = buffer.sample(8)
    assert set(batch.lengths.tolist()) == {1}
    assert set(batch.rewards[:, 0].tolist()) == {1.0}


def test_an_episode_keeps_its_steps_in_order():
    buffer = make_buffer(n_envs=1)
    add(buffer, 1, [False])
    add(buffer, 2, [False], last=1)
    add(buffer, 3, [True], last=2)
    batch = buffer.sample(1)
    assert batch.rewards[0].tolist() == [1, 2, 3]
    assert batch.last_action[0].tolist() == [STOP, 1, 2]
    np.testing.assert_allclose(batch.images[0, :, 0, 0, 0] * 255, [1, 2, 3], rtol=1e-6)
    assert batch.mask.all()


def test_an_episode_that_a_reset_cut_short_is_dropped():
    buffer = make_buffer(n_envs=1)
    add(buffer, 1, [False])
    add(buffer, 2, [False])
    add(buffer, 3, [True], last=2)
    assert buffer.sample(1).rewards[0, :2].tolist() == [2, 3]


def test_no_drawn_episode_mixes_old_and_new_steps():
    buffer = make_buffer(size=3, n_envs=1)
    for episode in range(20):
        length = 1 + episode % 3
        for step in range(length):
            last = STOP if step == 0 else 0
            add(buffer, 10 * episode % 250 + length, [step == length - 1], last=last)
        batch = buffer.sample(16)
        for row in range(16):
            steps = int(batch.lengths[row])
            rewards = batch.rewards[row, :steps]
            assert (rewards == rewards[0]).all()
            assert int(rewards[0]) % 10 == steps


def test_the_oldest_episodes_give_way():
    buffer = make_buffer(size=3, n_envs=1)
    for tag in range(5):
        add(buffer, tag, [True])
    assert set(buffer.sample(64).rewards[:, 0].tolist()) == {2.0, 3.0, 4.0}


def test_images_survive_the_storage_as_eight_bit():
    buffer = make_buffer(n_envs=1)
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 2, 2)) / np.float32(255)
    obs = {"image": image.astype(np.float32), "last_action": np.array([STOP])}
    buffer.add(obs, np.array([0]), np.array([0.0], np.float32), np.array([True]))
    assert buffer.sample(1).images[0, 0].numpy() == pytest.approx(image[0], abs=1e-7)
