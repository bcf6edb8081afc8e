import numpy as np
import pytest
import torch

from restoration_toolchain.agents.learning.drqn import DrqnConfig, DrqnLearner
from restoration_toolchain.agents.learning.pretraining import facts, num_facts, pretrain_encoder
from restoration_toolchain.agents.policy.q_net import StatisticsEncoder
from restoration_toolchain.data.damage.camera import typical_camera
from restoration_toolchain.data.damage.degradation import MIXTURE, Degradation, mixture
from restoration_toolchain.data.damage.noise import Noise
from restoration_toolchain.data.damage.steps import graded_kinds
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.patches.store import PatchStore


def test_facts_are_the_strengths_and_the_error():
    gt = np.full((63, 63, 3), 100, np.uint8)
    *strengths, clean_error, is_clean = facts(mixture(), gt, gt)
    assert set(strengths) == {0.0}
    assert is_clean == 1.0
    *strengths, error, is_clean = facts(mixture(5.0, 50.0, 10), np.full_like(gt, 151), gt)
    mixed = [float(kind in MIXTURE) for kind in graded_kinds()]
    assert strengths == mixed
    assert is_clean == 0.0
    assert 0.0 <= clean_error < error <= 1.0
    assert len(strengths) + 2 == num_facts()


def test_noise_of_a_camera_is_told_as_white_noise_of_the_same_error():
    gt = np.full((63, 63, 3), 100, np.uint8)
    night = Degradation((typical_camera(1e-2),))
    place = graded_kinds().index(Noise)
    weak, strong = (facts(night, np.full_like(gt, 100 + step), gt)[place] for step in (5, 25))
    assert weak == pytest.approx(0.1, abs=1e-3)
    assert strong == pytest.approx(0.5, abs=1e-3)


def test_an_encoder_learns_to_tell_how_strong_the_damage_is(store_path):
    torch.manual_seed(0)
    encoder, errors = StatisticsEncoder("statistics"), []
    with PatchStore(store_path) as store:
        pretrain_encoder(
            encoder,
            store,
            ("single", "clean"),
            4096,
            on_step=lambda step, total, metrics: errors.append(metrics["pretraining_error"]),
        )
    assert errors[-1] < 0.7 * errors[0]


def test_the_followers_start_from_the_pretrained_encoder(store_path, toolbox_folder):
    config = DrqnConfig(
        store=str(store_path),
        toolbox=str(toolbox_folder),
        encoder="statistics",
        pretrain_patches=64,
        n_envs=2,
        precision="fp32",
    )
    learner = DrqnLearner(config)
    before = learner.algorithm.q_net.encoder.conv1.weight.clone()
    learner.pretrain(lambda *progress: None)
    policy = learner.algorithm.policy
    after = policy.q_net.encoder.conv1.weight
    assert not torch.equal(after, before)
    assert torch.equal(policy.q_net_target.encoder.conv1.weight, after)
    assert torch.equal(policy.q_net_averaged.encoder.conv1.weight, after)


def test_pretraining_needs_damage_to_tell():
    with pytest.raises(ToolchainError, match="levels"):
        DrqnConfig(store="store.h5", pretrain_patches=64, levels=())
