"""Reference players: the ladder that a trained agent is measured on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from restoration_toolchain.agents.policy.lstm_policy import Actions, Obs, Starts
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.chain import MAX_STEPS, Chain
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv
from restoration_toolchain.envs.reward import PSNR, Judge, Reward
from restoration_toolchain.tools_zoo.precision import Precision, computing
from restoration_toolchain.tools_zoo.toolbox import Toolbox

SEARCH_CHUNK: Final = 16
"""Images that a search takes along together; bounds the memory."""


class ScriptPlayer:
    """Plays a sequence of its own on each image: the exhaustive oracle, once it has searched.

    Args:
        sequences: Tool indices for each image, in the order in which the pairs are played.
        stop: Index of the stop action.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], *, stop: int) -> None:
        length = max(map(len, sequences), default=0)
        self._actions = np.full((len(sequences), length + 1), stop)
        for row, sequence in zip(self._actions, sequences, strict=True):
            row[: len(sequence)] = sequence
        self._next = 0

    def predict(
        self, obs: Obs, state: Any = None, episode_start: Starts = None, deterministic: bool = True
    ) -> tuple[Actions, Any]:
        """Choose the next action of each image's sequence; see `players.player.Player`."""
        count = len(obs["image"])
        if state is None:
            state = (np.arange(self._next, self._next + count), np.zeros(count, np.int64))
            self._next += count
        rows, step = state
        if episode_start is not None:
            step = np.where(episode_start, 0, step)
        last = self._actions.shape[1] - 1
        return self._actions[rows % len(self._actions), np.minimum(step, last)], (rows, step + 1)


class FixedPlayer(ScriptPlayer):
    """Plays one sequence on every image, then stops.

    Args:
        actions: Tool indices in order; empty stops at once.
        stop: Index of the stop action.
    """

    def __init__(self, actions: Sequence[int], *, stop: int) -> None:
        super().__init__([actions], stop=stop)


class StopPlayer(FixedPlayer):
    """Stops at once: the score of doing nothing."""

    def __init__(self, *, stop: int) -> None:
        super().__init__((), stop=stop)


class RandomPlayer:
    """Draws every action that is not masked, *stop* included, with equal chances.

    Args:
        n_actions: Tools and *stop*.
        rng: Where the draws come from.
    """

    def __init__(self, n_actions: int, rng: np.random.Generator) -> None:
        self._n_actions, self._rng = n_actions, rng

    def predict(
        self, obs: Obs, state: Any = None, episode_start: Starts = None, deterministic: bool = True
    ) -> tuple[Actions, Any]:
        """Draw; see `agents.players.player.Player`."""
        if "action_mask" in obs:
            return draw_permitted(obs["action_mask"], self._rng), None
        return self._rng.integers(self._n_actions, size=len(obs["image"])), None


def draw_permitted(mask: npt.NDArray[Any], rng: np.random.Generator) -> Actions:
    """Draw one action per row where the mask (N, n_actions) is not 0, with equal chances."""
    return np.asarray(np.where(mask, rng.random(mask.shape), -1.0).argmax(axis=1))


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
        """Try every tool and keep the best; see `agents.players.player.Player`. `watch` first."""
        if self._env is None:
            raise RuntimeError("an oracle must watch an environment before it plays")
        best = torch.stack([gains for _, gains in self._env.outcomes()]).max(dim=0)
        return torch.where(best.values > 0, best.indices, self._env.stop).numpy(), None


@dataclass(frozen=True, slots=True)
class SequenceTable:
    """PSNR, or what else is rewarded, of every sequence of tools on every image.

    Attributes:
        sequences: All sequences up to the longest, the empty one first.
        psnr: (len(sequences), N) in dB.
    """

    sequences: tuple[tuple[int, ...], ...]
    psnr: npt.NDArray[np.float64]

    @property
    def oracle(self) -> npt.NDArray[np.float64]:
        """PSNR of the best sequence of each image: (N,) dB. No player can do better."""
        return np.asarray(self.psnr.max(axis=0))

    @property
    def best_sequences(self) -> list[tuple[int, ...]]:
        """The best sequence of each image."""
        return [self.sequences[row] for row in self.psnr.argmax(axis=0)]

    def best_fixed(self, *, max_length: int) -> tuple[int, ...]:
        """The one sequence of at most this length with the highest mean PSNR."""
        rows = [i for i, sequence in enumerate(self.sequences) if len(sequence) <= max_length]
        return self.sequences[rows[int(self.psnr[rows].mean(axis=1).argmax())]]


def search_sequences(
    toolbox: Toolbox,
    pairs: ArrayPairs,
    *,
    max_steps: int = MAX_STEPS,
    scale: int = 1,
    reward: Reward = PSNR,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> SequenceTable:
    """Run every sequence of up to ``max_steps`` tools on every image.

    Twelve tools and three steps make 1,885 sequences and 1,884 tool runs an image, since
    sequences share their beginnings.

    Args:
        toolbox: The tools.
        pairs: The images.
        max_steps: Tools in the longest sequence.
        scale: Side of a result over side of an image; above 1, sequences enlarge at most once.
        reward: What counts.
        device: Device that the tools run on.
        precision: Number format that they compute in.
        on_images: Called with (images done, images in all).
    """
    judge, tables = Judge(reward, device, toolbox.to(device).folder), []
    for start in range(0, len(pairs), SEARCH_CHUNK):
        chunk = slice(start, start + SEARCH_CHUNK)
        lq, gt = (to_tensor(images[chunk]).to(device) for images in (pairs.lq, pairs.gt))
        judge.remember(gt)
        chain = Chain(lq, toolbox.scales, scale=scale, max_steps=max_steps, apply=toolbox.restore)
        with computing(precision, device):
            tables.append(dict(_search(chain, judge, max_steps, ())))
        on_images(min(start + SEARCH_CHUNK, len(pairs)), len(pairs))
    psnr = np.concatenate([np.stack(list(table.values())) for table in tables], axis=1)
    return SequenceTable(tuple(tables[0]), psnr)


def _search(
    chain: Chain, judge: Judge, max_steps: int, sequence: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], npt.NDArray[np.float64]]]:
    """Each sequence that begins with one, and the value of every image after it."""
    result = chain.result().contiguous(memory_format=torch.channels_last)
    yield sequence, judge.score(result).value.double().numpy()
    if len(sequence) < max_steps:
        # An action is allowed of all images or of none: they share their sequence.
        for action in torch.nonzero(chain.allowed()[0, : chain.stop]).flatten().tolist():
            after = chain.after(torch.full_like(chain.last_action, action))
            yield from _search(after, judge, max_steps, (*sequence, action))
