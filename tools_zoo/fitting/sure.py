"""How well a denoiser does on a noisy photo of which no clean version exists.

Stein's unbiased risk estimate tells the mean squared error of a denoiser from the noisy photo and
the covariance of its noise; a few random probes stand in for the trace that it asks for. On white
noise the estimated gains are right within 0.2 dB. That of a camera is not quite Gaussian, and what
is known of it was itself estimated from the photos (`damage.noise_model`): there gains come out up
to 1 dB too high, in the right order.

A denoiser that learnt from noise drawn of the same model, on the noisy photos themselves, can tell
that noise from the photo's own, take away the one and leave the other, and would seem perfect. So
its answers to either noise are compared where a photo is flat and shows its own noise alone, and
what it leaves of the photo's noise beyond what it leaves of the model's is added to its error.

Source:
    Ramani, Blu and Unser, "Monte-Carlo SURE: A Black-Box Optimization of Regularization Parameters
    for General Denoising Algorithms", IEEE Trans. Image Processing 2008.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from restoration_toolchain.data.damage.noise_model import NoiseModel, block_residuals, flat_blocks
from restoration_toolchain.data.images import FloatImage, to_numpy, to_tensor

STEP: Final = 0.1
"""Size of a probe, in standard deviations of the noise."""
PROBES: Final = 2
"""Probes per photo; each costs two runs of the denoiser."""

MIN_FLAT: Final = 64
"""Flat blocks without which answers are not compared: of fewer, too many have texture."""

Denoise = Callable[[Tensor], Tensor]
"""Maps (1, 3, H, W) in [0, 1] to the same shape."""


@dataclass(frozen=True, slots=True)
class Risk:
    """What is estimated of one denoiser on several photos.

    Attributes:
        mse: Mean squared error of each photo on the [0, 1] scale; an estimate can be negative.
        variance: Mean square of the noise itself: the error of doing nothing.
    """

    mse: tuple[float, ...]
    variance: tuple[float, ...]

    @property
    def gain(self) -> float:
        """Estimated PSNR gain in dB of the mean squared error of all photos together."""
        # Below a thousandth of the noise an estimate says nothing but "very good".
        remaining = max(sum(self.mse) / sum(self.variance), 1e-3)
        return -10.0 * math.log10(remaining)


def estimate_risk(
    denoise: Denoise, photos: Sequence[FloatImage], noise: NoiseModel, *, seed: int = 0
) -> Risk:
    """Estimate the mean squared error of a denoiser on noisy photos.

    Args:
        denoise: The denoiser; what it returns is clipped to [0, 1].
        photos: RGB, each (H, W, 3), float32, range [0, 1], none that the denoiser learnt from.
        noise: Noise of these photos.
        seed: Seed of the probes. With the same seed all denoisers meet the same ones, so that they
            can be compared.

    Returns:
        The estimates, photo by photo.
    """
    rng = np.random.default_rng(seed)
    estimates = [_photo_risk(denoise, photo, noise, rng) for photo in photos]
    variances = tuple(variance for _, variance in estimates)
    left = 2.0 * _left_besides(denoise, photos, noise, rng)
    mse = tuple(mse + left * variance for mse, variance in estimates)
    return Risk(mse, variances)


def _photo_risk(
    denoise: Denoise, photo: FloatImage, noise: NoiseModel, rng: np.random.Generator
) -> tuple[float, float]:
    counts = _unclipped(photo, noise)
    probes = [noise.draw(photo, rng) for _ in range(PROBES)]
    # The probes' own mean square is cancelled by the same probes in the trace below.
    variance = float(np.mean([np.square(probe[counts]).mean() for probe in probes]))
    residual = (denoised(denoise, photo) - photo)[counts]
    trace = 0.0
    for probe in probes:
        change = denoised(denoise, photo + STEP * probe) - denoised(denoise, photo - STEP * probe)
        trace += float((probe * change)[counts].mean()) / (2.0 * STEP * len(probes))
    return float(np.square(residual).mean()) - variance + 2.0 * trace, variance


def _left_besides(
    denoise: Denoise, photos: Sequence[FloatImage], noise: NoiseModel, rng: np.random.Generator
) -> float:
    """Share of the photos' noise that a denoiser leaves beyond what it leaves of the model's.

    At least 0, and 0 where too little is flat to tell.
    """
    flat = flat_blocks(photos, noise)
    if sum(map(len, flat)) < MIN_FLAT:
        return 0.0
    own = own_left = drawn = drawn_left = 0.0
    for photo, numbers in zip(photos, flat, strict=True):
        probe = noise.draw(photo, rng)
        restored = denoised(denoise, photo)
        answer = denoised(denoise, restored + probe) - denoised(denoise, restored)
        residual, restored, probe, answer = (
            block_residuals(image, numbers) for image in (photo, restored, probe, answer)
        )
        own += float(np.square(residual).sum())
        own_left += float((residual * restored).sum())
        drawn += float(np.square(probe).sum())
        drawn_left += float((probe * answer).sum())
    # What flat blocks have beside noise is texture, which a good denoiser leaves.
    texture = max(own - drawn, 0.0)
    return max(own_left - texture - drawn_left, 0.0) / drawn


def _unclipped(photo: FloatImage, noise: NoiseModel) -> npt.NDArray[np.bool_]:
    """Where noise was not cut off at black or white: only there is it as the model says."""
    level = cv2.GaussianBlur(photo, (0, 0), 2.0, borderType=cv2.BORDER_REPLICATE)
    room = 2.0 * noise.deviation_of(np.asarray(level))
    counts: npt.NDArray[np.bool_] = (level > room) & (level < 1.0 - room)
    return counts if counts.any() else np.ones_like(counts)


def denoised(denoise: Denoise, image: FloatImage) -> FloatImage:
    """What a denoiser makes of a photo.

    Args:
        denoise: The denoiser; what it returns is clipped to [0, 1].
        image: RGB (H, W, 3), float32, [0, 1].
    """
    with torch.inference_mode():
        restored: FloatImage = to_numpy(denoise(to_tensor(image[None])).float().clamp(0.0, 1.0))[0]
    return restored


def better_than_all(candidate: Risk, others: Mapping[str, Risk]) -> bool:
    """Whether a denoiser's risk is lower than that of each of the others, beyond chance.

    That is, by more than the standard error of the mean difference; all risks are those of the same
    photos in the same order.
    """
    for other in others.values():
        differences = np.subtract(other.mse, candidate.mse)
        count = len(differences)
        error = differences.std(ddof=1) / math.sqrt(count) if count > 1 else 0.0
        if not differences.mean() > error:
            return False
    return True
