"""The fixed validation set of the world of damage: by family, crops and whole photos in pairs."""

import itertools
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import cv2
import h5py
import numpy as np

from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.levels import Sampler, sampler
from restoration_toolchain.data.damage.world import FAMILIES
from restoration_toolchain.data.errors import SourceError, UnknownNameError, WorldSetError
from restoration_toolchain.data.images import ByteImage, to_float, to_uint8
from restoration_toolchain.data.patches.world_crops import CLEAN, CORNER, SURROUNDINGS, printed
from restoration_toolchain.data.photos.drawings import DRAWINGS

FORMAT_VERSION: Final = 1

DRAWN: Final = "drawings"
"""Family of pictures that are no photos, undamaged."""
DRAWN_JPEG: Final = "drawings-jpeg"
"""Family of the same pictures with light JPEG."""
PRINTS: Final = "prints"
"""Family of photos as they are printed, in dots, undamaged."""

WORLD: Final = (*FAMILIES, CLEAN, DRAWN, DRAWN_JPEG, PRINTS)
"""Every family of the set, in order."""

LIGHT_JPEG: Final = (75, 96)
"""Lowest quality of `DRAWN_JPEG`, and the one above the highest."""

MOST_OF_A_PHOTO: Final = 32
"""Clean windows kept of one photo, so that a few large ones neither rule nor fill the memory."""

_WORKING_SIDES: Final = 2
"""A photo whose shorter side is longer than so many sides of a whole photo is reduced to that: at
full size, what a camera wrote is neither sharp nor free of noise."""

Kind = Literal[
    "damaged", "clean photos", "clean drawings", "drawings with light JPEG", "clean prints"
]
"""What a family holds, and so what is right for it; only the first counts in means."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

Unit = Literal["crops", "photos"]

UNITS: Final[tuple[Unit, ...]] = get_args(Unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSetConfig:
    """How the set is made."""

    families: tuple[str, ...] = WORLD
    """Families, some of `WORLD`."""
    count: int = 48
    """Crops per family, or all there are if fewer; 0 is none."""
    photos: int = 6
    """Whole photos per family, or all there are if fewer; 0 is none."""
    side: int = 126
    """Side of a crop in pixels: two views of an agent."""
    photo_side: int = 384
    """Longest side of a whole photo in pixels."""
    seed: int = 0
    """Seed of every random draw."""

    def __post_init__(self) -> None:
        """Check the names and the ranges."""
        check_families(self.families)
        if min(self.count, self.photos) < 0 or self.count + self.photos == 0:
            raise ValueError("count and photos must not be negative, nor both 0")
        if min(self.side, self.photo_side) < 1:
            raise ValueError("side and photo_side must be positive")


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A degraded picture and the clean one.

    Attributes:
        lq: Degraded picture, RGB uint8 (H, W, 3).
        gt: Clean picture, of the same shape.
        label: Damage in words or, of a drawing, its kind.
    """

    lq: ByteImage
    gt: ByteImage
    label: str


@dataclass(frozen=True, slots=True, eq=False)
class WorldFamily:
    """All pairs of one family.

    Attributes:
        name: One of `WORLD`.
        crops: Pairs cut from damaged photos, all of one side.
        photos: Pairs damaged as wholes.
    """

    name: str
    crops: tuple[Pair, ...]
    photos: tuple[Pair, ...]

    @property
    def kind(self) -> Kind:
        """What the family holds."""
        return kind_of(self.name)

    def of(self, unit: Unit) -> tuple[Pair, ...]:
        """The pairs of a unit."""
        return self.crops if unit == "crops" else self.photos


def kind_of(family: str) -> Kind:
    """What a family of `WORLD` holds."""
    others: dict[str, Kind] = {
        CLEAN: "clean photos",
        DRAWN: "clean drawings",
        DRAWN_JPEG: "drawings with light JPEG",
        PRINTS: "clean prints",
    }
    return others.get(family, "damaged")


def check_families(families: Sequence[str]) -> None:
    """Refuse names of no family.

    Raises:
        UnknownNameError: One is none of `WORLD`.
    """
    for name in families:
        if name not in WORLD:
            raise UnknownNameError("family", name, WORLD)


def world_set(
    photos: Iterable[tuple[str, ByteImage]], config: WorldSetConfig
) -> Iterator[WorldFamily]:
    """Make the set from clean photos, one family after the other.

    A crop is cut from a photo that was damaged around it, too, so that blur meets the true
    neighbours and JPEG its blocks at any place. A family is the same whichever others are made.

    Args:
        photos: (identifier, RGB uint8 photo) pairs, read one at a time and once.
        config: Settings.

    Raises:
        SourceError: No photo is as large as a crop with its surroundings.
    """
    windows, wholes = _clean_pictures(photos, config)
    for name in config.families:
        rngs = {
            unit: np.random.default_rng((config.seed, zlib.crc32(f"{name} {unit}".encode())))
            for unit in UNITS
        }
        yield WorldFamily(
            name,
            tuple(itertools.islice(_crops(name, windows, config, rngs["crops"]), config.count)),
            tuple(itertools.islice(_photos(name, wholes, config, rngs["photos"]), config.photos)),
        )


def _crops(
    name: str, windows: Sequence[ByteImage], config: WorldSetConfig, rng: np.random.Generator
) -> Iterator[Pair]:
    for window in _pictures(name, windows, config.side + 2 * SURROUNDINGS, rng):
        pair = _degraded(name, window, rng)
        # No nearer to the border than it has to be, and anywhere in a cell of the grid of JPEG.
        top, left = (int(offset) for offset in rng.integers(*CORNER, size=2))
        place = slice(top, top + config.side), slice(left, left + config.side)
        lq, gt = (np.ascontiguousarray(image[place]) for image in (pair.lq, pair.gt))
        yield Pair(lq, gt, pair.label)


def _photos(
    name: str, wholes: Sequence[ByteImage], config: WorldSetConfig, rng: np.random.Generator
) -> Iterator[Pair]:
    for picture in _pictures(name, wholes, config.photo_side, rng):
        yield _degraded(name, picture, rng)


def _degraded(name: str, picture: tuple[ByteImage, str], rng: np.random.Generator) -> Pair:
    gt, label = picture
    degradation = _sampler(name)(rng)
    lq = to_uint8(degradation.apply(to_float(gt), rng)) if degradation.steps else gt
    return Pair(lq, gt, label or degradation.describe())


def _pictures(
    name: str, photos: Sequence[ByteImage], side: int, rng: np.random.Generator
) -> Iterator[tuple[ByteImage, str]]:
    """Clean pictures of a family with the kinds of those that are drawn; drawings have no end."""
    if name in (DRAWN, DRAWN_JPEG):
        yield from _drawn(side, side, rng)
    for row in rng.permutation(len(photos)):
        if name == PRINTS:
            yield to_uint8(printed(to_float(photos[row]), rng)), "print"
        else:
            yield photos[row], ""


def _drawn(height: int, width: int, rng: np.random.Generator) -> Iterator[tuple[ByteImage, str]]:
    """Drawings without end, of every kind in turn."""
    for kind, draw in itertools.cycle(DRAWINGS.items()):
        yield draw(height, width, rng), kind


def _sampler(name: str) -> Sampler:
    if name == DRAWN_JPEG:
        return lambda rng: Degradation((Jpeg(int(rng.integers(*LIGHT_JPEG))),))
    return sampler(name if name in FAMILIES else CLEAN)


def _clean_pictures(
    photos: Iterable[tuple[str, ByteImage]], config: WorldSetConfig
) -> tuple[list[ByteImage], list[ByteImage]]:
    """Clean windows for crops (a crop and its surroundings each), and whole photos."""
    if all(name in (DRAWN, DRAWN_JPEG) for name in config.families):
        return [], []
    windows: list[ByteImage] = []
    wholes: list[ByteImage] = []
    for name, full in photos:
        photo = _reduced(full, _WORKING_SIDES * config.photo_side)
        rng = np.random.default_rng((config.seed, zlib.crc32(name.encode())))
        windows += _windows(photo, config.side, rng)
        height, width = (min(side, config.photo_side) for side in photo.shape[:2])
        top, left = (
            int(rng.integers(whole - side + 1))
            for whole, side in zip(photo.shape[:2], (height, width), strict=True)
        )
        wholes.append(photo[top : top + height, left : left + width].copy())
    if config.count and not windows:
        side = config.side + 2 * SURROUNDINGS
        raise SourceError(f"no photo has {side} pixels a side, as crops with surroundings need")
    return windows, wholes


def _windows(photo: ByteImage, side: int, rng: np.random.Generator) -> list[ByteImage]:
    """Windows around crops that do not overlap much, all within the photo: copies."""
    window = side + 2 * SURROUNDINGS
    spare = [length - window for length in photo.shape[:2]]
    if min(spare) < 0:
        return []
    starts = [range(int(rng.integers(pixels % side + 1)), pixels + 1, side) for pixels in spare]
    places = list(itertools.product(*starts))
    kept = np.sort(rng.permutation(len(places))[:MOST_OF_A_PHOTO])
    return [
        photo[top : top + window, left : left + window].copy()
        for top, left in (places[i] for i in kept)
    ]


def _reduced(photo: ByteImage, side: int) -> ByteImage:
    """The photo, made smaller if its shorter side is longer than so many pixels."""
    factor = side / min(photo.shape[:2])
    if factor >= 1.0:
        return photo
    height, width = (round(length * factor) for length in photo.shape[:2])
    smaller = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, np.uint8)


def save_world(
    path: Path,
    families: Iterable[WorldFamily],
    config: WorldSetConfig,
    *,
    on_family: Callable[[str], None] = lambda name: None,
) -> None:
    """Write a set to a file, which appears under its name only when it is complete.

    Args:
        path: File to write; an existing one is replaced.
        families: Families of the set, made one at a time.
        config: Settings that it was made with.
        on_family: Called with the name of each family once it is written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with h5py.File(part, "w", track_order=True) as file:
            for family in families:
                for unit in UNITS:
                    _write_pairs(
                        file.create_group(f"{family.name}/{unit}", track_order=True),
                        family.of(unit),
                    )
                on_family(family.name)
            file.attrs["world_version"] = FORMAT_VERSION
            file.attrs["config"] = json.dumps(asdict(config))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_world(path: Path, families: Sequence[str] = ()) -> Iterator[WorldFamily]:
    """Read a set from a file, one family after the other; what is wrong is said at once.

    Args:
        path: File made by `save_world`.
        families: Families to read, in this order; none reads all.

    Raises:
        WorldSetError: The file is missing, is no such set, or is one of another version.
        UnknownNameError: The set has no such family.
    """
    config = read_world_config(path)
    for name in families:
        if name not in config["families"]:
            raise UnknownNameError("family", name, config["families"])
    return _read_families(path, tuple(families) or tuple(config["families"]))


def read_world_config(path: Path) -> dict[str, Any]:
    """Read the settings that a set was made with; errors as for `load_world`."""
    if not path.is_file():
        raise WorldSetError(f"no set of the world at {path}")
    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get("world_version")
            config: dict[str, Any] = json.loads(file.attrs.get("config", "{}"))
    except (OSError, ValueError) as error:
        raise WorldSetError(f"{path} is not a readable HDF5 file") from error
    if found is None:
        raise WorldSetError(f"{path} is not a set of the world")
    if found != FORMAT_VERSION:
        raise WorldSetError(
            f"{path} is a set of version {found}, this program reads {FORMAT_VERSION}"
        )
    return config


def _read_families(path: Path, names: Sequence[str]) -> Iterator[WorldFamily]:
    with h5py.File(path, "r") as file:
        for name in names:
            pairs = (_read_pairs(file[f"{name}/{unit}"]) for unit in UNITS)
            yield WorldFamily(name, *pairs)


def _write_pairs(group: h5py.Group, pairs: Sequence[Pair]) -> None:
    for number, pair in enumerate(pairs):
        dataset = group.create_dataset(f"{number:04d}", data=np.stack([pair.lq, pair.gt]))
        dataset.attrs["label"] = pair.label


def _read_pairs(group: h5py.Group) -> tuple[Pair, ...]:
    pairs = ((group[name][:], str(group[name].attrs["label"])) for name in group)
    return tuple(Pair(both[0], both[1], label) for both, label in pairs)
