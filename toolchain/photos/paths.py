"""Which photos the user means, and where each result goes."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from restoration_toolchain.toolchain.errors import PhotoError

WRITABLE_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}
"""Format, as Pillow names it, by suffix."""

READABLE_SUFFIXES = (*WRITABLE_FORMATS, ".gif")
"""A result is never a GIF, which has 256 colours: it becomes a PNG."""


@dataclass(frozen=True, slots=True)
class PhotoJob:
    """A photo to read, and the name of its result below the output folder."""

    source: Path
    relative: Path
    in_folder: bool = False
    """Whether it was found in a folder, rather than named by the user."""


def find_photos(inputs: Sequence[Path], *, exclude: Path | None = None) -> list[PhotoJob]:
    """List the photos among ``inputs``, which are files and folders.

    Folders are searched in sorted order for files with the suffix of a photo. Hidden ones are
    ignored, and so are links to folders, which may lead in circles.

    Args:
        inputs: Files and folders. A file named twice counts once.
        exclude: A folder inside an input folder that is not searched: that of the results.

    Raises:
        PhotoError: An input is missing or cannot be listed, a folder has no photos, a file has
            another suffix, or two photos would have results of the same name.
    """
    jobs: dict[Path, PhotoJob] = {}
    for path in inputs:
        for job in _jobs_of(Path(path), exclude):
            other = jobs.setdefault(job.relative, job)
            if _real(other.source) != _real(job.source):
                raise PhotoError(
                    f"{other.source} and {job.source} would both be written to {job.relative}; "
                    f"give them separately"
                )
    return list(jobs.values())


def list_photos(inputs: Sequence[Path]) -> list[PhotoJob]:
    """List the photos among ``inputs`` for reading only: two results may have one name.

    Raises:
        PhotoError: An input is missing or cannot be listed, a folder has no photos, or a file has
            another suffix.
    """
    jobs = (job for path in inputs for job in _jobs_of(Path(path)))
    return list({_real(job.source): job for job in jobs}.values())


def output_path(job: PhotoJob, output: Path, *, n_inputs: int) -> Path:
    """Name the file that the result of ``job`` goes to.

    With a single input file, an ``output`` with the suffix of an image is the file to write;
    otherwise ``output`` is a folder.

    Args:
        job: A photo that `find_photos` found.
        output: File or folder that the user named; it may not exist yet.
        n_inputs: Number of photos in all.

    Raises:
        PhotoError: ``output`` names a file where a folder is needed, or a GIF.
    """
    if not output.is_dir():
        names_image = output.suffix.lower() in READABLE_SUFFIXES
        if names_image and (n_inputs > 1 or job.in_folder):
            raise PhotoError(f"{output}: names one file; give a folder for the results")
        if names_image:
            return output
        if output.exists():
            raise PhotoError(f"{output}: is a file, not a folder for the results")
    return output / job.relative


def _jobs_of(path: Path, exclude: Path | None = None) -> Iterator[PhotoJob]:
    try:
        if path.is_dir():
            sources = list(_photos_in(path, exclude))
            if not sources:
                raise PhotoError(f"{path}: no photos in this folder")
            for source in sources:
                yield PhotoJob(source, _result_name(source.relative_to(path)), in_folder=True)
            return
        if not path.exists():
            raise PhotoError(f"{path}: no such file or folder")
    except OSError as error:
        raise PhotoError(f"{path}: cannot be read ({error.strerror})") from error
    if not _is_photo(path.name):
        known = " ".join(READABLE_SUFFIXES)
        raise PhotoError(f"{path}: unsupported file type; photos end in {known}")
    yield PhotoJob(path, _result_name(Path(path.name)))


def _photos_in(folder: Path, exclude: Path | None) -> Iterator[Path]:
    excluded = None if exclude is None else _real(exclude)
    for root, folders, files in os.walk(folder, onerror=_raise, followlinks=False):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and _real(Path(root, name)) != excluded
        )
        for name in sorted(files):
            if not name.startswith(".") and _is_photo(name):
                yield Path(root, name)


def _raise(error: OSError) -> NoReturn:
    raise PhotoError(f"{error.filename}: cannot be listed ({error.strerror})") from error


def _real(path: Path) -> str:
    # `Path.resolve` raises where links lead in a circle.
    return os.path.realpath(path)


def _is_photo(name: str) -> bool:
    return Path(name).suffix.lower() in READABLE_SUFFIXES


def _result_name(relative: Path) -> Path:
    is_writable = relative.suffix.lower() in WRITABLE_FORMATS
    return relative if is_writable else relative.with_suffix(".png")
