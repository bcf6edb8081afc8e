"""AMS: one mask while learning, complementary masks afterwards.

Source:
    Liao et al., "Asymmetric Mask Scheme for Self-Supervised Real Image Denoising", ECCV 2024.
"""

import torch
from torch import Tensor

from restoration_toolchain.tools_zoo.networks.masks import (
    Denoiser,
    MaskKind,
    checkerboard_masks,
    denoise_hidden,
    draw_half,
)
from restoration_toolchain.tools_zoo.networks.subsampling import pixel_shuffle_down


def hidden_loss(denoiser: Denoiser, images: Tensor, hidden: Tensor) -> Tensor:
    """Mean absolute error of the prediction of hidden pixels: one call of the denoiser.

    Args:
        denoiser: Sees 0 in place of hidden pixels.
        images: Noisy (N, C, H, W) in [0, 1]; what is to be predicted as well.
        hidden: bool (N or 1, 1, H, W), true where a pixel is hidden, in all channels.

    Returns:
        Scalar; visible pixels have no part in it.
    """
    error = (denoiser(images.masked_fill(hidden, 0.0)).float() - images).abs()
    hidden = hidden.expand_as(error)
    return torch.where(hidden, error, 0.0).sum() / hidden.sum()


def ams_loss(
    denoiser: Denoiser, noisy: Tensor, *, stride: int, masks: MaskKind, generator: torch.Generator
) -> Tensor:
    """Loss of a training step: `hidden_loss` on sub-images, with one mask for each.

    Args:
        denoiser: Network to train.
        noisy: (N, C, H, W) in [0, 1]; both sides multiples of ``stride``.
        stride: Stride of the sub-images, in pixels; noise of pixels this far apart is taken as
            independent.
        masks: ``random`` ones are the paper's; the checkerboard asks for much less, as a pixel has
            the same neighbours wherever it lies, and is learnt many times sooner.
        generator: Random source of the masks.
    """
    sub_images = pixel_shuffle_down(noisy, stride)
    num_images, _, height, width = sub_images.shape
    hidden = draw_half(masks, num_images, height, width, generator)
    return hidden_loss(denoiser, sub_images, hidden.to(noisy.device))


def ams_blind_error(denoiser: Denoiser, noisy: Tensor, *, stride: int) -> Tensor:
    """Mean absolute error of the prediction of every pixel from the others, without any chance.

    A scalar in units of ``noisy``; the noise alone keeps it above 0.
    """
    sub_images = pixel_shuffle_down(noisy, stride)
    height, width = sub_images.shape[-2:]
    masks = checkerboard_masks(height, width, noisy.device)
    return (denoise_hidden(denoiser, sub_images, masks).float() - sub_images).abs().mean()
