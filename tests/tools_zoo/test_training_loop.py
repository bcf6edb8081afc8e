"""Properties of the training loop that do not show in the trainers of tools."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from tools_zoo.training_loop import (
    EarlyStopping,
    LoopConfig,
    count_steps_within,
    make_fabric,
    train_module,
)


class Numbers(Dataset[Tensor]):
    def __getitem__(self, index: int) -> Tensor:
        return torch.full((1, 1, 2, 2), float(index))


class Scripted:
    """Lowers a single weight; validations give the errors of a script."""

    def __init__(self, errors: list[float], seconds: float = 0.0) -> None:
        self.batches: Dataset[Any] = Numbers()
        self.seen: list[float] = []
        self.weights: list[float] = []
        self._errors = iter(errors)
        self._seconds = seconds

    def loss(self, module: nn.Module, batch: Tensor) -> Tensor:
        time.sleep(self._seconds)
        self.seen.append(float(batch.mean()))
        return module(torch.ones(1, 1, 2, 2)).sum()  # type: ignore[no-any-return]

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        self.weights.append(float(next(module.parameters())))
        return {"error": next(self._errors, 9.0)}


CONFIG = LoopConfig(eval_every=1, ema_decay=0.5, num_workers=0, device="cpu", precision="fp32")


def weight() -> nn.Module:
    return nn.Conv2d(1, 1, 1, bias=False)


def run(path: Path, objective: Scripted, num_steps: int, **options: Any) -> nn.Module:
    fabric = make_fabric(CONFIG)
    stopping = EarlyStopping("error", patience=3)
    return train_module(
        weight(),
        objective,
        CONFIG,
        path,
        fabric,
        num_steps=num_steps,
        early_stopping=stopping,
        **options,
    )


def test_the_weights_that_validated_best_are_kept(tmp_path: Path) -> None:
    objective = Scripted([5.0, 3.0, 4.0, 3.5])
    best = run(tmp_path, objective, 4)
    assert float(next(best.parameters())) == objective.weights[1]
    assert len(set(objective.weights)) == 4


def test_a_run_ends_when_it_has_not_improved_for_long_enough(tmp_path: Path) -> None:
    objective = Scripted([5.0, 3.0, 4.0, 3.5, 3.0, 1.0])
    run(tmp_path, objective, 20)
    assert objective.seen == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_run_that_ended_early_is_not_taken_up_again(tmp_path: Path) -> None:
    first = run(tmp_path, Scripted([5.0, 3.0, 4.0, 4.0, 4.0]), 20)
    again = Scripted([1.0])
    best = run(tmp_path, again, 20, resume=True)
    assert again.seen == []
    assert next(best.parameters()).equal(next(first.parameters()))


def test_patience_spans_an_interruption(tmp_path: Path) -> None:
    def interrupt(step: int, total: int, metrics: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Scripted([5.0, 3.0, 4.0]), 20, on_step=interrupt)
    objective = Scripted([4.0, 4.0, 4.0])
    run(tmp_path, objective, 20, resume=True)
    assert objective.seen == [3.0, 4.0]


def test_as_many_steps_are_planned_as_fit_into_the_time() -> None:
    fabric = make_fabric(CONFIG)
    module = weight()
    before = next(module.parameters()).clone()
    steps = count_steps_within(10.0, module, Scripted([], seconds=0.05), 1, fabric)
    assert 50 <= steps <= 200
    assert count_steps_within(0.01, module, Scripted([], seconds=0.05), 1, fabric) == 1
    assert next(module.parameters()).equal(before)
    assert next(module.parameters()).grad is None


def test_a_configuration_without_validations_is_refused() -> None:
    with pytest.raises(ValueError, match="eval_every must be at least 1"):
        LoopConfig(eval_every=0)
