"""Reading random batches from a patch store: as it is, against compressed ones."""

import tempfile
from pathlib import Path
from typing import Final

import h5py
import numpy as np

from benchmarks.material import make_store
from benchmarks.report import Report, Row, median_seconds
from restoration_toolchain.data.patches.store import PATCHES_PER_CHUNK, PatchStore

BATCH_SIZE: Final = 64
COMPRESSIONS: Final = (None, "lzf", "gzip")
"""What h5py offers everywhere; gzip at its default strength, 4."""


def run(*, quick: bool) -> Report:
    """Write the same patches three times, and read random pairs back."""
    repeats = 3 if quick else 25
    with tempfile.TemporaryDirectory() as folder:
        original = Path(folder) / "original.h5"
        make_store(original, quick=quick)
        rows = [_row(original, compression, repeats) for compression in COMPRESSIONS]
    return Report(
        title="Patch store",
        method=(
            f"The embedded photos, cut and degraded by prepare_store; {BATCH_SIZE} random pairs "
            f"at a time, chunks of {PATCHES_PER_CHUNK} patches, the file in the system's cache."
        ),
        rows=tuple(rows),
    )


def _row(original: Path, compression: str | None, repeats: int) -> Row:
    path = original.with_name(f"{compression}.h5")
    _copy(original, path, compression)
    rng = np.random.default_rng(0)
    with PatchStore(path) as store:

        def read() -> None:
            indices = rng.integers(len(store), size=BATCH_SIZE)
            store.read_lq(indices)
            store.read_gt(indices)

        seconds = median_seconds(read, repeats)
        num_pairs = float(len(store))
    uncompressed = original.with_name("None.h5").stat().st_size
    return {
        "compression": compression or "none",
        "pairs": num_pairs,
        "file MB": path.stat().st_size / 1e6,
        "size, % of none": 100.0 * path.stat().st_size / uncompressed,
        "pairs/s": BATCH_SIZE / seconds,
    }


def _copy(source: Path, target: Path, compression: str | None) -> None:
    with h5py.File(source, "r") as old, h5py.File(target, "w") as new:
        new.attrs.update(old.attrs)
        for name, dataset in old.items():
            is_patches = dataset.ndim == 4
            new.create_dataset(
                name,
                data=dataset[:],
                chunks=(PATCHES_PER_CHUNK, *dataset.shape[1:]) if is_patches else None,
                compression=compression if is_patches else None,
            )
