"""SDAP: a blind-spot network learns to predict one random sub-image from another.

Source:
    Pan et al., "Random Sub-Samples Generation for Self-Supervised Real Image Denoising", ICCV 2023
    (SDAP, "sampling difference as perturbation").
"""

import torch
from torch import Tensor

from restoration_toolchain.tools_zoo.networks.masks import Denoiser
from restoration_toolchain.tools_zoo.networks.subsampling import (
    pixel_shuffle_down,
    random_subsamples,
)


def cyclic_difference_loss(denoiser: Denoiser, sub_images: Tensor) -> Tensor:
    """Mean absolute error of each denoised sub-image against the next noisy one, summed.

    The last is compared with the first. A single pair would be a poor guide: how far its pixels lie
    apart differs from cell to cell and from step to step.

    Args:
        denoiser: A blind-spot network.
        sub_images: Noisy (P, N, C, H, W) in [0, 1], all P sampled from the same N images.

    Returns:
        Scalar: the sum over the P pairs, each a mean over pixels.
    """
    denoised = denoiser(sub_images.flatten(0, 1)).float().view(sub_images.shape)
    difference = denoised - sub_images.roll(-1, dims=0)
    return len(sub_images) * difference.abs().mean()


def sdap_loss(
    denoiser: Denoiser, noisy: Tensor, *, stride: int, cycle: int, generator: torch.Generator
) -> Tensor:
    """Loss of a training step: `cyclic_difference_loss` of random sub-images.

    Args:
        denoiser: Blind-spot network to train.
        noisy: (N, C, H, W) in [0, 1]; both sides multiples of ``stride``.
        stride: Stride s of the sub-images, in pixels.
        cycle: Use this many of the s * s sub-images, in a shorter cycle, and scale the loss up to
            what all would give. The paper uses all; fewer are cheaper and a little less steady.
        generator: Random source of the sub-images. Their order is random in every cell, so the
            first ones are as good as any.
    """
    sub_images = random_subsamples(noisy, stride, generator)
    part = sub_images[:cycle]
    return len(sub_images) / len(part) * cyclic_difference_loss(denoiser, part)


def sdap_blind_error(denoiser: Denoiser, noisy: Tensor, *, stride: int) -> Tensor:
    """Mean absolute error of the prediction of every pixel from the others, without any chance.

    A scalar in units of ``noisy``; the noise alone keeps it above 0.
    """
    sub_images = pixel_shuffle_down(noisy, stride)
    return (denoiser(sub_images).float() - sub_images).abs().mean()
