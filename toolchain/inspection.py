"""Look closely at the restoration of one photo, degraded first if it is clean."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from data.degradations import Degradation, sampler
from data.images import FloatImage, to_float, to_uint8
from toolchain.errors import PhotoError
from toolchain.photo import Photo
from toolchain.restoration import Restoration
from toolchain.restorer import Restorer
from toolchain.sheet import draw_sheet


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """A restoration with its frames, and what is known beyond it.

    Attributes:
        restoration: With frames; scored where the clean photo is known.
        gt: The clean photo, shape (H, W, 3), float32, range [0, 1].
        degradation: What was done to the clean photo first.
    """

    restoration: Restoration
    gt: FloatImage | None = None
    degradation: Degradation | None = None

    @property
    def caption(self) -> str:
        """How the input was degraded, in words; empty if it came as it is."""
        return "" if self.degradation is None else f"degraded by {describe(self.degradation)}"

    def sheet(self) -> Photo:
        """Draw the inspection picture."""
        picture = draw_sheet(self.restoration, gt=self.gt, caption=self.caption)
        return Photo(rgb=to_float(np.asarray(picture)))


def inspect_photo(restorer: Restorer, photo: Photo, *, gt: Photo | None = None) -> Inspection:
    """Restore a photo and keep everything there is to see.

    Args:
        restorer: What restores.
        photo: As it came.
        gt: The clean photo, of the same size.

    Raises:
        PhotoError: The sizes differ.
    """
    if gt is not None and gt.rgb.shape != photo.rgb.shape:
        raise PhotoError(
            f"the clean photo has {_size(gt)} pixels and the photo to restore {_size(photo)}; "
            f"they must be the same"
        )
    reference = None if gt is None else gt.rgb
    restoration = restorer.restore(photo.rgb, gt=reference, keep_frames=True)
    return Inspection(restoration, reference)


def inspect_degraded(restorer: Restorer, clean: Photo, *, level: str, seed: int = 0) -> Inspection:
    """Degrade a clean photo, then restore it and keep everything there is to see.

    Args:
        restorer: What restores.
        clean: The clean photo.
        level: Distribution that the degradation is drawn from, one of `data.degradations.LEVELS`.
        seed: Of the draw and of the noise.

    Raises:
        UnknownNameError: There is no such level.
    """
    rng = np.random.default_rng(seed)
    degradation = sampler(level)(rng)
    lq = to_float(to_uint8(degradation.apply(clean.rgb, rng)))  # as a file would hold it
    inspection = inspect_photo(restorer, clean.with_rgb(lq), gt=clean)
    return dataclasses.replace(inspection, degradation=degradation)


def describe(degradation: Degradation) -> str:
    """Say what a degradation does: ``blur of sigma 2.3 px, noise of sigma 21 / 255``."""
    parts = []
    if degradation.blur_sigma:
        parts.append(f"blur of sigma {degradation.blur_sigma:.2g} px")
    if degradation.noise_sigma:
        parts.append(f"noise of sigma {degradation.noise_sigma:.2g} / 255")
    if degradation.jpeg_quality is not None:
        parts.append(f"JPEG of quality {degradation.jpeg_quality}")
    return ", ".join(parts) or "nothing"


def _size(photo: Photo) -> str:
    height, width = photo.rgb.shape[:2]
    return f"{width} x {height}"
