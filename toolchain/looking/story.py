"""A restoration as a story: every image on the way, and the decision taken on seeing it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from restoration_toolchain.data.images import FloatImage
from restoration_toolchain.toolchain.restoring.restoration import (
    BICUBIC,
    Restoration,
    Score,
    Step,
    explain_end,
)
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import Quality


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """An image, what it is called, and what the agent thought of it.

    Attributes:
        image: The image, shape (H, W, 3), float32, range [0, 1].
        title: What the image is.
        subtitle: What was done to it.
        score: PSNR and SSIM; None where no clean image is known.
        decision: The decision taken on seeing the image; None if there was none.
        note: Why there was no decision; may be empty.
        made_by: The step that made the image out of the one before; None if no tool did.
        quality: SFD-IQA; None where it was not asked for.
    """

    image: FloatImage
    title: str
    subtitle: str
    score: Score | None
    decision: Step | None = None
    note: str = ""
    made_by: Step | None = None
    quality: Quality | None = None


def scenes(restoration: Restoration, gt: FloatImage | None = None) -> list[Scene]:
    """List a scene per frame, the bicubic enlargement if that is the result, and the clean photo.

    Args:
        restoration: Restoration made with ``keep_frames=True``.
        gt: The clean photo, shape (H, W, 3), float32, range [0, 1].

    Raises:
        ValueError: The restoration has no frames.
    """
    if not restoration.frames:
        raise ValueError("its scenes need a restoration made with keep_frames=True")
    steps, story = restoration.steps, []
    made_by = [None, *(step for step in steps if not step.is_stop)]
    for number, (image, step) in enumerate(zip(restoration.frames, made_by, strict=True)):
        decision = steps[number] if number < len(steps) else None
        story.append(
            Scene(
                image,
                title="Input" if step is None else f"{number}. {step.tool}",
                subtitle="before any tool" if step is None else f"treats {step.treats}",
                score=(step or restoration).score,
                decision=decision,
                note="" if decision else explain_end(restoration),
                made_by=step,
                quality=(step or restoration).quality,
            )
        )
    if restoration.enlarged_by == BICUBIC:
        image, score = restoration.image, restoration.final_score
        quality = restoration.final_quality
        story.append(Scene(image, "Bicubic", "no tool enlarged it", score, quality=quality))
    if gt is not None:
        story.append(Scene(gt, "Ground truth", "the clean photo", None))
    return story


@dataclass(frozen=True, slots=True)
class ValueAxis:
    """The axis that the bars of all action values share.

    Attributes:
        low: Value at the left end; at most 0.
        high: Value at the right end; at least 0, and above ``low``.
    """

    low: float
    high: float

    def share(self, value: float) -> float:
        """The place of a value, from 0 at the left end to 1 at the right; others lie at an end."""
        return (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)


def value_axis(steps: Sequence[Step]) -> ValueAxis:
    """Span all good values, and bad ones only as far: it matters little how bad a tool would be."""
    values = np.array([value for step in steps for value in step.action_values.values()])
    high = max(float(values.max()), 0.0)
    low = max(min(float(values.min()), 0.0), -max(high, float(np.median(np.abs(values)))))
    return ValueAxis(low, high if high > low else low + 1.0)
