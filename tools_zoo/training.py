"""The one trainer of restoration tools."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from data.errors import ToolchainError
from data.metrics import batch_psnr
from data.store import PatchStore
from tools_zoo.losses import pixel_loss
from tools_zoo.precision import FABRIC_PRECISION, fastest_precision
from tools_zoo.run_folder import RunFolder
from tools_zoo.tool import Tool, ToolSpec
from tools_zoo.tool_data import ToolBatches, ToolDegrader, validation_pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTrainConfig:
    """How one tool is trained."""

    store: str
    """Path of the patch store."""
    total_patches: int = 400_000
    """Patches seen in all; the schedule spans them."""
    batch_size: int = 32
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule."""
    warmup: float = 0.05
    """Share of the run in which the learning rate rises."""
    weight_decay: float = 1e-4
    max_grad_norm: float = 1.0
    ema_decay: float = 0.99
    """Of the averaged weights that are validated and shipped."""
    loss: str = "psnr"
    mixed: float = 0.5
    """Share of training images on which the other distortions lie as well; of a tool for mixtures,
    the share that carries a mixture, the rest being single distortions."""
    jitter: float = 0.5
    """Share of the rest that gets slight noise and JPEG: the paper's middle states."""
    residual_scale: float = 1.0
    """Factor on the last convolution of the starting weights. A tool for slight damage that starts
    from one for heavy damage begins near the identity with 0.1; otherwise the quickest way to do
    less is that its channels die."""
    eval_every: int = 200
    """Iterations between validations and checkpoints."""
    eval_patches: int = 128
    num_workers: int = 1
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.total_patches < self.batch_size or self.batch_size < 1:
            raise ValueError("total_patches must hold at least one batch of positive size")
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f"ema_decay must lie in [0, 1), got {self.ema_decay}")
        if not 0.0 < self.warmup < 1.0:
            raise ValueError(f"warmup must lie in (0, 1), got {self.warmup}")
        if self.residual_scale <= 0.0:
            raise ValueError(f"residual_scale must be positive, got {self.residual_scale}")

    @property
    def num_batches(self) -> int:
        """Optimiser steps of the whole run."""
        return self.total_patches // self.batch_size


def train_tool(
    spec: ToolSpec,
    config: ToolTrainConfig,
    run_path: Path,
    *,
    init: nn.Module | None = None,
    resume: bool = False,
    on_step: Callable[[int, int, dict[str, float]], None] = lambda step, total, metrics: None,
) -> Tool:
    """Train a tool to undo its own distortion, alone and within mixtures.

    Interrupting with Ctrl-C (KeyboardInterrupt) leaves a checkpoint that ``resume`` goes on from;
    a resumed run computes what an uninterrupted one would have computed.

    Args:
        spec: The tool.
        config: How to train it.
        run_path: Run folder.
        init: Network of the same shape whose weights are the starting point.
        resume: Go on from the checkpoint in ``run_path``.
        on_step: Called with (step, total, newest metrics) after every optimiser step.

    Returns:
        The tool with averaged weights, on the CPU.

    Raises:
        ToolchainError: The run folder does not fit, the store is unusable, ``init`` has another
            shape, or the loss stops being a number.
    """
    torch.manual_seed(config.seed)
    fabric = _fabric(config)
    fabric.launch()
    tool = Tool(spec)
    if init is not None:
        try:
            tool.network.load_state_dict(init.state_dict())
        except RuntimeError as error:
            raise ToolchainError(f"the starting weights do not fit {spec.name!r}") from error
        _scale_residual(tool.network, config.residual_scale)
    session = _Session(tool, config, run_path, fabric, resume=resume)
    try:
        session.run(on_step)
    finally:
        session.close()
    return session.averaged


class _Session:
    """State of a training run: everything that a checkpoint holds."""

    def __init__(
        self, tool: Tool, config: ToolTrainConfig, run_path: Path, fabric: Fabric, *, resume: bool
    ) -> None:
        self._config = config
        self._fabric = fabric
        self._loss = pixel_loss(config.loss)
        self._degrader = ToolDegrader(tool.spec, mixed=config.mixed, jitter=config.jitter)
        self._eval_sets = self._load_eval_sets()
        self._run = RunFolder(run_path, config, resume=resume)
        self.averaged = copy.deepcopy(tool).requires_grad_(False).eval()
        self._step = 0
        tool.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(
            tool.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            config.learning_rate,
            total_steps=config.num_batches + 1,
            pct_start=config.warmup,
            cycle_momentum=False,
        )
        if resume:
            state = self._run.load()
            tool.load_state_dict(state["tool"])
            self.averaged.load_state_dict(state["averaged"])
            optimizer.load_state_dict(state["optimizer"])
            self._schedule.load_state_dict(state["schedule"])
            self._step = state["step"]
        self._tool, self._optimizer = fabric.setup(tool, optimizer)

    def run(self, on_step: Callable[[int, int, dict[str, float]], None]) -> None:
        config = self._config
        metrics: dict[str, float] = {}
        try:
            for lq, gt in self._batches():
                loss = self._update(lq, gt)
                self._step += 1
                if self._step % config.eval_every == 0 or self._step == config.num_batches:
                    metrics = {"loss": loss, **self.evaluate()}
                    self._run.log(self._step, **metrics)
                    self._save()
                on_step(self._step, config.num_batches, metrics)
        except KeyboardInterrupt:
            self._save()
            raise

    def evaluate(self) -> dict[str, float]:
        """PSNR in dB of the averaged weights on held-out patches, and of doing nothing."""
        device = self._fabric.device
        network = copy.deepcopy(self.averaged).to(device)
        metrics = {}
        with torch.no_grad():
            for name, (lq, gt) in self._eval_sets.items():
                after = batch_psnr(network(lq.to(device)), gt.to(device)).mean()
                metrics[f"psnr_{name}"] = float(after)
                metrics[f"gain_{name}"] = float(after) - float(batch_psnr(lq, gt).mean())
        return metrics

    def close(self) -> None:
        self._run.close()

    def _update(self, lq: Tensor, gt: Tensor) -> float:
        lq = lq.contiguous(memory_format=torch.channels_last)
        loss = self._loss(self._tool(lq).float(), gt)
        value = float(loss.detach())
        if value != value:
            raise ToolchainError(
                "the loss is not a number any more; start again with a lower learning_rate "
                "(the last checkpoint is kept)"
            )
        self._optimizer.zero_grad()
        self._fabric.backward(loss)
        self._fabric.clip_gradients(
            self._tool, self._optimizer, max_norm=self._config.max_grad_norm
        )
        self._optimizer.step()
        self._schedule.step()
        average_into(self.averaged, self._tool.module, self._config.ema_decay, self._step)
        return value

    def _batches(self) -> Any:
        config = self._config
        batches = ToolBatches(
            Path(config.store), self._degrader, config.batch_size, config.num_batches, config.seed
        )
        rest = Subset(batches, range(self._step, config.num_batches))
        loader = DataLoader(rest, batch_size=None, num_workers=config.num_workers)
        return self._fabric.setup_dataloaders(loader)

    def _load_eval_sets(self) -> dict[str, tuple[Tensor, Tensor]]:
        config = self._config
        with PatchStore(Path(config.store)) as store:
            return {
                name: validation_pairs(store, degrade, count=config.eval_patches, seed=config.seed)
                for name, degrade in (
                    ("own", self._degrader.own_only),
                    ("chain", self._degrader),
                )
            }

    def _save(self) -> None:
        if self._fabric.is_global_zero:
            self._run.save(
                {
                    "tool": self._tool.module.state_dict(),
                    "averaged": self.averaged.state_dict(),
                    "optimizer": cast(torch.optim.Optimizer, self._optimizer).state_dict(),
                    "schedule": self._schedule.state_dict(),
                    "step": self._step,
                }
            )


def average_into(averaged: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Move an exponential moving average of weights on by one step.

    Args:
        averaged: The average; changed.
        module: The same kind of module, just updated.
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


def _scale_residual(network: nn.Module, factor: float) -> None:
    *_, last = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(factor)


def _fabric(config: ToolTrainConfig) -> Fabric:
    device = config.device
    probe = "cuda" if torch.cuda.is_available() and device in {"auto", "cuda"} else "cpu"
    precision = config.precision
    if precision == "auto":
        precision = fastest_precision(torch.device(probe))
    return Fabric(accelerator=device, devices=config.devices, precision=FABRIC_PRECISION[precision])
