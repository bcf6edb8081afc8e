"""A replay buffer of whole episodes, which recurrent value learning needs."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer
from torch import Tensor


class EpisodeBatch(NamedTuple):
    """Whole episodes, padded to the longest permitted one; E episodes of T steps.

    Attributes:
        images: (E, T, 3, P, P) float32 in [0, 1], what was seen before each action.
        last_action: (E, T) int64; stop at the first step.
        actions: (E, T) int64.
        rewards: (E, T) float32, dB.
        gains: (E, T, n_tools) float32, dB: what every tool would have earned; NaN if not known.
        next_values: (E, T, n_tools) float32, dB: value of the state behind every tool; NaN if not
            known, 0 where the episode would have ended.
        lengths: (E,) int64, number of steps that count.
    """

    images: Tensor
    last_action: Tensor
    actions: Tensor
    rewards: Tensor
    gains: Tensor
    next_values: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        """(E, T) bool, True where a step belongs to its episode."""
        steps = torch.arange(self.actions.shape[1], device=self.lengths.device)
        return steps < self.lengths.unsqueeze(1)


class EpisodeReplayBuffer(BaseBuffer):
    """A ring of finished episodes.

    Steps of unfinished episodes wait outside the ring, one slot per environment, and enter it as
    a whole; so a sample never holds a part of an episode, nor one that crosses the write head.
    Images are kept as uint8.

    Args:
        buffer_size: Episodes kept.
        observation_space: Observation space of the environment.
        action_space: Action space of the environment; its last action is *stop*.
        device: Device that samples go to.
        n_envs: Number of environments that fill it.
        optimize_memory_usage: Not supported; accepted because the base algorithm passes it.
        max_steps: Steps of the longest episode (its stop action counted).
        seed: Seed of the sampling.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Dict,
        action_space: spaces.Discrete,
        device: torch.device | str = "cpu",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        *,
        max_steps: int = 3,
        seed: int | None = None,
    ) -> None:
        super().__init__(buffer_size, observation_space, action_space, device, n_envs)
        channels, height, width = observation_space["image"].shape  # type: ignore[misc]
        self._stop = int(action_space.n) - 1
        self._rng = np.random.default_rng(seed)
        self._waiting = _Slots(n_envs, max_steps, (channels, height, width), self._stop)
        self._ring = _Slots(buffer_size, max_steps, (channels, height, width), self._stop)

    def add(
        self,
        obs: dict[str, npt.NDArray[Any]],
        actions: npt.NDArray[np.int64],
        rewards: npt.NDArray[np.float32],
        dones: npt.NDArray[np.bool_],
        gains: npt.NDArray[np.float32] | None = None,
        next_values: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Take in one step of every environment: what `EpisodeBatch` keeps, for (n_envs,) rows.

        ``dones`` tells which episodes ended with it.
        """
        slots = self._waiting
        rows = np.arange(self.n_envs)
        # A reset may have cut an episode short: the one that begins takes its place.
        step = np.where(obs["last_action"] == self._stop, 0, slots.lengths)
        slots.images[rows, step] = np.rint(obs["image"] * 255.0)
        slots.last_action[rows, step] = obs["last_action"]
        slots.actions[rows, step] = actions
        slots.rewards[rows, step] = rewards
        slots.gains[rows, step] = np.nan if gains is None else gains
        slots.next_values[rows, step] = np.nan if next_values is None else next_values
        slots.lengths = step + 1
        for row in np.flatnonzero(dones):
            self._ring.copy_from(slots, int(row), self.pos)
            self.pos += 1
            if self.pos == self.buffer_size:
                self.full, self.pos = True, 0
            slots.lengths[row] = 0

    def sample(self, batch_size: int, env: Any = None) -> EpisodeBatch:
        """Draw episodes uniformly, with replacement."""
        return self._get_samples(self._rng.integers(self.size(), size=batch_size))

    def _get_samples(self, batch_inds: npt.NDArray[Any], env: Any = None) -> EpisodeBatch:  # type: ignore[override]
        ring = self._ring
        columns = (ring.last_action, ring.actions, ring.rewards, ring.gains, ring.next_values)
        images = torch.from_numpy(ring.images[batch_inds]).to(self.device).float().div_(255.0)
        rest = [torch.from_numpy(column[batch_inds]).to(self.device) for column in columns]
        lengths = torch.from_numpy(ring.lengths[batch_inds]).to(self.device)
        return EpisodeBatch._make([images, *rest, lengths])


class _Slots:
    """Arrays for a number of episodes."""

    def __init__(
        self, count: int, max_steps: int, image_shape: tuple[int, int, int], n_tools: int
    ) -> None:
        self.images = np.zeros((count, max_steps, *image_shape), np.uint8)
        self.last_action = np.zeros((count, max_steps), np.int64)
        self.actions = np.zeros((count, max_steps), np.int64)
        self.rewards = np.zeros((count, max_steps), np.float32)
        self.gains = np.zeros((count, max_steps, n_tools), np.float32)
        self.next_values = np.zeros((count, max_steps, n_tools), np.float32)
        self.lengths = np.zeros(count, np.int64)

    def copy_from(self, other: "_Slots", row: int, target: int) -> None:
        for name, array in vars(self).items():
            array[target] = vars(other)[name][row]
