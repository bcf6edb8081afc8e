"""A critic that looks at pixels, a neighbourhood at a time."""

import itertools
from typing import Final

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS: Final = (16, 32, 64, 96)
_SLOPE: Final = 0.2


class PatchCritic(nn.Module):
    """Convolutions of falling resolution with spectral normalisation; one logit per 8x8 pixels.

    Args:
        num_categories: Categories of a second head, which tells what the image shows; 0 leaves it
            out.

    Source:
        Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017
        (the patches); Miyato et al., "Spectral Normalization for GANs", ICLR 2018; the second head
        is SFTGAN's, Wang et al., CVPR 2018, on averages, so that images may have any size.
    """

    def __init__(self, num_categories: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, WIDTHS[0], 3, 1), nn.LeakyReLU(_SLOPE)]
        for narrow, wide in itertools.pairwise(WIDTHS):
            layers += [_conv(narrow, wide, 4, 2), nn.LeakyReLU(_SLOPE)]
        self.body = nn.Sequential(*layers)
        self.verdict = _conv(WIDTHS[-1], 1, 3, 1)
        self.category = nn.Linear(WIDTHS[-1], num_categories) if num_categories else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Judge RGB (N, 3, H, W) in [0, 1], sides at least 8.

        Returns:
            Logits (N, 1, H / 8, W / 8), high where the image looks clean, and logits of the
            categories (N, num_categories) or None.
        """
        feat = self.body(2.0 * images - 1.0)
        category = None if self.category is None else self.category(feat.mean(dim=(2, 3)))
        return self.verdict(feat), category


def _conv(num_in_ch: int, num_out_ch: int, kernel_size: int, stride: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(num_in_ch, num_out_ch, kernel_size, stride, padding=1))
