"""A limit on memory, and what a photo takes of it."""

import mmap
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.toolchain.photos.arrays import SLACK_BYTES
from restoration_toolchain.toolchain.photos.read import PhotoHeader
from restoration_toolchain.toolchain.photos.strips import ROWS_KEPT, WRITABLE_IN_STRIPS
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings

TILE_PIXEL_BYTES: Final = 700
"""What a tool holds per pixel of a tile: at most 640 of those that were measured (`classic`)."""

_LOADING_BYTES: Final = 160 << 20
"""Weights, thread stacks, and what the libraries keep for themselves once they have run."""
_UNITS: Final[dict[str, int]] = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

_DECODING: Final = {"PNG": 0, "BMP": 0, "JPEG": 0, "TIFF": 2, "GIF": 4, "AVIF": 5, "HEIF": 5}
"""Bytes per pixel of the decoders, beside Pillow's image of four."""
_ENCODING: Final = {"JPEG": 1, "WEBP": 8, "BMP": 3, "AVIF": 26, "HEIF": 22}
"""Bytes per pixel of the encoders, beside the samples that PNG and TIFF keep: compressed, noise is
hardly smaller."""
_STRIPS_BYTES: Final = 96 << 20
"""What libvips and the conversion of samples take, beside the rows that are kept."""


class MemoryLimitError(ToolchainError):
    """A limit is malformed, or what is asked for does not fit."""


def parse_size(text: str) -> int:
    """Bytes of a size such as ``2G``, ``1.5g`` or ``800MB``; K, M and G count in 1024.

    Raises:
        MemoryLimitError: It is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG])(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise MemoryLimitError(f"{text!r} is no size; write 800M or 2G, for example")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def readable_size(n_bytes: float) -> str:
    """A size rounded up to what `parse_size` reads: ``1.3G``."""
    unit = "G" if n_bytes >= _UNITS["G"] else "M"
    digits = 1 if unit == "G" else 0
    step = _UNITS[unit] / 10**digits
    return f"{np.ceil(n_bytes / step) * step / _UNITS[unit]:.{digits}f}{unit}"


def tile_pixels_within(limit: int, most: int) -> int:
    """Pixels of a tile, at most ``most``, that leave two thirds of what is free to photos.

    To be asked before a restorer is loaded.

    Args:
        limit: Most memory of the process, in bytes.
        most: Pixels that are wanted.

    Raises:
        MemoryLimitError: The program itself takes as much.
    """
    free = limit - resident_bytes() - _LOADING_BYTES
    pixels = max(0, free) // 3 // TILE_PIXEL_BYTES
    least = 1 << 16  # smaller tiles would be mostly halo
    if pixels < least:
        needed = limit - free + 3 * least * TILE_PIXEL_BYTES
        raise MemoryLimitError(
            f"--max-memory {readable_size(limit)} is too little for the program alone; "
            f"it takes at least {readable_size(needed)}"
        )
    return int(min(most, pixels))


def resident_bytes() -> int:
    """Memory of this process now; where the system does not tell, its peak so far."""
    status = Path("/proc/self/statm")
    if status.is_file():
        return int(status.read_text().split()[1]) * mmap.PAGESIZE
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


class MemoryBudget:
    """What the photos of a batch may take together, and which of them must lie on disk.

    Args:
        limit: Most memory of the process, in bytes; what it takes now and what a tile will take is
            set aside.
        max_tile_pixels: Most pixels that the restorer works on at once.
    """

    def __init__(self, limit: int, max_tile_pixels: int) -> None:
        self.limit = limit
        self._overhead = resident_bytes() + max_tile_pixels * TILE_PIXEL_BYTES + SLACK_BYTES
        self._free = limit - self._overhead
        self._total = self._free
        self._changed = threading.Condition()

    def fits(self, n_bytes: int) -> bool:
        """Whether so much would ever be free."""
        return n_bytes <= self._total

    def needed_limit(self, n_bytes: int) -> int:
        """Limit with which so much would fit."""
        return self._overhead + n_bytes

    def reserve(self, n_bytes: int, should_end: Callable[[], bool] = lambda: False) -> None:
        """Wait until so much is free, and take it; or until it is time to end."""
        with self._changed:
            while n_bytes > self._free and not should_end():
                self._changed.wait(0.1)
            self._free -= n_bytes

    def release(self, n_bytes: int) -> None:
        """Give it back."""
        with self._changed:
            self._free += n_bytes
            self._changed.notify_all()


class PhotoNeeds(NamedTuple):
    """Bytes of memory that a photo takes, the tiles not counted; None where it is not possible."""

    whole: int
    """With everything in memory."""
    on_disk: int | None
    """With all arrays of the photo's size on disk; it is decoded and encoded in memory."""
    in_strips: int | None
    """With all arrays on disk, and decoded and encoded row by row where the formats allow it."""


def photo_bytes(header: PhotoHeader, target_format: str, settings: RestoreSettings) -> PhotoNeeds:
    """What reading, restoring and writing a photo takes at most, the tiles not counted.

    The factors are bytes per pixel, measured and rounded up (``python -m benchmarks.memory``).

    Args:
        header: Header of the photo.
        target_format: Format of the result, as Pillow names it.
        settings: How it is restored: enlarged, blended, per region.
    """
    scale, regions = settings.scale, settings.regions
    pixels = header.width * header.height
    result_pixels = pixels * scale**2
    sample_bytes = 2 if header.is_deep else 1
    alpha = pixels * sample_bytes if header.channels in (2, 4) else 0
    decoding = pixels * (4 + _DECODING.get(header.file_format, 12))
    decoding += pixels * 4 if header.channels == 4 else 0
    decoding += pixels * 6 if header.is_progressive else 0
    if header.is_deep:
        decoding += pixels * 8 + header.file_bytes
    stored = header.channels * sample_bytes if target_format in ("PNG", "TIFF") else 0
    encoding = result_pixels * (4 + stored + _ENCODING.get(target_format, 0))
    working = 3 + 4 * scale**2 if scale > 1 else 10 if regions else 3
    working += 2 if settings.strength < 1.0 else 0
    colours, result = 12 * pixels, 12 * result_pixels
    whole = max(colours + decoding, 12 * pixels * working, result + encoding)
    # The sum: what a decoder has freed, the allocator may still hold when the encoder comes.
    on_disk, in_strips = alpha + decoding + encoding, alpha
    if header.in_strips:
        decoding = min(header.height, ROWS_KEPT) * header.width * header.channels * sample_bytes
        decoding += _STRIPS_BYTES
        decoding += header.file_bytes if header.file_format in ("JPEG", "MPO") else 0  # mapped
        decoding += pixels * 6 if header.is_progressive else 0
    if target_format in WRITABLE_IN_STRIPS:
        encoding = 0 if header.in_strips else _STRIPS_BYTES
    in_strips += decoding + encoding
    if scale > 1 or regions:
        return PhotoNeeds(alpha * scale**2 + whole, None, None)
    return PhotoNeeds(alpha + whole, on_disk, in_strips)
