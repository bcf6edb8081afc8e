"""Properties of what the terms of a loss look at."""

import torch
from torch import Tensor

from restoration_toolchain.tools_zoo.encoders import Semantics
from restoration_toolchain.tools_zoo.enlarging.draws import step_generator
from restoration_toolchain.tools_zoo.enlarging.terms import MAX_SHIFT, Made


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


def test_what_is_drawn_in_a_step_depends_on_the_seed_the_step_and_who_draws() -> None:
    keys = [(seed, step, who) for seed in (0, 1, 2, 2**31) for step in (0, 9) for who in (1, 500)]
    drawn = {key: tuple(torch.rand(4, generator=step_generator(*key)).tolist()) for key in keys}
    assert len(set(drawn.values())) == len(keys)
    assert drawn[1, 9, 1] == tuple(torch.rand(4, generator=step_generator(1, 9, 1)).tolist())
    images = torch.rand(1, 3, 8, 8)
    asked = [Made(images, images, images, 5, seed=seed).generator("look") for seed in (0, 3)]
    assert not torch.rand(4, generator=asked[0]).equal(torch.rand(4, generator=asked[1]))


def test_seed_0_draws_what_was_drawn_before_there_was_one() -> None:
    before = torch.Generator().manual_seed((7 << 16) + 500)
    assert torch.rand(4, generator=step_generator(0, 7, 500)).equal(torch.rand(4, generator=before))


def test_what_critics_learn_from_keeps_the_seed() -> None:
    images = torch.rand(1, 3, 8, 8)
    assert Made(images, images, images, 5, seed=3).detached().seed == 3
