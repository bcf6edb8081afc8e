"""A small network that says, per pixel, which of eight categories it belongs to."""

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

NUM_CATEGORIES: Final = 8
NUM_FEAT: Final = 48
DILATIONS: Final = (1, 2, 4, 8)


class Segmenter(nn.Module):
    """Dilated convolutions on the small image; a wide view at little arithmetic.

    Its categories are the clusters that it was taught (`tools_zoo.enlarging.clusters`): they have
    no names. 87,944 parameters.
    """

    halo = 2 + sum(DILATIONS)
    """Pixels of the small image that an output pixel looks to each side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(3, NUM_FEAT, 3, padding=1)
        self.convs = nn.ModuleList(
            nn.Conv2d(NUM_FEAT, NUM_FEAT, 3, padding=dilation, dilation=dilation)
            for dilation in DILATIONS
        )
        self.conv_last = nn.Conv2d(NUM_FEAT, NUM_CATEGORIES, 3, padding=1)

    def forward(self, lq: Tensor) -> Tensor:
        """Map RGB (N, 3, H, W) in [0, 1] to logits (N, 8, H, W)."""
        feat = functional.leaky_relu(self.conv_first(lq), 0.1)
        for conv in self.convs:
            feat = feat + functional.leaky_relu(conv(feat), 0.1)
        logits: Tensor = self.conv_last(feat)
        return logits
