"""A limit on memory: what a photo takes, and arrays on disk for those that would take too much."""

import contextlib
import mmap
import os
import re
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from data.errors import ToolchainError
from data.images import FloatImage

TILE_PIXEL_BYTES: Final = 700
"""What a tool holds per pixel of a tile: at most 640 of those that were measured (`classic`)."""

_LOADING_BYTES: Final = 160 << 20
"""Weights, thread stacks, and what the libraries keep for themselves once they have run."""
_SLACK_BYTES: Final = 48 << 20
"""How much of the arrays on disk may be in memory before it is given back."""
_LOOK_SECONDS: Final = 0.005
_UNITS: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

Empty = Callable[[int, int], FloatImage]
"""Makes an array (height, width, 3), float32, of any content."""


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
        limit: Of the process, in bytes.
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
        limit: Of the process, in bytes; what it takes now and what a tile will take is set aside.
        max_tile_pixels: Of the restorer.
    """

    def __init__(self, limit: int, max_tile_pixels: int) -> None:
        self.limit = limit
        self._overhead = resident_bytes() + max_tile_pixels * TILE_PIXEL_BYTES + _SLACK_BYTES
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


def in_memory(height: int, width: int) -> FloatImage:
    """An ordinary array (height, width, 3), float32."""
    return np.empty((height, width, 3), np.float32)


class Scratch:
    """Arrays in nameless files, which are in memory only where somebody is at work on them.

    A thread watches how much of them is, and gives it back: the file keeps it. So they can be used
    like any other array, only slower. A nameless file is gone when the program is, however it ends.

    Args:
        folder: Where; on a disk with room, and not one that itself is memory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._lock = threading.Lock()

    def empty(self, height: int, width: int) -> FloatImage:
        """An array (height, width, 3), float32, zero; freed with its last user.

        Raises:
            OSError: The disk is full.
        """
        n_bytes = height * width * 12
        with tempfile.TemporaryFile(dir=self._folder) as file:
            # Claimed now: a disk that fills up under a mapping would end the program.
            _allocate(file.fileno(), n_bytes)
            pages = mmap.mmap(file.fileno(), n_bytes)
        with self._lock:
            self._maps.add(pages)
        return np.frombuffer(pages, np.float32).reshape(height, width, 3)

    def give_back(self) -> None:
        """Take all of the arrays out of memory; not a value changes."""
        with self._lock:
            maps = list(self._maps)
        for pages in maps:
            with contextlib.suppress(ValueError):  # closed in between
                pages.madvise(mmap.MADV_DONTNEED)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Keep little of the arrays in memory while the block runs."""
        ends = threading.Event()
        usual = _shared_bytes()

        def watch() -> None:
            while not ends.is_set():
                if _shared_bytes() > usual + _SLACK_BYTES:
                    self.give_back()
                time.sleep(_LOOK_SECONDS)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ends.set()
            thread.join()


def _shared_bytes() -> int:
    """Resident pages that belong to files: of libraries, and of the arrays here."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return sys.maxsize  # not known: give back always
    return int(status.read_text().split()[2]) * mmap.PAGESIZE


def _allocate(descriptor: int, n_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, n_bytes)
    else:
        os.truncate(descriptor, n_bytes)
