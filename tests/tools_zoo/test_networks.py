"""Properties of the network shapes."""

import pytest
import torch
from torch import Tensor

from data.errors import UnknownNameError
from tools_zoo.catalog import CLASSIC
from tools_zoo.networks import NETWORKS, build_network

PARAMS = {"small": 21_827, "large": 50_851}  # of the published checkpoints
LAST_CONV = {"small": "conv3", "large": "conv_last"}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_published_number_of_parameters(name: str) -> None:
    assert sum(parameter.numel() for parameter in build_network(name).parameters()) == PARAMS[name]


def test_the_classic_toolbox_has_the_published_number_of_parameters() -> None:
    assert sum(spec.num_params for spec in CLASSIC) == 436_068


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("height", "width"), [(63, 63), (1, 1), (5, 40)])
def test_the_output_has_the_size_of_the_input(name: str, height: int, width: int) -> None:
    assert build_network(name)(torch.rand(2, 3, height, width)).shape == (2, 3, height, width)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_whose_last_convolution_is_zero_is_the_identity(name: str) -> None:
    network = build_network(name)
    for parameter in network.get_submodule(LAST_CONV[name]).parameters():
        parameter.data.zero_()
    lq = torch.rand(1, 3, 20, 24)
    torch.testing.assert_close(network(lq), lq, rtol=0, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_halo_is_how_far_an_output_pixel_really_looks(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name)
    for parameter in network.parameters():  # positive everywhere: no ReLU cuts a path off
        parameter.data.abs_()
    middle = 15
    lq = torch.rand(1, 3, 2 * middle + 1, 2 * middle + 1, requires_grad=True)
    network(lq)[0, :, middle, middle].sum().backward()
    assert lq.grad is not None
    seen = torch.nonzero(lq.grad.abs().sum(dim=(0, 1)))
    assert _reach(seen, middle) == (network.halo,) * 4


def _reach(seen: Tensor, middle: int) -> tuple[int, ...]:
    low, high = seen.min(dim=0).values, seen.max(dim=0).values
    return (*(middle - low).tolist(), *(high - middle).tolist())


def test_a_mistyped_network_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'large'"):
        build_network("larg")
