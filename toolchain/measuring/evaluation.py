"""How good restored photos are: of two folders, or of clean photos that are degraded first."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import torch

from restoration_toolchain.agents.players import reference
from restoration_toolchain.agents.players.play import EpisodeResults, play
from restoration_toolchain.agents.players.player import Player
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import VIEW_SIZE
from restoration_toolchain.agents.policy.storage import check_fits
from restoration_toolchain.data.damage.degradation import CONTEXT
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.errors import SourceError, ToolchainError, UnknownNameError
from restoration_toolchain.data.images import ByteImage, FloatImage, to_float, to_tensor
from restoration_toolchain.data.metrics import psnr, ssim
from restoration_toolchain.data.patches.pairs import ArrayPairs, check_large_side, degrade_windows
from restoration_toolchain.data.patches.store import Patches, PatchStore, StoreConfig, cut_windows
from restoration_toolchain.data.scaling import upsampled
from restoration_toolchain.envs.chain import MAX_STEPS
from restoration_toolchain.envs.reward import PSNR, REWARDS, Judge
from restoration_toolchain.toolchain.errors import PhotoError
from restoration_toolchain.toolchain.photos.paths import find_photos
from restoration_toolchain.toolchain.photos.read import read_photo
from restoration_toolchain.toolchain.restoring.photo_quality import PhotoJudge
from restoration_toolchain.toolchain.restoring.restorer import check_keeps_size
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import Quality, SfdIqa
from restoration_toolchain.tools_zoo.toolbox import Toolbox

PLAYERS: Final = ("stop", "random", "fixed", "greedy-oracle", "oracle", "agent")
"""Who can be evaluated: the rungs of the ladder from doing nothing to the best possible."""

SCALED_PLAYERS: Final = ("bicubic", "sr-alone", "single", "fixed", "greedy-oracle", "agent")
"""Who can be evaluated where images are enlarged: no tool at all, each tool that enlarges alone,
the best single tool, the best chain of up to two, the best next tool with the clean image known,
and the agent."""

SCALED_FIXED_LENGTH: Final = 2
"""Tools of the best fixed chain where images are enlarged; elsewhere it is the best single tool."""

_SSIM_WINDOW: Final = 7
_WORSE: Final = 1e-6
"""dB by which an image must fall to count as made worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Means over a set of images.

    Attributes:
        name: Player, or what was compared.
        count: Number of images.
        psnr_before: dB of the degraded images.
        psnr_after: dB of the restored ones; equal to ``psnr_before`` if nothing was restored.
        ssim_before: SSIM of the degraded images; None if they are all too small for it.
        ssim_after: SSIM of the restored ones.
        share_worse: Share of images whose PSNR fell.
        level: Level of the degradation; empty for folders.
        note: What else is worth knowing, such as the tools that were chosen.
        distance: Distance of features to the clean images (`tools_zoo.losses.features`); None where
            it was not measured.
        quality: SFD-IQA of the restored images; None if it was not asked for, or they are all too
            small for it.
        quality_encoder: Which encoder that was seen by: scores of others do not compare.
    """

    name: str
    count: int
    psnr_before: float
    psnr_after: float
    ssim_before: float | None
    ssim_after: float | None
    share_worse: float
    level: str = ""
    note: str = ""
    distance: float | None = None
    quality: float | None = None
    quality_encoder: str | None = None

    @property
    def gain(self) -> float:
        """Mean PSNR gain in dB."""
        return self.psnr_after - self.psnr_before

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dataclasses.asdict(self) | {"gain": self.gain}


_Scored: TypeAlias = tuple[float, float, float | None, float | None, Quality | None]
"""PSNR in dB of one image before and after, SSIM before and after, and how it looks then."""


def compare_folders(
    lq_folder: Path,
    gt_folder: Path,
    *,
    restore: Callable[[FloatImage], FloatImage] | None = None,
    scale: int = 1,
    on_image: Callable[[int, int], None] = lambda done, total: None,
    iqa: SfdIqa | None = None,
) -> Evaluation:
    """Compare the photos of two folders that have the same relative path, whatever their suffix.

    Args:
        lq_folder: Degraded photos, or a single file.
        gt_folder: Clean photos, or a single file; ones without a partner are ignored.
        restore: Applied to each degraded photo, RGB (H, W, 3) float32 in [0, 1], before comparing.
        scale: Side of a clean photo over side of a degraded one, and what ``restore`` enlarges by;
            before it, and without it, the bicubic enlargement counts.
        on_image: Called with (images done, images in all).
        iqa: SFD-IQA to judge the photos by that are compared with the clean ones.

    Raises:
        PhotoError: A folder has no photos, a photo cannot be read, has no clean partner, or the
            partner has another size than the scale says.
    """
    pairs = pair_files(lq_folder, gt_folder)
    scored = []
    for done, paths in enumerate(pairs, start=1):
        lq, gt = read_partners(*paths, scale=scale)
        before = _enlarged(lq, scale)
        scored.append(_score(before, before if restore is None else restore(lq), gt, iqa))
        on_image(done, len(pairs))
    note = "gains are those over the bicubic enlargement" if scale > 1 else ""
    return _summarise("lq" if restore is None else "restored", scored, note=note)


def evaluation_patches(
    photos: Iterable[tuple[str, ByteImage]], count: int, seed: int, *, patch_size: int = VIEW_SIZE
) -> Patches:
    """Draw clean patches from photos, or all there are if fewer, as `store.cut_windows` does.

    Raises:
        SourceError: No photo is as large as a patch.
    """
    config = StoreConfig(patch_size=patch_size, stride=patch_size, scales=(1.0, 0.5))
    patches = [window.copy() for _, photo in photos for window in cut_windows(photo, config)]
    if not patches:
        raise SourceError(f"no photo is as large as a patch of {config.patch_size} pixels a side")
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(patches), min(count, len(patches)), replace=False)
    return np.stack([patches[i] for i in chosen])


def store_patches(path: Path, count: int, seed: int) -> Patches:
    """Draw clean patches from the held-out photos of a store, with their surroundings.

    Raises:
        StoreError: The store cannot be read.
    """
    with PatchStore(path) as store:
        indices = store.val_indices if len(store.val_indices) else store.train_indices
        rng = np.random.default_rng(seed)
        return store.read_windows(rng.choice(indices, min(count, len(indices)), replace=False))


def evaluate_players(
    names: Sequence[str],
    levels: Sequence[str],
    windows: Patches,
    toolbox: Toolbox,
    policy: LstmPolicy | None,
    *,
    scale: int = 1,
    seed: int = 0,
    max_steps: int = MAX_STEPS,
    device: torch.device | str = "cpu",
    iqa: SfdIqa | None = None,
) -> Iterator[Evaluation]:
    """Degrade clean patches and let players restore them; every player meets the same patches.

    With a scale above 1, the patches are made smaller, too, and enlarged by the players. Gains are
    those over the bicubic enlargement then, and what is best is so by the reward that the agent was
    trained with; without an agent, and where the size is kept, by PSNR.

    Args:
        names: Some of `PLAYERS`, or of `SCALED_PLAYERS`.
        levels: Some of `data.damage.levels.LEVELS`, or of `SCALED_LEVELS` there.
        windows: Clean patches with their surroundings, as `patches.store.cut_windows` yields them;
            sides are multiples of the scale.
        toolbox: The action space.
        policy: Who plays as ``agent``; needed only if named.
        scale: Side of a result over side of an image; 1 keeps the size.
        seed: Seed of the degradations and the random player.
        max_steps: Largest number of tools per image.
        device: Device that the tools run on.
        iqa: SFD-IQA to judge results by.

    Yields:
        One evaluation per level and player, in the order given; *sr-alone* has one for each tool
        that enlarges.

    Raises:
        UnknownNameError: A player or level does not exist.
        StoreError: The patches are too small for the scale, or do not divide by it.
        ToolchainError: The agent was trained with other tools, to enlarge where the size is kept,
            or is missing; the encoder of the feature distance is not installed, or there is no
            SFD-IQA that its reward weighs.
    """
    for name in names:
        known = PLAYERS if scale == 1 else SCALED_PLAYERS
        if name not in known:
            raise UnknownNameError("player", name, known)
    if scale > 1:
        check_large_side(windows.shape[1] - 2 * CONTEXT, scale)
    samplers = {level: sampler(level, scale=scale) for level in levels}
    if "agent" in names:
        _check_agent(policy, toolbox, scale)
    reward = PSNR if scale == 1 or policy is None else policy.reward
    judge = None if scale == 1 else Judge(REWARDS["mixed"], device)
    options = {"scale": scale, "reward": reward, "device": device}
    for level, draw in samplers.items():
        pairs = ArrayPairs(*degrade_windows(windows, draw, np.random.default_rng(seed)))
        table = _Table(toolbox, pairs, max_steps, options)
        if judge is not None:
            judge.remember(to_tensor(pairs.gt).to(device))
        for player, label, note in (s for name in names for s in _seats(name, table, policy, seed)):
            results = table.play(player)
            if scale == 1:
                lengths = (results.actions != toolbox.stop).sum(axis=1)
                note = "; ".join(filter(None, (f"{lengths.mean():.1f} tools", note)))
            score = score_results(label, results, pairs, level=level, note=note, iqa=iqa)
            if judge is not None:
                distances = judge.score(torch.from_numpy(results.restored).to(device)).distance
                assert distances is not None
                score = dataclasses.replace(score, distance=float(distances.mean()))
            yield score


def _check_agent(policy: LstmPolicy | None, toolbox: Toolbox, scale: int) -> None:
    if policy is None:
        raise ToolchainError("to evaluate the player 'agent', give an agent")
    check_fits(policy, toolbox)
    if scale == 1:
        check_keeps_size(policy, toolbox)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Pairs that all players meet, and what every sequence does to them, once it is needed."""

    toolbox: Toolbox
    pairs: ArrayPairs
    max_steps: int
    options: dict[str, Any]
    _searched: dict[int, reference.SequenceTable] = field(default_factory=dict)

    def search(self, length: int) -> reference.SequenceTable:
        if length not in self._searched:
            self._searched[length] = reference.search_sequences(
                self.toolbox, self.pairs, max_steps=length, **self.options
            )
        return self._searched[length]

    def best_fixed(self, length: int) -> tuple[tuple[int, ...], str]:
        """The best sequence of at most this length for all pairs, and the names of its tools."""
        best = self.search(min(length, self.max_steps)).best_fixed(max_length=length)
        return best, ", ".join(self.toolbox.names[action] for action in best) or "none"

    def play(self, player: Player) -> EpisodeResults:
        return play(player, self.toolbox, self.pairs, max_steps=self.max_steps, **self.options)


def _seats(
    name: str, table: _Table, policy: LstmPolicy | None, seed: int
) -> Iterator[tuple[Player, str, str]]:
    """Player, label and note: one for each tool of *sr-alone*, else one."""
    player: Player
    toolbox, stop, enlarges = table.toolbox, table.toolbox.stop, table.options["scale"] > 1
    match name:
        case "stop" | "bicubic":
            note = "does nothing" if name == "stop" else "no tool at all"
            yield reference.FixedPlayer((), stop=stop), name, note
        case "random":
            player = reference.RandomPlayer(stop + 1, np.random.default_rng(seed))
            yield player, name, "any tool or stop"
        case "sr-alone":
            for action, scale in enumerate(toolbox.scales):
                if scale > 1:
                    player = reference.FixedPlayer([action], stop=stop)
                    yield player, toolbox.names[action], "alone"
        case "single" | "fixed":
            is_chain = enlarges and name == "fixed"
            actions, tools = table.best_fixed(SCALED_FIXED_LENGTH if is_chain else 1)
            note = tools if enlarges else f"best single tool: {tools}"
            yield reference.FixedPlayer(actions, stop=stop), name, note
        case "greedy-oracle":
            yield reference.GreedyOracle(), name, "best next tool, clean image known"
        case "oracle":
            best = table.search(table.max_steps).best_sequences
            player = reference.ScriptPlayer(best, stop=stop)
            yield player, name, "best sequence, clean image known"
        case _:
            assert policy is not None
            yield policy, name, f"rewarded by {policy.reward.name}" if enlarges else ""


def score_results(
    name: str,
    results: EpisodeResults,
    pairs: ArrayPairs,
    *,
    level: str = "",
    note: str = "",
    iqa: SfdIqa | None = None,
) -> Evaluation:
    """Summarise what a player reached on pairs; see `Evaluation`."""
    restored = results.restored.transpose(0, 2, 3, 1)
    scale = pairs.gt.shape[1] // pairs.lq.shape[1]
    scored = [
        _score(_enlarged(to_float(lq), scale), image, to_float(gt), iqa)
        for lq, image, gt in zip(pairs.lq, restored, pairs.gt, strict=True)
    ]
    return _summarise(name, scored, level=level, note=note)


def _enlarged(lq: FloatImage, scale: int) -> FloatImage:
    return upsampled(lq, scale) if scale > 1 else lq


def _score(
    lq: FloatImage, restored: FloatImage, gt: FloatImage, iqa: SfdIqa | None = None
) -> _Scored:
    has_room = min(gt.shape[:2]) >= _SSIM_WINDOW
    return (
        psnr(lq, gt),
        psnr(restored, gt),
        ssim(lq, gt) if has_room else None,
        ssim(restored, gt) if has_room else None,
        PhotoJudge(iqa)(restored),
    )


def _summarise(
    name: str, scored: Sequence[_Scored], *, level: str = "", note: str = ""
) -> Evaluation:
    psnr_before, psnr_after, ssim_before, ssim_after, seen = zip(*scored, strict=True)
    judged = [quality for quality in seen if quality is not None]
    worse = [after < before - _WORSE for before, after, *_ in scored]
    return Evaluation(
        name=name,
        level=level,
        note=note,
        count=len(scored),
        psnr_before=float(np.mean(psnr_before)),
        psnr_after=float(np.mean(psnr_after)),
        ssim_before=_mean(ssim_before),
        ssim_after=_mean(ssim_after),
        share_worse=float(np.mean(worse)),
        quality=_mean([quality.score for quality in judged]),
        quality_encoder=judged[0].encoder if judged else None,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def read_partners(lq_path: Path, gt_path: Path, *, scale: int = 1) -> tuple[FloatImage, FloatImage]:
    """Read a degraded photo and its clean partner: RGB (H, W, 3) float32 in [0, 1] each.

    The clean photo has ``scale`` times the sides of the degraded one.

    Raises:
        PhotoError: One cannot be read, or their sizes are others.
    """
    lq, gt = read_photo(lq_path, scale=scale).rgb, read_photo(gt_path).rgb
    if gt.shape != (scale * lq.shape[0], scale * lq.shape[1], 3):
        rule = "partners have one size" if scale == 1 else f"it must be {scale} times as large"
        raise PhotoError(
            f"{lq_path} is {lq.shape[1]}x{lq.shape[0]} pixels and {gt_path} is "
            f"{gt.shape[1]}x{gt.shape[0]}; {rule}"
        )
    return lq, gt


def pair_files(lq_folder: Path, gt_folder: Path) -> list[tuple[Path, Path]]:
    """List degraded photos with the clean ones of the same relative path; see `compare_folders`.

    Raises:
        PhotoError: A folder has no photos, or a degraded photo has no clean partner.
    """
    lq, gt = ([*find_photos([folder])] for folder in (lq_folder, gt_folder))
    if lq_folder.is_file() and gt_folder.is_file():
        return [(lq_folder, gt_folder)]
    # A restored GIF is a PNG and a JPEG's clean partner rarely a JPEG, so suffixes do not count.
    partners = {job.relative.with_suffix(""): job.source for job in gt}
    for job in lq:
        if job.relative.with_suffix("") not in partners:
            raise PhotoError(f"{job.source} has no partner {job.relative} in {gt_folder}")
    return [(job.source, partners[job.relative.with_suffix("")]) for job in lq]
