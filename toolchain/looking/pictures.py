"""Images as a browser shows them: of a sensible size, inside the page itself."""

import base64
import colorsys
import io
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from restoration_toolchain.data.images import ByteImage, FloatImage, to_uint8

_MAX_EXACT: Final = 256 * 256  # pixels; smaller images are kept exactly, and take little room
_MAX_ENLARGED: Final = 480  # pixels; a wider photo is not enlarged
_JPEG_QUALITY: Final = 90
_CELL: Final = 16  # pixels, side of the squares that the search for a detail looks at


@dataclass(frozen=True, slots=True)
class Picture:
    """An image ready to stand in a page.

    Attributes:
        uri: ``data:`` address with the pixels themselves.
        width: Largest width, in pixels of the page.
        height: Largest height, in pixels of the page.
        is_enlarged: Whether a pixel of the image covers several of the page.
        is_reduced: Whether the image has more pixels than the picture.
    """

    uri: str
    width: int
    height: int
    is_enlarged: bool = False
    is_reduced: bool = False


def picture(image: ByteImage, *, max_side: int, icc: bytes | None = None) -> Picture:
    """Encode an image for a page: small ones exactly and enlarged to visible pixels.

    Args:
        image: Image, shape (H, W, 3), uint8, range [0, 255].
        max_side: Longest side in pixels; larger images are scaled down smoothly.
        icc: RGB colour profile of the image; None is sRGB.
    """
    photo = Image.fromarray(image)
    is_reduced = max(photo.size) > max_side
    if is_reduced:
        photo = scaled_down(photo, max_side / max(photo.size))
    zoom = max(1, _MAX_ENLARGED // max(photo.size))
    uri = _data_uri(photo, icc if icc and icc[16:20] == b"RGB " else None)
    return Picture(uri, photo.width * zoom, photo.height * zoom, zoom > 1, is_reduced)


def map_picture(
    image: FloatImage, actions: npt.NDArray[np.int64], *, cell: int, n_tools: int, max_side: int
) -> Picture:
    """Colour the places of an image by what was decided there; gray means no tool.

    Args:
        image: Image, shape (H, W, 3), float32, range [0, 1].
        actions: Action of each cell, shape (rows, columns); ``n_tools`` and above are no tool.
        cell: Side of a cell in pixels.
        n_tools: Number of actions that are tools.
        max_side: Longest side in pixels; larger images are scaled down.
    """
    gray = np.repeat(to_uint8(image.mean(axis=2))[:, :, None], 3, axis=2)
    colours = np.array([action_colour(tool, n_tools) for tool in range(n_tools)] + [(0, 0, 0)])
    rows, columns = (np.arange(side) // cell for side in image.shape[:2])
    shown = np.minimum(actions, n_tools)[rows[:, None], columns]
    is_tool = (shown < n_tools)[:, :, None]
    tinted = (gray * 0.45 + colours[shown] * 0.55).astype(np.uint8)
    return picture(np.where(is_tool, tinted, gray), max_side=max_side)


def action_colour(action: int, n_tools: int) -> tuple[int, int, int]:
    """Give a tool a colour, uint8 RGB: neighbours in the toolbox have similar hues, never equal."""
    lightness = (0.36, 0.66)[action % 2]
    red, green, blue = colorsys.hls_to_rgb(0.6 + action / n_tools, lightness, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)


def detail_box(before: FloatImage, after: FloatImage, width: int, height: int) -> tuple[int, int]:
    """Left and top of the box with the highest mean absolute change, to a few pixels.

    Args:
        before: Image before, shape (H, W, 3), float32, range [0, 1].
        after: Image after, of the same shape.
        width: Width of the box in pixels; at most W.
        height: Height of the box in pixels; at most H.
    """
    full_height, full_width = before.shape[:2]
    rows, columns = max(1, full_height // _CELL), max(1, full_width // _CELL)
    change = np.abs(after - before).mean(axis=2)
    cells = cv2.resize(change, (columns, rows), interpolation=cv2.INTER_AREA)
    shape = min(rows, max(1, height // _CELL)), min(columns, max(1, width // _CELL))
    windows = np.lib.stride_tricks.sliding_window_view(cells, shape).mean(axis=(2, 3))
    row, column = np.unravel_index(int(windows.argmax()), windows.shape)
    left = min(round(float(column) * full_width / columns), full_width - width)
    top = min(round(float(row) * full_height / rows), full_height - height)
    return left, top


def scaled_down(photo: Image.Image, factor: float) -> Image.Image:
    """Shrink a photo smoothly, to a size of at least one pixel."""
    size = (max(1, round(photo.width * factor)), max(1, round(photo.height * factor)))
    return photo.resize(size, Image.Resampling.LANCZOS)


def _data_uri(photo: Image.Image, icc: bytes | None) -> str:
    stream = io.BytesIO()
    options = {"icc_profile": icc} if icc else {}
    if photo.width * photo.height <= _MAX_EXACT:
        kind = "png"
        photo.save(stream, "PNG", optimize=True, **options)
    else:
        kind = "jpeg"  # without chroma subsampling, which would pass for damage of the photo
        photo.save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0, **options)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
