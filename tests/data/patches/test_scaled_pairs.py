"""Properties of small degraded patches and their large clean partners."""

from pathlib import Path

import numpy as np
import pytest

from restoration_toolchain.data.damage.degradation import central_patch
from restoration_toolchain.data.errors import ImageFormatError, StoreError, UnknownNameError
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.data.patches.scaled_pairs import open_scaled_pairs
from restoration_toolchain.data.patches.store import PatchStore, StoreConfig, prepare_store

LEVELS = ("clean", "slight", "real")


@pytest.fixture(scope="module")
def store(photos: list[tuple[str, ByteImage]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scaled") / "patches.h5"
    config = StoreConfig(patch_size=64, stride=64, scales=(1.0,), holdout=0.4, seed=3)
    prepare_store(path, photos, config)
    return path


@pytest.mark.parametrize("held_out", [False, True])
def test_large_patches_are_those_of_the_store_and_small_ones_fit_them(
    store: Path, held_out: bool
) -> None:
    pairs = open_scaled_pairs(store, scale=2, levels=LEVELS, held_out=held_out)
    rng = np.random.default_rng(0)
    lq, gt = pairs.pairs(np.arange(len(pairs)), rng)
    assert lq.shape == (len(pairs), 32, 32, 3)
    opened = PatchStore(store)
    rows = opened.val_indices if held_out else opened.train_indices
    np.testing.assert_array_equal(gt, central_patch(opened.read_windows(rows)))
    # Smaller and worse, but the same place: means of areas agree.
    blocks = gt.reshape(len(gt), 8, 8, 8, 8, 3).mean(axis=(2, 4))
    small = lq.reshape(len(lq), 8, 4, 8, 4, 3).mean(axis=(2, 4))
    assert np.abs(blocks - small).mean() < 12.0


def test_damage_is_drawn_anew_and_follows_the_generator() -> None:
    pairs = open_scaled_pairs("embedded", scale=4, levels=("slight",))
    first, again, other = (
        pairs.pairs(np.arange(2), np.random.default_rng(seed))[0] for seed in (0, 0, 1)
    )
    assert first.shape == (2, 40, 40, 3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_patches_that_suit_no_agent_are_refused(store: Path) -> None:
    with pytest.raises(StoreError, match="124 or more"):
        open_scaled_pairs(store, scale=4, levels=LEVELS)
    with pytest.raises(UnknownNameError, match="slight"):
        open_scaled_pairs(store, scale=2, levels=("sligth",))


def test_pairs_may_differ_by_one_whole_factor_of_both_sides() -> None:
    lq = np.zeros((2, 8, 8, 3), np.uint8)
    for shape in ((2, 8, 8, 3), (2, 32, 32, 3)):
        assert ArrayPairs(lq, np.zeros(shape, np.uint8)).gt.shape == shape
    for shape in ((3, 8, 8, 3), (2, 32, 16, 3), (2, 12, 12, 3), (2, 4, 4, 3), (2, 8)):
        with pytest.raises(ImageFormatError):
            ArrayPairs(lq, np.zeros(shape, np.uint8))
