"""Properties of the sources of pairs."""

from pathlib import Path

import numpy as np
import pytest

from restoration_toolchain.data.damage.degradation import (
    CONTEXT,
    Degradation,
    central_patch,
    sampler,
)
from restoration_toolchain.data.damage.noise_model import KNOTS, RADIUS, NoiseModel
from restoration_toolchain.data.errors import ImageFormatError, StoreError, UnknownNameError
from restoration_toolchain.data.patches.pairs import (
    ArrayPairs,
    FreshPairs,
    StorePairs,
    damage_sampler,
    embedded_pairs,
    open_pairs,
)
from restoration_toolchain.data.patches.store import PatchStore

RNG_SEED = 5


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


@pytest.mark.parametrize("gt", [patches(3), patches(4)[:, :60]])
def test_arrays_of_different_shapes_are_refused(gt: np.ndarray) -> None:
    with pytest.raises(ImageFormatError, match="no \\(N, P, P, 3\\) pairs"):
        ArrayPairs(patches(4), gt)


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


def test_embedded_pairs_need_no_data_at_hand() -> None:
    pairs = embedded_pairs("mild")
    lq, gt = pairs.pairs(np.array([0, len(pairs) - 1]), np.random.default_rng(0))
    assert lq.shape == gt.shape == (2, 63, 63, 3)
    assert (lq != gt).any()


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
