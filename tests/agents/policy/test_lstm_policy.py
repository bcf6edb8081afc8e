import numpy as np
import pytest
import torch

from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.agents.policy.storage import (
    PolicyError,
    check_fits,
    load_policy,
    save_policy,
)
from restoration_toolchain.data.errors import ChecksumError, UnknownNameError
from restoration_toolchain.envs.reward import Reward
from restoration_toolchain.tools_zoo.storage import ToolboxError
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox

NAMES = ("a", "b", "c")


@pytest.fixture
def policy():
    torch.manual_seed(0)
    net = RecurrentQNet(3)
    torch.nn.init.normal_(net.head.weight)
    return LstmPolicy(net, NAMES)


def observe(n=4):
    rng = np.random.default_rng(1)
    return {"image": rng.random((n, 3, 63, 63), np.float32), "last_action": np.full(n, 3)}


def test_a_cleared_memory_plays_like_a_fresh_one(policy):
    obs = observe()
    fresh, _ = policy.predict(obs)
    _, state = policy.predict(obs)
    cleared, cleared_state = policy.predict(obs, state, np.ones(4, np.bool_))
    _, fresh_state = policy.predict(obs)
    assert (fresh == cleared).all()
    torch.testing.assert_close(cleared_state.hidden, fresh_state.hidden)


def test_memory_changes_the_values(policy):
    obs = observe()
    images, last = torch.as_tensor(obs["image"]), torch.as_tensor(obs["last_action"])
    first, state = policy.action_values(images, last, policy.initial_state(4))
    second, _ = policy.action_values(images, last, state)
    assert not torch.allclose(first, second)


def test_each_image_is_judged_on_its_own(policy):
    obs = observe()
    images, last = torch.as_tensor(obs["image"]), torch.as_tensor(obs["last_action"])
    together, _ = policy.action_values(images, last, policy.initial_state(4))
    alone, _ = policy.action_values(images[2:3], last[2:3], policy.initial_state(1))
    torch.testing.assert_close(together[2:3], alone, rtol=1e-4, atol=1e-5)


def test_a_large_stop_margin_always_stops():
    policy = LstmPolicy(RecurrentQNet(3), NAMES, stop_margin=1e6)
    assert (policy.predict(observe())[0] == 3).all()


def test_a_saved_policy_plays_the_same(policy, tmp_path):
    save_policy(policy, tmp_path)
    loaded = load_policy(tmp_path)
    obs = observe(8)
    values = [
        player.action_values(
            torch.as_tensor(obs["image"]),
            torch.as_tensor(obs["last_action"]),
            player.initial_state(8),
        )[0]
        for player in (policy, loaded)
    ]
    assert torch.equal(*values)
    assert loaded.tool_names == NAMES


def damage_config(folder):
    (folder / "config.json").write_text("{")


def damage_version(folder):
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"format_version": 1', '"format_version": 9'))


def damage_weights(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (damage_config, PolicyError),
        (damage_version, PolicyError),
        (damage_weights, ChecksumError),
        (lambda folder: (folder / "config.json").unlink(), PolicyError),
        (lambda folder: (folder / "model.safetensors").unlink(), ToolboxError),
    ],
)
def test_a_damaged_policy_is_refused_in_one_line(policy, tmp_path, damage, error):
    save_policy(policy, tmp_path)
    damage(tmp_path)
    with pytest.raises(error) as caught:
        load_policy(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_unknown_agent_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'classic'"):
        load_policy("clasic")


def toolbox(*names, **checksums):
    tools = [Tool(ToolSpec(name, "noise", (0, 1), "small")) for name in names]
    return Toolbox("toolbox", tools, checksums)


def test_another_toolbox_is_refused(policy):
    check_fits(policy, toolbox(*NAMES))
    with pytest.raises(PolicyError, match="b, a, c"):
        check_fits(policy, toolbox("b", "a", "c"))


def test_other_weights_of_the_same_tools_are_refused(policy, tmp_path):
    policy.tool_checksums = {"a": "1" * 64, "b": "2" * 64}
    save_policy(policy, tmp_path)
    loaded = load_policy(tmp_path)
    assert loaded.tool_checksums == policy.tool_checksums
    check_fits(loaded, toolbox(*NAMES, a="1" * 64, b="2" * 64, c="3" * 64))
    check_fits(loaded, toolbox(*NAMES))  # nothing is known of weights in memory
    with pytest.raises(PolicyError, match="other weights of b"):
        check_fits(loaded, toolbox(*NAMES, a="1" * 64, b="9" * 64))


def test_an_agent_records_the_encoder_of_its_score(tmp_path):
    reward = Reward(0.5, 10.0, 5.0, "score", "clip")
    policy = LstmPolicy(RecurrentQNet(1, "statistics"), ("sr-psnr",), reward=reward)
    save_policy(policy, tmp_path / "agent")
    assert load_policy(tmp_path / "agent").reward == reward
