"""Noise of every kind but a camera's own: white, of photons, of film, and coarse in colour only."""

from dataclasses import dataclass
from typing import Final, Self

import cv2
import numpy as np

from restoration_toolchain.data.damage.step import Step, check_range
from restoration_toolchain.data.images import FloatImage, check_float_image

LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)
"""Share of red, green and blue in brightness (ITU-R BT.601), as JPEG has it."""

_UNSEEN: Final = 1e-3
"""Grey levels; weaker noise would need more photons than can be counted."""


@dataclass(frozen=True, slots=True)
class Noise(Step):
    """White Gaussian noise, independent per pixel and channel, then clipped to [0, 1].

    Attributes:
        sigma: Standard deviation in 8-bit grey levels: 50 means 50/255 on the [0, 1] scale; 0
            changes nothing.

    Raises:
        ValueError: ``sigma`` is negative or not finite.
    """

    name = "noise"
    words = "noise of sigma {:.2g} / 255"
    unit = "sigma /255"
    edges = tuple(5.0 * i for i in range(11))

    sigma: float

    def __post_init__(self) -> None:
        """Check the range."""
        check_range("sigma", self.sigma, 0.0)

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Add the noise."""
        check_float_image(image)
        if self.sigma == 0.0:
            return image.copy()
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(image + noise * np.float32(self.sigma / 255.0), 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class PhotonNoise(Step):
    """Noise of counted light (Poisson): its variance goes with brightness.

    Attributes:
        sigma: Standard deviation where a channel is white, in 8-bit grey levels, 0 to 80.
        is_gray: Whether all channels have the same noise.

    Raises:
        ValueError: ``sigma`` lies outside its range, or ``is_gray`` is neither true nor false.
    """

    name = "photon-noise"
    words = "photon noise of sigma {:.2g} / 255 at white"
    unit = "sigma /255"
    edges = tuple(6.0 * i for i in range(11))

    sigma: float
    is_gray: bool = False

    def __post_init__(self) -> None:
        """Check the range."""
        check_range("sigma", self.sigma, 0.0, 80.0)
        if not isinstance(self.is_gray, bool | np.bool_):
            raise ValueError(f"is_gray must be true or false, got {self.is_gray}")

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Count the light of each pixel, and scale back."""
        check_float_image(image)
        if self.sigma < _UNSEEN:
            return image.copy()
        full = (255.0 / self.sigma) ** 2  # photons of white
        if not self.is_gray:
            return (rng.poisson(image * full) / full).clip(0.0, 1.0).astype(np.float32)
        gray = (image @ LUMA)[..., None]
        noise = (rng.poisson(gray * full) / full).astype(np.float32) - gray
        return _added(image, noise)

    @classmethod
    def drawn(cls, level: int, rng: np.random.Generator) -> Self:
        """Draw a strength within a level; one in four is gray."""
        return cls(cls.drawn_strength(level, rng), bool(rng.random() < 0.25))


@dataclass(frozen=True, slots=True)
class FilmGrain(Step):
    """Grain of film: in brightness, spread over neighbours, strongest in middle tones.

    Attributes:
        sigma: Standard deviation at middle grey, in 8-bit grey levels, 0 to 50.
        size: Standard deviation of the Gaussian that a grain is spread by, in pixels, 0 to 3.
        colour: Share of the grain's variance that each channel has for itself, 0 to 1.

    Raises:
        ValueError: A number lies outside its range.
    """

    name = "film-grain"
    words = "film grain of sigma {:.2g} / 255"
    unit = "sigma /255"
    edges = tuple(2.5 * i for i in range(11))

    sigma: float
    size: float = 0.8
    colour: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("sigma", self.sigma, 0.0, 50.0)
        check_range("size", self.size, 0.0, 3.0)
        check_range("colour", self.colour, 0.0, 1.0)

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Add the grain."""
        check_float_image(image)
        if self.sigma == 0.0:
            return image.copy()
        height, width = image.shape[:2]
        grain = np.sqrt(np.float32(1.0 - self.colour)) * spread((height, width, 1), self.size, rng)
        if self.colour > 0.0:
            grain = grain + np.sqrt(np.float32(self.colour)) * spread(
                (height, width, 3), self.size, rng
            )
        gray = (image @ LUMA)[..., None]
        # A little is left in black and white, where scanned film has some, too.
        tone = 0.15 + 0.85 * 4.0 * gray * (1.0 - gray)
        noise = grain * tone * np.float32(self.sigma / 255.0)
        return _added(image, noise)

    @classmethod
    def drawn(cls, level: int, rng: np.random.Generator) -> Self:
        """Draw a strength within a level, and any grain; two in three are gray."""
        colour = float(rng.uniform(0.0, 0.6)) if rng.random() < 1.0 / 3.0 else 0.0
        return cls(cls.drawn_strength(level, rng), float(rng.uniform(0.3, 1.6)), colour)


@dataclass(frozen=True, slots=True)
class ChromaNoise(Step):
    """Coarse noise in colour, which leaves brightness as it is: what phones make of dim light.

    Attributes:
        sigma: Standard deviation of each colour difference, in 8-bit grey levels, 0 to 50.
        size: Standard deviation of the Gaussian that it is spread by, in pixels, 0 to 8.

    Raises:
        ValueError: A number lies outside its range.
    """

    name = "chroma-noise"
    words = "colour noise of sigma {:.2g} / 255"
    unit = "sigma /255"
    edges = tuple(2.5 * i for i in range(11))

    sigma: float
    size: float = 2.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_range("sigma", self.sigma, 0.0, 50.0)
        check_range("size", self.size, 0.0, 8.0)

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Add the noise to red and blue, and to green what keeps the brightness."""
        check_float_image(image)
        if self.sigma == 0.0:
            return image.copy()
        height, width = image.shape[:2]
        red, blue = np.moveaxis(spread((height, width, 2), self.size, rng), -1, 0)
        green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]
        noise = np.stack([red, green, blue], axis=-1) * np.float32(self.sigma / 255.0)
        return _added(image, noise)

    @classmethod
    def drawn(cls, level: int, rng: np.random.Generator) -> Self:
        """Draw a strength within a level, and any size."""
        return cls(cls.drawn_strength(level, rng), float(rng.uniform(0.8, 4.0)))


def spread(shape: tuple[int, int, int], size: float, rng: np.random.Generator) -> FloatImage:
    """Gaussian noise (H, W, C) of variance 1, spread over neighbours by a Gaussian of that size."""
    reach = int(np.ceil(3.0 * size))
    height, width, channels = shape
    padded = (height + 2 * reach, width + 2 * reach, channels)
    white = rng.standard_normal(padded, dtype=np.float32)
    if size < 0.2:  # narrower than a pixel
        return white[reach : reach + height, reach : reach + width]
    kernel = cv2.getGaussianKernel(2 * reach + 1, size, cv2.CV_32F)
    kernel = kernel / np.linalg.norm(kernel)
    wide = cv2.sepFilter2D(white, -1, kernel, kernel)
    inside = np.asarray(wide, np.float32).reshape(padded)
    return inside[reach : reach + height, reach : reach + width]


def _added(image: FloatImage, noise: FloatImage) -> FloatImage:
    return np.asarray(np.clip(image + noise, 0.0, 1.0), np.float32)
