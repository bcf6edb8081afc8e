"""What every tool does to crops of the world: recorded once, learnt from many times.

A simulator knows what each tool would have done to an image, not only the one that ran. To ask it
is nearly all that learning costs. So outcomes are recorded, shard by shard, and the network learns
from the record: no step of its learning runs a tool.

A crop is played for a few steps. At each of them every tool runs; then one of them is kept, mostly
the best, and sometimes any, so that half-restored and spoilt images are met, too.
"""

import io
import itertools
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from restoration_toolchain.agents.policy.q_net import VIEW_SIZE
from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import to_float, to_tensor
from restoration_toolchain.data.patches.world_crops import Crop, gather
from restoration_toolchain.envs.chain import MAX_STEPS
from restoration_toolchain.tools_zoo.precision import Precision, computing
from restoration_toolchain.tools_zoo.toolbox import Toolbox

CROPS_PER_SHARD: Final = 128
_AT_ONCE: Final = 16  # crops that tools run on together

PSNR_CAP: Final = 50.0
"""dB that an image scores at most: above, there is nothing to restore, or to see."""

BEST: Final = 0.6
"""Share of steps in which the best tool is kept, or nothing where none gains."""
UNIFORM: Final = 0.1
"""Share of steps in which any tool is kept; otherwise one of those that are about as good."""
_TEMPERATURE: Final = 0.5  # dB


class CropSource(Protocol):
    """Where crops come from (`data.patches.world_crops.WorldCrops`)."""

    def draw(self, rng: np.random.Generator) -> Crop:
        """Draw one crop."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What was recorded of N states of images on their way through a toolbox.

    Views are the squares in the corners of a crop; the last column is the crop as a whole.

    Attributes:
        images: (N, S, S, 3) uint8.
        gains: (N, V + 1, n_tools) dB by which each tool makes a state better; NaN behind the last
            step, where no tool ran any more.
        chained: (N, V + 1, n_chains) dB that each prescribed chain adds to what its first tool
            gains; NaN likewise.
        psnr: (N, V + 1) dB of the state itself, `PSNR_CAP` at most.
        last_action: (N,) tool that led here; ``n_tools`` at the start.
        step: (N,) tools run so far.
        episode: (N,) number of the crop; states of one crop follow each other in order.
        family: (N,) name of the family of the crop's damage.
    """

    images: npt.NDArray[np.uint8]
    gains: npt.NDArray[np.float32]
    chained: npt.NDArray[np.float32]
    psnr: npt.NDArray[np.float32]
    last_action: npt.NDArray[np.int64]
    step: npt.NDArray[np.int64]
    episode: npt.NDArray[np.int64]
    family: npt.NDArray[np.str_]


def corner_views(side: int) -> tuple[tuple[int, int], ...]:
    """Where the views of a crop begin: (top, left) of each."""
    ends = (0, side - VIEW_SIZE)
    return tuple(itertools.product(ends, ends)) if side > VIEW_SIZE else ((0, 0),)


@dataclass(frozen=True, slots=True)
class Recording:
    """How crops are played.

    Attributes:
        chains: Pairs of tools (indices) whose second one is run behind the first as well.
        max_steps: Largest number of tools on one crop.
        seed: Seed of every random draw.
        device: Device that the tools run on.
        precision: Number format that the tools compute in.
        crops_per_shard: Crops in a file.
    """

    chains: Sequence[tuple[int, int]] = ()
    max_steps: int = MAX_STEPS
    seed: int = 0
    device: str | torch.device = "cpu"
    precision: Precision = "fp32"
    crops_per_shard: int = field(default_factory=lambda: CROPS_PER_SHARD)

    def shards(self, folder: Path, num_crops: int) -> list[Path]:
        """The files of so many crops, in order; the last one may have a few more."""
        numbers = range(-(-num_crops // self.crops_per_shard))
        return [folder / f"shard-{self.seed:03d}-{number:05d}.npz" for number in numbers]


def record(
    toolbox: Toolbox,
    crops: CropSource,
    folder: Path,
    *,
    num_crops: int,
    on_shard: Callable[[int, int], None] = lambda done, total: None,
    **how: Any,
) -> list[Path]:
    """Record what tools do to crops, in shards; those that are there already are left as they are.

    Args:
        toolbox: The tools, which keep the size of images; on the device.
        crops: Where crops come from.
        folder: Folder of the shards.
        num_crops: Number of crops in all; the last shard may have a few more.
        on_shard: Called with (crops so far, crops in all) after every shard.
        **how: Fields of `Recording`.

    Returns:
        The shards of these crops, in order.
    """
    recording = Recording(**how)
    paths = recording.shards(folder, num_crops)
    for number, path in enumerate(paths):
        record_shard(toolbox, crops, recording, path, number)
        on_shard(min((number + 1) * recording.crops_per_shard, num_crops), num_crops)
    return paths


def record_shard(
    toolbox: Toolbox, crops: CropSource, recording: Recording, path: Path, number: int
) -> None:
    """Play the crops of one shard and write it, unless it is there: completely or not at all.

    Args:
        toolbox: Tools, on the device of the recording.
        crops: Source of the crops.
        recording: How they are played.
        path: File of the shard.
        number: Number of the shard, which with the seed says what it holds.
    """
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng((recording.seed, number))
    drawn = [crops.draw(rng) for _ in range(recording.crops_per_shard)]
    played = [
        _play(toolbox, recording, drawn[start : start + _AT_ONCE], rng)
        for start in range(0, len(drawn), _AT_ONCE)
    ]
    _save(path, _joined(played))


def load(paths: Sequence[Path]) -> Outcomes:
    """Read shards, one behind the other.

    Raises:
        ToolchainError: A shard is damaged.
    """
    return _joined([_read(path) for path in paths])


def _read(path: Path) -> Outcomes:
    try:
        with np.load(path, allow_pickle=False) as file:
            return Outcomes(**{name: file[name] for name in Outcomes.__slots__})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ToolchainError(
            f"{path} is damaged; remove it and resume the run: it is recorded again"
        ) from error


def _joined(parts: Sequence[Outcomes]) -> Outcomes:
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in Outcomes.__slots__
        if name != "episode"
    }
    counts = [int(part.episode.max()) + 1 for part in parts]
    firsts = np.cumsum([0, *counts[:-1]])
    episode = [part.episode + first for part, first in zip(parts, firsts, strict=True)]
    return Outcomes(**columns, episode=np.concatenate(episode))


def _save(path: Path, outcomes: Outcomes) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **{name: getattr(outcomes, name) for name in Outcomes.__slots__})
    write_atomically(path, buffer.getvalue())


def _play(
    toolbox: Toolbox, recording: Recording, crops: Sequence[Crop], rng: np.random.Generator
) -> Outcomes:
    chains, max_steps = recording.chains, recording.max_steps
    lq, gt = (to_tensor(to_float(side)).to(recording.device) for side in gather(crops))
    images, rows = lq, np.arange(len(crops))
    last = np.full(len(crops), len(toolbox))
    states: list[tuple[npt.NDArray[Any], ...]] = []
    for step in range(max_steps + 1):
        clean = gt[torch.from_numpy(rows).to(gt.device)]
        before = _scores(images, clean)
        empty = np.full((len(rows), before.shape[1], 1), np.nan, np.float32)
        gains = np.repeat(empty, len(toolbox), axis=2)
        chained = np.repeat(empty, len(chains), axis=2)
        after: list[Tensor] = []
        if step < max_steps:
            with torch.inference_mode(), computing(recording.precision, images.device):
                batch = images.contiguous(memory_format=torch.channels_last)
                after = [tool(batch) for tool in toolbox]
                behind = [toolbox[second](after[first]) for first, second in chains]
            reached = [_scores(each, clean) for each in after]
            gains = np.stack([each - before for each in reached], axis=2)
            if chains:
                firsts = [reached[first] for first, _ in chains]
                pairs = zip(behind, firsts, strict=True)
                chained = np.stack([_scores(each, clean) - one for each, one in pairs], axis=2)
        names = np.array([crops[int(row)].family for row in rows])
        pixels = (images.permute(0, 2, 3, 1).cpu().numpy() * 255.0).round().astype(np.uint8)
        steps = np.full(len(rows), step)
        states.append((pixels, gains, chained, before, last, steps, rows, names))
        if step == max_steps:
            break
        actions = _chosen(gains[:, -1], rng)
        going = np.flatnonzero(actions < len(toolbox))
        if not len(going):
            break
        images = torch.stack([after[actions[row]][row] for row in going])
        rows, last = rows[going], actions[going]
    columns = [np.concatenate(parts) for parts in zip(*states, strict=True)]
    order = np.lexsort((columns[5], columns[6]))
    return Outcomes(*(column[order] for column in columns))


def _scores(images: Tensor, clean: Tensor) -> npt.NDArray[np.float32]:
    """DB of each view, and of the whole, (N, V + 1)."""
    error = (images - clean).square().mean(dim=1)
    squares = [
        error[:, top : top + VIEW_SIZE, left : left + VIEW_SIZE].mean(dim=(1, 2))
        for top, left in corner_views(images.shape[-1])
    ]
    mse = torch.stack([*squares, error.mean(dim=(1, 2))], dim=1)
    floor = 10.0 ** (-PSNR_CAP / 10.0)
    return np.asarray(-10.0 * torch.log10(mse.clamp(min=floor)).cpu().numpy(), np.float32)


def _chosen(gains: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Which tool is kept of each image; n_tools ends its episode."""
    count, n_tools = gains.shape
    best = np.where(gains.max(axis=1) > 0.02, gains.argmax(axis=1), n_tools)
    likely = np.exp((gains - gains.max(axis=1, keepdims=True)) / _TEMPERATURE)
    likely = np.cumsum(likely / likely.sum(axis=1, keepdims=True), axis=1)
    good = (likely < rng.random((count, 1))).sum(axis=1).clip(max=n_tools - 1)
    anything = rng.integers(n_tools, size=count)
    way = rng.random(count)
    actions = np.where(way < BEST, best, np.where(way < BEST + UNIFORM, anything, good))
    return np.asarray(actions, np.int64)
