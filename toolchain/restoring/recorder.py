"""What is kept of a restoration while it is made: steps, scores and frames, blended by strength."""

import dataclasses
from collections.abc import Callable
from typing import Final

import numpy as np

from restoration_toolchain.data.images import FloatImage
from restoration_toolchain.data.metrics import psnr, ssim
from restoration_toolchain.data.scaling import upsampled
from restoration_toolchain.toolchain.photos.arrays import Arrays
from restoration_toolchain.toolchain.restoring.colour_drift import colour_drift
from restoration_toolchain.toolchain.restoring.photo_quality import PhotoJudge
from restoration_toolchain.toolchain.restoring.restoration import (
    Provenance,
    Restoration,
    Score,
    Step,
)

_SSIM_WINDOW: Final = 7  # pixels

OnStep = Callable[[Step, FloatImage], None]
"""Told of every step, with the image after it; the image must not be changed."""


class Record:
    """Keeps what is to be known of a restoration while it is made.

    Args:
        lq: The photo as it came, RGB (H, W, 3), float32, range [0, 1].
        gt: The clean photo, as large as the result; None if it is not known.
        judge: Scores without one.
        made_by: What makes the restoration; steps and frames are blended by its strength.
        on_step: Told of every step.
        arrays: Makes arrays of the photo's size.
        keep_frames: Whether to keep the input and the image after every tool.
    """

    def __init__(
        self,
        lq: FloatImage,
        gt: FloatImage | None,
        judge: PhotoJudge,
        made_by: Provenance,
        on_step: OnStep | None,
        arrays: Arrays,
        *,
        keep_frames: bool,
    ) -> None:
        self._lq, self._gt, self._made_by, self._on_step = lq, gt, made_by, on_step
        self._before, self._arrays, self._keep_frames = lq, arrays, keep_frames
        self._judge, self._quality = judge, judge(lq)
        self._first_score = self._score(lq)
        self._frames = [lq] if keep_frames else []
        self.steps: list[Step] = []

    def add(self, step: Step, restored: FloatImage) -> None:
        """Take note of a decision and of the image after it."""
        shown = self._blend(restored)
        drift = None if step.is_stop else colour_drift(self._before, shown, self._arrays)
        self._before = shown
        quality = self.steps[-1].quality if self.steps else self._quality
        if not step.is_stop:  # which changes nothing
            quality = self._judge(shown)
        score = self._score(shown)
        self.steps.append(
            dataclasses.replace(step, score=score, colour_drift=drift, quality=quality)
        )
        if self._keep_frames and not step.is_stop:
            self._frames.append(shown)
        if self._on_step is not None:
            self._on_step(self.steps[-1], shown)

    def finish(
        self,
        restored: FloatImage,
        notes: tuple[str, ...],
        unfamiliarity: float | None,
        permitted_risk: float,
    ) -> Restoration:
        """All of it; enlarged by bicubic interpolation where no tool has enlarged."""
        scale = self._made_by.settings.scale
        if scale > 1 and restored.shape == self._lq.shape:
            restored = upsampled(restored, scale)
        image = self._blend(restored)
        if np.may_share_memory(image, self._lq):  # nothing ran; the result is the caller's own
            own = self._arrays.empty(*image.shape[:2])
            for rows in self._arrays.bands(len(own)):
                own[rows] = image[rows]
            image = own
        return Restoration(
            image,
            tuple(self.steps),
            self._made_by,
            self._first_score,
            tuple(self._frames),
            notes,
            unfamiliarity,
            self._quality,
            permitted_risk,
        )

    def _score(self, image: FloatImage) -> Score | None:
        """Compare with the clean photo; an image that is still small by its enlargement."""
        if self._gt is None:
            return None
        if image.shape != self._gt.shape:
            image = upsampled(image, self._made_by.settings.scale)
        has_room = min(image.shape[:2]) >= _SSIM_WINDOW
        return Score(psnr(image, self._gt), ssim(image, self._gt) if has_room else None)

    def _blend(self, restored: FloatImage) -> FloatImage:
        strength = self._made_by.settings.strength
        if strength == 1.0:
            return restored
        before = self._lq
        if before.shape != restored.shape:
            before = upsampled(before, restored.shape[0] // before.shape[0])
        blended = self._arrays.empty(*restored.shape[:2])
        for rows in self._arrays.bands(len(blended)):
            blended[rows] = before[rows]
            if strength > 0.0:
                blended[rows] += np.float32(strength) * (restored[rows] - before[rows])
        return blended
