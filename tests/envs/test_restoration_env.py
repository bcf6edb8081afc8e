"""Properties of the environment in Gymnasium's form."""

import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

import restoration_toolchain.envs  # noqa: F401 - registers Restoration-v0
from restoration_toolchain.data.errors import ImageFormatError, ToolchainError, UnknownNameError
from restoration_toolchain.data.images import to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.render import GAP
from restoration_toolchain.envs.restoration_env import RestorationEnv
from restoration_toolchain.envs.task import task_at, task_scale
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from tests.envs.conftest import Nearest, Setting

STOP = 3


@pytest.fixture
def env(tiny_toolbox: Toolbox, pairs: ArrayPairs) -> RestorationEnv:
    return RestorationEnv(tiny_toolbox, pairs, render_mode="rgb_array")


def play(env: RestorationEnv, actions: list[int]) -> tuple[list[float], list[dict[str, Any]]]:
    rewards, infos = [], []
    for action in actions:
        _, reward, terminated, truncated, info = env.step(np.int64(action))
        rewards.append(reward)
        infos.append({**info, "terminated": terminated, "truncated": truncated})
    return rewards, infos


@pytest.mark.filterwarnings("ignore::UserWarning")  # advice about float images and policies
def test_gymnasium_and_stable_baselines_find_nothing_wrong(setting: Setting) -> None:
    env = RestorationEnv(setting.toolbox, setting.pairs, task=setting.task, render_mode="rgb_array")
    check_env(env, skip_render_check=False)
    check_env_for_sb3(env)


def test_embedded_photos_are_shrunk_for_tools_that_enlarge(enlarging: Toolbox) -> None:
    env = RestorationEnv(enlarging, "clean", task="real-sr")
    obs, info = env.reset(seed=0)
    assert obs["image"].shape == (3, 40, 40)
    assert 15.0 < info["psnr"] < 60.0


def test_a_task_stands_for_the_scale_of_the_tools(
    tiny_toolbox: Toolbox, enlarging: Toolbox
) -> None:
    assert task_scale("restore", enlarging) == 1
    assert task_scale("real-sr", enlarging) == 4
    assert (task_at(1), task_at(2), task_at(4)) == ("restore", "real-sr", "real-sr")
    with pytest.raises(ToolchainError, match="no tool that makes images larger"):
        RestorationEnv(tiny_toolbox, "clean", task="real-sr")
    with pytest.raises(UnknownNameError, match="real-sr"):
        RestorationEnv(tiny_toolbox, "clean", task="real")  # type: ignore[arg-type]
    twice = Tool(ToolSpec("twice", "sr", (2, 2), "sr_x2", 2), Nearest(2))
    with pytest.raises(ToolchainError, match="enlarge by 2 and 4"):
        task_scale("real-sr", Toolbox("both", [*enlarging, twice]))


START = "import sys, restoration_toolchain.envs{}; assert 'gymnasium' not in sys.modules; "


@pytest.mark.parametrize(
    "code",
    [
        START.format("") + "import gymnasium; gymnasium.spec('Restoration-v0')",
        "import gymnasium, restoration_toolchain.envs; gymnasium.spec('Restoration-v0')",
        START.format(", importlib.util") + "importlib.util.find_spec('gymnasium'); "
        "import gymnasium; gymnasium.spec('Restoration-v0')",
        START.format(", importlib as i") + "envs = restoration_toolchain.envs; i.reload(envs); "
        "assert sum('Watcher' in repr(finder) for finder in sys.meta_path) == 1; "
        "import gymnasium; i.reload(envs); gymnasium.spec('Restoration-v0')",
        START.format("") + "sys.modules['gymnasium.core'] = None\n"
        "try: import gymnasium\nexcept ImportError: del sys.modules['gymnasium.core']\n"
        "import gymnasium; gymnasium.spec('Restoration-v0')",
        "import sys\nclass Early:\n  def find_spec(name, *rest):\n"
        "    if name == 'gymnasium.core': import restoration_toolchain.envs\n"
        "sys.meta_path.insert(0, Early); import gymnasium; gymnasium.spec('Restoration-v0')",
        "from restoration_toolchain.envs import RestorationEnv, RestorationVecEnv",
        START.format(".chain, restoration_toolchain.envs.reward, restoration_toolchain.envs.task")
        + "assert not {'stable_baselines3', 'h5py'} & set(sys.modules)",
    ],
    ids=[
        *("registered behind it", "registered before", "looked for first", "reloaded"),
        *("first import fails", "half imported", "by name", "what restoring needs"),
    ],
)
def test_the_package_is_light_and_registers_whatever_is_imported_first(code: str) -> None:
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], check=True)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_can_be_made_by_its_id(tiny_toolbox: Toolbox, pairs: ArrayPairs) -> None:
    env = gymnasium.make("Restoration-v0", toolbox=tiny_toolbox, pairs=pairs, max_steps=2)
    obs, info = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    assert info["psnr"] > 0.0
    assert env.action_space.n == STOP + 1  # type: ignore[attr-defined]


def test_rewards_of_an_episode_sum_to_its_psnr_gain(env: RestorationEnv) -> None:
    env.action_space.seed(0)
    for seed in range(5):
        _, first = env.reset(seed=seed)
        total, done, info = 0.0, False, first
        while not done:
            _, reward, terminated, truncated, info = env.step(env.action_space.sample())
            total, done = total + reward, terminated or truncated
        assert total == pytest.approx(info["psnr"] - first["psnr"], abs=1e-4)
        assert total == pytest.approx(info["psnr_gain"], abs=1e-4)


def test_the_psnr_reported_is_that_of_the_image_observed(
    env: RestorationEnv, pairs: ArrayPairs
) -> None:
    env.reset(options={"index": 3})
    obs, _, _, _, info = env.step(np.int64(1))
    gt = pairs.gt[3].astype(np.float32) / 255.0
    assert info["psnr"] == pytest.approx(psnr(obs["image"].transpose(1, 2, 0), gt), abs=1e-3)


def test_stopping_is_free_and_leaves_the_image_bit_identical(env: RestorationEnv) -> None:
    before, start = env.reset(seed=1)
    after, reward, terminated, truncated, info = env.step(np.int64(STOP))
    assert reward == 0.0
    assert (terminated, truncated) == (True, False)
    np.testing.assert_array_equal(after["image"], before["image"])
    assert info["tool"] == "stop"
    assert info["psnr"] == start["psnr"]


def test_an_episode_never_takes_more_than_three_tools(env: RestorationEnv) -> None:
    env.reset(seed=0)
    _, infos = play(env, [0, 1, 2])
    assert [info["truncated"] for info in infos] == [False, False, True]
    assert not any(info["terminated"] for info in infos)
    assert [info["tool"] for info in infos] == ["deblur_1", "denoise_1", "deblock_1"]


def test_the_limit_on_tools_can_be_chosen(tiny_toolbox: Toolbox, pairs: ArrayPairs) -> None:
    env = RestorationEnv(tiny_toolbox, pairs, max_steps=1)
    env.reset(seed=0)
    assert play(env, [0])[1][0]["truncated"]


def test_the_last_action_is_observed(env: RestorationEnv) -> None:
    obs, _ = env.reset(seed=0)
    assert obs["last_action"] == STOP
    assert env.step(np.int64(2))[0]["last_action"] == 2


def test_the_seed_decides_the_episodes(env: RestorationEnv) -> None:
    def images(seed: int) -> list[np.ndarray[Any, Any]]:
        first = env.reset(seed=seed)[0]["image"]
        return [first, *(env.reset()[0]["image"] for _ in range(4))]

    again = list(zip(images(7), images(7), strict=True))
    assert all(np.array_equal(left, right) for left, right in again)
    other = list(zip(images(7), images(8), strict=True))
    assert not all(np.array_equal(left, right) for left, right in other)


def test_episodes_without_a_new_seed_go_on_drawing(env: RestorationEnv) -> None:
    env.reset(seed=7)
    starts = {env.reset()[0]["image"].tobytes() for _ in range(12)}
    assert len(starts) > 3


@pytest.mark.parametrize("index", [0, 5, 11])
def test_an_option_chooses_the_pair(env: RestorationEnv, pairs: ArrayPairs, index: int) -> None:
    obs, _ = env.reset(options={"index": index})
    np.testing.assert_array_equal(to_uint8(obs["image"].transpose(1, 2, 0)), pairs.lq[index])


def test_a_choice_of_pair_holds_for_one_episode(env: RestorationEnv) -> None:
    chosen = env.reset(seed=0, options={"index": 4})[0]["image"]
    others = [env.reset()[0]["image"] for _ in range(6)]
    assert not all(np.array_equal(chosen, other) for other in others)


def test_the_picture_shows_every_step_and_the_clean_image(
    env: RestorationEnv, pairs: ArrayPairs
) -> None:
    env.reset(options={"index": 2})
    play(env, [0, 1])
    picture = env.render()
    assert picture is not None
    assert picture.dtype == np.uint8
    assert picture.shape == (63, 4 * 63 + 3 * GAP, 3)
    np.testing.assert_array_equal(picture[:, :63], pairs.lq[2])
    np.testing.assert_array_equal(picture[:, -63:], pairs.gt[2])


def test_nothing_is_rendered_unless_asked_for(tiny_toolbox: Toolbox, pairs: ArrayPairs) -> None:
    env = RestorationEnv(tiny_toolbox, pairs)
    env.reset(seed=0)
    assert env.render() is None


def test_an_episode_can_end_when_it_gets_worse(tiny_toolbox: Toolbox, pairs: ArrayPairs) -> None:
    tiny_toolbox[0].network.conv3.bias.data.fill_(0.5)  # type: ignore[union-attr,operator]
    env = RestorationEnv(tiny_toolbox, pairs, stop_when_worse=True)
    env.reset(seed=0)
    rewards, infos = play(env, [0])
    assert rewards[0] < 0.0
    assert infos[0]["terminated"]
    assert not infos[0]["truncated"]


def test_an_unknown_render_mode_is_refused(tiny_toolbox: Toolbox, pairs: ArrayPairs) -> None:
    with pytest.raises(ValueError, match="render_mode must be"):
        RestorationEnv(tiny_toolbox, pairs, render_mode="human")


def test_a_mistyped_level_gets_a_suggestion(tiny_toolbox: Toolbox) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mild'"):
        RestorationEnv(tiny_toolbox, "mildd")


def test_arrays_that_are_no_pairs_are_refused_before_an_environment_is_made(
    pairs: ArrayPairs,
) -> None:
    with pytest.raises(ImageFormatError):
        ArrayPairs(pairs.lq, pairs.gt[:3])
