"""Write a file completely or not at all."""

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``: afterwards the file is either complete or as it was before.

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
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
