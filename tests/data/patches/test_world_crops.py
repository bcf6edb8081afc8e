"""Properties of crops of the world: what is drawn how often, and what a pair has in common."""

import numpy as np
import pytest

from restoration_toolchain.data.damage.world import CLEAN_SHARE, FAMILIES
from restoration_toolchain.data.errors import SourceError
from restoration_toolchain.data.images import ByteImage, to_float, to_uint8
from restoration_toolchain.data.patches.world_crops import (
    CLEAN,
    DRAWN_KINDS,
    SURROUNDINGS,
    Crop,
    WorldCrops,
    another_look,
    gather,
)

SIDE = 32
WINDOW = SIDE + 2 * SURROUNDINGS


@pytest.fixture(scope="module")
def photos() -> list[ByteImage]:
    """Two smooth pictures with noise, and one that is too small."""
    rng = np.random.default_rng(0)
    made = []
    for height, width in ((WINDOW + 30, WINDOW + 50), (WINDOW, WINDOW + 9), (WINDOW - 1, 400)):
        coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        made.append(coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width])
    return made


def only(family: str) -> dict[str, float]:
    return {name: float(name == family) for name in FAMILIES}


def drawn(crops: WorldCrops, count: int, seed: int = 0) -> list[Crop]:
    rng = np.random.default_rng(seed)
    return [crops.draw(rng) for _ in range(count)]


def test_crops_are_those_of_their_generator(photos: list[ByteImage]) -> None:
    crops = WorldCrops(photos, side=SIDE)
    first, again, other = (drawn(crops, 12, seed) for seed in (0, 0, 1))
    for one, same in zip(first, again, strict=True):
        assert np.array_equal(one.lq, same.lq)
        assert np.array_equal(one.gt, same.gt)
        assert (one.family, one.degradation) == (same.family, same.degradation)
    assert any(not np.array_equal(a.gt, b.gt) for a, b in zip(first, other, strict=True))
    for side in gather(first):
        assert side.shape == (12, SIDE, SIDE, 3)
        assert side.dtype == np.uint8


def test_as_many_pictures_are_drawn_and_as_many_photos_clean_as_asked(
    photos: list[ByteImage],
) -> None:
    crops = WorldCrops(photos, side=SIDE, weights=only("blur"))
    families = [crop.family for crop in drawn(crops, 300)]
    is_drawn = np.isin(families, DRAWN_KINDS)
    assert is_drawn.mean() == pytest.approx(0.12, abs=0.06)
    is_clean = np.array(families)[~is_drawn] == CLEAN
    assert is_clean.mean() == pytest.approx(CLEAN_SHARE, abs=0.06)
    crops = drawn(WorldCrops(photos, side=SIDE, drawn_share=1.0), 60)
    assert {crop.family for crop in crops} <= set(DRAWN_KINDS)
    assert len({crop.family for crop in crops}) > len(DRAWN_KINDS) // 2


def test_every_family_comes_unless_it_is_left_out(photos: list[ByteImage]) -> None:
    crops = WorldCrops(photos, side=SIDE, drawn_share=0.0)
    seen = {crop.family for crop in drawn(crops, 150)}
    assert seen <= {*FAMILIES, CLEAN}
    assert len(seen) > len(FAMILIES) // 2
    one = FAMILIES[-1]
    crops = WorldCrops(photos, side=SIDE, drawn_share=0.0, weights=only(one))
    assert {crop.family for crop in drawn(crops, 30)} == {one, CLEAN}


def test_what_nothing_happened_to_is_the_same_on_both_sides(photos: list[ByteImage]) -> None:
    crops = drawn(WorldCrops(photos, side=SIDE, drawn_share=0.5), 80)
    untouched = [crop for crop in crops if not crop.degradation.steps]
    assert len(untouched) > 10
    for crop in untouched:
        assert crop.family in (CLEAN, *DRAWN_KINDS)
        assert np.array_equal(crop.lq, crop.gt)
    damaged = [crop for crop in crops if crop.family in FAMILIES]
    assert all(crop.degradation.steps for crop in damaged)
    assert np.mean([not np.array_equal(crop.lq, crop.gt) for crop in damaged]) > 0.8


def test_a_crop_is_damaged_with_what_lies_around_it(photos: list[ByteImage]) -> None:
    crops = WorldCrops(photos, side=SIDE, drawn_share=0.0, weights=only("defocus"))
    at_border = []
    for crop in drawn(crops, 12):
        if crop.family == CLEAN:
            continue
        steps = [step for step in crop.degradation.steps if step.name == "defocus"]
        if len(steps) != len(crop.degradation.steps):
            continue  # noise or a file behind it
        alone = to_uint8(crop.degradation.apply(to_float(crop.gt), np.random.default_rng(0)))
        difference = np.abs(alone.astype(int) - crop.lq)
        assert difference[10:-10, 10:-10].max() <= 1  # far from the border it is the same
        at_border.append(difference.max())
    assert at_border
    assert max(at_border) > 5


def test_another_look_is_still_a_picture(photos: list[ByteImage]) -> None:
    window = to_float(np.ascontiguousarray(photos[0][:WINDOW, :WINDOW]))
    before = window.copy()
    rng = np.random.default_rng(0)
    looks = [another_look(window, rng) for _ in range(20)]
    assert np.array_equal(window, before)
    for look in looks:
        assert look.shape == window.shape
        assert look.dtype == np.float32
        assert 0.0 <= look.min() <= look.max() <= 1.0
    assert len({look.tobytes() for look in looks}) > 15


def test_photos_that_are_too_small_are_an_error(photos: list[ByteImage]) -> None:
    with pytest.raises(SourceError, match=f"no photo has {WINDOW} pixels a side"):
        WorldCrops(photos[2:], side=SIDE)
