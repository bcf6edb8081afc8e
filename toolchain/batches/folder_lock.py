"""One run at a time writes into a folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from restoration_toolchain.toolchain.errors import PhotoError, one_line

try:
    import fcntl
except ImportError:  # Windows: what is written is complete or not there, but nobody is refused
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder of results; nothing is left behind, a crash included.

    The folder itself is locked, without a file in it. It is made if missing, and removed in the end
    if it was made and is empty. On a file system without locks nothing is locked.

    Raises:
        PhotoError: Another run has it, or it cannot be made.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PhotoError(f"cannot write {folder}: {one_line(error)}") from error
    try:
        with _locked(folder):
            yield
    finally:
        with contextlib.suppress(OSError):  # not empty
            for place in missing:
                place.rmdir()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PhotoError(
                f"{folder}: another run writes into this folder; wait for it, or choose another"
            ) from error
        except OSError:  # some network file systems lock no folders
            pass
        yield
    finally:
        os.close(descriptor)
