"""What tools are trained on: their own damage, alone or in a mixture, and middle states."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import Dataset

from restoration_toolchain.data.damage.degradation import (
    CONTEXT,
    Degradation,
    Pixel,
    central_patch,
    degrade_crop,
    mixture,
)
from restoration_toolchain.data.damage.levels import SEVERITY, Sampler, sampler
from restoration_toolchain.data.damage.steps import STEP_KINDS
from restoration_toolchain.data.images import FloatImage, to_float, to_tensor, to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.patches.store import MAX_INPUT_PSNR, Patches, PatchStore
from restoration_toolchain.tools_zoo.tool import ToolSpec

JITTER_NOISE_SIGMA: Final = 5.0  # 8-bit grey levels, the largest
JITTER_JPEG_QUALITY: Final = 80  # the lowest
MAX_DRAWS: Final = 8
"""Draws of a strength before a flat patch, on which no blur shows, is taken as it comes."""

Drawn = TypeVar("Drawn")

Degrade = Callable[[FloatImage, np.random.Generator], FloatImage]
"""Turns a clean window into a degraded patch, as `data.damage.degradation.degrade_crop` does."""


@dataclass(frozen=True, slots=True)
class ToolDegrader:
    """Draws the degraded input of one tool.

    A tool meets three kinds of input in a chain, so it is trained on three: images with its own
    distortion and a slight jitter of noise and JPEG (the paper's middle states), and, with
    probability ``mixed``, images on which the other two distortions lie as well at any strength.

    The own distortion of a tool that knows families of damage is one of those, whatever else lies
    on an image. The own distortion of a tool for mixtures is a mixture; mild, moderate and severe
    ones are drawn alike often, as they count alike where toolchains are measured. The rest of its
    images, 1 - ``mixed``, carry a single distortion, which is what agents are trained on too; there
    is no jitter.

    Attributes:
        spec: Specification of the tool.
        mixed: Probability of the mixture; 0 is the paper's training.
        jitter: Probability of the slight noise and JPEG on an image with the own distortion only.
    """

    spec: ToolSpec
    mixed: float = 0.5
    jitter: float = 0.5

    def __call__(self, window: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Degrade a clean patch within its surroundings, as `Degrade`, on the 8-bit grid."""
        return _with_visible_damage(self._draw, window, rng)

    def own_only(self, window: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Apply the tool's own distortion and nothing else: what its table of gains is made on."""
        return _with_visible_damage(self._draw_own, window, rng)

    def _draw(self, window: FloatImage, rng: np.random.Generator) -> FloatImage:
        if rng.random() < self.mixed:
            return degrade_crop(self._own(rng, sampler("all")(rng)), window, rng)
        if self.spec.task == "mixed":
            return degrade_crop(sampler("single")(rng), window, rng)
        lq = self._draw_own(window, rng)
        if rng.random() < self.jitter:
            slight = mixture(
                noise_sigma=rng.uniform(0.0, JITTER_NOISE_SIGMA),
                jpeg_quality=int(rng.integers(JITTER_JPEG_QUALITY, 101)),
            )
            # The surroundings are gone, but there is no blur that would look at them.
            lq = np.pad(lq, ((CONTEXT, CONTEXT), (CONTEXT, CONTEXT), (0, 0)), mode="edge")
            lq = degrade_crop(slight, lq, rng)
        return lq

    def _draw_own(self, window: FloatImage, rng: np.random.Generator) -> FloatImage:
        return degrade_crop(self._own(rng, Degradation()), window, rng)

    def _own(self, rng: np.random.Generator, others: Degradation) -> Degradation:
        if self.spec.families:
            return sampler(*self.spec.families)(rng)
        if self.spec.task == "mixed":
            return sampler(*SEVERITY)(rng)
        kind = STEP_KINDS.get(self.spec.task)
        if kind is None:
            raise ValueError(f"{self.spec.name} is not trained on images of its own size")
        return others.with_step(kind.of_strength(rng.uniform(*self.spec.strength)))


def level_degrader(draw: Sampler) -> Degrade:
    """A function that degrades patches by a distribution, on the 8-bit grid as files are."""
    return lambda window, rng: to_float(to_uint8(degrade_crop(draw(rng), window, rng)))


def _with_visible_damage(
    degrade: Degrade, window: FloatImage, rng: np.random.Generator
) -> FloatImage:
    """Degrade, again if nothing can be seen of it, as RL-Restore's protocol leaves such pairs out.

    A weak blur does nothing to most patches, and a mean PSNR would be ruled by those.
    """
    for _ in range(MAX_DRAWS):
        lq = to_float(to_uint8(degrade(window, rng)))
        if psnr(lq, central_patch(window)) <= MAX_INPUT_PSNR:
            break
    return lq


class Batch(NamedTuple):
    """What one step learns from, float32 in [0, 1].

    Attributes:
        lq: Degraded images, (N, 3, H, W).
        gt: Their clean partners, (N, 3, H * scale, W * scale).
        step: Index of the batch; losses draw what is random from it and the seed.
    """

    lq: Tensor
    gt: Tensor
    step: int


@dataclass(eq=False)
class ToolBatches(Dataset[Batch]):
    """Item ``i`` is training batch ``i``: a pure function of the seed and ``i``.

    So batches are the same however many workers make them, and a resumed run meets exactly the
    batches that an uninterrupted one would have met.

    Attributes:
        store_path: Patch store; its clean patches outside the held-out photos are used.
        degrade: Function that makes an input of a clean window.
        batch_size: Pairs per batch.
        num_batches: Length of the data set.
        seed: Seed of every random draw.
        scale: Side of a clean patch over side of an input.

    Raises:
        StoreError: The store cannot be read, or its patches do not divide by the scale.
    """

    store_path: Path
    degrade: Degrade
    batch_size: int
    num_batches: int
    seed: int
    scale: int = 1

    def __post_init__(self) -> None:
        """Open the store."""
        self._store = PatchStore(self.store_path, scale=self.scale)

    def __len__(self) -> int:
        """Number of batches."""
        return self.num_batches

    def __getitem__(self, index: int) -> Batch:
        """Return batch ``index``."""
        rng = np.random.default_rng((self.seed, index))
        chosen = rng.choice(self._store.train_indices, self.batch_size)
        windows = np.stack([flip(window, rng) for window in self._store.read_windows(chosen)])
        return Batch(*degrade_batch(windows, self.degrade, rng), index)


def validation_pairs(
    store: PatchStore, degrade: Degrade, *, count: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Fixed pairs (see `degrade_batch`) from the held-out photos, or from all if none are."""
    rng = np.random.default_rng((seed, 1))
    indices = store.val_indices if len(store.val_indices) else store.train_indices
    chosen = rng.choice(indices, min(count, len(indices)), replace=False)
    return degrade_batch(store.read_windows(np.sort(chosen)), degrade, rng)


def degrade_batch(
    windows: Patches, degrade: Degrade, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Degrade clean patches within their surroundings, as `patches.store.cut_windows` yields them.

    Args:
        windows: Windows as uint8 (N, P + 2C, P + 2C, 3).
        degrade: Function that degrades a patch.
        rng: Source of everything random.

    Returns:
        (lq, gt), float32 in [0, 1]: (N, 3, P / scale, P / scale) and (N, 3, P, P).
    """
    lq = np.stack([degrade(to_float(window), rng) for window in windows])
    return to_tensor(lq), to_tensor(central_patch(windows))


def flip(patch: npt.NDArray[Pixel], rng: np.random.Generator) -> npt.NDArray[Pixel]:
    """One of the eight flips and transposes."""
    flips = rng.integers(2, size=3)
    if flips[0]:
        patch = patch[::-1]
    if flips[1]:
        patch = patch[:, ::-1]
    return patch.transpose(1, 0, 2) if flips[2] else patch


@dataclass(eq=False)
class DrawnBatches(Dataset[Drawn], Generic[Drawn]):
    """Item ``i`` is training batch ``i``: a pure function of the seed and ``i``.

    Args:
        draw: Draws a batch of so many samples.
        batch_size: Samples in a batch.
        num_batches: Batches.
        seed: Seed of all batches.
    """

    draw: Callable[[int, np.random.Generator], Drawn]
    batch_size: int
    num_batches: int
    seed: int

    def __len__(self) -> int:
        """Number of batches."""
        return self.num_batches

    def __getitem__(self, index: int) -> Drawn:
        """Return batch ``index``."""
        return self.draw(self.batch_size, np.random.default_rng((self.seed, index)))
