import functools

import cv2
import numpy as np
import pytest
import torch

from restoration_toolchain.data.damage.camera import CAMERAS, photograph
from restoration_toolchain.data.damage.noise_model import estimate_noise
from restoration_toolchain.data.images import to_float
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.tools_zoo.fitting.sure import Risk, better_than_all, estimate_risk


def smoother(sigma):
    """A Gaussian filter as a denoiser; 0 does nothing."""

    def denoise(images):
        if sigma == 0:
            return images
        photo = images[0].permute(1, 2, 0).numpy()
        smooth = cv2.GaussianBlur(photo, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        return torch.from_numpy(smooth).permute(2, 0, 1)[None]

    return denoise


@functools.cache
def noisy_and_clean(kind):
    rng = np.random.default_rng(0)
    photos = [to_float(photo[:200, :200]) for _, photo in open_source("embedded")]
    if kind == "camera":
        return [photograph(photo, CAMERAS["middle"], rng) for photo in photos]
    noise = [rng.normal(0.0, 15 / 255, photo.shape).astype(np.float32) for photo in photos]
    return [(np.clip(p + n, 0.0, 1.0), p) for p, n in zip(photos, noise, strict=True)]


def true_gain(denoise, pairs):
    restored = [
        denoise(torch.from_numpy(n).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
        for n, _ in pairs
    ]
    after = sum(np.square(r - c).mean() for r, (_, c) in zip(restored, pairs, strict=True))
    return -10.0 * np.log10(after / sum(np.square(n - c).mean() for n, c in pairs))


@pytest.mark.parametrize("sigma", [0.0, 0.5, 0.7, 1.0])
def test_the_gain_on_white_noise_is_known_without_the_clean_photo(sigma):
    pairs = noisy_and_clean("white")
    noisy = [n for n, _ in pairs]
    risk = estimate_risk(smoother(sigma), noisy, estimate_noise(noisy))
    assert risk.gain == pytest.approx(true_gain(smoother(sigma), pairs), abs=0.3)


def test_denoisers_of_camera_noise_are_put_in_their_order():
    pairs = noisy_and_clean("camera")
    noisy = [n for n, _ in pairs]
    noise = estimate_noise(noisy)
    sigmas = [0.0, 0.6, 1.0, 3.0]
    known = [true_gain(smoother(sigma), pairs) for sigma in sigmas]
    found = [estimate_risk(smoother(sigma), noisy, noise).gain for sigma in sigmas]
    assert np.argsort(known).tolist() == np.argsort(found).tolist()


def test_a_denoiser_that_does_nothing_gains_nothing():
    noisy = [n for n, _ in noisy_and_clean("camera")]
    risk = estimate_risk(smoother(0.0), noisy, estimate_noise(noisy))
    assert risk.gain == pytest.approx(0.0, abs=0.2)


def test_leaving_the_photos_own_noise_is_found_out():
    noisy = [n for n, _ in noisy_and_clean("white")]
    known = [torch.from_numpy(n).permute(2, 0, 1)[None] for n in noisy]

    def denoise(images):
        if any(images.shape == k.shape and torch.equal(images, k) for k in known):
            return images
        return smoother(1.0)(images)

    risk = estimate_risk(denoise, noisy, estimate_noise(noisy))
    assert risk.gain < 0.5  # without the comparison, more than 10 dB


def test_one_seed_gives_one_estimate():
    noisy = [n for n, _ in noisy_and_clean("white")][:1]
    noise = estimate_noise(noisy)
    first, second, other = (
        estimate_risk(smoother(1.0), noisy, noise, seed=seed).mse for seed in (0, 0, 1)
    )
    assert first == second != other


def test_better_means_better_than_each_beyond_chance():
    variance = (1.0,) * 4
    low, high = Risk((0.1, 0.2, 0.1, 0.2), variance), Risk((0.2, 0.3, 0.2, 0.3), variance)
    unsure = Risk((0.0, 0.4, 0.0, 0.35), variance)
    assert better_than_all(low, {"high": high})
    assert not better_than_all(high, {"low": low})
    assert not better_than_all(low, {"high": high, "itself": low})
    assert not better_than_all(low, {"unsure": unsure})
