"""Properties of the validation set of the world of damage."""

import dataclasses
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from restoration_toolchain.data.damage.world import FAMILIES
from restoration_toolchain.data.errors import SourceError, UnknownNameError, WorldSetError
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.patches.world_set import (
    UNITS,
    WORLD,
    WorldFamily,
    WorldSetConfig,
    load_world,
    save_world,
    world_set,
)
from restoration_toolchain.data.photos.drawings import DRAWINGS
from tests.conftest import make_photo

NamedPhotos = list[tuple[str, ByteImage]]

FEW = ("motion-blur", "jpeg", "clean", "drawings", "drawings-jpeg", "prints")
SMALL = WorldSetConfig(families=FEW, count=3, photos=2, side=48, photo_side=80)


@pytest.fixture(scope="module")
def large() -> NamedPhotos:
    """Four photos in which a window around a crop has room."""
    return [(f"photo_{seed}", make_photo(seed, 150, 200)) for seed in range(4)]


def made(photos: NamedPhotos, config: WorldSetConfig = SMALL) -> dict[str, WorldFamily]:
    return {family.name: family for family in world_set(photos, config)}


def assert_same(one: WorldFamily, other: WorldFamily) -> None:
    assert one.name == other.name
    for unit in UNITS:
        assert len(one.of(unit)) == len(other.of(unit))
        for pair, twin in zip(one.of(unit), other.of(unit), strict=True):
            assert pair.label == twin.label
            np.testing.assert_array_equal(pair.lq, twin.lq)
            np.testing.assert_array_equal(pair.gt, twin.gt)


def test_the_same_seed_gives_the_same_set_and_another_gives_another(large: NamedPhotos) -> None:
    one, twin = made(large), made(large)
    other = made(large, dataclasses.replace(SMALL, seed=1))
    for name in FEW:
        assert_same(one[name], twin[name])
    assert not np.array_equal(one["jpeg"].crops[0].lq, other["jpeg"].crops[0].lq)


def test_a_family_is_the_same_whichever_others_are_made(large: NamedPhotos) -> None:
    alone = made(large, dataclasses.replace(SMALL, families=("jpeg",)))
    assert_same(made(large)["jpeg"], alone["jpeg"])


def test_every_family_of_the_world_can_be_made(large: NamedPhotos) -> None:
    config = dataclasses.replace(SMALL, families=WORLD, count=1, photos=1)
    families = made(large, config)
    assert tuple(families) == WORLD
    assert set(FAMILIES) < set(WORLD)
    for family in families.values():
        (crop,), (photo,) = family.crops, family.photos
        assert crop.lq.shape == crop.gt.shape == (48, 48, 3)
        assert photo.lq.shape == photo.gt.shape == (80, 80, 3)
        assert family.kind == "damaged" or family.name in FEW[2:]


def test_what_is_clean_is_clean_and_what_is_damaged_is_not(large: NamedPhotos) -> None:
    for family in made(large).values():
        same = [np.array_equal(p.lq, p.gt) for unit in UNITS for p in family.of(unit)]
        if family.kind.startswith("clean"):
            assert all(same)
        elif family.kind == "damaged":
            assert not any(same)


def test_drawings_are_of_every_kind_in_turn(large: NamedPhotos) -> None:
    config = dataclasses.replace(SMALL, families=("drawings",), count=len(DRAWINGS) + 1)
    labels = [pair.label for pair in made(large, config)["drawings"].crops]
    assert labels == [*DRAWINGS, next(iter(DRAWINGS))]


def test_prints_are_photos_in_dots(large: NamedPhotos) -> None:
    family = made(large)["prints"]
    assert [pair.label for pair in family.crops] == ["print"] * 3
    (dots, *_) = family.photos
    assert np.ptp(dots.gt.astype(int)) > 100
    assert not any(np.array_equal(dots.gt, pair.gt) for pair in made(large)["clean"].photos)


def test_drawings_alone_need_no_photo() -> None:
    config = dataclasses.replace(SMALL, families=("drawings", "drawings-jpeg"))
    assert [len(family.crops) for family in world_set([], config)] == [3, 3]


def test_a_crop_saw_its_true_neighbours_when_it_was_blurred() -> None:
    # Stripes that go on beyond a crop: with a border that is continued, its outermost columns
    # would differ from those inside.
    stripes = np.zeros((120, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    config = WorldSetConfig(families=("blur",), count=9, photos=0, side=48, photo_side=400)
    (family,) = world_set([("stripes", stripes)], config)
    assert len(family.crops) == 7
    for pair in family.crops:
        lq = pair.lq.astype(int)
        assert np.abs(lq[:, 2:] - lq[:, :-2]).max() <= 1


def test_large_photos_are_reduced_first(large: NamedPhotos) -> None:
    photo = cv2.resize(large[0][1], (1300, 960), interpolation=cv2.INTER_NEAREST)
    config = dataclasses.replace(SMALL, families=("clean",), count=100)
    family = made([("photo", np.asarray(photo, np.uint8))], config)["clean"]
    assert len(family.crops) == 2 * 3  # of 217x160 pixels, where a window has 112
    assert family.photos[0].gt.shape == (80, 80, 3)


def test_photos_smaller_than_a_crop_are_refused(large: NamedPhotos) -> None:
    config = dataclasses.replace(SMALL, side=100)
    with pytest.raises(SourceError, match="no photo has 164 pixels a side"):
        made(large, config)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no family 'motion-blurr'; did you mean"):
        WorldSetConfig(families=("motion-blurr",))


def test_a_set_comes_back_from_its_file(large: NamedPhotos, tmp_path: Path) -> None:
    families, path = made(large), tmp_path / "world.h5"
    save_world(path, families.values(), SMALL)
    read = list(load_world(path))
    assert [family.name for family in read] == list(FEW)
    for family in read:
        assert_same(family, families[family.name])
    (only,) = load_world(path, ("clean",))
    assert_same(only, families["clean"])
    with pytest.raises(UnknownNameError, match="no family 'webp'"):
        load_world(path, ("webp",))


def test_files_that_are_no_such_set_are_refused(
    large: NamedPhotos, store_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "world.h5"
    with pytest.raises(WorldSetError, match="no set of the world at"):
        load_world(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(WorldSetError, match="not a readable HDF5 file"):
        load_world(path)
    with pytest.raises(WorldSetError, match="is not a set of the world"):
        load_world(store_path)
    save_world(path, world_set(large, SMALL), SMALL)
    with h5py.File(path, "r+") as file:
        file.attrs["world_version"] = 99
    with pytest.raises(WorldSetError, match="a set of version 99, this program reads 1"):
        load_world(path)


def test_a_set_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        save_world(tmp_path / "world.h5", world_set([], SMALL), SMALL)
    assert not list(tmp_path.iterdir())
