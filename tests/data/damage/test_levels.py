"""Properties of the named distributions that damage is drawn from."""

import itertools

import numpy as np
import pytest

from restoration_toolchain.data.damage.camera import Camera
from restoration_toolchain.data.damage.degradation import (
    CONTEXT,
    MIXTURE,
    Degradation,
    degrade_crop,
    strength_levels,
)
from restoration_toolchain.data.damage.levels import (
    LEVELS,
    SCALED_LEVELS,
    SEVERITY,
    level_triples,
    sampler,
)
from restoration_toolchain.data.damage.resampling import Resize
from restoration_toolchain.data.damage.steps import graded_kinds
from restoration_toolchain.data.errors import ScaleError, UnknownNameError
from restoration_toolchain.data.images import FloatImage
from restoration_toolchain.data.scaling import SMOOTH_KERNELS

CLASSES = pytest.mark.parametrize("level", SEVERITY)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def draws(count: int, *levels: str, scale: int = 1) -> list[Degradation]:
    draw, generator = sampler(*levels, scale=scale), rng()
    return [draw(generator) for _ in range(count)]


def mixture_levels(damage: Degradation) -> tuple[int, ...]:
    """Strength levels of blur, noise and JPEG; there is no other damage."""
    levels = dict(zip(graded_kinds(), strength_levels(damage), strict=True))
    found = tuple(levels.pop(kind) for kind in MIXTURE)
    assert not any(levels.values())
    return found


@pytest.mark.parametrize(
    ("level", "count", "low", "high"),
    [("mild", 163, 9, 11), ("moderate", 434, 12, 17), ("severe", 163, 18, 20)],
)
def test_a_class_holds_exactly_the_triples_of_its_severity(level, count, low, high):
    triples = level_triples(level)
    assert len(triples) == len(set(triples)) == count
    sums = {sum(triple) for triple in triples}
    assert sums == set(range(low + 2, high + 3))
    assert all(1 <= strength <= 10 for triple in triples for strength in triple)


def test_the_classes_do_not_overlap_and_all_is_their_union():
    classes = [set(level_triples(level)) for level in SEVERITY]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(classes, 2))
    assert set(level_triples("all")) == set.union(*classes)
    assert len(level_triples("all")) == 163 + 434 + 163


def test_a_mistyped_level_gets_a_suggestion():
    for look_up in (level_triples, sampler):
        with pytest.raises(UnknownNameError, match="did you mean 'moderate'"):
            look_up("moderat")
    with pytest.raises(UnknownNameError, match="did you mean 'slight'"):
        sampler("sligth", scale=4)


@pytest.mark.parametrize("level", ["slight", "real"])
def test_some_levels_are_of_photos_that_are_made_smaller_only(level: str):
    with pytest.raises(ScaleError, match=f"'{level}' makes photos smaller, too"):
        sampler(level)
    assert sampler(level, scale=2)(rng()).scale == 2


def test_another_scale_is_refused():
    with pytest.raises(ValueError, match="scale must be one of 1, 2, 4"):
        sampler("mild", scale=3)


@CLASSES
def test_drawn_strengths_lie_in_levels_of_the_class(level):
    # Rounding moves the quality by up to a half, so a drawn value may touch a neighbouring level.
    triples = np.array(level_triples(level))
    for drawn in draws(200, level):
        fits = np.ones(len(triples), bool)
        for kind, levels, slack in zip(MIXTURE, triples.T, (0, 0, 0.5), strict=True):
            ends = np.sort([np.take(kind.edges, levels - 1), np.take(kind.edges, levels)], axis=0)
            value = drawn.strength(kind.name)
            fits &= (ends[0] - slack <= value) & (value <= ends[1] + slack)
        assert fits.any()


@CLASSES
def test_the_levels_of_a_mixture_are_found_again(level: str) -> None:
    triples = set(level_triples(level))
    found = [mixture_levels(drawn) for drawn in draws(300, level)]
    # A quality is rounded, which may move it across an edge, by one level.
    assert np.mean([triple in triples for triple in found]) > 0.9
    assert all(1 <= strength <= 10 for triple in found for strength in triple)


def test_the_levels_of_a_class_are_drawn_evenly():
    n = 4000
    share = np.mean([triple[0] == 10 for triple in level_triples("moderate")])
    drawn = np.mean([mixture_levels(drawn)[0] == 10 for drawn in draws(n, "moderate")])
    assert drawn == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / n))


@pytest.mark.parametrize(("level", "count"), [("single", 1), ("double", 2)])
def test_draws_have_so_many_distortions_and_each_comes_as_often(level, count):
    present = np.array([mixture_levels(drawn) for drawn in draws(1500, level)]) > 0
    assert (present.sum(axis=1) == count).all()
    assert present.mean(axis=0) == pytest.approx(np.full(3, count / 3), abs=0.05)


@pytest.mark.parametrize("kind", graded_kinds(), ids=lambda kind: kind.name)
def test_a_kind_alone_is_a_level_by_its_name(kind):
    drawn = draws(200, kind.name)
    assert {type(step) for each in drawn for step in each.steps} == {kind}
    assert {sum(strength_levels(each)) for each in drawn} == set(range(1, 11))


def test_light_damage_is_any_of_the_three_and_below_mild():
    drawn = draws(1500, "light")
    levels = np.array([mixture_levels(each) for each in drawn])
    assert levels.sum(axis=1).max() - 2 < SEVERITY["mild"][0]
    assert max(each.strength("blur") for each in drawn) <= 3.0
    assert max(each.strength("noise") for each in drawn) <= 10.0
    assert min(each.strength("jpeg") or 100 for each in drawn) >= 60
    assert (levels > 0).mean(axis=0) == pytest.approx(np.full(3, 4 / 7), abs=0.06)


def test_clean_does_nothing():
    assert draws(3, "clean") == 3 * [Degradation()]


def test_camera_noise_grows_from_hardly_any_to_that_of_a_night():
    drawn, generator = draws(200, "camera"), rng()
    assert all(isinstance(each.steps[0], Camera) and len(each.steps) == 2 for each in drawn)
    assert all(85 <= each.strength("jpeg") <= 100 for each in drawn)
    patches = [d.apply(np.full((32, 32, 3), 0.5, np.float32), generator) for d in drawn]
    sigmas = np.array([255.0 * float(patch.std()) for patch in patches])
    assert sigmas.min() < 3.0 < 12.0 < sigmas.max() < 30.0


@pytest.mark.parametrize(
    ("level", "scale"),
    [(level, 1) for level in LEVELS if level != "clean"]
    + [(level, scale) for level in SCALED_LEVELS for scale in (2, 4)],
)
def test_one_seed_gives_one_degradation_of_the_scale_and_one_image(level: str, scale: int) -> None:
    side = 64 + 2 * CONTEXT
    window: FloatImage = rng(7).random((side, side, 3), dtype=np.float32)
    runs = []
    for seed in (3, 3, 4):
        generator = rng(seed)
        drawn = sampler(level, scale=scale)(generator)
        runs.append((drawn, degrade_crop(drawn, window, generator)))
    assert runs[0][0] == runs[1][0]
    assert level == "clean" or runs[0][0] != runs[2][0]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
    assert runs[0][1].shape == (64 // scale, 64 // scale, 3)
    assert 0.0 <= runs[0][1].min() < runs[0][1].max() <= 1.0


def test_kernels_are_drawn():
    steps = [step for drawn in draws(60, "mild", scale=4) for step in drawn.steps]
    assert {step.kernel for step in steps if isinstance(step, Resize)} == set(SMOOTH_KERNELS)


def test_several_levels_are_drawn_alike_often() -> None:
    mixtures = [all(mixture_levels(drawn)) for drawn in draws(400, "mild", "single")]
    assert 0.4 < np.mean(mixtures) < 0.6


RECORDED = {
    ("all", 1): "blur of sigma 4.8 px, noise of sigma 15 / 255, JPEG of quality 29",
    ("light", 1): "noise of sigma 8.6 / 255, JPEG of quality 71",
    ("double", 1): "noise of sigma 38 / 255, JPEG of quality 34",
    ("single", 1): "blur of sigma 4.5 px",
    ("camera", 1): "noise of a camera with photon noise 0.00053, JPEG of quality 87",
    ("moderate", 4): "blur of sigma 3.5 px, bilinear down-sampling by 4, noise of sigma 9.1 / 255, "
    "JPEG of quality 30",
    ("slight", 2): "blur of sigma 0.91 px, bilinear down-sampling by 2, noise of sigma 3.6 / 255, "
    "JPEG of quality 93",
    ("real", 4): "blur of sigma 1.7 px, resizing to 57%, noise of sigma 9.7 / 255, JPEG of quality "
    "61, blur of sigma 0.36 px, bilinear down-sampling by 4, noise of sigma 17 / 255, JPEG of "
    "quality 57",
}
"""What the third draw of a generator is: trainings that ran before must meet the same damage."""


@pytest.mark.parametrize(("level", "scale"), RECORDED)
def test_what_a_seed_draws_does_not_change(level: str, scale: int) -> None:
    assert draws(3, level, scale=scale)[2].describe() == RECORDED[level, scale]
