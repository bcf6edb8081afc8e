"""Properties of pictures that are no photos."""

import cv2
import numpy as np
import pytest

from restoration_toolchain.data.errors import ImageFormatError, UnknownNameError
from restoration_toolchain.data.photos.drawings import DRAWINGS, LEAST_SIDE, draw_picture

KINDS = tuple(DRAWINGS)


def drawn(kind: str, seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    return draw_picture(kind, height, width, np.random.default_rng(seed))


def commonest_share(picture: np.ndarray, count: int) -> float:
    """Share of the pixels that have one of the ``count`` most frequent colours."""
    _, often = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    return np.sort(often)[::-1][:count].sum() / often.sum()


def steepest(picture: np.ndarray) -> int:
    """Largest difference between pixels beside each other, in grey levels."""
    gray = picture.astype(int).mean(axis=2)
    return max(np.abs(np.diff(gray, axis=axis)).max() for axis in (0, 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("height", "width"), [(LEAST_SIDE, LEAST_SIDE), (17, 131), (140, 19), (63, 65), (130, 128)]
)
def test_a_drawing_has_the_size_asked_for(kind: str, height: int, width: int) -> None:
    for seed in range(6):
        picture = drawn(kind, seed, height, width)
        assert picture.shape == (height, width, 3)
        assert picture.dtype == np.uint8
        assert picture.flags["C_CONTIGUOUS"]
        assert picture.flags["WRITEABLE"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_draws_the_same_picture(kind: str) -> None:
    first = [drawn(kind, seed) for seed in range(8)]
    # In another order, so that what is kept of earlier ones would show.
    second = [drawn(kind, seed) for seed in reversed(range(8))][::-1]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_other_seeds_draw_other_pictures(kind: str) -> None:
    pictures = {drawn(kind, seed).tobytes() for seed in range(30)}
    # Black and white are flat pictures, and may come more than once.
    assert len(pictures) >= (24 if kind == "flat" else 30)


@pytest.mark.parametrize("kind", KINDS)
def test_drawings_of_a_kind_are_bright_and_dark_busy_and_calm(kind: str) -> None:
    pictures = [drawn(kind, seed).astype(float) for seed in range(30)]
    assert np.std([picture.mean() for picture in pictures]) > 20
    edges = [np.abs(np.diff(picture, axis=1)).mean() for picture in pictures]
    assert np.percentile(edges, 90) > 1.5 * np.percentile(edges, 10)


def test_flat_pictures_have_few_colours() -> None:
    shares = [commonest_share(drawn("flat", seed, 128, 128), 8) for seed in range(30)]
    assert np.mean(shares) > 0.9
    assert np.median(shares) > 0.95


def test_pixel_art_has_few_colours() -> None:
    shares = [commonest_share(drawn("pixel-art", seed, 128, 128), 64) for seed in range(30)]
    assert np.mean(np.array(shares) == 1) > 0.9


@pytest.mark.parametrize("kind", ["text", "line-art", "screentone", "screenshot"])
def test_what_is_drawn_in_ink_has_strong_edges(kind: str) -> None:
    edges = [steepest(drawn(kind, seed, 128, 128)) for seed in range(30)]
    assert np.mean(np.array(edges) > 60) >= 0.8


def test_text_differs_from_its_paper() -> None:
    pictures = [drawn("text", seed, 128, 128) for seed in range(30)]
    spreads = [float(np.ptp(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY))) for p in pictures]
    assert np.mean(np.array(spreads) > 80) >= 0.9


def test_most_of_a_gradient_changes_slowly() -> None:
    for seed in range(30):
        picture = drawn("gradient", seed, 128, 128).astype(int)
        assert np.mean(np.abs(np.diff(picture, axis=1)).max(axis=2) <= 24) > 0.85


def test_an_unknown_kind_is_refused_and_the_nearest_offered() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'screenshot'"):
        drawn("screenshots", 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(LEAST_SIDE - 1, 40), (40, 0)])
def test_a_picture_too_small_to_draw_in_is_refused(kind: str, height: int, width: int) -> None:
    with pytest.raises(ImageFormatError, match=f"at least {LEAST_SIDE} pixels"):
        drawn(kind, 0, height, width)
