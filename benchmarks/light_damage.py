"""``python -m benchmarks.light_damage PHOTOS``: whole photos with the slight damage that most have.

The paper's three levels begin where a photo has all of blur, noise and JPEG, and much of them. Here
one or two may be missing. Beside the agent stands the best of its default chains and of single
tools, picked for each photo with the clean one in sight: what choosing better could bring.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from benchmarks.report import Report, Row
from restoration_toolchain.agents.policy.storage import load_bundle
from restoration_toolchain.data.damage.degradation import Degradation, mixture
from restoration_toolchain.data.images import FloatImage, to_float, to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.tools_zoo.catalog import DEFAULT_TOOLBOX

BLURS: Final = (0.0, 1.0, 2.0, 3.0)
NOISES: Final = (0.0, 3.0, 10.0)
QUALITIES: Final = (None, 85)

Chain = tuple[str, ...]


def run(restorer: Restorer, chains: Sequence[Chain], clean: Sequence[FloatImage]) -> Report:
    """Measure every combination of `BLURS`, `NOISES` and `QUALITIES` but no damage at all."""
    rows = [
        _row(restorer, chains, clean, mixture(blur, noise, quality))
        for blur in BLURS
        for noise in NOISES
        for quality in QUALITIES
        if blur or noise or quality
    ]
    mean: Row = {"blur": "mean", "noise": "", "JPEG": ""}
    for key in ("input", "restored", "best chain in sight", "untouched", "made worse"):
        mean[key] = _text([float(row[key]) for row in rows])
    return Report(
        title="Light damage on whole photos",
        method=(
            f"Mean PSNR in dB of {len(clean)} photos; blur in pixels, noise in grey levels; the "
            "share of photos that come back as they were, and of those that are worse than before."
        ),
        rows=(*rows, mean),
    )


def _row(
    restorer: Restorer, chains: Sequence[Chain], clean: Sequence[FloatImage], damage: Degradation
) -> Row:
    before, after, best = [], [], []
    for index, photo in enumerate(clean):
        lq = to_float(to_uint8(damage.apply(photo, np.random.default_rng(index))))
        before.append(psnr(lq, photo))
        after.append(psnr(restorer.restore(lq).image, photo))
        tried = (restorer.restore(lq, forced=(*chain, "stop")).image for chain in chains)
        best.append(max(psnr(image, photo) for image in tried))
    changes = np.subtract(after, before)
    return {
        "blur": damage.strength("blur") or 0.0,
        "noise": damage.strength("noise") or 0.0,
        "JPEG": damage.strength("jpeg") or "none",
        "input": _text(before),
        "restored": _text(after),
        "best chain in sight": _text(best),
        "untouched": _text(changes == 0.0),
        "made worse": _text(changes < 0.0),
    }


def _text(figures: npt.ArrayLike) -> str:
    return f"{np.asarray(figures, np.float64).mean():.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.light_damage")
    parser.add_argument("photos", type=Path, help="clean photos: a folder, or a set's name")
    parser.add_argument("--count", type=int, default=5, help="photos, spread over the set")
    parser.add_argument("--toolbox", default=DEFAULT_TOOLBOX)
    parser.add_argument("--agent")
    parser.add_argument("--precision", default="auto")
    parsed = parser.parse_args(arguments)
    photos = [to_float(photo) for _, photo in open_source(str(parsed.photos))]
    photos = photos[:: max(1, len(photos) // parsed.count)][: parsed.count]
    toolbox, policy = load_bundle(parsed.toolbox, parsed.agent)
    chains = {(), *((name,) for name in toolbox.names), *policy.default_chains}
    restorer = load(parsed.agent, parsed.toolbox, precision=parsed.precision)
    report = run(restorer, sorted(chains), photos)
    Console().print(report.to_table())
    print(report.to_markdown())


if __name__ == "__main__":
    main()
