"""Small and large images for the training of super-resolution."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

from restoration_toolchain.data.damage.levels import Sampler
from restoration_toolchain.tools_zoo.training.batches import LevelDegrader, ToolBatches


class SrBatch(NamedTuple):
    """What one step learns from.

    Attributes:
        lq: Small images, (N, 3, H, W) in [0, 1], on the 8-bit grid.
        gt: Their clean large partners, (N, 3, H * scale, W * scale).
        step: Index of the batch; losses draw what is random from it and the seed.
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
        seed: Seed of every random draw.

    Raises:
        StoreError: The store cannot be read, or its patches do not divide by the scale.
    """

    def __init__(
        self,
        store_path: Path,
        draw: Sampler,
        *,
        scale: int,
        batch_size: int,
        num_batches: int,
        seed: int,
    ) -> None:
        degrade = LevelDegrader(draw)
        self._pairs = ToolBatches(store_path, degrade, batch_size, num_batches, seed, scale=scale)

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._pairs)

    def __getitem__(self, index: int) -> SrBatch:
        """Return batch ``index``."""
        return SrBatch(*self._pairs[index], index)
