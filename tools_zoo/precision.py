"""Which number format a machine computes fastest in, found by trying."""

import timeit
from contextlib import AbstractContextManager
from typing import Final, Literal, get_args

import torch
from torch import nn

Precision = Literal["fp32", "bf16"]

PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)


def fastest_precision(device: torch.device) -> Precision:
    """Time a convolution both ways and name the faster format.

    Processors without bfloat16 arithmetic emulate it more than ten times slower than float32,
    others run it several times faster, and no flag tells them apart reliably.
    """
    with torch.random.fork_rng(devices=[]):  # a trial must not shift the draws of the caller
        conv = nn.Conv2d(32, 32, 3, padding=1).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = torch.rand(4, 32, 63, 63).to(device, memory_format=torch.channels_last)

    def run() -> None:
        conv(images).flatten()[0].item()  # waits for an accelerator

    def seconds(precision: Precision) -> float:
        with torch.inference_mode(), computing(precision, device):
            # The first call also prepares kernels; the best one counts.
            return min(timeit.repeat(run, number=1, repeat=4))

    return min(PRECISIONS, key=seconds)


def computing(precision: Precision, device: torch.device | str) -> AbstractContextManager[None]:
    """Compute what stands inside in a number format; weights and sums stay in float32.

    Args:
        precision: Number format.
        device: Device of the networks.
    """
    use_bf16 = precision == "bf16"
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=use_bf16)
