"""WebP as it damages photos: encoded and decoded again."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from restoration_toolchain.data.damage.jpeg import coded
from restoration_toolchain.data.damage.step import Step, check_whole
from restoration_toolchain.data.images import FloatImage, check_float_image


@dataclass(frozen=True, slots=True)
class Webp(Step):
    """Lossy WebP, always with a quarter of the colour; the result lies on the 8-bit grid.

    Attributes:
        quality: 1 (worst) to 100 (best).

    Raises:
        ValueError: ``quality`` is not whole, or lies outside its range.
    """

    name = "webp"
    words = "WebP of quality {}"
    unit = "quality"
    edges = (100.0, 90.0, 80.0, 70.0, 60.0, 50.0, 40.0, 30.0, 20.0, 10.0, 1.0)
    without = None

    quality: int

    def __post_init__(self) -> None:
        """Check the range, and keep an int of whatever type the number has."""
        object.__setattr__(self, "quality", check_whole("WebP quality", self.quality, 1, 100))

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Encode and decode an image, rounded to 8 bits for that; nothing is random."""
        check_float_image(image)
        return coded(image, ".webp", [cv2.IMWRITE_WEBP_QUALITY, self.quality])

    @classmethod
    def of_strength(cls, strength: float) -> Self:
        """The nearest whole quality."""
        return cls(round(strength))
