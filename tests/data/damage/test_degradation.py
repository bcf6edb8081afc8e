"""Properties of the mixed degradation."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restoration_toolchain.data.damage.degradation import (
    BLUR_SIGMA_EDGES,
    CONTEXT,
    JPEG_QUALITY_EDGES,
    LEVELS,
    NOISE_SIGMA_EDGES,
    SEVERITY,
    Degradation,
    add_gaussian_noise,
    blur_gaussian,
    central_patch,
    degrade_crop,
    level_triples,
    sampler,
    strength_levels,
)
from restoration_toolchain.data.damage.jpeg import compress_jpeg
from restoration_toolchain.data.errors import ImageFormatError, UnknownNameError
from restoration_toolchain.data.images import FloatImage, to_float, to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.sources import EmbeddedSource


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise_image(height: int = 40, width: int = 48) -> FloatImage:
    return rng(7).random((height, width, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def photo() -> FloatImage:
    _, pixels = next(iter(EmbeddedSource()))
    return to_float(pixels[100:228, 150:278])


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
    classes = [set(level_triples(level)) for level in ("mild", "moderate", "severe")]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(classes, 2))
    assert set(level_triples("all")) == set.union(*classes)
    assert len(level_triples("all")) == 163 + 434 + 163


def test_a_mistyped_class_gets_a_suggestion():
    for look_up in (level_triples, sampler):
        with pytest.raises(UnknownNameError, match="did you mean 'moderate'"):
            look_up("moderat")


@pytest.mark.parametrize("level", ["mild", "moderate", "severe"])
def test_drawn_strengths_lie_in_levels_of_the_class(level):
    draw, generator = sampler(level), rng()
    # Rounding moves the quality by up to a half, so a drawn value may touch a neighbouring level.
    triples = np.array(level_triples(level))
    for _ in range(200):
        drawn = draw(generator)
        fits = within(BLUR_SIGMA_EDGES, triples[:, 0], drawn.blur_sigma)
        fits &= within(NOISE_SIGMA_EDGES, triples[:, 1], drawn.noise_sigma)
        fits &= within(JPEG_QUALITY_EDGES, triples[:, 2], drawn.jpeg_quality, slack=0.5)
        assert fits.any()


def within(
    edges: tuple[float, ...], levels: np.ndarray, value: float | None, slack: float = 0.0
) -> np.ndarray:
    ends = np.sort([np.take(edges, levels - 1), np.take(edges, levels)], axis=0)
    return (ends[0] - slack <= value) & (value <= ends[1] + slack)


def test_the_levels_of_a_class_are_drawn_evenly():
    draw, generator, n = sampler("moderate"), rng(), 4000
    share = np.mean([triple[0] == 10 for triple in level_triples("moderate")])
    drawn = np.mean([draw(generator).blur_sigma > BLUR_SIGMA_EDGES[9] for _ in range(n)])
    assert drawn == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / n))


@pytest.mark.parametrize(("level", "count"), [("single", 1), ("double", 2)])
def test_draws_have_so_many_distortions_and_each_comes_as_often(level, count):
    draw, generator, n = sampler(level), rng(), 1500
    counts = np.zeros(3)
    for _ in range(n):
        drawn = draw(generator)
        present = [drawn.blur_sigma > 0, drawn.noise_sigma > 0, drawn.jpeg_quality is not None]
        assert sum(present) == count
        counts += present
    assert counts / n == pytest.approx(np.full(3, count / 3), abs=0.05)


def test_light_damage_is_any_of_the_three_and_below_mild():
    draw, generator, n = sampler("light"), rng(), 1500
    counts = np.zeros(3)
    for _ in range(n):
        drawn = draw(generator)
        levels = strength_levels(drawn)
        assert sum(levels) - 2 < SEVERITY["mild"][0]
        assert drawn.blur_sigma <= 3.0
        assert drawn.noise_sigma <= 10.0
        assert drawn.jpeg_quality is None or drawn.jpeg_quality >= 60
        counts += np.array(levels) > 0
    assert counts / n == pytest.approx(np.full(3, 4 / 7), abs=0.06)


def test_clean_does_nothing():
    damage = sampler("clean")(rng())
    image = noise_image()
    np.testing.assert_array_equal(damage.apply(image, rng()), image)
    assert strength_levels(damage) == (0, 0, 0)


def test_camera_noise_grows_from_hardly_any_to_that_of_a_night():
    draw, generator = sampler("camera"), rng()
    drawn = [draw(generator) for _ in range(200)]
    assert all(d.camera is not None and d.noise_sigma == d.blur_sigma == 0.0 for d in drawn)
    assert all(85 <= d.jpeg_quality <= 100 for d in drawn)
    patches = [d.apply(np.full((32, 32, 3), 0.5, np.float32), generator) for d in drawn]
    sigmas = np.array([255.0 * float(patch.std()) for patch in patches])
    assert sigmas.min() < 3.0 < 12.0 < sigmas.max() < 30.0


@pytest.mark.parametrize("level", sorted(set(LEVELS) - {"clean"}))
def test_one_seed_gives_one_degradation_and_one_image(level):
    runs = []
    for seed in (3, 3, 4):
        generator = rng(seed)
        drawn = sampler(level)(generator)
        runs.append((drawn, drawn.apply(noise_image(), generator)))
    assert runs[0][0] == runs[1][0] != runs[2][0]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])


def test_numpys_global_generator_is_neither_read_nor_moved():
    damage = Degradation(blur_sigma=1.0, noise_sigma=20.0, jpeg_quality=30)
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = damage.apply(noise_image(), rng())
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(damage.apply(noise_image(), rng()), first)


@pytest.mark.parametrize("sigma", [2.0, 10.0, 25.0, 50.0])
def test_noise_has_the_standard_deviation_asked_for(sigma):
    # Dark grey clips at sigma 50, middle grey is 2.5 sigma from either end.
    grey = np.full((256, 256, 3), 0.5, np.float32)
    noise = 255.0 * (add_gaussian_noise(grey, sigma, rng()) - grey)
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert noise.mean() == pytest.approx(0.0, abs=0.02 * sigma)


def test_noise_is_independent_between_channels_and_neighbours():
    grey = np.full((200, 200, 3), 0.5, np.float32)
    noise = add_gaussian_noise(grey, 10.0, rng()) - grey
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    assert np.abs(channels - np.eye(3)).max() < 0.03
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.03


def test_noise_is_clipped_and_not_rounded():
    noisy = add_gaussian_noise(np.zeros((32, 32, 3), np.float32), 50.0, rng())
    assert noisy.min() == 0.0
    middle = add_gaussian_noise(np.full((32, 32, 3), 0.5, np.float32), 50.0, rng())
    assert middle.max() <= 1.0
    assert len(np.unique(middle)) > 256


@pytest.mark.parametrize(
    "change",
    [
        lambda image: blur_gaussian(image, 0.0),
        lambda image: add_gaussian_noise(image, 0.0, rng()),
        lambda image: Degradation().apply(image, rng()),
    ],
    ids=["blur", "noise", "nothing"],
)
def test_strength_zero_is_the_identity_and_returns_a_copy(change):
    image = noise_image()
    out = change(image)
    np.testing.assert_array_equal(out, image)
    assert not np.shares_memory(out, image)


def test_no_degradation_changes_its_input():
    image = noise_image()
    kept = image.copy()
    Degradation(blur_sigma=2.0, noise_sigma=20.0, jpeg_quality=20).apply(image, rng())
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 5.0])
def test_blur_leaves_a_constant_image_as_it_is(sigma):
    constant = np.broadcast_to(np.float32([0.2, 0.5, 0.9]), (30, 20, 3)).copy()
    np.testing.assert_allclose(blur_gaussian(constant, sigma), constant, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 5.0])
def test_blur_keeps_the_mean_of_what_lies_inside(sigma):
    image = np.full((64, 64, 3), 0.25, np.float32)
    image[22:42, 22:42] = noise_image(20, 20)
    blurred = blur_gaussian(image, sigma)
    np.testing.assert_allclose(blurred.mean((0, 1)), image.mean((0, 1)), atol=1e-5)


def test_blur_has_the_width_asked_for_and_ends_at_21_pixels():
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1.0
    spread = blur_gaussian(point, 1.5)[..., 0]
    offsets = np.arange(41) - 20
    assert (spread.sum(0) * offsets**2).sum() == pytest.approx(1.5**2, rel=0.01)
    wide = blur_gaussian(point, 5.0)[..., 0]
    assert (np.argwhere(wide > 0).min(0) == 10).all()
    assert (np.argwhere(wide > 0).max(0) == 30).all()


def test_blur_replicates_the_border():
    image = noise_image(30, 30)
    padded = np.pad(image, ((10, 10), (10, 10), (0, 0)), mode="edge")
    inner = blur_gaussian(padded, 3.0)[10:-10, 10:-10]
    np.testing.assert_allclose(blur_gaussian(image, 3.0), inner, atol=1e-6)


def test_blur_equals_opencvs_gaussian_with_a_21x21_kernel():
    image = noise_image()
    expected = cv2.GaussianBlur(image, (21, 21), 2.5, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(blur_gaussian(image, 2.5), expected, atol=1e-5)


@pytest.mark.parametrize("quality", [100, 60, 10])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_pure_colour_keeps_its_channel_through_jpeg(channel, quality):
    image = np.zeros((32, 32, 3), np.float32)
    image[..., channel] = 1.0
    out = compress_jpeg(image, quality)
    assert out[..., channel].mean() > 0.9
    assert np.delete(out, channel, axis=2).mean() < 0.1


def test_lower_quality_never_raises_psnr(photo):
    scores = [psnr(compress_jpeg(photo, quality), photo) for quality in range(100, 5, -5)]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("name", ["blur_sigma", "noise_sigma"])
def test_a_stronger_distortion_never_raises_psnr(photo, name):
    scores = [
        psnr(Degradation(**{name: strength}).apply(photo, rng()), photo)
        for strength in (0.0, 0.5, 1.0, 2.0, 5.0)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]


def test_jpeg_lands_on_the_8_bit_grid():
    out = compress_jpeg(noise_image(), 30)
    np.testing.assert_array_equal(to_float(to_uint8(out)), out)


def test_distortions_come_in_the_order_blur_noise_jpeg():
    image, generator = noise_image(), rng(5)
    expected = blur_gaussian(image, 1.5)
    expected = add_gaussian_noise(expected, 20.0, generator)
    expected = compress_jpeg(expected, 25)
    out = Degradation(blur_sigma=1.5, noise_sigma=20.0, jpeg_quality=25).apply(image, rng(5))
    np.testing.assert_array_equal(out, expected)


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    blur=st.floats(0.0, 5.0),
    noise=st.floats(0.0, 50.0),
    quality=st.none() | st.integers(1, 100),
)
def test_any_degradation_keeps_shape_dtype_and_range(height, width, blur, noise, quality):
    image = rng().random((height, width, 3), dtype=np.float32)
    out = Degradation(blur, noise, quality).apply(image, rng())
    assert out.shape == image.shape
    assert out.dtype == np.float32
    assert out.min() >= 0.0
    assert out.max() <= 1.0 + 1e-6


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf")])
def test_an_impossible_sigma_is_refused(sigma):
    with pytest.raises(ValueError, match="sigma"):
        Degradation(blur_sigma=sigma)
    with pytest.raises(ValueError, match="sigma"):
        Degradation(noise_sigma=sigma)
    with pytest.raises(ValueError, match="sigma"):
        blur_gaussian(noise_image(), sigma)
    with pytest.raises(ValueError, match="sigma"):
        add_gaussian_noise(noise_image(), sigma, rng())


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_an_impossible_quality_is_refused(quality):
    with pytest.raises(ValueError, match="quality"):
        Degradation(jpeg_quality=quality)
    with pytest.raises(ValueError, match="quality"):
        compress_jpeg(noise_image(), quality)


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
def test_what_is_not_float32_rgb_is_refused(image):
    for change in (
        lambda: blur_gaussian(image, 1.0),
        lambda: add_gaussian_noise(image, 1.0, rng()),
        lambda: compress_jpeg(image, 50),
        lambda: Degradation().apply(image, rng()),
    ):
        with pytest.raises(ImageFormatError, match="float32 RGB"):
            change()


@pytest.mark.parametrize("level", ["mild", "moderate", "severe"])
def test_the_levels_of_a_mixture_are_found_again(level: str) -> None:
    draw, generator = sampler(level), rng(3)
    triples = set(level_triples(level))
    found = [strength_levels(draw(generator)) for _ in range(300)]
    # A quality is rounded, which may move it across an edge, by one level.
    assert np.mean([triple in triples for triple in found]) > 0.9
    assert all(1 <= strength <= 10 for triple in found for strength in triple)


@pytest.mark.parametrize(
    ("degradation", "levels"),
    [
        (Degradation(), (0, 0, 0)),
        (Degradation(0.2, 0.0, 100), (1, 0, 1)),
        (Degradation(5.0, 50.0, 10), (10, 10, 10)),
        (Degradation(0.6, 12.0, 27), (2, 3, 7)),
        (Degradation(9.0, 90.0, 2), (10, 10, 10)),
    ],
)
def test_strengths_lie_in_their_levels(
    degradation: Degradation, levels: tuple[int, int, int]
) -> None:
    assert strength_levels(degradation) == levels


def test_a_patch_cut_from_a_degraded_photo_has_its_jpeg_blocks_anywhere() -> None:
    window = window_of_noise(96)
    strong = Degradation(jpeg_quality=20)

    def phase(seed: int) -> int:
        lq = degrade_crop(strong, window, np.random.default_rng(seed))
        assert lq.shape == (64, 64, 3)
        edges = np.abs(np.diff(lq.mean(axis=2), axis=1)).mean(axis=0)
        return int(np.argmax([edges[offset::8].mean() for offset in range(8)]))

    assert len({phase(seed) for seed in range(40)}) == 8
    assert phase(3) == phase(3)


def test_blur_sees_what_surrounds_the_patch() -> None:
    window = window_of_noise(63 + 2 * CONTEXT)
    blur = Degradation(blur_sigma=4.0)
    for seed in range(5):
        patch = degrade_crop(blur, window, np.random.default_rng(seed))
        np.testing.assert_array_equal(patch, central_patch(blur.apply(window, rng())))
    on_its_own = blur.apply(central_patch(window), rng())
    assert np.abs(patch - on_its_own)[0].max() > 0.01  # at its border
    np.testing.assert_allclose(patch[10:-10, 10:-10], on_its_own[10:-10, 10:-10], atol=1e-6)


def test_a_patch_without_damage_is_cut_out_unchanged() -> None:
    window = np.random.default_rng(0).random((9 + 2 * CONTEXT, 12 + 2 * CONTEXT, 3), np.float32)
    patch = degrade_crop(Degradation(), window, np.random.default_rng(0))
    np.testing.assert_array_equal(patch, window[CONTEXT:-CONTEXT, CONTEXT:-CONTEXT])


def test_a_window_without_a_patch_in_it_is_refused() -> None:
    with pytest.raises(ImageFormatError, match="has no patch in it"):
        degrade_crop(Degradation(), np.zeros((2 * CONTEXT, 50, 3), np.float32), rng())


def test_several_levels_are_drawn_alike_often() -> None:
    draw, generator = sampler("mild", "single"), rng()
    mixtures = [all(strength_levels(draw(generator))) for _ in range(400)]
    assert 0.4 < np.mean(mixtures) < 0.6


def window_of_noise(side: int) -> FloatImage:
    window = np.full((side, side, 3), 0.5, np.float32)
    window += np.random.default_rng(1).normal(0, 0.1, window.shape).astype(np.float32)
    return window.clip(0, 1)
