"""Another size on the way: smaller, larger, and back."""

from dataclasses import dataclass

import numpy as np

from restoration_toolchain.data.damage.step import Step, is_number
from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.data.images import FloatImage, check_float_image
from restoration_toolchain.data.scaling import KERNELS, Kernel, resize


@dataclass(frozen=True, slots=True)
class Resize(Step):
    """Another size, as a share of the clean image's, whatever size the image has by then.

    Attributes:
        factor: Side of the result over side of the clean image, 0.05 to 4.
        kernel: Kernel of the interpolation.

    Raises:
        ValueError: The factor lies outside its range.
        UnknownNameError: There is no such kernel.
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
        if not is_number(self.factor) or not 0.05 <= self.factor <= 4.0:
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
