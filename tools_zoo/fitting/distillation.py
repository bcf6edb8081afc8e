"""Distil a denoiser that may not see a pixel into one that sees them all.

A blind denoiser finds out what lies under the noise of a camera, but it pays with detail: it must
guess every pixel, and at inference it knows every second one of its neighbours. At half the size
what it makes is sharp and nearly without noise. On such pictures the measured noise is put, and a
copy of a shipped denoiser learns to take it away again. The copy sees every pixel, so it keeps the
detail of the photos, and it costs as little as a shipped tool. Then it makes better pictures itself
and learns from those.

Noise that is cut off at black makes shadows brighter, and a tone curve makes the rest darker. That
cannot be measured on noisy photos, but a start that learnt from cameras takes it back. So pictures
get not only the noise but also that shift, as large as the start believes it (`level_shift`).

It must not learn from the noisy photos themselves, neither as input nor as target: it could tell
their noise from the model's, take away the one and leave the other (`tools_zoo.fitting.sure`).

Source:
    Wu et al., "Unpaired Learning of Deep Image Denoising", ECCV 2020, section 3.3: distillation of
    a blind-spot network on synthesised noise. Theirs is white, on clean photos of other origin, and
    on what the blind network makes at full size; half the size, the measured correlation and the
    start from a shipped denoiser are this project's.
"""

import copy
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset

from restoration_toolchain.data.damage.noise_model import KNOTS, NoiseModel, look_up
from restoration_toolchain.data.images import FloatImage, to_tensor
from restoration_toolchain.tools_zoo.fitting.photo_crops import draw_crops
from restoration_toolchain.tools_zoo.fitting.sure import denoised, estimate_risk
from restoration_toolchain.tools_zoo.losses.pixel import psnr_loss
from restoration_toolchain.tools_zoo.storage import load_toolbox
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.training.config import LoopConfig
from restoration_toolchain.tools_zoo.training.loop import OnStep, count_steps_within, train_module
from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT

Shift = npt.NDArray[np.float32]
"""Change of brightness on the [0, 1] scale, (3, KNOTS): of each channel at each level."""

SURE_PIXELS: Final = 2000
"""Pixels of a level; with so many, half of the shift that is seen there counts."""

SHRINK: Final = 2
"""By how much pictures are made smaller: the stride of the sub-images that they come from."""

MAX_PIXELS: Final = 8_000_000
"""Most pixels of the photos that pictures are made of; the blind network takes its time."""
MAX_SIDE: Final = 1024
"""Pixels; larger photos are cut, or the blind network would take gigabytes."""

ROUNDS: Final = 2
"""Times that pictures are made: by the blind network, then by what was distilled from it. Measured
on the middle camera, the second round is worth 0.1 dB, and as many more steps 0.05."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig(LoopConfig):
    """How a denoiser is distilled."""

    eval_every: int = 100
    batch_size: int = 16
    patch_size: int = 72
    """Side of a training crop in pixels; less if all pictures are smaller."""
    learning_rate: float = 5e-4
    warmup: float = 0.1
    weight_decay: float = 0.0
    num_workers: int = 0


def shipped_denoisers() -> list[Tool]:
    """What a fitted tool starts from, and has to beat: the denoisers of the default toolbox."""
    return [tool for tool in load_toolbox() if tool.spec.task == "noise"]


def best_shipped_denoiser(crops: Sequence[FloatImage], noise: NoiseModel) -> Tool:
    """The one of `shipped_denoisers` that does best on noisy crops by its estimated risk."""
    return max(shipped_denoisers(), key=lambda tool: estimate_risk(tool, crops, noise).gain)


def make_pictures(teacher: nn.Module, photos: Sequence[FloatImage]) -> list[FloatImage]:
    """Let a denoiser make pictures without noise, at half the size of the photos.

    Args:
        teacher: Maps (N, 3, H, W) in [0, 1] to the same shape.
        photos: Noisy RGB (H, W, 3), float32, [0, 1].

    Returns:
        RGB (H / 2, W / 2, 3), float32, [0, 1], of the photos or of parts of them up to `MAX_SIDE`
        pixels wide and high; where they have more than `MAX_PIXELS`, of some, spread evenly.
    """
    return [shrink(denoised(teacher, part)) for part in _some_parts(photos)]


def _some_parts(photos: Sequence[FloatImage]) -> list[FloatImage]:
    """Parts of at most `MAX_PIXELS` in all, spread evenly."""
    parts = [part for photo in photos for part in _parts(photo)]
    pixels = sum(part.shape[0] * part.shape[1] for part in parts)
    return parts[:: max(1, math.ceil(pixels / MAX_PIXELS))]


def _parts(photo: FloatImage) -> list[FloatImage]:
    """Equal parts, as few as `MAX_SIDE` allows."""
    rows, columns = (math.ceil(length / MAX_SIDE) for length in photo.shape[:2])
    bands = np.array_split(photo, rows, axis=0)
    return [part for band in bands for part in np.array_split(band, columns, axis=1)]


def shrink(image: FloatImage) -> FloatImage:
    """Take the means of squares of pixels; a last odd row or column is left out."""
    height, width = (length // SHRINK for length in image.shape[:2])
    whole = image[: SHRINK * height, : SHRINK * width]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA))


def level_shift(denoise: nn.Module, photos: Sequence[FloatImage]) -> Shift:
    """By how much photos are brighter than what a denoiser makes of them, level by level.

    Args:
        denoise: Maps (N, 3, H, W) in [0, 1] to the same shape.
        photos: Noisy RGB (H, W, 3), float32, [0, 1].

    Returns:
        Mean difference on the [0, 1] scale, of each channel at `KNOTS` levels of what the denoiser
        makes, from 0 to 1; nearly 0 at levels that hardly occur.
    """
    total = np.zeros((3, KNOTS))
    count = np.full((3, KNOTS), SURE_PIXELS, np.float64)
    for part in _some_parts(photos):
        restored = denoised(denoise, part)
        knot = np.rint(restored * (KNOTS - 1)).astype(np.intp)
        for c in range(3):
            change = (part - restored)[..., c].ravel()
            total[c] += np.bincount(knot[..., c].ravel(), change, KNOTS)
            count[c] += np.bincount(knot[..., c].ravel(), minlength=KNOTS)
    return (total / count).astype(np.float32)


class Renoised(Dataset[tuple[Tensor, Tensor]]):
    """Item ``i`` is training batch ``i``, without end: a pure function of the seed and ``i``.

    Args:
        pictures: RGB (H, W, 3), float32, [0, 1], without noise; of several, those that are smaller
            than the crops are left out.
        noise: Noise to put on them.
        shift: Shift of brightness to put on them, too, from `level_shift`.
        config: Size and number of the crops, and the seed.
    """

    def __init__(
        self,
        pictures: Sequence[FloatImage],
        noise: NoiseModel,
        shift: Shift,
        config: DistillConfig,
    ) -> None:
        self._side = min(config.patch_size, max(min(picture.shape[:2]) for picture in pictures))
        self._pictures = [picture for picture in pictures if min(picture.shape[:2]) >= self._side]
        self._noise = noise
        self._shift = shift
        self._config = config

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return noisy and clean crops, each (batch_size, 3, side, side) in [0, 1]."""
        rng = np.random.default_rng((self._config.seed, 3, index))
        crops = draw_crops(self._pictures, self._side, self._config.batch_size, rng)
        clean = [np.ascontiguousarray(crop) for crop in crops]
        shifted = [crop + look_up(self._shift, crop) for crop in clean]
        noisy = [np.clip(crop + self._noise.draw(crop, rng), 0.0, 1.0) for crop in shifted]
        return to_tensor(np.stack(noisy)), to_tensor(np.stack(clean))


@dataclass(frozen=True, slots=True, kw_only=True)
class Distiller:
    """Makes a fitted tool of a blind denoiser.

    Attributes:
        start: Denoiser whose copy learns.
        photos: Noisy RGB (H, W, 3), float32, [0, 1].
        noise: Noise of the photos.
        config: Settings of the distillation.
        metric: Name under which the gain in dB, estimated on ``crops``, is told.
        crops: Held-out noisy crops.
    """

    start: Tool
    photos: Sequence[FloatImage]
    noise: NoiseModel
    config: DistillConfig
    metric: str
    crops: Sequence[FloatImage]

    def count_steps_within(self, seconds: float, fabric: Fabric) -> int:
        """Count the optimiser steps that fit into a time."""
        pictures = [shrink(photo) for photo in self.photos]
        objective = self._objective(pictures, np.zeros((3, KNOTS), np.float32))
        student = copy.deepcopy(self.start.network).requires_grad_(True)
        return count_steps_within(seconds, student, objective, self.config.eval_every, fabric)

    def run(
        self, teacher: nn.Module, run_path: Path, fabric: Fabric, *, num_steps: int, on_step: OnStep
    ) -> nn.Module:
        """Distil, or go on wherever it was interrupted.

        Args:
            teacher: The blind denoiser.
            run_path: Folder of the run folders of the rounds.
            fabric: Device, number format and processes.
            num_steps: Optimiser steps of all rounds together.
            on_step: Called with (step, ``num_steps``, newest metrics).

        Returns:
            The student, frozen.
        """
        student = self.start.network
        shift = level_shift(self.start, self.photos)
        for number in range(ROUNDS):
            first, last = (num_steps * n // ROUNDS for n in (number, number + 1))
            if first == last:
                continue
            path = run_path / f"distilled-{number + 1}"
            student = train_module(
                copy.deepcopy(student).requires_grad_(True),
                self._objective(make_pictures(teacher, self.photos), shift),
                self.config,
                path,
                fabric,
                num_steps=last - first,
                resume=(path / CHECKPOINT).is_file(),
                on_step=functools.partial(_report, on_step, first, num_steps),
            )
            teacher = student
        return student

    def _objective(self, pictures: Sequence[FloatImage], shift: Shift) -> "_Renoising":
        return _Renoising(Renoised(pictures, self.noise, shift, self.config), self)


@dataclass(frozen=True, slots=True)
class _Renoising:
    """Training objective: pictures, from under the noise that was put on them."""

    batches: Dataset[tuple[Tensor, Tensor]]
    distiller: Distiller

    def loss(self, module: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        noisy, clean = batch
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        return psnr_loss(module(noisy).float(), clean)

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        asked = self.distiller
        return {asked.metric: estimate_risk(module.cpu(), asked.crops, asked.noise).gain}


def _report(
    on_step: OnStep, before: int, total: int, step: int, _: int, metrics: dict[str, float]
) -> None:
    on_step(before + step, total, metrics)
