"""Properties of JPEG: colours, grids, and how much of colour is kept."""

import cv2
import numpy as np
import pytest

from restoration_toolchain.data.damage.jpeg import _FACTORS, Jpeg, Subsampling
from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.data.images import FloatImage, to_float, to_uint8


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise_image(height: int = 40, width: int = 48) -> FloatImage:
    return rng(7).random((height, width, 3), dtype=np.float32)


def smooth_image(side: int = 64) -> FloatImage:
    """Waves in brightness, none of a period that divides 8."""
    y, x = np.mgrid[:side, :side] / 21.0
    wave = 0.5 + 0.2 * np.sin(2.0 * x + y) + 0.2 * np.cos(1.3 * y)
    return np.repeat(wave[..., None], 3, axis=2).astype(np.float32)


def first_edge(jpeg: Jpeg, axis: int) -> int:
    """Pixels before the first border of blocks, 0 to 7."""
    out = jpeg.apply(smooth_image(), rng()).mean(axis=2)
    steps = np.abs(np.diff(out, axis=axis)).mean(axis=1 - axis)
    return int(np.argmax([steps[(place - 1) % 8 :: 8].mean() for place in range(8)]))


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


@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 5), (8, 7), (11, 1), (15, 15)])
def test_the_grid_begins_where_it_is_told_to(top: int, left: int) -> None:
    jpeg = Jpeg(8, top=top, left=left)
    assert first_edge(jpeg, 0) == -top % 8
    assert first_edge(jpeg, 1) == -left % 8


@pytest.mark.parametrize("subsampling", _FACTORS)
def test_a_grid_elsewhere_is_that_of_a_photo_that_was_cut(subsampling: Subsampling) -> None:
    photo = noise_image(64, 64)
    whole = Jpeg(40, subsampling).apply(photo, rng())
    cut = Jpeg(40, subsampling, 5, 9).apply(photo[21:, 25:], rng())
    # 21 and 25 are 16 and what lies above and left. Behind the first cells both are the same, but
    # for the colour at their border, which is interpolated.
    np.testing.assert_array_equal(cut[13:, 9:], whole[34:, 34:])


@pytest.mark.parametrize(
    ("subsampling", "block"), [("4:4:4", (1, 1)), ("4:2:2", (1, 2)), ("4:2:0", (2, 2))]
)
def test_so_much_of_colour_is_kept(subsampling: Subsampling, block: tuple[int, int]) -> None:
    """Stripes of colour without brightness survive where each has pixels of its own."""
    for axis, factor in enumerate(block):
        stripes = np.full((32, 32, 3), 0.5, np.float32)
        index = [slice(None), slice(None)]
        index[axis] = slice(0, None, 2)
        stripes[tuple(index)] += np.float32([0.2, -0.1018, 0.0])
        index[axis] = slice(1, None, 2)
        stripes[tuple(index)] -= np.float32([0.2, -0.1018, 0.0])
        out = Jpeg(95, subsampling).apply(stripes, rng())
        kept = out[..., 0].std() / stripes[..., 0].std()
        assert (kept > 0.9) == (factor == 1), (axis, kept)
        assert (kept < 0.2) == (factor == 2), (axis, kept)


def test_opencv_halves_colour_unless_told_otherwise() -> None:
    pixels = cv2.cvtColor(to_uint8(noise_image()), cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, 50]
    _, plain = cv2.imencode(".jpg", pixels, options)
    _, told = cv2.imencode(
        ".jpg", pixels, [*options, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _FACTORS["4:2:0"]]
    )
    np.testing.assert_array_equal(plain, told)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"quality": 0}, "JPEG quality must lie in 1 to 100 and be whole, got 0"),
        ({"quality": 50, "top": 16}, "top must lie in 0 to 15 and be whole, got 16"),
        ({"quality": 50, "left": -1}, "left must lie in 0 to 15 and be whole, got -1"),
        ({"quality": True}, "JPEG quality must lie in 1 to 100 and be whole, got True"),
    ],
)
def test_jpeg_out_of_range_is_refused(values: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        Jpeg(**values)


def test_an_unknown_subsampling_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no subsampling '4:1'"):
        Jpeg(50, "4:1")  # type: ignore[arg-type]


def test_how_much_of_colour_is_kept_is_told_where_it_is_more_than_a_quarter() -> None:
    assert Jpeg(50, top=3).describe() == "JPEG of quality 50"
    assert Jpeg(50, "4:4:4").describe() == "JPEG of quality 50 (4:4:4)"


def test_what_stores_of_before_say_of_jpeg_is_still_read() -> None:
    assert Jpeg.from_dict({"quality": 50}) == Jpeg(50, "4:2:0", 0, 0)


def test_numbers_of_numpy_become_those_of_python() -> None:
    step = Jpeg(np.int64(50), "4:4:4", np.uint8(3), np.float64(4.0))  # type: ignore[arg-type]
    assert step.to_dict() == {"quality": 50, "subsampling": "4:4:4", "top": 3, "left": 4}
    assert {type(value) for value in step.to_dict().values()} == {int, str}
