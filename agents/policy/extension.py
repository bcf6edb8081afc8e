"""Give an agent one more action without changing what it knows of the others."""

from typing import Final

import torch

from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet

BEHIND: Final = 0.1
"""dB that a new action is valued below the one it begins like, so it is not chosen yet."""


def extend_policy(policy: LstmPolicy, tool: str, *, like: str, sha256: str = "") -> LstmPolicy:
    """Append a tool to the actions of a policy, before *stop*.

    All old values stay as they were, exactly. The new action begins as a copy of an old one, and
    `BEHIND` it: what tells when to use either is mostly the same, and from nothing it would take
    thousands of optimiser steps to learn. Where there are chains to fall back on, the tool alone is
    one more: it need not promise more than they do by a margin.

    Args:
        policy: Not changed.
        tool: Name of the new tool.
        like: Old tool that does most nearly what the new one does.
        sha256: Checksum of its weights, as far as it is known.
    """
    n_tools = len(policy.tool_names)
    knows_spread = policy.q_net.spread is not None
    q_net = RecurrentQNet(n_tools + 1, policy.q_net.encoder_name, quantiles=knows_spread)
    state = dict(policy.q_net.state_dict())
    weight = state["lstm.weight_ih"]  # (4 H, features + tools): stop has no slot
    row = policy.tool_names.index(like)
    column = weight.shape[1] - n_tools + row
    state["lstm.weight_ih"] = torch.cat([weight, weight[:, column : column + 1]], dim=1)
    for name in (name for name in state if name.startswith(("head.", "shortcut."))):
        added = state[name][row : row + 1] - (BEHIND if name == "head.bias" else 0.0)
        state[name] = torch.cat([state[name][:-1], added, state[name][-1:]])
    for name in (name for name in state if name.startswith("spread.")):
        of_tools = state[name].unflatten(0, (n_tools, -1))
        state[name] = torch.cat([of_tools, of_tools[row : row + 1]]).flatten(0, 1)
    q_net.load_state_dict(state)
    return policy.changed(
        q_net=q_net,
        tool_names=(*policy.tool_names, tool),
        tool_checksums={**policy.tool_checksums, **({tool: sha256} if sha256 else {})},
        default_chains=policy.default_chains and (*policy.default_chains, (tool,)),
    )
