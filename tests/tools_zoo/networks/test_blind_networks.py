"""Properties of the networks that predict every pixel without seeing it."""

import pytest
import torch
from torch import Tensor, nn

from restoration_toolchain.toolchain.restoring.tiling import apply_tiled
from restoration_toolchain.tools_zoo.macs import count_macs
from restoration_toolchain.tools_zoo.networks.blind_spot import BlindSpot, DbsnLight
from restoration_toolchain.tools_zoo.networks.masked_unet import MaskedUnet, Unet
from restoration_toolchain.tools_zoo.networks.masks import checkerboard_masks, denoise_hidden
from restoration_toolchain.tools_zoo.tool import ToolSpec


def scrambled(network: nn.Module) -> nn.Module:
    """Weights large enough for everything to matter, in float64 so that zeros are exact."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        parameter.data = 0.2 * torch.randn_like(parameter)
    return network.double()


def gradient(network: nn.Module, images: Tensor, channel: int, row: int, column: int) -> Tensor:
    images = images.requires_grad_()
    (grad,) = torch.autograd.grad(network(images)[0, channel, row, column], images)
    return grad


def assert_blind(network: nn.Module, height: int, width: int) -> None:
    images = torch.rand(1, 3, height, width, dtype=torch.float64)
    for row, column in ((0, 0), (height // 2, width // 2), (height - 1, width - 1)):
        for channel in range(3):
            grad = gradient(network, images, channel, row, column)
            assert (grad[..., row, column] == 0.0).all()
            assert grad.any()


def test_the_network_of_the_paper_has_its_number_of_parameters() -> None:
    network = DbsnLight(num_feat=128, num_module=9)
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_656_131


@pytest.mark.parametrize(("num_module", "halo"), [(1, 5), (3, 11)])
def test_a_blind_spot_network_sees_its_surroundings_but_not_the_pixel(
    num_module: int, halo: int
) -> None:
    network = scrambled(DbsnLight(num_feat=6, num_module=num_module))
    assert network.halo == halo
    assert_blind(network, 25, 30)


@pytest.mark.parametrize("branch", [0, 1])
def test_each_branch_is_blind(branch: int) -> None:
    network = scrambled(DbsnLight(num_feat=6, num_module=2))
    feat = torch.rand(1, 6, 19, 19, dtype=torch.float64)
    grad = gradient(network.branches[branch], feat, 3, 9, 9)  # type: ignore[index]
    assert (grad[..., 9, 9] == 0.0).all()
    assert grad.any()


def test_a_blind_spot_stays_blind_while_it_learns() -> None:
    network = scrambled(DbsnLight(num_feat=6, num_module=1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    images = torch.rand(2, 3, 12, 12, dtype=torch.float64)
    (network(images) - images).abs().mean().backward()
    optimizer.step()
    after = list(network.parameters())
    assert not any(old.equal(new) for old, new in zip(before, after, strict=True))
    assert_blind(network, 12, 12)


@pytest.mark.parametrize(("height", "width"), [(16, 24), (13, 18), (15, 7)])
def test_the_masked_network_is_blind_up_to_every_border(height: int, width: int) -> None:
    network = scrambled(MaskedUnet(num_feat=4))
    assert_blind(network, height, width)


def test_the_masked_network_calls_its_denoiser_twice() -> None:
    network = MaskedUnet(num_feat=4)
    sizes = calls_of(network)
    network(torch.rand(2, 3, 16, 24))
    assert sizes == [(8, 3, 8, 12)] * 2


def test_the_blind_spot_network_runs_on_sub_images_and_once_more_on_the_whole() -> None:
    network = BlindSpot(num_feat=6, num_module=1)
    sizes = calls_of(network)
    network(torch.rand(2, 3, 15, 24))
    assert sizes == [(8, 3, 8, 12), (2, 3, 15, 24)]


def calls_of(network: MaskedUnet | BlindSpot) -> list[tuple[int, ...]]:
    sizes: list[tuple[int, ...]] = []
    network.denoiser.register_forward_pre_hook(
        lambda module, inputs: sizes.append(tuple(inputs[0].shape))
    )
    return sizes


@pytest.mark.parametrize("denoiser", [Unet(num_feat=16), DbsnLight(16, 3)])
def test_a_new_denoiser_begins_near_the_mean_of_what_it_sees_around_a_pixel(
    denoiser: nn.Module,
) -> None:
    torch.manual_seed(0)
    image = 0.5 + 0.05 * torch.randn(1, 3, 32, 32)
    board = checkerboard_masks(32, 32)
    with torch.no_grad():
        is_masked = isinstance(denoiser, Unet)
        mean = denoise_hidden(denoiser, image, board) if is_masked else denoiser(image)
    inside = (..., slice(8, -8), slice(8, -8))
    error = (mean[inside] - image[inside]).square().mean()
    assert float(error) < 0.3**2  # a network left to chance: 0.5 and more


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (5, 3), (12, 16)])
@pytest.mark.parametrize("network", [Unet(num_feat=4), DbsnLight(6, 1)])
def test_a_denoiser_keeps_any_size(network: nn.Module, height: int, width: int) -> None:
    assert network(torch.rand(2, 3, height, width)).shape == (2, 3, height, width)


@pytest.mark.parametrize(("height", "width"), [(181, 230), (127, 400), (200, 136)])
@pytest.mark.parametrize("network", [MaskedUnet(num_feat=3), BlindSpot(num_feat=6, num_module=1)])
def test_a_tiled_result_equals_the_whole_one(
    network: MaskedUnet | BlindSpot, height: int, width: int
) -> None:
    scrambled(network)
    image = torch.rand(1, 3, height, width, dtype=torch.float64)
    tiled = apply_tiled(
        network, image, halo=network.halo, grid=network.grid, max_tile_pixels=125 * 125
    )
    with torch.no_grad():
        torch.testing.assert_close(tiled, network(image), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["masked_unet", "blind_spot"])
def test_multiply_accumulates_per_pixel_do_not_depend_on_the_image_they_are_counted_on(
    name: str,
) -> None:
    spec = ToolSpec("denoise", "noise", (10.0, 20.0), name)
    network = {"masked_unet": MaskedUnet, "blind_spot": BlindSpot}[name]()
    assert count_macs(network, torch.zeros(1, 3, 64, 48)) == 64 * 48 * spec.macs_per_pixel
