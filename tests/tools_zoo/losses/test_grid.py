"""Properties of the loss on patterns of the grid."""

import torch

from restoration_toolchain.tools_zoo.losses.grid import grid_loss


def test_only_what_repeats_with_the_blocks_counts() -> None:
    torch.manual_seed(0)
    gt = torch.rand(2, 3, 48, 48)
    dots = torch.zeros_like(gt)
    dots[..., 1::4, 2::4] = 0.1
    noise = dots.flatten()[torch.randperm(dots.numel())].view_as(dots)
    assert float(grid_loss(gt, gt, 4)) == 0.0
    assert float(grid_loss(gt + 0.1, gt, 4)) < 1e-6
    pattern = float(grid_loss(gt + dots, gt, 4))
    # One place of 16 differs by 0.1, and all from their mean by a 16th of that.
    assert abs(pattern - 0.1 * 2 * 15 / 16**2) < 1e-5
    assert float(grid_loss(gt + noise, gt, 4)) < 0.5 * pattern


def test_a_pattern_in_a_part_of_the_image_counts_there() -> None:
    gt = torch.rand(1, 3, 48, 48)
    dots = torch.zeros_like(gt)
    dots[..., ::4, :24:4] = 0.1
    whole = torch.zeros_like(gt)
    whole[..., ::4, ::4] = 0.1
    part = float(grid_loss(gt + dots, gt, 4))
    assert (
        0.3 * float(grid_loss(gt + whole, gt, 4)) < part < 0.7 * float(grid_loss(gt + whole, gt, 4))
    )


def test_a_gradient_takes_the_pattern_away() -> None:
    gt = torch.rand(1, 3, 40, 40)
    restored = gt.clone()
    restored[..., ::4, ::4] += 0.1
    restored.requires_grad_()
    grid_loss(restored, gt, 4).backward()
    assert restored.grad is not None
    assert restored.grad[..., ::4, ::4].sum() > 0.0
    assert torch.isfinite(restored.grad).all()
