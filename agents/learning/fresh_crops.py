"""Crops that no tool runs on, beside those of a record: what was done to them is known for nothing.

What every tool does to a crop takes a hundred times as long as to draw it. So the eyes of an agent
can learn from many more crops than its judgement: to name the damage, and to say how strong it is.
"""

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


class Lessons(Dataset[Lesson]):
    """A record in batches, each with crops that are drawn for it.

    Args:
        recorded: The record.
        crops: Where further crops come from.
        families: Names of families, in the order of the layer that names them.
        num_fresh: Further crops in each lesson.
        seed: Seed of these.
    """

    def __init__(
        self,
        recorded: OutcomeBatches,
        crops: CropSource | None = None,
        families: Sequence[str] = (),
        *,
        num_fresh: int = 0,
        seed: int = 0,
    ) -> None:
        self.recorded, self._crops, self._num_fresh, self._seed = recorded, crops, num_fresh, seed
        self._places = {name: index for index, name in enumerate(families)}

    def __len__(self) -> int:
        """Number of lessons."""
        return len(self.recorded)

    def __getitem__(self, step: int) -> Lesson:
        """The lesson of a step: a pure function of it."""
        if self._crops is None or not self._num_fresh:
            return Lesson(self.recorded[step])
        rng = np.random.default_rng((self._seed, 6, step))
        drawn = [self._crops.draw(rng) for _ in range(self._num_fresh)]
        lq, _ = gather(drawn)
        fresh = FreshCrops(
            views_of(lq, rng),
            torch.tensor([self._places.get(crop.family, -1) for crop in drawn]),
            torch.tensor([facts(crop.degradation, crop.lq, crop.gt) for crop in drawn]),
        )
        return Lesson(self.recorded[step], fresh)
