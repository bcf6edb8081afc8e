"""The one training loop of networks that restore images, whatever they are trained towards."""

import contextlib
import copy
import math
import multiprocessing
import os
import signal
import threading
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import cv2
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from restoration_toolchain.tools_zoo.precision import fastest_precision
from restoration_toolchain.tools_zoo.training.config import LoopConfig
from restoration_toolchain.tools_zoo.training.errors import NotANumberError
from restoration_toolchain.tools_zoo.training.mixed_precision import MixedBf16
from restoration_toolchain.tools_zoo.training.muon import Muon, parameter_groups
from restoration_toolchain.tools_zoo.training.objective import Adversary, Bounded, Objective, Termed
from restoration_toolchain.tools_zoo.training.run_folder import RunFolder, network_weights

OnStep = Callable[[int, int, dict[str, float]], None]
"""Called with (step, total, newest metrics) after every optimiser step."""

TRIALS: Final = 3
"""Steps that are timed; one before them prepares kernels."""


class EarlyStopping:
    """Keeps the averaged weights that did best, and tells when to give up.

    Args:
        metric: Name of the validation metric; lower is better.
        patience: Give up after so many validations in a row without a new best.
    """

    def __init__(self, metric: str, patience: int) -> None:
        self.metric = metric
        self._patience = patience
        self._state: dict[str, Any] = {"lowest": math.inf, "validations_since": 0, "weights": {}}

    @property
    def should_stop(self) -> bool:
        """Whether the last best lies ``patience`` validations back."""
        return bool(self._state["validations_since"] >= self._patience)

    @property
    def weights(self) -> dict[str, Tensor]:
        """State dictionary of the best module observed."""
        return cast(dict[str, Tensor], self._state["weights"])

    def observe(self, module: nn.Module, metrics: dict[str, float]) -> None:
        """Take note of a validation."""
        self._state["validations_since"] += 1
        if metrics[self.metric] < self._state["lowest"]:
            best = copy.deepcopy(module.state_dict())
            self._state = {"lowest": metrics[self.metric], "validations_since": 0, "weights": best}

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` goes on from."""
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned."""
        self._state = state


def make_fabric(config: LoopConfig, *, skips_parts: bool = False) -> Fabric:
    """Choose device and number format, and seed what draws starting weights.

    Args:
        config: Settings of the training.
        skips_parts: Whether a batch may leave parts of the module without a gradient, for which
            several processes would otherwise wait.
    """
    torch.manual_seed(config.seed)
    device = config.device
    probe = "cuda" if torch.cuda.is_available() and device in {"auto", "cuda"} else "cpu"
    precision = config.precision
    if precision == "auto":
        precision = fastest_precision(torch.device(probe))
    several = "ddp_find_unused_parameters_true" if skips_parts else "ddp"
    fabric = Fabric(
        accelerator=device,
        devices=config.devices,
        strategy=several if config.devices > 1 else "auto",
        plugins=MixedBf16(probe) if precision == "bf16" else None,
    )
    fabric.launch()
    return fabric


def train_module(
    module: nn.Module,
    objective: Objective,
    config: LoopConfig,
    run_path: Path,
    fabric: Fabric,
    *,
    num_steps: int,
    resume: bool = False,
    early_stopping: EarlyStopping | None = None,
    learning_rate_factor: Callable[[str], float] = lambda name: 1.0,
    on_step: OnStep = lambda step, total, metrics: None,
) -> nn.Module:
    """Train a module and average its weights.

    Interrupting with Ctrl-C (KeyboardInterrupt) leaves a checkpoint that ``resume`` goes on from;
    a resumed run computes what an uninterrupted one would have computed.

    Args:
        module: Network to train; changed.
        objective: Loss to minimise. Critics that it brings take a step after each of the module's.
        config: Settings; recorded in the run folder.
        run_path: Run folder.
        fabric: Device, number format and processes.
        num_steps: Batches that the schedule spans; with several processes, each takes one per step.
        resume: Go on from the checkpoint in ``run_path``.
        early_stopping: Ends the run early, and has the best averaged weights returned in place of
            the last.
        learning_rate_factor: Factor on the learning rate of a parameter, by its name.
        on_step: Progress.

    Returns:
        A copy of the module with averaged weights, on the CPU, frozen.

    Raises:
        ToolchainError: The run folder does not fit.
        NotANumberError: A loss or its gradient stops being a number. No weight has seen it, and the
            newest checkpoint, if there is one yet, is kept.
    """
    run = RunFolder(run_path, config, resume=resume)
    try:
        session = _Session(
            module, objective, config, run, fabric, num_steps, early_stopping, learning_rate_factor
        )
        if resume:
            session.load()
        session.run(on_step)
    finally:
        run.close()
    if early_stopping is not None and early_stopping.weights:
        session.averaged.load_state_dict(early_stopping.weights)
    return session.averaged


def is_main_process() -> bool:
    """Whether this is the process that writes, of those that train together."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def count_steps_within(
    seconds: float, module: nn.Module, objective: Objective, eval_every: int, fabric: Fabric
) -> int:
    """Count the steps, validations included, that fit into a time; at least 1.

    A few are tried on a copy of the module.
    """
    trial = copy.deepcopy(module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trial = fabric.setup(trial)
    batch = fabric.to_device(objective.batches[0])

    def learn() -> None:
        loss = objective.loss(trial, batch)
        fabric.backward(loss)
        float(loss.detach())  # waits for an accelerator

    def validate() -> None:
        with torch.no_grad():
            objective.evaluate(trial.module, fabric.device)

    per_step = _quickest(learn) + _quickest(validate) / eval_every
    return max(1, int(seconds / per_step))


def _load_batches(batches: Dataset[Any], steps: range, num_workers: int) -> DataLoader[Any]:
    """Load the batches of some steps, one after the other.

    OpenCV is left with one thread in this process, too: the cores belong to the training step. That
    has to be before workers are forked from it, for in a worker it would wait for ever for threads
    that were not forked with it.
    """
    cv2.setNumThreads(1)
    return DataLoader(
        Subset(batches, steps),
        batch_size=None,
        num_workers=num_workers,
        worker_init_fn=_use_one_opencv_thread,
    )


def _use_one_opencv_thread(worker: int) -> None:
    if multiprocessing.get_start_method() != "fork":  # if it is, it has one already
        cv2.setNumThreads(1)


def average_into(averaged: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Move an exponential moving average of weights on by one step.

    Args:
        averaged: The average; changed.
        module: Module of the same kind, just updated.
        decay: Weight of the past.
        step: Optimiser steps so far; a young average must not remember its start, so the decay
            grows with them.
    """
    decay = min(decay, (1 + step) / (10 + step))
    own = module.state_dict()
    for name, average in averaged.state_dict().items():
        if average.is_floating_point():
            average.lerp_(own[name].to(average), 1.0 - decay)
        else:  # a counter, such as the batches that a normalisation has seen
            average.copy_(own[name])


class _Session:
    """State of a training run: everything that a checkpoint holds."""

    def __init__(
        self,
        module: nn.Module,
        objective: Objective,
        config: LoopConfig,
        run: RunFolder,
        fabric: Fabric,
        num_steps: int,
        early_stopping: EarlyStopping | None,
        learning_rate_factor: Callable[[str], float],
    ) -> None:
        self._objective = objective
        self._config = config
        self._run = run
        self._fabric = fabric
        self._num_steps = num_steps // fabric.world_size
        self._early_stopping = early_stopping
        self._adversary = _adversary_of(objective)
        self.averaged = copy.deepcopy(module).requires_grad_(False).eval()
        self._step = 0
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = parameter_groups(module, config.learning_rate, learning_rate_factor)
        kind = Muon if config.optimizer == "muon" else torch.optim.AdamW
        optimizer = kind(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in groups],
            total_steps=self._num_steps + 1,
            pct_start=config.warmup,
            cycle_momentum=False,
        )
        self._stateful: dict[str, Any] = {
            "tool": module,
            "averaged": self.averaged,
            "optimizer": optimizer,
            "schedule": self._schedule,
        }
        if early_stopping is not None:
            self._stateful["early_stopping"] = early_stopping
        if self._adversary is not None:
            critics = self._adversary.critics.to(fabric.device)
            # Betas of the adversarial trainings of ESRGAN; no decay: critics have norms.
            self._critic_optimizer = torch.optim.Adam(
                critics.parameters(), lr=self._adversary.critic_learning_rate, betas=(0.9, 0.99)
            )
            self._stateful |= {"critics": critics, "critic_optimizer": self._critic_optimizer}
        self._module, self._optimizer = fabric.setup(module, optimizer)

    def load(self) -> None:
        """Go on from the checkpoint of the run."""
        state = self._run.load()
        self._step = state["step"]
        for name, part in self._stateful.items():
            is_network = name in {"tool", "averaged"}
            part.load_state_dict(network_weights(state[name]) if is_network else state[name])

    def run(self, on_step: OnStep) -> None:
        metrics: dict[str, float] = {}
        try:
            for batch in self._batches():
                if self._early_stopping is not None and self._early_stopping.should_stop:
                    break
                with _held_back_interrupts():
                    loss = self._update(batch)
                    self._step += 1
                    if self._step % self._config.eval_every == 0 or self._step == self._num_steps:
                        metrics = {"loss": loss, **self._terms(), **self._evaluate()}
                        if self._fabric.is_global_zero:
                            self._run.log(self._step, **metrics)
                        self._save()
                on_step(self._step, self._num_steps, metrics)
        except KeyboardInterrupt:
            self._save()
            raise

    def _update(self, batch: Any) -> float:
        if self._adversary is not None:
            self._adversary.critics.requires_grad_(False)
        loss = self._objective.loss(self._module, batch)
        value = float(loss.detach())
        self._check_finite(value, "the loss")
        self._optimizer.zero_grad()
        self._fabric.backward(loss)
        self._check_finite(self._bound_gradients(), "the gradient of the loss")
        self._optimizer.step()
        self._schedule.step()
        if self._adversary is not None:
            self._update_critics(self._adversary, batch)
        steps = self._config.steps_averaged_before + self._step
        average_into(self.averaged, self._module.module, self._config.ema_decay, steps)
        return value

    def _bound_gradients(self) -> float:
        """Make the gradients small enough, and tell the norm that they had."""
        if isinstance(self._objective, Bounded):
            return self._objective.bound_gradients(self._module)
        norm = self._fabric.clip_gradients(
            self._module,
            self._optimizer,
            max_norm=self._config.max_grad_norm,
            error_if_nonfinite=False,
        )
        return float(cast(Tensor, norm))

    def _update_critics(self, adversary: Adversary, batch: Any) -> None:
        adversary.critics.requires_grad_(True)
        loss = adversary.critic_loss(batch)
        self._check_finite(float(loss.detach()), "the critics' loss")
        self._critic_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        # No bound: the norm is measured, and the gradient stays as it is.
        norm = nn.utils.clip_grad_norm_(adversary.critics.parameters(), math.inf)
        self._check_finite(float(norm), "the gradient of the critics' loss")
        self._critic_optimizer.step()

    def _terms(self) -> dict[str, float]:
        terms = self._objective.terms if isinstance(self._objective, Termed) else {}
        critics = {} if self._adversary is None else self._adversary.critic_terms
        return {
            **{f"term_{name}": value for name, value in terms.items()},
            **{f"critic_{name}": value for name, value in critics.items()},
        }

    def _check_finite(self, value: float, what: str) -> None:
        """Stop before what is no number reaches the weights, the average and the checkpoint."""
        if math.isfinite(value):
            return
        bad = [name for name, term in self._terms().items() if not math.isfinite(term)]
        where = f" ({', '.join(bad)})" if bad else ""
        kept = f"; the last good state is kept in {self._run.checkpoint}"
        raise NotANumberError(
            f"{what} is not a number any more{where}"
            f"{kept if self._run.checkpoint.is_file() else ''}"
        )

    def _evaluate(self) -> dict[str, float]:
        device = self._fabric.device
        with torch.no_grad():
            metrics = self._objective.evaluate(copy.deepcopy(self.averaged).to(device), device)
        if self._early_stopping is not None:
            self._early_stopping.observe(self.averaged, metrics)
        return metrics

    def _batches(self) -> Any:
        # A process takes every n-th of the batches, n being their number.
        done, total = (steps * self._fabric.world_size for steps in (self._step, self._num_steps))
        steps, num_workers = range(done, total), self._config.num_workers
        loader = _load_batches(self._objective.batches, steps, num_workers)
        return self._fabric.setup_dataloaders(loader)

    def _save(self) -> None:
        if not self._fabric.is_global_zero:
            return
        states = {name: part.state_dict() for name, part in self._stateful.items()}
        self._run.save({**states, "step": self._step})


def _adversary_of(objective: Objective) -> Adversary | None:
    """The objective itself, if it has critics that learn."""
    if isinstance(objective, Adversary) and any(True for _ in objective.critics.parameters()):
        return objective
    return None


@contextlib.contextmanager
def _held_back_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end: no checkpoint lies between the halves of a step."""
    if threading.current_thread() is not threading.main_thread():  # Ctrl-C does not come here
        yield
        return
    received: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if received:
        raise KeyboardInterrupt


def _quickest(action: Callable[[], None]) -> float:
    """Seconds of the fastest of a few calls, after one that does not count."""
    action()
    return min(timeit.repeat(action, number=1, repeat=TRIALS))
