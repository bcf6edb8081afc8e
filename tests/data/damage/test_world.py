"""Properties of the world of damage: families with names, and draws from all of them."""

import json
import math
from collections.abc import Iterator

import numpy as np
import pytest

from restoration_toolchain.data.damage.camera import Camera
from restoration_toolchain.data.damage.degradation import CONTEXT, Degradation, degrade_crop
from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.levels import LEVELS, check_level, sampler
from restoration_toolchain.data.damage.resampling import Resize
from restoration_toolchain.data.damage.step import NUM_LEVELS
from restoration_toolchain.data.damage.steps import STEP_KINDS, graded_kinds
from restoration_toolchain.data.damage.world import CLEAN_SHARE, FAMILIES, KINDS, LIVES, PAPER
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.images import FloatImage, to_float
from restoration_toolchain.data.photos.sources import open_source

FAMILY = pytest.mark.parametrize("family", FAMILIES)
SCALES = (1, 2, 4)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def draws(level: str, count: int, scale: int = 1) -> Iterator[Degradation]:
    draw, generator = sampler(level, scale=scale), rng(5)
    return (draw(generator) for _ in range(count))


def kinds_of(damage: Degradation) -> tuple[str, ...]:
    return tuple(step.name for step in damage.steps)


@pytest.fixture(scope="module")
def photo() -> FloatImage:
    _, pixels = next(iter(open_source("embedded")))
    return to_float(pixels[60:220, 140:300])


def test_every_family_is_a_level_and_has_one_place() -> None:
    assert len(set(FAMILIES)) == len(FAMILIES) == len(KINDS) + len(PAPER) + len(LIVES)
    assert set(KINDS) == {kind.name for kind in graded_kinds()}
    assert set(PAPER) | set(LIVES) <= set(LEVELS)
    for family in (*FAMILIES, "world"):
        for scale in SCALES:
            check_level(family, scale)


@FAMILY
@pytest.mark.parametrize("scale", SCALES)
def test_what_is_drawn_is_told_and_survives_a_file(family: str, scale: int) -> None:
    for damage in draws(family, 12, scale):
        assert 1 <= len(damage.steps) <= 6 + (scale > 1)
        assert damage.scale == scale
        words = damage.describe()
        assert "\n" not in words
        assert len(words.split(", ")) >= len(damage.steps)
        assert Degradation.from_dict(json.loads(json.dumps(damage.to_dict()))) == damage


@FAMILY
def test_strengths_lie_within_the_ranges_of_their_kinds(family: str) -> None:
    for damage in draws(family, 40):
        for step in damage.steps:
            if step.edges:
                low, high = sorted((step.edges[0], step.edges[-1]))
                assert low <= step.strength <= high
                assert 1 <= step.level <= NUM_LEVELS
            if isinstance(step, Camera):
                assert 1e-4 <= step.shot <= 2e-2
                assert 0.0 < step.read < 0.03
            if isinstance(step, Resize):
                assert 0.25 - 1e-9 <= step.factor <= 2.5


@FAMILY
def test_one_seed_draws_one_damage_and_another_draws_another(family: str) -> None:
    first, again, other = (sampler(family)(rng(seed)) for seed in (3, 3, 4))
    assert first == again != other


def test_the_world_draws_all_families_alike_often_and_some_photos_are_clean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count, generator = 3000, rng()
    drawn = [sampler("world")(generator) for _ in range(count)]
    clean = np.mean([not damage.steps for damage in drawn])
    spread = math.sqrt(CLEAN_SHARE * (1.0 - CLEAN_SHARE) / count)
    assert clean == pytest.approx(CLEAN_SHARE, abs=4.0 * spread)
    assert {name for damage in drawn for name in kinds_of(damage)} == {
        *KINDS,
        *("camera", "resize"),
    }
    for name in FAMILIES:
        # Each is told apart by a step that nothing else draws.
        mark = Degradation((STEP_KINDS["noise"].of_strength(0.5 + FAMILIES.index(name)),))
        monkeypatch.setitem(LEVELS, name, lambda rng, mark=mark: mark)
    drawn = [sampler("world")(generator) for _ in range(count)]
    families = np.array([int(damage.strength("noise") or 0) for damage in drawn if damage.steps])
    counts = np.bincount(families, minlength=len(FAMILIES))
    expected = len(families) / len(FAMILIES)
    assert counts == pytest.approx(np.full(len(FAMILIES), expected), abs=5 * math.sqrt(expected))


def test_an_unknown_family_is_one_line_that_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'jpeg-enlarged'") as caught:
        sampler("jpeg-enlagred")
    assert isinstance(caught.value, ToolchainError)
    assert "\n" not in str(caught.value)


LIFE_STEPS = {
    "weak-camera": {("camera", "jpeg")},
    "night": {("camera", "jpeg"), ("camera", "chroma-noise", "jpeg")},
    "enlarged": {("resize", "resize")},
    "jpeg-enlarged": {("resize", "jpeg", "resize")},
    "jpeg-reduced": {("resize", "jpeg", "resize")},
    "saved": {("jpeg",)},
    "saved-again": {("jpeg", "jpeg"), ("jpeg", "jpeg", "jpeg"), ("jpeg", "jpeg", "webp")},
    "shaken": {("motion-blur", noise, "jpeg") for noise in ("camera", "noise")},
    "unfocused": {("defocus", noise, "jpeg") for noise in ("camera", "noise")},
    "dim": {("motion-blur", "photon-noise", "jpeg")},
    "old-print": {("blur", "film-grain", "jpeg")},
    "edited": {
        ("camera", "jpeg", "resize", "resize", "jpeg"),
        ("blur", "camera", "jpeg", "resize", "resize", "jpeg"),
    },
    "messenger": {("resize", "camera", "jpeg", "resize", "jpeg")},
    "screen-capture": {("resize", "jpeg", "resize"), ("resize", "jpeg", "resize", "jpeg")},
}
"""What happens in each life, in order."""


@pytest.mark.parametrize("life", LIFE_STEPS)
def test_a_life_has_its_steps_in_order(life: str) -> None:
    assert {kinds_of(damage) for damage in draws(life, 60)} == LIFE_STEPS[life]


def test_every_life_ends_in_the_size_of_the_clean_photo() -> None:
    for life in LIVES:
        for damage in draws(life, 20):
            sizes = [step.factor for step in damage.steps if isinstance(step, Resize)]
            assert not sizes or sizes[-1] == 1.0


def test_enlarged_photos_were_smaller_by_1_2_to_4() -> None:
    factors = [1.0 / damage.steps[0].strength for damage in draws("enlarged", 300)]
    assert 1.2 <= min(factors) < 1.4
    assert 3.6 < max(factors) <= 4.0 + 1e-9
    assert np.mean(np.isclose(factors, 2.0)) > 0.05
    kernels = {damage.steps[1].kernel for damage in draws("enlarged", 60)}  # type: ignore[attr-defined]
    assert kernels == {"area", "bilinear", "bicubic", "lanczos", "nearest"}


def test_photos_that_are_saved_again_have_another_grid_and_any_colour() -> None:
    steps = [step for damage in draws("saved-again", 100) for step in damage.steps]
    jpegs = [step for step in steps if isinstance(step, Jpeg)]
    assert {step.subsampling for step in jpegs} == {"4:2:0", "4:2:2", "4:4:4"}
    assert {step.top for step in jpegs} == {step.left for step in jpegs} == set(range(16))
    assert all(20 <= step.quality <= 95 for step in jpegs)


def test_a_weak_camera_mostly_has_one_to_seven_grey_levels_of_noise() -> None:
    grey, generator = np.full((64, 64, 3), 0.5, np.float32), rng()
    noise = [
        255.0 * float((damage.steps[0].apply(grey, generator) - grey).std())
        for damage in draws("weak-camera", 150)
    ]
    # The least of a day is hidden by smoothing, and by rounding to 8 bits.
    assert np.quantile(noise, 0.05) < 1.5
    assert 4.0 < np.quantile(noise, 0.95) < 9.0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_patch_is_damaged_as_a_crop_of_the_damaged_photo_is(
    family: str, photo: FloatImage
) -> None:
    side = 63
    inside = (slice(48, 48 + side), slice(48, 48 + side))
    around = tuple(slice(cut.start - CONTEXT, cut.stop + CONTEXT) for cut in inside)
    clean, ratios = photo[inside], []
    for seed, damage in enumerate(draws(family, 12)):
        whole = damage.apply(photo, rng(seed))[inside]
        patch = degrade_crop(damage, photo[around], rng(seed + 1))
        assert patch.shape == (side, side, 3)
        errors = [np.square(image - clean).mean() for image in (patch, whole)]
        if min(errors) > 1e-7:
            ratios.append(math.log(errors[0] / errors[1]))
    assert np.mean(ratios) == pytest.approx(0.0, abs=0.1)
    assert np.abs(ratios).max() < 0.6  # coarse noise differs from draw to draw


@pytest.mark.parametrize("family", ["blur", "anisotropic-blur", "motion-blur", "defocus"])
def test_a_blurred_patch_is_the_crop_itself(family: str, photo: FloatImage) -> None:
    inside, around = slice(48, 111), slice(48 - CONTEXT, 111 + CONTEXT)
    for damage in draws(family, 10):
        whole = damage.apply(photo, rng())[inside, inside]
        patch = degrade_crop(damage, photo[around, around], rng())
        np.testing.assert_allclose(patch, whole, atol=2e-3)


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("side", [63, 64, 96])
def test_a_patch_is_enlarged_by_exactly_as_much_as_its_photo(factor: float, side: int) -> None:
    """Enlarged by nearest pixels, each pixel has the same number of copies."""
    window = rng(2).random((side + 2 * CONTEXT, side + 2 * CONTEXT, 3), np.float32)
    damage = Degradation((Resize(1.0 / factor, "area"), Resize(1.0, "nearest")))
    firsts = set()
    for seed in range(30):
        patch = degrade_crop(damage, window, rng(seed))
        (steps,) = np.nonzero(np.abs(np.diff(patch[:, :, 0], axis=0)).max(axis=1))
        assert len(steps) == pytest.approx(side / factor, abs=1.01)
        assert np.ptp(np.diff(steps)) <= (factor == 1.5)
        firsts.add(int(steps[0]))
    assert len(firsts) == math.ceil(factor)


@pytest.mark.parametrize("level", ["world", *LIVES])
@pytest.mark.parametrize("size", [(40, 40), (61, 87)])
def test_photos_of_any_size_are_damaged(level: str, size: tuple[int, int]) -> None:
    image = rng(1).random((*size, 3), dtype=np.float32)
    for seed, damage in enumerate(draws(level, 4)):
        out = damage.apply(image, rng(seed))
        assert out.shape == image.shape
        assert out.dtype == np.float32
        assert 0.0 <= out.min() <= out.max() <= 1.0 + 1e-6
