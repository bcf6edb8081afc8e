"""Small toolboxes and pairs that agents are tested with."""

import numpy as np
import pytest
import torch

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
