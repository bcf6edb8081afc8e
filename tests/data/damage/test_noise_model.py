"""Properties of the noise model, and how well it finds noise that is known."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from restoration_toolchain.data.damage.camera import CAMERAS, photograph
from restoration_toolchain.data.damage.noise import Noise
from restoration_toolchain.data.damage.noise_model import (
    KNOTS,
    RADIUS,
    NoiseModel,
    block_residuals,
    estimate_noise,
    flat_blocks,
)
from restoration_toolchain.data.errors import ImageFormatError, ToolchainError
from restoration_toolchain.data.images import FloatImage, to_float, to_uint8
from restoration_toolchain.data.photos.sources import open_source

SIDE = 2 * RADIUS + 1
MIDDLE = CAMERAS["middle"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def grey(level: float, side: int = 160) -> FloatImage:
    return np.full((side, side, 3), level, np.float32)


def neighbours(noise: FloatImage) -> np.ndarray:
    """Correlation of each channel with itself one pixel down, and one to the right: (2, 3)."""
    noise = noise - noise.mean((0, 1))
    down, right = noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1]
    return np.stack([down.mean((0, 1)), right.mean((0, 1))]) / noise.var((0, 1))


def white_model(deviation: float) -> NoiseModel:
    kernel = np.zeros((3, 3, SIDE, SIDE), np.float32)
    kernel[range(3), range(3), RADIUS, RADIUS] = 1.0
    level = np.full((3, KNOTS), deviation, np.float32)
    return NoiseModel(level, np.full((3, KNOTS), 1.0 / (3 * KNOTS), np.float32), kernel)


@pytest.fixture(scope="module")
def photos() -> list[FloatImage]:
    return [to_float(pixels[:400, :400]) for _, pixels in open_source("embedded")]


@pytest.fixture(scope="module")
def camera_model(photos) -> NoiseModel:
    return estimate_noise([photograph(photo, MIDDLE, rng())[0] for photo in photos])


@pytest.mark.parametrize("sigma", [5.0, 15.0, 30.0])
def test_the_strength_of_white_noise_is_found_in_natural_photos(photos, sigma):
    noisy = [Noise(sigma).apply(photo, rng(1)) for photo in photos]
    model = estimate_noise([to_float(to_uint8(photo)) for photo in noisy])
    assert model.sigma == pytest.approx(sigma, rel=0.05)
    low, high = model.sigma_range()
    assert 0.85 * sigma < low <= model.sigma <= high < 1.15 * sigma
    assert np.abs(neighbours(model.draw(grey(0.5), rng()))).max() < 0.05


def test_one_photo_is_enough_for_a_fair_estimate(photos):
    noisy = Noise(10.0).apply(photos[1], rng(1))
    assert estimate_noise([noisy]).sigma == pytest.approx(10.0, rel=0.10)


@pytest.mark.parametrize("sigma", [2.0, 20.0])
def test_choosing_flat_blocks_does_not_choose_weak_noise(sigma):
    # All blocks are flat here, so any choice among them is one among draws of noise.
    photo = Noise(sigma).apply(grey(0.5, 320), rng())
    assert estimate_noise([photo]).sigma == pytest.approx(sigma, rel=0.03)


def test_choosing_flat_blocks_does_not_choose_uncorrelated_noise():
    # Coarse structure holds a good part of correlated noise: the flattest blocks alone have less.
    noisy, clean = photograph(grey(0.5, 384), MIDDLE, rng())
    drawn = estimate_noise([noisy]).draw(clean, rng(1))
    assert drawn.std((0, 1)) == pytest.approx((noisy - clean).std((0, 1)), rel=0.10)
    assert neighbours(drawn) == pytest.approx(neighbours(noisy - clean), abs=0.06)


def test_clean_photos_have_little_noise(photos):
    assert estimate_noise(photos).sigma < 2.0


def test_noise_that_depends_on_the_level_is_found_where_it_is():
    ramp = np.linspace(0.1, 0.9, 512, dtype=np.float32)[:, None, None]
    photo = np.broadcast_to(ramp, (512, 256, 3)).copy()
    noisy = photo + (0.02 + 0.06 * photo) * rng().standard_normal(photo.shape, np.float32)
    model = estimate_noise([noisy.clip(0.0, 1.0)])
    levels = np.broadcast_to(np.linspace(0.2, 0.8, 7, dtype=np.float32)[:, None, None], (7, 1, 3))
    np.testing.assert_allclose(model.deviation_of(levels), 0.02 + 0.06 * levels, rtol=0.12)
    assert 255.0 * model.deviation_of(levels)[0].mean() < model.sigma


@pytest.mark.parametrize("level", [0.25, 0.4, 0.6, 0.8])
def test_noise_drawn_for_a_camera_is_like_its_own(camera_model, level):
    noisy, clean = photograph(grey(level), MIDDLE, rng(5))
    real, drawn = noisy - clean, camera_model.draw(clean, rng(6))
    assert drawn.std((0, 1)) == pytest.approx(real.std((0, 1)), rel=0.20)
    assert neighbours(drawn) == pytest.approx(neighbours(real), abs=0.1)
    between = [np.corrcoef(noise.reshape(-1, 3).T) for noise in (drawn, real)]
    assert between[0] == pytest.approx(between[1], abs=0.15)


def test_noise_drawn_for_photos_is_as_strong_as_their_own(photos):
    camera = replace(MIDDLE, jpeg_quality=None)
    pairs = [photograph(photo, camera, rng(2)) for photo in photos]
    model = estimate_noise([noisy for noisy, _ in pairs])
    # Near black and white noise is cut off, which a model of additive noise does not do.
    for noisy, clean in pairs:
        inside = ((clean > 0.1) & (clean < 0.9)).all(axis=2)
        drawn = model.draw(noisy, rng())[inside]
        assert drawn.std(axis=0) == pytest.approx((noisy - clean)[inside].std(axis=0), rel=0.20)


def test_drawn_noise_has_zero_mean_and_is_not_clipped():
    noise = white_model(0.1).draw(grey(0.0), rng())
    assert noise.mean((0, 1)) == pytest.approx(np.zeros(3), abs=0.003)
    assert noise.std((0, 1)) == pytest.approx(np.full(3, 0.1), rel=0.03)
    assert noise.min() < -0.2


def test_drawn_noise_is_correlated_in_the_direction_of_the_measured_one():
    white = rng().standard_normal((402, 402), dtype=np.float32)
    # Green is what red is two rows below and one column to the right; blue is like neither.
    planes = [white[:-2, :-1], white[2:, 1:], rng(1).standard_normal((400, 401), np.float32)]
    drawn = estimate_noise([0.5 + 0.03 * np.stack(planes, axis=-1)]).draw(grey(0.5), rng(2))
    drawn /= drawn.std((0, 1))
    red, green, blue = drawn.transpose(2, 0, 1)
    assert (green[:-2, :-1] * red[2:, 1:]).mean() > 0.85
    assert abs((green[2:, 1:] * red[:-2, :-1]).mean()) < 0.1
    assert abs((green * blue).mean()) < 0.1


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 9, 3), (33, 50, 3)])
def test_noise_is_drawn_for_any_size(camera_model, shape):
    noise = camera_model.draw(np.full(shape, 0.5, np.float32), rng())
    assert noise.shape == shape
    assert noise.dtype == np.float32


def test_one_seed_gives_one_draw(camera_model):
    one, same, other = (camera_model.draw(grey(0.5), rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_the_same_photos_give_the_same_model(photos):
    first, second = (estimate_noise(photos[:1]).to_dict() for _ in range(2))
    assert first == second


def test_a_model_is_the_same_after_a_round_trip_through_json(camera_model):
    text = json.dumps(camera_model.to_dict())
    assert len(text) < 50_000
    again = NoiseModel.from_dict(json.loads(text))
    assert again.to_dict() == camera_model.to_dict()
    np.testing.assert_array_equal(again.draw(grey(0.5), rng()), camera_model.draw(grey(0.5), rng()))


@pytest.mark.parametrize(
    "damage",
    [
        {"kernel": [[1.0]]},
        {"share": None},
        {"deviation": "many"},
        {"deviation": [[1.0], [1.0, 2.0]]},
    ],
)
def test_a_damaged_model_is_refused(damage):
    with pytest.raises(ToolchainError, match="measure the noise again"):
        NoiseModel.from_dict({**white_model(0.1).to_dict(), **damage})
    with pytest.raises(ToolchainError, match="measure the noise again"):
        NoiseModel.from_dict({})


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_photo_without_any_noise_has_a_model_that_draws_none(level):
    model = estimate_noise([grey(level)])
    assert model.sigma < 0.01
    assert np.abs(model.draw(grey(level), rng())).max() < 0.001


def test_clipped_areas_do_not_hide_the_noise_of_the_others():
    photo = grey(0.5, 320)
    photo[:, :200] = 1.0
    model = estimate_noise([Noise(10.0).apply(photo, rng())])
    assert 255.0 * model.deviation_of(grey(0.5, 1)) == pytest.approx(10.0, rel=0.05)


def test_a_photo_that_is_clipped_all_over_does_not_spoil_the_others():
    photos = [Noise(20.0).apply(grey(level), rng()) for level in (0.5, 0.0)]
    assert estimate_noise(photos).sigma == pytest.approx(20.0, rel=0.05)
    assert 2.0 < estimate_noise(photos[1:]).sigma < 20.0  # better than nothing


def test_photos_too_small_for_a_block_are_passed_over():
    noisy = Noise(10.0).apply(grey(0.5, 100), rng())
    alone = estimate_noise([noisy])
    assert estimate_noise([noisy[:9], noisy]).sigma == pytest.approx(alone.sigma, rel=1e-3)


@pytest.mark.parametrize(
    ("photos", "message"),
    [([], "no photos"), ([grey(0.5, 8)], "80 x 80"), ([grey(0.5, 60)], "80 x")],
)
def test_too_little_to_measure_is_refused(photos, message):
    with pytest.raises(ToolchainError, match=message):
        estimate_noise(photos)
    estimate_noise([Noise(5.0).apply(grey(0.5, 80), rng())])


def test_what_is_not_float32_rgb_is_refused():
    image = np.zeros((90, 90, 3), np.uint8)
    with pytest.raises(ImageFormatError, match="float32 RGB"):
        estimate_noise([image])
    with pytest.raises(ImageFormatError, match="float32 RGB"):
        white_model(0.1).draw(image, rng())


def test_white_noise_shares_nothing_with_its_neighbours_and_camera_noise_much(camera_model):
    assert white_model(0.1).neighbour_correlation == 0.0
    drawn = neighbours(camera_model.draw(grey(0.5, 400), rng())).mean()
    assert camera_model.neighbour_correlation == pytest.approx(drawn, abs=0.05)
    assert camera_model.neighbour_correlation > 0.4


def test_strength_beside_another_noise_is_a_ratio():
    assert white_model(0.06).strength_beside(white_model(0.02)) == pytest.approx(3.0)


def test_flat_blocks_show_noise_and_no_edges():
    photo = Noise(10.0).apply(grey(0.4), rng())
    stripes = np.where(np.arange(80) // 8 % 2 == 0, 0.1, -0.1)[:, None]
    photo[:, 80:] += stripes.astype(np.float32)
    (numbers,) = flat_blocks([photo], white_model(10.0 / 255.0))
    residuals = block_residuals(photo, numbers)
    assert residuals.shape[0] == len(numbers) > 0
    assert 255.0 * residuals.std() == pytest.approx(10.0, rel=0.1)
    assert block_residuals(photo, numbers[:0]).shape == (0, 3, 256)


def test_texture_of_some_photos_does_not_pass_for_the_noise_of_all():
    texture = grey(0.5) + 0.1 * rng(3).standard_normal((160, 160, 1)).astype(np.float32)
    busy = [Noise(4.0).apply(texture.clip(0.0, 1.0), rng(seed)) for seed in range(6)]
    calm = Noise(4.0).apply(grey(0.5), rng(9))
    model = estimate_noise([*busy, calm])
    assert model.sigma == pytest.approx(4.0, rel=0.1)
    assert model.is_sure


def test_it_is_known_whether_noise_was_told_from_texture(photos):
    noisy, _ = photograph(photos[1], MIDDLE, rng())
    assert estimate_noise([noisy]).is_sure
    # Grass and the like: contrast of all sizes that differs from place to place.
    side, seeded = 256, rng()
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    waves = np.fft.fft2(seeded.standard_normal((side, side))) / np.maximum(frequency, 1.0 / side)
    texture = np.fft.ifft2(waves).real
    contrast = np.exp(0.6 * cv2.resize(seeded.standard_normal((6, 6)), (side, side)))
    photo = grey(0.5, side) + 0.12 * (contrast * texture / texture.std())[..., None]
    model = estimate_noise([Noise(3.0).apply(photo.clip(0.0, 1.0).astype(np.float32), seeded)])
    assert not model.is_sure
    assert NoiseModel.from_dict(model.to_dict()).sureness == model.sureness


def test_a_model_measured_before_sureness_was_is_read():
    entry = white_model(0.1).to_dict()
    del entry["sureness"]
    assert NoiseModel.from_dict(entry).is_sure
