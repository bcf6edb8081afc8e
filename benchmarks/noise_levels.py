"""``python -m benchmarks.noise_levels PHOTOS``: noise of simulated cameras, measured and true.

Several sets of photos go through cameras from weak to middle noise. What is true is the noise at
flat places of the scenes, with the camera's JPEG, over all the photos.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from benchmarks.report import Report, Row
from benchmarks.self_supervised import camera_of
from restoration_toolchain.data.damage.camera import Camera, photograph
from restoration_toolchain.data.damage.noise_model import (
    BLOCK,
    KNOTS,
    NoiseModel,
    estimate_noise,
)
from restoration_toolchain.data.images import FloatImage, to_float
from restoration_toolchain.data.photos.sources import open_source

FLAT: Final = 1.0 / 255.0
"""Standard deviation of a block of a scene up to which it counts as flat, on the [0, 1] scale."""
WIDTH: Final = 0.04
"""Standard deviation of the smoothing of true noise over levels."""


def run(photos: Path, cameras: Sequence[str], count: int, sets: int) -> Report:
    """Measure the noise of sets of photos, and of each of their photos alone."""
    clean = [to_float(photo) for _, photo in open_source(str(photos))]
    rng = np.random.default_rng(0)
    chosen = [[clean[i] for i in rng.choice(len(clean), count, replace=False)] for _ in range(sets)]
    rows = [_row(name, camera_of(name), clean, chosen) for name in cameras]
    method = f"{sets} sets of {count} photos; measured over true, medians and (in sets) the range."
    return Report(title="Measured noise", method=method, rows=tuple(rows))


def _row(
    name: str, camera: Camera, clean: Sequence[FloatImage], sets: Sequence[Sequence[FloatImage]]
) -> Row:
    true = true_deviation(camera, clean)
    rng = np.random.default_rng(1)
    noisy = [[photograph(scene, camera, rng)[0] for scene in scenes] for scenes in sets]
    together = [estimate_noise(photos) for photos in noisy]
    alone = [[estimate_noise([photo]) for photo in photos] for photos in noisy]
    singles = [model for models in alone for model in models]
    ratios = [_ratio(model, true) for model in together]
    sure = [_ratio(model, true) for model in singles if model.is_sure]
    unsure = [_ratio(model, true) for model in singles if not model.is_sure]
    return {
        "camera": name,
        "true": f"{255.0 * float(np.mean([(m.share * true).sum() for m in together])):.1f}",
        "sets": f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        "sets sure": f"{sum(model.is_sure for model in together)} of {len(together)}",
        "singles sure": f"{len(sure)} of {len(singles)}",
        "sure": f"{np.median(sure):.2f}",
        "not sure": f"{np.median(unsure):.2f}" if unsure else "",
    }


def _ratio(model: NoiseModel, true: npt.NDArray[np.float32]) -> float:
    return float((model.share * model.deviation).sum() / (model.share * true).sum())


def true_deviation(camera: Camera, clean: Sequence[FloatImage]) -> npt.NDArray[np.float32]:
    """Standard deviation of a camera's noise where scenes are flat, of each channel: (3, KNOTS)."""
    levels, variances = [], []
    for index, scene in enumerate(clean[::3]):
        pair = photograph(scene, camera, np.random.default_rng((2, index)))
        noisy, without = map(_blocks, pair)
        flat = without.var(axis=1).max(axis=1) < FLAT**2
        levels.append(without.mean(axis=1)[flat])
        variances.append((noisy.var(axis=1) - without.var(axis=1))[flat])
    level, variance = np.concatenate(levels), np.concatenate(variances)
    inside = ((level > 0.05) & (level < 0.95)).all(axis=1)  # noise is cut off beyond
    near = np.linspace(0.0, 1.0, KNOTS)[:, None, None] - level[inside]
    weights = np.exp(-np.square(near / WIDTH) / 2) + 1e-6
    mean = (weights * variance[inside]).sum(axis=1) / weights.sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(mean.T, 0.0)), np.float32)


def _blocks(photo: FloatImage) -> FloatImage:
    """Blocks side by side, (N, BLOCK * BLOCK, 3)."""
    rows, columns = (length // BLOCK for length in photo.shape[:2])
    whole = photo[: rows * BLOCK, : columns * BLOCK]
    blocks = whole.reshape(rows, BLOCK, columns, BLOCK, 3).swapaxes(1, 2)
    return np.asarray(blocks.reshape(-1, BLOCK * BLOCK, 3), np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure noise on sets of photos of a folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noise_levels")
    parser.add_argument("photos", type=Path, help="folder of clean photos")
    parser.add_argument("--cameras", default="3.5e-4:90,8e-4:90,1.5e-3:90,middle")
    parser.add_argument("--count", type=int, default=7, help="photos of a set")
    parser.add_argument("--sets", type=int, default=6)
    parsed = parser.parse_args(arguments)
    report = run(parsed.photos, parsed.cameras.split(","), parsed.count, parsed.sets)
    Console().print(report.to_table())
    print(report.to_markdown())


if __name__ == "__main__":
    main()
