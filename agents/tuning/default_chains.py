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

from restoration_toolchain.agents.players.play import play_as_trained
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.data.images import to_float, to_tensor
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.chain import Chain
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
        pairs: Pairs that it is to be good for.
        max_steps: Largest number of tools; none is used twice.
        device: Device that they run on.
        precision: Number format that they compute in.
    """
    images, gt = (to_tensor(to_float(side)).to(device) for side in (pairs.lq, pairs.gt))
    scales = toolbox.to(device).scales
    parts = [
        Chain(part, scales, max_steps=max_steps, apply=toolbox.restore)
        for part in torch.split(images, _CHUNK)
    ]
    names: list[str] = []
    reached = float(batch_psnr(images, gt).mean())
    with computing(precision, device):
        while len(names) < max_steps:
            tried = [
                (float(batch_psnr(torch.cat([one.result() for one in after]), gt).mean()), after)
                for after in map(list, zip(*(part.outcomes() for part in parts), strict=True))
            ]
            unused = [action for action, name in enumerate(toolbox.names) if name not in names]
            best = max(unused, key=lambda action: tried[action][0])
            if tried[best][0] <= reached:
                break
            names.append(toolbox.names[best])
            reached, parts = tried[best]
    return tuple(names)


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
        chains: Chains of names of tools. If there are none, the best one is searched, by PSNR and
            for a task that keeps the size.
        margins: Candidates, in dB.
        device: Device that the tools run on.
        precision: Number format that they compute in.

    Returns:
        The same network with the candidate of the largest mean gain.
    """
    if not chains:
        chains = [best_chain(toolbox, pairs, device=device, precision=precision)]
    tried = [
        policy.changed(default_chains=tuple(chains), default_margin=margin) for margin in margins
    ]

    def gain(one: LstmPolicy) -> float:
        played = play_as_trained(one, toolbox, pairs, device=device, precision=precision)
        return played.bounded_gain

    return max(tried, key=gain)
