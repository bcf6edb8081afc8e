"""Properties of every blur: what a point becomes, and how far it reaches."""

import math

import cv2
import numpy as np
import pytest

from restoration_toolchain.data.damage.blur import AnisotropicBlur, Blur, Defocus, MotionBlur
from restoration_toolchain.data.damage.degradation import CONTEXT
from restoration_toolchain.data.damage.step import NUM_LEVELS
from restoration_toolchain.data.images import FloatImage

SIGMAS = pytest.mark.parametrize("sigma", [0.5, 2.0, 5.0])

KERNELS = [
    AnisotropicBlur(0.4, 0.15, 30.0),
    AnisotropicBlur(3.0, 0.4, 70.0),
    MotionBlur(1.3),
    MotionBlur(9.0, 45.0),
    MotionBlur(15.0, 20.0, bend=200.0),
    MotionBlur(25.0, 100.0, bend=-60.0, sway=80.0, pace=0.7),
    MotionBlur(31.0, 90.0),
    Defocus(0.5, 0.0),
    Defocus(2.3, 0.2),
    Defocus(8.0, 2.0),
]
SHAPES = pytest.mark.parametrize("step", KERNELS, ids=str)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise_image(height: int = 40, width: int = 48) -> FloatImage:
    return rng(7).random((height, width, 3), dtype=np.float32)


def blurred(image: FloatImage, sigma: float) -> FloatImage:
    return Blur(sigma).apply(image, rng())


def places(side: int) -> tuple[np.ndarray, np.ndarray]:
    """How far each pixel of a kernel lies below and right of the middle."""
    line = np.arange(side) - side // 2
    return line[:, None] * np.ones(side), line[None, :] * np.ones((side, 1))


def moments(kernel: np.ndarray) -> np.ndarray:
    """Mean squares of (down, right), and the mean of their product: (2, 2)."""
    y, x = places(len(kernel))
    return np.array([[(kernel * y * y).sum(), (kernel * x * y).sum()],
                     [(kernel * x * y).sum(), (kernel * x * x).sum()]])  # fmt: skip


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


@SHAPES
def test_a_kernel_is_a_mean_around_its_middle(step) -> None:
    kernel = step.kernel()
    assert kernel.dtype == np.float32
    assert kernel.shape[0] == kernel.shape[1] == len(kernel) // 2 * 2 + 1
    assert kernel.min() >= 0.0
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    y, x = places(len(kernel))
    assert [(kernel * y).sum(), (kernel * x).sum()] == pytest.approx([0.0, 0.0], abs=1e-4)


@SHAPES
def test_a_point_becomes_the_kernel(step) -> None:
    kernel = step.kernel()
    side, reach = 61, len(kernel) // 2
    point = np.zeros((side, side, 3), np.float32)
    point[30, 30] = 1.0
    expected = np.zeros((side, side), np.float32)
    expected[30 - reach : 31 + reach, 30 - reach : 31 + reach] = kernel
    np.testing.assert_allclose(step.apply(point, rng())[..., 1], expected, atol=1e-6)


@SHAPES
def test_a_kernel_leaves_flat_places_and_the_border_of_a_photo_as_they_are(step) -> None:
    constant = np.broadcast_to(np.float32([0.2, 0.5, 1.0]), (30, 20, 3)).copy()
    np.testing.assert_allclose(step.apply(constant, rng()), constant, atol=1e-5)


@pytest.mark.parametrize("kind", [AnisotropicBlur, MotionBlur, Defocus])
def test_what_is_drawn_hardly_reaches_beyond_the_surroundings_of_a_patch(kind) -> None:
    for seed in range(20):
        for level in (1, NUM_LEVELS):
            kernel = kind.drawn(level, rng(seed)).kernel()
            spare = max(0, len(kernel) // 2 - CONTEXT)
            inside = kernel[spare : len(kernel) - spare, spare : len(kernel) - spare]
            assert inside.sum() > 0.999


def test_an_uneven_blur_has_its_width_along_and_across_its_direction() -> None:
    for angle in (0.0, 30.0, 135.0):
        turned = math.radians(angle)
        along = np.array([-math.sin(turned), math.cos(turned)])  # down, right
        across = np.array([along[1], -along[0]])
        spread = moments(AnisotropicBlur(2.0, 0.5, angle).kernel())
        # The mean over a pixel adds a twelfth.
        assert along @ spread @ along == pytest.approx(4.0 + 1 / 12, rel=0.02)
        assert across @ spread @ across == pytest.approx(1.0 + 1 / 12, rel=0.02)


def test_an_uneven_blur_that_is_even_is_a_gaussian() -> None:
    image = noise_image()
    even = AnisotropicBlur(2.0, 1.0, 77.0).apply(image, rng())
    np.testing.assert_allclose(even, blurred(image, math.hypot(2.0, 12**-0.5)), atol=3e-3)
    np.testing.assert_array_equal(AnisotropicBlur(0.0).apply(image, rng()), image)


@pytest.mark.parametrize("length", [3, 9, 25])
def test_a_straight_motion_is_as_long_as_asked_for(length: int) -> None:
    for angle, axis in ((0.0, 0), (90.0, 1), (180.0, 0)):
        line = MotionBlur(length, angle).kernel().sum(axis=axis)
        (drawn,) = np.nonzero(line > 1e-6)
        assert len(drawn) == length
        # Each pixel along it gets the same, the ends a half.
        np.testing.assert_allclose(line[drawn][1:-1], 1.0 / (length - 1), rtol=0.15)
    spread = moments(MotionBlur(length, 40.0).kernel())
    along = np.array([-math.sin(math.radians(40.0)), math.cos(math.radians(40.0))])
    # To share a point between pixels adds a sixth.
    expected = (length - 1) ** 2 / 12 + 1 / 6
    assert along @ spread @ along == pytest.approx(expected, rel=0.02, abs=0.1)
    assert np.linalg.eigvalsh(spread)[0] < 0.3  # no wider than a pixel


def test_a_bent_motion_follows_a_circle_of_its_length() -> None:
    # A path of 24 px that turns by 180 degrees is half of a circle of radius 24 / pi.
    kernel = MotionBlur(25.0, 0.0, bend=180.0).kernel()
    down, right = (np.nonzero(kernel.sum(axis=axis) > 1e-6)[0] for axis in (1, 0))
    assert len(down) == pytest.approx(24 / math.pi + 1, abs=1)
    assert len(right) == pytest.approx(2 * 24 / math.pi + 1, abs=1)


def test_a_motion_of_one_pixel_changes_nothing() -> None:
    image = noise_image()
    np.testing.assert_allclose(MotionBlur(1.0, 33.0).apply(image, rng()), image, atol=1e-6)


def test_a_motion_that_stays_at_its_end_is_darker_there() -> None:
    line = MotionBlur(11.0, 0.0, pace=1.0).kernel().sum(axis=0)
    drawn = line[line > 1e-6]
    assert (np.diff(drawn)[:-2] > 0).all()
    point = np.zeros((1, 41, 3), np.float32)
    point[0, 20] = 1.0
    row = MotionBlur(11.0, 0.0, pace=1.0).apply(point, rng())[0, :, 0]
    brightest = int(row.argmax())
    assert brightest > 20  # it moved to the right, and stayed there
    assert row[brightest - 6] > row[min(brightest + 6, 40)]


def test_a_third_of_motions_is_straight() -> None:
    drawn = [MotionBlur.drawn(5, rng(seed)) for seed in range(300)]
    straight = [step for step in drawn if step == MotionBlur(step.length, step.angle)]
    assert 0.24 < len(straight) / len(drawn) < 0.43


@pytest.mark.parametrize(("radius", "softness"), [(1.0, 0.2), (3.0, 0.5), (6.0, 1.0), (8.0, 2.0)])
def test_a_point_out_of_focus_is_a_disc_with_a_soft_edge(radius: float, softness: float) -> None:
    kernel = Defocus(radius, softness).kernel()
    y, x = places(len(kernel))
    within = kernel[np.hypot(x, y) < radius - 2.0 * softness - 0.8]
    assert within.size == 0 or np.ptp(within) < 0.05 * within.max()
    # At the radius it has half of its height.
    line = kernel[len(kernel) // 2, len(kernel) // 2 :] / kernel.max()
    if radius >= 3.0:
        assert np.interp(radius, np.arange(len(line)), line) == pytest.approx(0.5, abs=0.1)
    # Mean squares of a disc, of its edge's smoothing, and of a pixel.
    expected = radius**2 / 4 + softness**2 + 1 / 12
    assert moments(kernel)[0, 0] == pytest.approx(expected, rel=0.15)


def test_a_hard_disc_has_the_area_of_a_circle() -> None:
    kernel = Defocus(5.0, 0.0).kernel()
    assert 1.0 / kernel.max() == pytest.approx(math.pi * 5.0**2, rel=0.02)
    assert np.nonzero(kernel.sum(axis=0))[0].size == 11


def test_a_disc_within_a_pixel_changes_nothing() -> None:
    image = noise_image()
    np.testing.assert_allclose(Defocus(0.5, 0.0).apply(image, rng()), image, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        (AnisotropicBlur, {"sigma": 7.0}, "sigma must lie in 0 to 6, got 7.0"),
        (AnisotropicBlur, {"sigma": 1.0, "ratio": 0.0}, "ratio must lie in 0.1 to 1"),
        (AnisotropicBlur, {"sigma": 1.0, "angle": math.inf}, "angle must be finite, got inf"),
        (MotionBlur, {"length": 0.5}, "length must lie in 1 to 31"),
        (MotionBlur, {"length": 5.0, "bend": 300.0}, "bend must lie in -270 to 270"),
        (MotionBlur, {"length": 5.0, "sway": -91.0}, "sway must lie in -90 to 90"),
        (MotionBlur, {"length": 5.0, "pace": 1.5}, "pace must lie in -1 to 1"),
        (Defocus, {"radius": 9.0}, "radius must lie in 0.5 to 8"),
        (Defocus, {"radius": 2.0, "softness": math.nan}, "softness must lie in 0 to 2, got nan"),
    ],
)
def test_blur_out_of_range_is_refused(kind, values: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        kind(**values)
