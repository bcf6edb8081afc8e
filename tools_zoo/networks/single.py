"""Single networks that undo a whole mixture at once: what the toolchain is compared with.

Source:
    Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016
    (VDSR); Zhang et al., "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image
    Denoising", TIP 2017 (DnCNN). Both on RGB, at the depths with which RL-Restore (CVPR 2018)
    compares itself: 6.67e5 and 6.69e5 weights.
"""

from torch import Tensor, nn


class PlainStack(nn.Module):
    """Convolutions of 3x3 with ReLU in between, and a global skip.

    Twenty convolutions of 64 channels are VDSR, 668,227 parameters, 667,008 of them weights; with
    batch normalisation in place of inner biases they are DnCNN, 669,379 parameters.

    Twelve of 48 channels are VDSR-s, 210,483 parameters, 209,952 of them weights. RL-Restore gives
    2.09e5 weights and 0.828e9 multiply-adds for a patch of 63x63 pixels, but no layers. Their
    quotient, 3,962, is about the 3,969 pixels of a patch, so nothing is strided. Of the stacks of
    3x3 convolutions that are no deeper than VDSR and whose channels are a multiple of 16, this one
    comes nearest: 2.10e5 weights and 0.833e9 multiply-adds. (With 64 channels it would be 1.88e5 or
    2.25e5 weights.)

    Args:
        depth: Number of convolutions.
        num_feat: Channels between them.
        use_norm: Batch normalisation between the first and the last convolution.
    """

    def __init__(self, depth: int, num_feat: int, *, use_norm: bool = False) -> None:
        super().__init__()
        self.halo = depth
        layers: list[nn.Module] = [_conv(3, num_feat), nn.ReLU()]
        for _ in range(depth - 2):
            layers.append(_conv(num_feat, num_feat, bias=not use_norm))
            if use_norm:
                layers.append(nn.BatchNorm2d(num_feat))
            layers.append(nn.ReLU())
        self.body = nn.Sequential(*layers)
        self.conv_last = _conv(num_feat, 3)
        # Start near the identity: a deep stack's first guess is far from any image.
        self.conv_last.weight.data.mul_(0.1)

    def forward(self, lq: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to the same shape, not clipped."""
        restored: Tensor = lq + self.conv_last(self.body(lq))
        return restored


def _conv(num_in_ch: int, num_out_ch: int, *, bias: bool = True) -> nn.Conv2d:
    conv = nn.Conv2d(num_in_ch, num_out_ch, 3, padding=1, bias=bias)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
