"""Learn the guard of an agent from what it does to held-out pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from restoration_toolchain.agents.players.play import play_as_trained
from restoration_toolchain.agents.policy.guard import Guard, features
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import to_float, to_tensor
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.tools_zoo.toolbox import Toolbox

FAMILIAR: Final = 0.97
"""Share of the photos, or views, of the calibration that count as familiar."""

_RIDGE: Final = 1e-2
"""Added to the variances of features: some hardly vary."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """How a risk compares with what happened, among steps of about the same risk.

    Attributes:
        low: Smallest risk of the group.
        high: Largest risk of the group.
        predicted: Mean risk.
        observed: Share of the steps that made the image worse.
        count: Steps in the group.
    """

    low: float
    high: float
    predicted: float
    observed: float
    count: int


def calibrate(
    policy: LstmPolicy, toolbox: Toolbox, pairs: ArrayPairs, *, device: torch.device | str = "cpu"
) -> Guard:
    """Learn a guard from what an agent does to held-out pairs.

    Args:
        policy: The agent; not changed.
        toolbox: Its tools.
        pairs: Pairs that neither the agent nor its tools were trained on.
        device: Device that the tools run on.

    Raises:
        ToolchainError: The agent runs no tool on any of them, or none does harm.
    """
    score, is_worse = watch(policy, toolbox, pairs, device=device)
    if not is_worse.any() or is_worse.all():
        raise ToolchainError(
            f"{int(is_worse.sum())} of {len(is_worse)} steps made an image worse; a risk can only "
            "be learnt from both kinds"
        )
    intercept, slope = fit_logistic(score, is_worse)
    described = features(policy.q_net, to_tensor(to_float(pairs.lq)))
    return Guard(intercept, slope, *look_of(described))


def look_of(
    described: Tensor, views: int = 1, familiar: float = FAMILIAR
) -> tuple[Tensor, Tensor, float]:
    """What is familiar, by features of views: mean, whitening and limit of a `Guard`.

    Args:
        described: Features (N, D); those of the views of one photo follow each other.
        views: Views of each photo, whose median distance says how familiar it is.
        familiar: Share of the photos that are to count as familiar.
    """
    # What is familiar is measured on others than the mean: so many numbers fit their own sample.
    photos = described.double().reshape(-1, views, described.shape[1])
    known, other = photos[::2].flatten(0, 1), photos[1::2]
    mean = known.mean(dim=0)
    covariance = torch.cov((known - mean).T)
    covariance += _RIDGE * torch.eye(len(covariance), dtype=covariance.dtype)
    values, vectors = torch.linalg.eigh(covariance)
    whitening = vectors / values.sqrt()
    distances = ((other - mean) @ whitening).norm(dim=2).median(dim=1).values
    limit = float(torch.quantile(distances, familiar))
    return mean.float(), whitening.float(), limit


def watch(
    policy: LstmPolicy, toolbox: Toolbox, pairs: ArrayPairs, *, device: torch.device | str = "cpu"
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Let an agent restore pairs, and see what came of each tool that it ran.

    Returns:
        The score of each of M steps (`Guard`), (M,), and whether it made its image worse.
    """
    policy = policy.daring().changed(guard=None)
    results = play_as_trained(policy, toolbox, pairs, device=device)
    ran = results.actions != toolbox.stop
    change = np.diff(results.value, axis=1)
    score = results.expected
    if policy.q_net.spread is not None:
        score = np.log(results.risk / (1.0 - results.risk))
    return score[ran], change[ran] < -1e-6


def reliability(
    guard: Guard,
    score: npt.NDArray[np.float64],
    is_worse: npt.NDArray[np.bool_],
    edges: Sequence[float] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
) -> list[Reliability]:
    """Group steps by their risk, and count what happened in each group that is not empty."""
    risk = guard.risk(torch.from_numpy(score)).numpy()
    place = np.clip(np.searchsorted(edges, risk, side="right") - 1, 0, len(edges) - 2)
    groups = []
    for index in np.unique(place):
        chosen = place == index
        groups.append(
            Reliability(
                edges[index],
                edges[index + 1],
                float(risk[chosen].mean()),
                float(is_worse[chosen].mean()),
                int(chosen.sum()),
            )
        )
    return groups


def fit_logistic(
    score: npt.NDArray[np.float64], is_worse: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Intercept and slope of the log odds of harm by a score, (M,): Platt's scaling.

    Newton's method on the likelihood, with his smoothed targets.
    """
    positive, negative = int(is_worse.sum()), int((~is_worse).sum())
    target = np.where(is_worse, (positive + 1) / (positive + 2), 1 / (negative + 2))
    design = np.stack([np.ones_like(score), score], axis=1)
    weights = np.zeros(2)
    for _ in range(50):
        likely = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -30.0, 30.0)))
        curvature = design.T @ (design * (likely * (1 - likely))[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, design.T @ (likely - target))
        weights -= step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-9))
    return float(weights[0]), float(weights[1])
