"""Properties of tiles and views."""

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from restoration_toolchain.toolchain.restoring.tiling import apply_tiled, extract_views, views
from restoration_toolchain.tools_zoo.networks.unshuffled import UnshuffledCnn

HALO = 5  # of the stack below: radii 2 + 1 + 2


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tiles cost more to share between threads than to compute."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def stack() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(),
        nn.Conv2d(6, 3, 5, padding=2),
    )  # fmt: skip
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return net.double()  # so that rounding cannot hide a wrong border


def random_image(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)


SIZES = [(64, 64), (61, 83), (40, 120), (120, 40), (1, 700), (700, 1), (3, 300), (17, 31), (1, 1)]


@pytest.mark.parametrize("budget", [18 * 18, 1000])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_tiled_result_equals_the_whole_one(
    stack: nn.Module, height: int, width: int, budget: int
) -> None:
    image = random_image(height, width)
    tiled = apply_tiled(stack, image, halo=HALO, max_tile_pixels=budget)
    with torch.no_grad():
        torch.testing.assert_close(tiled, stack(image), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("grid", [1, 8])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_what_is_beside_a_tile_lies_where_the_tile_does(
    height: int, width: int, grid: int, scale: int
) -> None:
    image = random_image(height, width)
    large = random_image(height * scale, width * scale)

    def beside(rows: slice, columns: slice) -> Tensor:
        rows, columns = (slice(s.start * scale, s.stop * scale) for s in (rows, columns))
        return large[..., rows, columns]

    def tool(tile: Tensor, part: Tensor) -> Tensor:
        return tile.repeat_interleave(scale, 2).repeat_interleave(scale, 3) + part

    tiled = apply_tiled(
        tool, image, halo=2, max_tile_pixels=22 * 22, grid=grid, scale=scale, beside=beside
    )
    assert tiled.equal(tool(image, large))


@pytest.mark.parametrize("budget", [50 * 50, 5000])
@pytest.mark.parametrize(("height", "width"), [(61, 183), (183, 61), (120, 121), (7, 700)])
def test_a_tool_that_divides_the_image_into_blocks_is_tiled_on_their_grid(
    height: int, width: int, budget: int
) -> None:
    torch.manual_seed(0)
    net = UnshuffledCnn(8, 1).double()
    for parameter in net.parameters():
        parameter.data = torch.randn_like(parameter) * 0.2
    image = random_image(height, width)
    tiled = apply_tiled(net, image, halo=net.halo, max_tile_pixels=budget, grid=net.grid)
    with torch.no_grad():
        torch.testing.assert_close(tiled, net(image), rtol=1e-12, atol=1e-12)


def test_a_halo_too_small_for_the_tool_shows() -> None:
    blur = nn.AvgPool2d(11, stride=1, padding=5)
    image = random_image(60, 60)
    tiled = apply_tiled(blur, image, halo=2, max_tile_pixels=400)
    assert (tiled - blur(image)).abs().max() > 1e-3


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("halo", [0, 1, 5])
def test_no_tile_exceeds_the_budget_and_all_have_one_shape(
    height: int, width: int, halo: int
) -> None:
    shapes = []

    def tool(tile: Tensor) -> Tensor:
        shapes.append(tile.shape[-2:])
        return tile.clone()

    image = random_image(height, width)
    assert apply_tiled(tool, image, halo=halo, max_tile_pixels=300).equal(image)
    assert len(set(shapes)) == 1
    assert shapes[0].numel() <= 300
    whole = height * width <= 300
    assert (len(shapes) == 1) == whole


def test_tiles_of_a_large_image_are_near_square() -> None:
    shapes = set()

    def tool(tile: Tensor) -> Tensor:
        shapes.add(tuple(tile.shape[-2:]))
        return tile

    apply_tiled(tool, torch.zeros(1, 3, 300, 900), halo=4, max_tile_pixels=64 * 64)
    ((height, width),) = shapes
    assert 0.6 < height / width < 1.67


def test_an_image_smaller_than_the_halo_runs_whole(stack: nn.Module) -> None:
    image = random_image(2, 3)
    result = apply_tiled(stack, image, halo=50, max_tile_pixels=10)
    torch.testing.assert_close(result, stack(image).detach())


def test_a_budget_without_room_for_the_halo_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 441"):
        apply_tiled(lambda tile: tile, random_image(50, 50), halo=10, max_tile_pixels=400)


def test_a_tool_that_changes_the_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="turned"):
        apply_tiled(lambda t: t[..., 1:], random_image(9, 9), halo=0, max_tile_pixels=100)


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
