"""Properties of the views that an agent decides by."""

import itertools

import pytest
import torch
from torch import Tensor

from restoration_toolchain.toolchain.restoring.views import extract_views, views


def random_image(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)


VIEW_SIZES = [(63, 63), (64, 64), (70, 71), (126, 127), (200, 63), (321, 481), (640, 580),
              (577, 1000), (3000, 4000), (20, 5000), (1, 1), (62, 640)]  # fmt: skip


@pytest.mark.parametrize(("height", "width"), VIEW_SIZES)
@pytest.mark.parametrize("max_views", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("grid", [1, 8])
def test_views_lie_inside_on_the_grid_and_are_distinct(
    height: int, width: int, max_views: int, grid: int
) -> None:
    positions = views(height, width, max_views=max_views, grid=grid)
    assert 1 <= len(positions) <= max_views
    assert len(set(positions)) == len(positions)
    for top, left in positions:
        assert top % grid == left % grid == 0
        assert 0 <= top <= max(0, height - 63)
        assert 0 <= left <= max(0, width - 63)


@pytest.mark.parametrize(("height", "width"), [s for s in VIEW_SIZES if s[0] < 1000 > s[1]])
@pytest.mark.parametrize("grid", [1, 8])
def test_with_enough_views_only_a_rim_smaller_than_the_grid_is_unseen(
    height: int, width: int, grid: int
) -> None:
    seen = torch.zeros(height, width, dtype=torch.bool)
    for top, left in views(height, width, max_views=1000, grid=grid):
        seen[top : top + 63, left : left + 63] = True
    assert seen[: max(1, height - grid + 1), : max(1, width - grid + 1)].all()


def test_views_see_blocks_of_jpeg_begin_at_different_places() -> None:
    tops, lefts = zip(*views(321, 481), strict=True)
    assert len({top % 8 for top in tops}) > 3
    assert len({left % 8 for left in lefts}) > 3


def test_few_views_of_a_large_photo_are_spread_evenly() -> None:
    positions = views(3000, 4000)
    assert len(positions) > 56
    for axis, length in enumerate((3000, 4000)):
        offsets = sorted({p[axis] for p in positions})
        gaps = [b - a for a, b in itertools.pairwise([-63, *offsets, length])]
        assert max(gaps) - min(gaps) <= 16  # each offset moves at most 4 pixels to the grid


def test_a_single_view_looks_at_the_middle() -> None:
    ((top, left),) = views(1063, 2063, max_views=1)
    assert abs(top - 500) <= 4
    assert abs(left - 1000) <= 4


def test_views_hold_the_pixels_at_their_positions() -> None:
    image = random_image(100, 130)[0]
    cut = extract_views(image, [(0, 0), (32, 64)])
    assert cut.shape == (2, 3, 63, 63)
    assert cut[1].equal(image[:, 32:95, 64:127])


@pytest.mark.parametrize(("height", "width"), [(62, 62), (40, 100), (32, 32), (5, 9), (2, 63)])
def test_small_images_are_continued_by_reflection(height: int, width: int) -> None:
    image = random_image(height, width)[0]
    (view,) = extract_views(image, views(height, width, max_views=1))
    left = views(height, width, max_views=1)[0][1]
    for row, column in itertools.product(range(63), repeat=2):
        y, x = row, left + column
        while not (0 <= y < height and 0 <= x < width):  # bounce, one border at a time
            y = -y if y < 0 else 2 * (height - 1) - y if y >= height else y
            x = -x if x < 0 else 2 * (width - 1) - x if x >= width else x
        assert view[:, row, column].equal(image[:, y, x])


def test_one_pixel_fills_a_view() -> None:
    image = random_image(1, 1)[0]
    assert extract_views(image, views(1, 1)).equal(image.expand(3, 63, 63)[None])
