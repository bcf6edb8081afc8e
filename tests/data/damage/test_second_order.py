"""Properties of what the input of super-resolution goes through."""

import numpy as np
import pytest
import torch

from restoration_toolchain.data.damage.degradation import (
    CONTEXT,
    Degradation,
    central_patch,
    degrade_crop,
)
from restoration_toolchain.data.damage.second_order import (
    SCALED_LEVELS,
    SecondOrderDegradation,
    degrade_scaled_crop,
    scaled_pair,
    scaled_sampler,
)
from restoration_toolchain.data.errors import ImageFormatError, UnknownNameError
from restoration_toolchain.data.images import FloatImage, to_float
from restoration_toolchain.data.photos.sources import EmbeddedSource
from restoration_toolchain.data.scaling import KERNELS, downsample, upsample_bicubic


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def photo() -> FloatImage:
    _, pixels = next(iter(EmbeddedSource()))
    return to_float(pixels[100:228, 150:278])


def keys(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic with a = -0.5, as papers on super-resolution take it."""
    t = np.abs(distance)
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1.0, -0.5 * t**3 + 2.5 * t**2 - 4.0 * t + 2.0
    return np.where(t <= 1.0, near, np.where(t <= 2.0, far, 0.0))


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("kernel", KERNELS)
def test_an_image_becomes_smaller_by_the_scale(photo: FloatImage, scale: int, kernel) -> None:
    small = downsample(photo, scale, kernel)
    assert small.shape == (128 // scale, 128 // scale, 3)
    assert small.dtype == np.float32
    assert small.mean() == pytest.approx(photo.mean(), abs=2e-3)


def test_area_is_the_mean_of_blocks(photo: FloatImage) -> None:
    blocks = photo.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(downsample(photo, 4, "area"), blocks, atol=1e-6)


def test_bicubic_is_keys_cubic_stretched_by_the_scale(photo: FloatImage) -> None:
    centre = 4 * 10 + 1.5  # of small pixel 10, in pixels of the large image
    weights = keys((np.arange(128) - centre) / 4.0)
    weights /= weights.sum()
    expected = np.einsum("y,yxc,x->c", weights, photo, weights)
    np.testing.assert_allclose(downsample(photo, 4)[10, 10], expected.clip(0, 1), atol=1e-5)


def test_bicubic_enlargement_keeps_a_ramp() -> None:
    ramp = torch.linspace(0.0, 1.0, 32).expand(1, 1, 32, 32)
    large = upsample_bicubic(ramp, 4)[0, 0, 64, 16:-16]
    torch.testing.assert_close(large.diff(), torch.full((95,), 1.0 / 31.0 / 4.0), atol=1e-5, rtol=0)


def test_a_side_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ImageFormatError, match="130x96 pixels does not divide by 4"):
        downsample(np.zeros((96, 130, 3), np.float32), 4)


@pytest.mark.parametrize("scale", [0, 3, 8])
def test_another_scale_is_refused(scale: int) -> None:
    with pytest.raises(ValueError, match="scale must be one of 1, 2, 4"):
        Degradation(scale=scale)


def test_noise_is_added_after_the_image_became_smaller() -> None:
    grey = np.full((256, 256, 3), 0.5, np.float32)
    small = Degradation(noise_sigma=20.0, scale=4).apply(grey, rng())
    assert 255.0 * (small - grey[:64, :64]).std() == pytest.approx(20.0, rel=0.02)


def test_blur_is_applied_before_the_image_becomes_smaller(photo: FloatImage) -> None:
    chain = Degradation(blur_sigma=3.0, scale=2).apply(photo, rng())
    by_hand = downsample(Degradation(blur_sigma=3.0).apply(photo, rng()), 2)
    np.testing.assert_array_equal(chain, by_hand)


@pytest.mark.parametrize("level", SCALED_LEVELS)
@pytest.mark.parametrize("scale", [2, 4])
def test_every_distribution_makes_pairs_of_the_scale(
    photo: FloatImage, level: str, scale: int
) -> None:
    lq, gt = scaled_pair(photo, scaled_sampler(level, scale=scale), rng())
    side = 128 - 2 * CONTEXT
    assert gt.shape == (side, side, 3)
    assert lq.shape == (side // scale, side // scale, 3)
    assert lq.min() >= 0.0
    assert lq.max() <= 1.0


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_degraded_crop_is_a_crop_of_the_degraded_photo(photo: FloatImage, kernel) -> None:
    damage = Degradation(blur_sigma=1.0, scale=4, kernel=kernel)
    around = CONTEXT // 4
    whole = damage.apply(photo, rng())[around:-around, around:-around]
    np.testing.assert_allclose(degrade_scaled_crop(damage, photo, rng()), whole, atol=1e-6)


def test_a_small_patch_lies_on_its_large_partner(photo: FloatImage) -> None:
    lq, gt = scaled_pair(photo, lambda _: Degradation(scale=4, kernel="area"), rng())
    np.testing.assert_allclose(lq, downsample(gt, 4, "area"), atol=1e-6)


def test_the_grid_of_jpeg_begins_anywhere(photo: FloatImage) -> None:
    damage = Degradation(jpeg_quality=10, scale=2)
    crops = [degrade_scaled_crop(damage, photo, rng(seed)) for seed in range(4)]
    assert all(np.abs(crops[0] - other).max() > 0.02 for other in crops[1:])


def test_kernels_are_drawn_and_the_seed_decides() -> None:
    draw = scaled_sampler("mild", scale=4)
    kernels = {draw(rng(seed)).kernel for seed in range(20)}  # type: ignore[attr-defined]
    assert kernels == set(KERNELS)
    assert draw(rng(3)) == draw(rng(3))


def test_second_order_damage_is_worse_than_its_second_half(photo: FloatImage) -> None:
    second = Degradation(noise_sigma=2.0, scale=4)
    first = Degradation(blur_sigma=3.0, noise_sigma=30.0, jpeg_quality=30)
    both = SecondOrderDegradation(first, 0.5, "area", second)
    clean = downsample(photo, 4)

    def error(damage) -> float:
        return float(np.square(damage.apply(photo, rng()) - clean).mean())

    assert error(both) > 3.0 * error(second)


def test_a_first_damage_that_changes_the_size_is_refused() -> None:
    with pytest.raises(ValueError, match="the first damage keeps its size"):
        SecondOrderDegradation(Degradation(scale=2), 1.0, "area", Degradation(scale=4))


def test_a_crop_at_full_size_refuses_a_scale(photo: FloatImage) -> None:
    with pytest.raises(ValueError, match="keeps the size of a patch, got scale 4"):
        degrade_crop(Degradation(scale=4), photo, rng())


def test_a_crop_at_scale_one_is_the_photo_itself(photo: FloatImage) -> None:
    crop = degrade_scaled_crop(Degradation(), photo, rng())
    np.testing.assert_array_equal(crop, central_patch(photo))


def test_a_mistyped_level_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'slight'"):
        scaled_sampler("sligth", scale=4)
