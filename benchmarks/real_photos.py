"""``python -m benchmarks.real_photos PHOTOS``: real noisy photos, each fitted alone, side by side.

No clean version of these exists: the sheet is to be looked at, and the gains are estimates.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.crops import middle, save_crops
from benchmarks.self_supervised import as_denoise, fit_for_once
from restoration_toolchain.data.images import FloatImage
from restoration_toolchain.toolchain.learning.camera_fit import NoisyPhotos, measure_noise
from restoration_toolchain.toolchain.photos.read import read_photo
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.tools_zoo.storage import load_toolbox

SIDE: Final = 192  # pixels of a crop
COLUMNS: Final = ("noisy", "restored as shipped", "best shipped denoiser", "fitted to this photo")


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit to each photo by itself, and draw a row for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_photos")
    parser.add_argument("photos", type=Path, nargs="+", help="noisy photos")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a .jpg")
    parser.add_argument("--method", default="ams")
    parser.add_argument("--steps", type=int, default=3000)
    parsed = parser.parse_args(arguments)
    rows = [_row(path, parsed.method, parsed.steps) for path in parsed.photos]
    save_crops(parsed.output, COLUMNS, rows)


def _row(path: Path, method: str, steps: int) -> list[FloatImage]:
    image = read_photo(path).rgb
    photos = NoisyPhotos((image,), (str(path),))
    fitted = fit_for_once(photos, measure_noise(photos), {"method": method, "total_steps": steps})
    verdict = fitted.verdict
    gains = ", ".join(f"{name} {gain:+.1f}" for name, gain in verdict.gains.items())
    Console().print(f"{path.name}: sigma {fitted.noise.sigma:.1f}; {gains}", soft_wrap=True)
    shipped = next(name for name in verdict.gains if name in load_toolbox().names)
    images = (
        image,
        load().restore(image).image,
        as_denoise(load_toolbox()[shipped])(image),
        as_denoise(fitted.tool)(image),
    )
    return [middle(one, SIDE) for one in images]


if __name__ == "__main__":
    main()
