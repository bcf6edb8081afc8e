"""Properties of sub-images at fixed and at random places."""

import pytest
import torch
from torch import Tensor

from restoration_toolchain.tools_zoo.networks.subsampling import (
    pixel_shuffle_down,
    pixel_shuffle_up,
    random_subsamples,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(num_images: int, num_ch: int, height: int, width: int) -> Tensor:
    """Images whose pixels all differ and tell where they are."""
    count = num_images * num_ch * height * width
    return torch.arange(count, dtype=torch.float64).reshape(num_images, num_ch, height, width)


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_what_is_split_is_put_together_bit_for_bit(stride: int) -> None:
    images = torch.rand(2, 3, 10, 20)
    assert pixel_shuffle_up(pixel_shuffle_down(images, stride), stride).equal(images)


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_a_sub_image_holds_every_so_many_th_row_and_column(stride: int) -> None:
    images = numbered(2, 3, 10, 20)
    sub_images = pixel_shuffle_down(images, stride)
    entry = 0
    for image in images:
        for row in range(stride):
            for column in range(stride):
                assert sub_images[entry].equal(image[:, row::stride, column::stride])
                entry += 1
    assert entry == len(sub_images)


@pytest.mark.parametrize("stride", [2, 3, 5])
def test_random_sub_images_share_out_the_pixels_of_every_cell(stride: int) -> None:
    images = numbered(2, 3, 4 * stride, 5 * stride)
    sub_images = random_subsamples(images, stride, seeded(0))
    assert sub_images.shape == (stride**2, 2, 3, 4, 5)
    regular = pixel_shuffle_down(images, stride).reshape(2, stride**2, 3, 4, 5).transpose(0, 1)
    assert sub_images.sort(dim=0).values.equal(regular.sort(dim=0).values)
    assert not sub_images.equal(regular)


def test_random_sub_images_take_all_channels_from_one_place() -> None:
    plane = numbered(2, 1, 15, 20)
    sub_images = random_subsamples(plane.expand(-1, 3, -1, -1), 5, seeded(0))
    assert sub_images[:, :, 0].equal(sub_images[:, :, 1])
    assert sub_images[:, :, 0].equal(sub_images[:, :, 2])


def test_each_cell_and_each_image_is_permuted_on_its_own() -> None:
    cell = torch.arange(25.0).reshape(1, 1, 5, 5)
    sub_images = random_subsamples(cell.repeat(2, 1, 4, 4), 5, seeded(0))
    orders = sub_images.reshape(25, -1).T  # one row for each cell of each image
    assert len({tuple(order.tolist()) for order in orders}) == len(orders)


def test_the_generator_decides_the_random_sub_images() -> None:
    images = torch.rand(1, 3, 20, 20)
    first = random_subsamples(images, 5, seeded(0))
    assert first.equal(random_subsamples(images, 5, seeded(0)))
    assert not first.equal(random_subsamples(images, 5, seeded(1)))


def test_knowing_where_its_pixels_came_from_the_image_can_be_restored() -> None:
    images = torch.rand(1, 3, 20, 15)
    places = random_subsamples(numbered(1, 1, 20, 15), 5, seeded(7)).flatten().long()
    values = random_subsamples(images, 5, seeded(7))
    restored = torch.empty(3, 20 * 15)
    restored[:, places] = values.movedim(2, 0).flatten(1)
    assert restored.reshape(images.shape).equal(images)


def test_every_order_of_a_cell_is_drawn_alike_often() -> None:
    cell = torch.arange(4.0).reshape(1, 1, 2, 2)
    first = random_subsamples(cell.repeat(1, 1, 100, 100), 2, seeded(0))[0]
    shares = torch.bincount(first.flatten().long()) / first.numel()
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=4 * (0.25 * 0.75 / 10_000) ** 0.5)


def test_sides_that_are_no_multiple_are_refused() -> None:
    with pytest.raises(ValueError, match="20x12 pixels is not a multiple of 5"):
        pixel_shuffle_down(torch.rand(1, 3, 12, 20), 5)
    with pytest.raises(ValueError, match="not a multiple of 5"):
        random_subsamples(torch.rand(1, 3, 20, 12), 5, seeded(0))
