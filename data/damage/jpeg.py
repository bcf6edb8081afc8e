"""JPEG as it damages photos: encoded and decoded again."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from restoration_toolchain.data.damage.step import Step
from restoration_toolchain.data.images import FloatImage, check_float_image, to_float, to_uint8


@dataclass(frozen=True, slots=True)
class Jpeg(Step):
    """JPEG with 4:2:0 chroma; the result lies on the 8-bit grid.

    Attributes:
        quality: 1 (worst) to 100 (best).

    Raises:
        ValueError: ``quality`` is no whole number, or lies outside 1 to 100.
    """

    name = "jpeg"
    words = "JPEG of quality {}"
    unit = "quality"
    edges = (100.0, 80.0, 60.0, 50.0, 40.0, 35.0, 30.0, 25.0, 20.0, 15.0, 10.0)
    without = None

    quality: int

    def __post_init__(self) -> None:
        """Check the range, and keep an int of whatever type the number has."""
        if not 1 <= self.quality <= 100 or self.quality != int(self.quality):
            raise ValueError(f"JPEG quality must lie in 1 to 100 and be whole, got {self.quality}")
        object.__setattr__(self, "quality", int(self.quality))

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Encode and decode an image, rounded to 8 bits for that; nothing is random."""
        check_float_image(image)
        bgr = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)
        _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
        return to_float(np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8))

    @classmethod
    def of_strength(cls, strength: float) -> Self:
        """The nearest whole quality."""
        return cls(round(strength))
