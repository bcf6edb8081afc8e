"""What an action earns: a weighted sum of the gains in PSNR, in likeness and in looks."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.tools_zoo.encoders import SemanticEncoder, Semantics, load_encoder
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import SfdIqa, open_iqa
from restoration_toolchain.tools_zoo.losses.features import feature_distances

MAX_LOSS: Final = 4.0
"""dB. A clean photo can lose 60 dB to a tool that nobody sees the work of, and a mean would be
ruled by that. A larger loss counts as this one wherever agents learn or are chosen."""


@dataclass(frozen=True, slots=True)
class Reward:
    """Weights of what is to grow from step to step.

    Attributes:
        psnr: Per dB of PSNR.
        perceptual: Per unit by which the distance of features to the clean image falls
            (`tools_zoo.losses.features`): 0.5 to 1.3 between a bicubic enlargement and the truth.
        quality: Per unit by which SFD-IQA rises (`enlarging.sfd_iqa`), which is 0 to 1 and
            does not look at the clean image.
        iqa: Which SFD-IQA: its folder, or a toolbox that has one; empty for that of the toolbox
            whose tools are played with.
        iqa_encoder: CLIP model that this score was trained with (`tools_zoo.encoders`): its
            folder, or its name in the local cache; empty for the offline default.

    Raises:
        ToolchainError: A weight is negative, all are 0, or a score or its encoder is named that
            has no weight.
    """

    psnr: float = 1.0
    perceptual: float = 0.0
    quality: float = 0.0
    iqa: str = ""
    iqa_encoder: str = ""

    def __post_init__(self) -> None:
        """Check the weights."""
        weights = (self.psnr, self.perceptual, self.quality)
        if min(weights) < 0.0 or sum(weights) <= 0.0:
            raise ToolchainError(
                f"reward weights must not be negative, nor all 0: {', '.join(map(str, weights))}"
            )
        if self.iqa and not self.quality:
            raise ToolchainError(
                f"the score {self.iqa} (iqa) counts only with a third reward weight above 0"
            )
        if self.iqa_encoder and not self.quality:
            raise ToolchainError(
                f"the encoder {self.iqa_encoder} (iqa_encoder) looks for a score, which counts "
                "only with a third reward weight above 0"
            )

    @property
    def name(self) -> str:
        """Name of the preset, or ``custom``."""
        return next((name for name, preset in REWARDS.items() if preset == self), "custom")

    @property
    def unit(self) -> str:
        """Unit that it counts in: ``dB``, or empty."""
        return "dB" if self == PSNR else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"name": self.name, **dataclasses.asdict(self)}


PSNR: Final = Reward()

REWARDS: Final = {"psnr": PSNR, "perceptual": Reward(0.0, 10.0), "mixed": Reward(0.5, 10.0)}
"""Presets. A tenth of distance counts as much as a dB (*perceptual*) or two (*mixed*), so that
all rewards are of the order of a dB: margins and bounds that agents are trained with fit them."""


def make_reward(
    name: str, weights: tuple[float, ...] = (), iqa: str = "", iqa_encoder: str = ""
) -> Reward:
    """Look up a preset; weights, if there are any, take its place.

    Args:
        name: One of `REWARDS`.
        weights: Weights of PSNR, of the perceptual gain and maybe of SFD-IQA, or none.
        iqa: See `Reward`; it needs the third weight.
        iqa_encoder: See `Reward`; likewise.

    Raises:
        ToolchainError: There is no such preset, or no such reward.
    """
    if name not in REWARDS:
        raise UnknownNameError("reward", name, REWARDS)
    if len(weights) not in {0, 2, 3}:
        raise ToolchainError(
            "reward weights are two or three, of PSNR, perceptual and maybe SFD-IQA, "
            f"got {len(weights)}"
        )
    if not weights:
        return dataclasses.replace(REWARDS[name], iqa=iqa, iqa_encoder=iqa_encoder)
    psnr, perceptual, quality = (*weights, 0.0)[:3]
    return Reward(psnr, perceptual, quality, iqa, iqa_encoder)


class NoScoreError(ToolchainError):
    """A reward weighs SFD-IQA, and there is none."""


class Scores(NamedTuple):
    """How close images are to the clean ones, and how they look, each (N,) on the CPU.

    Attributes:
        psnr: In dB.
        distance: Distance of features, 0 to 4; None where the reward does not ask for it.
        value: Weighted sum; what grows is the reward.
        quality: SFD-IQA, 0 to 1; None where the reward does not ask for it.
    """

    psnr: Tensor
    distance: Tensor | None
    value: Tensor
    quality: Tensor | None = None


class Judge:
    """Scores images against the clean ones, which it remembers.

    The distance of features is always seen by the offline encoder, so that rewards compare; a score
    is seen by the encoder that it was trained with.

    Args:
        reward: What counts.
        device: Where the encoder looks.
        home: Folder of the toolbox, whose SFD-IQA counts where the reward names no other.

    Attributes:
        gt: The clean images, (N, 3, H, W) in [0, 1].

    Raises:
        ToolchainError: The encoder or the SFD-IQA is missing or damaged, or the images too small.
    """

    def __init__(
        self, reward: Reward = PSNR, device: torch.device | str = "cpu", home: Path | None = None
    ) -> None:
        self.reward, self.gt = reward, torch.empty(0)
        self._encoder: SemanticEncoder | None = None
        self._iqa: SfdIqa | None = None
        if reward.perceptual:
            self._encoder = load_encoder().to(device)  # type: ignore[attr-defined]
        if reward.quality:
            self._iqa = _open_score(reward, home).to(device)
        self._maps: tuple[Tensor, ...] = ()

    def remember(self, gt: Tensor) -> None:
        """Compare with these clean images from now on, (N, 3, H, W) in [0, 1]."""
        self.gt, self._maps = gt, self._maps_of(gt)

    def replace(self, rows: Tensor, gt: Tensor) -> None:
        """Put other clean images in the given rows."""
        self.gt[rows] = gt
        for maps, fresh in zip(self._maps, self._maps_of(gt), strict=True):
            maps[rows] = fresh

    def score(self, images: Tensor, rows: Tensor | None = None) -> Scores:
        """Compare images (N, 3, H, W) in [0, 1] with the clean ones, or those of some rows."""
        gt = self.gt if rows is None else self.gt[rows]
        psnr = batch_psnr(images, gt).cpu()
        value = psnr if self.reward == PSNR else self.reward.psnr * psnr
        looks: dict[str, Semantics] = {}  # one serves both, if one encoder does
        distance, quality = None, None
        if self._encoder is not None:
            seen = looks[self._encoder.name] = self._look(images, self._encoder)
            maps = self._maps if rows is None else tuple(map_[rows] for map_ in self._maps)
            distance = feature_distances(seen.maps, maps).cpu()
            value = value - self.reward.perceptual * distance
        if self._iqa is not None:
            seen = looks.get(self._iqa.encoder_name) or self._look(images, self._iqa.encoder)
            quality = torch.stack(self._iqa.verdicts(seen)).mean(dim=0).cpu()
            value = value + self.reward.quality * quality
        return Scores(psnr, distance, value, quality)

    def _maps_of(self, gt: Tensor) -> tuple[Tensor, ...]:
        return () if self._encoder is None else self._look(gt, self._encoder).maps

    def _look(self, images: Tensor, encoder: SemanticEncoder) -> Semantics:
        if (side := min(images.shape[-2:])) < encoder.min_side:
            raise ToolchainError(
                f"a reward that looks at features needs images of {encoder.min_side} pixels a "
                f"side, got {side}"
            )
        with torch.no_grad():
            return encoder(images.float())


def _open_score(reward: Reward, home: Path | None) -> SfdIqa:
    """The SFD-IQA that a reward weighs; what to do is said where there is none."""
    if not reward.iqa and home is None:
        raise NoScoreError(
            "the reward weighs SFD-IQA, which this toolbox has not; name a folder of one, or a "
            "toolbox that has one (iqa)"
        )
    encoder = load_encoder(reward.iqa_encoder) if reward.iqa_encoder else None
    return open_iqa(reward.iqa or home or "", encoder)
