"""The two network shapes of RL-Restore's toolbox.

Source:
    Yu et al., "Crafting a Toolchain for Image Restoration by Deep Reinforcement Learning",
    CVPR 2018; layers as in the released checkpoints.
"""

from torch import Tensor, nn
from torch.nn import functional


class SmallCnn(nn.Module):
    """Three convolutions, 9-5-5, and a global skip: for weak damage. 21,827 parameters."""

    halo = 4 + 2 + 2

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv(3, 32, 9)
        self.conv2 = _conv(32, 16, 5)
        self.conv3 = _conv(16, 3, 5)
        # Start near the identity: from a large random residual, the first steps at a high learning
        # rate push nearly all of the few channels below zero, where ReLU never lets them return.
        self.conv3.weight.data.mul_(0.1)

    def forward(self, lq: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to the same shape, not clipped."""
        feat = functional.relu(self.conv1(lq))
        feat = functional.relu(self.conv2(feat))
        out: Tensor = lq + self.conv3(feat)
        return out


class LargeCnn(nn.Module):
    """Eight convolutions with two residual blocks and a global skip: for strong damage.

    50,851 parameters. The blocks act before their convolutions (pre-activation), and nothing
    comes between the second block and the widening 1x1 convolution.
    """

    halo = 2 + 1 + 1 + 1 + 1 + 2

    def __init__(self) -> None:
        super().__init__()
        self.conv_first = _conv(3, 64, 5)
        self.shrink = _conv(64, 32, 1)
        self.block1 = nn.ModuleList([_conv(32, 32, 3), _conv(32, 32, 3)])
        self.block2 = nn.ModuleList([_conv(32, 32, 3), _conv(32, 32, 3)])
        self.widen = _conv(32, 64, 1)
        self.conv_last = _conv(64, 3, 5)

    def forward(self, lq: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to the same shape, not clipped."""
        feat = self.shrink(functional.relu(self.conv_first(lq)))
        for conv_a, conv_b in (self.block1, self.block2):
            feat = feat + conv_b(functional.relu(conv_a(functional.relu(feat))))
        out: Tensor = lq + self.conv_last(functional.relu(self.widen(feat)))
        return out


def _conv(num_in_ch: int, num_out_ch: int, kernel_size: int) -> nn.Conv2d:
    conv = nn.Conv2d(num_in_ch, num_out_ch, kernel_size, padding=kernel_size // 2)
    nn.init.xavier_uniform_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv
