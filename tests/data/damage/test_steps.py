"""Properties of the kinds of damage."""

import json
import re
from dataclasses import dataclass

import numpy as np
import pytest

from restoration_toolchain.data.damage.blur import AnisotropicBlur, Blur
from restoration_toolchain.data.damage.camera import typical_camera
from restoration_toolchain.data.damage.degradation import MIXTURE, Degradation, mixture
from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.noise import ChromaNoise, FilmGrain, Noise, PhotonNoise
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
from restoration_toolchain.data.images import FloatImage, to_float
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.tools_zoo.tool import UNITS

GRADED = pytest.mark.parametrize("kind", graded_kinds(), ids=lambda kind: kind.name)
SIGMAS = pytest.mark.parametrize("sigma", [0.5, 2.0, 5.0])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise_image(height: int = 40, width: int = 48) -> FloatImage:
    return rng(7).random((height, width, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def photo() -> FloatImage:
    _, pixels = next(iter(open_source("embedded")))
    return to_float(pixels[100:228, 150:278])


@GRADED
def test_a_stronger_damage_never_raises_psnr(photo, kind):
    steps = [kind.of_strength(strength) for strength in kind.edges]
    scores = [psnr(step.apply(photo, rng()), photo) for step in steps]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]


def drawn_steps() -> list[Step]:
    """Of each kind, what is drawn at its weakest, a middle and its strongest level."""
    kinds = graded_kinds()
    return [kind.drawn(level, rng(level)) for kind in kinds for level in (1, 5, NUM_LEVELS)]


@pytest.mark.parametrize("step", drawn_steps(), ids=Step.describe)
@pytest.mark.parametrize("size", [(1, 1), (1, 23), (17, 1), (2, 3), (31, 45)])
def test_images_of_any_size_keep_size_dtype_and_range(step: Step, size: tuple[int, int]) -> None:
    for image in (noise_image(*size), np.zeros((*size, 3), np.float32), np.ones((*size, 3), "f4")):
        kept = image.copy()
        out = step.apply(image, rng())
        np.testing.assert_array_equal(image, kept)
        assert not np.shares_memory(out, image)
        assert out.shape == image.shape
        assert out.dtype == np.float32
        assert 0.0 <= out.min() <= out.max() <= 1.0 + 1e-6


@pytest.mark.parametrize("step", drawn_steps(), ids=Step.describe)
def test_a_step_survives_a_file_and_numbers_of_numpy(step: Step) -> None:
    entry = json.loads(json.dumps({"name": step.name, **step.to_dict()}))
    assert read_step(entry) == step
    numbers = {
        name: np.array(value)[()] if isinstance(value, int | float) else value
        for name, value in step.to_dict().items()
    }
    again = type(step)(**numbers)
    assert json.dumps(again.to_dict()) == json.dumps(step.to_dict())
    np.testing.assert_array_equal(
        again.apply(noise_image(), rng(1)), step.apply(noise_image(), rng(1))
    )


ZEROS = [*(kind(0.0) for kind in (Blur, Noise, AnisotropicBlur, PhotonNoise)),
         FilmGrain(0.0), ChromaNoise(0.0)]  # fmt: skip


@pytest.mark.parametrize("step", ZEROS, ids=lambda step: step.name)
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
        ({"name": "blur", "sigma": None}, "sigma must be finite and not negative, got None"),
        ({"name": "blur", "sigma": "2"}, "sigma must be finite and not negative, got 2"),
        ({"name": "noise", "sigma": True}, "sigma must be finite and not negative, got True"),
        ({"name": "noise", "sigma": [1.0]}, "sigma must be finite"),
        ({"name": "motion-blur", "length": float("nan")}, "length must lie in 1 to 31, got nan"),
        ({"name": "motion-blur", "length": 9, "bend": "left"}, "bend must lie in -270 to 270"),
        ({"name": "anisotropic-blur", "sigma": 2, "ratio": 3}, "ratio must lie in 0.1 to 1"),
        ({"name": "defocus", "radius": {}}, "radius must lie in 0.5 to 8"),
        ({"name": "defocus", "radius": 2, "softness": 9}, "softness must lie in 0 to 2, got 9"),
        ({"name": "photon-noise", "sigma": 200}, "sigma must lie in 0 to 80, got 200"),
        ({"name": "photon-noise", "sigma": 2, "is_gray": 1}, "is_gray must be true or false"),
        ({"name": "film-grain", "sigma": 5, "size": None}, "size must lie in 0 to 3, got None"),
        ({"name": "chroma-noise", "sigma": 5, "sise": 2}, "no step can be read"),
        ({"name": "jpeg", "quality": "high"}, "JPEG quality must lie in 1 to 100"),
        ({"name": "jpeg", "quality": True}, "JPEG quality must lie in 1 to 100"),
        ({"name": "jpeg", "quality": 50, "top": 16}, "top must lie in 0 to 15 and be whole"),
        ({"name": "jpeg", "quality": 50, "subsampling": "4:1"}, "no subsampling '4:1'"),
        ({"name": "jpeg", "quality": 50, "subsampling": ["4:4:4"]}, "no step can be read"),
        ({"name": "webp", "quality": None}, "WebP quality must lie in 1 to 100"),
        ({"name": "resize", "factor": "half"}, "must lie in 0.05 to 4, got half"),
        ({"name": "resize", "factor": 9.0}, "must lie in 0.05 to 4, got 9.0"),
        ({"name": "camera", "shot": "x"}, "shot must be finite and at least 0, got x"),
        ({"name": "camera", "smoothing": 6.0}, "smoothing must lie in 0 to 5"),
        ({"name": "camera", "jpeg_quality": "x"}, "JPEG quality must lie in 1 to 100"),
    ],
)
def test_what_is_no_step_is_refused_in_one_line(entry: dict[str, object], says: str) -> None:
    with pytest.raises(ToolchainError, match=says) as caught:
        read_step(json.loads(json.dumps(entry)))
    assert "\n" not in str(caught.value)
    told = re.match("no (kind of damage|kernel|subsampling)", str(caught.value))
    assert isinstance(caught.value, UnknownNameError) == bool(told)
