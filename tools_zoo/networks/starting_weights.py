"""Starting weights of networks without a skip from input to output.

Left to chance, such a network begins far from any image, and it first learns that there are colours
at all: hundreds of steps that a fit to a few photos does not have. So three channels begin as the
colours themselves, carried from layer to layer, and the others as usual.
"""

from typing import Final

import torch
from torch import Tensor, nn

NUM_COLOURS: Final = 3


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """All convolutions in a network, in the order of their making."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def draw_weights(network: nn.Module) -> None:
    """Draw weights that keep the size of what passes through (He et al., ICCV 2015); no biases."""
    for conv in convolutions(network):
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)


def carry_colours(conv: nn.Conv2d, kernel: Tensor | None = None) -> None:
    """Let the first three channels out of a convolution begin as the first three into it.

    Args:
        conv: Convolution with at least three channels on both sides; changed.
        kernel: Filter (k, k) of the convolution's size for each of the three; None is the identity.
    """
    side = conv.kernel_size[0]
    if kernel is None:
        kernel = torch.zeros(side, side)
        kernel[side // 2, side // 2] = 1.0
    with torch.no_grad():
        conv.weight[:NUM_COLOURS] = 0.0
        for channel in range(NUM_COLOURS):
            conv.weight[channel, channel] = kernel


def neighbours(side: int) -> Tensor:
    """(side, side) of ones around a zero: all that a kernel covers but its centre."""
    kernel = torch.ones(side, side)
    kernel[side // 2, side // 2] = 0.0
    return kernel
