"""Properties of learning to recognise damage, on crops that are dark or bright and noisier."""

import re
from typing import Any

import numpy as np
import pytest
import torch

from restoration_toolchain.agents.learning.fresh_crops import FreshBatches
from restoration_toolchain.agents.learning.outcome_learning import Student
from restoration_toolchain.agents.learning.recognition import (
    RecognitionConfig,
    RecognitionObjective,
)
from restoration_toolchain.agents.outcomes.batches import OutcomeBatches
from tests.agents.learning.test_outcome_learning import FAMILIES, Shades, batches_of


def student() -> Student:
    torch.manual_seed(0)
    return Student(2, FAMILIES, ("dark",), "pooled_statistics")


def test_batches_of_fresh_crops_are_functions_of_their_step_and_their_seeds() -> None:
    def images(*seed: int, step: int = 0) -> torch.Tensor:
        return FreshBatches(Shades(), FAMILIES, size=2, count=2, seed=seed)[step].images

    assert torch.equal(images(1), images(1))
    others = (images(1, step=1), images(2), images(1, 1), images(1, 2))
    for other in others:
        assert not torch.equal(images(1), other)


def test_damage_is_recognised_by_the_eyes_of_the_agent() -> None:
    learner = student()
    observer = learner.observer
    batches = FreshBatches(Shades(), FAMILIES, size=16, count=20)
    objective = RecognitionObjective(batches, batches_of(24, seed=1))
    before = objective.evaluate(observer, torch.device("cpu"))
    optimizer = torch.optim.Adam(observer.parameters(), lr=5e-3)
    for step in range(20):
        loss = objective.loss(observer.train(), batches[step])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = objective.evaluate(observer, torch.device("cpu"))
    assert after["naming_error"] < 0.5 * before["naming_error"]
    assert after["recognised"] > 0.9
    assert objective.terms["strength"] < 0.1
    assert observer.encoder is learner.q_net.encoder


def test_held_out_crops_are_judged_as_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first state of a crop counts, for what a tool has left has another look."""
    held_out = batches_of(4, seed=1)
    rows = np.array([[0, 1], [2, -1], [3, -1]])
    monkeypatch.setattr(held_out, "episodes", rows)
    seen: list[torch.Tensor] = []
    observer = student().observer.eval()
    observer.register_forward_hook(lambda module, images, told: seen.append(images[0]))
    objective = RecognitionObjective(FreshBatches(Shades(), FAMILIES, size=1, count=1), held_out)
    objective.evaluate(observer, torch.device("cpu"))
    assert torch.equal(torch.cat(seen), _images(held_out, rows[:, :1]))


def _images(batches: OutcomeBatches, rows: Any) -> torch.Tensor:
    return batches.batch(rows).images


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"total_crops": -1}, "total_crops must not be negative, got -1"),
        ({"batch_size": 0}, "batch_size must be positive, got 0"),
        ({"total_crops": 63}, "total_crops must hold a batch of 64"),
    ],
)
def test_settings_out_of_range_are_one_line(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        RecognitionConfig(**wrong)
