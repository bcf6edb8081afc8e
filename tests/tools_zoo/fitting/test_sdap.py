"""Properties of learning one random sub-image from another."""

import pytest
import torch
from torch import Tensor

from restoration_toolchain.tools_zoo.fitting.sdap import (
    cyclic_difference_loss,
    sdap_blind_error,
    sdap_loss,
)
from restoration_toolchain.tools_zoo.networks.subsampling import random_subsamples


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blur(images: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(images, 3, stride=1, padding=1)


@pytest.mark.parametrize("shift", [1, 7])
def test_the_loss_does_not_depend_on_where_the_cycle_begins(shift: int) -> None:
    sub_images = random_subsamples(torch.rand(2, 3, 20, 20), 5, seeded())
    torch.testing.assert_close(
        cyclic_difference_loss(blur, sub_images.roll(shift, dims=0)),
        cyclic_difference_loss(blur, sub_images),
    )


def test_a_constant_predicted_exactly_costs_nothing() -> None:
    noisy = torch.full((2, 3, 20, 20), 0.3)
    loss = sdap_loss(lambda x: x.clone(), noisy, stride=5, cycle=25, generator=seeded())
    assert float(loss) == 0.0


def test_the_identity_costs_the_sum_of_the_sampling_differences() -> None:
    sub_images = random_subsamples(torch.rand(1, 3, 20, 20), 5, seeded())
    by_hand = sum(
        float((sub_images[index] - sub_images[(index + 1) % 25]).abs().mean())
        for index in range(25)
    )
    assert float(cyclic_difference_loss(lambda x: x, sub_images)) == pytest.approx(by_hand)
    assert by_hand > 0.0


def test_gradients_reach_the_denoised_side_only() -> None:
    factor = torch.ones((), requires_grad=True)
    sub_images = torch.tensor([0.2, 0.6]).reshape(2, 1, 1, 1, 1)
    cyclic_difference_loss(lambda x: factor * x, sub_images).backward()
    assert factor.grad is not None
    assert float(factor.grad) == pytest.approx(0.6 - 0.2)  # d|0.2 f - 0.6| + d|0.6 f - 0.2|


def test_a_short_cycle_costs_as_much_as_the_whole_one_on_average() -> None:
    noisy = torch.rand(1, 3, 20, 20)

    def loss(seed: int, cycle: int) -> float:
        generator = seeded(seed)
        return float(sdap_loss(blur, noisy, stride=5, cycle=cycle, generator=generator))

    short = torch.tensor([loss(seed, 6) for seed in range(60)])
    whole = torch.tensor([loss(seed, 25) for seed in range(60)])
    assert float(short.mean()) == pytest.approx(float(whole.mean()), rel=0.02)
    assert short.std() > whole.std()


@pytest.mark.parametrize("cycle", [8, 25])
def test_a_step_calls_the_denoiser_once_on_the_sub_images_of_the_cycle(cycle: int) -> None:
    sizes = []

    def denoiser(images: Tensor) -> Tensor:
        sizes.append(tuple(images.shape))
        return images

    sdap_loss(denoiser, torch.rand(2, 3, 20, 15), stride=5, cycle=cycle, generator=seeded())
    assert sizes == [(cycle * 2, 3, 4, 3)]


def test_the_blind_error_compares_each_prediction_with_its_own_pixel() -> None:
    noisy = torch.rand(2, 3, 20, 15)
    assert float(sdap_blind_error(lambda x: x, noisy, stride=5)) == 0.0
    error = sdap_blind_error(lambda x: x + 0.1, noisy, stride=5)
    assert float(error) == pytest.approx(0.1, rel=1e-4)
