"""Properties of the pixel losses."""

import math

import pytest
import torch

from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.tools_zoo.losses import PIXEL_LOSSES, pixel_loss
from restoration_toolchain.tools_zoo.losses.pixel import mse_loss, psnr_loss

LOSSES = pytest.mark.parametrize("name", PIXEL_LOSSES)


def random_pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(3, 3, 8, 8, generator=generator) for _ in range(2))  # type: ignore[return-value]


@LOSSES
def test_a_loss_is_a_scalar_that_grows_with_the_error(name: str) -> None:
    restored, gt = random_pair()
    loss = pixel_loss(name)
    values = [loss(gt + share * (restored - gt), gt) for share in (0.0, 0.5, 1.0)]
    assert all(value.shape == () for value in values)
    assert values[0] < values[1] < values[2]


@LOSSES
def test_a_loss_has_finite_gradients_where_the_images_are_equal(name: str) -> None:
    _, gt = random_pair()
    restored = gt.clone().requires_grad_()
    pixel_loss(name)(restored, gt).backward()
    assert restored.grad is not None
    assert torch.isfinite(restored.grad).all()


def test_the_mean_squared_error_is_zero_for_equal_images() -> None:
    _, gt = random_pair()
    assert mse_loss(gt, gt) == 0.0


def test_a_step_of_the_psnr_loss_is_a_step_in_decibels() -> None:
    restored, gt = random_pair()
    better = gt + 0.5 * (restored - gt)
    gain = float((batch_psnr(better, gt) - batch_psnr(restored, gt)).mean())
    drop = float(psnr_loss(restored, gt) - psnr_loss(better, gt))
    assert drop * 20.0 / math.log(10.0) == pytest.approx(gain, rel=1e-3)


def test_the_psnr_loss_weights_every_image_alike() -> None:
    restored, gt = random_pair()
    alone = [psnr_loss(restored[i : i + 1], gt[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(psnr_loss(restored, gt), torch.stack(alone).mean())


def test_a_mistyped_loss_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'psnr'"):
        pixel_loss("pnsr")
