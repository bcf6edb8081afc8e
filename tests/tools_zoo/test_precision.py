"""Properties of choosing a number format."""

from collections.abc import Callable

import pytest
import torch

from restoration_toolchain.tools_zoo import precision
from restoration_toolchain.tools_zoo.precision import fastest_precision


@pytest.mark.parametrize(("fp32", "bf16", "expected"), [(1.0, 5.0, "fp32"), (5.0, 1.0, "bf16")])
def test_the_faster_format_is_chosen(
    monkeypatch: pytest.MonkeyPatch, fp32: float, bf16: float, expected: str
) -> None:
    def repeat(action: Callable[[], None], **_: int) -> list[float]:
        action()
        return [9.0, bf16 if torch.is_autocast_enabled("cpu") else fp32, 9.0]

    monkeypatch.setattr(precision.timeit, "repeat", repeat)
    assert fastest_precision(torch.device("cpu")) == expected


def test_trying_leaves_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    fastest_precision(torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)
