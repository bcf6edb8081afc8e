"""Photos made from samples, the EXIF block of a camera, and what makes two photos the same."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms

from restoration_toolchain.toolchain.photos.read import Photo

MAKE, ORIENTATION = 271, 274
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def photo_of(samples: npt.NDArray[Any], **about: Any) -> Photo:
    """The photo that is stored as a sample array (H, W, C)."""
    channels = samples.shape[2]
    colours = samples[:, :, :1] if channels <= 2 else samples[:, :, :3]
    rgb = np.broadcast_to(
        colours / np.float32(np.iinfo(samples.dtype).max), (*colours.shape[:2], 3)
    )
    return Photo(
        rgb=np.ascontiguousarray(rgb, np.float32),
        alpha=samples[:, :, -1] if channels in (2, 4) else None,
        is_gray=channels <= 2,
        bit_depth=16 if samples.dtype == np.uint16 else 8,
        **about,
    )


def exif_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[MAKE] = "A camera"
    exif[ORIENTATION] = orientation
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.004  # s
    return exif.tobytes()


def assert_same_pixels(first: Photo, second: Photo) -> None:
    assert np.array_equal(first.rgb, second.rgb)
    assert (first.alpha is None) == (second.alpha is None)
    if first.alpha is not None and second.alpha is not None:
        assert first.alpha.dtype == second.alpha.dtype
        assert np.array_equal(first.alpha, second.alpha)
    assert (first.is_gray, first.bit_depth) == (second.is_gray, second.bit_depth)
