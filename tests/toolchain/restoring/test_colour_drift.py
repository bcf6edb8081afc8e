"""Properties of the bound on what tools do to brightness and colour."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from restoration_toolchain.data.images import to_float
from restoration_toolchain.toolchain.restoring.colour_drift import (
    AREA,
    LIMIT,
    bound_drift,
    colour_drift,
)
from tests.toolchain.conftest import SEQUENCE, MakeRestorer, random_samples


@pytest.mark.parametrize(("height", "width"), [(10, 300), (64, 64), (150, 200)])
def test_a_small_move_is_left_alone_and_a_large_one_is_bounded(height: int, width: int) -> None:
    torch.manual_seed(0)
    before = torch.rand(1, 3, height, width) * 0.3 + 0.3
    small = before + 0.9 * LIMIT
    assert bound_drift(before, small) is small
    large = before.clone()
    large[:, 0] += 0.3  # everything turns red
    bounded = bound_drift(before, large)
    moved = torch.nn.functional.avg_pool2d(bounded - before, AREA, ceil_mode=True)
    assert moved.abs().max() <= LIMIT + 1e-5
    assert moved[:, 0].min() == pytest.approx(LIMIT, abs=1e-5)
    assert torch.equal(bounded[:, 1:], large[:, 1:])  # the other colours are as they were


def test_texture_is_kept_where_brightness_is_taken_back() -> None:
    before = torch.full((1, 3, AREA, AREA), 0.2)
    texture = 0.05 * torch.randn(1, 3, AREA, AREA, generator=torch.Generator().manual_seed(0))
    bounded = bound_drift(before, before + 0.4 + texture)
    for image in (bounded, texture):
        image -= image.mean(dim=(2, 3), keepdim=True)
    assert torch.allclose(bounded, texture, atol=1e-5)


def test_the_drift_of_every_step_is_in_the_trace(make_restorer: MakeRestorer) -> None:
    photo = to_float(random_samples(80, 100))
    restoration = make_restorer(*SEQUENCE).restore(photo, keep_frames=True)
    frames = restoration.frames
    entries = restoration.trace()["steps"]
    for before, after, entry in zip(frames, frames[1:], entries, strict=False):
        assert entry["colour_drift"] == colour_drift(before, after)
        assert entry["colour_drift"] > 0.0
    assert entries[-1]["colour_drift"] is None  # stop
    assert colour_drift(photo, photo) == 0.0
    brighter = (photo + np.float32(10 / 255)).astype(np.float32)
    assert colour_drift(photo, brighter) == pytest.approx(10.0, abs=1e-3)
    assert colour_drift(photo, photo[:40]) is None


@pytest.mark.parametrize(("height", "width"), [(64, 64), (200, 130), (70, 300)])
def test_what_is_taken_back_changes_smoothly_over_the_whole_photo(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.rand(1, 3, height, width, generator=generator)
    shift = torch.rand(1, 3, -(-height // AREA), -(-width // AREA), generator=generator) - 0.5
    moved = functional.interpolate(shift, scale_factor=AREA, mode="nearest")
    after = before + moved[..., :height, :width]
    excess = shift - shift.clamp(-LIMIT, LIMIT)
    field = functional.interpolate(excess, scale_factor=AREA, mode="bilinear")
    expected = after - field[..., :height, :width]
    torch.testing.assert_close(bound_drift(before, after.clone()), expected, atol=1e-4, rtol=0.0)
