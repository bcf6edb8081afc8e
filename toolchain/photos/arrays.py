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
from typing import Any, Final

import numpy as np
import numpy.typing as npt

SLACK_BYTES: Final = 48 << 20
"""Bytes of the arrays on disk that may be in memory before they are given back."""
_LOOK_SECONDS: Final = 0.005


class Arrays:
    """Makes arrays of the size of a photo, in memory, and says how to go through them."""

    def empty(
        self, height: int, width: int, channels: int = 3, dtype: npt.DTypeLike = np.float32
    ) -> npt.NDArray[Any]:
        """An array (height, width, channels) of any content."""
        return np.empty((height, width, channels), dtype)

    def give_back(self) -> None:
        """Take out of memory what is kept elsewhere; here, nothing is."""

    def bands(self, height: int, rows: int = 256) -> Iterator[slice]:
        """Go through an array of a height from the top, some rows at a time; give back the seen."""
        for top in range(0, height, rows):
            yield slice(top, min(top + rows, height))
            self.give_back()


IN_MEMORY: Final = Arrays()


class Scratch(Arrays):
    """Arrays in nameless files, which are in memory only where somebody is at work on them.

    Code that goes through an array in `bands` keeps little of it in memory. For all other code a
    thread watches how much is in memory and gives it back, late if the machine is busy. The file
    keeps all values: the arrays are used like any others, only slower. The files are gone when the
    program is, however it ends.

    Args:
        folder: Folder of the files, on a disk with room (not one that is itself memory).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._lock = threading.Lock()

    def empty(
        self, height: int, width: int, channels: int = 3, dtype: npt.DTypeLike = np.float32
    ) -> npt.NDArray[Any]:
        """An array (height, width, channels) of zeros, freed with its last user.

        Raises:
            OSError: The disk is full.
        """
        n_bytes = height * width * channels * np.dtype(dtype).itemsize
        with tempfile.TemporaryFile(dir=self._folder) as file:
            # Claimed now: a disk that fills up under a mapping would end the program.
            _allocate(file.fileno(), n_bytes)
            pages = mmap.mmap(file.fileno(), n_bytes)
        with self._lock:
            self._maps.add(pages)
        return np.frombuffer(pages, dtype).reshape(height, width, channels)

    def give_back(self) -> None:
        """Take all arrays out of memory; their values stay in the files."""
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
    """Bytes of resident pages that belong to files: libraries, and the arrays here."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return sys.maxsize  # not known: give back always
    return int(status.read_text().split()[2]) * mmap.PAGESIZE


def _allocate(descriptor: int, n_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, n_bytes)
    else:
        os.truncate(descriptor, n_bytes)
