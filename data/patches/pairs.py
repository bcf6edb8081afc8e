"""Where degraded and clean patches come from: a store, arrays, or fresh degradation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.damage.degradation import (
    Degradation,
    central_patch,
    degrade_crop,
)
from restoration_toolchain.data.damage.levels import Sampler, sampler
from restoration_toolchain.data.damage.noise_model import NoiseModel
from restoration_toolchain.data.errors import ImageFormatError, PatchSizeError
from restoration_toolchain.data.images import to_float, to_uint8
from restoration_toolchain.data.patches.store import Patches, PatchStore, StoreConfig, cut_windows
from restoration_toolchain.data.photos.sources import open_source

Indices = npt.NDArray[np.int64]

SMALL_SIDE: Final = 40
"""Pixels of a small patch of the embedded photos, where large ones are their clean partners."""

SMALLEST_SIDE: Final = 31
"""Pixels that an agent needs to look at."""


class PairSource(Protocol):
    """Pairs of degraded and clean patches."""

    def __len__(self) -> int:
        """Number of pairs that can be told apart by index."""

    def pairs(self, indices: Indices, rng: np.random.Generator) -> tuple[Patches, Patches]:
        """Return (lq, gt), uint8 (N, P / scale, P / scale, 3) and (N, P, P, 3), one per index."""


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
    """The pairs of a patch store.

    Args:
        store: An open store.
        draw: Distribution of damage that the clean patches are degraded with anew each time they
            are asked for; None takes the pairs as they were prepared.
        held_out: Use the photos kept for validation instead of the others.
    """

    def __init__(
        self, store: PatchStore, draw: Sampler | None = None, *, held_out: bool = False
    ) -> None:
        self._store, self._draw = store, draw
        self._indices = store.val_indices if held_out else store.train_indices

    def __len__(self) -> int:
        """Number of clean patches."""
        return len(self._indices)

    def pairs(self, indices: Indices, rng: np.random.Generator) -> tuple[Patches, Patches]:
        """Return degraded patches and their clean partners."""
        rows = self._indices[indices]
        if self._draw is None:
            return self._store.read_lq(rows), self._store.read_gt(rows)
        return degrade_windows(self._store.read_windows(rows), self._draw, rng)


class FreshPairs:
    """Clean patches held in memory, degraded anew each time they are asked for.

    Args:
        windows: Clean patches with their surroundings, as `patches.store.cut_windows` yields them.
        draw: Distribution of the damage.
    """

    def __init__(self, windows: Patches, draw: Sampler) -> None:
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


def check_large_side(side: int, scale: int) -> None:
    """Refuse a side of clean patches that is no multiple of the scale, or too short for agents."""
    if side % scale or side // scale < SMALLEST_SIDE:
        raise PatchSizeError(
            f"clean patches of {side} pixels a side do not suit scale {scale}: they must have a "
            f"multiple of it, {SMALLEST_SIDE * scale} or more",
            SMALL_SIDE * scale,
        )


def degrade_windows(
    windows: Patches, draw: Sampler, rng: np.random.Generator
) -> tuple[Patches, Patches]:
    """Degrade clean patches within their surroundings.

    Args:
        windows: Patches with their surroundings (`data.patches.store.cut_windows`), uint8
            (N, P + 2C, P + 2C, 3).
        draw: Distribution of the damage; all of one scale.
        rng: Source of everything random.

    Returns:
        (lq, gt): uint8 (N, P / scale, P / scale, 3) and (N, P, P, 3).
    """
    lq = [to_uint8(degrade_crop(draw(rng), to_float(window), rng)) for window in windows]
    return np.stack(lq), central_patch(windows)


def damage_sampler(
    levels: Sequence[str], noises: Sequence[NoiseModel] = (), *, scale: int = 1
) -> Sampler:
    """Draw from one of several levels or measured noises, all alike often; from one at least."""
    draws = [sampler(level, scale=scale) for level in levels]
    measured = [Degradation((noise,)).shrunk(scale) for noise in noises]
    draws += [lambda rng, damage=damage: damage for damage in measured]  # type: ignore[misc]
    if not draws:
        raise ValueError("there must be at least one level or noise to draw from")
    return lambda rng: draws[rng.integers(len(draws))](rng)


def embedded_pairs(
    *levels: str, scale: int = 1, small_side: int = SMALL_SIDE, noises: Sequence[NoiseModel] = ()
) -> FreshPairs:
    """Pairs from the photos that ship with scikit-image, for use without any data at hand.

    Args:
        levels: Names of levels (`data.damage.levels.sampler`), each drawn alike often.
        scale: Side of a clean patch over side of a degraded one.
        small_side: Side of a degraded patch in pixels, if it is smaller than its clean partner.
        noises: Measured noises, each drawn as often as a level.
    """
    draw = damage_sampler(levels, noises, scale=scale)
    side = small_side * scale
    config = StoreConfig(patch_size=side, stride=side, scales=(1.0,))
    if scale == 1:
        config = StoreConfig(stride=63)
    photos = [photo for _, photo in open_source("embedded")]
    windows = np.stack([window for photo in photos for window in cut_windows(photo, config)])
    return FreshPairs(windows, draw)


def open_pairs(
    source: str | Path,
    *,
    scale: int = 1,
    levels: Sequence[str] = (),
    noises: Sequence[NoiseModel] = (),
    held_out: bool = False,
    small_side: int = SMALL_SIDE,
) -> PairSource:
    """Pairs by name: ``embedded``, or the path of a patch store.

    Args:
        source: Name or path.
        scale: Side of a clean patch over side of a degraded one.
        levels: Levels to degrade clean patches anew at; none takes the pairs of a store as they
            were prepared at scale 1, and the level *all* for ``embedded``.
        noises: Further ways in which clean patches are damaged.
        held_out: Use the photos of a store that are kept for validation.
        small_side: Side of a small patch of ``embedded`` in pixels, if patches are made smaller.

    Raises:
        StoreError: The store cannot be read, or its patches do not suit the scale.
        ValueError: A store was prepared at scale 1, and no damage is named for another scale.
    """
    if str(source) == "embedded":
        levels = levels if levels or noises else ("all",)
        return embedded_pairs(*levels, scale=scale, small_side=small_side, noises=noises)
    prepared = scale == 1 and not (levels or noises)
    draw = None if prepared else damage_sampler(levels, noises, scale=scale)
    store = PatchStore(Path(source))
    if scale > 1:
        check_large_side(store.patch_size, scale)
    return StorePairs(store, draw, held_out=held_out)
