"""Restore many photos; what fails is reported and the rest goes on."""

import contextlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import FloatImage
from restoration_toolchain.toolchain.batches import sidecar
from restoration_toolchain.toolchain.batches.memory import MemoryBudget, photo_bytes, readable_size
from restoration_toolchain.toolchain.batches.pipeline import Pipeline
from restoration_toolchain.toolchain.errors import PhotoError, one_line
from restoration_toolchain.toolchain.photos import strips as photo_strips
from restoration_toolchain.toolchain.photos.arrays import IN_MEMORY, Arrays, Scratch
from restoration_toolchain.toolchain.photos.paths import (
    WRITABLE_FORMATS,
    PhotoJob,
    find_photos,
    output_path,
)
from restoration_toolchain.toolchain.photos.read import Photo, read_header, read_photo
from restoration_toolchain.toolchain.photos.write import check_target, pixels_sha256, write_photo
from restoration_toolchain.toolchain.restoring.restoration import Provenance, Restoration, Step
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings


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
        error: Why it failed; None if it did not.
        cause: The error that was raised then.
        is_skipped: Nothing was done: its result was there.
    """

    photo: PlannedPhoto
    trace: dict[str, Any]
    error: str | None = None
    cause: Exception | None = None
    is_skipped: bool = False


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
    sidecars: bool = False,
    resume: bool = False,
    stop: threading.Event | None = None,
    max_memory: int | None = None,
) -> Iterator[Outcome]:
    """Restore each photo and write its result.

    While one photo is restored the next one is read and the one before is written; no more than
    these three are in memory.

    Args:
        restorer: What restores.
        plan: From `plan_batch`.
        overwrite: Whether results may replace files; photos of the plan are never replaced.
        steps_folder: Where to put, in a folder per photo, its input and the image after each tool.
        sidecars: Whether to write a sidecar beside each result (`toolchain.batches.sidecar`).
        resume: Whether to skip photos whose results are there. With a sidecar a result counts if
            it was made from this very file, by these tools and with these options; without one, if
            it is newer than the photo.
        stop: When it is set, the photos in work are finished and no others are begun.
        max_memory: Most memory of the process, in bytes. Photos wait until there is room for them,
            those that are too large for it are kept on disk while they are restored, beside their
            results; if that is not enough, they are also read and written row by row (extra
            ``huge``), and those that are still too large fail.

    Yields:
        What became of each photo, in the order of the plan.
    """
    stop = stop or threading.Event()
    memory = None
    if max_memory is not None:
        scratch = Scratch(_existing(plan[0].target.parent))
        memory = _Memory(MemoryBudget(max_memory, restorer.working_pixels), scratch, stop)
    sources = {os.path.realpath(planned.source) for planned in plan}
    batch = _Batch(restorer, sources, overwrite, steps_folder, sidecars, resume, memory)
    pipeline = Pipeline(
        load=batch.load, work=batch.restore, save=batch.save, recover=_unsuccessful, stop=stop
    )
    with contextlib.nullcontext() if memory is None else memory.scratch.watched():
        for outcome in pipeline.run(plan):
            if memory is not None:
                memory.release(outcome.photo)
            yield outcome


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where the arrays of a photo lie."""

    arrays: Arrays = IN_MEMORY
    in_strips: bool = False
    """Whether the photo is also decoded and encoded row by row."""


class _Memory:
    """Decides where the arrays of each photo lie, and when there is room for them."""

    def __init__(self, budget: MemoryBudget, scratch: Scratch, stop: threading.Event) -> None:
        self.scratch = scratch
        self._budget, self._stop = budget, stop
        self._reserved: dict[PlannedPhoto, int] = {}

    def take(self, planned: PlannedPhoto, settings: RestoreSettings) -> _Place:
        """Wait for room for a photo; how to handle it."""
        header = read_header(planned.source)
        if header is None:
            return _Place()
        target_format = WRITABLE_FORMATS[planned.target.suffix.lower()]
        needs = photo_bytes(header, target_format, settings)
        choices = [(needs.whole, _Place())]
        if needs.on_disk is not None:
            choices.append((needs.on_disk, _Place(self.scratch)))
        hint, least = "", choices[-1][0]
        if not self._fitting(choices) and needs.in_strips is not None and needs.in_strips < least:
            if photo_strips.is_installed():
                least = needs.in_strips
                choices.append((least, _Place(self.scratch, in_strips=True)))
            else:
                hint = f" (less with: pip install '{photo_strips.EXTRA}')"
        fitting = self._fitting(choices)
        if not fitting:
            raise PhotoError(
                f"{planned.source}: {header.width} x {header.height} pixels do not fit into "
                f"--max-memory {readable_size(self._budget.limit)}; this one takes "
                f"{readable_size(self._budget.needed_limit(least))}{hint}"
            )
        needed, place = fitting[0]
        self._reserved[planned] = needed
        self._budget.reserve(needed, self._stop.is_set)
        return place

    def _fitting(self, choices: list[tuple[int, _Place]]) -> list[tuple[int, _Place]]:
        return [choice for choice in choices if self._budget.fits(choice[0])]

    def release(self, planned: PlannedPhoto) -> None:
        """Give its room to others."""
        self._budget.release(self._reserved.pop(planned, 0))


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """A photo on its way: read, and later restored."""

    planned: PlannedPhoto
    photo: Photo
    checksum: str
    frames: Path | None = None
    restoration: Restoration | None = None


class _DoneBeforeError(Exception):
    """Ends the work on a photo whose result is there."""


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """The three stages of a photo."""

    restorer: Restorer
    sources: set[str]
    overwrite: bool
    steps_folder: Path | None
    sidecars: bool
    resume: bool
    memory: _Memory | None

    def load(self, planned: PlannedPhoto) -> _Work:
        """Read a photo, unless it needs no work or may not be written."""
        source, target = planned.source, planned.target
        if os.path.realpath(target) in self.sources:
            raise PhotoError(f"{target}: is an input photo; choose another output")
        if self.resume and os.path.lexists(target):
            self._check_result(planned)
        check_target(target, source, overwrite=self.overwrite)
        if self.sidecars:
            _check_sidecar_target(target, overwrite=self.overwrite)
        frames = None if self.steps_folder is None else self.steps_folder / planned.relative
        if frames is not None and not self.overwrite and os.path.lexists(frames):
            raise PhotoError(f"{frames}: exists already; pass --overwrite to write into it")
        place = _Place()
        if self.memory is not None:
            place = self.memory.take(planned, self.restorer.provenance.settings)
        before = _state(source)
        scale, arrays = self.restorer.scale, place.arrays
        photo = read_photo(source, scale=scale, arrays=arrays, in_strips=place.in_strips)
        checksum = sidecar.input_checksum(source) if self.sidecars else ""
        if _state(source) != before:
            raise PhotoError(f"{source}: was changed while it was read; restore it again")
        return _Work(planned, photo, checksum, frames)

    def restore(self, loaded: _Work) -> _Work:
        """Run the tools."""
        photo, frames = loaded.photo, None
        if loaded.frames is not None:
            frames = _FrameWriter(loaded.frames, photo, overwrite=self.overwrite)
        restoration = self.restorer.restore(photo.rgb, on_step=frames, arrays=photo.arrays)
        photo = photo.with_rgb(restoration.image)
        return _Work(loaded.planned, photo, loaded.checksum, restoration=restoration)

    def save(self, restored: _Work) -> Outcome:
        """Write the result and then its sidecar, so that none ever speaks of an older result."""
        planned, restoration = restored.planned, restored.restoration
        assert restoration is not None
        written = write_photo(planned.target, restored.photo, overwrite=self.overwrite)
        if self.sidecars:
            facts = sidecar.Sidecar(
                source=planned.source.absolute(),
                input_sha256=restored.checksum,
                target=planned.target.absolute(),
                pixels_sha256=pixels_sha256(restored.photo, planned.target),
                entry=restoration.trace(),
                runtime=sidecar.runtime(),
            )
            sidecar.write_sidecar(facts)
        about = (f"{planned.source}: {note}" for note in restoration.notes)
        notes = [*restored.photo.notes, *about, *written]
        trace = {**_files(planned), "notes": notes, **restoration.trace()}
        return Outcome(planned, trace)

    def _check_result(self, planned: PlannedPhoto) -> None:
        """Say whether a result that is there is the one that would be made."""
        stale = _staleness(planned, self.restorer.provenance, wants_sidecar=self.sidecars)
        if stale is None:
            raise _DoneBeforeError
        if not self.overwrite:
            raise PhotoError(f"{planned.target}: {stale}; pass --overwrite as well to replace it")


def _staleness(planned: PlannedPhoto, now: Provenance, *, wants_sidecar: bool) -> str | None:
    """Why a result is not the one that would be made; None if it is."""
    path = sidecar.sidecar_path(planned.target)
    if path.exists():
        try:
            made = sidecar.read_sidecar(path)
        except sidecar.SidecarError as error:
            return str(error)
        if sidecar.input_checksum(planned.source) != made.input_sha256:
            return "was made before its photo changed"
        if made.changed_weights(now):
            return "was made with other weights"
        options = made.changed_options(now)
        return f"was made with another {options[0]}" if options else None
    if wants_sidecar:
        return "has no sidecar"
    try:
        photo, result = planned.source.stat(), planned.target.stat()
    except OSError as error:
        raise PhotoError(f"{planned.source}: cannot be read ({one_line(error)})") from error
    # A copy that keeps the old date of a file still changes its inode.
    changed = max(photo.st_mtime_ns, photo.st_ctime_ns)
    return "is older than its photo" if result.st_mtime_ns < changed else None


def _check_sidecar_target(target: Path, *, overwrite: bool) -> None:
    path = sidecar.sidecar_path(target)
    if overwrite or not os.path.lexists(path):
        return
    try:  # one whose result is not there was left by a run that ended in between
        sidecar.read_sidecar(path)
    except sidecar.SidecarError as error:
        raise PhotoError(f"{path}: exists already; pass --overwrite to replace it") from error


def _existing(folder: Path) -> Path:
    """The folder, or what of its path is there."""
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())


def _state(path: Path) -> tuple[int, int]:
    try:
        now = path.stat()
    except OSError as error:
        if not os.path.lexists(path):
            raise PhotoError(f"{path}: no such file") from error
        raise PhotoError(f"{path}: cannot be read ({one_line(error)})") from error
    return now.st_size, now.st_mtime_ns


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

    def __init__(self, folder: Path, photo: Photo, *, overwrite: bool) -> None:
        self._folder, self._photo, self._overwrite = folder, photo, overwrite
        self._n_written = 0
        self._write("input", photo.rgb)

    def __call__(self, step: Step, image: FloatImage) -> None:
        """Write the image after a step."""
        if not step.is_stop:
            self._write(step.tool, image)

    def _write(self, name: str, image: FloatImage) -> None:
        path = self._folder / f"{self._n_written:02d}_{name}.png"
        write_photo(path, self._photo.with_rgb(image), overwrite=self._overwrite)
        self._n_written += 1


def _unsuccessful(planned: PlannedPhoto, error: Exception) -> Outcome:
    """What becomes of a photo in whose work an error was raised: never the end of the batch."""
    if isinstance(error, _DoneBeforeError):
        return Outcome(planned, trace={**_files(planned), "skipped": True}, is_skipped=True)
    if isinstance(error, ToolchainError):
        why = str(error)
    elif _is_out_of_memory(error):
        why = f"{planned.source}: not enough memory; scale it down or allow fewer pixels per tile"
    else:
        why = f"{planned.source}: {type(error).__name__}: {one_line(error)}"
    return Outcome(planned, trace={**_files(planned), "error": why}, error=why, cause=error)


def _files(planned: PlannedPhoto) -> dict[str, str]:
    return {"input": str(planned.source), "output": str(planned.target)}


def _is_below(job: PhotoJob, folder: Path) -> bool:
    # `Path.resolve` raises where links lead in a circle.
    below, above = (Path(os.path.realpath(path)) for path in (job.source, folder))
    return job.in_folder and above in below.parents


def _is_out_of_memory(error: BaseException) -> bool:
    # PyTorch reports a failed allocation on the CPU as a plain RuntimeError.
    is_torch = isinstance(error, RuntimeError) and "memory" in str(error).lower()
    return isinstance(error, MemoryError) or is_torch
