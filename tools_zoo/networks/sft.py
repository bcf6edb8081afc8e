"""SFT-Net: an enlarging network whose features are modulated by what the image shows, per pixel.

Source:
    Wang et al., "Recovering Realistic Texture in Image Super-resolution by Deep Spatial Feature
    Transform", CVPR 2018 (SFTGAN), in the form of its released PyTorch network: residual blocks of
    SFT, convolution, ReLU, SFT, convolution, and modulation by 1 + gamma. Narrower, with fewer
    blocks, and with the bicubic image as a skip.
"""

from collections.abc import Callable
from typing import Final, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.scaling import upsample_bicubic
from restoration_toolchain.tools_zoo.networks.segmenter import NUM_CATEGORIES, Segmenter
from restoration_toolchain.tools_zoo.networks.super_resolution import NUM_BLOCK, NUM_FEAT, Enlarger
from restoration_toolchain.tools_zoo.networks.unshuffled import ResidualBlock

Conditioning = Literal["sft", "film", "concat"]

NUM_COND_HIDDEN: Final = 32
NUM_COND: Final = 16
SLOPE: Final = 0.1

CategoryKind = Literal["clusters", "scenes"]
"""What the categories of a prior are: those of `Segmenter`, or `SCENES`."""

SCENES: Final = ("background", "sky", "water", "grass", "mountain", "building", "plant", "animal")
"""The categories of SFTGAN, in the order of its channels."""

SharesOf = Callable[[slice, slice], Tensor]
"""Rows and columns of small images, to the shares (N, 8, rows * scale, columns * scale) there."""


class PriorError(ToolchainError, ValueError):
    """A categorical prior has another size or other categories than the network needs."""


class Prior(Protocol):
    """Where shares of categories come from, if not from the network itself."""

    @property
    def kind(self) -> CategoryKind | None:
        """What its categories are; None where they are whatever the network was trained with."""

    def look(self, lq: Tensor, scale: int) -> SharesOf:
        """See whole images, so that any part of their shares can be asked for.

        Args:
            lq: Small images (N, 3, H, W) in [0, 1].
            scale: Side of the shares over side of the images.

        Raises:
            PriorError: It is for images of another size.
        """


class ConditionNet(nn.Module):
    """What all SFT layers share: the prior, made as small as the features.

    The first kernel does not overlap and the others are 1x1, so that categories never mix beyond
    one pixel of the small image.

    Args:
        scale: Side of the prior over side of the features.
    """

    def __init__(self, scale: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(NUM_CATEGORIES, NUM_COND_HIDDEN, scale, stride=scale)]
        for _ in range(3):
            layers += [nn.LeakyReLU(SLOPE), nn.Conv2d(NUM_COND_HIDDEN, NUM_COND_HIDDEN, 1)]
        layers += [nn.LeakyReLU(SLOPE), nn.Conv2d(NUM_COND_HIDDEN, NUM_COND, 1)]
        self.body = nn.Sequential(*layers)

    def forward(self, prior: Tensor) -> Tensor:
        """Map (N, 8, H * scale, W * scale) to (N, NUM_COND, H, W)."""
        condition: Tensor = self.body(prior)
        return condition


class SftLayer(nn.Module):
    """``F * (1 + gamma) + beta``, both predicted per pixel; at first the identity."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.gamma = _branch(num_feat)
        self.beta = _branch(num_feat)

    def forward(self, feat: Tensor, condition: Tensor) -> Tensor:
        """Modulate (N, num_feat, H, W) by (N, NUM_COND, H, W), or by one of 1x1 for all pixels."""
        modulated: Tensor = feat * (1.0 + self.gamma(condition)) + self.beta(condition)
        return modulated


class SftBlock(nn.Module):
    """SFT, convolution, ReLU, SFT, convolution, and a skip."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.sft1 = SftLayer(num_feat)
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.sft2 = SftLayer(num_feat)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv2.weight.data.mul_(0.1)

    def forward(self, feat: Tensor, condition: Tensor) -> Tensor:
        """Map (N, num_feat, H, W) to the same shape."""
        out = torch.relu(self.conv1(self.sft1(feat, condition)))
        residual: Tensor = self.conv2(self.sft2(out, condition))
        return feat + residual


class SftNet(nn.Module):
    """`tools_zoo.networks.super_resolution.SrNet` with a categorical prior.

    The prior comes from the network's own `Segmenter`, unless `use_prior` names another one.

    Args:
        conditioning: ``sft``; ``film`` averages the condition over the image; ``concat`` gives the
            prior to the first convolution and has no SFT layers.
        scale: Side of the output over side of the input.
    """

    def __init__(self, conditioning: Conditioning = "sft", scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self.conditioning = conditioning
        self.conv_first = nn.Conv2d(3, NUM_FEAT, 3, padding=1)
        self.conv_trunk = nn.Conv2d(NUM_FEAT, NUM_FEAT, 3, padding=1)
        self.enlarger = Enlarger(NUM_FEAT, scale)
        self.prior = Segmenter().requires_grad_(False)
        self.has_scenes = nn.Buffer(torch.tensor(False))
        if conditioning == "concat":
            self.conv_prior = nn.Conv2d(NUM_CATEGORIES, NUM_FEAT, 3, padding=1, bias=False)
            self.conv_prior.weight.data.zero_()
            self.blocks = nn.ModuleList(ResidualBlock(NUM_FEAT) for _ in range(NUM_BLOCK))
        else:
            self.condition = ConditionNet(scale)
            self.blocks = nn.ModuleList(SftBlock(NUM_FEAT) for _ in range(NUM_BLOCK))
            self.sft_last = SftLayer(NUM_FEAT)
        self._given: Prior | None = None
        # One pixel more: the prior is enlarged by bilinear interpolation. Where the condition is
        # averaged over the image, no tile knows it; tiles are then conditioned on themselves.
        trunk = 2 * NUM_BLOCK + 2 + self.enlarger.halo
        prior = Segmenter.halo + 1
        self.halo = {"film": trunk, "sft": trunk - 1 + prior, "concat": trunk + prior}[conditioning]

    @property
    def kind(self) -> CategoryKind:
        """What the categories are that it was trained with."""
        return "scenes" if bool(self.has_scenes) else "clusters"

    @property
    def has_given(self) -> bool:
        """Whether the prior comes from elsewhere."""
        return self._given is not None

    @property
    def needs_prior(self) -> bool:
        """Whether it cannot run before `use_prior`: its categories are none of its own."""
        return self.kind == "scenes" and not self.has_given

    def use_prior(self, prior: Prior | None) -> None:
        """Take the prior from elsewhere; None goes back to the network's own.

        Raises:
            PriorError: Its categories are others than the network was trained with.
        """
        if prior is not None and prior.kind not in (None, self.kind):
            raise PriorError(
                f"this network was trained with {self.kind} as categories, "
                f"and the prior has {prior.kind}"
            )
        self._given = prior

    def look(self, lq: Tensor) -> SharesOf | None:
        """What the prior that was given says of whole images, to be handed on with their tiles.

        None where the prior is the network's own, which sees enough of them within a tile.
        """
        return None if self._given is None else self._given.look(lq, self.scale)

    def prior_of(self, lq: Tensor) -> Tensor:
        """Shares of the categories, (N, 8, H * scale, W * scale), sum to 1 over the second.

        Raises:
            PriorError: The prior has another size, or the network needs one that it does not bring.
        """
        height, width = lq.shape[-2:]
        given = self.look(lq)
        if given is not None:
            return self._checked(given(slice(0, height), slice(0, width)), lq)
        if self.needs_prior:
            raise PriorError("this network was trained with scenes; give it a prior of scenes")
        shares = self.prior(lq).softmax(dim=1)
        size = (height * self.scale, width * self.scale)
        return functional.interpolate(shares, size, mode="bilinear", align_corners=False)

    def _checked(self, prior: Tensor, lq: Tensor) -> Tensor:
        height, width = (side * self.scale for side in lq.shape[-2:])
        expected = (len(lq), NUM_CATEGORIES, height, width)
        if tuple(prior.shape) != expected:
            raise PriorError(f"the prior has shape {tuple(prior.shape)}, needed is {expected}")
        return prior.to(lq)

    def forward(self, lq: Tensor, prior: Tensor | None = None) -> Tensor:
        """Enlarge images, or tiles of one.

        Args:
            lq: (N, 3, H, W) in [0, 1].
            prior: Shares of their categories as `prior_of` gives them, where they are known.

        Returns:
            (N, 3, H * scale, W * scale), not clipped.

        Raises:
            PriorError: See `prior_of`.
        """
        prior = self.prior_of(lq) if prior is None else self._checked(prior, lq)
        first = self.conv_first(lq)
        conditions: tuple[Tensor, ...] = ()
        if self.conditioning == "concat":
            first = first + self.conv_prior(functional.avg_pool2d(prior, self.scale))
        else:
            condition = self.condition(prior)
            pooled = self.conditioning == "film"
            conditions = (condition.mean(dim=(2, 3), keepdim=True) if pooled else condition,)
        feat = first
        for block in self.blocks:
            feat = block(feat, *conditions)
        if conditions:
            feat = self.sft_last(feat, *conditions)
        feat = self.conv_trunk(feat) + first
        out: Tensor = upsample_bicubic(lq, self.scale) + self.enlarger(feat)
        return out


def _branch(num_feat: int) -> nn.Sequential:
    last = nn.Conv2d(NUM_COND, num_feat, 1)
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Conv2d(NUM_COND, NUM_COND, 1), nn.LeakyReLU(SLOPE), last)
