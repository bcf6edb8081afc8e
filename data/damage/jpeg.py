"""JPEG as it damages photos: encoded and decoded again."""

import cv2
import numpy as np

from restoration_toolchain.data.images import FloatImage, check_float_image, to_float, to_uint8


def compress_jpeg(image: FloatImage, quality: int) -> FloatImage:
    """Encode as JPEG with 4:2:0 chroma and decode again.

    Args:
        image: RGB, shape (H, W, 3), float32, range [0, 1]; rounded to 8 bits for the encoder.
        quality: 1 (worst) to 100 (best).

    Returns:
        Same shape, float32 on the 8-bit grid of [0, 1].

    Raises:
        ImageFormatError: ``image`` is not float32 RGB.
        ValueError: ``quality`` lies outside 1 to 100.
    """
    check_float_image(image)
    check_quality(quality)
    bgr = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)
    _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
    return to_float(np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8))


def check_quality(quality: int) -> None:
    """Refuse what is no quality of JPEG.

    Raises:
        ValueError: ``quality`` lies outside 1 to 100.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality must lie in 1 to 100, got {quality}")
