"""Properties of training in bfloat16."""

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from restoration_toolchain.tools_zoo.training.mixed_precision import MixedBf16


def test_training_in_bfloat16_does_not_round_images() -> None:
    fabric = Fabric(accelerator="cpu", plugins=MixedBf16("cpu"))
    module = fabric.setup_module(_Skip())
    images = torch.rand(2, 3, 8, 8)
    unchanged, convolved = module(images)
    assert torch.equal(unchanged, images)
    assert convolved.dtype == torch.float32
    # Still, what is computed is bfloat16: numbers of eight bits.
    assert torch.equal(convolved, convolved.bfloat16().float())


class _Skip(nn.Module):
    """Hands out its input, and a convolution of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, self.conv(images)
