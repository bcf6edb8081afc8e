"""Images made smaller and larger: the one place where their size changes by a kernel."""

from typing import Final, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.data.images import FloatImage

Kernel = Literal["area", "bilinear", "bicubic", "lanczos", "nearest"]
"""Box, triangle, Keys' cubic (a = -0.5) and Lanczos' windowed sinc of 3 lobes, stretched by the
scale where an image shrinks; and the nearest pixel alone."""

KERNELS: Final[tuple[Kernel, ...]] = get_args(Kernel)

SOFT_KERNELS: Final = tuple(kernel for kernel in KERNELS if kernel != "nearest")
"""All but the nearest pixel: what programs offer people by default."""

SMOOTH_KERNELS: Final[tuple[Kernel, ...]] = ("area", "bilinear", "bicubic")
"""The kernels of photos that are made smaller to be enlarged (Real-ESRGAN)."""

SCALES: Final = (1, 2, 4)
"""Side of a clean image over side of its degraded partner."""


def check_scale(scale: float) -> None:
    """Raise ValueError unless ``scale`` is one of `SCALES`."""
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(map(str, SCALES))}, got {scale}")


def resize(image: FloatImage, height: int, width: int, kernel: Kernel) -> FloatImage:
    """Bring an image to a size, without aliasing; clipped to [0, 1].

    Args:
        image: RGB (H, W, 3), float32, [0, 1].
        height: Height of the result, in pixels.
        width: Width of the result, in pixels.
        kernel: Kernel of the interpolation; ``area`` averages the pixels that a new one covers.
    """
    if kernel not in KERNELS:
        raise UnknownNameError("kernel", kernel, KERNELS)
    if kernel == "lanczos":
        planes = (Image.fromarray(plane) for plane in np.moveaxis(image, -1, 0).copy())
        larger = (plane.resize((width, height), Image.Resampling.LANCZOS) for plane in planes)
        return np.stack([np.asarray(plane) for plane in larger], axis=-1).clip(0.0, 1.0)
    # A contiguous copy: a view of a transposed window has strides that torch may refuse.
    images = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    if kernel in ("area", "nearest"):
        mode = "nearest-exact" if kernel == "nearest" else kernel
        resized = interpolate(images, (height, width), mode=mode)
    else:
        resized = interpolate(
            images, (height, width), mode=kernel, align_corners=False, antialias=True
        )
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).clamp(0.0, 1.0).numpy())


def upsampled(image: FloatImage, scale: int) -> FloatImage:
    """`upsample_bicubic` of one image (H, W, 3) in [0, 1], clipped to that."""
    return resize(image, image.shape[0] * scale, image.shape[1] * scale, "bicubic")


def upsample_bicubic(images: Tensor, scale: int) -> Tensor:
    """Make a batch larger by Keys' cubic (a = -0.5), which makes images smaller, too.

    Args:
        images: (N, C, H, W), any range.
        scale: Side of the result over side of the images.

    Returns:
        (N, C, H * scale, W * scale), not clipped.
    """
    size = (images.shape[-2] * scale, images.shape[-1] * scale)
    # Without antialias, PyTorch's cubic has a = -0.75.
    return interpolate(images, size, mode="bicubic", align_corners=False, antialias=True)
