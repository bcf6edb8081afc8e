"""Properties of the training loop that do not show in the trainers of tools."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from restoration_toolchain.tools_zoo.training.config import LoopConfig
from restoration_toolchain.tools_zoo.training.errors import NotANumberError
from restoration_toolchain.tools_zoo.training.loop import (
    EarlyStopping,
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


def test_each_parameter_learns_at_its_own_rate(tmp_path: Path) -> None:
    module = nn.Sequential(weight(), weight())
    before = [parameter.clone() for parameter in module.parameters()]
    after = train_module(
        module,
        Scripted([]),
        CONFIG,
        tmp_path,
        make_fabric(CONFIG),
        num_steps=3,
        learning_rate_factor=lambda name: 0.0 if name.startswith("0.") else 1.0,
    )
    left, right = after.parameters()
    assert torch.equal(left, before[0])
    assert not torch.equal(right, before[1])


class Duel:
    """A network that raises a number, and a critic that lowers it."""

    critic_learning_rate = 0.1

    def __init__(self) -> None:
        self.critics = nn.Linear(1, 1)
        self.frozen_in_turns: list[bool] = []
        self.critic_terms: dict[str, float] = {}
        self.batches: Dataset[Any] = Numbers()

    def loss(self, module: nn.Module, batch: Tensor) -> Tensor:
        self.frozen_in_turns.append(not self.critics.weight.requires_grad)
        return self.critics(module(batch)).sum()  # type: ignore[no-any-return]

    def critic_loss(self, batch: Tensor) -> Tensor:
        self.frozen_in_turns.append(not self.critics.weight.requires_grad)
        return -self.critics(batch).sum()  # type: ignore[no-any-return]

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        return {}


def test_critics_are_frozen_while_the_network_learns_and_come_back_with_the_checkpoint(
    tmp_path: Path,
) -> None:
    def train(duel: Duel, steps_before_stop: int, **options: Any) -> None:
        def stop(step: int, total: int, metrics: dict[str, float]) -> None:
            if step == steps_before_stop:
                raise KeyboardInterrupt

        batch = torch.ones(1, 1)
        duel.batches = type("Ones", (Dataset,), {"__getitem__": lambda self, i: batch})()
        torch.manual_seed(0)
        train_module(
            nn.Linear(1, 1),
            duel,
            CONFIG,
            tmp_path / "run",
            make_fabric(CONFIG),
            num_steps=4,
            on_step=stop,
            **options,
        )

    first = Duel()
    with pytest.raises(KeyboardInterrupt):
        train(first, 2)
    assert first.frozen_in_turns == [True, False] * 2
    second = Duel()
    train(second, 0, resume=True)
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert torch.equal(state["critics"]["weight"], second.critics.weight)
    assert len(second.frozen_in_turns) == 4
    # Adam's steps are about one learning rate each: four of them, not two.
    moved = float((second.critics.weight - first.critics.weight).detach().abs())
    assert moved == pytest.approx(0.2, abs=0.05)


class Cliff(Duel):
    """Its critics' loss is 0 in the third step, and the gradient below it 0 / 0."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = type("Ones", (Dataset,), {"__getitem__": lambda self, i: torch.ones(1, 1)})()
        self.steps = 0

    def critic_loss(self, batch: Tensor) -> Tensor:
        self.steps += 1
        made = self.critics(batch).sum()
        self.before = [parameter.clone() for parameter in self.critics.parameters()]
        return torch.sqrt((made - made.detach()).abs()) if self.steps == 3 else -made


def test_a_gradient_of_the_critics_that_is_no_number_never_reaches_them(tmp_path: Path) -> None:
    duel = Cliff()
    with pytest.raises(NotANumberError, match="the gradient of the critics' loss is not a number"):
        train_module(
            nn.Linear(1, 1),
            duel,
            CONFIG,
            tmp_path,
            make_fabric(CONFIG),
            num_steps=4,
        )
    for before, after in zip(duel.before, duel.critics.parameters(), strict=True):
        assert torch.equal(before, after)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 2
    assert all(torch.isfinite(value).all() for value in state["critics"].values())
