"""Photo files as clean training material: find them in a folder, read them as 8-bit RGB."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from restoration_toolchain.data.errors import SourceError, one_line
from restoration_toolchain.data.images import ByteImage

PHOTO_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Lower case; files are matched in any case."""

_16_BIT_MAX: Final = 65535
_DECODER_ERRORS: Final = (
    OSError,
    SyntaxError,  # Pillow's word for a broken PNG
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RuntimeError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise for damaged or hostile files, depending on the format."""


def find_photo_files(
    folder: Path, on_unreadable: Callable[[Path, str], None] = lambda path, reason: None
) -> Iterator[Path]:
    """Yield the photo files below a folder, in an order that depends on their names only.

    Hidden files and folders are left out. Links to folders are followed, each real folder once,
    so that a link back up the tree ends there.

    Args:
        folder: Folder to start from.
        on_unreadable: Called with each folder that may not be listed, and the reason.
    """
    return _walk(folder, set(), on_unreadable)


def read_rgb(path: Path) -> ByteImage:
    """Read a photo upright, as RGB uint8 (H, W, 3).

    Gray becomes three equal channels, 16 bits are scaled to 8, and transparency is dropped.

    Raises:
        SourceError: The file is missing, damaged, no image, or an image this cannot represent.
    """
    if not path.is_file():
        # Opening a named pipe would wait for ever.
        raise SourceError("no such file" if not path.exists() else "not a regular file")
    try:
        with Image.open(path) as image:
            return _as_rgb(ImageOps.exif_transpose(image))
    except _DECODER_ERRORS as error:
        raise SourceError(_reason(error)) from error


def _walk(
    folder: Path, seen: set[Path], on_unreadable: Callable[[Path, str], None]
) -> Iterator[Path]:
    real = folder.resolve()
    if real in seen:
        return
    seen.add(real)
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        on_unreadable(folder, _reason(error))
        return
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        if os.path.isdir(path):  # unlike Path's, it never raises: a link may point to itself
            yield from _walk(path, seen, on_unreadable)
        elif path.suffix.lower() in PHOTO_SUFFIXES:
            yield path


def _as_rgb(image: Image.Image) -> ByteImage:
    if image.mode == "F":
        raise ValueError("floating-point samples, whose range is unknown")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
    # Pillow hands out 16-bit gray as 32-bit integers in some formats, and true 32-bit ones too.
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _16_BIT_MAX:
        raise ValueError("more than 16 bits a sample")
    gray = np.rint(values * (255.0 / _16_BIT_MAX)).astype(np.uint8)
    return np.repeat(gray[:, :, np.newaxis], 3, axis=2)


def _reason(error: BaseException) -> str:
    text = one_line(error)
    return "not an image" if text.startswith("cannot identify image file") else text
