"""What happened to a clean photo: a list of steps, as in RL-Restore's blur, then noise, then JPEG.

Source:
    Yu et al., "Crafting a Toolchain for Image Restoration by Deep Reinforcement Learning",
    CVPR 2018.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self, TypeVar

import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.damage.blur import Blur
from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.noise import Noise
from restoration_toolchain.data.damage.resampling import Resize
from restoration_toolchain.data.damage.step import Step
from restoration_toolchain.data.damage.steps import STEP_KINDS, graded_kinds, read_step
from restoration_toolchain.data.errors import ImageFormatError, ToolchainError
from restoration_toolchain.data.images import FloatImage, check_float_image
from restoration_toolchain.data.scaling import Kernel, check_scale

Pixel = TypeVar("Pixel", np.uint8, np.float32)

JPEG_BLOCK: Final = 8  # pixels
JPEG_GRID: Final = 2 * JPEG_BLOCK  # blocks of chroma at half size
CONTEXT: Final = 16
"""Pixels around a patch for `degrade_crop`: half the widest blur, or a cell of the grid."""
_WHOLE: Final = 12  # pixels; halves, thirds and quarters of it are whole, and two thirds


@dataclass(frozen=True, slots=True)
class Degradation:
    """What happens to a clean image, one step after the other; no step at all is no damage.

    Attributes:
        steps: Kinds of damage with their strengths, first one first.

    Raises:
        ValueError: The last size is not the clean image's, or that divided by 2 or 4.
    """

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        """Make a tuple of any sequence of steps, and check the scale."""
        object.__setattr__(self, "steps", tuple(self.steps))
        check_scale(self._ratio)

    @property
    def scale(self) -> int:
        """Side of the clean image over side of the degraded one: 1, 2 or 4."""
        return int(self._ratio)

    @property
    def _ratio(self) -> float:
        scales = [step.scale for step in self.steps if step.scale is not None]
        return scales[-1] if scales else 1

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Degrade a copy of an image.

        Args:
            image: RGB, shape (H, W, 3), float32, range [0, 1]; sides are multiples of the scale.
            rng: Source of everything random.

        Returns:
            (H / scale, W / scale, 3), float32 in [0, 1]; on the 8-bit grid if JPEG came last.

        Raises:
            ImageFormatError: ``image`` is something else.
        """
        check_float_image(image)
        height, width = image.shape[:2]
        if height % self.scale or width % self.scale:
            size = f"an image of {width}x{height} pixels"
            raise ImageFormatError(f"{size} does not divide by {self.scale}; crop it first")
        out = image.copy()
        for step in self.steps:
            out = step.apply_within(out, rng, (height, width))
        return out

    def strength(self, kind: str) -> float | None:
        """Strength of the first step of a kind, or `Step.without` if there is none."""
        found = (step.strength for step in self.steps if step.name == kind)
        return next(found, STEP_KINDS[kind].without)

    def with_step(self, step: Step) -> "Degradation":
        """The same with a step in place of those of its kind, before kinds that come later."""
        order = list(STEP_KINDS)
        own = order.index(step.name)
        others = [other for other in self.steps if other.name != step.name]
        later = (k for k, other in enumerate(others) if order.index(other.name) > own)
        others.insert(next(later, len(others)), step)
        return Degradation(tuple(others))

    def shrunk(self, scale: int, kernel: Kernel = "bicubic") -> "Degradation":
        """The same of a photo that is made smaller on the way, behind its first blur.

        Sizes that it had on the way already become shares of the smaller photo.
        """
        check_scale(scale)
        if scale == 1:
            return self
        around, others = self.split()
        after = (
            replace(step, factor=step.factor / scale) if isinstance(step, Resize) else step
            for step in others.steps
        )
        return Degradation((*around.steps, Resize(1.0 / scale, kernel), *after))

    def split(self) -> tuple["Degradation", "Degradation"]:
        """The first steps, as far as they look around, and all others."""
        around = tuple(itertools.takewhile(lambda step: step.looks_around, self.steps))
        return Degradation(around), Degradation(self.steps[len(around) :])

    def describe(self) -> str:
        """Say what it does: ``blur of sigma 2.3 px, noise of sigma 21 / 255``."""
        return ", ".join(step.describe() for step in self.steps) or "nothing"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` reads it."""
        return {"steps": [{"name": step.name, **step.to_dict()} for step in self.steps]}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; a ToolchainError says what cannot be read."""
        steps = entry.get("steps") if isinstance(entry, Mapping) else None
        if not isinstance(steps, list):
            raise ToolchainError(f"no steps of a degradation in {entry}")
        done = tuple(read_step(step) for step in steps)
        try:
            return cls(done)
        except ValueError as error:
            raise ToolchainError(f"no degradation can be read from {entry}: {error}") from None


MIXTURE: Final[tuple[type[Step], ...]] = (Blur, Noise, Jpeg)
"""The kinds that mixtures are made of, in their order."""


def mixture(
    blur_sigma: float = 0.0, noise_sigma: float = 0.0, jpeg_quality: int | None = None
) -> Degradation:
    """The mixture of RL-Restore: blur, then noise, then JPEG.

    Args:
        blur_sigma: Standard deviation of the Gaussian blur in pixels; 0 is no blur.
        noise_sigma: Standard deviation of the white noise in 8-bit grey levels; 0 is no noise.
        jpeg_quality: JPEG quality 1 to 100, or None for no compression at all.
    """
    strengths = zip(MIXTURE, (blur_sigma, noise_sigma, jpeg_quality), strict=True)
    steps = (kind.of_strength(s) for kind, s in strengths if s is not None and s != kind.without)
    return Degradation(tuple(steps))


def strength_levels(degradation: Degradation) -> tuple[int, ...]:
    """The highest strength level, 1 to 10, of each of `graded_kinds` in it; 0 is none."""
    steps = degradation.steps
    return tuple(
        max((step.level for step in steps if step.name == kind.name), default=0)
        for kind in graded_kinds()
    )


def degrade_crop(
    degradation: Degradation, window: FloatImage, rng: np.random.Generator
) -> FloatImage:
    """Degrade a patch as if it had been cut from a degraded photo.

    A patch that is degraded on its own differs from that in two ways which networks learn to rely
    on: blur finds replicated pixels beyond its border, and the 8x8 blocks of JPEG begin at its
    corner. So blur is given the patch's surroundings, and the grid of JPEG begins anywhere. Where
    sizes change on the way, new pixels lie anywhere between the old ones in the same manner.

    Args:
        degradation: Damage of the photo.
        window: RGB (H + 2 * CONTEXT, W + 2 * CONTEXT, 3) float32 in [0, 1]: a patch and its
            surroundings in the photo; sides are multiples of the scale.
        rng: Source of the place in the grid, and of what the damage draws.

    Returns:
        The degraded patch: (H / scale, W / scale, 3), float32 in [0, 1].

    Raises:
        ImageFormatError: ``window`` is something else.
    """
    check_float_image(window)
    if min(window.shape[:2]) <= 2 * CONTEXT:
        raise ImageFormatError(f"a window of {window.shape[:2]} pixels has no patch in it")
    scale, top, left = degradation.scale, 0, 0
    if not any(step.has_grid for step in degradation.steps):
        top, left = (int(offset) for offset in rng.integers(JPEG_GRID, size=2))
    if scale == 1 and all(step.scale is None for step in degradation.steps):
        around, others = degradation.split()
        photo = others.apply(around.apply(window, rng)[top:, left:], rng)
        return central_patch(photo, CONTEXT - top, CONTEXT - left)
    # The surroundings are narrower than a cell of the grid is at this scale, so they are continued;
    # and to sizes whose common fractions are whole, as those of whole photos nearly are.
    above, before = top * scale, left * scale
    below, behind = (
        -(side + first) % _WHOLE if scale == 1 else 0
        for side, first in zip(window.shape[:2], (above, before), strict=True)
    )
    photo = np.pad(window, ((above, below), (before, behind), (0, 0)), mode="edge")
    lq = degradation.apply(photo, rng)
    margin = CONTEXT // scale
    height, width = (side // scale - 2 * margin for side in window.shape[:2])
    first = (top + margin, left + margin)
    return np.ascontiguousarray(lq[first[0] : first[0] + height, first[1] : first[1] + width])


def central_patch(
    window: npt.NDArray[Pixel], top: int = CONTEXT, left: int = CONTEXT
) -> npt.NDArray[Pixel]:
    """The patch within its surroundings (..., H, W, 3): a contiguous copy.

    CONTEXT pixels lie below and right of it, ``top`` rows above and ``left`` columns left of it.
    """
    return np.ascontiguousarray(window[..., top:-CONTEXT, left:-CONTEXT, :])
