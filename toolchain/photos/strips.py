"""Photos strip by strip, with pyvips (extra ``huge``): little of one is in memory at any time."""

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from PIL import Image

from restoration_toolchain.toolchain.photos.arrays import Arrays
from restoration_toolchain.toolchain.photos.codecs import (
    EXIF_PREFIX,
    LOSSLESS_ENCODERS,
    Metadata,
    SampleRows,
    Samples,
    png_chunk,
)

EXTRA: Final = "restoration-toolchain[huge]"
"""Requirement to install for pyvips."""

ROWS_KEPT: Final = 2500
"""Decoded rows that libvips holds at most; about 2,200 were measured."""

WRITABLE_IN_STRIPS: Final = ("JPEG", *LOSSLESS_ENCODERS)
"""Formats that can be encoded row by row, as Pillow names them."""

_MODES: Final = ("L", "LA", "RGB", "RGBA", "I;16", "I;16B")
_LOSSLESS_TIFF: Final = (1, 5, 8, 32773, 32946)  # none, LZW, deflate, PackBits, old deflate
_LONGEST_TILE: Final = 512  # rows
_XMP_PREFIX: Final = b"http://ns.adobe.com/xap/1.0/\x00"
_ICC_PREFIX: Final = b"ICC_PROFILE\x00"
_SEGMENT_BYTES: Final = 65_519  # as much of a profile as fits into a segment of a JPEG
_WRITES_UNTIL_LOOK: Final = 64


def is_installed() -> bool:
    """Whether pyvips can be imported. Importing it takes some memory."""
    try:
        _pyvips()
    except ImportError:
        return False
    return True


def can_read(image: Any, path: Path) -> bool:
    """Whether a photo can be decoded from the top, to the samples that Pillow and OpenCV give.

    Args:
        image: The file, opened by Pillow and not loaded.
        path: Path of the file.
    """
    if image.mode not in _MODES or image.info.get("transparency") is not None:
        return False
    if image.format in ("JPEG", "MPO"):
        return image.mode in ("L", "RGB")
    if image.format == "PNG":
        with path.open("rb") as file:
            depth = file.read(25)[24]
        is_plain = depth in (8, 16) and not image.info.get("interlace")
        return is_plain and getattr(image, "n_frames", 1) == 1
    return image.format == "TIFF" and _is_plain_tiff(image)


def _is_plain_tiff(image: Any) -> bool:
    tag = image.tag_v2.get
    bits, channels = set(tag(258, (8,))), tag(277, 1)
    extra = tuple(tag(338, ()))
    return (
        tag(259, 1) in _LOSSLESS_TIFF
        and tag(262) in (1, 2)
        and tag(284, 1) == 1  # channels together
        and tag(266, 1) == 1  # bits in their usual order
        and bits in ({8}, {16})
        and set(tag(339, (1,))) == {1}  # unsigned
        and extra == ((2,) if channels in (2, 4) else ())  # colours not multiplied with alpha
        and tag(323, 1) <= _LONGEST_TILE
    )


class StripRows:
    """Samples of a file, as stored; bands are asked for from the top, and each but once.

    Args:
        path: Path of the file.

    Raises:
        OSError: The file is damaged or truncated; also raised where a band is asked for.
        ImportError: pyvips is missing.
    """

    def __init__(self, path: Path) -> None:
        pyvips = _pyvips()
        with _as_os_error(pyvips):
            image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="error")
            self._region = pyvips.Region.new(image)
        if image.format not in ("uchar", "ushort"):
            raise OSError(f"samples of the kind {image.format}")
        self.dtype: np.dtype[Any] = np.dtype(np.uint8 if image.format == "uchar" else np.uint16)
        self.shape: tuple[int, int, int] = (image.height, image.width, image.bands)

    def __getitem__(self, rows: slice) -> Samples:
        """A band of rows (h, W, C)."""
        _, width, channels = self.shape
        with _as_os_error(_pyvips()):
            content = self._region.fetch(0, rows.start, width, rows.stop - rows.start)
        samples: Samples = np.frombuffer(content, self.dtype)
        return samples.reshape(-1, width, channels)


def png_without_pixels(path: Path) -> Image.Image:
    """Everything that a PNG says about itself, as an image of one pixel.

    EXIF and XMP may stand behind the pixels, and Pillow would have to decode those first.
    """
    stub = io.BytesIO()
    with path.open("rb") as file:
        stub.write(file.read(8))
        while len(head := file.read(8)) == 8:
            n_bytes, kind = struct.unpack(">I4s", head)
            if kind == b"IHDR":
                size = struct.pack(">II", 1, 1) + file.read(n_bytes)[8:]
                stub.write(png_chunk(kind, size))
                stub.write(png_chunk(b"IDAT", zlib.compress(bytes(9))))  # 4 x 16 bits at most
                file.seek(4, io.SEEK_CUR)
            elif kind == b"IDAT":
                file.seek(n_bytes + 4, io.SEEK_CUR)
            else:
                stub.write(head + file.read(n_bytes + 4))
    image = Image.open(stub, formats=("PNG",))
    image.load()
    return image


def write_jpeg(
    file: BinaryIO, samples: SampleRows, about: Metadata, *, quality: int, arrays: Arrays
) -> None:
    """Encode a sample array without alpha, uint8, as a JPEG.

    Args:
        file: A file open for writing.
        samples: The sample array.
        about: What the file shall say.
        quality: Quality from 1 to 100.
        arrays: Maker of the array that the samples wait in.

    Raises:
        OSError: The disk is full, or libvips fails.
        ImportError: pyvips is missing.
    """
    pyvips = _pyvips()
    height, width, channels = samples.shape
    stored = arrays.empty(height, width, channels, np.uint8)
    for rows in arrays.bands(height, max(1, min(256, (1 << 20) // width))):
        stored[rows] = samples[rows]
    receiver = _Receiver(file, _segments(about), arrays)
    target = pyvips.TargetCustom()
    target.on_write(receiver.write)
    try:
        with _as_os_error(pyvips):
            image = pyvips.Image.new_from_memory(stored, width, height, channels, "uchar")
            image = image.copy(interpretation="b-w" if channels == 1 else "srgb")
            image.jpegsave_target(target, Q=quality, subsample_mode="off", keep="none")
    finally:
        if receiver.error is not None:
            raise receiver.error


class _Receiver:
    """Takes a JPEG as libvips makes it, and puts segments behind its first one."""

    def __init__(self, file: BinaryIO, segments: bytes, arrays: Arrays) -> None:
        self._file, self._segments, self._arrays = file, segments, arrays
        self._head = b""
        self._n_writes = 0
        self.error: Exception | None = None

    def write(self, content: Any) -> int:
        """The number of bytes taken; fewer than came tell libvips to end."""
        try:
            self._take(bytes(content))
        except Exception as error:  # it must not pass through a callback of C
            self.error = error
            return -1
        self._n_writes += 1
        if self._n_writes % _WRITES_UNTIL_LOOK == 0:
            self._arrays.give_back()
        return len(content)

    def _take(self, content: bytes) -> None:
        if not self._segments:
            self._file.write(content)
            return
        self._head += content
        if len(self._head) < 6:
            return
        end = 4 + int.from_bytes(self._head[4:6], "big")  # of JFIF, behind two marks
        if len(self._head) >= end:
            self._file.write(self._head[:end] + self._segments + self._head[end:])
            self._segments = self._head = b""


def _segments(about: Metadata) -> bytes:
    """The segments of a JPEG that hold its metadata."""
    segments = []
    if about.exif:
        segments.append((0xE1, EXIF_PREFIX + about.exif.removeprefix(EXIF_PREFIX)))
    if about.xmp:
        segments.append((0xE1, _XMP_PREFIX + about.xmp))
    icc = about.icc or b""
    parts = [icc[at : at + _SEGMENT_BYTES] for at in range(0, len(icc), _SEGMENT_BYTES)]
    for number, part in enumerate(parts, 1):
        segments.append((0xE2, _ICC_PREFIX + bytes([number, len(parts)]) + part))
    return b"".join(
        struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments
    )


@contextlib.contextmanager
def _as_os_error(pyvips: Any) -> Iterator[None]:
    try:
        yield
    except pyvips.Error as error:
        raise OSError(str(error.detail or error.message).strip()) from error


def _pyvips() -> Any:
    try:
        import pyvips
    except (ImportError, OSError) as error:  # the latter where libvips itself is missing
        raise ImportError(f"pyvips is missing: pip install '{EXTRA}'") from error
    pyvips.cache_set_max(0)  # it would keep files open that were read
    return pyvips
