"""What an action earns: a weighted sum of the gains in PSNR and in likeness."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from data.errors import ToolchainError, UnknownNameError
from data.metrics import batch_psnr
from tools_zoo.encoders import SemanticEncoder, load_encoder
from tools_zoo.losses.features import feature_distances


@dataclass(frozen=True, slots=True)
class Reward:
    """Weights of what is to grow from step to step.

    Attributes:
        psnr: Per dB of PSNR.
        perceptual: Per unit by which the distance of features to the clean image falls
            (`tools_zoo.losses.features`): 0.5 to 1.3 between a bicubic enlargement and the truth.

    Raises:
        ToolchainError: A weight is negative, or both are 0.
    """

    psnr: float = 1.0
    perceptual: float = 0.0

    def __post_init__(self) -> None:
        """Check the weights."""
        if min(self.psnr, self.perceptual) < 0.0 or self.psnr + self.perceptual <= 0.0:
            raise ToolchainError(
                f"reward weights must not be negative, nor all 0: {self.psnr}, {self.perceptual}"
            )

    @property
    def name(self) -> str:
        """Of the preset, or ``custom``."""
        return next((name for name, preset in REWARDS.items() if preset == self), "custom")

    @property
    def unit(self) -> str:
        """In which it counts: ``dB``, or nothing that has a name."""
        return "dB" if self == PSNR else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"name": self.name, "psnr": self.psnr, "perceptual": self.perceptual}


PSNR: Final = Reward()

REWARDS: Final = {"psnr": PSNR, "perceptual": Reward(0.0, 10.0), "mixed": Reward(0.5, 10.0)}
"""Presets. A tenth of distance counts as much as a dB (*perceptual*) or two (*mixed*), so that
all rewards are of the order of a dB: margins and bounds that agents are trained with fit them."""


def make_reward(name: str, weights: tuple[float, ...] = ()) -> Reward:
    """Look up a preset; weights, if there are any, take its place.

    Args:
        name: One of `REWARDS`.
        weights: Those of PSNR and of the perceptual gain, or none.

    Raises:
        UnknownNameError: There is no such preset.
        ToolchainError: There are not two weights, or they are out of range.
    """
    if name not in REWARDS:
        raise UnknownNameError("reward", name, REWARDS)
    if not weights:
        return REWARDS[name]
    if len(weights) != 2:
        raise ToolchainError(f"reward weights are two, of PSNR and perceptual, got {len(weights)}")
    return Reward(*weights)


class Scores(NamedTuple):
    """How close images are to the clean ones, each (N,) on the CPU.

    Attributes:
        psnr: In dB.
        distance: Of features, 0 to 4; None where the reward does not ask for it.
        value: Weighted sum; what grows is the reward.
    """

    psnr: Tensor
    distance: Tensor | None
    value: Tensor


class Judge:
    """Scores images against the clean ones, which it remembers.

    Args:
        reward: What counts.
        device: Where the encoder looks.

    Raises:
        ToolchainError: The reward is perceptual and the encoder's weights are not installed, or
            the images are smaller than it can see.
    """

    def __init__(self, reward: Reward = PSNR, device: torch.device | str = "cpu") -> None:
        self.reward = reward
        self._encoder: SemanticEncoder | None = None
        if reward.perceptual:
            encoder = load_encoder()
            self._encoder = encoder.to(device)  # type: ignore[attr-defined]
        self._gt = torch.empty(0)
        self._maps: tuple[Tensor, ...] = ()

    @property
    def gt(self) -> Tensor:
        """The clean images, (N, 3, H, W) in [0, 1]."""
        return self._gt

    def remember(self, gt: Tensor) -> None:
        """Compare with these clean images from now on, (N, 3, H, W) in [0, 1]."""
        self._gt, self._maps = gt, self._look(gt)

    def replace(self, rows: Tensor, gt: Tensor) -> None:
        """Put other clean images in the given rows."""
        self._gt[rows] = gt
        for maps, fresh in zip(self._maps, self._look(gt), strict=True):
            maps[rows] = fresh

    def score(self, images: Tensor, rows: Tensor | None = None) -> Scores:
        """Compare images (N, 3, H, W) in [0, 1] with the clean ones, or those of some rows."""
        gt = self._gt if rows is None else self._gt[rows]
        psnr = batch_psnr(images, gt).cpu()
        if self._encoder is None:
            value = psnr if self.reward == PSNR else self.reward.psnr * psnr
            return Scores(psnr, None, value)
        maps = self._maps if rows is None else tuple(map_[rows] for map_ in self._maps)
        distance = feature_distances(self._look(images), maps).cpu()
        value = self.reward.psnr * psnr - self.reward.perceptual * distance
        return Scores(psnr, distance, value)

    def _look(self, images: Tensor) -> tuple[Tensor, ...]:
        if self._encoder is None:
            return ()
        smallest = self._encoder.min_side
        if min(images.shape[-2:]) < smallest:
            raise ToolchainError(
                f"a perceptual reward needs images of {smallest} pixels a side, got "
                f"{min(images.shape[-2:])}"
            )
        with torch.no_grad():
            return self._encoder(images.float()).maps
