"""How far photos lie from what the agent knows, by what was done to them.

    python -m benchmarks.unfamiliar bsds500/val --count 20

Printed, for damage inside and outside of what agents are trained on: the median of `unfamiliarity`
over the photos, and the share of them that a note would warn of.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.levels import TRAINING_LEVELS, sampler
from restoration_toolchain.data.damage.noise import Noise
from restoration_toolchain.data.images import FloatImage, to_float, to_uint8
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.tools_zoo.catalog import DEFAULT_TOOLBOX

Damage = Callable[[FloatImage, np.random.Generator], FloatImage]


def drawn(level: str) -> Damage:
    """What agents are trained on."""
    return lambda clean, rng: sampler(level)(rng).apply(clean, rng)


def motion(clean: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Blur along a horizontal line of 21 pixels."""
    return cv2.blur(clean, (21, 1), borderType=cv2.BORDER_REPLICATE).astype(np.float32)


def lines(clean: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Every fourth line at 70 %."""
    darkened = clean.copy()
    darkened[::4] *= 0.7
    return darkened


def salt_and_pepper(clean: FloatImage, rng: np.random.Generator) -> FloatImage:
    """One pixel in ten black or white."""
    spoilt, chance = clean.copy(), rng.random(clean.shape[:2])
    spoilt[chance < 0.05], spoilt[chance > 0.95] = 0.0, 1.0
    return spoilt


DAMAGES: Final[dict[str, Damage]] = {
    **{level: drawn(level) for level in (*TRAINING_LEVELS, "camera", "clean")},
    "noise of sigma 100": Noise(100.0).apply,
    "every fourth line darkened": lines,
    "JPEG of quality 3": Jpeg(3).apply,
    "blur of sigma 8 px": lambda clean, rng: cv2.GaussianBlur(clean, (0, 0), 8.0).astype(
        np.float32
    ),
    "motion blur of 21 px": motion,
    "salt and pepper on 10 %": salt_and_pepper,
}


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--toolbox", default=DEFAULT_TOOLBOX)
    args = parser.parse_args()
    restorer = load(toolbox=args.toolbox, max_steps=1)
    photos = [to_float(photo) for _, photo in open_source(str(args.photos))][: args.count]
    print("| damage | median | noted |\n|---|---:|---:|")
    for name, damage in DAMAGES.items():
        found = [
            restorer.restore(to_float(to_uint8(damage(photo, np.random.default_rng(index)))))
            for index, photo in enumerate(photos)
        ]
        far = np.array([restoration.unfamiliarity for restoration in found], np.float64)
        print(f"| {name} | {np.median(far):.2f} | {100 * np.mean(far > 1.0):.0f} % |", flush=True)


if __name__ == "__main__":
    main()
