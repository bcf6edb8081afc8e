"""Pixel-wise losses between a restored batch and its ground truth."""

import torch
from torch import Tensor


def mse_loss(restored: Tensor, gt: Tensor) -> Tensor:
    """Mean squared error over everything: the loss of RL-Restore's tools."""
    return (restored - gt).square().mean()


def psnr_loss(restored: Tensor, gt: Tensor) -> Tensor:
    """Minus the mean PSNR of the batch in nepers: ``mean_n log(MSE_n + 1e-6)``, halved.

    The mean over images of the logarithm weights every image alike, where a plain mean squared
    error is ruled by the most damaged ones. The floor keeps near-perfect images from taking over.

    Source:
        Chen et al., "HINet: Half Instance Normalization Network for Image Restoration",
        CVPR Workshops 2021 (PSNR loss).
    """
    mse = (restored - gt).square().mean(dim=(1, 2, 3))
    return 0.5 * torch.log(mse + 1e-6).mean()


def absolute_loss(restored: Tensor, gt: Tensor) -> Tensor:
    """Mean absolute error over everything."""
    return (restored - gt).abs().mean()
