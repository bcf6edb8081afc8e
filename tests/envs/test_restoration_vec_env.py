"""Properties of the batched environment."""

import numpy as np
import pytest
import torch

from restoration_toolchain.data.errors import ImageFormatError, ToolchainError
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.restoration_env import RestorationEnv
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from tests.envs.conftest import Setting

STOP = 3
COUNT = Setting.count


def test_a_batch_equals_single_environments(setting: Setting) -> None:
    batch = setting.env()
    singles = [
        RestorationEnv(setting.toolbox, setting.pairs, task=setting.task) for _ in range(COUNT)
    ]
    obs = batch.observe()
    single_obs = [env.reset(options={"index": i})[0] for i, env in enumerate(singles)]
    rng = np.random.default_rng(0)
    for _ in range(3):
        for row, alone in enumerate(single_obs):
            assert obs.keys() == alone.keys()
            np.testing.assert_allclose(obs["image"][row], alone["image"], atol=1e-5)
            for name in obs.keys() - {"image"}:
                np.testing.assert_array_equal(obs[name][row], alone[name])
        actions = rng.integers(STOP, size=COUNT)
        rewards, ended, infos = batch.play_on(torch.from_numpy(actions))
        obs = batch.observe()
        steps = [env.step(action) for env, action in zip(singles, actions, strict=True)]
        single_obs = [step[0] for step in steps]
        np.testing.assert_allclose(rewards, [step[1] for step in steps], atol=1e-3)
        assert ended.terminated.tolist() == [step[2] for step in steps]
        assert ended.truncated.tolist() == [step[3] for step in steps]
        assert [info["tool"] for info in infos] == [step[4]["tool"] for step in steps]


def test_an_ended_episode_is_reset_in_the_same_step(setting: Setting) -> None:
    env = setting.env()
    before = env.observe()
    obs, rewards, dones, infos = env.step(np.array([STOP, 0, 1, STOP, 2]))
    assert dones.tolist() == [True, False, False, True, False]
    for row in (0, 3):
        last = infos[row]["terminal_observation"]
        np.testing.assert_array_equal(last["image"], before["image"][row])
        assert last["last_action"] == STOP
        assert rewards[row] == 0.0
        assert env.chain.num_steps[row] == 0
        assert env.reset_infos[row]["psnr"] == pytest.approx(float(env.psnr[row]))
    assert all("terminal_observation" not in infos[row] for row in (1, 2, 4))
    assert obs["last_action"].tolist() == [STOP, 0, 1, STOP, 2]  # type: ignore[call-overload,index]


def test_an_episode_that_was_enlarged_begins_again_small(
    enlarging: Toolbox, large_pairs: ArrayPairs
) -> None:
    env = RestorationVecEnv(enlarging, large_pairs, 6, scale=4, max_steps=1, seed=0)
    obs, _, dones, infos = env.step(np.array([1, 0] * 3))
    assert dones.all()
    assert (obs["action_mask"] == 1).all()  # type: ignore[call-overload,index]
    assert infos[0]["terminal_observation"]["action_mask"].tolist() == [1, 0, 1, 1]
    picture = env.get_images()[0]
    assert picture is not None
    assert picture.shape == (4 * 32, 2 * 4 * 32 + 2, 3)


def test_the_terminal_observation_is_the_last_image_of_the_ended_episode(
    setting: Setting,
) -> None:
    env = setting.env()
    for _ in range(2):
        env.step(np.full(COUNT, 2))
    expected = setting.toolbox[2](torch.from_numpy(env.observe()["image"])).clamp(0.0, 1.0)
    _, _, dones, infos = env.step(np.full(COUNT, 2))
    assert dones.all()
    assert all(info["TimeLimit.truncated"] for info in infos)
    for row, info in enumerate(infos):
        np.testing.assert_allclose(
            info["terminal_observation"]["image"], expected[row].numpy(), atol=1e-5
        )


def test_rewards_of_an_auto_reset_episode_sum_to_its_gain(setting: Setting) -> None:
    env = setting.env()
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


def test_no_episode_is_longer_than_three_tools(setting: Setting) -> None:
    env = setting.env()
    done_at = [env.step(np.zeros(COUNT, np.int64))[2].all() for _ in range(7)]
    assert done_at == [False, False, True, False, False, True, False]


def test_outcomes_are_what_stepping_each_tool_brings(setting: Setting) -> None:
    first = torch.tensor([0, 1, 2, STOP, 0])
    env = setting.env()
    env.advance(first)
    before = env.images.clone()
    outcomes = list(env.outcomes())
    assert len(outcomes) == STOP
    assert torch.equal(env.images, before)
    for action, (after, gains) in enumerate(outcomes):
        other = setting.env()
        other.advance(first)
        rewards, _, _ = other.play_on(torch.full((COUNT,), action))
        torch.testing.assert_close(after.result(), other.images, atol=1e-5, rtol=0.0)
        torch.testing.assert_close(gains, rewards, atol=1e-3, rtol=0.0)
        rows = torch.tensor([1, 4])
        value = env.value_of(after, rows)
        torch.testing.assert_close(value, other.value[rows], atol=1e-3, rtol=0.0)


def test_the_psnr_is_that_of_the_images(setting: Setting) -> None:
    env = setting.env()
    gt = to_tensor(setting.pairs.gt[:COUNT])
    torch.testing.assert_close(env.psnr, batch_psnr(env.images, gt), atol=1e-4, rtol=0)
    env.advance(torch.tensor([0, 1, 2, STOP, 0]))
    torch.testing.assert_close(env.psnr, batch_psnr(env.images, gt), atol=1e-4, rtol=0)


def test_what_is_not_permitted_earns_nothing(enlarging: Toolbox, large_pairs: ArrayPairs) -> None:
    env = Setting(enlarging, large_pairs, 4).env()
    env.advance(torch.full((COUNT,), 1))
    rewards, _, _ = env.play_on(torch.full((COUNT,), 1))
    assert (rewards == 0.0).all()
    assert (env.observe()["action_mask"] == [1, 0, 1, 1]).all()
    same_size = Setting(enlarging, ArrayPairs(large_pairs.lq, large_pairs.lq + 5), 1).env()
    assert (same_size.observe()["action_mask"] == [1, 0, 1, 1]).all()
    assert (same_size.play_on(torch.full((COUNT,), 1))[0] == 0.0).all()
    assert (same_size.play_on(torch.full((COUNT,), 0))[0] != 0.0).all()


def test_a_seed_makes_the_draws_repeatable(setting: Setting) -> None:
    env = RestorationVecEnv(setting.toolbox, setting.pairs, COUNT, scale=setting.scale)
    env.seed(4)
    first = env.reset()["image"]
    second = env.reset()["image"]
    env.seed(4)
    np.testing.assert_array_equal(env.reset()["image"], first)
    assert not np.array_equal(first, second)


def test_observations_are_not_changed_by_later_steps(setting: Setting) -> None:
    env = setting.env()
    obs = env.observe()
    image, last_action = obs["image"].copy(), obs["last_action"].copy()
    for action in (STOP, 1, 2, 0, STOP):
        env.step(np.full(COUNT, action))
    np.testing.assert_array_equal(obs["image"], image)
    np.testing.assert_array_equal(obs["last_action"], last_action)


def test_it_says_that_it_resets_in_the_same_step() -> None:
    assert RestorationVecEnv.metadata["autoreset_mode"] == "SameStep"


def test_a_scale_that_no_tool_has_is_refused(tiny_toolbox: Toolbox, pairs: ArrayPairs) -> None:
    with pytest.raises(ToolchainError, match="no tool of .* enlarges by 4"):
        RestorationVecEnv(tiny_toolbox, pairs, 1, scale=4)


def test_pairs_of_another_scale_are_refused(enlarging: Toolbox) -> None:
    flat = np.zeros((2, 40, 40, 3), np.uint8)
    with pytest.raises(ImageFormatError, match="do not suit scale 4"):
        RestorationVecEnv(enlarging, ArrayPairs(flat, flat), 1, scale=4)
