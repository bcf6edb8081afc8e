"""Properties of the simulated camera."""

from dataclasses import replace

import numpy as np
import pytest

from restoration_toolchain.data.damage.camera import (
    CAMERAS,
    Camera,
    linear_to_srgb,
    photograph,
    srgb_to_linear,
    typical_camera,
)
from restoration_toolchain.data.errors import ImageFormatError
from restoration_toolchain.data.images import FloatImage, to_float, to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.sources import open_source

UNCOMPRESSED = replace(CAMERAS["middle"], jpeg_quality=None)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def grey(level: float, height: int = 128, width: int = 128) -> FloatImage:
    return np.full((height, width, 3), level, np.float32)


def noise_of(camera: Camera, level: float) -> FloatImage:
    noisy, clean = photograph(grey(level), camera, rng())
    return noisy - clean


def correlation(noise: FloatImage, distance: int, axis: int) -> np.ndarray:
    """Of each channel with itself so many pixels away: (3,)."""
    there, here = np.split(noise, [distance], axis)[1], np.split(noise, [-distance], axis)[0]
    return np.array(
        [np.corrcoef(there[..., c].ravel(), here[..., c].ravel())[0, 1] for c in (0, 1, 2)]
    )


@pytest.fixture(scope="module")
def photos() -> list[FloatImage]:
    return [to_float(pixels[100:292, 150:342]) for _, pixels in open_source("embedded")]


def test_a_camera_without_noise_takes_the_clean_photo(photos):
    noisy, clean = photograph(photos[0], Camera(), rng())
    np.testing.assert_array_equal(noisy, clean)


def test_without_detail_the_clean_photo_is_the_scene():
    rows = np.linspace(0.05, 0.95, 128, dtype=np.float32)[:, None, None]
    scene = np.ascontiguousarray(np.broadcast_to(rows, (128, 40, 3)))
    _, clean = photograph(scene, UNCOMPRESSED, rng())
    assert np.abs(clean - scene).max() < 1.5 / 255.0


def test_the_clean_photo_is_not_compressed_and_does_not_depend_on_the_noise(photos):
    expected = photograph(photos[0], Camera(), rng())[1]
    for camera in CAMERAS.values():
        np.testing.assert_array_equal(photograph(photos[0], camera, rng())[1], expected)


def test_demosaicing_keeps_the_channels_apart():
    for channel in range(3):
        scene = grey(0.0, 20, 20)
        scene[..., channel] = 1.0
        np.testing.assert_allclose(photograph(scene, Camera(), rng())[1], scene, atol=1e-6)


def test_both_photos_lie_on_the_8_bit_grid(photos):
    for camera in (UNCOMPRESSED, CAMERAS["high"]):
        for photo in photograph(photos[0], camera, rng()):
            np.testing.assert_array_equal(to_float(to_uint8(photo)), photo)


@pytest.mark.parametrize("camera", [Camera(shot=5e-3), Camera(shot=5e-3, read=5e-3)])
def test_variance_grows_with_light_as_photon_noise_does(camera):
    # Of green, where a mosaic has a sample, as half of its pixels have: no gain, no interpolation.
    found = []
    lights = np.array([0.2, 0.4, 0.6], np.float32)
    for light in lights:
        noisy, _ = photograph(grey(float(linear_to_srgb(light))), camera, rng())
        measured = srgb_to_linear(noisy)[..., 1]
        found.append(np.concatenate([measured[::2, 1::2], measured[1::2, ::2]]).var())
    assert found == pytest.approx(camera.shot * lights + camera.read**2, rel=0.08)


def test_noise_of_neighbours_is_correlated_and_that_of_distant_pixels_is_not():
    for camera in (UNCOMPRESSED, CAMERAS["middle"]):
        noise = noise_of(camera, 0.5)
        for axis in (0, 1):
            assert correlation(noise, 1, axis).min() > 0.2
            assert np.abs(correlation(noise, 4, axis)).max() < 0.12


@pytest.mark.parametrize("level", [0.3, 0.5, 0.7])
def test_noise_does_not_make_a_photo_brighter_or_darker(level):
    # In linear light, that is: the tone curve bends down and makes noisy photos a little darker.
    noisy, clean = photograph(grey(level), UNCOMPRESSED, rng())
    difference = srgb_to_linear(noisy).mean((0, 1)) - srgb_to_linear(clean).mean((0, 1))
    assert np.abs(difference).max() < 0.02 * srgb_to_linear(clean).mean()
    assert np.abs(noisy.mean((0, 1)) - clean.mean((0, 1))).max() < 3.0 / 255.0


def test_the_strengths_are_those_promised(photos):
    for name, expected in (("low", 32.0), ("middle", 27.0), ("high", 23.0)):
        scores = [psnr(*photograph(photo, CAMERAS[name], rng())) for photo in photos]
        assert np.mean(scores) == pytest.approx(expected, abs=1.2)


def test_one_seed_gives_one_photo():
    one, same, other = (photograph(grey(0.5), CAMERAS["low"], rng(s))[0] for s in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_the_scene_is_not_changed(photos):
    kept = photos[0].copy()
    photograph(photos[0], CAMERAS["high"], rng())
    np.testing.assert_array_equal(photos[0], kept)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 1), (3, 3), (17, 31), (32, 33)])
def test_any_size_keeps_its_shape_and_its_colour(shape):
    scene = np.broadcast_to(np.float32([0.2, 0.5, 0.8]), (*shape, 3)).copy()
    noisy, clean = photograph(scene, CAMERAS["low"], rng())
    assert noisy.shape == clean.shape == scene.shape
    assert noisy.dtype == clean.dtype == np.float32
    # Borders included: demosaicing finds all colours beyond them.
    np.testing.assert_allclose(clean, scene, atol=0.51 / 255.0)
    assert np.abs(noisy - clean).max() < 0.2


def test_noise_is_as_strong_at_the_border_as_inside():
    draws = [photograph(grey(0.5, 32, 32), UNCOMPRESSED, rng(seed)) for seed in range(40)]
    noise = np.stack([noisy - clean for noisy, clean in draws])
    inside = noise[:, 4:-4, 4:-4].std((0, 1, 2))
    # Two pixels wide, for a colour is sampled in every second row and averaged in the others.
    for border in (noise[:, :2], noise[:, -2:], noise[:, :, :2], noise[:, :, -2:]):
        assert border.std((0, 1, 2)) == pytest.approx(inside, rel=0.15)


def test_the_tone_curve_is_undone_exactly():
    levels = np.linspace(0.0, 1.0, 1001, dtype=np.float32)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(levels)), levels, atol=2e-6)
    # Middle grey reflects about a fifth of the light.
    assert float(srgb_to_linear(np.float32([0.5]))[0]) == pytest.approx(0.214, abs=0.001)


def test_read_noise_follows_the_line_of_its_source():
    assert typical_camera(0.01).read ** 2 == pytest.approx(np.exp(2.18 * np.log(0.01) + 1.20))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"shot": -1e-3}, "shot"),
        ({"shot": float("nan")}, "shot"),
        ({"read": -0.1}, "read"),
        ({"read": float("inf")}, "read"),
        ({"red_gain": 0.9}, "red_gain"),
        ({"blue_gain": float("nan")}, "blue_gain"),
        ({"jpeg_quality": 0}, "quality"),
        ({"jpeg_quality": 101}, "quality"),
    ],
)
def test_an_impossible_camera_is_refused(values, name):
    with pytest.raises(ValueError, match=name):
        Camera(**values)


def test_what_is_not_float32_rgb_is_refused():
    with pytest.raises(ImageFormatError, match="float32 RGB"):
        photograph(np.zeros((8, 8, 3), np.float64), Camera(), rng())


def test_only_the_noise_of_a_camera_is_added(photos):
    quiet = Camera().apply(photos[0], rng())
    np.testing.assert_array_equal(quiet, photos[0])  # demosaicing alone would blur it
    noise = CAMERAS["middle"].apply(grey(0.5), rng()) - 0.5
    assert noise.std() == pytest.approx(noise_of(UNCOMPRESSED, 0.5).std(), rel=0.05)
    assert correlation(noise, 1, axis=1).min() > 0.3
