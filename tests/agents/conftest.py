"""Small toolboxes and pairs that agents are tested with."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn import functional

from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.tools_zoo.storage import save_toolbox
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox


class Shift(torch.nn.Module):
    """Adds a constant: a tool whose effect is known."""

    halo = 0

    def __init__(self, amount):
        super().__init__()
        self.amount = amount

    def forward(self, lq):
        return lq + self.amount


class Nearest(torch.nn.Module):
    """Enlarges by repeating pixels, and changes them by a constant."""

    halo = 0
    scale = 4

    def __init__(self, amount):
        super().__init__()
        self.amount = amount

    def forward(self, lq):
        return functional.interpolate(lq, scale_factor=4, mode="nearest") + self.amount


@pytest.fixture
def shifts():
    """Three tools that brighten by 0.1, darken by 0.1 and brighten by 0.2."""
    amounts = {"brighter": 0.1, "darker": -0.1, "much_brighter": 0.2}
    return Toolbox(
        "shifts",
        [Tool(ToolSpec(n, "noise", (0, 1), "small"), Shift(a)) for n, a in amounts.items()],
    )


@pytest.fixture
def dark_pairs():
    """Sixteen grey pairs whose degraded side is 0.1, 0.2, 0.3 or 0 too dark."""
    rng = np.random.default_rng(0)
    gt = rng.integers(100, 140, (16, 63, 63, 3)).astype(np.uint8)
    lack = np.tile([26, 51, 77, 0], 4).astype(np.uint8)
    # A little noise keeps the best outcome near 30 dB, a gain that a network learns quickly.
    noise = np.rint(rng.normal(0, 8, gt.shape)).clip(-20, 20)
    return ArrayPairs((gt - lack[:, None, None, None] + noise).astype(np.uint8), gt)


@pytest.fixture
def toolbox_folder(tmp_path):
    """A saved toolbox of two tools with fresh weights."""
    torch.manual_seed(0)
    specs = [ToolSpec("a", "noise", (0, 1), "small"), ToolSpec("b", "blur", (0, 1), "small")]
    save_toolbox(Toolbox("pair", [Tool(spec) for spec in specs]), tmp_path / "toolbox")
    return tmp_path / "toolbox"


@pytest.fixture
def enlarging():
    """A tool that brightens, one that enlarges, and one that enlarges and darkens."""
    networks = {"nearest": Nearest(0.0), "dark": Nearest(-0.2)}
    specs = [ToolSpec(name, "sr", (4, 4), "sr_x4", 4) for name in networks]
    enlargers = [Tool(s, n) for s, n in zip(specs, networks.values(), strict=True)]
    brighter = Tool(ToolSpec("brighter", "noise", (0, 1), "small"), Shift(0.1))
    return Toolbox("enlarging", [brighter, *enlargers])


@pytest.fixture
def blocks():
    """Large patches of blocks, and small ones that lack 0.1 in half of the pairs."""
    rng = np.random.default_rng(0)
    small = rng.integers(60, 200, (8, 32, 32, 3)).astype(np.uint8)
    gt = small.repeat(4, axis=1).repeat(4, axis=2)
    lack = np.tile([26, 0], 4).astype(np.uint8)
    return ArrayPairs(small - lack[:, None, None, None], gt)


@dataclass
class Setting:
    """Three tools, pairs that suit their scale, and what that is."""

    toolbox: Toolbox
    pairs: ArrayPairs
    scale: int


@pytest.fixture(params=[1, 4], ids=["size kept", "enlarged"])
def setting(request, shifts, dark_pairs, enlarging, blocks):
    """The tools that keep the size, and those of which two enlarge."""
    if request.param == 1:
        return Setting(shifts, dark_pairs, 1)
    return Setting(enlarging, blocks, 4)
