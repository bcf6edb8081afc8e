"""Array conventions: RGB, uint8 (H, W, 3) at the borders, float32 (N, 3, H, W) in [0, 1] inside."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from restoration_toolchain.data.errors import ImageFormatError

FloatImage: TypeAlias = npt.NDArray[np.float32]
"""RGB, shape (H, W, 3), float32, range [0, 1]."""

ByteImage: TypeAlias = npt.NDArray[np.uint8]
"""RGB, shape (H, W, 3), uint8, range [0, 255]."""


def check_float_image(image: FloatImage) -> None:
    """Raise ImageFormatError unless ``image`` is float32 RGB of shape (H, W, 3)."""
    if image.dtype != np.float32 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageFormatError(
            f"expected float32 RGB of shape (H, W, 3) in [0, 1], got {image.dtype} {image.shape}"
        )


def to_uint8(image: FloatImage) -> ByteImage:
    """Clip to [0, 1], scale to [0, 255] and round to nearest: the one place where rounding happens.

    Args:
        image: Any shape, float, nominal range [0, 1]; values outside are clipped.
    """
    return np.asarray(np.rint(np.clip(image, 0.0, 1.0) * 255.0), np.uint8)


def to_float(image: ByteImage) -> FloatImage:
    """Scale uint8 [0, 255] to float32 [0, 1]; the inverse of `to_uint8`."""
    if image.dtype != np.uint8:
        raise ImageFormatError(f"expected uint8, got {image.dtype}")
    return image.astype(np.float32) / np.float32(255.0)


def to_tensor(images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> Tensor:
    """Turn (N, H, W, 3) uint8 in [0, 255] or float32 in [0, 1] into float32 (N, 3, H, W) in [0, 1].

    The result is channels-last in memory, which is what the convolutions of this project like best.
    """
    if images.ndim != 4 or images.shape[3] != 3:
        raise ImageFormatError(f"expected images of shape (N, H, W, 3), got {images.shape}")
    tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return tensor.float().div_(255.0) if images.dtype == np.uint8 else tensor


def to_numpy(images: Tensor) -> npt.NDArray[np.float32]:
    """Turn (N, 3, H, W) float into float32 (N, H, W, 3); the inverse of `to_tensor` for floats."""
    return np.ascontiguousarray(images.detach().float().cpu().permute(0, 2, 3, 1).numpy())
