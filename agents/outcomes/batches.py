"""Batches of recorded outcomes: views of states, what each tool gains, and what may follow."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from restoration_toolchain.agents.outcomes.record import Outcomes, corner_views
from restoration_toolchain.agents.policy.q_net import VIEW_SIZE

Rows = npt.NDArray[np.int64]


class OutcomeBatch(NamedTuple):
    """States of E crops at T steps; where a crop has fewer, nothing counts.

    Attributes:
        images: (N, V, 3, 63, 63) in [0, 1], views of the states that there are.
        rows: (E, T) bool, where they belong.
        last_action: (E, T) int64.
        gains: (E, T, C, n_tools) dB of each tool; NaN where it is not known.
        returns: (E, T, C, n_tools) dB to be had by each tool and what may follow it.
        family: (E,) int64.
    """

    images: Tensor
    rows: Tensor
    last_action: Tensor
    gains: Tensor
    returns: Tensor
    family: Tensor

    def arranged(self, said: Tensor) -> Tensor:
        """Arrange what was said of all views, (N * V, F), by crop, step and column.

        Returns:
            (E, T, V + 1, F): the last column is the mean over views; zeros where there is no state.
        """
        said = with_whole(said.reshape(*self.images.shape[:2], -1))
        padded = said.new_zeros(*self.rows.shape, *said.shape[1:])
        padded[self.rows] = said
        return padded


class OutcomeBatches(Dataset[OutcomeBatch]):
    """Batches of recorded crops, in another order in each epoch.

    Args:
        outcomes: What was recorded.
        families: Names of families, in the order of the layer that names them.
        chains: First tools of the chains that were recorded (indices).
        batch_size: Crops in a batch.
        epochs: Times that every crop is seen.
        seed: Seed of the order, and of how the views of a batch are flipped and transposed.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        families: Sequence[str],
        chains: Sequence[int],
        *,
        batch_size: int = 24,
        epochs: int = 1,
        seed: int = 0,
    ) -> None:
        self._outcomes, self._seed = outcomes, seed
        self.batch_size, self.epochs = batch_size, epochs
        self.episodes = episodes_of(outcomes)
        self._returns = returns_of(outcomes, chains)
        names = {name: index for index, name in enumerate(families)}
        self._family = np.array([names.get(name, -1) for name in outcomes.family])

    def __len__(self) -> int:
        """Number of steps in all epochs."""
        return self.epochs * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps that see every crop once; those left over wait for another epoch."""
        return max(1, len(self.episodes) // self.batch_size)

    def family_of(self, rows: Rows) -> npt.NDArray[np.str_]:
        """Names of the families of some rows of `episodes`."""
        return self._outcomes.family[rows[:, 0]]

    def __getitem__(self, step: int) -> OutcomeBatch:
        """The batch of a step: a pure function of it."""
        epoch, place = divmod(step, self.steps_per_epoch)
        rng = np.random.default_rng((self._seed, 4, step))
        order = np.random.default_rng((self._seed, 5, epoch)).permutation(len(self.episodes))
        size = self.batch_size
        return self.batch(self.episodes[order[place * size : (place + 1) * size]], rng)

    def batch(self, rows: Rows, rng: np.random.Generator | None = None) -> OutcomeBatch:
        """The states in some rows of `episodes`, (E, T); turned, if there is a generator."""
        outcomes, known = self._outcomes, rows >= 0
        safe = np.maximum(rows, 0)
        views = views_of(outcomes.images[rows[known]], rng)
        unknown = ~known[..., None, None]
        n_tools = outcomes.gains.shape[2]
        return OutcomeBatch(
            views,
            torch.from_numpy(known),
            torch.from_numpy(np.where(known, outcomes.last_action[safe], n_tools)),
            torch.from_numpy(np.where(unknown, np.nan, outcomes.gains[safe])),
            torch.from_numpy(np.where(unknown, np.nan, self._returns[safe])),
            torch.from_numpy(self._family[rows[:, 0]]),
        )


def with_whole(said: Tensor) -> Tensor:
    """Put the mean over views behind what was said of each, (N, V, F): (N, V + 1, F)."""
    return torch.cat([said, said.mean(dim=1, keepdim=True)], dim=1)


def views_of(images: npt.NDArray[np.uint8], rng: np.random.Generator | None = None) -> Tensor:
    """The views in the corners of images, uint8 (N, S, S, 3): (N, V, 3, 63, 63) in [0, 1].

    If there is a generator, they are flipped and transposed, all alike.
    """
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    views = torch.stack([
        planes[..., top : top + VIEW_SIZE, left : left + VIEW_SIZE]
        for top, left in corner_views(planes.shape[-1])
    ], dim=1).float().div_(255.0)  # fmt: skip
    if rng is not None:
        across, down, turned = rng.integers(2, size=3).tolist()
        axes = [-1] * across + [-2] * down
        views = views.flip(axes) if axes else views
        views = views.transpose(-1, -2) if turned else views
    return views


def episodes_of(outcomes: Outcomes) -> Rows:
    """Rows of the states of each crop in order, (crops, longest); -1 where there are fewer.

    The state behind the last step is left out: nothing is known of what tools would do there.
    """
    kept = np.flatnonzero(~np.isnan(outcomes.gains).any(axis=(1, 2)))
    episode = outcomes.episode[kept]
    first = np.flatnonzero(np.diff(episode, prepend=-1))
    lengths = np.diff(np.append(first, len(kept)))
    steps = np.arange(int(lengths.max()))
    places = np.minimum(first[:, None] + steps, len(kept) - 1)
    return np.where(steps < lengths[:, None], kept[places], -1)


def returns_of(outcomes: Outcomes, chains: Sequence[int]) -> npt.NDArray[np.float32]:
    """DB to be had by each tool and what may follow it, as far as that is known: (N, C, n_tools).

    What follows is the rest of a recorded chain, or the best return behind the tool that was kept.
    It never is less than nothing, for then the agent stops.

    Args:
        outcomes: What was recorded.
        chains: First tools of the chains that were recorded.
    """
    returns = outcomes.gains.copy()
    # Where no tool ran any more, the largest number of them was reached: nothing follows the last.
    over = np.isnan(outcomes.gains).all(axis=(1, 2))
    most = outcomes.step[over].min(initial=int(outcomes.step.max()) + 2)
    goes_on = (outcomes.step < most - 1)[:, None]
    for index, tool in enumerate(chains):
        added = np.nan_to_num(outcomes.chained[..., index], nan=0.0).clip(min=0.0)
        returns[..., tool] += np.where(goes_on, added, 0.0)
    for row in range(len(returns) - 2, -1, -1):
        after = row + 1
        if outcomes.episode[after] != outcomes.episode[row] or np.isnan(returns[after]).any():
            continue
        tool = outcomes.last_action[after]
        known = outcomes.gains[row, :, tool] + returns[after].max(axis=-1).clip(min=0.0)
        returns[row, :, tool] = np.maximum(returns[row, :, tool], known)
    return returns
