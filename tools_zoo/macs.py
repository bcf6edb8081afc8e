"""How much a network computes: multiply-accumulates, counted while it runs."""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn


def count_macs(module: nn.Module, *inputs: Any) -> int:
    """Count the multiply-accumulates of one call: convolutions, linear layers and LSTM cells.

    Biases, activations and normalisations are left out, as the literature does. The module itself
    is neither run nor changed: a copy runs, in evaluation mode.

    Args:
        module: Module to count.
        inputs: Arguments of the call.
    """
    counted = copy.deepcopy(module).eval()
    total = 0

    def count(part: nn.Module, _: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        total += _macs_of(part, output)

    for part in counted.modules():
        if isinstance(part, nn.Conv2d | nn.Linear | nn.LSTMCell):
            part.register_forward_hook(count)
    with torch.no_grad():
        counted(*inputs)
    return total


def _macs_of(part: nn.Module, output: Any) -> int:
    if isinstance(part, nn.LSTMCell):
        hidden = cast(tuple[Tensor, Tensor], output)[0]
        return len(hidden) * (part.weight_ih.numel() + part.weight_hh.numel())
    weight, made = cast(Tensor, part.weight), cast(Tensor, output)
    if isinstance(part, nn.Conv2d):  # every weight is used once per output pixel
        return weight.numel() * made.shape[0] * made.shape[-2] * made.shape[-1]
    return weight.numel() * (made.numel() // made.shape[-1])
