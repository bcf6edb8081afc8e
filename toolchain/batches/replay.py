"""Restore a photo again as its sidecar says, and compare."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from restoration_toolchain.toolchain.batches.sidecar import (
    Sidecar,
    SidecarError,
    input_checksum,
    read_sidecar,
    runtime,
)
from restoration_toolchain.toolchain.photos.read import Photo, read_photo
from restoration_toolchain.toolchain.photos.write import pixels_sha256
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings, SettingError


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """A photo that was restored again.

    Attributes:
        sidecar: What was followed.
        photo: What came of it.
        sequence: The tools that ran.
        is_identical: Whether its samples, as the result's format stores them, are those recorded.
        differences: What was otherwise than the first time, in words; of identical samples too.
    """

    sidecar: Sidecar
    photo: Photo
    sequence: tuple[str, ...]
    is_identical: bool
    differences: tuple[str, ...]


def replay(path: Path, *, source: Path | None = None) -> Replay:
    """Restore a photo with exactly the options, tools and agent of a sidecar.

    Args:
        path: The sidecar.
        source: The photo, where it is no longer where the sidecar says.

    Raises:
        SidecarError: There is no such sidecar, it knows options that this version does not, or the
            photo, a tool or the agent is not the one that it names.
        PhotoError: The photo cannot be read.
        ToolchainError: The toolbox or the agent is missing, or the device.
    """
    sidecar = read_sidecar(path)
    source = sidecar.source if source is None else source
    if not source.exists():
        raise SidecarError(f"{source}: the photo is not there any more; say where with --input")
    if input_checksum(source) != sidecar.input_sha256:
        raise SidecarError(f"{source}: not the photo that {path} is about: its content differs")
    restorer = _load_again(sidecar, path)
    photo = read_photo(source, scale=restorer.scale)
    restoration = restorer.restore(photo.rgb, **sidecar.per_call)
    restored = photo.with_rgb(restoration.image)
    return Replay(
        sidecar,
        restored,
        restoration.sequence,
        pixels_sha256(restored, sidecar.target) == sidecar.pixels_sha256,
        _differences(sidecar, restoration.sequence),
    )


def _load_again(sidecar: Sidecar, path: Path) -> Restorer:
    if not sidecar.options:
        raise SidecarError(f"{path}: names no options; it was not made by toolchain restore")
    try:
        settings = RestoreSettings.from_dict(sidecar.options)
    except SettingError as error:
        raise SidecarError(f"{path}: {error}") from error
    # The score may be gone, and changes no pixel.
    restorer = load(settings=dataclasses.replace(settings, iqa=None, iqa_encoder=None))
    changed = sidecar.changed_weights(restorer.provenance)
    if changed:
        raise SidecarError(
            f"{path}: {', '.join(changed)} {'has' if len(changed) == 1 else 'have'} other weights "
            "than those that made the result"
        )
    return restorer


def _differences(sidecar: Sidecar, sequence: tuple[str, ...]) -> tuple[str, ...]:
    recorded = tuple(sidecar.entry["sequence"])
    differences = []
    if sequence != recorded:
        before, now = (", ".join(names) or "no tool" for names in (recorded, sequence))
        differences.append(f"it ran {now}, not {before}")
    here = runtime()
    for name, before in sidecar.runtime.items():
        if here.get(name) != before:
            differences.append(f"{name.replace('_', ' ')} was {before}, is {here.get(name)}")
    return tuple(differences)
