"""Give an agent one more action without changing what it knows of the others."""

from typing import Final

import torch
from torch import Tensor

from agents.policy import LstmPolicy
from agents.q_net import RecurrentQNet

UNKNOWN: Final = -1.0
"""dB: what a new action is valued at before anything is learnt of it, so it is not chosen."""


def extend_policy(policy: LstmPolicy, tool: str, sha256: str = "") -> LstmPolicy:
    """Append a tool to the actions of a policy, before *stop*.

    All old values stay as they were, exactly: the memory does not look at the new action, and the
    value of the new action is `UNKNOWN`.

    Args:
        policy: Not changed.
        tool: Name of the new tool.
        sha256: Of its weights, as far as it is known.
    """
    n_tools = len(policy.tool_names)
    q_net = RecurrentQNet(n_tools + 1, policy.q_net.encoder_name)
    state = dict(policy.q_net.state_dict())
    weight = state["lstm.weight_ih"]  # (4 H, features + tools): stop has no slot
    state["lstm.weight_ih"] = torch.cat([weight, weight.new_zeros(len(weight), 1)], dim=1)
    for name in (name for name in state if name.startswith(("head.", "shortcut."))):
        state[name] = _before_last(state[name], UNKNOWN if name == "head.bias" else 0.0)
    q_net.load_state_dict(state)
    return LstmPolicy(
        q_net,
        (*policy.tool_names, tool),
        stop_margin=policy.stop_margin,
        tool_checksums={**policy.tool_checksums, **({tool: sha256} if sha256 else {})},
    )


def _before_last(rows: Tensor, value: float) -> Tensor:
    return torch.cat([rows[:-1], torch.full_like(rows[-1:], value), rows[-1:]])
