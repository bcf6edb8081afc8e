"""Properties of tiles."""

import pytest
import torch
from torch import Tensor, nn

from restoration_toolchain.toolchain.restoring.tiling import apply_tiled
from restoration_toolchain.tools_zoo.networks.unshuffled import UnshuffledCnn

HALO = 5  # of the stack below: radii 2 + 1 + 2


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
