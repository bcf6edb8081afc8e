"""Decisions per region against one chain for the whole photo, where damage varies and where not.

    python -m benchmarks.regions bsds500/val --count 20

Clean photos are damaged in four ways: blur on the left and noise on the right; a background that is
out of focus around a sharp middle; noise and JPEG that grow towards a dark corner; and, to see what
regions cost where there is nothing to gain, one mixture all over. Printed are mean PSNR and the
energy of the gradient across the borders between cells of different actions, over that of the clean
photo: a visible seam would make it larger than it is elsewhere.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.damage.blur import Blur
from restoration_toolchain.data.damage.degradation import mixture
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.damage.noise import Noise
from restoration_toolchain.data.images import FloatImage, to_float, to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.toolchain.restoring.regions import CELL
from restoration_toolchain.toolchain.restoring.restoration import Restoration
from restoration_toolchain.toolchain.restoring.restorer import Restorer

Damage = Callable[[FloatImage, np.random.Generator], FloatImage]


def half_blurred_half_noisy(clean: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Blur of sigma 2 to 4 px on the left, noise of sigma 20 to 40 on the right."""
    blurred = Blur(rng.uniform(2.0, 4.0)).apply(clean, rng)
    noisy = Noise(rng.uniform(20.0, 40.0)).apply(clean, rng)
    width = clean.shape[1]
    ramp = np.clip((np.arange(width) - 0.5 * width) / 8.0 + 0.5, 0.0, 1.0)
    return _mixed(blurred, noisy, ramp[None, :])


def defocused_background(clean: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Blur of sigma 2 to 4 px but in an ellipse in the middle, then slight noise all over."""
    height, width = clean.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    outside = np.clip((np.hypot(x, y) - 0.55) / 0.1, 0.0, 1.0)
    blurred = Blur(rng.uniform(2.0, 4.0)).apply(clean, rng)
    return Noise(3.0).apply(_mixed(clean, blurred, outside), rng)


def noisy_shadow(clean: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Noise of sigma 0 to 50 and JPEG of quality 20, from the upper left to the lower right."""
    height, width = clean.shape[:2]
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    noisy = mixture(noise_sigma=50.0, jpeg_quality=20).apply(clean, rng)
    return _mixed(clean, noisy, np.clip((x + y - 0.7) / 0.6, 0.0, 1.0))


def uniform(clean: FloatImage, rng: np.random.Generator) -> FloatImage:
    """A mild, moderate or severe mixture all over."""
    return sampler("mild", "moderate", "severe")(rng).apply(clean, rng)


DAMAGES: Final[dict[str, Damage]] = {
    "left blurred, right noisy": half_blurred_half_noisy,
    "defocused background": defocused_background,
    "noisy shadow": noisy_shadow,
    "uniform": uniform,
}


def measure(restorer: Restorer, photos: list[FloatImage], damage: Damage) -> dict[str, float]:
    """Mean PSNR in dB of the input, of one chain and of regions, and what their borders show."""
    rows = []
    for index, clean in enumerate(photos):
        lq = to_float(to_uint8(damage(clean, np.random.default_rng(index))))
        whole = restorer.restore(lq)
        regions = restorer.restore(lq, regions=True)
        borders = border_mask(regions, clean.shape[:2])
        rows.append(
            {
                "input": psnr(lq, clean),
                "whole": psnr(whole.image, clean),
                "regions": psnr(regions.image, clean),
                "borders": float(np.mean([mask.mean() for mask in borders])),
                "at_borders": energy_ratio(regions.image, clean, borders),
                "elsewhere": energy_ratio(regions.image, clean, [~mask for mask in borders]),
            }
        )
    return {key: _mean([row[key] for row in rows]) for key in rows[0]}


def _mean(values: list[float]) -> float:
    """Mean of the values that are numbers; NaN if none is: a photo may have no border."""
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")


def border_mask(regions: Restoration, shape: tuple[int, ...]) -> list[npt.NDArray[np.bool_]]:
    """Masks of `numpy.diff` along rows and columns: the fade between cells whose chains differ."""
    height, width = shape
    masks = [np.zeros((height - 1, width), bool), np.zeros((height, width - 1), bool)]
    for step in regions.steps:
        actions = step.region_actions
        if actions is None:
            continue
        for axis, mask in enumerate(masks):
            for before in np.argwhere(np.diff(actions, axis=axis) != 0):
                start = before * CELL
                start[axis] += CELL // 2  # the fade reaches from centre to centre
                row, column = start
                mask[row : row + CELL, column : column + CELL] = True
    return masks


def energy_ratio(image: FloatImage, clean: FloatImage, masks: list[npt.NDArray[np.bool_]]) -> float:
    """Energy of an image's gradient where masks say, over that of the clean one; NaN of nothing."""
    energies = [
        sum(
            float(np.square(np.diff(which, axis=axis)[mask]).sum())
            for axis, mask in enumerate(masks)
        )
        for which in (image, clean)
    ]
    return energies[0] / energies[1] if energies[1] > 0.0 else float("nan")


def _mixed(one: FloatImage, other: FloatImage, share: npt.NDArray[Any]) -> FloatImage:
    weight = np.broadcast_to(share, one.shape[:2])[..., None].astype(np.float32)
    return one + weight * (other - one)


def main() -> None:
    """Measure and print; optionally write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", help="clean photos: a folder, or a set's name")
    parser.add_argument("--count", type=int, default=20, help="photos, spread over the set")
    parser.add_argument("--toolbox", default="efficient")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--output", type=Path, help="write the figures to this .json")
    options = parser.parse_args()
    photos = [to_float(photo) for _, photo in open_source(options.photos)]
    photos = photos[:: max(1, len(photos) // options.count)][: options.count]
    restorer = load(toolbox=options.toolbox, precision=options.precision)
    figures = {name: measure(restorer, photos, damage) for name, damage in DAMAGES.items()}
    print(
        f"{'PSNR in dB':28} {'input':>7} {'whole':>7} {'regions':>8}"
        "   gradient at borders / elsewhere"
    )
    for name, row in figures.items():
        print(
            f"{name:28} {row['input']:7.2f} {row['whole']:7.2f} {row['regions']:8.2f}"
            f"   {row['at_borders']:.3f} / {row['elsewhere']:.3f}"
            f" ({row['borders']:.0%} of the photo)"
        )
    if options.output is not None:
        options.output.write_text(json.dumps({"photos": len(photos), **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
