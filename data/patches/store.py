"""The HDF5 patch store: clean and degraded patches, prepared once, read by many workers."""

import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import h5py
import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.damage.degradation import (
    CONTEXT,
    JPEG_BLOCK,
    Degradation,
    central_patch,
    degrade_crop,
    mixture,
)
from restoration_toolchain.data.damage.levels import MIXED_LEVELS, Sampler, check_level, sampler
from restoration_toolchain.data.errors import PatchSizeError, SourceError, StoreError
from restoration_toolchain.data.images import ByteImage, to_float, to_uint8
from restoration_toolchain.data.metrics import psnr

FORMAT_VERSION: Final = 3
COLUMNS_VERSION: Final = 2
"""Last layout that knew blur, noise and JPEG only, in the columns of ``degradation``."""

PATCHES_PER_CHUNK: Final = 4
"""Patches per HDF5 chunk: random batches stay fast, and the chunk index stays small."""
ROWS_PER_CHUNK: Final = 1024  # of what is known of patches

COLUMNS: Final = ("blur", "noise", "jpeg")
"""Kinds of damage whose strengths are kept as numbers, too."""

LARGE_PATCH_SIZE: Final = 96
"""Side in pixels that patches need at least for tools which make images larger."""

MAX_INPUT_PSNR: Final = 50.0
"""dB; pairs above it have nothing to restore and are left out, as in RL-Restore's script."""

Patches = npt.NDArray[np.uint8]
"""RGB patches, shape (N, P, P, 3), uint8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """How a patch store is made."""

    level: str = "all"
    """Level of the damage, see `data.damage.levels.LEVELS`."""
    single_fraction: float | None = None
    """Share of pairs with one distortion only, which keep an agent good at mild damage; None is a
    half at levels of mixtures (`MIXED_LEVELS`), and none at others."""
    patch_size: int = 63
    """Side of a patch in pixels."""
    stride: int = 48
    """Pixels between the corners of neighbouring patches."""
    scales: tuple[float, ...] = (1.0, 2 / 3, 1 / 3)
    """Sizes at which each photo is used, relative to the original."""
    holdout: float = 0.05
    """Share of the photos (not patches) that is kept for validation."""
    max_patches: int = 0
    """Upper bound on the patches per photo, drawn at random; 0 is no bound."""
    seed: int = 0
    """Seed of every random draw."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_level(self.level)
        if self.level == "clean":
            raise ValueError("a store keeps damaged patches; level 'clean' would leave it empty")
        if self.single_fraction is None:
            share = 0.5 if self.level in MIXED_LEVELS else 0.0
            object.__setattr__(self, "single_fraction", share)
        if not 0.0 <= self._single_share <= 1.0:
            raise ValueError(f"single_fraction must lie in [0, 1], got {self.single_fraction}")
        if not 0.0 <= self.holdout < 1.0:
            raise ValueError(f"holdout must lie in [0, 1), got {self.holdout}")
        if self.patch_size < 1 or self.stride < 1 or self.max_patches < 0:
            raise ValueError("patch_size and stride must be positive, max_patches not negative")
        if not self.scales or any(not 0.0 < scale <= 1.0 for scale in self.scales):
            raise ValueError(f"scales must lie in (0, 1], got {self.scales}")

    def sampler(self) -> Sampler:
        """The distribution that the degraded partners are drawn from."""
        mixed, single = sampler(self.level), sampler("single")
        return lambda rng: (single if rng.random() < self._single_share else mixed)(rng)

    @property
    def _single_share(self) -> float:
        return self.single_fraction or 0.0


def prepare_store(
    path: Path,
    photos: Iterable[tuple[str, ByteImage]],
    config: StoreConfig,
    *,
    sources: Sequence[str] = (),
    on_photo: Callable[[str, int], None] = lambda name, patches: None,
) -> int:
    """Cut photos into patches, degrade each, and write both to a new store.

    The file appears under its name only when it is complete.

    Args:
        path: File to write; an existing one is replaced.
        photos: (identifier, RGB uint8 photo) pairs, read one at a time.
        config: Settings of cutting and degrading.
        sources: Names of the sources that the photos are from, to be recorded.
        on_photo: Called after each photo with its identifier and the patches written so far.

    Returns:
        The number of patches written.

    Raises:
        SourceError: No photo was large enough for a single patch.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    rng = np.random.default_rng(config.seed)
    draw = config.sampler()
    names: list[str] = []
    try:
        with h5py.File(part, "w") as file:
            size = 0
            for name, photo in photos:
                held_out = rng.random() < config.holdout
                clean = list(cut_windows(photo, config))
                if config.max_patches and len(clean) > config.max_patches:
                    keep = rng.choice(len(clean), config.max_patches, replace=False)
                    clean = [clean[i] for i in np.sort(keep)]
                size = _append(file, _degrade_all(clean, draw, rng), held_out=held_out)
                names.append(name)
                on_photo(name, size)
            if size == 0:
                side = f"{config.patch_size} pixels a side"
                raise SourceError(f"no photo is as large as one patch of {side}")
            file.attrs["format_version"] = FORMAT_VERSION
            file.attrs["config"] = json.dumps(asdict(config))
            file.attrs["photos"] = json.dumps(names)
            file.attrs["sources"] = json.dumps(list(sources))
            file.attrs["layout"] = (
                f"RGB uint8 (N, H, W, 3); window: clean, with {CONTEXT} pixels more on each side; "
                "degradation: strengths of blur, noise and JPEG (0: none); degradation_json: all"
            )
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return size


def cut_windows(photo: ByteImage, config: StoreConfig) -> Iterator[ByteImage]:
    """Yield the patches of a photo at every scale, row by row, each with its surroundings.

    The patches lie within the photo; where their surroundings do not, its border is replicated,
    as blur does. In the original size, the first begins anywhere in the first block of JPEG, as far
    as that costs no patch; where, the photo and the seed say. Clean photos mostly are JPEG files:
    if all patches were cut along their blocks, that alone would tell clean patches from those that
    were compressed once more (`degrade_crop`).

    Yields:
        RGB uint8 (P + 2 * CONTEXT, P + 2 * CONTEXT, 3); `damage.degradation.central_patch` is the
        patch.
    """
    size = config.patch_size
    for scale in config.scales:
        height, width = (round(side * scale) for side in photo.shape[:2])
        if min(height, width) < size:
            continue
        scaled = photo
        if scale != 1.0:
            resized = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
            scaled = np.asarray(resized, dtype=np.uint8)
        padded = np.pad(scaled, ((CONTEXT, CONTEXT), (CONTEXT, CONTEXT), (0, 0)), mode="edge")
        side = size + 2 * CONTEXT
        first = _start(photo, config) if scale == 1.0 else (0, 0)
        for top in range(first[0], height - size + 1, config.stride):
            for left in range(first[1], width - size + 1, config.stride):
                yield padded[top : top + side, left : left + side]


def _start(photo: ByteImage, config: StoreConfig) -> tuple[int, int]:
    rng = np.random.default_rng((config.seed, zlib.crc32(photo.tobytes())))
    spare = [(side - config.patch_size) % config.stride for side in photo.shape[:2]]
    top, left = (int(rng.integers(min(JPEG_BLOCK, pixels + 1))) for pixels in spare)
    return top, left


class PatchStore(AbstractContextManager["PatchStore"]):
    """A store opened for reading; patches are read as they are asked for.

    Each worker process opens its own (an HDF5 handle does not survive a fork), so the object
    pickles as its path.

    Args:
        path: File made by `prepare_store`.
        scale: Number that the sides of the patches have to divide by, to be made smaller by it.

    Raises:
        StoreError: The file is missing, is no HDF5 file, has another layout, or its patches do not
            divide by the scale.
    """

    def __init__(self, path: Path, *, scale: int = 1) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise StoreError(f"no patch store at {path}")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise StoreError(f"{path} is not a readable HDF5 file") from error
        if self._file.attrs.get("format_version") not in (COLUMNS_VERSION, FORMAT_VERSION):
            is_world = "world_version" in self._file.attrs
            self._file.close()
            what = "is a set of the world, not a patch store" if is_world else "has another layout"
            raise StoreError(f"{path} {what}")
        if (size := self.patch_size) % scale:
            self._file.close()
            raise PatchSizeError(
                f"the patches of {path} have {size} pixels a side, "
                f"which does not divide by {scale}",
                LARGE_PATCH_SIZE,
            )
        held_out = self._file["held_out"][:]
        self.train_indices: npt.NDArray[np.int64] = np.flatnonzero(~held_out)
        self.val_indices: npt.NDArray[np.int64] = np.flatnonzero(held_out)

    def __len__(self) -> int:
        """Number of patches, held-out ones included."""
        return int(self._file["lq"].shape[0])

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.close()

    def __reduce__(self) -> tuple[type["PatchStore"], tuple[Path]]:
        """Pickle as the path, so that a worker opens its own handle."""
        return PatchStore, (self.path,)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return int(self._file["lq"].shape[1])

    @property
    def attrs(self) -> Mapping[str, Any]:
        """What the store records about how it was made."""
        return {
            "config": json.loads(self._file.attrs["config"]),
            "photos": json.loads(self._file.attrs["photos"]),
            "sources": json.loads(self._file.attrs.get("sources", "[]")),  # not in older stores
            "layout": str(self._file.attrs["layout"]),
        }

    def read_gt(self, indices: npt.NDArray[np.int64]) -> Patches:
        """Clean patches: (len(indices), P, P, 3) uint8, in the order asked for."""
        return central_patch(self.read_windows(indices))

    def read_windows(self, indices: npt.NDArray[np.int64]) -> Patches:
        """Clean patches with their surroundings, as `cut_windows` yields them."""
        return self._read("window", indices)

    def read_lq(self, indices: npt.NDArray[np.int64]) -> Patches:
        """Degraded partners of `read_gt`."""
        return self._read("lq", indices)

    def read_degradation(self, indices: npt.NDArray[np.int64]) -> list[Degradation]:
        """What was done to each degraded patch."""
        if "degradation_json" in self._file:
            texts = self._read("degradation_json", indices)
            return [Degradation.from_dict(json.loads(text)) for text in texts]
        rows = self._read("degradation", indices)
        return [mixture(float(b), float(n), int(q) or None) for b, n, q in rows]

    def _read(self, name: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        # One read per row: several times faster than h5py's own selection of scattered rows.
        dataset = self._file[name]
        rows = np.empty((len(indices), *dataset.shape[1:]), dataset.dtype)
        for row, index in enumerate(indices):
            rows[row] = dataset[int(index)]
        return rows


def _degrade_all(
    windows: list[ByteImage], draw: Sampler, rng: np.random.Generator
) -> list[tuple[ByteImage, ByteImage, Degradation]]:
    pairs = []
    for window in windows:
        degradation = draw(rng)
        lq = to_uint8(degrade_crop(degradation, to_float(window), rng))
        if psnr(lq, central_patch(window), data_range=255) <= MAX_INPUT_PSNR:
            pairs.append((lq, window, degradation))
    return pairs


def _append(
    file: h5py.File, pairs: list[tuple[ByteImage, ByteImage, Degradation]], *, held_out: bool
) -> int:
    """Append pairs to the datasets of a store, made with the first; return how many there are."""
    columns: dict[str, Any] = {}
    if pairs:
        lq, windows, done = zip(*pairs, strict=True)
        strengths = [[each.strength(kind) or 0.0 for kind in COLUMNS] for each in done]
        texts = [json.dumps(each.to_dict()) for each in done]
        columns = {
            "lq": np.stack(lq),
            "window": np.stack(windows),
            "degradation": np.array(strengths, np.float32),
            "degradation_json": np.array(texts, h5py.string_dtype()),
            "held_out": np.full(len(pairs), held_out),
        }
    for name, values in columns.items():
        shape = values.shape[1:]
        if name not in file:
            # Not compressed: photos' patches shrink by a third at best, and reading becomes several
            # times slower (docs/benchmarks.md).
            chunks = (PATCHES_PER_CHUNK if len(shape) == 3 else ROWS_PER_CHUNK, *shape)
            most = (None, *shape)
            file.create_dataset(name, (0, *shape), values.dtype, maxshape=most, chunks=chunks)
        start = len(file[name])
        file[name].resize(start + len(values), axis=0)
        file[name][start:] = values
    return len(file["lq"]) if "lq" in file else 0
