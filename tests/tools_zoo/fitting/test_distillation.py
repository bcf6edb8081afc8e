"""What a fitted denoiser is distilled from: pictures without noise, and the noise put on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from restoration_toolchain.data.damage.noise_model import KNOTS
from restoration_toolchain.data.images import FloatImage
from restoration_toolchain.tools_zoo.fitting import distillation
from restoration_toolchain.tools_zoo.fitting.distillation import (
    MAX_PIXELS,
    MAX_SIDE,
    DistillConfig,
    Renoised,
    best_shipped_denoiser,
    level_shift,
    make_pictures,
    shrink,
)
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from tests.tools_zoo.conftest import white_noise

NO_SHIFT = np.zeros((3, KNOTS), np.float32)


def ramp(height: int, width: int) -> FloatImage:
    """A picture in which every pixel has its own colour."""
    count = np.arange(height * width * 3, dtype=np.float32).reshape(height, width, 3)
    return np.asarray(0.3 + 0.4 * count / count.size, np.float32)


class Grey(nn.Module):
    """A teacher who makes everything grey, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.full_like(images, 0.5)


def test_pictures_are_what_the_teacher_makes_at_half_the_size() -> None:
    photo = np.random.default_rng(0).random((41, 30, 3), dtype=np.float32)
    (picture,) = make_pictures(nn.Identity(), [photo])
    assert picture.shape == (20, 15, 3)
    means = photo[:40].reshape(20, 2, 15, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(picture, means, atol=1e-6)


def test_of_many_photos_some_are_shown_to_the_teacher() -> None:
    side = MAX_SIDE // 2
    teacher = Grey()
    photos = [np.zeros((side, side, 3), np.float32)] * (2 * MAX_PIXELS // side**2)
    assert len(make_pictures(teacher, photos)) == teacher.calls
    assert len(photos) / 4 < teacher.calls < len(photos)


def test_a_large_photo_is_shown_in_parts() -> None:
    photo = np.zeros((MAX_SIDE + 2, 2 * MAX_SIDE, 3), np.float32)
    pictures = make_pictures(nn.Identity(), [photo])
    half = (MAX_SIDE + 2) // 2
    assert [picture.shape for picture in pictures] == [(half // 2, MAX_SIDE // 2, 3)] * 4


def test_crops_are_of_the_pictures_and_carry_the_noise() -> None:
    picture = ramp(60, 50)
    config = DistillConfig(batch_size=8, patch_size=24, seed=3)
    noisy, clean = Renoised([picture], white_noise(20.0), NO_SHIFT, config)[5]
    assert noisy.shape == clean.shape == (8, 3, 24, 24)
    colours = {tuple(pixel) for pixel in picture.reshape(-1, 3)}
    pixels = clean.permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    assert all(tuple(pixel) in colours for pixel in pixels)
    assert float((noisy - clean).std()) * 255.0 == pytest.approx(20.0, rel=0.05)
    again, _ = Renoised([picture], white_noise(20.0), NO_SHIFT, config)[5]
    other, _ = Renoised([picture], white_noise(20.0), NO_SHIFT, config)[6]
    assert torch.equal(noisy, again)
    assert not torch.equal(noisy, other)


def test_what_a_camera_does_to_brightness_is_put_on_the_pictures_as_the_start_sees_it() -> None:
    class Darker(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images - torch.tensor([0.1, 0.0, 0.0])[:, None, None] * (images > 0.5)

    photo = np.full((200, 200, 3), 0.2, np.float32)
    photo[100:] = 0.85
    shift = level_shift(Darker(), [photo])
    assert shift[0, 12] == pytest.approx(0.1, rel=0.15)  # 0.75 is what becomes of 0.85
    assert shift[0, 3] == shift[0, 8] == 0.0
    assert not shift[1:].any()
    config = DistillConfig(batch_size=2, patch_size=24)
    picture = np.full((30, 30, 3), 0.75, np.float32)
    noisy, clean = Renoised([picture], white_noise(0.0), shift, config)[0]
    change = (noisy - clean).mean(dim=(0, 2, 3)).numpy()
    assert change == pytest.approx([0.1, 0.0, 0.0], abs=0.015)


def test_small_pictures_are_left_out_unless_all_are() -> None:
    config = DistillConfig(batch_size=16, patch_size=24)
    small, large = np.zeros((20, 40, 3), np.float32), np.ones((30, 30, 3), np.float32)
    _, clean = Renoised([small, large], white_noise(1.0), NO_SHIFT, config)[0]
    assert clean.shape[-2:] == (24, 24)
    assert float(clean.min()) == 1.0
    _, clean = Renoised([small, small[:18]], white_noise(1.0), NO_SHIFT, config)[0]
    assert clean.shape[-2:] == (20, 20)


def test_the_denoiser_to_start_from_is_the_one_that_does_best_on_the_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = ToolSpec("nothing", "noise", (0.0, 1.0), "unshuffled_small")
    nothing = Tool(spec, nn.Identity())
    smooth = Tool(replace(spec, name="smooth"), nn.AvgPool2d(3, stride=1, padding=1))
    other = Tool(replace(spec, name="other", task="blur"), nn.AvgPool2d(5, stride=1, padding=2))
    monkeypatch.setattr(distillation, "load_toolbox", lambda: [nothing, smooth, other])
    noise = np.random.default_rng(0).normal(0.0, 20.0 / 255.0, (160, 160, 3))
    noisy = np.asarray(0.5 + noise, np.float32)
    assert best_shipped_denoiser([noisy], white_noise(20.0)) is smooth


def test_shrinking_takes_means() -> None:
    assert shrink(np.full((5, 7, 3), 0.25, np.float32)).shape == (2, 3, 3)
