"""Arrays on disk, for photos that would take too much memory."""

import contextlib
import mmap
import os
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.images import FloatImage

SLACK_BYTES: Final = 48 << 20
"""How much of the arrays on disk may be in memory before it is given back."""
_LOOK_SECONDS: Final = 0.005


class Arrays:
    """Makes arrays of the size of a photo, in memory, and says how to go through them."""

    def empty(self, height: int, width: int) -> FloatImage:
        """An array (height, width, 3), float32, of any content."""
        return np.empty((height, width, 3), np.float32)

    def give_back(self) -> None:
        """Take out of memory what is kept elsewhere: nothing, here."""

    def bands(self, height: int, rows: int = 256) -> Iterator[slice]:
        """Go through an array from the top, some rows at a time, and give back what was seen.

        Args:
            height: Of the array.
            rows: In a band.
        """
        for top in range(0, height, rows):
            yield slice(top, min(top + rows, height))
            self.give_back()


IN_MEMORY: Final = Arrays()


class Scratch(Arrays):
    """Arrays in nameless files, which are in memory only where somebody is at work on them.

    Who goes through one in `bands` keeps little of it in memory. For all others a thread watches
    how much of them is, and gives it back; it may come late on a machine that is busy. Either way
    the file keeps all values, so that they can be used like any other array, only slower. Such a
    file is gone when the program is, however it ends.

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
        pages = self._pages(height * width * 12)
        return np.frombuffer(pages, np.float32).reshape(height, width, 3)

    def empty_samples(self, height: int, width: int, channels: int) -> npt.NDArray[np.uint8]:
        """An array (height, width, channels), uint8, zero; freed with its last user.

        Raises:
            OSError: The disk is full.
        """
        pages = self._pages(height * width * channels)
        return np.frombuffer(pages, np.uint8).reshape(height, width, channels)

    def _pages(self, n_bytes: int) -> mmap.mmap:
        with tempfile.TemporaryFile(dir=self._folder) as file:
            # Claimed now: a disk that fills up under a mapping would end the program.
            _allocate(file.fileno(), n_bytes)
            pages = mmap.mmap(file.fileno(), n_bytes)
        with self._lock:
            self._maps.add(pages)
        return pages

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
                if _shared_bytes() > usual + SLACK_BYTES:
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
