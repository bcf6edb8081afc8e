"""Noise of a camera for training batches, drawn once and cut out anywhere."""

from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from data.images import to_numpy, to_tensor
from data.noise_model import NoiseModel

SIDE: Final = 512
"""Pixels; many times what a crop has, so that no two crops get the same noise."""


class NoisePool:
    """Draws noise for images by cutting it out of one large piece: a hundredth of the time.

    Args:
        noise: What is drawn.
        seed: Of the piece.
    """

    def __init__(self, noise: NoiseModel, seed: int) -> None:
        self._noise = noise
        self._pool = noise.draw_unit(SIDE, SIDE, np.random.default_rng((seed, 7)))

    def draw(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the noise that images of this content would have.

        Args:
            images: (N, 3, H, W) in [0, 1], no side above `SIDE`; noisy or clean, for they are
                smoothed before their levels are looked up.
            generator: Of the places.

        Returns:
            Noise to add, same shape and device.
        """
        height, width = images.shape[-2:]
        noises = []
        for image in to_numpy(images):
            top, left = (
                int(torch.randint(SIDE - side + 1, (), generator=generator))
                for side in (height, width)
            )
            smooth = cv2.GaussianBlur(image, (0, 0), 2.0, borderType=cv2.BORDER_REPLICATE)
            unit = self._pool[top : top + height, left : left + width]
            noises.append(unit * self._noise.deviation_of(np.asarray(smooth)))
        return to_tensor(np.stack(noises)).to(images.device)
