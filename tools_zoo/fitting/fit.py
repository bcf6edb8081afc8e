"""Fit a denoising tool to noisy photos of which no clean version exists."""

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from restoration_toolchain.data.damage.noise_model import NoiseModel
from restoration_toolchain.data.images import FloatImage, to_numpy
from restoration_toolchain.tools_zoo.fitting.ams import ams_blind_error, ams_loss
from restoration_toolchain.tools_zoo.fitting.distillation import (
    DistillConfig,
    Distiller,
    best_shipped_denoiser,
)
from restoration_toolchain.tools_zoo.fitting.photo_crops import (
    MIN_SUB_SIDE,
    PhotoCrops,
    split_photos,
)
from restoration_toolchain.tools_zoo.fitting.sdap import sdap_blind_error, sdap_loss
from restoration_toolchain.tools_zoo.fitting.sure import estimate_risk
from restoration_toolchain.tools_zoo.networks import build_network
from restoration_toolchain.tools_zoo.networks.masks import MaskKind
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.training.config import LoopConfig
from restoration_toolchain.tools_zoo.training.loop import (
    EarlyStopping,
    OnStep,
    count_steps_within,
    make_fabric,
    train_module,
)
from restoration_toolchain.tools_zoo.training.run_folder import recorded_config

BLIND_ERROR: Final = "blind_error"
"""Name of the validation metric: how far held-out noisy pixels are from what is predicted of them
without seeing them; mean absolute error in 8-bit grey levels."""

GAIN: Final = "gain"
"""Name of the metric that progress is told by: PSNR gain in dB, see `tools_zoo.fitting.sure`."""

GAIN_CROPS: Final = 3
"""Crops that it is estimated on: enough to watch, not to judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig(LoopConfig):
    """How a tool is fitted to noisy photos."""

    method: Literal["ams", "sdap"] = "ams"
    """``ams`` hides pixels with masks, ``sdap`` with a blind-spot network."""
    minutes: float = 10.0
    """Time to spend, by a few steps that are timed first."""
    total_steps: int = 0
    """Optimiser steps, whatever time they take; 0 takes what ``minutes`` allow."""
    distill: float = 0.5
    """Share of the time, or of ``total_steps``, in which what was learnt is distilled
    (`tools_zoo.fitting.distillation`); with 0 the tool is the blind network, as published."""
    batch_size: int = 4
    patch_size: int = 120
    """Largest side of a training crop, in pixels; smaller photos have smaller crops."""
    train_stride: int = 5
    """Stride of the sub-images in training, in pixels: beyond it, noise must be independent. 5
    suits photos of cameras; 2 is enough for noise that is independent from pixel to pixel."""
    masks: MaskKind = "checkerboard"
    """``ams``: which half of the pixels is hidden in training."""
    cycle: int = 8
    """``sdap``: sub-images per image that a step compares with one another, at most
    ``train_stride`` squared, which is the paper's choice."""
    patience: int = 10
    """Validations in a row without a lower error after which fitting ends."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    eval_every: int = 50
    num_workers: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        LoopConfig.__post_init__(self)
        if self.total_steps < 0 or (self.total_steps == 0 and self.minutes <= 0.0):
            raise ValueError("total_steps, or minutes in place of them, must be positive")
        if not 0.0 <= self.distill < 1.0:
            raise ValueError(f"distill must lie in [0, 1), got {self.distill}")
        if min(self.batch_size, self.patience) < 1:
            raise ValueError("batch_size and patience must be at least 1")
        if self.train_stride < 2:
            raise ValueError(f"train_stride must be at least 2, got {self.train_stride}")
        if self.patch_size < MIN_SUB_SIDE * self.train_stride:
            raise ValueError(f"patch_size must be at least {MIN_SUB_SIDE} times train_stride")
        if not 2 <= self.cycle <= self.train_stride**2:
            raise ValueError(f"cycle must lie in 2 to {self.train_stride**2}, got {self.cycle}")


def fit_tool(
    photos: Sequence[FloatImage],
    config: FitConfig,
    run_path: Path,
    *,
    name: str,
    noise: NoiseModel,
    resume: bool = False,
    on_step: OnStep = lambda step, total, metrics: None,
) -> Tool:
    """Fit a denoising tool to noisy photos; one is enough.

    A strip of every photo is held out. The weights that are kept are the averaged ones that
    predicted it best. A resumed run has the number of steps that was decided on at the start.

    Args:
        photos: Noisy RGB (H, W, 3), float32 in [0, 1]; any sizes.
        config: Settings of the fit.
        run_path: Run folder.
        name: Name of the tool.
        noise: Noise of the photos; the tool's strength is its range, and progress is told with it.
        resume: Go on from the checkpoint in ``run_path``.
        on_step: Called with (step, total, newest metrics) after every optimiser step.

    Returns:
        The tool, on the CPU, frozen.

    Raises:
        ToolchainError: There is no photo or one is too small, the run folder does not fit, or the
            loss stops being a number.
    """
    method = _METHODS[config.method]
    low, high = (round(sigma, 1) for sigma in noise.sigma_range())
    spec = ToolSpec(name, "noise", (low, high), method.network, source=method.source)
    split = split_photos(photos, patch_size=config.patch_size, stride=config.train_stride)
    fabric = make_fabric(config)
    network = build_network(spec.network)
    denoiser = cast(nn.Module, network.denoiser)
    crops = PhotoCrops(split.train, split.side, batch_size=config.batch_size, seed=config.seed)
    monitor = Tool(spec, copy.deepcopy(network))
    objective = _BlindPrediction(config, crops, split.held_out, monitor, noise)
    start = distiller = None
    if config.distill:
        start = best_shipped_denoiser(list(to_numpy(split.held_out)), noise)
        common = ("seed", "device", "devices", "precision")
        distiller = Distiller(
            start=start,
            photos=split.train,
            noise=noise,
            config=DistillConfig(**{name: getattr(config, name) for name in common}),
            metric=GAIN,
            crops=_for_gain(split.held_out),
        )
    if resume:
        recorded = recorded_config(run_path)
        steps, distill_steps = recorded["total_steps"], recorded["distill_steps"]
    elif config.total_steps:
        distill_steps = min(round(config.distill * config.total_steps), config.total_steps - 1)
        steps = config.total_steps - distill_steps
    else:
        shared = 60.0 * config.minutes * np.array([1.0 - config.distill, config.distill])
        steps = count_steps_within(shared[0], denoiser, objective, config.eval_every, fabric)
        distill_steps = distiller.count_steps_within(shared[1], fabric) if distiller else 0
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    values |= {"total_steps": steps, "distill_steps": distill_steps}
    record = _FitRecord(**values, photos=_fingerprint(photos))
    all_steps = steps + distill_steps
    best = train_module(
        denoiser,
        objective,
        record,
        run_path,
        fabric,
        num_steps=steps,
        resume=resume,
        early_stopping=EarlyStopping(BLIND_ERROR, config.patience),
        on_step=lambda step, _, metrics: on_step(step, all_steps, metrics),
    )
    network = build_network(spec.network)
    cast(nn.Module, network.denoiser).load_state_dict(best.state_dict())
    blind = Tool(spec, network).requires_grad_(False).eval()
    if distiller is None or start is None or not distill_steps:
        return blind
    student = distiller.run(
        blind,
        run_path,
        fabric,
        num_steps=distill_steps,
        on_step=lambda step, _, metrics: on_step(steps + step, all_steps, metrics),
    )
    source = f"{method.source}; distilled as in Wu et al., ECCV 2020, from {start.spec.name}"
    spec = dataclasses.replace(spec, network=start.spec.network, source=source)
    return Tool(spec, student).requires_grad_(False).eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class _FitRecord(FitConfig):
    """What a run folder records: with the number of steps that was decided on, and the photos."""

    distill_steps: int
    photos: str
    """SHA-256 of the pixels of all photos."""


@dataclass(frozen=True, slots=True)
class _Method:
    """A way to learn from noisy images alone.

    Attributes:
        network: Name in `tools_zoo.networks.NETWORKS`; its ``denoiser`` is trained.
        loss: Maps a denoiser and noisy crops to a scalar; takes the stride of the sub-images, a
            generator and `option`.
        blind_error: Maps a denoiser and noisy crops to a scalar, in units of the crops.
        option: Setting that this method alone knows.
        source: Paper.
    """

    network: str
    loss: Callable[..., Tensor]
    blind_error: Callable[..., Tensor]
    option: str
    source: str


_METHODS: Final = {
    "ams": _Method(
        "masked_unet",
        ams_loss,
        ams_blind_error,
        "masks",
        "Liao et al., Asymmetric Mask Scheme, ECCV 2024",
    ),
    "sdap": _Method(
        "blind_spot",
        sdap_loss,
        sdap_blind_error,
        "cycle",
        "Pan et al., Random Sub-Samples Generation (SDAP), ICCV 2023",
    ),
}


class _BlindPrediction:
    """Training objective: noisy pixels, from others.

    The denoiser of ``tool`` is overwritten in validations, which estimate what it would gain.
    """

    def __init__(
        self, config: FitConfig, crops: PhotoCrops, held_out: Tensor, tool: Tool, noise: NoiseModel
    ) -> None:
        self.batches: Dataset[Any] = crops
        self._method = _METHODS[config.method]
        self._stride = config.train_stride
        self._options = {self._method.option: getattr(config, self._method.option)}
        self._held_out = held_out
        self._tool = tool.requires_grad_(False).eval()
        self._noise = noise

    def loss(self, module: nn.Module, batch: tuple[Tensor, int]) -> Tensor:
        crops, seed = batch
        generator = torch.Generator().manual_seed(seed)
        return self._method.loss(
            module, crops, stride=self._stride, generator=generator, **self._options
        )

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        error = self._method.blind_error(module, self._held_out.to(device), stride=self._stride)
        cast(nn.Module, self._tool.network.denoiser).load_state_dict(module.state_dict())
        gain = estimate_risk(self._tool, _for_gain(self._held_out), self._noise).gain
        return {BLIND_ERROR: 255.0 * float(error), GAIN: gain}


def _for_gain(held_out: Tensor) -> list[FloatImage]:
    """Some of the held-out crops, spread evenly."""
    chosen = np.unique(np.linspace(0, len(held_out) - 1, GAIN_CROPS).round().astype(int))
    return list(to_numpy(held_out[chosen]))


def _fingerprint(photos: Sequence[FloatImage]) -> str:
    digest = hashlib.sha256()
    for photo in photos:
        digest.update(repr(photo.shape).encode())
        digest.update(np.ascontiguousarray(photo).tobytes())
    return digest.hexdigest()
