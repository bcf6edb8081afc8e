"""Properties of the patch store."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from restoration_toolchain.data.damage.degradation import (
    CONTEXT,
    central_patch,
    degrade_crop,
)
from restoration_toolchain.data.errors import (
    PatchSizeError,
    SourceError,
    StoreError,
    ToolchainError,
)
from restoration_toolchain.data.images import ByteImage, to_float, to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.patches.store import (
    COLUMNS_VERSION,
    MAX_INPUT_PSNR,
    PatchStore,
    StoreConfig,
    cut_windows,
    prepare_store,
)

NamedPhotos = list[tuple[str, ByteImage]]


def marked_photos(count: int, height: int = 70, width: int = 140) -> NamedPhotos:
    """Photos whose red channel is the photo's number everywhere, so that patches give it away."""
    rng = np.random.default_rng(0)
    photos = []
    for number in range(count):
        photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        photo[:, :, 0] = number
        photos.append((f"photo_{number}", photo))
    return photos


def test_patches_are_the_crops_of_the_photos_in_their_order(tmp_path: Path) -> None:
    photos = marked_photos(2, 63, 126)
    config = StoreConfig(stride=63, scales=(1.0,), single_fraction=0.0)
    assert prepare_store(tmp_path / "store.h5", photos, config) == 4
    with PatchStore(tmp_path / "store.h5") as store:
        assert len(store) == 4
        assert store.patch_size == 63
        gt = store.read_gt(np.arange(4))
    expected = [photo[:63, left : left + 63] for _, photo in photos for left in (0, 63)]
    np.testing.assert_array_equal(gt, expected)


def test_attributes_record_how_the_store_was_made(store_path: Path, photos: NamedPhotos) -> None:
    with PatchStore(store_path) as store:
        assert store.attrs["photos"] == [name for name, _ in photos]
        assert store.attrs["config"]["stride"] == 33
        assert store.attrs["config"]["seed"] == 3
        assert store.attrs["layout"].startswith("RGB uint8")


def test_the_recorded_degradation_is_the_one_that_was_applied(store_path: Path) -> None:
    with PatchStore(store_path) as store:
        indices = np.arange(len(store))
        lq, windows, done = (
            store.read_lq(indices),
            store.read_windows(indices),
            store.read_degradation(indices),
        )
    gt = central_patch(windows)

    def single(kind: str) -> list[int]:
        found = [i for i, d in enumerate(done) if [step.name for step in d.steps] == [kind]]
        assert found
        return found

    for i in single("blur"):
        again = to_uint8(degrade_crop(done[i], to_float(windows[i]), np.random.default_rng(0)))
        np.testing.assert_array_equal(again, lq[i])
    compressed = single("jpeg")
    for i in compressed:  # the place in the grid is not recorded
        again = to_uint8(done[i].apply(to_float(gt[i]), np.random.default_rng(0)))
        expected = psnr(again, gt[i], data_range=255)
        assert psnr(lq[i], gt[i], data_range=255) == pytest.approx(expected, abs=1.5)
    for i in single("noise"):
        expected = 20 * np.log10(255 / done[i].strength("noise"))
        assert expected - 0.5 < psnr(lq[i], gt[i], data_range=255) < expected + 3  # clipped


def test_held_out_photos_do_not_leak_into_training(tmp_path: Path) -> None:
    prepare_store(tmp_path / "store.h5", marked_photos(12), StoreConfig(scales=(1.0,), holdout=0.4))
    with PatchStore(tmp_path / "store.h5") as store:
        train = {int(patch[0, 0, 0]) for patch in store.read_gt(store.train_indices)}
        val = {int(patch[0, 0, 0]) for patch in store.read_gt(store.val_indices)}
        assert len(store.train_indices) + len(store.val_indices) == len(store)
    assert train
    assert val
    assert not train & val
    assert train | val == set(range(12))


def test_patches_come_in_the_order_asked_for(store_path: Path) -> None:
    with PatchStore(store_path) as store:
        in_order = store.read_lq(np.arange(6))
        np.testing.assert_array_equal(
            store.read_lq(np.array([5, 0, 3, 3])), in_order[np.array([5, 0, 3, 3])]
        )
        assert store.read_gt(np.array([], dtype=np.int64)).shape == (0, 63, 63, 3)


def test_a_pickled_store_reads_the_same_patches(store_path: Path) -> None:
    with PatchStore(store_path) as store:
        copy = pickle.loads(pickle.dumps(store))
        with copy:
            np.testing.assert_array_equal(copy.read_gt(np.arange(3)), store.read_gt(np.arange(3)))


def test_the_same_seed_makes_the_same_store(
    tmp_path: Path, store_path: Path, photos: NamedPhotos
) -> None:
    with PatchStore(store_path) as store:
        indices = np.arange(len(store))
        before = store.read_lq(indices)
        config = StoreConfig(**{**store.attrs["config"], "scales": (1.0,)})
    prepare_store(tmp_path / "again.h5", photos, config)
    with PatchStore(tmp_path / "again.h5") as store:
        np.testing.assert_array_equal(store.read_lq(indices), before)


def test_pairs_with_nothing_to_restore_are_left_out(store_path: Path) -> None:
    with PatchStore(store_path) as store:
        indices = np.arange(len(store))
        pairs = zip(store.read_lq(indices), store.read_gt(indices), strict=True)
        assert max(psnr(lq, gt, data_range=255) for lq, gt in pairs) <= MAX_INPUT_PSNR


@pytest.mark.parametrize(("fraction", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_the_single_fraction_is_the_share_of_single_distortions(
    fraction: float, share: float
) -> None:
    draw = StoreConfig(single_fraction=fraction).sampler()
    rng = np.random.default_rng(0)
    drawn = [draw(rng) for _ in range(50)]
    assert np.mean([len(degradation.steps) == 1 for degradation in drawn]) == share


@pytest.mark.parametrize(
    ("level", "share"), [("moderate", 0.5), ("light", 0.5), ("world", 0.0), ("messenger", 0.0)]
)
def test_single_distortions_go_with_mixtures_unless_told_otherwise(
    level: str, share: float
) -> None:
    assert StoreConfig(level=level).single_fraction == share
    assert StoreConfig(level=level, single_fraction=0.25).single_fraction == 0.25
    assert StoreConfig(level=level, single_fraction=0.0).single_fraction == 0.0


def test_no_photo_gives_more_patches_than_the_bound(tmp_path: Path) -> None:
    config = StoreConfig(stride=7, scales=(1.0,), max_patches=3)
    prepare_store(tmp_path / "store.h5", marked_photos(4), config)
    with PatchStore(tmp_path / "store.h5") as store:
        numbers = [int(patch[0, 0, 0]) for patch in store.read_gt(np.arange(len(store)))]
    assert max(numbers.count(number) for number in range(4)) <= 3


def test_smaller_scales_give_patches_of_the_same_size() -> None:
    photo = marked_photos(1)[0][1].repeat(2, axis=0)
    windows = list(cut_windows(photo, StoreConfig(stride=63, scales=(1.0, 0.5))))
    assert len(windows) == 4 + 1
    assert {central_patch(window).shape for window in windows} == {(63, 63, 3)}


def test_patches_of_a_photo_begin_anywhere_in_its_first_block_of_jpeg() -> None:
    config, starts = StoreConfig(stride=70, scales=(1.0, 0.5)), set()
    for _, photo in marked_photos(40, 140, 210):
        first, *others = cut_windows(photo, config)
        (place,) = (
            (top, left)
            for top in range(8)
            for left in range(8)
            if np.array_equal(central_patch(first), photo[top : top + 63, left : left + 63])
        )
        starts.add(place)
        assert len(others) == 2 * 3 - 1 + 1  # none is lost, and one is half as large
    assert len(starts) > 20


def test_a_window_is_a_patch_with_its_surroundings_and_a_replicated_border() -> None:
    photo = marked_photos(1, 63, 143)[0][1]
    first, second, _ = cut_windows(photo, StoreConfig(stride=40, scales=(1.0,)))
    np.testing.assert_array_equal(central_patch(second), photo[:63, 40:103])
    np.testing.assert_array_equal(
        second[CONTEXT : CONTEXT + 63], photo[:, 40 - CONTEXT : 103 + CONTEXT]
    )
    np.testing.assert_array_equal(second[0], second[CONTEXT])
    np.testing.assert_array_equal(first[:, 0], first[:, CONTEXT])


def test_photos_smaller_than_a_patch_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    small = [("small", np.zeros((62, 200, 3), np.uint8))]
    with pytest.raises(SourceError, match="as large as one patch of 63"):
        prepare_store(tmp_path / "store.h5", small, StoreConfig())
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_leaves_the_older_store_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    prepare_store(path, marked_photos(1), StoreConfig(scales=(1.0,)))
    before = path.read_bytes()

    def break_off() -> Iterator[tuple[str, ByteImage]]:
        yield from marked_photos(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_store(path, break_off(), StoreConfig())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_progress_is_reported_per_photo(tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []
    prepare_store(
        tmp_path / "store.h5",
        marked_photos(2),
        StoreConfig(stride=63, scales=(1.0,), single_fraction=0.0),
        on_photo=lambda name, patches: calls.append((name, patches)),
    )
    assert calls == [("photo_0", 2), ("photo_1", 4)]


def test_a_missing_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no patch store at .*absent"):
        PatchStore(tmp_path / "absent.h5")


def test_patches_that_do_not_divide_by_a_scale_are_refused(store_path: Path) -> None:
    with pytest.raises(PatchSizeError, match="63 pixels a side, which does not divide by 4"):
        PatchStore(store_path, scale=4)
    assert PatchStore(store_path, scale=1).patch_size == 63


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", None])
def test_a_damaged_store_is_refused_in_one_line(
    tmp_path: Path, store_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "damaged.h5"
    path.write_bytes(store_path.read_bytes()[:3000] if content is None else content)
    with pytest.raises(StoreError) as caught:
        PatchStore(path)
    assert "\n" not in str(caught.value)


def test_another_layout_is_refused(tmp_path: Path, store_path: Path) -> None:
    path = tmp_path / "other.h5"
    path.write_bytes(store_path.read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(StoreError, match="another layout"):
        PatchStore(path)
    with h5py.File(path, "w") as file:
        file.attrs["world_version"] = 1
    with pytest.raises(StoreError, match="a set of the world, not a patch store"):
        PatchStore(path)


@pytest.mark.parametrize(
    "values",
    [
        {"single_fraction": 1.5},
        {"holdout": 1.0},
        {"stride": 0},
        {"patch_size": 0},
        {"max_patches": -1},
        {"scales": ()},
        {"scales": (2.0,)},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        StoreConfig(**values)  # type: ignore[arg-type]


def test_a_mistyped_level_gets_a_suggestion() -> None:
    with pytest.raises(ToolchainError, match="did you mean 'moderate'"):
        StoreConfig(level="moderat")


def test_a_store_of_clean_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        StoreConfig(level="clean")


def test_a_store_remembers_the_noise_of_a_camera(tmp_path: Path) -> None:
    config = StoreConfig(level="camera", single_fraction=0.0, scales=(1.0,), stride=63)
    prepare_store(tmp_path / "store.h5", marked_photos(2, 63, 126), config)
    with PatchStore(tmp_path / "store.h5") as store:
        done = store.read_degradation(np.arange(len(store)))
    assert {tuple(step.name for step in each.steps) for each in done} == {("camera", "jpeg")}
    assert len({each.strength("camera") for each in done}) == len(done)


def test_a_store_remembers_whatever_happens_in_the_world(tmp_path: Path) -> None:
    config = StoreConfig(level="world", scales=(1.0,), stride=11, max_patches=30)
    prepare_store(tmp_path / "store.h5", marked_photos(3, 96, 140), config)
    with PatchStore(tmp_path / "store.h5") as store:
        indices = np.arange(len(store))
        done = store.read_degradation(indices)
        lq, gt = store.read_lq(indices), store.read_gt(indices)
    assert lq.shape == gt.shape
    assert all(each.steps and each.scale == 1 for each in done)  # clean pairs are left out
    kinds = {step.name for each in done for step in each.steps}
    assert len(kinds) >= 8
    draw, rng = config.sampler(), np.random.default_rng(1)
    assert {len(draw(rng).steps) for _ in range(200)} == set(range(7))


def test_a_store_of_the_layout_before_is_still_read(tmp_path: Path, store_path: Path) -> None:
    path = tmp_path / "before.h5"
    path.write_bytes(store_path.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["degradation_json"]
        file.attrs["format_version"] = COLUMNS_VERSION
    with PatchStore(path) as before, PatchStore(store_path) as store:
        indices = np.arange(len(store))
        np.testing.assert_array_equal(before.read_lq(indices), store.read_lq(indices))
        np.testing.assert_array_equal(before.read_gt(indices), store.read_gt(indices))
        assert before.attrs == store.attrs
        pairs = zip(before.read_degradation(indices), store.read_degradation(indices), strict=True)
        for old, new in pairs:
            assert [step.name for step in old.steps] == [step.name for step in new.steps]
            for kind in ("blur", "noise", "jpeg"):
                assert old.strength(kind) == pytest.approx(new.strength(kind))
