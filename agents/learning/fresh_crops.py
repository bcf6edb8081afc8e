"""Crops that no tool runs on: what was done to them is known for nothing."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from restoration_toolchain.agents.learning.pretraining import facts
from restoration_toolchain.agents.outcomes.batches import OutcomeBatch, OutcomeBatches, views_of
from restoration_toolchain.agents.outcomes.record import CropSource
from restoration_toolchain.data.patches.world_crops import gather


class FreshCrops(NamedTuple):
    """E crops as they came, and what is to be told about them.

    Attributes:
        images: (E, V, 3, 63, 63) in [0, 1], views.
        family: (E,) int64, what the damage is called; -1 where it has no name.
        facts: (E, F) strengths of the kinds of damage (`pretraining.facts`).
    """

    images: Tensor
    family: Tensor
    facts: Tensor


class Lesson(NamedTuple):
    """What is learnt from in one step.

    Attributes:
        recorded: Crops whose outcomes are known.
        fresh: Crops that are only to be recognised; None if there are none.
    """

    recorded: OutcomeBatch
    fresh: FreshCrops | None = None


class FreshBatches(Dataset[FreshCrops]):
    """Batches of crops that are drawn for them.

    Args:
        crops: Where crops come from.
        families: Names of families, in the order of the layer that names them.
        size: Crops in a batch.
        count: Batches.
        seed: Seeds of all crops; no two trainings of an agent should share all of them.
    """

    def __init__(
        self,
        crops: CropSource,
        families: Sequence[str],
        *,
        size: int,
        count: int,
        seed: Sequence[int] = (0,),
    ) -> None:
        self._crops, self._size, self._count, self._seed = crops, size, count, tuple(seed)
        self._places = {name: index for index, name in enumerate(families)}

    def __len__(self) -> int:
        """Number of batches."""
        return self._count

    def __getitem__(self, step: int) -> FreshCrops:
        """The batch of a step: a pure function of it."""
        rng = np.random.default_rng((*self._seed, 6, step))
        drawn = [self._crops.draw(rng) for _ in range(self._size)]
        lq, _ = gather(drawn)
        return FreshCrops(
            views_of(lq, rng),
            torch.tensor([self._places.get(crop.family, -1) for crop in drawn]),
            torch.tensor([facts(crop.degradation, crop.lq, crop.gt) for crop in drawn]),
        )


class Lessons(Dataset[Lesson]):
    """A record in batches, each with crops that are drawn for it.

    Args:
        recorded: The record.
        fresh: Batches of further crops, as many as there are of the record; None if there are none.
    """

    def __init__(self, recorded: OutcomeBatches, fresh: FreshBatches | None = None) -> None:
        self.recorded, self._fresh = recorded, fresh

    def __len__(self) -> int:
        """Number of lessons."""
        return len(self.recorded)

    def __getitem__(self, step: int) -> Lesson:
        """The lesson of a step: a pure function of it."""
        fresh = None if self._fresh is None else self._fresh[step]
        return Lesson(self.recorded[step], fresh)
