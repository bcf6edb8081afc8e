"""The kinds of damage: one small class each, which applies, draws, describes and stores itself.

A new kind is a subclass of `Step` that stands in `STEPS`, or that `register` adds from elsewhere.
Levels, stores, tools, agents and reports follow from the class.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import cv2
import numpy as np

from restoration_toolchain.data.damage.camera import Camera, add_camera_noise
from restoration_toolchain.data.damage.jpeg import check_quality, compress_jpeg
from restoration_toolchain.data.damage.noise_model import NoiseModel
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.images import FloatImage, check_float_image
from restoration_toolchain.data.scaling import Kernel, resize

BLUR_KERNEL_SIZE: Final = 21  # pixels, odd
NUM_LEVELS: Final = 10
"""Strength levels of a kind; level ``i``, from 1, lies between edges ``i - 1`` and ``i``."""


@dataclass(frozen=True, slots=True)
class Step(ABC):
    """One thing that happens to a photo; the first field of a subclass is its strength."""

    name: ClassVar[str]
    """Stable id: in files, in rules, and as the level that draws this kind alone."""
    unit: ClassVar[str] = ""
    """Unit of the strength, for tables."""
    edges: ClassVar[tuple[float, ...]] = ()
    """Edges of the `NUM_LEVELS` strength levels, weakest first; empty if none are known."""
    without: ClassVar[float | None] = 0.0
    """Strength that a photo without this step has; None if no number stands for that."""
    looks_around: ClassVar[bool] = False
    """Whether a pixel depends on its neighbours, so that a patch needs its surroundings."""
    has_grid: ClassVar[bool] = False
    """Whether what JPEG did is part of the step, so that no place in its grid is drawn."""

    @abstractmethod
    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Damage a copy of an image.

        Args:
            image: RGB, shape (H, W, 3), float32, range [0, 1].
            rng: Source of everything random; NumPy's global state is not touched.

        Returns:
            Same dtype and range, not rounded.

        Raises:
            ImageFormatError: ``image`` is not float32 RGB.
        """

    @abstractmethod
    def describe(self) -> str:
        """What the step does, in words and with units."""

    def apply_within(
        self, image: FloatImage, rng: np.random.Generator, clean_size: tuple[int, int]
    ) -> FloatImage:
        """As `apply`, for steps that go by the (height, width) of the clean image."""
        return self.apply(image, rng)

    @property
    def strength(self) -> float:
        """How strong it is, in `unit`."""
        strength: float = getattr(self, dataclasses.fields(self)[0].name)
        return strength

    @property
    def scale(self) -> float | None:
        """Side of the clean image over side of the result; None if the size stays."""
        return None

    @property
    def level(self) -> int:
        """Strength level, 1 to `NUM_LEVELS`; a strength on an edge counts as the weaker one."""
        sign = 1.0 if self.edges[0] < self.edges[-1] else -1.0
        place = np.searchsorted([sign * edge for edge in self.edges], sign * self.strength)
        return min(max(int(place), 1), NUM_LEVELS)

    @property
    def share(self) -> float:
        """Strength as a share of the strongest level's: 0 is hardly any, 1 the last edge."""
        return (self.edges[0] - self.strength) / (self.edges[0] - self.edges[-1])

    @classmethod
    def is_as_strong(cls, strength: float, other: float) -> bool:
        """Whether a strength is no weaker than another one."""
        return strength >= other if cls.edges[0] < cls.edges[-1] else strength <= other

    @classmethod
    def of_strength(cls, strength: float) -> Self:
        """A step of this strength, in `unit`."""
        return cls(strength)  # type: ignore[call-arg]

    @classmethod
    def drawn(cls, level: int, rng: np.random.Generator) -> Self:
        """Draw a strength uniformly within a level, 1 to `NUM_LEVELS`."""
        low, high = sorted(cls.edges[level - 1 : level + 1])
        return cls.of_strength(float(rng.uniform(low, high)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `read_step` reads it."""
        return {"name": self.name, **dataclasses.asdict(self)}

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> Self:
        """The step whose fields have these plain values, as in `to_dict`."""
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Blur(Step):
    """Gaussian blur with a normalised 21x21 kernel and replicated border.

    Attributes:
        sigma: Standard deviation in pixels; 0 changes nothing.
    """

    name = "blur"
    unit = "sigma px"
    edges = tuple(0.5 * i for i in range(11))
    looks_around = True

    sigma: float

    def __post_init__(self) -> None:
        """Check the range."""
        _check_sigma(self.sigma)

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Blur; nothing is random."""
        check_float_image(image)
        if self.sigma == 0.0:
            return image.copy()
        kernel = cv2.getGaussianKernel(BLUR_KERNEL_SIZE, self.sigma, cv2.CV_32F)
        blurred = cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(blurred, dtype=np.float32)

    def describe(self) -> str:
        """``blur of sigma 2.3 px``."""
        return f"blur of sigma {self.sigma:.2g} px"


@dataclass(frozen=True, slots=True)
class Resize(Step):
    """Another size, by a kernel; an image of the clean one's size is resized on its own.

    Attributes:
        factor: Side of the result over side of the clean image, 0.05 to 4.
        kernel: Kernel of the interpolation.
    """

    name = "resize"
    unit = "times"
    without = 1.0

    factor: float
    kernel: Kernel = "bicubic"

    def __post_init__(self) -> None:
        """Check the range."""
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
        return f"resizing to {self.factor:.0%}"


@dataclass(frozen=True, slots=True)
class CameraNoise(Step):
    """The noise of a camera (`damage.camera`), as real photos have it.

    Attributes:
        camera: Camera whose noise it is; its own JPEG is not used.
    """

    name = "camera"
    unit = "photon noise"

    camera: Camera

    @property
    def strength(self) -> float:
        """Variance of the photon noise per unit of linear raw signal."""
        return self.camera.shot

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Add the noise."""
        return add_camera_noise(image, self.camera, rng)

    def describe(self) -> str:
        """``noise of a camera with photon noise 0.012``."""
        return f"noise of a camera with photon noise {self.camera.shot:.2g}"

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> Self:
        """Read the camera."""
        return cls(Camera(**values["camera"]))


@dataclass(frozen=True, slots=True)
class MeasuredNoise(Step):
    """Noise like that of photos it was measured on, JPEG's part of it included.

    Attributes:
        model: Strength and correlation of the noise.
    """

    name = "measured-noise"
    unit = "sigma /255"
    has_grid = True

    model: NoiseModel

    @property
    def strength(self) -> float:
        """Mean standard deviation in the photos that were measured, in 8-bit grey levels."""
        return self.model.sigma

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Add the noise, and clip."""
        return (image + self.model.draw(image, rng)).clip(0.0, 1.0)

    def describe(self) -> str:
        """``measured noise of sigma 12 / 255``."""
        return f"measured noise of sigma {self.strength:.2g} / 255"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, about 20 kB."""
        return {"name": self.name, "model": self.model.to_dict()}

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> Self:
        """Read the model."""
        return cls(NoiseModel.from_dict(values["model"]))


@dataclass(frozen=True, slots=True)
class Noise(Step):
    """White Gaussian noise, independent per pixel and channel; the result is clipped.

    Attributes:
        sigma: Standard deviation in 8-bit grey levels: 50 means 50/255 on the [0, 1] scale; 0
            changes nothing.
    """

    name = "noise"
    unit = "sigma /255"
    edges = tuple(5.0 * i for i in range(11))

    sigma: float

    def __post_init__(self) -> None:
        """Check the range."""
        _check_sigma(self.sigma)

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Add the noise."""
        check_float_image(image)
        if self.sigma == 0.0:
            return image.copy()
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(image + noise * np.float32(self.sigma / 255.0), 0.0, 1.0)

    def describe(self) -> str:
        """``noise of sigma 21 / 255``."""
        return f"noise of sigma {self.sigma:.2g} / 255"


@dataclass(frozen=True, slots=True)
class Jpeg(Step):
    """JPEG with 4:2:0 chroma: the result lies on the 8-bit grid.

    Attributes:
        quality: 1 (worst) to 100 (best).
    """

    name = "jpeg"
    unit = "quality"
    edges = (100.0, 80.0, 60.0, 50.0, 40.0, 35.0, 30.0, 25.0, 20.0, 15.0, 10.0)
    without = None

    quality: int

    def __post_init__(self) -> None:
        """Check the range."""
        check_quality(self.quality)

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Encode and decode; nothing is random."""
        return compress_jpeg(image, self.quality)

    def describe(self) -> str:
        """``JPEG of quality 40``."""
        return f"JPEG of quality {self.quality}"

    @classmethod
    def of_strength(cls, strength: float) -> Self:
        """Of the nearest whole quality."""
        return cls(round(strength))


STEPS: Final[tuple[type[Step], ...]] = (Blur, Resize, CameraNoise, MeasuredNoise, Noise, Jpeg)
"""The kinds of damage that ship, in the order in which they happen to a photo."""

STEP_KINDS: Final[dict[str, type[Step]]] = {kind.name: kind for kind in STEPS}
"""Every kind of damage that is known, by name."""


def register(kind: type[Step]) -> None:
    """Make a further kind of damage known.

    Raises:
        ToolchainError: There is another kind of that name.
    """
    if STEP_KINDS.setdefault(kind.name, kind) is not kind:
        raise ToolchainError(f"there is a kind of damage called {kind.name!r} already")


def graded_kinds() -> tuple[type[Step], ...]:
    """The kinds with strength levels: blur, noise and JPEG, and what was registered."""
    return tuple(kind for kind in STEP_KINDS.values() if kind.edges)


def read_step(entry: Mapping[str, Any]) -> Step:
    """Read what `Step.to_dict` wrote.

    Raises:
        UnknownNameError: There is no such kind of damage.
        ToolchainError: A field is missing, unknown or out of range.
    """
    values = dict(entry)
    name = values.pop("name", "")
    if name not in STEP_KINDS:
        raise UnknownNameError("kind of damage", name, STEP_KINDS)
    try:
        return STEP_KINDS[name].from_fields(values)
    except (KeyError, TypeError, ValueError) as error:
        raise ToolchainError(f"no {name} can be read from {values}: {error}") from None


def _check_sigma(sigma: float) -> None:
    if not (math.isfinite(sigma) and sigma >= 0.0):
        raise ValueError(f"sigma must be finite and not negative, got {sigma}")
