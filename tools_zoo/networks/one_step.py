"""A diffusion in pixel space that is distilled to one step, on the grid of the small image."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.data.scaling import upsample_bicubic
from restoration_toolchain.tools_zoo.networks.diffusion import Shifting
from restoration_toolchain.tools_zoo.networks.super_resolution import NUM_BLOCK, NUM_FEAT, Enlarger

STEPS: Final = 8
"""T of the teacher."""

PERIOD: Final = 32
"""Pixels of the small image after which the noise repeats, so that every tile finds the same."""


class ShiftNet(nn.Module):
    """Predicts the clean image from a noisy state, its enlargement, and the step.

    `tools_zoo.networks.super_resolution.SrNet`, which also sees the state, folded to the grid of
    the small image, and whose blocks are modulated by the step. With the weights of an SrNet it
    begins as that: what is new starts at zero.
    """

    scale = 4

    def __init__(self) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(3, NUM_FEAT, 3, padding=1)
        self.conv_state = nn.Conv2d(3 * self.scale**2, NUM_FEAT, 3, padding=1, bias=False)
        nn.init.zeros_(self.conv_state.weight)
        self.blocks = nn.ModuleList(_TimedBlock(NUM_FEAT) for _ in range(NUM_BLOCK))
        self.conv_trunk = nn.Conv2d(NUM_FEAT, NUM_FEAT, 3, padding=1)
        self.enlarger = Enlarger(NUM_FEAT, self.scale)
        self.halo = 2 * NUM_BLOCK + 2 + self.enlarger.halo

    def forward(self, lq: Tensor, state: Tensor, step: Tensor) -> Tensor:
        """Predict the clean image.

        Args:
            lq: Small images (N, 3, H, W) in [0, 1].
            state: What `networks.diffusion.Shifting.seen` returns, (N, 3, H * scale, W * scale).
            step: Number of the step, 0 (clean) to `STEPS`, (N,) int64.

        Returns:
            (N, 3, H * scale, W * scale) in [0, 1], not clipped.
        """
        first = self.conv_first(lq) + self.conv_state(functional.pixel_unshuffle(state, self.scale))
        feat = first
        for block in self.blocks:
            feat = block(feat, step)
        feat = self.conv_trunk(feat) + first
        out: Tensor = upsample_bicubic(lq, self.scale) + self.enlarger(feat)
        return out


class _TimedBlock(nn.Module):
    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv2.weight.data.mul_(0.1)
        self.time = nn.Embedding(STEPS + 1, 2 * num_feat)
        nn.init.zeros_(self.time.weight)

    def forward(self, feat: Tensor, step: Tensor) -> Tensor:
        gain, shift = self.time(step)[:, :, None, None].chunk(2, dim=1)
        residual: Tensor = self.conv2(torch.relu((1.0 + gain) * self.conv1(feat) + shift))
        return feat + residual


class OneStepNet(nn.Module):
    """A student that enlarges in one call, beside the teacher that takes `STEPS` of them.

    Attributes:
        steps: Calls per image: 1 runs the student, 2 to `STEPS` the teacher.
        seed: Seed of the noise. The same image comes out each time, and another with another seed.

    Source:
        The process is that of ResShift, Yue et al., NeurIPS 2023; that one step is enough after
        distillation is SinSR's, Wang et al., CVPR 2024. After VPD-SR, arXiv 2506.02605.
    """

    grid = PERIOD
    """A tile must start at a multiple of this many pixels, or it finds other noise."""

    def __init__(self) -> None:
        super().__init__()
        self.student = ShiftNet()
        self.teacher = ShiftNet().requires_grad_(False)
        self.scale = self.student.scale
        self.halo = self.student.halo
        self.shifting = Shifting(STEPS)
        self.steps = 1
        self.seed = 0

    def forward(self, lq: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to (N, 3, H * scale, W * scale), not clipped."""
        noise = self.noise(lq.shape[-2], lq.shape[-1]).to(lq)
        return self.sample(lq, noise, self.steps)

    def sample(self, lq: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Enlarge with noise (N or 1, 3, H * scale, W * scale) that is given.

        Raises:
            ValueError: ``steps`` does not lie in 1 to `STEPS`.
        """
        network = self.student if steps == 1 else self.teacher
        y = enlarged(lq, self.scale)

        def predict(state: Tensor, t: int) -> Tensor:
            step = torch.full((len(lq),), t, device=lq.device)
            clean: Tensor = network(lq, self.shifting.seen(state, y, step), step)
            return 2.0 * clean - 1.0

        return 0.5 * (self.shifting.sample(predict, y, noise, steps) + 1.0)

    def noise(self, height: int, width: int) -> Tensor:
        """The noise of a small image, (1, 3, height * scale, width * scale), standard normal."""
        generator = torch.Generator().manual_seed(self.seed)
        side = PERIOD * self.scale
        cell = torch.randn(1, 3, side, side, generator=generator)
        rows, columns = (torch.arange(length * self.scale) % side for length in (height, width))
        return cell[:, :, rows[:, None], columns[None, :]]


def enlarged(lq: Tensor, scale: int) -> Tensor:
    """The bicubic enlargement of images in [0, 1], in [-1, 1]."""
    return 2.0 * upsample_bicubic(lq, scale) - 1.0
