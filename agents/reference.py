"""Reference players: the ladder that a trained agent is measured on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from agents.policy import Actions
from data.images import to_tensor
from data.metrics import batch_psnr
from data.pairs import ArrayPairs
from envs.restoration_vec_env import MAX_STEPS, RestorationVecEnv
from tools_zoo.toolbox import Toolbox

Obs = Mapping[str, npt.NDArray[Any]]
Starts = npt.NDArray[np.bool_] | None


class FixedPlayer:
    """Plays one sequence on every image, then stops.

    Args:
        actions: Tool indices in order; empty stops at once.
        stop: Index of the stop action.
    """

    def __init__(self, actions: Sequence[int], *, stop: int) -> None:
        self._actions = (*actions, stop)

    def predict(
        self, obs: Obs, state: Any = None, episode_start: Starts = None, deterministic: bool = True
    ) -> tuple[Actions, Any]:
        """Choose the next action of the sequence; see `agents.policy.Player`."""
        step = np.zeros(len(obs["image"]), np.int64) if state is None else state
        if episode_start is not None:
            step = np.where(episode_start, 0, step)
        actions = np.array(self._actions)[np.minimum(step, len(self._actions) - 1)]
        return actions, step + 1


class StopPlayer(FixedPlayer):
    """Stops at once: the score of doing nothing."""

    def __init__(self, *, stop: int) -> None:
        super().__init__((), stop=stop)


class RandomPlayer:
    """Draws every action, *stop* included, with equal chances.

    Args:
        n_actions: Tools and *stop*.
        rng: Where the draws come from.
    """

    def __init__(self, n_actions: int, rng: np.random.Generator) -> None:
        self._n_actions, self._rng = n_actions, rng

    def predict(
        self, obs: Obs, state: Any = None, episode_start: Starts = None, deterministic: bool = True
    ) -> tuple[Actions, Any]:
        """Draw; see `agents.policy.Player`."""
        return self._rng.integers(self._n_actions, size=len(obs["image"])), None


class GreedyOracle:
    """Knows the clean image: takes the tool of the largest gain, stops when none gains."""

    def __init__(self) -> None:
        self._env: RestorationVecEnv | None = None

    def watch(self, env: RestorationVecEnv) -> None:
        """Look into this environment from now on."""
        self._env = env

    def predict(
        self, obs: Obs, state: Any = None, episode_start: Starts = None, deterministic: bool = True
    ) -> tuple[Actions, Any]:
        """Try every tool and keep the best; see `agents.policy.Player`.

        Raises:
            RuntimeError: `watch` was not called before.
        """
        if self._env is None:
            raise RuntimeError("an oracle must watch an environment before it plays")
        _, gains = self._env.outcomes()
        best = gains.max(dim=0)
        return torch.where(best.values > 0, best.indices, self._env.toolbox.stop).numpy(), None


@dataclass(frozen=True, slots=True)
class SequenceTable:
    """PSNR of every sequence of tools on every image.

    Attributes:
        sequences: All sequences up to the longest, the empty one first.
        psnr: (len(sequences), N) in dB.
    """

    sequences: tuple[tuple[int, ...], ...]
    psnr: npt.NDArray[np.float64]

    @property
    def oracle(self) -> npt.NDArray[np.float64]:
        """PSNR of the best sequence of each image: (N,) dB. No player can do better."""
        best: npt.NDArray[np.float64] = self.psnr.max(axis=0)
        return best

    def best_fixed(self, *, max_length: int) -> tuple[int, ...]:
        """The one sequence of at most this length with the highest mean PSNR."""
        rows = [i for i, sequence in enumerate(self.sequences) if len(sequence) <= max_length]
        return self.sequences[rows[int(self.psnr[rows].mean(axis=1).argmax())]]


def search_sequences(
    toolbox: Toolbox, pairs: ArrayPairs, *, max_steps: int = MAX_STEPS
) -> SequenceTable:
    """Run every sequence of up to ``max_steps`` tools on every image.

    Twelve tools and three steps make 1,885 sequences and 1,884 tool runs an image, since
    sequences share their beginnings.
    """
    gt = to_tensor(pairs.gt)
    table: dict[tuple[int, ...], npt.NDArray[np.float64]] = {}

    def visit(images: torch.Tensor, sequence: tuple[int, ...]) -> None:
        table[sequence] = batch_psnr(images, gt).double().numpy()
        if len(sequence) == max_steps:
            return
        for action, tool in enumerate(toolbox):
            visit(tool(images).clamp(0.0, 1.0), (*sequence, action))

    with torch.inference_mode():
        visit(to_tensor(pairs.lq), ())
    return SequenceTable(tuple(table), np.stack(list(table.values())))
