"""What a suite is measured on: sets of pairs, one for each level of degradation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from restoration_toolchain.agents.policy.q_net import VIEW_SIZE
from restoration_toolchain.data.damage.degradation import CONTEXT, Degradation, strength_levels
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.images import ByteImage, to_uint8
from restoration_toolchain.data.patches.pairs import ArrayPairs, degrade_windows
from restoration_toolchain.data.patches.store import Patches
from restoration_toolchain.toolchain.errors import PhotoError
from restoration_toolchain.toolchain.measuring.evaluation import pair_files, read_partners

GIVEN: Final = "given"
"""Name of the level of photos that were degraded by somebody else."""

_STRIDE: Final = 64  # pixels; blocks of a JPEG start at multiples of 8


@dataclass(frozen=True, slots=True)
class LevelSet:
    """Pairs of one level.

    Attributes:
        name: Name of the level, or `GIVEN`.
        pairs: Patches of 63x63 pixels.
        strengths: Strength levels of each pair, 0 to 10, as `strength_levels` gives them; None if
            nobody knows.
    """

    name: str
    pairs: ArrayPairs
    strengths: tuple[tuple[int, ...], ...] | None = None


def degraded_levels(windows: Patches, levels: Sequence[str], seed: int) -> list[LevelSet]:
    """Degrade clean patches at each level, as `measuring.evaluation.evaluate_players` does.

    Args:
        windows: Clean patches with their surroundings, as `patches.store.cut_windows` yields them.
        levels: Some of `data.damage.levels.LEVELS`.
        seed: Seed of the degradations.

    Raises:
        UnknownNameError: There is no such level.
        PhotoError: The patches have another size.
    """
    size = windows.shape[1] - 2 * CONTEXT
    if size != VIEW_SIZE:
        raise PhotoError(
            f"the patches are {size}x{size} pixels; agents look at {VIEW_SIZE}x{VIEW_SIZE}"
        )
    return [_degrade(windows, level, seed) for level in levels]


def folder_level(lq_folder: Path, gt_folder: Path) -> LevelSet:
    """Read a pair of folders, or of files; larger photos become patches side by side.

    Patches start at multiples of 64 pixels, where blocks of a JPEG begin; what is left at the
    right and lower border is not measured.

    Raises:
        PhotoError: See `measuring.evaluation.compare_folders`; or a photo is smaller than a patch.
    """
    lq_patches: list[ByteImage] = []
    gt_patches: list[ByteImage] = []
    for lq_path, gt_path in pair_files(lq_folder, gt_folder):
        lq, gt = (to_uint8(image) for image in read_partners(lq_path, gt_path))
        if min(lq.shape[:2]) < VIEW_SIZE:
            raise PhotoError(
                f"{lq_path} is {lq.shape[1]}x{lq.shape[0]} pixels; a suite needs at least "
                f"{VIEW_SIZE}x{VIEW_SIZE}"
            )
        lq_patches += _cut(lq)
        gt_patches += _cut(gt)
    return LevelSet(GIVEN, ArrayPairs(np.stack(lq_patches), np.stack(gt_patches)))


def _degrade(windows: Patches, level: str, seed: int) -> LevelSet:
    draw, drawn = sampler(level), list[Degradation]()

    def draw_and_keep(rng: np.random.Generator) -> Degradation:
        drawn.append(draw(rng))
        return drawn[-1]

    lq, gt = degrade_windows(windows, draw_and_keep, np.random.default_rng(seed))
    return LevelSet(level, ArrayPairs(lq, gt), tuple(map(strength_levels, drawn)))


def _cut(photo: ByteImage) -> Iterator[ByteImage]:
    height, width = photo.shape[:2]
    for top in range(0, height - VIEW_SIZE + 1, _STRIDE):
        for left in range(0, width - VIEW_SIZE + 1, _STRIDE):
            yield photo[top : top + VIEW_SIZE, left : left + VIEW_SIZE]
