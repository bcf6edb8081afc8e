"""Properties of other sizes: smaller, larger, and back, by every kernel."""

import numpy as np
import pytest

from restoration_toolchain.data.damage.resampling import Resize
from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.data.images import FloatImage, to_float
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.data.scaling import KERNELS, resize, upsampled


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def photo() -> FloatImage:
    _, pixels = next(iter(open_source("embedded")))
    return to_float(pixels[100:228, 150:278])


@pytest.mark.parametrize("factor", [0.0, 0.04, 5.0, float("nan")])
def test_an_impossible_size_is_refused(factor):
    with pytest.raises(ValueError, match="0.05 to 4"):
        Resize(factor)


def keys(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic with a = -0.5, as papers on super-resolution take it."""
    t = np.abs(distance)
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1.0, -0.5 * t**3 + 2.5 * t**2 - 4.0 * t + 2.0
    return np.where(t <= 1.0, near, np.where(t <= 2.0, far, 0.0))


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("kernel", KERNELS)
def test_an_image_becomes_smaller_by_the_scale(photo: FloatImage, scale: int, kernel) -> None:
    small = Resize(1 / scale, kernel).apply(photo, rng())
    assert small.shape == (128 // scale, 128 // scale, 3)
    assert small.dtype == np.float32
    assert small.mean() == pytest.approx(photo.mean(), abs=2e-3)


def test_area_is_the_mean_of_blocks(photo: FloatImage) -> None:
    blocks = photo.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
    small = Resize(0.25, "area").apply(photo, rng())
    np.testing.assert_allclose(small, blocks, atol=1e-6)


def test_bicubic_is_keys_cubic_stretched_by_the_scale(photo: FloatImage) -> None:
    centre = 4 * 10 + 1.5  # of small pixel 10, in pixels of the large image
    weights = keys((np.arange(128) - centre) / 4.0)
    weights /= weights.sum()
    expected = np.einsum("y,yxc,x->c", weights, photo, weights)
    small = Resize(0.25).apply(photo, rng())
    np.testing.assert_allclose(small[10, 10], expected.clip(0, 1), atol=1e-5)


def test_bicubic_enlargement_keeps_a_ramp() -> None:
    row = np.linspace(0, 1, 32, dtype=np.float32)[None, :, None]
    large = upsampled(np.broadcast_to(row, (32, 32, 3)), 4)
    np.testing.assert_allclose(np.diff(large[64, 16:-16, 0]), 1.0 / 31.0 / 4.0, atol=1e-5)


@pytest.mark.parametrize(("old", "new"), [(40, 13), (40, 40), (17, 50), (9, 2)])
def test_lanczos_is_a_windowed_sinc_of_three_lobes_stretched_where_it_shrinks(
    old: int, new: int
) -> None:
    image = rng(3).random((old, 5, 3), dtype=np.float32) * 0.4 + 0.3
    stretch = max(1.0, old / new)
    centres = (np.arange(new)[:, None] + 0.5) * old / new - 0.5
    distance = (centres - np.arange(old)) / stretch
    weights = np.sinc(distance) * np.sinc(distance / 3.0) * (np.abs(distance) < 3.0)
    weights /= weights.sum(axis=1, keepdims=True)
    expected = np.einsum("ny,yxc->nxc", weights, image)
    np.testing.assert_allclose(resize(image, new, 5, "lanczos"), expected, atol=1e-5)
    across = resize(image.transpose(1, 0, 2), 5, new, "lanczos")
    np.testing.assert_allclose(across, expected.transpose(1, 0, 2), atol=1e-5)


def test_nearest_takes_the_pixel_below_the_middle_of_the_new_one() -> None:
    row = np.arange(6, dtype=np.float32)[None, :, None].repeat(3, axis=2) / 10.0
    larger = resize(row, 2, 12, "nearest")
    np.testing.assert_array_equal(larger[1, :, 0], row[0].repeat(2, axis=0)[:, 0])
    np.testing.assert_array_equal(resize(row, 1, 2, "nearest")[0, :, 0], row[0, [1, 4], 0])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (13, 29)])
def test_flat_images_of_any_size_stay_flat(kernel, size: tuple[int, int]) -> None:
    flat = np.broadcast_to(np.float32([0.0, 0.3, 1.0]), (*size, 3)).copy()
    for factor in (0.05, 0.4, 1.0, 2.7, 4.0):
        out = Resize(factor, kernel).apply(flat, rng())
        assert out.dtype == np.float32
        assert out.shape == (*(max(1, round(side * factor)) for side in size), 3)
        np.testing.assert_allclose(out, np.broadcast_to(flat[0, 0], out.shape), atol=1e-5)
        assert 0.0 <= out.min() <= out.max() <= 1.0


@pytest.mark.parametrize("kernel", KERNELS)
def test_there_and_back_leaves_things_where_they_are(photo: FloatImage, kernel) -> None:
    for factor in (0.5, 1 / 3, 0.7):
        size = (128, 128)
        small = Resize(factor, "area").apply(photo, rng())
        back = Resize(1.0, kernel).apply_within(small, rng(), size)
        assert back.shape == photo.shape
        inner = back[16:-16, 16:-16] - back.mean()
        scores = {
            shift: float((inner * np.roll(photo, shift, axis=(0, 1))[16:-16, 16:-16]).mean())
            for shift in ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))
        }
        assert max(scores, key=lambda shift: scores[shift]) == (0, 0)


def test_a_size_is_a_share_of_the_clean_photo_whatever_came_before(photo: FloatImage) -> None:
    small = Resize(0.3).apply(photo, rng())
    assert Resize(0.6).apply_within(small, rng(), (128, 128)).shape == (77, 77, 3)


def test_an_unknown_kernel_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'lanczos'"):
        Resize(0.5, "lanzcos")  # type: ignore[arg-type]
    assert Resize(1 / 3, "lanczos").describe() == "lanczos down-sampling by 3"
    assert Resize(1.0).describe() == "resizing to 100%"
