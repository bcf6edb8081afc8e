"""A camera's noise: signal dependent, spread by demosaicing, squeezed by JPEG.

It serves to measure denoisers on noise like that of real photos, of which no clean version exists.
White Gaussian noise flatters a denoiser: real noise is born on the sensor, and what the camera
does afterwards correlates it between neighbouring pixels and between channels.

Source:
    Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019. Left out, because
    they hardly change the noise: the colour matrix, the tone curve besides sRGB's, and exposure.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.step import Step, check_range, is_number
from restoration_toolchain.data.images import FloatImage, check_float_image, to_float, to_uint8

Mosaic = npt.NDArray[np.float32]
"""Linear raw signal behind RGGB colour filters, shape (H, W), float32; 1 is a full pixel."""

MARGIN: Final = 2
"""Pixels that the sensor sees beyond each border: whole cells of the mosaic, enough to demosaic."""

GREEN_KERNEL: Final = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / np.float32(4.0)
RED_BLUE_KERNEL: Final = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / np.float32(4.0)


@dataclass(frozen=True, slots=True)
class Camera(Step):
    """A camera at one ISO setting; as a step of damage, its noise on a photo.

    Attributes:
        shot: Variance of the photon noise per unit of linear raw signal; 0 is none.
        read: Standard deviation of the sensor's own noise, in linear raw [0, 1]; 0 is none.
        red_gain: Factor of white balance for red, 1 or more; green stays as it is.
        blue_gain: Factor of white balance for blue, 1 or more.
        jpeg_quality: JPEG quality 1 to 100 of the photo, or None for no compression at all.
        contrast: Slope of the camera's tone curve at middle grey, beside that of sRGB, 0.5 to 3: it
            makes noise there so many times as strong.
        smoothing: Standard deviation in pixels of the Gaussian that the camera spreads its noise
            by, to hide it, 0 to 5.

    Raises:
        ValueError: A noise is negative or not finite, a gain is below 1 or not finite, or another
            number lies outside its range.
    """

    name = "camera"
    words = "noise of a camera with photon noise {:.2g}"

    shot: float = 0.0
    read: float = 0.0
    red_gain: float = 2.1
    blue_gain: float = 1.7
    jpeg_quality: int | None = None
    contrast: float = 1.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, least in {"shot": 0, "read": 0, "red_gain": 1, "blue_gain": 1}.items():
            value = getattr(self, name)
            if not (is_number(value) and math.isfinite(value) and value >= least):
                raise ValueError(f"{name} must be finite and at least {least}, got {value}")
        check_range("contrast", self.contrast, 0.5, 3.0)
        check_range("smoothing", self.smoothing, 0.0, 5.0)
        if self.jpeg_quality is not None:
            Jpeg(self.jpeg_quality)

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Add what noise on the sensor does to a photo, and nothing else that the camera does.

        Demosaicing blurs photos, too; the photos that are degraded here have been through it
        already. The camera's own JPEG is not used.
        """
        noisy, clean = photograph(image, replace(self, jpeg_quality=None), rng)
        noise = noisy - clean
        if self.smoothing > 0.0:
            noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), self.smoothing), np.float32)
        if self.contrast != 1.0:
            slope = np.float32(4.0 * (self.contrast - 1.0)) * image * (1.0 - image) + 1.0
            noise = noise * slope
        return np.asarray(np.clip(image + noise, 0.0, 1.0), np.float32)


def typical_camera(shot: float, jpeg_quality: int | None = None) -> Camera:
    """A camera whose read noise goes with its shot noise: both grow with the ISO setting.

    Args:
        shot: Variance per unit of linear raw signal, above 0; 1e-4 to 1.2e-2 in real cameras.
        jpeg_quality: JPEG quality 1 to 100 of its photos, or None for no compression at all.

    Source:
        Brooks et al., CVPR 2019: the line ``log(read^2) = 2.18 log(shot) + 1.20``, fitted to the
        photos of the Darmstadt Noise Dataset.
    """
    read = math.exp(0.5 * (2.18 * math.log(shot) + 1.20))
    return Camera(shot=shot, read=read, jpeg_quality=jpeg_quality)


CAMERAS: Final[dict[str, Camera]] = {
    "low": typical_camera(1.5e-3, 96),
    "middle": typical_camera(7.0e-3, 94),
    "high": typical_camera(1.6e-2, 92),
}
"""Cameras whose photos have a PSNR of about 32, 27 and 23 dB, JPEG included.

Measured on the five photos of scikit-image: 31.0 to 34.0, 26.3 to 28.3 and 22.7 to 24.3 dB. On
middle grey that is a standard deviation of 3 to 4, 7 to 10 and 11 to 17 grey levels, least in
green. ``high`` lies a little beyond the range of the source, as a phone at night does.
"""


def photograph(
    image: FloatImage, camera: Camera, rng: np.random.Generator
) -> tuple[FloatImage, FloatImage]:
    """Take a photo of a scene, and another one without noise.

    The scene is brought back to linear raw, noise is added behind the colour filters, and the
    camera makes a photo of it: demosaicing, white balance, sRGB tone curve, 8 bits, JPEG.

    Args:
        image: The scene as an sRGB photo, shape (H, W, 3), float32, range [0, 1].
        camera: Strength of the noise, and what is done to it.
        rng: Source of the noise; NumPy's global state is not touched.

    Returns:
        The noisy photo and the clean one, each of ``image``'s shape, float32 on the 8-bit grid of
        [0, 1]. The clean one is demosaiced too, so that their difference is no error of
        demosaicing, and is not compressed.
    """
    check_float_image(image)
    mosaic = _expose(image, camera)
    clean = _develop(mosaic, camera)
    noisy = _develop(_add_sensor_noise(mosaic, camera, rng), camera)
    if camera.jpeg_quality is not None:
        noisy = Jpeg(camera.jpeg_quality).apply(noisy, rng)
    return noisy, clean


def srgb_to_linear(image: FloatImage) -> FloatImage:
    """Undo the tone curve of sRGB (IEC 61966-2-1): any shape, range [0, 1], to linear light."""
    toe = image / np.float32(12.92)
    curve = ((np.maximum(image, 0.0) + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.where(image <= 0.04045, toe, curve).astype(np.float32)


def linear_to_srgb(light: FloatImage) -> FloatImage:
    """Apply the tone curve of sRGB (IEC 61966-2-1); the inverse of `srgb_to_linear`."""
    toe = light * np.float32(12.92)
    power = np.maximum(light, 0.0) ** np.float32(1.0 / 2.4)
    curve = np.float32(1.055) * power - np.float32(0.055)
    return np.where(light <= 0.0031308, toe, curve).astype(np.float32)


def _gains(camera: Camera) -> npt.NDArray[np.float32]:
    return np.array([camera.red_gain, 1.0, camera.blue_gain], np.float32)


def _expose(image: FloatImage, camera: Camera) -> Mosaic:
    """The noiseless raw of a scene that goes on `MARGIN` pixels beyond its borders."""
    beyond = ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
    raw = np.pad(srgb_to_linear(image), beyond, mode="symmetric") / _gains(camera)
    mosaic: Mosaic = raw[..., 1].copy()
    mosaic[::2, ::2] = raw[::2, ::2, 0]
    mosaic[1::2, 1::2] = raw[1::2, 1::2, 2]
    return mosaic


def _add_sensor_noise(mosaic: Mosaic, camera: Camera, rng: np.random.Generator) -> Mosaic:
    """Count photons (Poisson), then add read noise (Gaussian); clipped to what a pixel holds."""
    counted = rng.poisson(mosaic / camera.shot) * camera.shot if camera.shot > 0.0 else mosaic
    read = camera.read * rng.standard_normal(mosaic.shape, dtype=np.float32)
    return np.clip(counted + read, 0.0, 1.0).astype(np.float32)


def _develop(mosaic: Mosaic, camera: Camera) -> FloatImage:
    """Make an 8-bit sRGB photo of a raw, and cut off the margin."""
    light = np.clip(_demosaic(mosaic) * _gains(camera), 0.0, 1.0)
    inside = light[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return to_float(to_uint8(linear_to_srgb(inside)))


def _demosaic(mosaic: Mosaic) -> FloatImage:
    """Fill in the two missing colours of each pixel by bilinear interpolation: to (H, W, 3)."""
    red, blue = np.zeros_like(mosaic), np.zeros_like(mosaic)
    red[::2, ::2] = mosaic[::2, ::2]
    blue[1::2, 1::2] = mosaic[1::2, 1::2]
    green = mosaic - red - blue
    kernels = (RED_BLUE_KERNEL, GREEN_KERNEL, RED_BLUE_KERNEL)
    planes = zip((red, green, blue), kernels, strict=True)
    return np.stack([cv2.filter2D(plane, -1, kernel) for plane, kernel in planes], axis=-1)
