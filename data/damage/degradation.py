"""The mixed degradation of RL-Restore: Gaussian blur, then Gaussian noise, then JPEG.

In place of white noise there may be that of a camera (`damage.camera`), as real photos have it.
With a scale above 1 it makes the input of super-resolution: between blur and noise, the image is
made smaller (`data.scaling`; `damage.second_order` has distributions over such degradations).

Every function is pure; randomness comes from a generator that the caller passes in.

Source:
    Yu et al., "Crafting a Toolchain for Image Restoration by Deep Reinforcement Learning",
    CVPR 2018.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.damage.camera import Camera, add_camera_noise, typical_camera
from restoration_toolchain.data.damage.jpeg import check_quality, compress_jpeg
from restoration_toolchain.data.errors import ImageFormatError, UnknownNameError
from restoration_toolchain.data.images import FloatImage, check_float_image
from restoration_toolchain.data.scaling import Kernel, check_scale, downsample

Pixel = TypeVar("Pixel", np.uint8, np.float32)

BLUR_KERNEL_SIZE: Final = 21  # pixels, odd
JPEG_BLOCK: Final = 8  # pixels
JPEG_GRID: Final = 2 * JPEG_BLOCK  # blocks of chroma at half size
CONTEXT: Final = 16
"""Pixels around a patch for `degrade_crop`: half the kernel of blur, or a cell of the grid."""
BLUR_SIGMA_EDGES: Final = tuple(0.5 * i for i in range(11))  # pixels
NOISE_SIGMA_EDGES: Final = tuple(5.0 * i for i in range(11))  # 8-bit grey levels
JPEG_QUALITY_EDGES: Final = (100.0, 80.0, 60.0, 50.0, 40.0, 35.0, 30.0, 25.0, 20.0, 15.0, 10.0)
NUM_LEVELS: Final = 10
"""Strength levels per distortion; level ``i``, from 1, lies between edges ``i - 1`` and ``i``."""

CAMERA_SHOT: Final = (5e-4, 2e-2)
"""Range of the photon noise of *camera*, see `camera.Camera`; from weakest on a good day to a
little beyond the strongest of `data.damage.camera.CAMERAS`."""
CAMERA_JPEG_QUALITY: Final = 85  # the lowest

SEVERITY: Final = {"mild": (9, 11), "moderate": (12, 17), "severe": (18, 20)}
"""Smallest and largest severity of each class; that of levels (b, n, j) is b + n + j - 2."""

LIGHT_LEVELS: Final = {"blur_sigma": 6, "noise_sigma": 2, "jpeg_quality": 2}
"""Highest level of each distortion in *light*, what most photos have and the three classes lack:
blur up to 3 pixels, noise up to 10 grey levels, JPEG of quality 60 or more."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """What happened to a clean image: blur, down-sampling, a camera's noise, noise, JPEG, in order.

    Attributes:
        blur_sigma: Standard deviation of the Gaussian blur in pixels of the clean image; 0 is no
            blur.
        noise_sigma: Standard deviation of the Gaussian noise in 8-bit grey levels; 0 is no noise.
        jpeg_quality: JPEG quality 1 to 100, or None for no compression at all.
        scale: Side of the clean image over side of the degraded one: 1, 2 or 4.
        kernel: With which the image is made smaller.
        camera: Whose noise there is; its own JPEG is not used.

    Raises:
        ValueError: A sigma is negative or not finite, the quality lies outside 1 to 100, or the
            scale is another.
    """

    blur_sigma: float = 0.0
    noise_sigma: float = 0.0
    jpeg_quality: int | None = None
    scale: int = 1
    kernel: Kernel = "bicubic"
    camera: Camera | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_scale(self.scale)
        _check_sigma(self.blur_sigma)
        _check_sigma(self.noise_sigma)
        if self.jpeg_quality is not None:
            check_quality(self.jpeg_quality)

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Degrade a copy of ``image``.

        Args:
            image: RGB, shape (H, W, 3), float32, range [0, 1].
            rng: Where the noise comes from.

        Returns:
            (H / scale, W / scale, 3), float32 in [0, 1]; on the 8-bit grid if JPEG was applied.

        Raises:
            ImageFormatError: ``image`` is not float32 RGB, or a side is no multiple of the scale.
        """
        check_float_image(image)
        out = downsample(blur_gaussian(image, self.blur_sigma), self.scale, self.kernel)
        if self.camera is not None:
            out = add_camera_noise(out, self.camera, rng)
        out = add_gaussian_noise(out, self.noise_sigma, rng)
        return out if self.jpeg_quality is None else compress_jpeg(out, self.jpeg_quality)


def blur_gaussian(image: FloatImage, sigma: float) -> FloatImage:
    """Blur with a normalised 21x21 Gaussian kernel and replicated border.

    Args:
        image: RGB, shape (H, W, 3), float32, range [0, 1].
        sigma: Standard deviation in pixels; 0 returns a copy.

    Returns:
        Same shape and dtype, range [0, 1].

    Raises:
        ImageFormatError: ``image`` is not float32 RGB.
        ValueError: ``sigma`` is negative or not finite.
    """
    check_float_image(image)
    _check_sigma(sigma)
    if sigma == 0.0:
        return image.copy()
    kernel = cv2.getGaussianKernel(BLUR_KERNEL_SIZE, sigma, cv2.CV_32F)
    blurred = cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, dtype=np.float32)


def add_gaussian_noise(image: FloatImage, sigma: float, rng: np.random.Generator) -> FloatImage:
    """Add white Gaussian noise, independent per pixel and channel.

    Args:
        image: RGB, shape (H, W, 3), float32, range [0, 1].
        sigma: Standard deviation in 8-bit grey levels: 50 means 50/255 on the [0, 1] scale;
            0 returns a copy.
        rng: Where the noise comes from; NumPy's global state is not touched.

    Returns:
        Same shape and dtype, clipped to [0, 1] and not rounded (`to_uint8` rounds, once).

    Raises:
        ImageFormatError: ``image`` is not float32 RGB.
        ValueError: ``sigma`` is negative or not finite.
    """
    check_float_image(image)
    _check_sigma(sigma)
    if sigma == 0.0:
        return image.copy()
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + noise * np.float32(sigma / 255.0), 0.0, 1.0)


def level_triples(level: str) -> tuple[tuple[int, int, int], ...]:
    """All (blur, noise, JPEG) level triples of a class: 163 mild, 434 moderate, 163 severe.

    Args:
        level: ``mild``, ``moderate``, ``severe``, or ``all`` for the union of the three.

    Raises:
        UnknownNameError: There is no such class.
    """
    if level == "all":
        return tuple(triple for name in SEVERITY for triple in level_triples(name))
    if level not in SEVERITY:
        raise UnknownNameError("level", level, (*SEVERITY, "all"))
    low, high = SEVERITY[level]
    strengths = range(1, NUM_LEVELS + 1)
    return tuple(
        triple
        for triple in itertools.product(strengths, strengths, strengths)
        if low <= sum(triple) - 2 <= high
    )


def strength_levels(degradation: Degradation) -> tuple[int, int, int]:
    """The (blur, noise, JPEG) levels, 1 to 10, that a degradation's strengths lie in; 0 is none.

    A strength on the edge of two levels counts as the weaker one.
    """
    quality = degradation.jpeg_quality
    return (
        _level_of(degradation.blur_sigma, BLUR_SIGMA_EDGES),
        _level_of(degradation.noise_sigma, NOISE_SIGMA_EDGES),
        0 if quality is None else max(_level_of(-quality, [-q for q in JPEG_QUALITY_EDGES]), 1),
    )


def degrade_crop(
    degradation: "Degradation", window: FloatImage, rng: np.random.Generator
) -> FloatImage:
    """Degrade a patch as if it had been cut from a degraded photo.

    A patch that is degraded on its own differs from that in two ways which networks learn to rely
    on: blur finds replicated pixels beyond its border, and the 8x8 blocks of JPEG begin at its
    corner. So blur is given the patch's surroundings, and the grid of JPEG begins anywhere.

    Args:
        degradation: What happens to the photo.
        window: RGB (H + 2 * CONTEXT, W + 2 * CONTEXT, 3) float32 in [0, 1]: a patch and its
            surroundings in the photo.
        rng: Of the place in the grid, and of the noise.

    Returns:
        The degraded patch: (H, W, 3), float32 in [0, 1].

    Raises:
        ImageFormatError: ``window`` is not float32 RGB, or has no patch within its surroundings.
        ValueError: The degradation changes the size (see `second_order.degrade_scaled_crop`).
    """
    check_float_image(window)
    if degradation.scale != 1:
        raise ValueError(f"degrade_crop keeps the size of a patch, got scale {degradation.scale}")
    if min(window.shape[:2]) <= 2 * CONTEXT:
        raise ImageFormatError(f"a window of {window.shape[:2]} pixels has no patch in it")
    top, left = (int(offset) for offset in rng.integers(JPEG_GRID, size=2))
    photo = blur_gaussian(window, degradation.blur_sigma)[top:, left:]
    photo = replace(degradation, blur_sigma=0.0).apply(photo, rng)
    return central_patch(photo, CONTEXT - top, CONTEXT - left)


def central_patch(
    window: npt.NDArray[Pixel], top: int = CONTEXT, left: int = CONTEXT
) -> npt.NDArray[Pixel]:
    """The patch within its surroundings: a contiguous copy of what lies CONTEXT from the far sides.

    Args:
        window: (..., H, W, 3).
        top: Rows above the patch.
        left: Columns left of it.
    """
    return np.ascontiguousarray(window[..., top:-CONTEXT, left:-CONTEXT, :])


Sampler = Callable[[np.random.Generator], Degradation]
"""A distribution over degradations: draws one with the generator it is given."""


@functools.cache
def mixed_sampler(level: str) -> Sampler:
    """Draw a level triple uniformly from a class, then each strength uniformly within its level.

    Args:
        level: ``mild``, ``moderate``, ``severe`` or ``all``.

    Raises:
        UnknownNameError: There is no such class.
    """
    rows = np.array(level_triples(level))

    def draw(rng: np.random.Generator) -> Degradation:
        blur, noise, jpeg = rows[rng.integers(len(rows))]
        return Degradation(
            blur_sigma=_draw_within(BLUR_SIGMA_EDGES, blur, rng),
            noise_sigma=_draw_within(NOISE_SIGMA_EDGES, noise, rng),
            jpeg_quality=round(_draw_within(JPEG_QUALITY_EDGES, jpeg, rng)),
        )

    return draw


def partial_sampler(count: int) -> Sampler:
    """Draw some of the three distortions, then the strength of each uniformly over the ten levels.

    Args:
        count: Of distortions: 1 for *single*, 2 for *double*.
    """
    kinds = list(itertools.combinations(_EDGES, count))
    highest = dict.fromkeys(_EDGES, NUM_LEVELS)
    return lambda rng: _draw_kinds(kinds[rng.integers(len(kinds))], highest, rng)


def light_sampler() -> Sampler:
    """Draw one to three distortions, then the strength of each up to `LIGHT_LEVELS`."""
    kinds = [k for count in (1, 2, 3) for k in itertools.combinations(_EDGES, count)]
    return lambda rng: _draw_kinds(kinds[rng.integers(len(kinds))], LIGHT_LEVELS, rng)


def camera_sampler() -> Sampler:
    """Draw the noise of a camera, up to that of a phone at night, and JPEG as cameras write it."""

    def draw(rng: np.random.Generator) -> Degradation:
        shot = math.exp(rng.uniform(math.log(CAMERA_SHOT[0]), math.log(CAMERA_SHOT[1])))
        quality = int(rng.integers(CAMERA_JPEG_QUALITY, 101))
        return Degradation(jpeg_quality=quality, camera=typical_camera(shot))

    return draw


LEVELS: Final = (*SEVERITY, "all", "light", "double", "single", "camera", "clean")
"""Every named distribution that `sampler` knows; *light* is slight damage, *double* lacks one of
the three distortions, *single* two, and *clean* is no damage at all."""

TRAINING_LEVELS: Final = (*SEVERITY, "light", "double", "single")
"""What tools are trained on in their chains; agents also meet clean patches."""


def sampler(*levels: str) -> Sampler:
    """Look up a distribution by its name in `LEVELS`; of several, each is drawn alike often.

    Raises:
        UnknownNameError: A name is not in `LEVELS`.
    """
    for level in levels:
        if level not in LEVELS:
            raise UnknownNameError("level", level, LEVELS)
    draws = [_sampler(level) for level in levels]
    if len(draws) == 1:
        return draws[0]
    return lambda rng: draws[rng.integers(len(draws))](rng)


def _sampler(level: str) -> Sampler:
    match level:
        case "single":
            return partial_sampler(1)
        case "double":
            return partial_sampler(2)
        case "light":
            return light_sampler()
        case "camera":
            return camera_sampler()
        case "clean":
            return lambda rng: Degradation()
        case _:
            return mixed_sampler(level)


def _level_of(strength: float, edges: Sequence[float]) -> int:
    return min(int(np.searchsorted(edges, strength)), NUM_LEVELS)


_EDGES: Final = {
    "blur_sigma": BLUR_SIGMA_EDGES,
    "noise_sigma": NOISE_SIGMA_EDGES,
    "jpeg_quality": JPEG_QUALITY_EDGES,
}


def _draw_kinds(
    kinds: Sequence[str], highest: Mapping[str, int], rng: np.random.Generator
) -> Degradation:
    strengths: dict[str, Any] = {}
    for kind in kinds:
        level = int(rng.integers(1, highest[kind] + 1))
        strengths[kind] = _draw_within(_EDGES[kind], level, rng)
    if "jpeg_quality" in strengths:
        strengths["jpeg_quality"] = round(strengths["jpeg_quality"])
    return Degradation(**strengths)


def _draw_within(edges: tuple[float, ...], level: int, rng: np.random.Generator) -> float:
    low, high = sorted((edges[level - 1], edges[level]))
    return float(rng.uniform(low, high))


def _check_sigma(sigma: float) -> None:
    if not (math.isfinite(sigma) and sigma >= 0.0):
        raise ValueError(f"sigma must be finite and not negative, got {sigma}")
