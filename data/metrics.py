"""Full-reference image quality: PSNR and SSIM, one definition each."""

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

from restoration_toolchain.data.errors import ImageFormatError
from restoration_toolchain.data.images import ByteImage, FloatImage

PSNR_CAP: Final = 100.0
"""dB; what two equal images score, because the mean squared error is floored at 1e-10."""


def psnr(
    image: FloatImage | ByteImage, reference: FloatImage | ByteImage, *, data_range: float = 1.0
) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels.

    ``10 log10(data_range^2 / (MSE + 1e-10 data_range^2))``, so equal images score `PSNR_CAP`.
    Neither image is clipped.

    Args:
        image: Any shape; the same scale as ``reference``.
        reference: Same shape.
        data_range: Largest minus smallest possible value: 1 for float images, 255 for uint8.

    Raises:
        ImageFormatError: The shapes differ.

    Source:
        Yu et al., "Crafting a Toolchain for Image Restoration by Deep Reinforcement Learning",
        CVPR 2018 (the floor of 1e-10 is the one of its released code).
    """
    if image.shape != reference.shape:
        raise ImageFormatError(f"shapes differ: {image.shape} and {reference.shape}")
    difference = image.astype(np.float64) - reference.astype(np.float64)
    mse = float(np.mean(difference**2)) / data_range**2
    return -10.0 * math.log10(mse + 1e-10)


def batch_psnr(images: Tensor, references: Tensor) -> Tensor:
    """`psnr` of each image of a batch: (N, 3, H, W) in [0, 1] twice, to (N,) in dB."""
    mse = (images.float() - references.float()).square().mean(dim=(1, 2, 3))
    return -10.0 * torch.log10(mse + 1e-10)


def ssim(
    image: FloatImage | ByteImage, reference: FloatImage | ByteImage, *, data_range: float = 1.0
) -> float:
    """Mean structural similarity as scikit-image defines it, on RGB with its 7x7 window.

    Args:
        image: RGB, shape (H, W, 3).
        reference: Same shape.
        data_range: Largest minus smallest possible value: 1 for float images, 255 for uint8.

    Raises:
        ImageFormatError: The shapes differ, or a side is shorter than the window (7 pixels).
    """
    if image.shape != reference.shape:
        raise ImageFormatError(f"shapes differ: {image.shape} and {reference.shape}")
    if min(image.shape[:2]) < 7:
        raise ImageFormatError(f"SSIM needs sides of at least 7 pixels, got {image.shape[:2]}")
    # Imports SciPy with it, which a restoration without a clean photo has no need of.
    from skimage.metrics import structural_similarity

    return float(structural_similarity(image, reference, data_range=data_range, channel_axis=2))
