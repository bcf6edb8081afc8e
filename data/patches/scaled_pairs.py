"""Small degraded patches and their large clean partners, made anew each time they are asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from restoration_toolchain.data.damage.degradation import central_patch
from restoration_toolchain.data.damage.second_order import (
    ScaledSampler,
    degrade_scaled_crop,
    scaled_sampler,
)
from restoration_toolchain.data.errors import StoreError
from restoration_toolchain.data.images import to_float, to_uint8
from restoration_toolchain.data.patches.pairs import Indices, PairSource
from restoration_toolchain.data.patches.store import Patches, PatchStore, StoreConfig, cut_windows
from restoration_toolchain.data.photos.sources import open_source

SMALL_SIDE: Final = 40
"""Pixels of a small patch of the embedded photos."""

SMALLEST_SIDE: Final = 31
"""Pixels that an agent needs to look at."""


class ScaledStorePairs:
    """The clean patches of a store, made smaller and worse.

    Args:
        store: An open store; its patches are the large images.
        draw: Distribution of the damage.
        scale: Side of a large patch over side of a small one.
        held_out: Use the photos kept for validation instead of the others.

    Raises:
        StoreError: The patches do not divide by the scale, or are too small for it.
    """

    def __init__(
        self, store: PatchStore, draw: ScaledSampler, scale: int, *, held_out: bool = False
    ) -> None:
        check_large_side(store.patch_size, scale)
        self._store, self._draw = store, draw
        self._indices = store.val_indices if held_out else store.train_indices

    def __len__(self) -> int:
        """Number of clean patches."""
        return len(self._indices)

    def pairs(self, indices: Indices, rng: np.random.Generator) -> tuple[Patches, Patches]:
        """Return freshly made (small, large) patches, uint8 (N, p, p, 3) and (N, P, P, 3)."""
        return shrink_windows(self._store.read_windows(self._indices[indices]), self._draw, rng)


class ScaledFreshPairs:
    """Clean patches held in memory, made smaller and worse.

    Args:
        windows: Clean large patches with their surroundings, as `patches.store.cut_windows` yields
            them; sides are multiples of the scale.
        draw: Distribution of the damage.
    """

    def __init__(self, windows: Patches, draw: ScaledSampler) -> None:
        self._windows, self._draw = windows, draw

    def __len__(self) -> int:
        """Number of clean patches."""
        return len(self._windows)

    def pairs(self, indices: Indices, rng: np.random.Generator) -> tuple[Patches, Patches]:
        """Return freshly made (small, large) patches, uint8 (N, p, p, 3) and (N, P, P, 3)."""
        return shrink_windows(self._windows[indices], self._draw, rng)


def check_large_side(side: int, scale: int) -> None:
    """Refuse clean patches of which an agent could not look at the small partner.

    Raises:
        StoreError: Their side is too short, or no multiple of the scale.
    """
    if side % scale or side // scale < SMALLEST_SIDE:
        raise StoreError(
            f"clean patches of {side} pixels a side do not suit scale {scale}: they must have a "
            f"multiple of it, {SMALLEST_SIDE * scale} or more; make a store with: toolchain data "
            f"prepare --patch-size {SMALL_SIDE * scale}"
        )


def shrink_windows(
    windows: Patches, draw: ScaledSampler, rng: np.random.Generator
) -> tuple[Patches, Patches]:
    """Make clean patches smaller and worse, within their surroundings.

    Args:
        windows: As `data.patches.store.cut_windows` yields them, uint8 (N, P + 2C, P + 2C, 3).
        draw: Distribution of the damage.
        rng: Of everything random.

    Returns:
        (lq, gt): uint8 (N, P / scale, P / scale, 3) and (N, P, P, 3).
    """
    lq = [to_uint8(degrade_scaled_crop(draw(rng), to_float(window), rng)) for window in windows]
    return np.stack(lq), central_patch(windows)


def embedded_scaled_pairs(
    *levels: str, scale: int, small_side: int = SMALL_SIDE
) -> ScaledFreshPairs:
    """Pairs from the photos that ship with scikit-image, for use without any data at hand.

    Args:
        levels: Names of `data.damage.second_order.SCALED_LEVELS`, each drawn alike often.
        scale: Side of a large patch over side of a small one.
        small_side: Of a small patch, in pixels.

    Raises:
        UnknownNameError: There is no such level.
    """
    draw = scaled_sampler(*levels, scale=scale)
    side = small_side * scale
    config = StoreConfig(patch_size=side, stride=side, scales=(1.0,))
    photos = [photo for _, photo in open_source("embedded")]
    windows = np.stack([window for photo in photos for window in cut_windows(photo, config)])
    return ScaledFreshPairs(windows, draw)


def open_scaled_pairs(
    source: str | Path,
    *,
    scale: int,
    levels: Sequence[str],
    held_out: bool = False,
    small_side: int = SMALL_SIDE,
) -> PairSource:
    """Pairs by name: ``embedded``, or the path of a patch store whose patches are large images.

    Args:
        source: The name.
        scale: Side of a large patch over side of a small one.
        levels: Names of `damage.second_order.SCALED_LEVELS`, each drawn alike often; at least one.
        held_out: Of a store, use the photos kept for validation.
        small_side: Of ``embedded``, side of a small patch in pixels.

    Raises:
        StoreError: The store cannot be read, or its patches do not suit the scale.
        UnknownNameError: There is no such level.
    """
    if str(source) == "embedded":
        return embedded_scaled_pairs(*levels, scale=scale, small_side=small_side)
    draw = scaled_sampler(*levels, scale=scale)
    return ScaledStorePairs(PatchStore(Path(source)), draw, scale, held_out=held_out)
