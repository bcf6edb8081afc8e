"""Properties of the network shapes."""

import pytest
import torch
from torch import Tensor

from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.data.scaling import upsample_bicubic
from restoration_toolchain.tools_zoo.catalog import BASELINES, CLASSIC
from restoration_toolchain.tools_zoo.networks import NETWORKS, build_network

PARAMS = {
    "small": 21_827,  # these two: of the published checkpoints
    "large": 50_851,
    "unshuffled_small": 80_940,
    "unshuffled_unet": 485_292,
    "unshuffled_unet_wide": 755_732,
    "vdsr_s": 210_483,
    "vdsr": 668_227,
    "dncnn": 669_379,
    "masked_unet": 466_883,
    "blind_spot": 106_099,
    "sr_x2": 265_563,
    "sr_x4": 317_547,
    "sft_x4": 445_683,
    "film_x4": 445_683,
    "concat_x4": 408_371,
    "one_step_x4": 681_174,
}
LAST_CONV = {"small": "conv3"}
ENLARGING = {"sr_x2": 2, "sr_x4": 4, "sft_x4": 4, "film_x4": 4, "concat_x4": 4, "one_step_x4": 4}
BLIND = ("masked_unet", "blind_spot")  # a skip from input to output would show them everything


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_documented_number_of_parameters(name: str) -> None:
    assert sum(parameter.numel() for parameter in build_network(name).parameters()) == PARAMS[name]


# Weights (biases apart, batch normalisation included) and multiply-adds of a patch of 63x63 pixels
# as RL-Restore, CVPR 2018, gives them; those of VDSR-s belong to layers that it does not give.
@pytest.mark.parametrize(
    ("name", "weights", "giga", "within"),
    [
        ("vdsr_s", 2.09e5, 0.828, 0.007),
        ("vdsr", 6.67e5, 2.65, 0.002),
        ("dncnn", 6.69e5, 2.66, 0.006),
    ],
)
def test_a_baseline_has_the_size_that_the_paper_compares_with(
    name: str, weights: float, giga: float, within: float
) -> None:
    biases = [n for n, p in build_network(name).named_parameters() if n.endswith("bias")]
    counted = sum(p.numel() for n, p in build_network(name).named_parameters() if n not in biases)
    if name == "dncnn":  # the shifts of its normalisation
        counted += 18 * 64
    (spec,) = (spec for spec in BASELINES if spec.network == name)
    assert counted == pytest.approx(weights, rel=within)
    assert 63**2 * spec.macs_per_pixel / 1e9 == pytest.approx(giga, rel=within)


def test_the_baselines_treat_the_whole_mixture() -> None:
    assert [spec.name for spec in BASELINES] == ["vdsr_s", "vdsr", "dncnn"]
    assert all(spec.task == "mixed" for spec in BASELINES)


def test_the_classic_toolbox_has_the_published_number_of_parameters() -> None:
    assert sum(spec.num_params for spec in CLASSIC) == 436_068


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("height", "width"), [(63, 63), (1, 1), (5, 40)])
def test_the_output_has_the_size_of_the_input_times_the_scale(
    name: str, height: int, width: int
) -> None:
    network, scale = build_network(name), ENLARGING.get(name, 1)
    assert getattr(network, "scale", 1) == scale
    restored = network(torch.rand(2, 3, height, width))
    assert restored.shape == (2, 3, height * scale, width * scale)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in (*BLIND, *ENLARGING)])
def test_a_network_whose_last_convolution_is_zero_is_the_identity(name: str) -> None:
    network = build_network(name)
    for parameter in network.get_submodule(LAST_CONV.get(name, "conv_last")).parameters():
        parameter.data.zero_()
    lq = torch.rand(1, 3, 20, 24)
    torch.testing.assert_close(network(lq), lq, rtol=0, atol=0)


@pytest.mark.parametrize("name", ENLARGING)
def test_an_enlarging_network_whose_last_convolution_is_zero_is_bicubic(name: str) -> None:
    network = build_network(name)
    part = "student.enlarger.conv_last" if name == "one_step_x4" else "enlarger.conv_last"
    for parameter in network.get_submodule(part).parameters():
        parameter.data.zero_()
    lq = torch.rand(1, 3, 12, 10)
    torch.testing.assert_close(network(lq), upsample_bicubic(lq, ENLARGING[name]))


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "film_x4"])  # looks anywhere
def test_the_halo_is_how_far_an_output_pixel_really_looks(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name).eval()  # in training, normalisation looks at everything
    for parameter in network.parameters():  # positive everywhere: no ReLU cuts a path off
        parameter.data.abs_().clamp_min_(1e-3)  # what starts at zero is a path too
    if hasattr(network, "prior"):  # nothing passes through a softmax that is sure of itself
        for parameter in network.prior.parameters():  # type: ignore[union-attr]
            parameter.data.mul_(0.3)
    halo, grid = int(network.halo), int(getattr(network, "grid", 1))  # type: ignore[arg-type]
    scale = ENLARGING.get(name, 1)
    middle = halo + 4
    side = 2 * middle + grid
    lq = torch.rand(1, 3, side, side, requires_grad=True)
    restored = network(lq)
    reaches = []
    # Where a pixel lies in its block decides how far it looks; four places are enough.
    for place in range(middle, middle + grid, max(1, grid // 4)):
        block = slice(scale * place, scale * (place + 1))  # what one pixel becomes
        (grad,) = torch.autograd.grad(restored[0, :, block, block].sum(), lq, retain_graph=True)
        reaches.append(_reach(torch.nonzero(grad.abs().sum(dim=(0, 1))), place))
    assert max(map(max, reaches)) == halo
    assert min(map(min, reaches)) > halo - grid


def _reach(seen: Tensor, middle: int) -> tuple[int, ...]:
    low, high = seen.min(dim=0).values, seen.max(dim=0).values
    return (*(middle - low).tolist(), *(high - middle).tolist())


def test_a_mistyped_network_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'large'"):
        build_network("larg")
