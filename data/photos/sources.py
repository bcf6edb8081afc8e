"""Clean-image sources: a folder of photos, the photos embedded in scikit-image, a public set."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import skimage

from restoration_toolchain.data.errors import SourceError, UnknownNameError
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.photos.download import Progress, no_progress
from restoration_toolchain.data.photos.files import find_photo_files, read_rgb
from restoration_toolchain.data.photos.public_sets import PUBLIC_SETS, fetch_public_set

EMBEDDED: Final = "embedded"
"""Name of the default source, which needs no network."""

EMBEDDED_PHOTOS: Final = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
"""The natural colour photos inside scikit-image's wheel; its other images are gray, drawn, seen
through a microscope or telescope, or fetched on demand."""


class SkippedFile(NamedTuple):
    """A file that looked like a photo and could not be read, or a folder that may not be listed."""

    path: Path
    reason: str


class CleanSource:
    """Clean photos in files, one at a time and in the same order each time.

    Args:
        files: Identifier and file of each photo.
        place: Name of the place they are in, for messages.
        unlisted: Folders that could not be listed.

    Attributes:
        skipped: Files that the latest pass could not read; complete when the pass has ended.
    """

    def __init__(
        self, files: Sequence[tuple[str, Path]], place: str, unlisted: Sequence[SkippedFile] = ()
    ) -> None:
        self._files, self._place, self._unlisted = files, place, unlisted
        self.skipped = [*unlisted]

    def __len__(self) -> int:
        """Number of files a pass will try: the photos it yields plus the ones it skips."""
        return len(self._files)

    def __iter__(self) -> Iterator[tuple[str, ByteImage]]:
        """Yield (identifier, RGB uint8 photo of shape (H, W, 3)).

        Raises:
            SourceError: The pass has ended and not one photo could be read.
        """
        self.skipped[:] = self._unlisted
        any_read = False
        for name, path in self._files:
            try:
                photo = read_rgb(path)
            except SourceError as error:
                self.skipped.append(SkippedFile(path, str(error)))
                continue
            any_read = True
            yield name, photo
        if not any_read:
            first = f"{self.skipped[0].path.name}: {self.skipped[0].reason}"
            raise SourceError(f"none of the photos in {self._place} can be read ({first})")


def open_source(
    name_or_path: str | Path,
    *,
    cache_dir: Path | None = None,
    offline: bool = False,
    progress: Progress = no_progress,
) -> CleanSource:
    """Open a source of clean photos; a public set is downloaded and unpacked when it is not there.

    Args:
        name_or_path: ``embedded``, the name of a public set, or a folder, which is searched
            recursively. A name wins over a folder of the same name, which ``./name`` reaches.
        cache_dir: Folder of public sets; None is the user's cache folder.
        offline: Never touch the network; a set that is not in the cache is then an error.
        progress: Called during a download with the bytes so far and in total (None: unknown).

    Raises:
        UnknownNameError: Neither a known name nor a folder.
        SourceError: The folder is missing or has no photo files.
        DownloadError: The set could not be fetched or unpacked.
        ChecksumError: The file that was fetched is another one.
    """
    if name_or_path == EMBEDDED:
        # The installed files: skimage's fetcher would ask the network for others.
        folder = Path(skimage.__file__).parent / "data"
        named = [(Path(name).stem, folder / name) for name in EMBEDDED_PHOTOS]
        return CleanSource(named, "the installed scikit-image")
    if isinstance(name_or_path, str) and name_or_path in PUBLIC_SETS:
        return _open_folder(
            fetch_public_set(name_or_path, cache_dir=cache_dir, offline=offline, progress=progress)
        )
    path = Path(name_or_path).expanduser()
    if isinstance(name_or_path, str) and not path.exists() and not _looks_like_path(name_or_path):
        raise UnknownNameError("source", name_or_path, (EMBEDDED, *PUBLIC_SETS))
    return _open_folder(path)


def name_of(source: str | Path) -> str:
    """What a source is called elsewhere, where a path of this machine means nothing."""
    known = source == EMBEDDED or str(source) in PUBLIC_SETS
    return str(source) if known else Path(source).expanduser().resolve().name


def _looks_like_path(text: str) -> bool:
    return text.startswith((".", "~")) or os.sep in text or "/" in text


def _open_folder(path: Path) -> CleanSource:
    """The photos below a folder, each identified by its path relative to the folder."""
    if not path.exists():
        raise SourceError(f"no folder {path}; give a folder of photos")
    if not path.is_dir():
        raise SourceError(f"{path} is a file; give the folder it is in")
    unlisted: list[SkippedFile] = []
    files = [*find_photo_files(path, lambda file, why: unlisted.append(SkippedFile(file, why)))]
    if not files:
        raise SourceError(f"no photos in {path}; it needs PNG, JPEG, WebP, BMP or TIFF files")
    named = [(file.relative_to(path).as_posix(), file) for file in files]
    return CleanSource(named, str(path), unlisted)


def read_photos(sources: Iterable[str | Path]) -> list[ByteImage]:
    """All photos of some sources, RGB uint8 (H, W, 3); sources and errors as for `open_source`."""
    return [photo for source in sources for _, photo in open_source(source)]
