"""What the input of super-resolution went through: distributions, and a second order of damage."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from restoration_toolchain.data.damage.degradation import (
    CONTEXT,
    JPEG_GRID,
    LEVELS,
    Degradation,
    Sampler,
    central_patch,
    sampler,
)
from restoration_toolchain.data.errors import ImageFormatError, ToolchainError, UnknownNameError
from restoration_toolchain.data.images import FloatImage, check_float_image
from restoration_toolchain.data.scaling import KERNELS, Kernel, check_scale, resize

SLIGHT_BLUR_SIGMA: Final = 1.5  # pixels of the clean image, the largest
SLIGHT_NOISE_SIGMA: Final = 5.0  # 8-bit grey levels, the largest
SLIGHT_JPEG_QUALITY: Final = 80  # the lowest

SCALED_LEVELS: Final = (*LEVELS, "slight", "real")
"""Every distribution that `scaled_sampler` knows: *slight* is what restoration leaves behind,
*real* the second order of damage."""


class ScaledDamage(Protocol):
    """Something that makes a clean image smaller and worse."""

    @property
    def scale(self) -> int:
        """Side of the clean image over side of the degraded one."""

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Degrade a copy of a float32 RGB image whose sides are multiples of the scale."""


ScaledSampler = Callable[[np.random.Generator], ScaledDamage]
"""A distribution over damage: draws one with the generator it is given."""


@dataclass(frozen=True, slots=True)
class SecondOrderDegradation:
    """A photo that was damaged, resized, and damaged once more on its way to its last size.

    Attributes:
        first: Blur, noise and JPEG at a size between the clean image's and more than that.
        resize: That size over the clean image's.
        resize_kernel: How it was brought there, between blur and noise.
        second: Blur, noise and JPEG; its scale is the scale of the whole.

    Source:
        Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic
        Data", ICCV Workshops 2021. Its Poisson and grey noise, its other kernels of blur and its
        sinc filter are left out.
    """

    first: Degradation
    resize: float
    resize_kernel: Kernel
    second: Degradation

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.first.scale != 1:
            raise ValueError(f"the first damage keeps its size, got scale {self.first.scale}")
        if not 0.05 <= self.resize <= 4.0:
            raise ValueError(f"resize must lie in 0.05 to 4, got {self.resize}")

    @property
    def scale(self) -> int:
        """Side of the clean image over side of the degraded one."""
        return self.second.scale

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Degrade a copy of ``image``; see `data.damage.degradation.Degradation.apply`.

        Raises:
            ImageFormatError: ``image`` is not float32 RGB, or a side is no multiple of the scale.
        """
        check_float_image(image)
        height, width = image.shape[:2]
        if height % self.scale or width % self.scale:
            raise ImageFormatError(f"{width}x{height} pixels do not divide by {self.scale}")
        blurred = replace(self.first, noise_sigma=0.0, jpeg_quality=None).apply(image, rng)
        rows, columns = (max(1, round(side * self.resize)) for side in (height, width))
        out = resize(blurred, rows, columns, self.resize_kernel)
        out = replace(self.first, blur_sigma=0.0).apply(out, rng)
        out = replace(self.second, noise_sigma=0.0, jpeg_quality=None, scale=1).apply(out, rng)
        out = resize(out, height // self.scale, width // self.scale, self.second.kernel)
        return replace(self.second, blur_sigma=0.0, scale=1).apply(out, rng)


def scaled_sampler(*levels: str, scale: int) -> ScaledSampler:
    """Look up distributions by their names in `SCALED_LEVELS`; of several, each is drawn alike.

    The kernel that makes the image smaller is drawn from `data.scaling.KERNELS`.

    Raises:
        UnknownNameError: A name is unknown.
        ValueError: There is no such scale.
    """
    check_scale(scale)
    for level in levels:
        if level not in SCALED_LEVELS:
            raise UnknownNameError("level", level, SCALED_LEVELS)
    draws = [_scaled(level, scale) for level in levels]
    return lambda rng: draws[rng.integers(len(draws))](rng)


def level_sampler(level: str) -> Sampler:
    """Look up a distribution by its name in `damage.degradation.LEVELS`: all of them keep the size.

    Raises:
        UnknownNameError: The name is unknown.
        ToolchainError: It is known, but only of photos that are made smaller.
    """
    if level in SCALED_LEVELS and level not in LEVELS:
        raise ToolchainError(f"the level {level!r} makes photos smaller, too: it needs --scale 4")
    return sampler(level)


def _scaled(level: str, scale: int) -> ScaledSampler:
    if level == "real":
        return lambda rng: _draw_second_order(rng, scale)
    draw = _draw_slight if level == "slight" else sampler(level)
    return lambda rng: replace(draw(rng), scale=scale, kernel=_draw_kernel(rng))


def _draw_slight(rng: np.random.Generator) -> Degradation:
    return Degradation(
        blur_sigma=rng.uniform(0.0, SLIGHT_BLUR_SIGMA),
        noise_sigma=rng.uniform(0.0, SLIGHT_NOISE_SIGMA),
        jpeg_quality=int(rng.integers(SLIGHT_JPEG_QUALITY, 101)),
    )


def _draw_second_order(rng: np.random.Generator, scale: int) -> SecondOrderDegradation:
    # Ranges of Real-ESRGAN's released options, for the parts that are kept.
    first = Degradation(
        blur_sigma=rng.uniform(0.2, 3.0),
        noise_sigma=rng.uniform(1.0, 30.0),
        jpeg_quality=int(rng.integers(30, 96)),
    )
    second = Degradation(
        blur_sigma=rng.uniform(0.2, 1.5) if rng.random() < 0.8 else 0.0,
        noise_sigma=rng.uniform(1.0, 25.0),
        jpeg_quality=int(rng.integers(30, 96)),
        scale=scale,
        kernel=_draw_kernel(rng),
    )
    middle = rng.uniform(1.0, 1.5) if rng.random() < 0.2 else rng.uniform(0.3, 1.0)
    return SecondOrderDegradation(first, middle, _draw_kernel(rng), second)


def _draw_kernel(rng: np.random.Generator) -> Kernel:
    return KERNELS[rng.integers(len(KERNELS))]


def degrade_scaled_crop(
    damage: ScaledDamage, window: FloatImage, rng: np.random.Generator
) -> FloatImage:
    """Degrade a patch as if it had been cut from a photo that was degraded and made smaller.

    As `damage.degradation.degrade_crop` does at scale 1: the patch is given its surroundings, and
    the grid of JPEG begins anywhere.

    Args:
        damage: What happens to the photo.
        window: RGB (H + 2 * CONTEXT, W + 2 * CONTEXT, 3) float32 in [0, 1]: a patch and its
            surroundings; sides are multiples of the scale.
        rng: Of the place in the grid, and of what the damage draws.

    Returns:
        The degraded patch: (H / scale, W / scale, 3), float32 in [0, 1].

    Raises:
        ImageFormatError: ``window`` is not float32 RGB, has no patch within its surroundings, or a
            side is no multiple of the scale.
    """
    check_float_image(window)
    if min(window.shape[:2]) <= 2 * CONTEXT:
        raise ImageFormatError(f"a window of {window.shape[:2]} pixels has no patch in it")
    scale = damage.scale
    top, left = (int(offset) for offset in rng.integers(JPEG_GRID, size=2))
    # The surroundings are narrower than a cell of the grid is at this scale, so they are continued.
    photo = np.pad(window, ((top * scale, 0), (left * scale, 0), (0, 0)), mode="edge")
    lq = damage.apply(np.ascontiguousarray(photo), rng)
    around = CONTEXT // scale
    return np.ascontiguousarray(lq[top + around : -around, left + around : -around])


def scaled_pair(
    window: FloatImage, draw: ScaledSampler, rng: np.random.Generator
) -> tuple[FloatImage, FloatImage]:
    """Draw a damage and apply it: (lq, gt), as `degrade_scaled_crop` and `central_patch` cut."""
    return degrade_scaled_crop(draw(rng), window, rng), central_patch(window)
