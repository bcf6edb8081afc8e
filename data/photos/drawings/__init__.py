"""Pictures that are no photos, drawn by a program from letters and shapes; no files are needed.

An agent that restores photos has to leave them alone: they are what it learns that from, and what
is measured with. Whatever is drawn comes from the generator that is passed in.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from restoration_toolchain.data.errors import ImageFormatError, UnknownNameError
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.photos.drawings.flat import draw_flat
from restoration_toolchain.data.photos.drawings.gradient import draw_gradient
from restoration_toolchain.data.photos.drawings.line_art import draw_line_art
from restoration_toolchain.data.photos.drawings.pixel_art import draw_pixel_art
from restoration_toolchain.data.photos.drawings.screenshot import draw_screenshot
from restoration_toolchain.data.photos.drawings.screentone import draw_screentone
from restoration_toolchain.data.photos.drawings.text import draw_text

Draw: TypeAlias = Callable[[int, int, np.random.Generator], ByteImage]
"""Draws a picture of a kind: height and width in pixels, and the source of every draw."""

DRAWINGS: Final[dict[str, Draw]] = {
    "text": draw_text,
    "screenshot": draw_screenshot,
    "line-art": draw_line_art,
    "screentone": draw_screentone,
    "pixel-art": draw_pixel_art,
    "gradient": draw_gradient,
    "flat": draw_flat,
}
"""Kinds of pictures that are no photos, by name."""

LEAST_SIDE: Final = 16
"""Smallest height and width in pixels that a picture can have."""


def draw_picture(kind: str, height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Draw a picture that is no photo.

    Args:
        kind: Name in `DRAWINGS`.
        height: Height in pixels, at least `LEAST_SIDE`.
        width: Width in pixels, at least `LEAST_SIDE`.
        rng: Source of every draw; from the same state, the same picture.

    Returns:
        RGB uint8 of shape (height, width, 3).

    Raises:
        UnknownNameError: There is no such kind.
        ImageFormatError: The picture would be too small.
    """
    if kind not in DRAWINGS:
        raise UnknownNameError("kind of drawing", kind, DRAWINGS)
    if min(height, width) < LEAST_SIDE:
        raise ImageFormatError(
            f"a drawing has at least {LEAST_SIDE} pixels on each side, not {height}x{width}"
        )
    return DRAWINGS[kind](height, width, rng)
