"""The trainer of restoration tools on pairs of degraded and clean patches."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.store import PatchStore
from restoration_toolchain.tools_zoo.losses import pixel_loss
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.training.batches import (
    Batch,
    Degrade,
    ToolBatches,
    ToolDegrader,
    validation_pairs,
)
from restoration_toolchain.tools_zoo.training.config import PatchConfig, check_shares
from restoration_toolchain.tools_zoo.training.loop import OnStep, make_fabric, train_module


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTrainConfig(PatchConfig):
    """How one tool is trained."""

    optimizer: Literal["muon", "adamw"] = "muon"
    loss: str = "psnr"
    mixed: float = 0.5
    """Share of training images on which the other distortions lie as well. For a tool for mixtures,
    it is the share that carries a mixture, the rest being single distortions."""
    jitter: float = 0.5
    """Share of the rest that gets slight noise and JPEG: the paper's middle states."""
    residual_scale: float = 1.0
    """Factor on the last convolution of the starting weights. A tool for slight damage that starts
    from one for heavy damage begins near the identity with 0.1; otherwise the quickest way to do
    less is that its channels die."""
    eval_patches: int = 128
    """Held-out patches of each validation set."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        PatchConfig.__post_init__(self)
        check_shares(self, "mixed", "jitter")
        if self.residual_scale <= 0.0:
            raise ValueError(f"residual_scale must be positive, got {self.residual_scale}")


def train_tool(
    spec: ToolSpec,
    config: ToolTrainConfig,
    run_path: Path,
    *,
    init: nn.Module | None = None,
    resume: bool = False,
    on_step: OnStep = lambda step, total, metrics: None,
) -> Tool:
    """Train a tool to undo its own distortion, alone and within mixtures; see `train_module`.

    Args:
        spec: Tool to train.
        config: Settings of the training.
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
    fabric = make_fabric(config)
    tool = Tool(spec)
    if init is not None:
        try:
            tool.network.load_state_dict(init.state_dict())
        except RuntimeError as error:
            raise ToolchainError(f"the starting weights do not fit {spec.name!r}") from error
        scale_residual(tool.network, config.residual_scale)
    averaged = train_module(
        tool.network,  # not the tool, whose door clips
        _pairs(spec, config),
        config,
        run_path,
        fabric,
        num_steps=config.num_batches,
        resume=resume,
        on_step=on_step,
    )
    return Tool(spec, averaged).eval()


class PairsObjective:
    """Training objective: the clean partners of degraded patches.

    Args:
        config: Settings.
        degrade: What is done to the patches.
        measured: What is done to held-out ones, by the ending of the names of metrics.
        loss: Name of the loss (`tools_zoo.losses.pixel_loss`).
        eval_patches: Number of held-out patches.
    """

    def __init__(
        self,
        config: PatchConfig,
        degrade: Degrade,
        measured: Mapping[str, Degrade],
        *,
        loss: str,
        eval_patches: int,
    ) -> None:
        self._config, self._degrade, self._loss = config, degrade, pixel_loss(loss)
        with PatchStore(Path(config.store)) as store:
            self._held_out = {
                ending: validation_pairs(store, done, count=eval_patches, seed=config.seed)
                for ending, done in measured.items()
            }

    @property
    def batches(self) -> Dataset[Batch]:
        """Batches of the whole run."""
        config = self._config
        return ToolBatches(
            Path(config.store), self._degrade, config.batch_size, config.num_batches, config.seed
        )

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Mean loss of the batch."""
        lq = batch.lq.contiguous(memory_format=torch.channels_last)
        return self._loss(module(lq).float(), batch.gt)

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """PSNR in dB on held-out patches, and of doing nothing."""
        metrics = {}
        for ending, (lq, gt) in self._held_out.items():
            after = batch_psnr(module(lq.to(device)), gt.to(device)).mean()
            metrics[f"psnr{ending}"] = float(after)
            metrics[f"gain{ending}"] = float(after) - float(batch_psnr(lq, gt).mean())
        return metrics


def _pairs(spec: ToolSpec, config: ToolTrainConfig) -> PairsObjective:
    degrader = ToolDegrader(spec, mixed=config.mixed, jitter=config.jitter)
    measured: dict[str, Degrade] = {"_own": degrader.own_only, "_chain": degrader}
    return PairsObjective(
        config, degrader, measured, loss=config.loss, eval_patches=config.eval_patches
    )


def scale_residual(network: nn.Module, factor: float) -> None:
    """Multiply the last convolution of a network, its bias included: it then does less."""
    *_, last = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(factor)
