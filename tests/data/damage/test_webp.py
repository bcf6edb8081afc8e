"""Properties of WebP."""

import numpy as np
import pytest

from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.webp import Webp
from restoration_toolchain.data.images import FloatImage, to_float, to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.sources import open_source


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def photo() -> FloatImage:
    _, pixels = next(iter(open_source("embedded")))
    return to_float(pixels[100:228, 150:278])


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_pure_colour_keeps_its_channel_through_webp(channel: int) -> None:
    image = np.zeros((32, 32, 3), np.float32)
    image[..., channel] = 1.0
    out = Webp(50).apply(image, rng())
    assert out[..., channel].mean() > 0.9
    assert np.delete(out, channel, axis=2).mean() < 0.1


def test_webp_lands_on_the_8_bit_grid_and_is_never_lossless(photo: FloatImage) -> None:
    out = Webp(100).apply(photo, rng())
    np.testing.assert_array_equal(to_float(to_uint8(out)), out)
    assert 30.0 < psnr(out, photo) < 50.0


def test_webp_keeps_a_quarter_of_colour() -> None:
    stripes = np.full((32, 32, 3), 0.5, np.float32)
    stripes[::2] += np.float32([0.2, -0.1018, 0.0])
    stripes[1::2] -= np.float32([0.2, -0.1018, 0.0])
    assert Webp(95).apply(stripes, rng())[..., 0].std() < 0.2 * stripes[..., 0].std()


def test_webp_is_not_jpeg(photo: FloatImage) -> None:
    webp, jpeg = (step.apply(photo, rng()) for step in (Webp(20), Jpeg(20)))
    assert psnr(webp, photo) > psnr(jpeg, photo)


@pytest.mark.parametrize("quality", [0, 101, 50.5, float("nan"), False])
def test_webp_out_of_range_is_refused(quality: float) -> None:
    with pytest.raises(ValueError, match=f"^WebP quality must lie in 1 to 100 .* got {quality}"):
        Webp(quality)  # type: ignore[arg-type]
