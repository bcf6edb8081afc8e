"""Clean images that were damaged: what critics of features must not take for clean.

Without them such critics learn only that restored images lack detail, and noise passes for it.
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.images import to_numpy, to_tensor

NEGATIVE_LEVELS: Final = ("single",)
"""One distortion each, of all strengths: in a mixture, blur would give noise away."""


def damage(gt: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Blur, noise and JPEG at strengths of their own on some of a batch of clean images.

    Args:
        gt: (N, 3, H, W) in [0, 1].
        share: Share of the images, 0 to 1; the nearest whole number of them, but at least one.
        generator: Random source that picks the images and their damage.

    Returns:
        (max(1, round(share * N)), 3, H, W) in [0, 1].
    """
    count = max(1, round(share * len(gt)))
    chosen = torch.randperm(len(gt), generator=generator)[:count]
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    draw = sampler(*NEGATIVE_LEVELS)
    images = [draw(rng).apply(image, rng) for image in to_numpy(gt[chosen.to(gt.device)])]
    return to_tensor(np.stack(images)).to(gt.device)
