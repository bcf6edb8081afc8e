"""Properties of the batched environment."""

import numpy as np
import pytest
import torch

from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.restoration_env import RestorationEnv
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv
from restoration_toolchain.tools_zoo.toolbox import Toolbox

STOP = 3
COUNT = 5


def make_env(toolbox: Toolbox, pairs: ArrayPairs, *, auto_reset: bool = True) -> RestorationVecEnv:
    env = RestorationVecEnv(toolbox, pairs, COUNT, auto_reset=auto_reset, seed=0)
    env.set_options([{"index": index} for index in range(COUNT)])
    return env


def test_a_batch_equals_single_environments(tiny_toolbox: Toolbox, pairs: ArrayPairs) -> None:
    batch = make_env(tiny_toolbox, pairs, auto_reset=False)
    singles = [RestorationEnv(tiny_toolbox, pairs) for _ in range(COUNT)]
    obs = batch.reset()
    single_obs = [env.reset(options={"index": i})[0] for i, env in enumerate(singles)]
    rng = np.random.default_rng(0)
    for _ in range(3):
        for row, alone in enumerate(single_obs):
            np.testing.assert_allclose(obs["image"][row], alone["image"], atol=1e-5)
            assert obs["last_action"][row] == alone["last_action"]
        actions = rng.integers(STOP, size=COUNT)
        obs, rewards, dones, infos = batch.step(actions)  # type: ignore[assignment]
        steps = [env.step(action) for env, action in zip(singles, actions, strict=True)]
        single_obs = [step[0] for step in steps]
        np.testing.assert_allclose(rewards, [step[1] for step in steps], atol=1e-3)
        assert dones.tolist() == [step[2] or step[3] for step in steps]
        assert [info["tool"] for info in infos] == [step[4]["tool"] for step in steps]


def test_an_ended_episode_is_reset_in_the_same_step(
    tiny_toolbox: Toolbox, pairs: ArrayPairs
) -> None:
    env = make_env(tiny_toolbox, pairs)
    before = env.reset()
    obs, rewards, dones, infos = env.step(np.array([STOP, 0, 1, STOP, 2]))
    assert dones.tolist() == [True, False, False, True, False]
    for row in (0, 3):
        last = infos[row]["terminal_observation"]
        np.testing.assert_array_equal(last["image"], before["image"][row])
        assert last["last_action"] == STOP
        assert rewards[row] == 0.0
        assert env.num_steps[row] == 0
        assert env.reset_infos[row]["psnr"] == pytest.approx(float(env.psnr[row]))
    assert all("terminal_observation" not in infos[row] for row in (1, 2, 4))
    assert obs["last_action"].tolist() == [STOP, 0, 1, STOP, 2]  # type: ignore[call-overload,index]


def test_the_terminal_observation_is_the_last_image_of_the_ended_episode(
    tiny_toolbox: Toolbox, pairs: ArrayPairs
) -> None:
    env = make_env(tiny_toolbox, pairs)
    env.reset()
    for _ in range(2):
        env.step(np.full(COUNT, 1))
    expected = tiny_toolbox[1](env.images).clamp(0.0, 1.0)
    _, _, dones, infos = env.step(np.full(COUNT, 1))
    assert dones.all()
    assert all(info["TimeLimit.truncated"] for info in infos)
    for row, info in enumerate(infos):
        np.testing.assert_allclose(
            info["terminal_observation"]["image"], expected[row].numpy(), atol=1e-5
        )


def test_rewards_of_an_auto_reset_episode_sum_to_its_gain(
    tiny_toolbox: Toolbox, pairs: ArrayPairs
) -> None:
    env = make_env(tiny_toolbox, pairs)
    env.reset()
    rng = np.random.default_rng(1)
    totals = np.zeros(COUNT)
    ended = 0
    for _ in range(10):
        _, rewards, dones, infos = env.step(rng.integers(STOP + 1, size=COUNT))
        totals += rewards
        for row in np.flatnonzero(dones):
            assert totals[row] == pytest.approx(infos[row]["psnr_gain"], abs=1e-3)
            totals[row] = 0.0
            ended += 1
    assert ended > COUNT


def test_no_episode_is_longer_than_three_tools(tiny_toolbox: Toolbox, pairs: ArrayPairs) -> None:
    env = make_env(tiny_toolbox, pairs)
    env.reset()
    done_at = [env.step(np.zeros(COUNT, np.int64))[2].all() for _ in range(7)]
    assert done_at == [False, False, True, False, False, True, False]


def test_outcomes_are_what_stepping_each_tool_brings(
    tiny_toolbox: Toolbox, pairs: ArrayPairs
) -> None:
    env = make_env(tiny_toolbox, pairs)
    env.reset()
    before = env.images.clone()
    images, gains = env.outcomes()
    assert images.shape == (3, COUNT, 3, 63, 63)
    assert torch.equal(env.images, before)
    for action in range(STOP):
        other = make_env(tiny_toolbox, pairs)
        other.reset()
        obs, rewards, _, _ = other.step(np.full(COUNT, action))
        np.testing.assert_allclose(images[action].numpy(), obs["image"], atol=1e-5)  # type: ignore[call-overload,index]
        np.testing.assert_allclose(gains[action].numpy(), rewards, atol=1e-3)


def test_the_psnr_is_that_of_the_images(tiny_toolbox: Toolbox, pairs: ArrayPairs) -> None:
    env = make_env(tiny_toolbox, pairs, auto_reset=False)
    env.reset()
    env.step(np.array([0, 1, 2, STOP, 0]))
    gt = torch.from_numpy(pairs.gt[:COUNT]).permute(0, 3, 1, 2) / 255.0
    torch.testing.assert_close(env.psnr, batch_psnr(env.images, gt), atol=1e-4, rtol=0)


def test_a_seed_makes_the_draws_repeatable(tiny_toolbox: Toolbox, pairs: ArrayPairs) -> None:
    env = RestorationVecEnv(tiny_toolbox, pairs, COUNT)
    env.seed(4)
    first = env.reset()["image"]
    second = env.reset()["image"]
    env.seed(4)
    np.testing.assert_array_equal(env.reset()["image"], first)
    assert not np.array_equal(first, second)


def test_observations_are_not_changed_by_later_steps(
    tiny_toolbox: Toolbox, pairs: ArrayPairs
) -> None:
    env = make_env(tiny_toolbox, pairs)
    obs = env.reset()
    image, last_action = obs["image"].copy(), obs["last_action"].copy()
    for _ in range(4):
        env.step(np.full(COUNT, 1))
    np.testing.assert_array_equal(obs["image"], image)
    np.testing.assert_array_equal(obs["last_action"], last_action)


def test_it_says_that_it_resets_in_the_same_step() -> None:
    assert RestorationVecEnv.metadata["autoreset_mode"] == "SameStep"
