"""Restore many photos, one after the other; what fails is reported and the rest goes on."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.atomic import write_atomically
from data.errors import ToolchainError
from data.images import FloatImage
from toolchain.errors import PhotoError
from toolchain.photo import (
    Photo,
    PhotoJob,
    check_target,
    find_photos,
    output_path,
    read_photo,
    write_photo,
)
from toolchain.restoration import Restoration, Step
from toolchain.restorer import Restorer


@dataclass(frozen=True, slots=True)
class PlannedPhoto:
    """A photo to restore and the file its result goes to."""

    source: Path
    target: Path
    relative: Path
    """Name of the photo below the folder of results."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one photo.

    Attributes:
        photo: Which one.
        trace: See `Restoration.trace`, with the files and notes; of a failure, files and error.
        sequence: The tools that ran.
        enlarged_by: See `Restoration.enlarged_by`.
        notes: What reading or writing had to change or leave out.
        error: Why it failed; None if it did not.
    """

    photo: PlannedPhoto
    trace: dict[str, Any]
    sequence: tuple[str, ...] = ()
    enlarged_by: str | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None


def plan_batch(
    inputs: Sequence[Path], output: Path, *, steps_folder: Path | None = None
) -> list[PlannedPhoto]:
    """Find the photos and decide where each result goes, before any work is done.

    Results of an earlier run that lie inside an input folder are not taken for photos to restore.

    Args:
        inputs: Files and folders.
        output: A folder, or a file where there is one photo.
        steps_folder: Where intermediate images will go.

    Raises:
        PhotoError: An input is missing or holds no photos, two results would have one name, or
            a result cannot be written where it should go.
    """
    jobs = find_photos(inputs, exclude=output)
    if steps_folder is not None:
        jobs = [job for job in jobs if not _is_below(job, steps_folder)]
        check_writable(steps_folder)
    plan = [
        PlannedPhoto(job.source, output_path(job, output, n_inputs=len(jobs)), job.relative)
        for job in jobs
    ]
    check_writable(output)
    return plan


def check_writable(path: Path) -> None:
    """Make sure that a file or folder can be made at ``path``; nothing is made yet.

    Raises:
        PhotoError: The folder that it would lie in is a file, or not writable.
    """
    place = path.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if place == path.absolute() and not place.is_dir():
        place = place.parent
    if not place.is_dir():
        raise PhotoError(f"cannot write {path}: {place} is not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise PhotoError(f"cannot write {path}: no permission to write into {place}")


def restore_batch(
    restorer: Restorer,
    plan: Sequence[PlannedPhoto],
    *,
    overwrite: bool = False,
    steps_folder: Path | None = None,
) -> Iterator[Outcome]:
    """Restore each photo and write its result; photos are held in memory one at a time.

    Args:
        restorer: What restores.
        plan: From `plan_batch`.
        overwrite: Whether results may replace files; photos of the plan are never replaced.
        steps_folder: Where to put, in a folder per photo, its input and the image after each tool.

    Yields:
        What became of each photo, in the order of the plan.
    """
    sources = {photo.source.resolve() for photo in plan}
    for planned in plan:
        try:
            if planned.target.resolve() in sources:
                raise PhotoError(f"{planned.target}: is an input photo; choose another output")
            yield _restore_one(restorer, planned, overwrite, steps_folder)
        except ToolchainError as error:
            yield _failure(planned, str(error))
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            why = "not enough memory; scale it down or allow fewer pixels per tile"
            yield _failure(planned, f"{planned.source}: {why}")


def _restore_one(
    restorer: Restorer, planned: PlannedPhoto, overwrite: bool, steps_folder: Path | None
) -> Outcome:
    check_target(planned.target, planned.source, overwrite=overwrite)
    frames = None
    if steps_folder is not None:
        frames = _FrameWriter(steps_folder / planned.relative, overwrite=overwrite)
    photo = read_photo(planned.source, scale=restorer.scale)
    if frames is not None:
        frames.begin(photo)
    restoration = restorer.restore(photo.rgb, on_step=frames)
    restored = photo.with_rgb(restoration.image)
    about = (f"{planned.source}: {note}" for note in restoration.notes)
    written = write_photo(planned.target, restored, overwrite=overwrite)
    notes = (*photo.notes, *about, *written)
    return _success(planned, restoration, notes)


def check_trace_target(path: Path, *, overwrite: bool = False) -> None:
    """Make sure that traces may be written to ``path``, before any work is done for them.

    Raises:
        PhotoError: It is no .json file, exists, or its folder is not writable.
    """
    if path.suffix.lower() != ".json":
        raise PhotoError(f"{path}: the trace is JSON; give it a name that ends in .json")
    if path.is_dir():
        raise PhotoError(f"{path}: is a folder, not a file name")
    if not overwrite and os.path.lexists(path):
        raise PhotoError(f"{path}: exists already; pass --overwrite to replace it")
    check_writable(path)


def write_traces(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the traces of all outcomes as one JSON list, completely or not at all.

    Raises:
        OSError: The disk is full, the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps([outcome.trace for outcome in outcomes], indent=2) + "\n"
    write_atomically(path, content.encode())


class _FrameWriter:
    """Writes the image after every tool as soon as it is there, so that none is kept in memory."""

    def __init__(self, folder: Path, *, overwrite: bool) -> None:
        if not overwrite and os.path.lexists(folder):
            raise PhotoError(f"{folder}: exists already; pass --overwrite to write into it")
        self._folder, self._overwrite = folder, overwrite
        self._photo: Photo | None = None
        self._n_written = 0

    def begin(self, photo: Photo) -> None:
        """Write the input."""
        self._photo = photo
        self._write("input", photo.rgb)

    def __call__(self, step: Step, image: FloatImage) -> None:
        """Write the image after a step."""
        if not step.is_stop:
            self._write(step.tool, image)

    def _write(self, name: str, image: FloatImage) -> None:
        assert self._photo is not None
        path = self._folder / f"{self._n_written:02d}_{name}.png"
        write_photo(path, self._photo.with_rgb(image), overwrite=self._overwrite)
        self._n_written += 1


def _success(planned: PlannedPhoto, restoration: Restoration, notes: tuple[str, ...]) -> Outcome:
    trace = {**_files(planned), "notes": list(notes), **restoration.trace()}
    return Outcome(planned, trace, restoration.sequence, restoration.enlarged_by, notes)


def _failure(planned: PlannedPhoto, error: str) -> Outcome:
    return Outcome(planned, trace={**_files(planned), "error": error}, error=error)


def _files(planned: PlannedPhoto) -> dict[str, str]:
    return {"input": str(planned.source), "output": str(planned.target)}


def _is_below(job: PhotoJob, folder: Path) -> bool:
    return job.in_folder and folder.resolve() in job.source.resolve().parents


def _is_out_of_memory(error: BaseException) -> bool:
    # PyTorch reports a failed allocation on the CPU as a plain RuntimeError.
    return isinstance(error, MemoryError) or "memory" in str(error).lower()
