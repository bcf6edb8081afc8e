"""Properties of an agent that knows by itself whether a photo is clean."""

import dataclasses

import numpy as np
import pytest
import torch

from restoration_toolchain.agents.learning.drqn import DrqnConfig, train_drqn
from restoration_toolchain.agents.policy.extension import extend_policy
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.pristine import POOLED, Pristine
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.agents.policy.storage import load_policy, save_policy
from restoration_toolchain.agents.tuning.pristine import learn_pristine
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.reward import MAX_LOSS
from restoration_toolchain.tools_zoo.catalog import CLASSIC
from restoration_toolchain.tools_zoo.storage import save_toolbox
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox

NAMES = ("one", "two", "three")
STOP = 3


def certain(odds):
    """Says the same of everything."""
    pristine = Pristine(64)
    for parameter in pristine.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(pristine.fc2.bias, odds)
    return pristine


@pytest.fixture
def q_net():
    torch.manual_seed(0)
    net = RecurrentQNet(3)
    torch.nn.init.normal_(net.head.weight)
    return net.eval()


def first_values(policy, **options):
    images = torch.rand(5, 3, 63, 63, generator=torch.Generator().manual_seed(1))
    state = policy.initial_state(5)
    return policy.action_values(images, torch.full((5,), STOP), state, **options)


def test_patches_with_noise_are_told_from_clean_ones(q_net):
    rng = np.random.default_rng(0)
    gt = rng.integers(60, 200, (64, 8, 8, 3)).astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    noisy = np.clip(gt + rng.normal(0.0, 4.0, gt.shape), 0, 255).astype(np.uint8)
    pairs = ArrayPairs(np.concatenate([gt, noisy]), np.concatenate([gt, gt]))
    pristine = learn_pristine(q_net, pairs, 2048, learning_rate=2e-2)
    with torch.inference_mode():
        images = torch.from_numpy(pairs.lq).permute(0, 3, 1, 2) / 255.0
        clean = pristine.probability(q_net.see(images))
    assert (clean[:64] > 0.5).float().mean() > 0.95
    assert (clean[64:] < 0.5).float().mean() > 0.95


def test_what_views_of_one_photo_say_adds_up():
    hint = certain(0.5)
    seen = torch.zeros(20, 64)
    alone = float(torch.sigmoid(torch.tensor(0.5)))
    torch.testing.assert_close(hint.probability(seen), torch.full((20,), alone))
    pooled = float(torch.sigmoid(torch.tensor(0.5 * POOLED)))
    torch.testing.assert_close(hint.probability(seen, together=True), torch.full((20,), pooled))
    torch.testing.assert_close(
        hint.probability(seen[:1], together=True), hint.probability(seen[:1])
    )


def test_of_a_damaged_photo_it_changes_nothing_and_a_clean_one_is_left_alone(q_net):
    plain = LstmPolicy(q_net, NAMES)
    values, state = first_values(plain)
    damaged, _ = first_values(plain.changed(pristine=certain(-50.0)))
    torch.testing.assert_close(damaged, values, atol=5e-3, rtol=0.0)
    knowing = plain.changed(pristine=certain(50.0))
    clean, _ = first_values(knowing)
    torch.testing.assert_close(clean[:, STOP], values[:, STOP])
    losses = clean[:, :STOP] - clean[:, STOP:]
    torch.testing.assert_close(losses, torch.full_like(losses, -MAX_LOSS), atol=5e-2, rtol=0.0)
    # What a tool has made is not clean, whatever it looks like.
    images, last = torch.rand(5, 3, 63, 63), torch.zeros(5, dtype=torch.int64)
    torch.testing.assert_close(
        knowing.action_values(images, last, state)[0], plain.action_values(images, last, state)[0]
    )


def test_a_photo_is_clean_with_the_probability_that_its_views_give_together(q_net):
    images = torch.rand(20, 3, 63, 63)
    plain = LstmPolicy(q_net, NAMES)
    seen = plain.see(images)
    assert plain.clean_probability(seen) is None
    knowing = LstmPolicy(q_net, NAMES, pristine=certain(0.5))
    pooled = float(torch.sigmoid(torch.tensor(0.5 * POOLED)))
    assert knowing.clean_probability(seen) == pytest.approx(pooled)


def test_it_is_kept_on_disk_and_in_an_agent_that_gets_one_more_tool(q_net, tmp_path):
    policy = LstmPolicy(q_net, NAMES, pristine=certain(0.3))
    save_policy(policy, tmp_path)
    torch.testing.assert_close(first_values(load_policy(tmp_path))[0], first_values(policy)[0])
    bigger = extend_policy(policy, "four", like="one")
    assert bigger.pristine is policy.pristine
    save_policy(policy.changed(pristine=None), tmp_path)
    assert load_policy(tmp_path).pristine is None


@pytest.fixture
def config(tmp_path):
    torch.manual_seed(0)
    save_toolbox(Toolbox("pair", [Tool(spec) for spec in CLASSIC[:2]]), tmp_path / "toolbox")
    return DrqnConfig(
        store="embedded",
        toolbox=str(tmp_path / "toolbox"),
        levels=("light", "double"),
        pristine_patches=64,
        total_timesteps=8,
        n_envs=2,
        eval_every=8,
        eval_pairs=2,
        learning_starts=2,
        gradient_steps=1,
        batch_size=2,
    )


def test_an_agent_learns_it_last_and_again_when_it_learns_on(config, tmp_path):
    train_drqn(config, tmp_path / "run")
    first = load_policy(tmp_path / "run" / "best")
    assert first.pristine is not None
    frozen = {"init": str(tmp_path / "run" / "best"), "pristine_patches": 0, "seed": 1}
    on = dataclasses.replace(config, **frozen, train_encoder=False)
    train_drqn(on, tmp_path / "on")
    same = load_policy(tmp_path / "on" / "best").pristine
    assert torch.equal(same.fc1.weight, first.pristine.fc1.weight)
    train_drqn(dataclasses.replace(config, **{**frozen, "pristine_patches": 64}), tmp_path / "new")
    new = load_policy(tmp_path / "new" / "best").pristine
    assert not torch.equal(new.fc1.weight, first.pristine.fc1.weight)


def test_what_it_cannot_learn_from_is_refused(config):
    with pytest.raises(ToolchainError, match="pristine_patches needs"):
        dataclasses.replace(config, levels=())
    with pytest.raises(ValueError, match="pristine_patches must not be negative"):
        dataclasses.replace(config, pristine_patches=-1)
