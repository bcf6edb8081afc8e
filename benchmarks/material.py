"""What the benchmarks work on: tools, a policy that plays a fixed sequence, photos and a store."""

import math
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from restoration_toolchain.agents.policy.lstm_policy import Judgement, LstmPolicy
from restoration_toolchain.agents.policy.q_net import LstmState, RecurrentQNet
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.patches.store import StoreConfig, prepare_store
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.tools_zoo.catalog import TOOLBOXES
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox

CHAINS: Final = {
    ("classic", "small"): ("denoise_2", "deblock_2", "deblur_2"),
    ("classic", "large"): ("denoise_3", "deblock_3", "deblur_3"),
    ("efficient", "small"): ("denoise_e2", "deblock_e2", "deblur_e2"),
    ("efficient", "large"): ("denoise_e3", "deblock_e3", "deblur_e3"),
}
"""Three tools each, by toolbox and by the size of the tools."""

_BLOCK: Final = 256  # pixels


def make_toolbox(name: str) -> Toolbox:
    """The tools of a catalogue with reproducible random weights: training changes no speed."""
    torch.manual_seed(0)
    toolbox = Toolbox(name, [Tool(spec) for spec in TOOLBOXES[name]])
    with torch.no_grad():
        for tool in toolbox:  # near the identity, so that photos stay photos along a chain
            *_, last = (m for m in tool.network.modules() if isinstance(m, nn.Conv2d))
            last.weight.mul_(0.05)
    toolbox.requires_grad_(False).eval()
    return toolbox.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


class ScriptedPolicy(LstmPolicy):
    """Looks as the trained policy does, at the same cost, and then plays a fixed sequence.

    Args:
        toolbox: The tools to choose from.
        sequence: Names of tools, all different; *stop* follows the last.
    """

    def __init__(self, toolbox: Toolbox, sequence: tuple[str, ...]) -> None:
        torch.manual_seed(0)
        super().__init__(RecurrentQNet(len(toolbox)), toolbox.names)
        actions = [toolbox.names.index(name) for name in sequence]
        # At the start of an episode the previous action is stop.
        self._next = dict(zip([toolbox.stop, *actions], [*actions, toolbox.stop], strict=True))

    def judge(
        self, seen: Tensor, last_action: Tensor, state: LstmState, *, together: bool = False
    ) -> tuple[Judgement, LstmState]:
        """Value the next action of the sequence at 1 dB, all others at 0."""
        judged, state = super().judge(seen, last_action, state, together=together)
        values = torch.zeros_like(judged.values)
        values[:, self._next[int(last_action[0])]] = 1.0
        return Judgement(values, judged.risks), state


def synthetic_photo(height: int, width: int) -> ByteImage:
    """A smooth, slightly noisy picture of any size; RGB uint8 (height, width, 3)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    block = cv2.resize(coarse, (_BLOCK, _BLOCK), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    block += rng.normal(0.0, 10.0, block.shape)
    tile = np.clip(block, 0, 255).astype(np.uint8)
    repeats = (math.ceil(height / _BLOCK), math.ceil(width / _BLOCK), 1)
    return np.ascontiguousarray(np.tile(tile, repeats)[:height, :width])


def make_store(path: Path, *, quick: bool) -> None:
    """Prepare a patch store of the embedded photos: some thousands of pairs, or a few."""
    config = StoreConfig(stride=96, max_patches=20) if quick else StoreConfig(stride=20)
    prepare_store(path, open_source("embedded"), config)
