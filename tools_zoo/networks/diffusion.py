"""Residual shifting: a diffusion from a clean image to its noisy enlargement, and back.

Images are in [-1, 1] here; ``y`` is the bicubic enlargement of the small image.

Source:
    Yue, Wang and Loy, "ResShift: Efficient Diffusion Model for Image Super-resolution by Residual
    Shifting", NeurIPS 2023 (schedule, forward process); Wang et al., "SinSR: Diffusion-Based Image
    Super-Resolution in a Single Step", CVPR 2024 (deterministic steps). Written from the equations.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from torch import Tensor

KAPPA: Final = 0.3
"""Standard deviation of the noise, in units of images in [-1, 1]: ResShift's is 2, in a latent
space. The difference that is to be found has about 0.1."""

TEMPERATURE: Final = 0.8
"""Noise that sampling starts with over that of the process. With 1, a network as small as ours
makes more noise than detail (docs/generative.md)."""

_LAST: Final = 0.99  # of sqrt(eta)
_POWER: Final = 0.3
_START: Final = 0.04
_DIFFERENCE: Final = 0.1  # of a clean image and its enlargement, for images in [-1, 1]

Predict = Callable[[Tensor, int], Tensor]
"""(x_t, t) to the clean image."""


class Shifting:
    """The process of ``steps`` steps.

    Attributes:
        steps: Number of steps, T.
        roots: Values s_0 to s_T, the square roots of eta: 0, then geometric in time to 0.99.
    """

    def __init__(self, steps: int) -> None:
        if steps < 2:
            raise ValueError(f"a diffusion has at least 2 steps, got {steps}")
        first = min(_START / KAPPA, _START, float(np.sqrt(0.001)))
        times = (np.arange(steps) / (steps - 1)) ** _POWER
        roots = first * (_LAST / first) ** times
        self.steps = steps
        self.roots = (0.0, *(float(root) for root in roots))

    def noisy(self, gt: Tensor, y: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """``x_t = x_0 + eta_t (y - x_0) + kappa sqrt(eta_t) eps``.

        Args:
            gt: Clean images (N, 3, H, W) in [-1, 1].
            y: Their enlargements.
            t: Steps (N,), 1 to T.
            noise: Standard normal, the shape of the images.
        """
        root = torch.tensor(self.roots, device=gt.device)[t.to(gt.device)].view(-1, 1, 1, 1)
        return gt + root.square() * (y - gt) + KAPPA * root * noise

    def seen(self, state: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """What a network is shown of a state: ``(x_t - y) / (kappa sqrt(eta_t) + 0.1)``.

        Noise, and the difference of clean image and enlargement, whose size is about a tenth, both
        come out of the order of 1. ``t`` are steps (N,), 0 to T.
        """
        root = torch.tensor(self.roots, device=y.device)[t.to(y.device)].view(-1, 1, 1, 1)
        return (state - y) / (KAPPA * root + _DIFFERENCE)

    def start(self, y: Tensor, noise: Tensor) -> Tensor:
        """``y + TEMPERATURE kappa sqrt(eta_T) eps``: x_T, made calmer; needs no clean image."""
        return y + TEMPERATURE * KAPPA * self.roots[-1] * noise

    def weights(self, t: int, before: int) -> tuple[float, float, float]:
        """Shares of (x_0, x_t, y) in the state at an earlier step; they sum to 1."""
        now, then = self.roots[t], self.roots[before]
        of_state = then / now
        of_y = then**2 - then * now
        return 1.0 - of_state - of_y, of_state, of_y

    def times(self, calls: int) -> list[int]:
        """The steps that so many calls visit, from T down to 1.

        Raises:
            ValueError: There are fewer steps, or no call.
        """
        if not 1 <= calls <= self.steps:
            raise ValueError(f"1 to {self.steps} steps are possible, got {calls}")
        return [int(t) for t in np.linspace(self.steps, 1, calls).round()]

    def sample(self, predict: Predict, y: Tensor, noise: Tensor, calls: int) -> Tensor:
        """Walk from the noisy enlargement to a clean image, without drawing any more noise.

        Args:
            predict: Prediction of the clean image; called ``calls`` times.
            y: Enlargements (N, 3, H, W) in [-1, 1].
            noise: Standard normal, of a shape that broadcasts to it.
            calls: Number of calls, 1 to T.
        """
        state = self.start(y, noise)
        for t, before in pairwise([*self.times(calls), 0]):
            clean = predict(state, t)
            of_clean, of_state, of_y = self.weights(t, before)
            state = of_clean * clean + of_state * state + of_y * y
        return state
