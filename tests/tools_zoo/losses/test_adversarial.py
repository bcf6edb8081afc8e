"""Properties of the losses of generators and critics, and of the other losses on images."""

import math

import pytest
import torch

from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.tools_zoo.critics.features import FeatureCritic
from restoration_toolchain.tools_zoo.critics.patch import PatchCritic
from restoration_toolchain.tools_zoo.encoders import Semantics
from restoration_toolchain.tools_zoo.losses.adversarial import GAN_LOSSES, GanLoss, gan_loss
from restoration_toolchain.tools_zoo.losses.features import feature_distance
from restoration_toolchain.tools_zoo.losses.high_frequency import detail_ratio, high_frequency_loss
from restoration_toolchain.tools_zoo.losses.semantic import semantic_loss

KINDS = pytest.mark.parametrize("gan", GAN_LOSSES.values(), ids=GAN_LOSSES)


@KINDS
def test_a_critic_that_is_right_has_a_low_loss_and_its_generator_a_high_one(gan: GanLoss) -> None:
    low, high = torch.full((4,), -3.0), torch.full((4,), 3.0)
    assert gan.critic(low, high) < gan.critic(low, low) < gan.critic(high, low)
    assert gan.generator(low, high) > gan.generator(high, low)


@pytest.mark.parametrize(
    ("kind", "expected"), [("bce", 2 * math.log(2)), ("relativistic", math.log(2))]
)
def test_a_critic_that_knows_nothing_pays_the_entropy(kind: str, expected: float) -> None:
    nothing = torch.zeros(5)
    assert float(gan_loss(kind).critic(nothing, nothing)) == pytest.approx(expected)


def test_a_mistyped_gan_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'hinge'"):
        gan_loss("hing")


def test_the_critic_of_pixels_judges_neighbourhoods() -> None:
    critic = PatchCritic(num_categories=8).eval()
    verdict, category = critic(torch.rand(2, 3, 96, 64))
    assert verdict.shape == (2, 1, 12, 8)
    assert category is not None
    assert category.shape == (2, 8)


def test_the_critic_of_features_judges_every_position_for_itself() -> None:
    critic = FeatureCritic((4, 6, 8)).eval()
    maps = [torch.rand(1, 4, 8, 8), torch.rand(1, 6, 6, 6), torch.rand(1, 8, 3, 3)]
    before = critic(maps)
    assert [verdict.shape for verdict in before] == [(1, 1, 6, 6), (1, 1, 3, 3)]
    maps[2] = maps[2].clone()
    maps[2][0, :, 1, 2] += 1.0
    changed = (critic(maps)[1] != before[1]).nonzero()
    assert changed.tolist() == [[0, 0, 1, 2]]


def test_features_of_one_direction_are_at_no_distance() -> None:
    maps = [torch.rand(2, 5, 4, 4) + 0.1, torch.rand(2, 7, 2, 2) + 0.1]
    assert float(feature_distance(maps, [3.0 * map_ for map_ in maps])) < 1e-4
    opposite = feature_distance(maps, [-map_ for map_ in maps])
    assert float(opposite) == pytest.approx(4.0, rel=1e-3)


def test_features_that_are_all_zero_have_a_gradient() -> None:
    maps = torch.zeros(1, 3, 2, 2, requires_grad=True)
    feature_distance([maps], [torch.rand(1, 3, 2, 2)]).backward()  # type: ignore[no-untyped-call]
    assert maps.grad is not None
    assert torch.isfinite(maps.grad).all()


def test_high_frequencies_are_neither_a_constant_nor_a_slow_wave() -> None:
    images = torch.rand(1, 3, 64, 64)
    assert high_frequency_loss(images + 0.1, images) < 1e-6
    wave = 0.1 * torch.sin(torch.arange(64) / 64 * 2 * math.pi).view(1, 1, 1, 64)
    assert high_frequency_loss(images + wave, images) < 0.02 * 0.1


def test_a_checkerboard_is_all_high_frequency() -> None:
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2.0 - 1.0
    images = torch.rand(1, 3, 64, 64)
    assert float(high_frequency_loss(images + board, images)) == pytest.approx(1.0, rel=1e-2)


def test_noise_adds_detail_and_blur_takes_it_away() -> None:
    gt = torch.rand(2, 3, 32, 32)
    smooth = torch.nn.functional.avg_pool2d(gt, 3, 1, 1)
    noisy = gt + 0.5 * torch.randn(gt.shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(detail_ratio(gt, gt), torch.ones(2))
    assert (detail_ratio(smooth, gt) < 0.9).all()
    assert (detail_ratio(noisy, gt) > 1.1).all()


def test_what_means_the_same_has_no_semantic_loss() -> None:
    seen = Semantics((torch.rand(2, 4, 3, 3),), torch.rand(2, 9))
    other = Semantics((torch.rand(2, 4, 3, 3),), torch.rand(2, 9))
    assert float(semantic_loss(seen, seen)) == pytest.approx(0.0, abs=1e-6)
    assert semantic_loss(other, seen) > 0.01
