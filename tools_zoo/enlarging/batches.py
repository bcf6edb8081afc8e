"""Small and large images for the training of super-resolution."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from restoration_toolchain.data.damage.second_order import ScaledSampler, scaled_pair
from restoration_toolchain.data.errors import StoreError
from restoration_toolchain.data.images import to_float, to_tensor, to_uint8
from restoration_toolchain.data.patches.store import Patches, PatchStore
from restoration_toolchain.tools_zoo.training.batches import flip


class SrBatch(NamedTuple):
    """What one step learns from.

    Attributes:
        lq: Small images, (N, 3, H, W) in [0, 1], on the 8-bit grid.
        gt: Their clean large partners, (N, 3, H * scale, W * scale).
        step: Index of the batch; what losses draw at random, they draw from it and the seed.
    """

    lq: Tensor
    gt: Tensor
    step: int


class SrBatches(Dataset[SrBatch]):
    """Item ``i`` is training batch ``i``: a pure function of the seed and ``i``.

    Args:
        store_path: Patch store; its clean patches outside the held-out photos are used.
        draw: Damage of the small images.
        scale: Side of a large image over side of a small one.
        batch_size: Pairs per batch.
        num_batches: Length of the data set.
        seed: Of everything drawn.

    Raises:
        StoreError: The store cannot be read, or its patches do not divide by the scale.
    """

    def __init__(
        self,
        store_path: Path,
        draw: ScaledSampler,
        *,
        scale: int,
        batch_size: int,
        num_batches: int,
        seed: int,
    ) -> None:
        self._store = open_scaled_store(store_path, scale)
        self._draw = draw
        self._batch_size = batch_size
        self._num_batches = num_batches
        self._seed = seed

    def __len__(self) -> int:
        """Number of batches."""
        return self._num_batches

    def __getitem__(self, index: int) -> SrBatch:
        """Return batch ``index``."""
        rng = np.random.default_rng((self._seed, index))
        chosen = rng.choice(self._store.train_indices, self._batch_size)
        windows = np.stack([flip(window, rng) for window in self._store.read_windows(chosen)])
        return SrBatch(*scaled_batch(windows, self._draw, rng), index)


def open_scaled_store(path: Path, scale: int) -> PatchStore:
    """Open a store whose patches are large images.

    Raises:
        StoreError: It cannot be read, or its patches do not divide by the scale.
    """
    store = PatchStore(path)
    if store.patch_size % scale:
        size = store.patch_size
        store.close()
        raise StoreError(
            f"the patches of {path} have {size} pixels a side, which does not divide by {scale}; "
            "make a store with: toolchain data prepare --patch-size 96"
        )
    return store


def scaled_batch(
    windows: Patches, draw: ScaledSampler, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Make clean patches smaller and worse, within their surroundings.

    Args:
        windows: uint8 (N, P + 2C, P + 2C, 3), as `data.patches.store.cut_windows` yields them.
        draw: Distribution of the damage.
        rng: Of everything random.

    Returns:
        (lq, gt): float32 (N, 3, P / scale, P / scale) and (N, 3, P, P) in [0, 1].
    """
    pairs = [scaled_pair(to_float(window), draw, rng) for window in windows]
    # On the 8-bit grid, as files are.
    lq = to_tensor(np.stack([to_uint8(small) for small, _ in pairs]))
    return lq, to_tensor(np.stack([large for _, large in pairs]))


def held_out_pairs(
    store: PatchStore, draw: ScaledSampler, *, count: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Fixed (lq, gt) pairs from the held-out photos of a store, or from all if none are."""
    rng = np.random.default_rng((seed, 1))
    indices = store.val_indices if len(store.val_indices) else store.train_indices
    chosen = rng.choice(indices, min(count, len(indices)), replace=False)
    return scaled_batch(store.read_windows(np.sort(chosen)), draw, rng)
