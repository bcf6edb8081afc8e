"""Properties of what the terms of a loss look at."""

import torch
from torch import Tensor

from tools_zoo.encoders import Semantics
from tools_zoo.generative.terms import MAX_SHIFT, Made


class Witness:
    """An encoder that hands on what it is shown."""

    name = "witness"
    map_channels = (3,)
    num_embedding = 3
    logit_scale = 1.0
    min_side = 1

    def __call__(self, images: Tensor) -> Semantics:
        return Semantics((images,), images.mean(dim=(2, 3)))


def shift(shown: Tensor, images: Tensor) -> tuple[int, int]:
    """By how many rows and columns images were moved."""
    return next(
        (down, right)
        for down in range(MAX_SHIFT)
        for right in range(MAX_SHIFT)
        if torch.equal(shown, torch.roll(images, (down, right), dims=(-2, -1)))
    )


def test_an_encoder_sees_all_images_of_a_step_moved_alike_and_those_of_others_not() -> None:
    restored, gt = torch.rand(2, 3, 40, 40), torch.rand(2, 3, 40, 40)
    shifts = set()
    for step in range(8):
        made = Made(restored, restored, gt, step, Witness())
        moved = shift(made.restored_seen.maps[0], restored)
        assert shift(made.gt_seen.maps[0], gt) == moved
        again = Made(restored, restored, gt, step, Witness())
        assert shift(again.gt_seen.maps[0], gt) == moved
        shifts.add(moved)
    assert len(shifts) > 4
