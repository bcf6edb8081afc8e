"""Properties of hidden sets."""

import pytest
import torch
from torch import Tensor

from restoration_toolchain.tools_zoo.networks.masks import (
    MaskKind,
    checkerboard_masks,
    draw_half,
    random_masks,
)


def drawn(count: int) -> Tensor:
    return random_masks(count, 6, 40, 50, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_hidden_sets_cover_every_pixel_exactly_once(count: int) -> None:
    masks = drawn(count)
    assert masks.shape == (count, 6, 1, 40, 50)
    assert (masks.sum(dim=0) == 1).all()


@pytest.mark.parametrize("count", [2, 4])
def test_each_set_hides_its_share(count: int) -> None:
    share = 1.0 / count
    deviation = (share * (1.0 - share) / (6 * 40 * 50)) ** 0.5
    for hidden in drawn(count):
        assert float(hidden.float().mean()) == pytest.approx(share, abs=4.0 * deviation)


def test_each_image_has_masks_of_its_own() -> None:
    hidden = drawn(2)[0]
    assert len({image.numpy().tobytes() for image in hidden}) == len(hidden)


@pytest.mark.parametrize(("height", "width"), [(6, 8), (5, 7), (1, 1)])
def test_a_checkerboard_alternates_between_two_sets(height: int, width: int) -> None:
    masks = checkerboard_masks(height, width)
    assert masks.shape == (2, 1, 1, height, width)
    assert (masks.sum(dim=0) == 1).all()
    assert masks[0, 0, 0, 0, 0]
    board = masks[0, 0, 0]
    assert (board[1:] ^ board[:-1]).all()
    assert (board[:, 1:] ^ board[:, :-1]).all()


@pytest.mark.parametrize("kind", ["checkerboard", "random"])
def test_half_of_the_pixels_is_drawn_for_every_image(kind: MaskKind) -> None:
    hidden = draw_half(kind, 40, 20, 30, torch.Generator().manual_seed(0))
    assert hidden.shape == (40, 1, 20, 30)
    assert float(hidden.float().mean()) == pytest.approx(0.5, abs=0.02)
    again = draw_half(kind, 40, 20, 30, torch.Generator().manual_seed(0))
    assert hidden.equal(again)


def test_either_colour_of_the_checkerboard_is_drawn() -> None:
    hidden = draw_half("checkerboard", 40, 6, 7, torch.Generator().manual_seed(0))
    white = checkerboard_masks(6, 7)[0, 0]
    first = (hidden == white).flatten(1).all(dim=1)
    second = (hidden == ~white).flatten(1).all(dim=1)
    assert (first ^ second).all()
    assert 10 <= int(first.sum()) <= 30
