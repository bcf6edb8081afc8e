"""Crops side by side: a row for each photo, a column for each way of treating it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from restoration_toolchain.data.images import FloatImage, to_uint8

HEADING: Final = 40  # pixels
FONT_SIZE: Final = 20
QUALITY: Final = 80

Pixel = TypeVar("Pixel", np.uint8, np.float32)


def middle(image: npt.NDArray[Pixel], side: int) -> npt.NDArray[Pixel]:
    """The middle of a photo, (side, side, 3); less of one that is smaller."""
    top, left = (max(0, length - side) // 2 for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + side, left : left + side])


def save_crops(
    path: Path, columns: Sequence[str], rows: Sequence[Sequence[FloatImage]], *, zoom: int = 2
) -> None:
    """Write a sheet.

    Args:
        path: A .jpg.
        columns: A title for each.
        rows: As many crops (H, W, 3) in [0, 1] in each as there are columns, all of one size.
        zoom: Pixels of the sheet per pixel, unsmoothed.
    """
    height, width = (zoom * side for side in rows[0][0].shape[:2])
    sheet = Image.new("RGB", (width * len(columns), HEADING + height * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, title in enumerate(columns):
        draw.text((width * index + 8, 8), title, "black", font_size=FONT_SIZE)
    for row, crops in enumerate(rows):
        for column, crop in enumerate(crops):
            image = Image.fromarray(to_uint8(crop)).resize(
                (width, height), Image.Resampling.NEAREST
            )
            sheet.paste(image, (width * column, HEADING + height * row))
    sheet.save(path, quality=QUALITY)
