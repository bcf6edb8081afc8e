"""Properties of the sources of pairs."""

from pathlib import Path

import numpy as np
import pytest

from restoration_toolchain.data.damage.degradation import CONTEXT, Degradation, central_patch
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.damage.noise_model import KNOTS, RADIUS, NoiseModel
from restoration_toolchain.data.errors import (
    ImageFormatError,
    PatchSizeError,
    StoreError,
    UnknownNameError,
)
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.patches.pairs import (
    ArrayPairs,
    FreshPairs,
    StorePairs,
    damage_sampler,
    embedded_pairs,
    open_pairs,
)
from restoration_toolchain.data.patches.store import PatchStore, StoreConfig, prepare_store

RNG_SEED = 5
SCALED_LEVELS = ("clean", "slight", "real")


@pytest.fixture(scope="module")
def large_store(
    photos: list[tuple[str, ByteImage]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store of patches of 64 pixels."""
    path = tmp_path_factory.mktemp("large") / "patches.h5"
    config = StoreConfig(patch_size=64, stride=64, scales=(1.0,), holdout=0.4, seed=3)
    prepare_store(path, photos, config)
    return path


def patches(count: int = 4, side: int = 63) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def windows() -> np.ndarray:
    return patches(side=63 + 2 * CONTEXT)


def test_arrays_are_handed_out_by_index() -> None:
    lq, gt = patches(), patches()[::-1]
    pairs = ArrayPairs(lq, gt)
    got_lq, got_gt = pairs.pairs(np.array([2, 0]), np.random.default_rng(0))
    assert len(pairs) == 4
    np.testing.assert_array_equal(got_lq, lq[[2, 0]])
    np.testing.assert_array_equal(got_gt, gt[[2, 0]])


def test_pairs_may_differ_by_one_whole_factor_of_both_sides() -> None:
    lq = np.zeros((2, 8, 8, 3), np.uint8)
    for shape in ((2, 8, 8, 3), (2, 32, 32, 3)):
        assert ArrayPairs(lq, np.zeros(shape, np.uint8)).gt.shape == shape
    for shape in ((3, 8, 8, 3), (2, 32, 16, 3), (2, 12, 12, 3), (2, 4, 4, 3), (2, 7, 8, 3), (2, 8)):
        with pytest.raises(ImageFormatError, match="no \\(N, P, P, 3\\) pairs"):
            ArrayPairs(lq, np.zeros(shape, np.uint8))


def test_no_pairs_at_all_are_refused() -> None:
    with pytest.raises(ImageFormatError):
        ArrayPairs(patches(0), patches(0))


@pytest.mark.parametrize("held_out", [False, True])
def test_a_store_hands_out_one_side_of_the_split(store_path: Path, held_out: bool) -> None:
    with PatchStore(store_path) as store:
        pairs = StorePairs(store, held_out=held_out)
        rows = store.val_indices if held_out else store.train_indices
        assert len(pairs) == len(rows) > 0
        lq, gt = pairs.pairs(np.array([1, 0]), np.random.default_rng(0))
        np.testing.assert_array_equal(lq, store.read_lq(rows[[1, 0]]))
        np.testing.assert_array_equal(gt, store.read_gt(rows[[1, 0]]))


def test_fresh_pairs_follow_from_the_generator_alone() -> None:
    pairs = FreshPairs(windows(), sampler("moderate"))
    indices = np.array([0, 1])
    lq, gt = pairs.pairs(indices, np.random.default_rng(RNG_SEED))
    again, _ = pairs.pairs(indices, np.random.default_rng(RNG_SEED))
    other, _ = pairs.pairs(indices, np.random.default_rng(RNG_SEED + 1))
    np.testing.assert_array_equal(gt, central_patch(windows()[:2]))
    np.testing.assert_array_equal(lq, again)
    assert (lq != other).any()


def test_fresh_pairs_degrade_with_the_distribution_given() -> None:
    pairs = FreshPairs(windows(), lambda rng: Degradation())
    lq, gt = pairs.pairs(np.arange(4), np.random.default_rng(0))
    np.testing.assert_array_equal(lq, gt)


@pytest.mark.parametrize(("scale", "small", "large"), [(1, 63, 63), (2, 40, 80), (4, 40, 160)])
def test_embedded_pairs_need_no_data_at_hand(scale: int, small: int, large: int) -> None:
    pairs = embedded_pairs("mild", scale=scale)
    indices = np.array([0, len(pairs) - 1])
    lq, gt = pairs.pairs(indices, np.random.default_rng(0))
    assert lq.shape == (2, small, small, 3)
    assert gt.shape == (2, large, large, 3)
    assert (lq != gt[:, :small, :small]).any()
    again, other = (pairs.pairs(indices, np.random.default_rng(seed))[0] for seed in (0, 1))
    np.testing.assert_array_equal(lq, again)
    assert (lq != other).any()


@pytest.mark.parametrize("held_out", [False, True])
def test_large_patches_are_those_of_the_store_and_small_ones_fit_them(
    large_store: Path, held_out: bool
) -> None:
    pairs = open_pairs(large_store, scale=2, levels=SCALED_LEVELS, held_out=held_out)
    lq, gt = pairs.pairs(np.arange(len(pairs)), np.random.default_rng(0))
    assert lq.shape == (len(pairs), 32, 32, 3)
    with PatchStore(large_store) as opened:
        rows = opened.val_indices if held_out else opened.train_indices
        np.testing.assert_array_equal(gt, opened.read_gt(rows))
    # Smaller and worse, but the same place: means of areas agree.
    blocks = gt.reshape(len(gt), 8, 8, 8, 8, 3).mean(axis=(2, 4))
    small = lq.reshape(len(lq), 8, 4, 8, 4, 3).mean(axis=(2, 4))
    assert np.abs(blocks - small).mean() < 12.0


def test_patches_that_suit_no_agent_are_refused(large_store: Path) -> None:
    with pytest.raises(PatchSizeError, match="124 or more") as caught:
        open_pairs(large_store, scale=4, levels=SCALED_LEVELS)
    assert caught.value.patch_size == 160
    with pytest.raises(UnknownNameError, match="slight"):
        open_pairs(large_store, scale=2, levels=("sligth",))


def test_without_any_level_there_is_nothing_to_draw(large_store: Path) -> None:
    with pytest.raises(ValueError, match="at least one level"):
        embedded_pairs()
    with pytest.raises(ValueError, match="at least one level"):
        open_pairs(large_store, scale=2)
    lq, _ = open_pairs(large_store, scale=2, noises=[white_noise(0.1)]).pairs(
        np.arange(2), np.random.default_rng(0)
    )
    assert lq.shape == (2, 32, 32, 3)


def test_a_mistyped_level_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'severe'"):
        embedded_pairs("sever")


def test_a_store_is_degraded_anew_at_the_levels_named(store_path: Path) -> None:
    pairs = open_pairs(store_path, levels=("mild", "severe"))
    indices = np.zeros(200, np.int64)
    lq, gt = pairs.pairs(indices, np.random.default_rng(0))
    with PatchStore(store_path) as store:
        assert (gt == store.read_gt(store.train_indices[indices])).all()
    assert len(np.unique(lq.reshape(200, -1), axis=0)) == 200
    again, _ = pairs.pairs(indices, np.random.default_rng(0))
    assert (lq == again).all()
    error = np.square(lq.astype(float) - gt).mean(axis=(1, 2, 3))
    mild = open_pairs(store_path, levels=("mild",)).pairs(indices, np.random.default_rng(0))[0]
    assert np.square(mild.astype(float) - gt).mean() < error.mean()


def test_pairs_open_by_name_or_path(store_path: Path, tmp_path: Path) -> None:
    assert len(open_pairs("embedded")) > 100
    assert len(open_pairs(store_path, held_out=True)) < len(open_pairs(store_path))
    with pytest.raises(StoreError, match="no patch store"):
        open_pairs(tmp_path / "absent.h5")
    with pytest.raises(UnknownNameError, match="did you mean 'mild'"):
        open_pairs(store_path, levels=("milt",))


def white_noise(deviation: float) -> NoiseModel:
    side = 2 * RADIUS + 1
    kernel = np.zeros((3, 3, side, side), np.float32)
    kernel[range(3), range(3), RADIUS, RADIUS] = 1.0
    levels = np.full((3, KNOTS), deviation, np.float32)
    return NoiseModel(levels, np.full_like(levels, 1.0 / levels.size), kernel)


def test_a_measured_noise_is_drawn_as_often_as_a_level() -> None:
    grey = np.full((400, 95, 95, 3), 128, np.uint8)
    draw = damage_sampler(("clean",), [white_noise(0.1)])
    lq, gt = FreshPairs(grey, draw).pairs(np.arange(400), np.random.default_rng(0))
    deviation = (lq.astype(float) - gt).std(axis=(1, 2, 3))
    assert 0.4 < (deviation > 0.0).mean() < 0.6
    assert deviation[deviation > 0.0] == pytest.approx(25.5, rel=0.1)


def test_a_store_is_damaged_by_a_measured_noise_alone(store_path: Path) -> None:
    pairs = open_pairs(store_path, noises=[white_noise(0.05)])
    lq, gt = pairs.pairs(np.zeros(50, np.int64), np.random.default_rng(0))
    assert (lq.astype(float) - gt).std() == pytest.approx(12.75, rel=0.15)
