"""Fetch a file over HTTP, so that it is complete and correct or not there at all; unpack it."""

import http.client
import importlib.util
import io
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final, TypeAlias

from restoration_toolchain.data.checksum import sha256_of
from restoration_toolchain.data.errors import ChecksumError, DownloadError, OfflineError, one_line

CHUNK_BYTES: Final = 1 << 20
TIMEOUT: Final = 30.0
"""Seconds without a byte after which a server counts as gone."""

ATTEMPTS: Final = 4
"""How often a transfer that breaks off is taken up again, the first time included."""

VALIDATION_EVERY: Final = 20
"""Photos of a table among which the first one is for validation."""

_TABLE: Final = ".parquet"
_ROWS_AT_ONCE: Final = 32
_SIGNATURES: Final = {".jpg": b"\xff\xd8\xff", ".png": b"\x89PNG\r\n\x1a\n", ".webp": b"RIFF"}
"""How the content of a photo begins, by the suffix of its file."""
_DAMAGED: Final = (zipfile.BadZipFile, tarfile.TarError, zlib.error)

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes so far and the bytes in total (None: the server does not say)."""


def no_progress(done: int, total: int | None) -> None:
    """Report to nobody."""


class _BrokenOffError(Exception):
    """A transfer ended early; what has arrived is kept and worth resuming."""


def fetch(
    url: str,
    sha256: str,
    destination: Path,
    *,
    size: int | None = None,
    progress: Progress = no_progress,
    offline: bool = False,
    pause: float = 1.0,
) -> None:
    """Download a file, unless it is there already.

    Data arrive in ``<destination>.part``, which a later call resumes; the file takes its name only
    when its checksum is right.

    Args:
        url: HTTP or HTTPS address.
        sha256: Checksum of the whole file, in hexadecimal.
        destination: Path of the file; missing folders are made.
        size: Bytes the file should have, where known.
        progress: Called after each chunk.
        offline: Never touch the network.
        pause: Seconds before the first retry; it doubles for each further one.

    Raises:
        DownloadError: Offline, the server cannot be reached or refuses, the transfer kept breaking
            off, or the disk does not take the file.
        ChecksumError: The content is not the one promised; the ``.part`` file is removed.
    """
    if destination.is_file():
        if sha256_of(destination) != sha256:
            raise ChecksumError(f"{destination} is damaged; delete it and try again")
        return
    if offline:
        raise OfflineError(
            f"{destination.name} is not in the cache and the network is off; save {url} as "
            f"{destination}"
        )
    part = destination.with_name(destination.name + ".part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        _transfer_all(url, part, size, progress, pause)
        if sha256_of(part) != sha256:
            part.unlink()
            raise ChecksumError(
                f"{url} is not the file expected (its checksum differs); try again, and if that "
                "does not help, the publisher has changed it"
            )
        os.replace(part, destination)
    except OSError as error:
        raise DownloadError(f"cannot write {destination}: {_reason(error)}") from error


def check_can_extract(archive: Path) -> None:
    """Make sure that the package is there which `extract` needs for an archive of this name.

    Raises:
        DownloadError: It is not installed; the message says how to install it.
    """
    if archive.suffix.lower() == _TABLE and importlib.util.find_spec("pyarrow") is None:
        raise DownloadError(
            "pyarrow, which reads the table that the photos are in, is missing: "
            "pip install 'restoration-toolchain[parquet]'"
        )


def extract(archive: Path, destination: Path) -> None:
    """Unpack the regular files of a .zip, .tgz or .tar.gz into a new folder, all of them or none.

    Links and devices inside the archive are left out. Of a .parquet table, as sets of photos have
    them on the Hugging Face Hub, the column ``image`` is unpacked: one file for each row with a
    photo, in the folder ``train``, and of every `VALIDATION_EVERY` rows the first one in ``val``.

    Args:
        archive: The file to unpack.
        destination: Folder to make; it must not exist.

    Raises:
        DownloadError: The archive is damaged, of another kind, or holds a path that leads out of
            the folder; or the folder cannot be written.
    """
    part = destination.with_name(destination.name + ".part")
    try:
        if part.exists():
            shutil.rmtree(part)
        part.mkdir(parents=True)
        for name, content in _members(archive):
            with content:
                _write_member(archive, part, name, content)
        os.replace(part, destination)
    except (OSError, EOFError, ValueError, *_DAMAGED) as error:
        raise DownloadError(f"cannot unpack {archive}: {_reason(error)}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _rows(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield (path, content) of each photo in a table."""
    import pyarrow.parquet

    number = 0
    with pyarrow.parquet.ParquetFile(archive) as table:
        if "image" not in table.schema_arrow.names:
            raise ValueError("it has no column of images")
        for rows in table.iter_batches(_ROWS_AT_ONCE, columns=["image"]):
            for image in rows.column("image").to_pylist():
                content = (image or {}).get("bytes") or b""
                folder = "train" if number % VALIDATION_EVERY else "val"
                for suffix, start in _SIGNATURES.items():
                    if content.startswith(start):
                        yield f"{folder}/{number:05d}{suffix}", io.BytesIO(content)
                number += 1


def _transfer_all(url: str, part: Path, size: int | None, progress: Progress, pause: float) -> None:
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _transfer(url, part, size, progress)
            return
        except _BrokenOffError as error:
            reason = str(error)
    raise DownloadError(
        f"the download of {url} keeps breaking off ({reason}); run the command again, it goes on "
        "from where it stopped"
    )


def _transfer(url: str, part: Path, size: int | None, progress: Progress) -> None:
    """Bring ``part`` to its full length with one request."""
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have >= size:
        return  # complete, or hopeless; the checksum tells which
    with _open(url, have, part) as response:
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        done = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = size if length is None else done + int(length)
        if size is not None and total != size:
            raise ChecksumError(
                f"{url} has {total} bytes instead of {size}: the publisher has changed it"
            )
        with part.open("ab" if resumed else "wb") as file:
            while chunk := _read(response):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
    if total is not None and done < total:
        raise _BrokenOffError(f"{done} of {total} bytes")


def _open(url: str, have: int, part: Path) -> http.client.HTTPResponse:
    request = urllib.request.Request(url)
    request.add_header("User-Agent", "restoration-toolchain")  # some servers refuse urllib's own
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
            raise _BrokenOffError("the server's file is shorter than what was here") from error
        answer = f"the server answers {error.code} {error.reason}"
        if error.code >= 500:
            raise _BrokenOffError(answer) from error
        raise DownloadError(f"{answer} for {url}") from error
    except (OSError, http.client.HTTPException) as error:
        host = urllib.parse.urlsplit(url).netloc
        raise DownloadError(
            f"cannot reach {host} ({_reason(error)}); check the network and try again"
        ) from error
    return response


def _read(response: http.client.HTTPResponse) -> bytes:
    # Apart from the writing, so that a full disk is not taken for a broken connection.
    try:
        return response.read(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(_reason(error)) from error


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield (path inside the archive, content) of each regular file."""
    if archive.suffix.lower() == _TABLE:
        yield from _rows(archive)
    elif archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if not info.is_dir():
                    yield info.filename, packed.open(info)
    elif archive.name.lower().endswith((".tgz", ".tar.gz")):
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member.name, content
    else:
        raise DownloadError(f"{archive} is neither a .zip, a .tgz nor a .parquet file")


def _write_member(archive: Path, folder: Path, name: str, content: IO[bytes]) -> None:
    root = folder.resolve()
    target = (root / name).resolve()
    if "\\" in name or not target.is_relative_to(root) or target == root:
        raise DownloadError(f"{archive} was not unpacked: {name!r} leads out of its folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file, CHUNK_BYTES)


def _reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    inner = getattr(error, "reason", None)  # urllib wraps the error of the socket
    return one_line(inner if isinstance(inner, BaseException) else error)
