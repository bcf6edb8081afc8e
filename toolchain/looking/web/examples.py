"""Photos to try the page with, damaged by the project's own degradations."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from restoration_toolchain.data.damage.degradation import Degradation, mixture
from restoration_toolchain.data.images import to_float, to_uint8
from restoration_toolchain.data.photos.sources import EMBEDDED, open_source
from restoration_toolchain.toolchain.photos.read import Photo
from restoration_toolchain.toolchain.photos.write import write_photo


@dataclass(frozen=True, slots=True)
class Example:
    """A damaged photo whose clean version is known.

    Attributes:
        label: What was done to it, in a word or two.
        lq: File of the damaged photo.
        gt: File of the clean one.
    """

    label: str
    lq: Path
    gt: Path


_DAMAGE: Final[dict[str, tuple[str, list[Degradation]]]] = {
    "astronaut": ("everything", [mixture(blur_sigma=2.0, noise_sigma=18.0, jpeg_quality=19)]),
    "chelsea": ("noise", [mixture(noise_sigma=40.0)]),
    "coffee": ("JPEG", [mixture(jpeg_quality=12)]),
    "motorcycle_left": ("blur", [mixture(blur_sigma=2.6)]),
    "rocket": ("blur | noise", [mixture(blur_sigma=2.5), mixture(noise_sigma=30.0)]),
}
"""What is done to each photo, in words and in fact; a second damage is that of its right half."""


def make_examples(folder: Path) -> list[Example]:
    """Write the examples, a damaged and a clean file each, always the same ones.

    Args:
        folder: Made if missing.

    Raises:
        PhotoError: The folder cannot be written to.
    """
    examples = []
    for number, (name, photo) in enumerate(open_source(EMBEDDED)):
        clean, rng = to_float(photo), np.random.default_rng(number)
        label, (damage, *right_half) = _DAMAGE[name]
        lq, middle = damage.apply(clean, rng), clean.shape[1] // 2
        for other in right_half:
            lq[:, middle:] = other.apply(clean, rng)[:, middle:]
        paths = folder / f"{name}.png", folder / f"{name}-clean.png"
        for path, pixels in zip(paths, (to_uint8(lq), photo), strict=True):
            write_photo(path, Photo(rgb=to_float(pixels)), overwrite=True)
        examples.append(Example(label, *paths))
    return examples
