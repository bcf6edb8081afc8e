"""Blur of every kind: by Gaussians round and long, by a camera that moved, by a lens out of focus.

Sources:
    Wang et al., "Real-ESRGAN", ICCV Workshops 2021 (long Gaussians). Levin et al., "Understanding
    and evaluating blind deconvolution algorithms", CVPR 2009 (what the shake of a hand looks like).
"""

import functools
import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Final, Self

import cv2
import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.damage.step import Step, check_range
from restoration_toolchain.data.images import FloatImage, check_float_image

BLUR_KERNEL_SIZE: Final = 21  # pixels, odd

Filter = npt.NDArray[np.float32]
"""What a point becomes: (K, K) float32, K odd, not negative, with a sum of 1."""

_FINE: Final = 5
"""Samples per pixel and axis, of which a kernel is a mean."""


@dataclass(frozen=True, slots=True)
class Blur(Step):
    """Gaussian blur with a normalised 21x21 kernel and replicated border.

    Attributes:
        sigma: Standard deviation in pixels; 0 changes nothing.

    Raises:
        ValueError: ``sigma`` is negative or not finite.
    """

    name = "blur"
    words = "blur of sigma {:.2g} px"
    unit = "sigma px"
    edges = tuple(0.5 * i for i in range(11))
    looks_around = True

    sigma: float

    def __post_init__(self) -> None:
        """Check the range."""
        check_range("sigma", self.sigma, 0.0)

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Blur; nothing is random."""
        check_float_image(image)
        if self.sigma == 0.0:
            return image.copy()
        kernel = cv2.getGaussianKernel(BLUR_KERNEL_SIZE, self.sigma, cv2.CV_32F)
        blurred = cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(blurred, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _KernelBlur(Step):
    """Blur by a kernel that has no shorter form; the border is replicated."""

    looks_around = True

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Blur; nothing is random."""
        check_float_image(image)
        # OpenCV weighs the neighbours of a pixel, which is the other way round.
        weights = np.ascontiguousarray(self.kernel()[::-1, ::-1])
        blurred = cv2.filter2D(image, -1, weights, borderType=cv2.BORDER_REPLICATE)
        # A sum of products may miss 1 by a rounding.
        return np.asarray(blurred, dtype=np.float32).clip(0.0, 1.0)

    @abstractmethod
    def kernel(self) -> Filter:
        """What a point becomes."""


@dataclass(frozen=True, slots=True)
class AnisotropicBlur(_KernelBlur):
    """Gaussian blur that is longer in one direction than across it.

    Attributes:
        sigma: Standard deviation along the direction, in pixels, 0 to 6; 0 changes nothing.
        ratio: Standard deviation across over that along, 0.1 to 1.
        angle: Direction in degrees, from the horizontal, counter-clockwise.

    Raises:
        ValueError: A number lies outside its range.
    """

    name = "anisotropic-blur"
    words = "uneven blur of sigma {:.2g} px"
    unit = "sigma px"
    edges = tuple(0.5 * i for i in range(11))

    sigma: float
    ratio: float = 0.4
    angle: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("sigma", self.sigma, 0.0, 6.0)
        check_range("ratio", self.ratio, 0.1, 1.0)
        check_range("angle", self.angle)

    def kernel(self) -> Filter:
        """A Gaussian that is turned."""
        if self.sigma < 1.0 / BLUR_KERNEL_SIZE:  # nothing reaches the next pixel
            return _point()
        y, x = _grid(BLUR_KERNEL_SIZE)
        turned = math.radians(self.angle)
        along = x * math.cos(turned) - y * math.sin(turned)
        across = x * math.sin(turned) + y * math.cos(turned)
        across = across / self.ratio
        return _binned(np.exp(-0.5 * (along**2 + across**2) / self.sigma**2))

    @classmethod
    def drawn(cls, level: int, rng: np.random.Generator) -> Self:
        """Draw a strength within a level, and any shape and direction."""
        sigma = cls.drawn_strength(level, rng)
        return cls(sigma, float(rng.uniform(0.15, 0.8)), float(rng.uniform(0.0, 180.0)))


@dataclass(frozen=True, slots=True)
class MotionBlur(_KernelBlur):
    """Blur of a camera that moved while it took the photo: along a line, an arc or a wave.

    Attributes:
        length: Length of what a point is drawn out to, its own pixel included, 1 to 31: the path
            is a pixel shorter; 1 changes nothing.
        angle: Direction in the middle of the path, in degrees.
        bend: Change of the direction from one end to the other, in degrees, -270 to 270.
        sway: Change of the direction to either side and back, in degrees, -90 to 90.
        pace: How much longer it stayed at the end than at the beginning, -1 to 1.

    Raises:
        ValueError: A number lies outside its range.
    """

    name = "motion-blur"
    words = "motion blur of {:.2g} px"
    unit = "length px"
    edges = (1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 16.0, 19.0, 22.0, 25.0)
    without = 1.0

    length: float
    angle: float = 0.0
    bend: float = 0.0
    sway: float = 0.0
    pace: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("length", self.length, 1.0, 31.0)
        check_range("angle", self.angle)
        check_range("bend", self.bend, -270.0, 270.0)
        check_range("sway", self.sway, -90.0, 90.0)
        check_range("pace", self.pace, -1.0, 1.0)

    def kernel(self) -> Filter:
        """The path, drawn as wide as a pixel, its mean in the middle."""
        time = np.linspace(-0.5, 0.5, 20 * math.ceil(self.length) + 1)
        heading = self.angle + self.bend * time + self.sway * np.sin(2.0 * np.pi * time)
        step = (self.length - 1.0) / (len(time) - 1)
        x = np.cumsum(np.cos(np.radians(heading))) * step
        y = -np.cumsum(np.sin(np.radians(heading))) * step
        stay = 1.0 + self.pace * 2.0 * time
        x, y = (place - np.average(place, weights=stay) for place in (x, y))
        side = 2 * math.ceil(float(max(np.abs(x).max(), np.abs(y).max())) + 0.5) + 1
        kernel = np.zeros((side, side))
        for dy in (0, 1):
            for dx in (0, 1):
                row, column = np.floor(y).astype(int) + dy, np.floor(x).astype(int) + dx
                near = (1.0 - np.abs(row - y)) * (1.0 - np.abs(column - x))
                np.add.at(kernel, (row + side // 2, column + side // 2), stay * near)
        return np.asarray(kernel / kernel.sum(), np.float32)

    @classmethod
    def drawn(cls, level: int, rng: np.random.Generator) -> Self:
        """Draw a strength within a level, and a path: a third of them are straight."""
        length, angle = cls.drawn_strength(level, rng), float(rng.uniform(0.0, 180.0))
        if rng.random() < 1.0 / 3.0:
            return cls(length, angle)
        bend, sway, pace = rng.normal(0.0, (60.0, 30.0, 0.4)).clip((-270, -90, -1), (270, 90, 1))
        return cls(length, angle, float(bend), float(sway), float(pace))


@dataclass(frozen=True, slots=True)
class Defocus(_KernelBlur):
    """Blur of a lens out of focus: a point becomes a disc with a soft edge.

    Attributes:
        radius: Radius of the disc in pixels, 0.5 to 8; one of 0.5 lies within a pixel.
        softness: Standard deviation in pixels that its edge is smoothed by, 0 to 2.

    Raises:
        ValueError: A number lies outside its range.
    """

    name = "defocus"
    words = "defocus of radius {:.2g} px"
    unit = "radius px"
    edges = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.25, 6.0)
    without = 0.5

    radius: float
    softness: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("radius", self.radius, 0.5, 8.0)
        check_range("softness", self.softness, 0.0, 2.0)

    def kernel(self) -> Filter:
        """The disc, a mean over the area of each pixel."""
        reach = math.ceil(self.radius + 3.0 * self.softness)
        y, x = _grid(2 * reach + 1)
        beyond = np.hypot(x, y) - self.radius
        if self.softness == 0.0:
            return _binned((beyond <= 0.0).astype(np.float64))
        return _binned(1.0 / (1.0 + np.exp((1.7 / self.softness * beyond).clip(-50.0, 50.0))))

    @classmethod
    def drawn(cls, level: int, rng: np.random.Generator) -> Self:
        """Draw a strength within a level, and any edge."""
        return cls(cls.drawn_strength(level, rng), float(rng.uniform(0.2, 1.0)))


def _point() -> Filter:
    return np.ones((1, 1), np.float32)


@functools.lru_cache(maxsize=32)
def _grid(side: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rows and columns of `_FINE` samples a pixel, counted from the middle in pixels."""
    line = (np.arange(side * _FINE) + 0.5) / _FINE - side / 2.0
    y, x = np.meshgrid(line, line, indexing="ij")
    return y, x


def _binned(fine: npt.NDArray[np.float64]) -> Filter:
    """The mean of the samples of each pixel, with a sum of 1."""
    side = len(fine) // _FINE
    coarse = fine.reshape(side, _FINE, side, _FINE).mean(axis=(1, 3))
    return np.asarray(coarse / coarse.sum(), np.float32)
