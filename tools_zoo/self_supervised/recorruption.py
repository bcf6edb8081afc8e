"""Recorruption: with noise that is known, a noisy image makes two whose noises are independent.

Source:
    Pang et al., "Recorrupted-to-Recorrupted: Unsupervised Deep Learning for Image Denoising",
    CVPR 2021. Drawing every noise with both signs is ours.
"""

import torch
from torch import Tensor

from tools_zoo.self_supervised import Denoiser


def recorruption_loss(
    denoiser: Denoiser, noisy: Tensor, noise: Tensor, *, strength: float
) -> Tensor:
    """Mean squared error of denoising an image with more noise, against one with other noise.

    To the noisy image ``y``, ``strength * z`` is added for the input and ``z / strength`` is taken
    away for the target. If ``z`` is distributed like the noise of ``y`` and is Gaussian, input and
    target have independent noise, so that the least loss is reached by what is also closest to the
    clean image. ``z`` and ``-z`` are used together: most of what the large noise of the target adds
    to the gradient by chance cancels.

    Args:
        denoiser: What is trained; any network.
        noisy: (N, C, H, W) in [0, 1].
        noise: z, same shape.
        strength: Of the noise added, above 0; more is easier to learn from, and farther from the
            images that the denoiser is for.

    Returns:
        Scalar.
    """
    both = torch.cat([noise, -noise])
    images = torch.cat([noisy, noisy])
    restored = denoiser(images + strength * both).float()
    return (restored - (images - both / strength)).square().mean()


def recorruption_error(
    denoiser: Denoiser, noisy: Tensor, noise: Tensor, *, strength: float
) -> Tensor:
    """Mean squared error of predicting every noisy pixel without knowing its noise.

    It is `recorruption_loss` without the part of the target's noise that was drawn.

    Returns:
        Scalar: the error of the denoised images and the variance of their noise together.
    """
    loss = recorruption_loss(denoiser, noisy, noise, strength=strength)
    return loss - (noise / strength).square().mean()
