"""Properties of noise that is not a camera's: how strong, how wide, and in what."""

import math

import numpy as np
import pytest

from restoration_toolchain.data.damage.noise import (
    LUMA,
    ChromaNoise,
    FilmGrain,
    Noise,
    PhotonNoise,
    spread,
)
from restoration_toolchain.data.images import FloatImage


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noisy(image: FloatImage, sigma: float) -> FloatImage:
    return Noise(sigma).apply(image, rng())


def gray(level: float, side: int = 300) -> FloatImage:
    return np.full((side, side, 3), level, np.float32)


def noise_of(step, level: float = 0.5) -> FloatImage:
    """What a step adds to a flat gray, in grey levels."""
    return 255.0 * (step.apply(gray(level), rng()) - gray(level))


def neighbours(noise: np.ndarray) -> float:
    """Correlation of neighbouring pixels."""
    return float(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1])


@pytest.mark.parametrize("sigma", [2.0, 10.0, 25.0, 50.0])
def test_noise_has_the_standard_deviation_asked_for(sigma):
    # Dark grey clips at sigma 50, middle grey is 2.5 sigma from either end.
    grey = np.full((256, 256, 3), 0.5, np.float32)
    noise = 255.0 * (noisy(grey, sigma) - grey)
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert noise.mean() == pytest.approx(0.0, abs=0.02 * sigma)


def test_noise_is_independent_between_channels_and_neighbours():
    grey = np.full((200, 200, 3), 0.5, np.float32)
    noise = noisy(grey, 10.0) - grey
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    assert np.abs(channels - np.eye(3)).max() < 0.03
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.03


def test_noise_is_clipped_and_not_rounded():
    assert noisy(np.zeros((32, 32, 3), np.float32), 50.0).min() == 0.0
    middle = noisy(np.full((32, 32, 3), 0.5, np.float32), 50.0)
    assert middle.max() <= 1.0
    assert len(np.unique(middle)) > 256


@pytest.mark.parametrize("is_gray", [False, True])
def test_photon_noise_has_a_variance_that_goes_with_brightness(is_gray: bool) -> None:
    for level in (0.1, 0.4, 0.7):
        noise = noise_of(PhotonNoise(20.0, is_gray), level)
        assert noise.var() == pytest.approx(level * 20.0**2, rel=0.03)
        assert noise.mean() == pytest.approx(0.0, abs=0.1)
        alike = np.ptp(noise, axis=2).max() < 1e-3
        assert alike == is_gray
    assert not noise_of(PhotonNoise(20.0, is_gray), 0.0).any()


def test_photon_noise_of_a_channel_goes_with_that_channel() -> None:
    image = np.broadcast_to(np.float32([0.1, 0.4, 0.7]), (300, 300, 3)).copy()
    noise = 255.0 * (PhotonNoise(20.0).apply(image, rng()) - image)
    np.testing.assert_allclose(noise.var(axis=(0, 1)), [40.0, 160.0, 280.0], rtol=0.04)
    assert np.abs(np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)).max() < 0.03


@pytest.mark.parametrize("sigma", [1e-300, 1e-9, 1e-4])
def test_photons_that_cannot_be_counted_make_no_noise(sigma: float) -> None:
    np.testing.assert_array_equal(PhotonNoise(sigma).apply(gray(0.5, 8), rng()), gray(0.5, 8))


@pytest.mark.parametrize("size", [0.0, 0.1, 0.3, 0.8, 1.6, 3.0])
@pytest.mark.parametrize("colour", [0.0, 0.4, 1.0])
def test_film_grain_is_as_strong_as_asked_for_whatever_its_size(size: float, colour: float) -> None:
    noise = noise_of(FilmGrain(10.0, size, colour))
    # Wide grains are few.
    assert noise.std() == pytest.approx(10.0, rel=0.02 + 0.02 * size)
    shared = np.corrcoef(noise.reshape(-1, 3).T)[0, 1]
    assert shared == pytest.approx(1.0 - colour, abs=0.03 + 0.03 * size)


def test_grain_is_as_wide_as_asked_for() -> None:
    # Noise that a Gaussian of size s spreads has a correlation of exp(-1 / (4 s^2)).
    for size in (0.8, 1.6):
        noise = noise_of(FilmGrain(10.0, size))[..., 0]
        assert neighbours(noise) == pytest.approx(math.exp(-0.25 / size**2), abs=0.02)
    assert abs(neighbours(noise_of(FilmGrain(10.0, 0.0))[..., 0])) < 0.02


def test_film_grain_is_strongest_in_middle_tones() -> None:
    levels = (0.1, 0.3, 0.5, 0.7, 0.9)
    found = [noise_of(FilmGrain(5.0), level).std() for level in levels]
    assert found[0] < found[1] < found[2] > found[3] > found[4]
    expected = [5.0 * (0.15 + 3.4 * level * (1.0 - level)) for level in levels]
    np.testing.assert_allclose(found, expected, rtol=0.04)


@pytest.mark.parametrize("size", [0.0, 1.0, 4.0])
def test_chroma_noise_leaves_brightness_as_it_is(size: float) -> None:
    noise = noise_of(ChromaNoise(10.0, size))
    assert np.abs(noise @ LUMA).max() < 1e-3
    # Red and blue less the brightness are the colour differences.
    for channel in (0, 2):
        assert noise[..., channel].std() == pytest.approx(10.0, rel=0.02 + 0.02 * size)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 2].ravel())[0, 1]) < 0.03 + 0.03 * size


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 2), (9, 1, 3)])
def test_noise_is_spread_over_images_of_any_size(shape: tuple[int, int, int]) -> None:
    many = np.stack([spread(shape, 1.5, rng(seed)) for seed in range(400)])
    assert many.shape[1:] == shape
    assert many.dtype == np.float32
    assert many.var(axis=0).mean() == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        (PhotonNoise, {"sigma": 81.0}, "sigma must lie in 0 to 80"),
        (PhotonNoise, {"sigma": 8.0, "is_gray": "no"}, "is_gray must be true or false, got no"),
        (FilmGrain, {"sigma": -1.0}, "sigma must lie in 0 to 50"),
        (FilmGrain, {"sigma": 1.0, "size": 4.0}, "size must lie in 0 to 3"),
        (FilmGrain, {"sigma": 1.0, "colour": 1.1}, "colour must lie in 0 to 1"),
        (ChromaNoise, {"sigma": math.nan}, "sigma must lie in 0 to 50, got nan"),
        (ChromaNoise, {"sigma": 1.0, "size": 9.0}, "size must lie in 0 to 8"),
    ],
)
def test_noise_out_of_range_is_refused(kind, values: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        kind(**values)
