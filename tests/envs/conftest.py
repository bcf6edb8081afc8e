"""Toolboxes and pairs for the environments, for tools that keep the size and tools that enlarge."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv
from restoration_toolchain.envs.task import Task, task_at
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox


class Shift(nn.Module):
    """Adds a constant."""

    halo = 0

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount

    def forward(self, lq: Tensor) -> Tensor:
        return lq + self.amount


class Nearest(nn.Module):
    """Enlarges by repeating pixels."""

    halo = 0

    def __init__(self, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lq: Tensor) -> Tensor:
        return functional.interpolate(lq, scale_factor=self.scale, mode="nearest")


@pytest.fixture
def pairs() -> ArrayPairs:
    """Twelve noisy patches of 63x63 and their clean partners."""
    rng = np.random.default_rng(0)
    gt = np.repeat(np.repeat(rng.integers(40, 216, (12, 9, 9, 3)), 7, axis=1), 7, axis=2)
    lq = np.clip(gt + rng.normal(0.0, 20.0, gt.shape), 0, 255)
    return ArrayPairs(lq.astype(np.uint8), gt.astype(np.uint8))


@pytest.fixture
def large_pairs() -> ArrayPairs:
    """Six large patches of blocks, and small ones of 32x32 that are a little darker."""
    rng = np.random.default_rng(0)
    gt = np.repeat(np.repeat(rng.integers(60, 200, (6, 32, 32, 3)), 4, axis=1), 4, axis=2)
    return ArrayPairs((gt[:, ::4, ::4] - 20).astype(np.uint8), gt.astype(np.uint8))


@pytest.fixture
def enlarging() -> Toolbox:
    """A tool that brightens, one that enlarges, and one that darkens."""
    networks = {"brighter": Shift(0.1), "nearest": Nearest(), "darker": Shift(-0.05)}
    specs = {name: ToolSpec(name, "noise", (0, 1), "small") for name in networks}
    specs["nearest"] = ToolSpec("nearest", "sr", (4, 4), "sr_x4", 4)
    return Toolbox("enlarging", [Tool(specs[name], network) for name, network in networks.items()])


@dataclass(frozen=True)
class Setting:
    """What episodes are played with: three tools, and pairs that suit their scale."""

    toolbox: Toolbox
    pairs: ArrayPairs
    scale: int
    count: int = 5

    @property
    def task(self) -> Task:
        return task_at(self.scale)

    def env(self, **options: Any) -> RestorationVecEnv:
        """A new environment on the first pairs."""
        env = RestorationVecEnv(
            self.toolbox, self.pairs, self.count, scale=self.scale, seed=0, **options
        )
        env.set_options([{"index": index} for index in range(self.count)])
        env.reset()
        return env


@pytest.fixture(params=[1, 4], ids=["size kept", "enlarged"])
def setting(
    request: pytest.FixtureRequest,
    tiny_toolbox: Toolbox,
    pairs: ArrayPairs,
    enlarging: Toolbox,
    large_pairs: ArrayPairs,
) -> Setting:
    """Networks that keep the size, and constants of which one enlarges."""
    if request.param == 1:
        return Setting(tiny_toolbox, pairs, 1)
    return Setting(enlarging, large_pairs, 4)
