"""Properties of the asymmetric mask scheme."""

import pytest
import torch
from torch import Tensor, nn

from restoration_toolchain.tools_zoo.fitting.ams import (
    ams_blind_error,
    ams_loss,
    hidden_loss,
)
from restoration_toolchain.tools_zoo.networks.masks import (
    MaskKind,
    checkerboard_masks,
    denoise_hidden,
    random_masks,
)
from restoration_toolchain.tools_zoo.networks.subsampling import pixel_shuffle_down


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def ordinary() -> nn.Module:
    """A network that sees every pixel it predicts, in float64 so that zeros are exact."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1)
    ).double()


class Counted:
    """Counts its calls; the identity."""

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.batch_sizes.append(len(images))
        return images


def test_visible_pixels_have_no_part_in_the_loss() -> None:
    predicted = torch.rand(2, 3, 8, 8, requires_grad=True)
    hidden = random_masks(2, 2, 8, 8, seeded())[0]
    hidden_loss(lambda images: predicted, torch.rand(2, 3, 8, 8), hidden).backward()
    assert predicted.grad is not None
    assert (predicted.grad[(~hidden).expand_as(predicted)] == 0.0).all()
    assert (predicted.grad[hidden.expand_as(predicted)] != 0.0).all()


def test_the_loss_is_the_mean_over_hidden_pixels() -> None:
    images = torch.rand(2, 3, 8, 8)
    hidden = random_masks(2, 2, 8, 8, seeded())[0]
    loss = hidden_loss(lambda seen: seen, images, hidden)  # what is hidden comes back as 0
    torch.testing.assert_close(loss, images[hidden.expand_as(images)].mean())


def test_the_denoiser_sees_zeros_in_place_of_hidden_pixels() -> None:
    images = 0.5 + torch.rand(1, 3, 8, 8)
    hidden = checkerboard_masks(8, 8)[1]

    def look(seen: Tensor) -> Tensor:
        assert (seen[hidden.expand_as(seen)] == 0.0).all()
        assert seen[~hidden.expand_as(seen)].equal(images[~hidden.expand_as(images)])
        return seen

    hidden_loss(look, images, hidden)


@pytest.mark.parametrize("masks", ["checkerboard", "random"])
def test_a_training_step_calls_the_denoiser_once_on_all_sub_images(masks: MaskKind) -> None:
    denoiser = Counted()
    noisy = torch.rand(2, 3, 20, 15)
    loss = ams_loss(denoiser, noisy, stride=5, masks=masks, generator=seeded())
    assert denoiser.batch_sizes == [2 * 25]
    assert float(loss) == pytest.approx(0.5, abs=0.1)


def test_the_generator_decides_the_loss() -> None:
    noisy = torch.rand(2, 3, 20, 15)

    def loss(seed: int) -> float:
        return float(ams_loss(lambda x: x, noisy, stride=5, masks="random", generator=seeded(seed)))

    assert loss(0) == loss(0) != loss(1)


@pytest.mark.parametrize("count", [2, 3])
def test_no_pixel_has_a_part_in_its_own_prediction(ordinary: nn.Module, count: int) -> None:
    images = torch.rand(1, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    masks = random_masks(count, 1, 6, 6, seeded())
    restored = denoise_hidden(ordinary, images, masks)
    for row in range(6):
        for column in range(6):
            (grad,) = torch.autograd.grad(
                restored[0, :, row, column].sum(), images, retain_graph=True
            )
            assert (grad[0, :, row, column] == 0.0).all()
            assert grad.any()
    (seen,) = torch.autograd.grad(ordinary(images)[0, :, 3, 3].sum(), images)
    assert seen[0, :, 3, 3].any()  # the network itself is not blind


def test_the_identity_predicts_zeros_and_a_constant_itself() -> None:
    images = torch.rand(2, 3, 8, 8)
    masks = random_masks(3, 2, 8, 8, seeded())
    assert (denoise_hidden(lambda x: x, images, masks) == 0.0).all()
    constant = denoise_hidden(lambda x: torch.full_like(x, 0.25), images, masks)
    assert (constant == 0.25).all()


@pytest.mark.parametrize("count", [2, 4])
def test_inference_calls_the_denoiser_once_for_each_mask(count: int) -> None:
    denoiser = Counted()
    denoise_hidden(denoiser, torch.rand(3, 3, 8, 8), random_masks(count, 3, 8, 8, seeded()))
    assert denoiser.batch_sizes == [3] * count


def test_the_blind_error_of_a_constant_is_its_distance_from_the_pixels() -> None:
    noisy = torch.rand(2, 3, 20, 15)
    error = ams_blind_error(lambda x: torch.full_like(x, 0.5), noisy, stride=5)
    torch.testing.assert_close(error, (noisy - 0.5).abs().mean())
    zeros = ams_blind_error(lambda x: x, noisy, stride=5)
    torch.testing.assert_close(zeros, pixel_shuffle_down(noisy, 5).mean())
