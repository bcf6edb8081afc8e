"""Chains that an agent follows unless it is sure of something better.

Values are estimates, and the largest of many is likely an overestimate. Where one sequence of
tools is good for nearly everything, an agent that departs from it for every hundredth of a dB does
worse than the sequence. So it departs only where it expects to gain more by a margin, as policies
that are improved safely follow the old one where they know too little.

Source:
    The idea is that of Laroche et al., "Safe policy improvement with baseline bootstrapping", ICML
    2019; the margin is this project's.
"""

from collections.abc import Sequence
from typing import Final

import torch

from restoration_toolchain.agents.players.play import play
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.data.images import to_float, to_tensor
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.tools_zoo.precision import Precision, computing
from restoration_toolchain.tools_zoo.toolbox import Toolbox

MARGINS: Final = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Candidates in dB; the chain is followed nearly always with the last."""

_CHUNK: Final = 64


def best_chain(
    toolbox: Toolbox,
    pairs: ArrayPairs,
    *,
    max_steps: int = 2,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
) -> tuple[str, ...]:
    """The sequence that gains most on average, each tool chosen for what those before it leave.

    Args:
        toolbox: The tools.
        pairs: What it is to be good for.
        max_steps: Tools, at most; none is used twice.
        device: Where they run.
        precision: What they compute in.
    """
    images, gt = (to_tensor(to_float(side)) for side in (pairs.lq, pairs.gt))
    chain: list[str] = []
    reached = float(batch_psnr(images, gt).mean())
    while len(chain) < max_steps:
        tried = {}
        for tool in toolbox:
            if tool.spec.name not in chain:
                with computing(precision, device):
                    restored = _run(tool, images, device)
                tried[tool.spec.name] = (float(batch_psnr(restored, gt).mean()), restored)
        name = max(tried, key=lambda tool: tried[tool][0])
        if tried[name][0] <= reached:
            break
        chain.append(name)
        reached, images = tried[name]
    return tuple(chain)


def tune_default_chains(
    policy: LstmPolicy,
    toolbox: Toolbox,
    pairs: ArrayPairs,
    *,
    chains: Sequence[tuple[str, ...]] = (),
    margins: Sequence[float] = MARGINS,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
) -> LstmPolicy:
    """Give a policy chains to fall back on, and the margin that serves it best.

    Args:
        policy: The policy; not changed. It is judged at its own task, by its own reward.
        toolbox: Its tools.
        pairs: Validation pairs.
        chains: Names of tools each; none takes the best chain there is, of a task that keeps the
            size and by PSNR.
        margins: Candidates, in dB.
        device: Where the tools run.
        precision: What they compute in.

    Returns:
        The same network with the candidate of the largest mean gain.
    """
    if not chains:
        chains = [best_chain(toolbox, pairs, device=device, precision=precision)]
    tried = [
        policy.changed(default_chains=tuple(chains), default_margin=margin) for margin in margins
    ]

    def gain(one: LstmPolicy) -> float:
        return play(
            one,
            toolbox,
            pairs,
            task=one.task,
            reward=one.reward,
            device=device,
            precision=precision,
        ).bounded_gain

    return max(tried, key=gain)


@torch.inference_mode()
def _run(tool: torch.nn.Module, images: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    return torch.cat([tool(part.to(device)).cpu() for part in torch.split(images, _CHUNK)])
