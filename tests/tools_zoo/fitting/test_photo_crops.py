"""Properties of the crops that a tool is fitted to."""

import numpy as np
import pytest
import torch

from restoration_toolchain.data.errors import ImageFormatError, ToolchainError
from restoration_toolchain.data.images import FloatImage
from restoration_toolchain.tools_zoo.fitting.photo_crops import (
    MAX_HELD_OUT,
    PhotoCrops,
    split_photos,
)


def numbered(height: int, width: int, first: int = 0) -> FloatImage:
    """A photo whose pixels all differ; exact in float32."""
    numbers = first + np.arange(height * width, dtype=np.float32).reshape(height, width, 1)
    return np.repeat(numbers, 3, axis=2)


@pytest.mark.parametrize(("height", "width"), [(100, 160), (160, 100), (40, 80), (400, 90)])
def test_held_out_pixels_are_no_training_pixels(height: int, width: int) -> None:
    split = split_photos([numbered(height, width)], patch_size=60, stride=5)
    (train,) = split.train
    train_pixels, held_out_pixels = set(train.ravel()), set(split.held_out.flatten().tolist())
    assert not train_pixels & held_out_pixels
    assert train_pixels | held_out_pixels <= set(numbered(height, width).ravel())
    assert len(train_pixels) >= height * width / 2


@pytest.mark.parametrize("stride", [2, 5])
def test_the_sides_of_all_crops_are_multiples_of_the_stride(stride: int) -> None:
    photos = [numbered(101, 163), numbered(155, 97)]
    split = split_photos(photos, patch_size=63, stride=stride)
    assert [side % stride for side in split.held_out.shape[-2:]] == [0, 0]
    assert split.side == 63 // stride * stride


def test_crops_shrink_to_the_smallest_photo() -> None:
    split = split_photos([numbered(300, 200), numbered(95, 62)], patch_size=120, stride=5)
    assert split.side == 55  # 95 less 40 held out
    crops, _ = PhotoCrops(split.train, split.side, batch_size=20, seed=0)[0]
    assert crops.shape == (20, 3, 55, 55)


def test_of_many_photos_a_bounded_number_of_crops_is_held_out() -> None:
    split = split_photos([numbered(200, 300, 1000 * i) for i in range(9)], patch_size=50, stride=2)
    assert len(split.held_out) == MAX_HELD_OUT
    assert len(split.held_out.unique(dim=0)) == MAX_HELD_OUT


def test_a_batch_is_a_pure_function_of_the_seed_and_its_number() -> None:
    photos = [np.random.default_rng(0).random((60, 70, 3), dtype=np.float32)]

    def batch(seed: int, index: int) -> tuple[torch.Tensor, int]:
        return PhotoCrops(photos, 40, batch_size=3, seed=seed)[index]

    crops, drawn = batch(0, 5)
    again, drawn_again = batch(0, 5)
    assert crops.equal(again)
    assert drawn == drawn_again
    for other, other_drawn in (batch(0, 6), batch(1, 5)):
        assert not crops.equal(other)
        assert drawn != other_drawn


def test_crops_come_from_everywhere_in_all_eight_orientations() -> None:
    photos = [numbered(12, 14), numbered(20, 9, 1000)]
    batches = PhotoCrops(photos, 8, batch_size=50, seed=0)
    crops = torch.cat([batches[index][0] for index in range(8)])
    assert set(crops.flatten().tolist()) == {value for p in photos for value in p.ravel()}
    steps = crops[:, 0, [0, 1], [1, 0]] - crops[:, 0, 0, :1]  # to the right, and down
    assert {tuple(step) for step in steps.tolist()} == {
        step
        for width in (14, 9)
        for step in ((1, width), (-1, width), (1, -width), (-1, -width),
                     (width, 1), (width, -1), (-width, 1), (-width, -1))
    }  # fmt: skip


def test_a_large_photo_is_seen_more_often() -> None:
    photos = [np.zeros((108, 108, 3), np.float32), np.ones((28, 58, 3), np.float32)]
    crops, _ = PhotoCrops(photos, 8, batch_size=2000, seed=0)[0]
    share = (21 * 51) / (21 * 51 + 101 * 101)
    assert float(crops.mean()) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(("height", "width"), [(39, 200), (200, 39), (60, 79), (1, 1)])
def test_a_photo_too_small_to_learn_from_is_refused_in_one_line(height: int, width: int) -> None:
    with pytest.raises(ToolchainError, match=f"{width}x{height} pixels is too small") as caught:
        split_photos([numbered(200, 200), numbered(height, width)], patch_size=120, stride=5)
    assert "at least 80x40" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_photo_at_all_and_no_photo_are_refused() -> None:
    with pytest.raises(ToolchainError, match="no photo to learn from"):
        split_photos([], patch_size=120, stride=5)
    with pytest.raises(ImageFormatError, match="float32 RGB"):
        split_photos([np.zeros((90, 90, 3))], patch_size=60, stride=5)  # type: ignore[list-item]
