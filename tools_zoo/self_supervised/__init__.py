"""Denoising learnt from noisy photos alone: the sub-sampling, the masks and the losses.

A network that must predict a noisy pixel without seeing it cannot predict its noise, if the noise
of the pixels it does see tells nothing about it. Masks and blind spots hide the pixel; sub-sampling
moves its neighbours, whose noise a camera correlates with its own, out of the way.
"""

from collections.abc import Callable

from torch import Tensor

Denoiser = Callable[[Tensor], Tensor]
"""Maps (N, 3, H, W) in [0, 1] to the same shape."""
