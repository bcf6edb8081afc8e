"""The catalogue of damage: blur, another size and noise, and what has a file of its own.

A new kind is a subclass of `Step` that stands in `STEPS`, or that `register` adds from elsewhere.
Levels, stores, tools, agents and reports follow from the class.
"""

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from restoration_toolchain.data.damage.camera import Camera
from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.noise_model import NoiseModel
from restoration_toolchain.data.damage.step import Step
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError, one_line
from restoration_toolchain.data.images import FloatImage, check_float_image
from restoration_toolchain.data.scaling import KERNELS, Kernel, resize

BLUR_KERNEL_SIZE: Final = 21  # pixels, odd


@dataclass(frozen=True, slots=True)
class _Gaussian(Step):
    """Damage that goes by a standard deviation.

    Attributes:
        sigma: Standard deviation in the unit of the kind; 0 changes nothing.

    Raises:
        ValueError: ``sigma`` is negative or not finite.
    """

    sigma: float

    def __post_init__(self) -> None:
        """Check the range."""
        if not (math.isfinite(self.sigma) and self.sigma >= 0.0):
            raise ValueError(f"sigma must be finite and not negative, got {self.sigma}")


@dataclass(frozen=True, slots=True)
class Blur(_Gaussian):
    """Gaussian blur with a normalised 21x21 kernel and replicated border; sigma is in pixels."""

    name = "blur"
    words = "blur of sigma {:.2g} px"
    unit = "sigma px"
    edges = tuple(0.5 * i for i in range(11))
    looks_around = True

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Blur; nothing is random."""
        check_float_image(image)
        if self.sigma == 0.0:
            return image.copy()
        kernel = cv2.getGaussianKernel(BLUR_KERNEL_SIZE, self.sigma, cv2.CV_32F)
        blurred = cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(blurred, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Noise(_Gaussian):
    """White Gaussian noise, independent per pixel and channel, then clipped to [0, 1].

    Sigma is in 8-bit grey levels: 50 means 50/255 on the [0, 1] scale.
    """

    name = "noise"
    words = "noise of sigma {:.2g} / 255"
    unit = "sigma /255"
    edges = tuple(5.0 * i for i in range(11))

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Add the noise."""
        check_float_image(image)
        if self.sigma == 0.0:
            return image.copy()
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(image + noise * np.float32(self.sigma / 255.0), 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Resize(Step):
    """Another size, as a share of the clean image's, whatever size the image has by then.

    Attributes:
        factor: Side of the result over side of the clean image, 0.05 to 4.
        kernel: Kernel of the interpolation.

    Raises:
        ValueError: The factor lies outside its range, or there is no such kernel.
    """

    name = "resize"
    words = "resizing to {:.0%}"
    without = 1.0

    factor: float
    kernel: Kernel = "bicubic"

    def __post_init__(self) -> None:
        """Check the range and the kernel."""
        if self.kernel not in KERNELS:
            raise UnknownNameError("kernel", self.kernel, KERNELS)
        if not 0.05 <= self.factor <= 4.0:
            raise ValueError(f"a resizing factor must lie in 0.05 to 4, got {self.factor}")

    @property
    def scale(self) -> float:
        """Side of the clean image over side of the result."""
        return 1.0 / self.factor

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Resize an image that has the size of the clean one; nothing is random."""
        return self.apply_within(image, rng, (image.shape[0], image.shape[1]))

    def apply_within(
        self, image: FloatImage, rng: np.random.Generator, clean_size: tuple[int, int]
    ) -> FloatImage:
        """Resize an image of any size to the share of the clean image's."""
        check_float_image(image)
        height, width = (max(1, round(side * self.factor)) for side in clean_size)
        return resize(image, height, width, self.kernel)

    def describe(self) -> str:
        """``bicubic down-sampling by 4``, or ``resizing to 63%``."""
        if self.scale > 1.0 and self.scale.is_integer():
            return f"{self.kernel} down-sampling by {self.scale:.0f}"
        return self.words.format(self.factor)


STEPS: Final[tuple[type[Step], ...]] = (Blur, Resize, Camera, NoiseModel, Noise, Jpeg)
"""The kinds of damage that ship, in the order in which they happen to a photo."""

STEP_KINDS: Final[dict[str, type[Step]]] = {kind.name: kind for kind in STEPS}
"""Every kind of damage that is known, by name."""


def register(kind: type[Step]) -> None:
    """Make a further kind of damage known.

    Raises:
        ToolchainError: Another kind has its name, or the class lacks a part.
    """
    if inspect.isabstract(kind) or not (hasattr(kind, "name") and hasattr(kind, "words")):
        raise ToolchainError(f"the damage {kind.__name__} needs a name, words and what applies it")
    if STEP_KINDS.setdefault(kind.name, kind) is not kind:
        raise ToolchainError(f"there is a kind of damage called {kind.name!r} already")


def graded_kinds() -> tuple[type[Step], ...]:
    """The kinds with strength levels: blur, noise and JPEG, and what was registered."""
    return tuple(kind for kind in STEP_KINDS.values() if kind.edges)


def read_step(entry: Mapping[str, Any]) -> Step:
    """Read the fields and the ``name`` of a step (`Degradation.to_dict`).

    Raises:
        UnknownNameError: There is no such kind of damage.
        ToolchainError: There are no fields, or one is missing, unknown or out of range.
    """
    try:
        values = dict(entry)
        name = values.pop("name", "")
        if name not in STEP_KINDS:
            raise UnknownNameError("kind of damage", name, STEP_KINDS)
        return STEP_KINDS[name].from_dict(values)
    except ToolchainError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ToolchainError(f"no step can be read from {entry}: {one_line(error)}") from None
