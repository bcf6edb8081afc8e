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

from restoration_toolchain.toolchain.photos.arrays import Scratch
from restoration_toolchain.toolchain.photos.codecs import (
    EXIF_PREFIX,
    SampleRows,
    Samples,
    png_chunk,
    write_png,
    write_tiff,
)

EXTRA: Final = "restoration-toolchain[huge]"
"""What to install."""

ROWS_KEPT: Final = 2500
"""Decoded rows that libvips holds at most; about 2,200 were measured."""

WRITABLE_IN_STRIPS: Final = ("JPEG", "PNG", "TIFF")
"""Formats, as Pillow names them."""

_MODES: Final = ("L", "LA", "RGB", "RGBA", "I;16", "I;16B")
_LOSSLESS_TIFF: Final = (1, 5, 8, 32773, 32946)  # none, LZW, deflate, PackBits, old deflate
_LONGEST_TILE: Final = 512  # rows
_XMP_PREFIX: Final = b"http://ns.adobe.com/xap/1.0/\x00"
_ICC_PREFIX: Final = b"ICC_PROFILE\x00"
_SEGMENT_BYTES: Final = 65_519  # of a profile that fit into a segment of a JPEG
_WRITES_UNTIL_LOOK: Final = 64


def is_installed() -> bool:
    """Whether pyvips is there; it is loaded, which takes some memory."""
    try:
        _pyvips()
    except ImportError:
        return False
    return True


def can_read(image: Any, path: Path) -> bool:
    """Whether a photo can be decoded from the top, to the samples that Pillow and OpenCV give.

    Args:
        image: The file, opened by Pillow and not loaded.
        path: The file.
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


class StripBands:
    """Samples of a file, as stored; rows are asked for from the top, and but once.

    Args:
        path: The file.

    Raises:
        OSError: It is damaged or truncated; also raised by `rows`.
        ImportError: pyvips is missing.
    """

    def __init__(self, path: Path) -> None:
        pyvips = _pyvips()
        with _as_os_error(pyvips):
            image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="error")
            self._region = pyvips.Region.new(image)
        if image.format not in ("uchar", "ushort"):
            raise OSError(f"samples of the kind {image.format}")
        self._dtype = np.dtype(np.uint8 if image.format == "uchar" else np.uint16)
        self.shape: tuple[int, int, int] = (image.height, image.width, image.bands)

    def rows(self, part: slice) -> Samples:
        """Some rows (h, W, C)."""
        _, width, channels = self.shape
        with _as_os_error(_pyvips()):
            content = self._region.fetch(0, part.start, width, part.stop - part.start)
        samples: Samples = np.frombuffer(content, self._dtype)
        return samples.reshape(-1, width, channels)


def png_without_pixels(path: Path) -> Image.Image:
    """All that a PNG says of itself, as an image of one pixel.

    EXIF and XMP may stand behind the pixels, which Pillow would have to decode.
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


def write_in_strips(
    file: BinaryIO,
    samples: SampleRows,
    file_format: str,
    *,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
    jpeg_quality: int,
    scratch: Scratch,
) -> None:
    """Encode a sample array into a file.

    Args:
        file: Open for writing, and can seek.
        samples: Shape (H, W, C); for JPEG uint8 and without alpha.
        file_format: One of `WRITABLE_IN_STRIPS`.
        icc: Colour profile to embed.
        exif: EXIF block that starts with `EXIF_PREFIX`.
        xmp: XMP packet.
        jpeg_quality: 1 to 100.
        scratch: Where the samples of a JPEG wait.

    Raises:
        OSError: The disk is full, or libvips fails.
        ImportError: pyvips is missing.
    """
    if file_format == "JPEG":
        _write_jpeg(file, samples, _segments(icc, exif, xmp), jpeg_quality, scratch)
    else:
        write = write_tiff if file_format == "TIFF" else write_png
        write(file, samples, icc, exif, xmp)


def _write_jpeg(
    file: BinaryIO, samples: SampleRows, segments: bytes, quality: int, scratch: Scratch
) -> None:
    pyvips = _pyvips()
    height, width, channels = samples.shape
    stored = scratch.empty_samples(height, width, channels)
    for rows in scratch.bands(height, max(1, min(256, (1 << 20) // width))):
        stored[rows] = samples[rows]
    receiver = _Receiver(file, segments, scratch)
    target = pyvips.TargetCustom()
    target.on_write(receiver.write)
    with _as_os_error(pyvips, receiver):
        image = pyvips.Image.new_from_memory(stored, width, height, channels, "uchar")
        image = image.copy(interpretation="b-w" if channels == 1 else "srgb")
        image.jpegsave_target(target, Q=quality, subsample_mode="off", keep="none")
    receiver.check()


class _Receiver:
    """Takes a JPEG as libvips makes it, and puts segments behind its first one."""

    def __init__(self, file: BinaryIO, segments: bytes, scratch: Scratch) -> None:
        self._file, self._scratch = file, scratch
        self._segments = segments
        self._head = b""
        self._n_writes = 0
        self.error: Exception | None = None

    def write(self, content: Any) -> int:
        """Bytes that were taken; fewer than came tell libvips to end."""
        try:
            self._take(bytes(content))
        except Exception as error:  # it must not pass through a callback of C
            self.error = error
            return -1
        self._n_writes += 1
        if self._n_writes % _WRITES_UNTIL_LOOK == 0:
            self._scratch.give_back()
        return len(content)

    def check(self) -> None:
        """Raise what went wrong."""
        if self.error is not None:
            raise self.error

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


def _segments(icc: bytes | None, exif: bytes | None, xmp: bytes | None) -> bytes:
    """What a JPEG says of its photo."""
    segments = []
    if exif:
        segments.append((0xE1, EXIF_PREFIX + exif.removeprefix(EXIF_PREFIX)))
    if xmp:
        segments.append((0xE1, _XMP_PREFIX + xmp))
    parts = (
        [icc[at : at + _SEGMENT_BYTES] for at in range(0, len(icc), _SEGMENT_BYTES)] if icc else []
    )
    for number, part in enumerate(parts, 1):
        segments.append((0xE2, _ICC_PREFIX + bytes([number, len(parts)]) + part))
    return b"".join(
        struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments
    )


@contextlib.contextmanager
def _as_os_error(pyvips: Any, receiver: _Receiver | None = None) -> Iterator[None]:
    try:
        yield
    except pyvips.Error as error:
        if receiver is not None:
            receiver.check()
        raise OSError(str(error.detail or error.message).strip()) from error


def _pyvips() -> Any:
    try:
        import pyvips
    except (ImportError, OSError) as error:  # the latter where libvips itself is missing
        raise ImportError(f"pyvips is missing: pip install '{EXTRA}'") from error
    pyvips.cache_set_max(0)  # it would keep files open that were read
    return pyvips
