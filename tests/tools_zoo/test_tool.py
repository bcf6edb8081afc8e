"""Properties of tools and their specifications."""

import itertools
import json

import pytest
import torch
from torch import nn

from restoration_toolchain.data.errors import ImageFormatError, ToolchainError
from restoration_toolchain.tools_zoo.catalog import (
    CLASSIC,
    ENLARGER_CONTROLS,
    ENLARGERS,
    ENLARGERS_X2,
)
from restoration_toolchain.tools_zoo.tool import UNITS, Tool, ToolSpec


def test_a_spec_survives_the_way_through_json() -> None:
    for spec in (*CLASSIC, *ENLARGERS):
        assert ToolSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"colour": "red"},
        {"strength": 3.0},
        {"strength": []},
        {"strength": [1.0]},
        {"scale": 3},
        {"scale": "x4"},
    ],
)
def test_a_malformed_entry_is_refused_in_one_line(change: dict[str, object]) -> None:
    entry = {**CLASSIC[0].to_dict(), **change}
    if change == {"name": None}:
        del entry["name"]
    with pytest.raises(ToolchainError) as caught:
        ToolSpec.from_dict(entry)
    assert "\n" not in str(caught.value)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ToolchainError, match="unknown task 'rain'"):
        ToolSpec("derain", "rain", (0.0, 1.0), "small")  # type: ignore[arg-type]


def test_a_descending_strength_is_refused() -> None:
    with pytest.raises(ToolchainError, match="not ascending"):
        ToolSpec("deblock", "jpeg", (60.0, 10.0), "small")


@pytest.mark.parametrize(
    "spec", [ENLARGERS[0], *ENLARGERS_X2, *ENLARGER_CONTROLS], ids=lambda spec: spec.name
)
def test_a_tool_enlarges_by_its_scale(spec: ToolSpec) -> None:
    assert Tool(spec)(torch.rand(1, 3, 9, 7)).shape == (1, 3, 9 * spec.scale, 7 * spec.scale)
    assert spec.label == f"sr x{spec.scale}"


def test_a_network_of_another_scale_is_refused() -> None:
    with pytest.raises(ToolchainError, match="has scale 4, but its network enlarges x2"):
        Tool(ToolSpec("sr", "sr", (4.0, 4.0), "sr_x2", scale=4))


@pytest.mark.parametrize(("network", "macs"), [("small", 21_776), ("large", 50_560)])
def test_macs_per_pixel_are_the_weights_without_biases(network: str, macs: int) -> None:
    # At stride 1 every weight is used once per pixel.
    spec = ToolSpec("any", "noise", (0.0, 1.0), network)
    biases = sum(p.numel() for p in Tool(spec).parameters() if p.ndim == 1)
    assert spec.macs_per_pixel == spec.num_params - biases == macs


def test_a_spec_names_what_the_tool_treats() -> None:
    assert CLASSIC[6].label == "noise 25-37.5"
    assert all(spec.task in UNITS for spec in CLASSIC)


def test_the_ranges_of_a_family_meet_without_a_gap() -> None:
    for task, whole in (("blur", (0.0, 5.0)), ("noise", (0.0, 50.0)), ("jpeg", (10.0, 100.0))):
        ranges = sorted(spec.strength for spec in CLASSIC if spec.task == task)
        assert (ranges[0][0], ranges[-1][1]) == whole
        assert all(left[1] == right[0] for left, right in itertools.pairwise(ranges))


@pytest.mark.parametrize("spec", [CLASSIC[0], CLASSIC[2]], ids=lambda spec: spec.network)
def test_a_tool_restores_each_image_on_its_own(spec: ToolSpec) -> None:
    tool, lq = Tool(spec), torch.rand(2, 3, 20, 24)
    torch.testing.assert_close(tool(lq), torch.cat([tool(lq[:1]), tool(lq[1:])]))


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_what_leaves_a_tool_lies_in_range(shift: float) -> None:
    tool, lq = Tool(CLASSIC[0], _Shift(shift)), torch.rand(1, 3, 4, 4)
    assert torch.equal(tool(lq), (lq + shift).clamp(0.0, 1.0))
    assert torch.equal(tool.unclipped(lq), lq + shift)


@pytest.mark.parametrize("network", ["small", "unshuffled_unet", "masked_unet", "blind_spot"])
@pytest.mark.parametrize("size", [(1, 1), (7, 10)])
def test_a_tool_takes_any_size_and_keeps_the_dtype(network: str, size: tuple[int, int]) -> None:
    tool, lq = Tool(ToolSpec("any", "noise", (0.0, 1.0), network)), torch.rand(2, 3, *size)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        restored = tool(lq)
    assert (restored.shape, restored.dtype, restored.device) == (lq.shape, lq.dtype, lq.device)
    assert 0.0 <= restored.min() <= restored.max() <= 1.0


def test_gradients_come_from_beyond_the_range_where_nothing_clips() -> None:
    tool, lq = Tool(CLASSIC[0], _Shift(1.0)), torch.rand(1, 3, 4, 4, requires_grad=True)
    for restore, expected in ((tool, 0.0), (tool.unclipped, 1.0)):
        (grad,) = torch.autograd.grad(restore(lq).sum(), lq)
        assert torch.all(grad == expected)


def test_a_network_that_changes_the_size_is_refused() -> None:
    tool = Tool(CLASSIC[0], nn.AvgPool2d(2))
    with pytest.raises(ToolchainError, match=r"turned \(1, 3, 4, 4\) into \(1, 3, 2, 2\)"):
        tool(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.uint8])
def test_images_that_are_not_float32_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ImageFormatError, match=f"takes float32 images, not {dtype}"):
        Tool(CLASSIC[0])(torch.zeros(1, 3, 4, 4, dtype=dtype))


@pytest.mark.parametrize("made", [None, (torch.zeros(1, 3, 4, 4),)])
def test_a_network_that_returns_no_tensor_is_refused(made: object) -> None:
    network = nn.Module()
    network.forward = lambda lq: made  # type: ignore[method-assign]
    with pytest.raises(ToolchainError, match=f"made {type(made).__name__} of images"):
        Tool(CLASSIC[0], network)(torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize("network", ["small", "blind_spot", "sr_x2", "one_step_x4"])
def test_a_tool_looks_as_far_as_its_network(network: str) -> None:
    scale = {"sr_x2": 2, "one_step_x4": 4}.get(network, 1)
    tool = Tool(ToolSpec("any", "sr" if scale > 1 else "noise", (4.0, 4.0), network, scale))
    assert tool.halo == tool.network.halo == tool.spec.halo
    assert tool.grid == getattr(tool.network, "grid", 1)


class _Shift(nn.Module):
    def __init__(self, amount: float) -> None:
        super().__init__()
        self._amount = amount

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        return lq + self._amount
