"""Properties of choosing a number format."""

import itertools

import pytest
import torch

from restoration_toolchain.tools_zoo import precision
from restoration_toolchain.tools_zoo.precision import fastest_precision


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
