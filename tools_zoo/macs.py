"""How much a network computes: multiply-accumulates, counted while it runs."""

import copy
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_macs(module: nn.Module, *inputs: Any) -> int:
    """Count the multiply-accumulates of one call: convolutions and products of matrices.

    Biases, activations and normalisations are left out, as the literature does. The module itself
    is neither run nor changed: a copy runs, in evaluation mode.
    """
    counted = copy.deepcopy(module).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        counted(*inputs)
    return int(counter.get_total_flops()) // 2  # it counts products and sums
