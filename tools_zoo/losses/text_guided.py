"""Losses of the prompts that judge an image's embedding, and of the generator that they judge."""

from torch import Tensor


def text_guided_generator_loss(restored: Tensor) -> Tensor:
    """``-mean log p(x)``: restored images should be nearer to the good prompt.

    Args:
        restored: Log-probabilities (N, 2) of the good and the bad prompt.

    Source:
        Binary cross-entropy, as in CLIP-LIT, Liang et al., ICCV 2023.
    """
    return -restored[:, 0].mean()


def text_guided_critic_loss(restored: Tensor, clean: Tensor) -> Tensor:
    """``-mean log p(y) - mean log(1 - p(x))``, the arguments as above."""
    return -clean[:, 0].mean() - restored[:, 1].mean()
