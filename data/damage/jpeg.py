"""JPEG as it damages photos: encoded and decoded again."""

from dataclasses import dataclass
from typing import Final, Literal, Self

import cv2
import numpy as np

from restoration_toolchain.data.damage.step import Step, check_whole
from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.data.images import FloatImage, check_float_image, to_float, to_uint8

Subsampling = Literal["4:2:0", "4:2:2", "4:4:4"]
"""How much of colour is kept: a quarter, half, or all of it."""

_FACTORS: Final[dict[Subsampling, int]] = {
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}
_GRID: Final = 16  # pixels, blocks of colour at half size


@dataclass(frozen=True, slots=True)
class Jpeg(Step):
    """JPEG; the result lies on the 8-bit grid.

    Attributes:
        quality: 1 (worst) to 100 (best).
        subsampling: How much of colour is kept.
        top: Rows of the first blocks that lie above the image, 0 to 15: where the grid begins.
        left: Columns of the first blocks that lie left of it, 0 to 15.

    Raises:
        ValueError: A number is not whole, or lies outside its range.
        UnknownNameError: There is no such subsampling.
    """

    name = "jpeg"
    words = "JPEG of quality {}"
    unit = "quality"
    edges = (100.0, 80.0, 60.0, 50.0, 40.0, 35.0, 30.0, 25.0, 20.0, 15.0, 10.0)
    without = None

    quality: int
    subsampling: Subsampling = "4:2:0"
    top: int = 0
    left: int = 0

    def __post_init__(self) -> None:
        """Check the ranges, and keep ints of whatever type the numbers have."""
        object.__setattr__(self, "quality", check_whole("JPEG quality", self.quality, 1, 100))
        for side in ("top", "left"):
            object.__setattr__(self, side, check_whole(side, getattr(self, side), 0, _GRID - 1))
        if self.subsampling not in _FACTORS:
            raise UnknownNameError("subsampling", self.subsampling, _FACTORS)

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Encode and decode an image, rounded to 8 bits for that; nothing is random."""
        check_float_image(image)
        whole_blocks = image
        if self.top or self.left:
            whole_blocks = np.pad(image, ((self.top, 0), (self.left, 0), (0, 0)), mode="edge")
        options = [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        if self.subsampling != "4:2:0":  # which is the default
            options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _FACTORS[self.subsampling]]
        decoded = coded(whole_blocks, ".jpg", options)
        return np.ascontiguousarray(decoded[self.top :, self.left :])

    def describe(self) -> str:
        """``JPEG of quality 40``, and how much of colour is kept if it is more than a quarter."""
        words = self.words.format(self.quality)
        return words if self.subsampling == "4:2:0" else f"{words} ({self.subsampling})"

    @classmethod
    def of_strength(cls, strength: float) -> Self:
        """The nearest whole quality."""
        return cls(round(strength))


def coded(image: FloatImage, suffix: str, options: list[int]) -> FloatImage:
    """Encode an image as a file of this kind, and decode it; rounded to 8 bits for that."""
    bgr = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)
    _, code = cv2.imencode(suffix, bgr, options)
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
    return to_float(np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8))
