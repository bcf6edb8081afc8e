"""Properties of what happens to a photo, step after step, and to patches of it."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restoration_toolchain.data.damage.blur import Blur
from restoration_toolchain.data.damage.camera import typical_camera
from restoration_toolchain.data.damage.degradation import (
    CONTEXT,
    MIXTURE,
    Degradation,
    central_patch,
    degrade_crop,
    mixture,
    strength_levels,
)
from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.noise import Noise
from restoration_toolchain.data.damage.noise_model import estimate_noise
from restoration_toolchain.data.damage.resampling import Resize
from restoration_toolchain.data.damage.steps import graded_kinds
from restoration_toolchain.data.errors import ImageFormatError, ToolchainError
from restoration_toolchain.data.images import FloatImage, to_float
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.data.scaling import KERNELS

EVERYTHING = mixture(blur_sigma=1.5, noise_sigma=20.0, jpeg_quality=25)
SCALES = pytest.mark.parametrize("scale", [1, 2, 4])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise_image(height: int = 40, width: int = 48) -> FloatImage:
    return rng(7).random((height, width, 3), dtype=np.float32)


def window_of_noise(side: int) -> FloatImage:
    window = np.full((side, side, 3), 0.5, np.float32)
    window += rng(1).normal(0, 0.1, window.shape).astype(np.float32)
    return window.clip(0, 1)


@pytest.fixture(scope="module")
def photo() -> FloatImage:
    _, pixels = next(iter(open_source("embedded")))
    return to_float(pixels[100:228, 150:278])


def test_distortions_come_in_the_order_blur_noise_jpeg() -> None:
    image, generator = noise_image(), rng(5)
    expected = Blur(1.5).apply(image, generator)
    expected = Noise(20.0).apply(expected, generator)
    expected = Jpeg(25).apply(expected, generator)
    np.testing.assert_array_equal(EVERYTHING.apply(image, rng(5)), expected)


def test_no_damage_is_the_identity_and_returns_a_copy() -> None:
    image = noise_image()
    out = mixture().apply(image, rng())
    np.testing.assert_array_equal(out, image)
    assert not np.shares_memory(out, image)
    assert mixture() == Degradation() == mixture(0.0, 0.0, None)


def test_no_degradation_changes_its_input() -> None:
    image = noise_image()
    kept = image.copy()
    EVERYTHING.apply(image, rng())
    np.testing.assert_array_equal(image, kept)


def test_numpys_global_generator_is_neither_read_nor_moved() -> None:
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = EVERYTHING.apply(noise_image(), rng())
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(EVERYTHING.apply(noise_image(), rng()), first)


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    blur=st.floats(0.0, 5.0),
    noise=st.floats(0.0, 50.0),
    quality=st.none() | st.integers(1, 100),
)
def test_any_mixture_keeps_shape_dtype_and_range(height, width, blur, noise, quality) -> None:
    image = rng().random((height, width, 3), dtype=np.float32)
    out = mixture(blur, noise, quality).apply(image, rng())
    assert out.shape == image.shape
    assert out.dtype == np.float32
    assert out.min() >= 0.0
    assert out.max() <= 1.0 + 1e-6


@pytest.mark.parametrize(
    ("degradation", "levels"),
    [
        (mixture(), (0, 0, 0)),
        (mixture(0.2, 0.0, 100), (1, 0, 1)),
        (mixture(5.0, 50.0, 10), (10, 10, 10)),
        (mixture(0.6, 12.0, 27), (2, 3, 7)),
        (mixture(9.0, 90.0, 2), (10, 10, 10)),
    ],
)
def test_strengths_lie_in_their_levels(
    degradation: Degradation, levels: tuple[int, int, int]
) -> None:
    of_kinds = dict(zip(graded_kinds(), strength_levels(degradation), strict=True))
    assert tuple(of_kinds.pop(kind) for kind in MIXTURE) == levels
    assert set(of_kinds.values()) == {0}


def test_strengths_are_looked_up_by_kind() -> None:
    assert [EVERYTHING.strength(kind) for kind in ("blur", "noise", "jpeg")] == [1.5, 20.0, 25]
    assert [mixture().strength(kind) for kind in ("blur", "noise", "jpeg")] == [0.0, 0.0, None]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (mixture(), mixture(noise_sigma=7.0)),
        (mixture(1.0, 3.0, 50), mixture(1.0, 7.0, 50)),
        (mixture(blur_sigma=1.0, jpeg_quality=50), mixture(1.0, 7.0, 50)),
    ],
)
def test_a_step_takes_the_place_of_its_kind(before: Degradation, after: Degradation) -> None:
    assert before.with_step(Noise(7.0)) == after


def test_steps_that_stay_keep_their_order() -> None:
    life = Degradation((Resize(0.5), Jpeg(30), Resize(1.0), Jpeg(80)))
    steps = life.with_step(Noise(7.0)).steps
    assert steps == (Resize(0.5), Noise(7.0), *life.steps[1:])
    assert life.with_step(Jpeg(50)).steps == (Resize(0.5), Resize(1.0), Jpeg(50))


def test_of_several_steps_of_a_kind_the_strongest_counts() -> None:
    found = strength_levels(Degradation((Jpeg(12), Jpeg(95), Noise(3.0))))
    assert found == strength_levels(mixture(0.0, 3.0, 12))


@pytest.mark.parametrize("scale", [0, 3, 8])
def test_another_scale_is_refused(scale: int) -> None:
    with pytest.raises(ValueError, match="scale must be one of 1, 2, 4"):
        mixture().shrunk(scale)


def test_damage_must_end_at_a_scale() -> None:
    with pytest.raises(ValueError, match="scale must be one of 1, 2, 4"):
        Degradation((Resize(0.25), Resize(0.3)))
    assert Degradation((Resize(0.3), Resize(0.25))).scale == 4
    assert mixture(1.0).shrunk(1) == mixture(1.0)


@pytest.mark.parametrize("scale", [2, 4])
def test_sizes_on_the_way_become_shares_of_a_smaller_photo(scale: int) -> None:
    life = Degradation((Blur(1.0), Resize(0.5, "area"), Jpeg(60), Resize(1.0)))
    small = life.shrunk(scale)
    assert small.scale == scale
    sizes = [step.factor for step in small.steps if isinstance(step, Resize)]
    assert sizes == [1 / scale, 0.5 / scale, 1 / scale]
    assert small.apply(noise_image(40, 80), rng()).shape == (40 // scale, 80 // scale, 3)


def test_a_side_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ImageFormatError, match="130x96 pixels does not divide by 4"):
        mixture().shrunk(4).apply(np.zeros((96, 130, 3), np.float32), rng())


def test_noise_is_added_after_the_image_became_smaller() -> None:
    grey = np.full((256, 256, 3), 0.5, np.float32)
    small = mixture(noise_sigma=20.0).shrunk(4).apply(grey, rng())
    assert 255.0 * (small - grey[:64, :64]).std() == pytest.approx(20.0, rel=0.02)


def test_blur_is_applied_before_the_image_becomes_smaller(photo: FloatImage) -> None:
    chain = mixture(blur_sigma=3.0).shrunk(2).apply(photo, rng())
    by_hand = Resize(0.5).apply(Blur(3.0).apply(photo, rng()), rng())
    np.testing.assert_array_equal(chain, by_hand)


def test_a_second_order_of_damage_is_worse_than_its_second_half(photo: FloatImage) -> None:
    second = mixture(noise_sigma=2.0).shrunk(4)
    first = (Blur(3.0), Resize(0.37, "area"), Noise(30.0), Jpeg(30))
    both = Degradation((*first, *second.steps))
    clean = Resize(0.25).apply(photo, rng())

    def error(damage: Degradation) -> float:
        return float(np.square(damage.apply(photo, rng()) - clean).mean())

    assert both.scale == 4
    assert error(both) > 3.0 * error(second)


@pytest.mark.parametrize(
    "damage",
    [
        mixture(),
        EVERYTHING,
        mixture(0.1 + 0.2, 1 / 3, 99).shrunk(2, "area"),
        Degradation((typical_camera(0.0123), Jpeg(90))),
        Degradation((Blur(3.0), Resize(0.37, "area"), Noise(30.0), Blur(1.0), Resize(0.25))),
    ],
    ids=Degradation.describe,
)
def test_damage_survives_a_file_to_the_last_bit(damage: Degradation, photo: FloatImage) -> None:
    again = Degradation.from_dict(json.loads(json.dumps(damage.to_dict())))
    assert again == damage
    np.testing.assert_array_equal(again.apply(photo, rng()), damage.apply(photo, rng()))


def test_a_measured_noise_survives_a_file(photo: FloatImage) -> None:
    noise = Degradation((estimate_noise([Noise(10.0).apply(photo, rng())]),))
    again = Degradation.from_dict(json.loads(json.dumps(noise.to_dict())))
    np.testing.assert_array_equal(again.apply(photo, rng()), noise.apply(photo, rng()))
    assert noise.describe().startswith("measured noise of sigma ")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({}, "no steps"),
        ([], "no steps"),
        ({"steps": 3}, "no steps"),
        ({"steps": [3]}, "no step can be read from 3"),
        ({"steps": [{"name": ["x"]}]}, "no step can be read"),
        ({"steps": [{"name": "nosie"}]}, "did you mean 'noise'"),
        ({"steps": [{"name": "resize", "factor": 0.3}]}, "scale must be one of"),
    ],
)
def test_what_is_no_damage_is_refused(entry: Any, says: str) -> None:
    with pytest.raises(ToolchainError, match=says):
        Degradation.from_dict(entry)


def test_a_list_of_steps_is_as_good_as_a_tuple() -> None:
    steps = [Blur(1.0), Jpeg(50)]
    assert hash(Degradation(steps)) == hash(Degradation(tuple(steps)))  # type: ignore[arg-type]


def test_numbers_of_numpy_are_written_as_those_of_python() -> None:
    damage = Degradation((Blur(np.float32(1.5)), Jpeg(np.int64(50))))  # type: ignore[arg-type]
    assert json.loads(json.dumps(damage.to_dict())) == mixture(1.5, 0.0, 50).to_dict()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (mixture(), "nothing"),
        (mixture(2.345, 21.2, 40), "blur of sigma 2.3 px, noise of sigma 21 / 255, JPEG of quality "
         "40"),
        (mixture(1.0, 0.0, 40).shrunk(4), "blur of sigma 1 px, bicubic down-sampling by 4, JPEG of "
         "quality 40"),
        (Degradation((Resize(0.634), typical_camera(0.0123), Resize(0.5, "area"))),
         "resizing to 63%, noise of a camera with photon noise 0.012, area down-sampling by 2"),
    ],
)  # fmt: skip
def test_damage_is_told_in_words(damage: Degradation, words: str) -> None:
    assert damage.describe() == words


@SCALES
def test_a_patch_cut_from_a_degraded_photo_has_its_jpeg_blocks_anywhere(scale: int) -> None:
    window = window_of_noise(64 * scale + 2 * CONTEXT)
    strong = mixture(jpeg_quality=20).shrunk(scale)

    def phase(seed: int) -> int:
        lq = degrade_crop(strong, window, rng(seed))
        assert lq.shape == (64, 64, 3)
        edges = np.abs(np.diff(lq.mean(axis=2), axis=1)).mean(axis=0)
        return int(np.argmax([edges[offset::8].mean() for offset in range(8)]))

    assert len({phase(seed) for seed in range(40)}) == 8
    assert phase(3) == phase(3)


def test_blur_sees_what_surrounds_the_patch() -> None:
    window = window_of_noise(63 + 2 * CONTEXT)
    blur = mixture(blur_sigma=4.0)
    for seed in range(5):
        patch = degrade_crop(blur, window, rng(seed))
        np.testing.assert_array_equal(patch, central_patch(blur.apply(window, rng())))
    on_its_own = blur.apply(central_patch(window), rng())
    assert np.abs(patch - on_its_own)[0].max() > 0.01  # at its border
    np.testing.assert_allclose(patch[10:-10, 10:-10], on_its_own[10:-10, 10:-10], atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_degraded_crop_is_a_crop_of_the_degraded_photo(photo: FloatImage, kernel) -> None:
    damage = mixture(blur_sigma=1.0).shrunk(4, kernel)
    around = CONTEXT // 4
    whole = damage.apply(photo, rng())[around:-around, around:-around]
    np.testing.assert_allclose(degrade_crop(damage, photo, rng()), whole, atol=1e-6)


def test_a_small_patch_lies_on_its_large_partner(photo: FloatImage) -> None:
    lq = degrade_crop(mixture().shrunk(4, "area"), photo, rng())
    expected = Resize(0.25, "area").apply(central_patch(photo), rng())
    np.testing.assert_allclose(lq, expected, atol=1e-6)


def test_a_patch_without_damage_is_cut_out_unchanged() -> None:
    window = rng().random((9 + 2 * CONTEXT, 12 + 2 * CONTEXT, 3), np.float32)
    patch = degrade_crop(Degradation(), window, rng())
    np.testing.assert_array_equal(patch, window[CONTEXT:-CONTEXT, CONTEXT:-CONTEXT])


def test_a_window_without_a_patch_in_it_is_refused() -> None:
    with pytest.raises(ImageFormatError, match="has no patch in it"):
        degrade_crop(Degradation(), np.zeros((2 * CONTEXT, 50, 3), np.float32), rng())
