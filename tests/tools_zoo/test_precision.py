"""Properties of choosing a number format."""

import itertools

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from restoration_toolchain.tools_zoo import precision
from restoration_toolchain.tools_zoo.precision import fastest_precision
from restoration_toolchain.tools_zoo.training.mixed_precision import MixedBf16


@pytest.mark.parametrize(("fp32", "bf16", "expected"), [(1.0, 5.0, "fp32"), (5.0, 1.0, "bf16")])
def test_the_faster_format_is_chosen(
    monkeypatch: pytest.MonkeyPatch, fp32: float, bf16: float, expected: str
) -> None:
    # The format that is timed first is bfloat16: four calls, each read at its start and end.
    durations = itertools.chain([bf16] * 4, [fp32] * 4)
    times = (time for start, length in zip(itertools.count(0, 100), durations, strict=False)
             for time in (start, start + length))  # fmt: skip
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(times))
    assert fastest_precision(torch.device("cpu")) == expected


def test_trying_leaves_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    fastest_precision(torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)


def test_training_in_bfloat16_does_not_round_images() -> None:
    fabric = Fabric(accelerator="cpu", plugins=MixedBf16("cpu"))
    module = fabric.setup_module(_Skip())
    images = torch.rand(2, 3, 8, 8)
    unchanged, convolved = module(images)
    assert torch.equal(unchanged, images)
    assert convolved.dtype == torch.float32
    # Still, what is computed is bfloat16: numbers of eight bits.
    assert torch.equal(convolved, convolved.bfloat16().float())


class _Skip(nn.Module):
    """Hands out its input, and a convolution of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, self.conv(images)
