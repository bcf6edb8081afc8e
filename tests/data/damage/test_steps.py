"""Properties of the kinds of damage."""

import json
import re
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from restoration_toolchain.data.damage.blur import Blur
from restoration_toolchain.data.damage.camera import typical_camera
from restoration_toolchain.data.damage.degradation import MIXTURE, Degradation, mixture
from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.noise import Noise
from restoration_toolchain.data.damage.resampling import Resize
from restoration_toolchain.data.damage.step import NUM_LEVELS, Step
from restoration_toolchain.data.damage.steps import (
    STEP_KINDS,
    STEPS,
    graded_kinds,
    read_step,
    register,
)
from restoration_toolchain.data.errors import ImageFormatError, ToolchainError, UnknownNameError
from restoration_toolchain.data.images import FloatImage, to_float, to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.data.scaling import KERNELS, upsampled
from restoration_toolchain.tools_zoo.tool import UNITS

GRADED = pytest.mark.parametrize("kind", graded_kinds(), ids=lambda kind: kind.name)
SIGMAS = pytest.mark.parametrize("sigma", [0.5, 2.0, 5.0])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise_image(height: int = 40, width: int = 48) -> FloatImage:
    return rng(7).random((height, width, 3), dtype=np.float32)


def blurred(image: FloatImage, sigma: float) -> FloatImage:
    return Blur(sigma).apply(image, rng())


def noisy(image: FloatImage, sigma: float) -> FloatImage:
    return Noise(sigma).apply(image, rng())


@pytest.fixture(scope="module")
def photo() -> FloatImage:
    _, pixels = next(iter(open_source("embedded")))
    return to_float(pixels[100:228, 150:278])


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


@SIGMAS
def test_blur_leaves_a_constant_image_as_it_is(sigma):
    constant = np.broadcast_to(np.float32([0.2, 0.5, 0.9]), (30, 20, 3)).copy()
    np.testing.assert_allclose(blurred(constant, sigma), constant, atol=1e-6)


@SIGMAS
def test_blur_keeps_the_mean_of_what_lies_inside(sigma):
    image = np.full((64, 64, 3), 0.25, np.float32)
    image[22:42, 22:42] = noise_image(20, 20)
    np.testing.assert_allclose(blurred(image, sigma).mean((0, 1)), image.mean((0, 1)), atol=1e-5)


def test_blur_has_the_width_asked_for_and_ends_at_21_pixels():
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1.0
    spread = blurred(point, 1.5)[..., 0]
    offsets = np.arange(41) - 20
    assert (spread.sum(0) * offsets**2).sum() == pytest.approx(1.5**2, rel=0.01)
    wide = blurred(point, 5.0)[..., 0]
    assert (np.argwhere(wide > 0).min(0) == 10).all()
    assert (np.argwhere(wide > 0).max(0) == 30).all()


def test_blur_replicates_the_border():
    image = noise_image(30, 30)
    padded = np.pad(image, ((10, 10), (10, 10), (0, 0)), mode="edge")
    inner = blurred(padded, 3.0)[10:-10, 10:-10]
    np.testing.assert_allclose(blurred(image, 3.0), inner, atol=1e-6)


def test_blur_equals_opencvs_gaussian_with_a_21x21_kernel():
    image = noise_image()
    expected = cv2.GaussianBlur(image, (21, 21), 2.5, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(blurred(image, 2.5), expected, atol=1e-5)


@pytest.mark.parametrize("quality", [100, 60, 10])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_pure_colour_keeps_its_channel_through_jpeg(channel, quality):
    image = np.zeros((32, 32, 3), np.float32)
    image[..., channel] = 1.0
    out = Jpeg(quality).apply(image, rng())
    assert out[..., channel].mean() > 0.9
    assert np.delete(out, channel, axis=2).mean() < 0.1


def test_jpeg_lands_on_the_8_bit_grid():
    out = Jpeg(30).apply(noise_image(), rng())
    np.testing.assert_array_equal(to_float(to_uint8(out)), out)


@GRADED
def test_a_stronger_damage_never_raises_psnr(photo, kind):
    steps = [kind.of_strength(strength) for strength in kind.edges]
    scores = [psnr(step.apply(photo, rng()), photo) for step in steps]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]


@pytest.mark.parametrize("step", [Blur(0.0), Noise(0.0)])
def test_strength_zero_is_the_identity_and_returns_a_copy(step):
    image = noise_image()
    out = step.apply(image, rng())
    np.testing.assert_array_equal(out, image)
    assert not np.shares_memory(out, image)


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", [Blur, Noise, mixture])
def test_an_impossible_sigma_is_refused(kind, sigma):
    with pytest.raises(ValueError, match="sigma"):
        kind(sigma)


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_an_impossible_quality_is_refused(quality):
    with pytest.raises(ValueError, match="quality"):
        Jpeg(quality)
    with pytest.raises(ValueError, match="quality"):
        mixture(jpeg_quality=quality)


@pytest.mark.parametrize("factor", [0.0, 0.04, 5.0, float("nan")])
def test_an_impossible_size_is_refused(factor):
    with pytest.raises(ValueError, match="0.05 to 4"):
        Resize(factor)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.float64),
        np.zeros((8, 8), np.float32),
        np.zeros((8, 8, 4), np.float32),
        np.zeros((0, 8, 3), np.float32),
    ],
    ids=["uint8", "float64", "gray", "alpha", "empty"],
)
@pytest.mark.parametrize(
    "damage", [Blur(1.0), Noise(1.0), Jpeg(50), Resize(0.5), typical_camera(0.01), Degradation()]
)
def test_what_is_not_float32_rgb_is_refused(damage, image):
    with pytest.raises(ImageFormatError, match="float32 RGB"):
        damage.apply(image, rng())


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


@GRADED
def test_a_strength_is_drawn_within_its_level_and_found_there_again(kind: type[Step]) -> None:
    for level in range(1, NUM_LEVELS + 1):
        drawn = [kind.drawn(level, rng(seed)) for seed in range(30)]
        low, high = sorted(kind.edges[level - 1 : level + 1])
        # A quality is rounded, which may move it onto the edge.
        assert all(low <= step.strength <= high for step in drawn)
        assert all(abs(step.level - level) <= isinstance(step.strength, int) for step in drawn)
        assert drawn[3] == kind.drawn(level, rng(3)) != drawn[4]


@pytest.mark.parametrize("step", [Blur(2.5), Noise(25.0), Jpeg(55)])
def test_a_strength_halfway_has_half_the_grade(step: Step) -> None:
    assert step.grade == 0.5
    assert step.is_as_strong(step.strength, step.strength)
    assert step.is_as_strong(step.edges[-1], step.strength)
    assert not step.is_as_strong(step.edges[0], step.strength)


def test_tools_measure_damage_in_its_own_unit() -> None:
    treated = [kind for kind in graded_kinds() if kind.name in UNITS]
    assert set(MIXTURE) <= set(treated)
    assert [UNITS[kind.name] for kind in treated] == [kind.unit for kind in treated]


def test_the_catalogue_knows_every_kind_once() -> None:
    assert tuple(STEP_KINDS.values()) == STEPS

    @dataclass(frozen=True)
    class Rival(Noise):
        pass

    with pytest.raises(ToolchainError, match="called 'noise' already"):
        register(Rival)
    for incomplete in (Step, type("Nameless", (Step,), {"apply": Noise.apply})):
        with pytest.raises(ToolchainError, match=f"{incomplete.__name__} needs a name"):
            register(incomplete)
    register(Noise)
    assert tuple(STEP_KINDS.values()) == STEPS


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"name": "jpg", "quality": 30}, "did you mean 'jpeg'"),
        ({"quality": 30}, "no kind of damage ''"),
        ({"name": "jpeg", "quality": 130}, "must lie in 1 to 100"),
        ({"name": "jpeg", "quality": 50.5}, "be whole, got 50.5"),
        ({"name": "jpeg", "sigma": 3.0}, "no step can be read"),
        ({"name": "resize", "factor": 0.5, "kernel": "zzz"}, "no kernel 'zzz'"),
        ({"name": "blur"}, "no step can be read"),
        ({"name": "blur", "sigma": None}, "no step can be read"),
    ],
)
def test_what_is_no_step_is_refused_in_one_line(entry: dict[str, object], says: str) -> None:
    with pytest.raises(ToolchainError, match=says) as caught:
        read_step(json.loads(json.dumps(entry)))
    assert "\n" not in str(caught.value)
    told = re.match("no (kind of damage|kernel)", str(caught.value))
    assert isinstance(caught.value, UnknownNameError) == bool(told)
