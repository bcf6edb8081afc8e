"""Look closely at the restoration of one photo, degraded first if it is clean."""

import dataclasses
from dataclasses import dataclass
from typing import Unpack

import numpy as np

from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.images import FloatImage, to_float, to_uint8
from restoration_toolchain.toolchain.errors import PhotoError
from restoration_toolchain.toolchain.looking.html_report import render_report
from restoration_toolchain.toolchain.looking.sheet import draw_sheet
from restoration_toolchain.toolchain.photos.read import Photo
from restoration_toolchain.toolchain.restoring.recorder import OnStep
from restoration_toolchain.toolchain.restoring.restoration import Restoration
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.toolchain.restoring.settings import CallOptions


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """A restoration with its frames, and what is known beyond it.

    Attributes:
        restoration: The restoration, with frames; scored where the clean photo is known.
        gt: The clean photo, shape (H, W, 3), float32, range [0, 1], as large as the result.
        degradation: Damage that the clean photo was given first; None if it came as it is.
        icc: Colour profile of the photo.
    """

    restoration: Restoration
    gt: FloatImage | None = None
    degradation: Degradation | None = None
    icc: bytes | None = None

    @property
    def caption(self) -> str:
        """How the input was degraded, in words; empty if it came as it is."""
        return "" if self.degradation is None else f"degraded by {self.degradation.describe()}"

    def report(self, name: str) -> str:
        """Tell the same in one HTML file, for sharing; ``name`` is the photo's, any text."""
        return render_report(
            self.restoration, name=name, gt=self.gt, caption=self.caption, icc=self.icc
        )

    def sheet(self) -> Photo:
        """Draw the inspection picture."""
        picture = draw_sheet(self.restoration, gt=self.gt, caption=self.caption)
        return Photo(rgb=to_float(np.asarray(picture)))


def inspect_photo(
    restorer: Restorer,
    photo: Photo,
    *,
    gt: Photo | None = None,
    on_step: OnStep | None = None,
    **chosen: Unpack[CallOptions],
) -> Inspection:
    """Restore a photo and keep everything there is to see.

    Args:
        restorer: The restorer.
        photo: The photo as it came.
        gt: The clean photo, of the size of the result.
        on_step: Called after every decision.
        **chosen: Settings of this call, as `Restorer.restore` takes them.

    Raises:
        PhotoError: The sizes differ.
        SettingError: The strength lies outside [0, 1], or regions do not go with the rest.
        UnknownNameError: A forced action is no tool of the toolbox.
    """
    if gt is not None and _sides(gt) != _sides(photo, restorer.scale):
        rule = f"{restorer.scale} times as many a side" if restorer.scale > 1 else "the same"
        raise PhotoError(
            f"the clean photo has {_size(gt)} pixels and the photo to restore {_size(photo)}; "
            f"they must be {rule}"
        )
    reference = None if gt is None else gt.rgb
    restoration = restorer.restore(
        photo.rgb, gt=reference, keep_frames=True, on_step=on_step, **chosen
    )
    return Inspection(restoration, reference, icc=photo.icc)


def inspect_degraded(restorer: Restorer, clean: Photo, *, level: str, seed: int = 0) -> Inspection:
    """Degrade a clean photo, then restore it and keep everything there is to see.

    Args:
        restorer: The restorer; if it enlarges, the photo is made smaller by as much, after less
            than that many pixels were cut off at its right and lower border.
        clean: The clean photo.
        level: Name of the distribution that the degradation is drawn from, one of
            `data.damage.levels.LEVELS` or, if the restorer enlarges, of `SCALED_LEVELS`.
        seed: Seed of the draw and of the noise.

    Raises:
        PhotoError: The photo is smaller than the scale.
        UnknownNameError: There is no such level.
        ScaleError: It is a level of small photos, and the restorer does not enlarge.
    """
    rng = np.random.default_rng(seed)
    degradation = sampler(level, scale=restorer.scale)(rng)
    if restorer.scale > 1:
        clean = _cropped(clean, restorer.scale)
    lq = to_float(to_uint8(degradation.apply(clean.rgb, rng)))  # as a file would hold it
    inspection = inspect_photo(restorer, Photo(rgb=lq, icc=clean.icc), gt=clean)
    return dataclasses.replace(inspection, degradation=degradation)


def _cropped(clean: Photo, scale: int) -> Photo:
    height, width = (side // scale * scale for side in _sides(clean))
    if min(height, width) == 0:
        raise PhotoError(f"a photo of {_size(clean)} pixels cannot be made smaller by {scale}")
    return Photo(rgb=clean.rgb[:height, :width].copy(), icc=clean.icc)


def _sides(photo: Photo, scale: int = 1) -> tuple[int, int]:
    height, width = photo.rgb.shape[:2]
    return height * scale, width * scale


def _size(photo: Photo) -> str:
    height, width = _sides(photo)
    return f"{width} x {height}"
