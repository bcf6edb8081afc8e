"""Restoring photos with the shipped weights, beside BM3D at its best strength."""

import time
from typing import Final

import numpy as np

from benchmarks.crops import middle
from benchmarks.report import Report, Row, median_seconds
from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import FloatImage, to_float
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.toolchain.restoring.restorer import Restorer

SIDE: Final = 500  # pixels
QUICK_SIDE: Final = 64
LEVELS: Final = ("mild", "moderate", "severe")
FACTORS: Final = (0.5, 1.0, 1.5)
"""Strengths that BM3D is tried at, as multiples of the true noise; the truth picks the best."""


def run(*, quick: bool) -> Report:
    """Restore degraded photos both ways."""
    side, levels = (QUICK_SIDE, LEVELS[:1]) if quick else (SIDE, LEVELS)
    embedded = [photo for _, photo in open_source("embedded") if min(photo.shape[:2]) >= side]
    photos = [to_float(middle(photo, side)) for photo in embedded[: 1 if quick else None]]
    restorer = load()
    return Report(
        title="Beside BM3D",
        method=(
            f"{len(photos)} of the embedded photos, cut to {side}x{side} and degraded; the default "
            "toolbox, and BM3D (package `bm3d`) with the noise level that gains most of "
            f"{', '.join(map(str, FACTORS))} times the true one, known to it from the clean photo. "
            "Seconds are means of one restoration of a photo; BM3D's search is not counted."
        ),
        rows=tuple(_row(level, photos, restorer) for level in levels),
    )


def denoised_by_bm3d(photo: FloatImage, sigma: float) -> FloatImage:
    """The photo without noise of a standard deviation of ``sigma`` grey levels.

    Raises:
        ToolchainError: The package ``bm3d`` is not there.
    """
    try:
        from bm3d import bm3d_rgb
    except ImportError as error:
        raise ToolchainError("BM3D is not installed: pip install -e '.[bench]'") from error
    return np.asarray(bm3d_rgb(photo, sigma / 255.0), np.float32).clip(0.0, 1.0)


def _row(level: str, photos: list[FloatImage], restorer: Restorer) -> Row:
    rng = np.random.default_rng(0)
    figures = []
    for gt in photos:
        degradation = sampler(level)(rng)
        lq = degradation.apply(gt, rng)
        ours = restorer.restore(lq)
        seconds = median_seconds(lambda lq=lq: restorer.restore(lq), 3)  # type: ignore[misc]
        rival = _best(lq, gt, degradation)
        figures.append((psnr(lq, gt), psnr(ours.image, gt), rival[0], seconds, rival[1]))
    lq_psnr, our_psnr, bm3d_psnr, our_seconds, bm3d_seconds = np.mean(figures, axis=0).tolist()
    return {
        "level": level,
        "input dB": lq_psnr,
        "ours dB": our_psnr,
        "BM3D dB": bm3d_psnr,
        "ours s": our_seconds,
        "BM3D s": bm3d_seconds,
        "times faster": bm3d_seconds / our_seconds,
        "ours MP/s": photos[0].shape[0] * photos[0].shape[1] / 1e6 / our_seconds,
    }


def _best(lq: FloatImage, gt: FloatImage, degradation: Degradation) -> tuple[float, float]:
    """PSNR of the strength that the clean photo picks, and the seconds of one run."""
    runs = []
    for factor in FACTORS:
        # At least one grey level: BM3D does not take 0.
        sigma = max(factor * (degradation.strength("noise") or 0.0), 1.0)
        start = time.perf_counter()
        restored = denoised_by_bm3d(lq, sigma)
        runs.append((time.perf_counter() - start, restored))
    return max((psnr(restored, gt), seconds) for seconds, restored in runs)
