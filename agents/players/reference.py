"""Reference players: the ladder that a trained agent is measured on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from restoration_toolchain.agents.policy.lstm_policy import Actions
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.data.scaling import upsample_bicubic
from restoration_toolchain.envs.restoration_vec_env import MAX_STEPS, RestorationVecEnv
from restoration_toolchain.envs.reward import PSNR, Judge, Reward
from restoration_toolchain.envs.task import Task, task_scale
from restoration_toolchain.tools_zoo.precision import Precision, computing
from restoration_toolchain.tools_zoo.toolbox import Toolbox

SEARCH_CHUNK: Final = 16
"""Images that a search takes along together; bounds the memory."""

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
        """Choose the next action of the sequence; see `agents.policy.lstm_policy.Player`."""
        step = np.zeros(len(obs["image"]), np.int64) if state is None else state
        if episode_start is not None:
            step = np.where(episode_start, 0, step)
        actions = np.array(self._actions)[np.minimum(step, len(self._actions) - 1)]
        return actions, step + 1


class StopPlayer(FixedPlayer):
    """Stops at once: the score of doing nothing."""

    def __init__(self, *, stop: int) -> None:
        super().__init__((), stop=stop)


class ScriptPlayer:
    """Plays a sequence of its own on each image: the exhaustive oracle, once it has searched.

    Images are told apart by their place; episodes are played in the order of the pairs.

    Args:
        sequences: Tool indices for each image, in order.
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
        """Choose the next action of each image's sequence; see `policy.lstm_policy.Player`."""
        count = len(obs["image"])
        if state is None:
            state = (np.arange(self._next, self._next + count), 0)
            self._next += count
        rows, step = state
        return self._actions[rows, min(step, self._actions.shape[1] - 1)], (rows, step + 1)


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
        """Draw; see `agents.policy.lstm_policy.Player`."""
        if "action_mask" in obs:
            return draw_permitted(obs["action_mask"], self._rng), None
        return self._rng.integers(self._n_actions, size=len(obs["image"])), None


def draw_permitted(mask: npt.NDArray[Any], rng: np.random.Generator) -> Actions:
    """Draw one action per row where the mask (N, n_actions) is not 0, with equal chances."""
    actions: Actions = np.where(mask, rng.random(mask.shape), -1.0).argmax(axis=1)
    return actions


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
        """Try every tool and keep the best; see `agents.policy.lstm_policy.Player`.

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
        best: npt.NDArray[np.float64] = self.psnr.max(axis=0)
        return best

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
    task: Task = "restore",
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
        task: With *real-sr*, sequences enlarge at most once; else not at all.
        reward: What counts.
        device: Where the tools run.
        precision: What they compute in.
        on_images: Called with (images done, images in all).
    """
    toolbox.to(device)
    scale, judge = task_scale(task, toolbox), Judge(reward, device, toolbox.folder)
    tables = []
    for start in range(0, len(pairs), SEARCH_CHUNK):
        chunk = slice(start, start + SEARCH_CHUNK)
        lq, gt = (to_tensor(images[chunk]).to(device) for images in (pairs.lq, pairs.gt))
        judge.remember(gt)
        with computing(precision, device):
            tables.append(_search(toolbox, lq, judge, max_steps, scale))
        on_images(min(start + SEARCH_CHUNK, len(pairs)), len(pairs))
    psnr = np.concatenate([np.stack(list(table.values())) for table in tables], axis=1)
    return SequenceTable(tuple(tables[0]), psnr)


def _search(
    toolbox: Toolbox, lq: torch.Tensor, judge: Judge, max_steps: int, scale: int
) -> dict[tuple[int, ...], npt.NDArray[np.float64]]:
    table: dict[tuple[int, ...], npt.NDArray[np.float64]] = {}

    def visit(images: torch.Tensor, sequence: tuple[int, ...]) -> None:
        is_small = scale > 1 and images.shape == lq.shape
        result = upsample_bicubic(images, scale).clamp(0.0, 1.0) if is_small else images
        table[sequence] = judge.score(result).value.double().numpy()
        if len(sequence) == max_steps:
            return
        for action, tool in enumerate(toolbox):
            if tool.spec.scale == 1 or is_small:
                visit(tool(images), (*sequence, action))

    with torch.inference_mode():
        visit(lq, ())
    return table
