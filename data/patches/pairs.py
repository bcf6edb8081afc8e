"""Where degraded and clean patches come from: a store, arrays, or fresh degradation."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.damage.degradation import (
    Degradation,
    central_patch,
    degrade_crop,
    sampler,
)
from restoration_toolchain.data.damage.noise_model import NoiseModel
from restoration_toolchain.data.errors import ImageFormatError
from restoration_toolchain.data.images import ByteImage, FloatImage, to_float, to_uint8
from restoration_toolchain.data.patches.store import Patches, PatchStore, StoreConfig, cut_windows
from restoration_toolchain.data.photos.sources import open_source

Indices = npt.NDArray[np.int64]

Damage = Degradation | NoiseModel
"""What is done to a clean patch: a synthetic degradation, or the noise of a camera alone."""

DamageSampler = Callable[[np.random.Generator], Damage]
"""A distribution over damages."""


class PairSource(Protocol):
    """Pairs of degraded and clean patches."""

    def __len__(self) -> int:
        """Number of pairs that can be told apart by index."""

    def pairs(self, indices: Indices, rng: np.random.Generator) -> tuple[Patches, Patches]:
        """Return (lq, gt), each uint8 (len(indices), P, P, 3); what is random comes from rng."""


class ArrayPairs:
    """Fixed pairs held in memory.

    Args:
        lq: Degraded patches, uint8 (N, P, P, 3).
        gt: Clean patches, same shape; or larger, each side by the same whole factor.

    Raises:
        ImageFormatError: The shapes do not go together, or there is no pair.
    """

    def __init__(self, lq: Patches, gt: Patches) -> None:
        if lq.ndim != 4 or len(lq) == 0 or not _are_partners(lq.shape, gt.shape):
            raise ImageFormatError(f"lq {lq.shape} and gt {gt.shape} are no (N, P, P, 3) pairs")
        self.lq, self.gt = lq, gt

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.lq)

    def pairs(self, indices: Indices, rng: np.random.Generator) -> tuple[Patches, Patches]:
        """Return the pairs at the indices; nothing is random."""
        return self.lq[indices], self.gt[indices]


class StorePairs:
    """The pairs of a patch store, as they were prepared.

    Args:
        store: An open store.
        held_out: Use the photos kept for validation instead of the others.
    """

    def __init__(self, store: PatchStore, *, held_out: bool = False) -> None:
        self._store = store
        self._indices = store.val_indices if held_out else store.train_indices

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._indices)

    def pairs(self, indices: Indices, rng: np.random.Generator) -> tuple[Patches, Patches]:
        """Return the pairs at the indices; nothing is random."""
        rows = self._indices[indices]
        return self._store.read_lq(rows), self._store.read_gt(rows)


class LevelPairs:
    """The clean patches of a store, degraded anew each time they are asked for.

    Args:
        store: An open store.
        draw: Distribution of the damages.
        held_out: Use the photos kept for validation instead of the others.
    """

    def __init__(self, store: PatchStore, draw: DamageSampler, *, held_out: bool = False) -> None:
        self._store = store
        self._indices = store.val_indices if held_out else store.train_indices
        self._draw = draw

    def __len__(self) -> int:
        """Number of clean patches."""
        return len(self._indices)

    def pairs(self, indices: Indices, rng: np.random.Generator) -> tuple[Patches, Patches]:
        """Return freshly degraded patches and their clean partners."""
        windows = self._store.read_windows(self._indices[indices])
        return degrade_windows(windows, self._draw, rng)


class FreshPairs:
    """Clean patches that are degraded anew each time they are asked for.

    Args:
        windows: Clean patches with their surroundings, as `patches.store.cut_windows` yields them.
        draw: Distribution of the damages.
    """

    def __init__(self, windows: Patches, draw: DamageSampler) -> None:
        self._windows, self._draw = windows, draw

    def __len__(self) -> int:
        """Number of clean patches."""
        return len(self._windows)

    def pairs(self, indices: Indices, rng: np.random.Generator) -> tuple[Patches, Patches]:
        """Return freshly degraded patches and their clean partners."""
        return degrade_windows(self._windows[indices], self._draw, rng)


def _are_partners(lq: tuple[int, ...], gt: tuple[int, ...]) -> bool:
    """Whether shapes differ at most by one whole factor of both sides."""
    scale = gt[1] // lq[1] if len(gt) > 1 and lq[1] else 1
    return gt == (lq[0], lq[1] * scale, lq[2] * scale, *lq[3:])


def degrade_windows(
    windows: Patches, draw: DamageSampler, rng: np.random.Generator
) -> tuple[Patches, Patches]:
    """Degrade clean patches within their surroundings.

    Args:
        windows: As `data.patches.store.cut_windows` yields them, uint8 (N, P + 2C, P + 2C, 3).
        draw: Distribution of the damages.
        rng: Of everything random.

    Returns:
        (lq, gt), each uint8 (N, P, P, 3).
    """
    lq = [to_uint8(_damaged(to_float(window), draw(rng), rng)) for window in windows]
    return np.stack(lq), central_patch(windows)


def damage_sampler(levels: Sequence[str], noises: Sequence[NoiseModel] = ()) -> DamageSampler:
    """Draw from one of several levels or noises, all alike often; from one at least.

    Raises:
        UnknownNameError: There is no such level.
    """
    if not noises:
        return sampler(*levels)
    draws: list[DamageSampler] = [sampler(level) for level in levels]
    draws += [lambda rng, noise=noise: noise for noise in noises]  # type: ignore[misc]
    return lambda rng: draws[rng.integers(len(draws))](rng)


def _damaged(window: FloatImage, damage: Damage, rng: np.random.Generator) -> FloatImage:
    """The patch within a clean window, damaged."""
    if isinstance(damage, Degradation):
        return degrade_crop(damage, window, rng)
    return central_patch((window + damage.draw(window, rng)).clip(0.0, 1.0))


def embedded_pairs(level: str = "moderate") -> FreshPairs:
    """Pairs from the photos that ship with scikit-image, for use without any data at hand.

    Raises:
        UnknownNameError: There is no such level.
    """
    return _embedded(sampler(level))


def _embedded(draw: DamageSampler) -> FreshPairs:
    return FreshPairs(_cut_all([photo for _, photo in open_source("embedded")]), draw)


def _cut_all(photos: Sequence[ByteImage]) -> Patches:
    config = StoreConfig(stride=63)
    return np.stack([window for photo in photos for window in cut_windows(photo, config)])


def open_pairs(
    source: str | Path,
    *,
    held_out: bool = False,
    levels: Sequence[str] = (),
    noises: Sequence[NoiseModel] = (),
) -> PairSource:
    """Pairs by name: ``embedded``, or the path of a patch store.

    Args:
        source: The name.
        held_out: Of a store, use the photos kept for validation.
        levels: Degrade the clean patches anew at these levels; none takes the pairs of a store as
            they were prepared, and the level *all* for ``embedded``.
        noises: Further ways in which clean patches are damaged.

    Raises:
        StoreError: The store cannot be read.
        UnknownNameError: There is no such level.
    """
    if str(source) == "embedded":
        return _embedded(damage_sampler(levels if levels or noises else ("all",), noises))
    store = PatchStore(Path(source))
    if levels or noises:
        return LevelPairs(store, damage_sampler(levels, noises), held_out=held_out)
    return StorePairs(store, held_out=held_out)
