"""Write a file, or a folder, completely or not at all."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Put ``content`` at ``path``, as `file_written_atomically` does."""
    with file_written_atomically(path) as file:
        file.write(content)


@contextlib.contextmanager
def file_written_atomically(path: Path) -> Iterator[BinaryIO]:
    """Fill a file that takes its name when it is complete; until then, ``path`` is as it was.

    The bytes go to a hidden temporary file in the same folder (a rename is atomic only within one
    file system), reach the disk, and take the name in one step. Whatever goes wrong, Ctrl-C
    included, the temporary file is removed.

    Raises:
        OSError: The folder is missing or not writable, the disk is full, ``path`` is a folder.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    # Unlike tempfile.mkstemp, this gives the file the permissions that the user's umask asks for.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def folder_written_atomically(folder: Path) -> Iterator[Path]:
    """Fill a folder that takes its name only when it is complete, in place of one that has it.

    Yields:
        A hidden folder beside it to write into; parents are made if missing. If that fails, it is
        removed, and what was at ``folder`` is still there.
    """
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(8)
    part, old = (folder.with_name(f".{token}.{kind}") for kind in ("tmp", "old"))
    try:
        yield part
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
