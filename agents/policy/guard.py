"""A guard beside the agent: how likely a step is to do harm, and whether a photo looks familiar.

Some agents expect gains and do not say how sure they are; others do (`claimed_risk`), and are not
quite right. Both numbers here are learnt on held-out images, after the agent, and kept beside it
(`agents.tuning.guard`, `agents.tuning.caution`).

Source:
    The risk is Platt's scaling of a score ("Probabilistic outputs for support vector machines",
    1999). The familiarity is the Mahalanobis distance of features, as in Lee et al., "A simple
    unified framework for detecting out-of-distribution samples and adversarial attacks",
    NeurIPS 2018.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from restoration_toolchain.agents.policy.q_net import LEVELS, RecurrentQNet
from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.data.errors import ToolchainError

GUARD_FILE: Final = "guard.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """What was learnt of an agent's judgement.

    Attributes:
        intercept: Log odds that a step makes an image worse, at a score of 0.
        slope: Change of these log odds per unit of the score. The score of an agent that knows
            distributions are the log odds that it has itself (`claimed_risk`), and this is about 1;
            of others it is the gain in dB that they expect, and this is negative.
        mean: (D,) mean of `features`.
        whitening: (D, D) matrix that makes their covariance the identity.
        limit: Largest distance of a familiar view.
    """

    intercept: float
    slope: float
    mean: Tensor
    whitening: Tensor
    limit: float

    def risk(self, score: Tensor) -> Tensor:
        """Probability that a step makes the image worse, by the score that the agent gives it."""
        return torch.sigmoid(self.intercept + self.slope * score)

    def distance(self, features: Tensor) -> Tensor:
        """How far views (N, D) lie from those of the calibration, (N,); 1 is the limit."""
        whitened = (features.to(self.mean) - self.mean) @ self.whitening
        distance: Tensor = whitened.norm(dim=1) / self.limit
        return distance


def claimed_risk(quantiles: Tensor) -> Tensor:
    """Probability that a gain lies below 0, by its quantiles (..., len(LEVELS)): the shape without.

    Between two quantiles the distribution is even; beyond the outermost ones it falls off as far as
    the inner ones lie apart.
    """
    levels = torch.tensor(LEVELS, device=quantiles.device)
    lowest, highest = quantiles[..., 0], quantiles[..., -1]
    width = (quantiles[..., LEVELS.index(0.05)] - lowest).clamp(min=1e-3)
    below = levels[0] * torch.exp(-(lowest / width).clamp(min=0.0, max=30.0))
    above = 1.0 - (1.0 - levels[-1]) * torch.exp((highest / width).clamp(min=-30.0, max=0.0))
    count = (quantiles < 0.0).sum(dim=-1)
    upper = count.clamp(1, len(LEVELS) - 1)
    low, high = (quantiles.gather(-1, index.unsqueeze(-1))[..., 0] for index in (upper - 1, upper))
    share = (-low / (high - low).clamp(min=1e-9)).clamp(0.0, 1.0)
    between = levels[upper - 1] + share * (levels[upper] - levels[upper - 1])
    risk = torch.where(count == 0, below, between)
    return torch.where(count == len(LEVELS), above, risk).clamp(1e-6, 1.0 - 1e-6)


def features(q_net: RecurrentQNet, images: Tensor) -> Tensor:
    """What familiarity is judged by: the statistics that the agent's encoder measures.

    Args:
        q_net: The agent's network.
        images: Views (N, 3, H, W) in [0, 1]; their statistics are (N, D), on the CPU.
    """
    views = images.to(next(q_net.parameters()).device, memory_format=torch.channels_last)
    with torch.inference_mode():
        return q_net.encoder.measure(views).cpu()


def save_guard(guard: Guard, folder: Path, agent_sha256: str) -> None:
    """Write a guard beside the agent that it was learnt from."""
    state = {
        "risk": torch.tensor([guard.intercept, guard.slope]),
        "mean": guard.mean.contiguous(),
        "whitening": guard.whitening.contiguous(),
        "limit": torch.tensor([guard.limit]),
    }
    write_atomically(folder / GUARD_FILE, save(state, metadata={"agent_sha256": agent_sha256}))


def load_guard(folder: Path, agent_sha256: str) -> Guard | None:
    """Read the guard beside an agent; None if there is none, or if it was learnt from another."""
    path = folder / GUARD_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("agent_sha256") != agent_sha256:
                return None
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        intercept, slope = state["risk"].tolist()
        (limit,) = state["limit"].tolist()
        return Guard(intercept, slope, state["mean"], state["whitening"], limit)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ToolchainError(f"{path} is damaged, or no guard ({error})") from error
