"""The cost of a row of a suite: parameters and multiply-accumulates."""

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import VIEW_SIZE, LstmState
from restoration_toolchain.toolchain.measuring.suite.contenders import Contender
from restoration_toolchain.tools_zoo.macs import count_macs
from restoration_toolchain.tools_zoo.networks import build_network


class Cost(NamedTuple):
    """Means over a set of patches, as `results.Row` has them."""

    parameters: int
    parameters_run: float
    macs: float


def cost_of(contender: Contender, actions: npt.NDArray[np.int64], patch_size: int) -> Cost:
    """Count what playing took.

    Args:
        contender: The player.
        actions: Its actions, (N, max_steps), see `agents.players.play.EpisodeResults`.
        patch_size: Side of the patches in pixels.
    """
    specs = [tool.spec for tool in contender.toolbox]
    # One more entry each, for stop.
    params = np.array([*(spec.num_params for spec in specs), 0])
    macs = np.array([*(_tool_macs(spec.network, patch_size) for spec in specs), 0])
    agent_params = per_decision = 0
    if isinstance(contender.player, LstmPolicy):
        agent_params = sum(p.numel() for p in contender.player.q_net.parameters())
        per_decision = agent_macs(contender.player)
    decisions = decisions_of(actions, contender.toolbox.stop).sum(axis=1)
    total = macs[actions].sum(axis=1) + decisions * per_decision
    if contender.lookahead == "next":  # the tool chosen was among those tried
        total = decisions * macs.sum()
    elif contender.lookahead == "all":
        n_tools = len(specs)
        total = np.full(len(actions), macs.sum() * sum(n_tools**k for k in range(actions.shape[1])))
    used = [params[np.unique(row)].sum() for row in actions]
    at_hand = params if contender.tools is None else params[list(contender.tools)]
    return Cost(
        parameters=agent_params + int(at_hand.sum()),
        parameters_run=agent_params + float(np.mean(used)),
        macs=float(np.mean(total)),
    )


def agent_macs(policy: LstmPolicy) -> int:
    """Multiply-accumulates of one look at one view, whatever the encoder."""
    q_net = policy.q_net
    device = next(q_net.parameters()).device
    view = torch.zeros(1, 3, VIEW_SIZE, VIEW_SIZE, device=device)
    last_action = torch.tensor([q_net.n_tools], device=device)
    return count_macs(q_net, view, last_action, LstmState.zeros(1, device))


@functools.cache
def _tool_macs(network: str, patch_size: int) -> int:
    # Not `ToolSpec.macs_per_pixel`: a network that works on blocks pads an odd side.
    return count_macs(build_network(network), torch.zeros(1, 3, patch_size, patch_size))


def decisions_of(actions: npt.NDArray[np.int64], stop: int) -> npt.NDArray[np.bool_]:
    """Mark the entries of (N, max_steps) actions that were chosen; the rest follows a stop."""
    stopped = np.cumsum(actions == stop, axis=1)
    chosen: npt.NDArray[np.bool_] = (stopped == 0) | ((stopped == 1) & (actions == stop))
    return chosen
