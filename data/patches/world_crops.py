"""Crops of the world to learn from: photos and drawn pictures, each time in other damage.

A crop is cut from what was degraded with its surroundings, so that blur knows no border there and
blocks of JPEG begin anywhere. Clean photos come in few sizes and from few cameras; what an agent
takes for clean must not hang on that. So photos are resized, turned, sharpened a little, and get
another tone before anything happens to them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.damage.world import CLEAN_SHARE, FAMILIES
from restoration_toolchain.data.errors import SourceError
from restoration_toolchain.data.images import ByteImage, FloatImage, to_float, to_uint8
from restoration_toolchain.data.photos.drawings import DRAWINGS, draw_picture
from restoration_toolchain.data.scaling import SOFT_KERNELS, resize

CROP_SIDE: Final = 128
"""Side of a crop in pixels: four views of an agent, and as many as its tools look around."""

SURROUNDINGS: Final = 32
"""Pixels around a crop that are degraded with it."""

CORNER: Final = (SURROUNDINGS - 8, SURROUNDINGS + 8)
"""Range of the corner of a crop within its window, in pixels: a cell of the grid of JPEG."""

DRAWN_SHARE: Final = 0.15
"""Share of crops of pictures that are no photos."""
TOUCHED_SHARE: Final = 0.3
"""Share of drawn pictures that are compressed, lightly, or damaged as photos are."""

CLEAN: Final = "clean"
PRINT: Final = "print"
"""Kind of the pictures that are photos, but printed in dots: to be left as they are, too."""

DRAWN_KINDS: Final = (*DRAWINGS, PRINT)
"""Kinds of pictures that are no photos, or not any more."""


@dataclass(frozen=True, slots=True)
class Crop:
    """One crop, degraded and clean.

    Attributes:
        lq: Degraded, uint8 (S, S, 3).
        gt: Clean, the same shape.
        family: Name of the family of damage, *clean*, or the kind of a drawn picture.
        degradation: What happened to it.
    """

    lq: ByteImage
    gt: ByteImage
    family: str
    degradation: Degradation


class WorldCrops:
    """Draws crops of the world.

    Args:
        photos: Clean photos, RGB uint8 (H, W, 3); those too small for a crop are left out.
        side: Side of a crop in pixels.
        drawn_share: Share of crops of pictures that are no photos, 0 to 1.
        clean_share: Share of crops of photos that nothing happens to, 0 to 1.
        weights: How often each family is drawn beside the others; 1 where nothing is said, and 0
            leaves one out.

    Raises:
        SourceError: No photo is large enough.
    """

    def __init__(
        self,
        photos: Sequence[ByteImage],
        *,
        side: int = CROP_SIDE,
        drawn_share: float = DRAWN_SHARE,
        clean_share: float = CLEAN_SHARE,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self._side, self._window = side, side + 2 * SURROUNDINGS
        self._photos = [photo for photo in photos if min(photo.shape[:2]) >= self._window]
        if not self._photos:
            raise SourceError(f"no photo has {self._window} pixels a side, as crops need")
        chances = np.array([(weights or {}).get(family, 1.0) for family in FAMILIES])
        self._chances = chances / chances.sum()
        self._drawn_share, self._clean_share = drawn_share, clean_share

    def draw(self, rng: np.random.Generator) -> Crop:
        """Draw a crop: some are drawn pictures, some are clean, and the others of any family."""
        if rng.random() < self._drawn_share:
            return self.draw_of(DRAWN_KINDS[rng.integers(len(DRAWN_KINDS))], rng)
        window = self._photo_window(rng)
        if rng.random() < self._clean_share:
            return self._degraded(window, CLEAN, Degradation(), rng)
        family = FAMILIES[rng.choice(len(FAMILIES), p=self._chances)]
        return self._degraded(window, family, sampler(family)(rng), rng)

    def draw_of(self, family: str, rng: np.random.Generator) -> Crop:
        """Draw a crop of one family of damage, of *clean*, or of a kind of drawn pictures."""
        if family in DRAWN_KINDS:
            return self._drawn(family, rng)
        damage = Degradation() if family == CLEAN else sampler(family)(rng)
        return self._degraded(self._photo_window(rng), family, damage, rng)

    def _drawn(self, kind: str, rng: np.random.Generator) -> Crop:
        if kind == PRINT:
            window = printed(self._photo_window(rng), rng)
        else:
            window = to_float(draw_picture(kind, self._window, self._window, rng))
        damage = Degradation()
        if rng.random() < TOUCHED_SHARE:
            damage = Degradation((Jpeg(int(rng.integers(60, 96))),))
            if rng.random() < 0.3:
                damage = sampler("world")(rng)
        return self._degraded(window, kind, damage, rng)

    def _photo_window(self, rng: np.random.Generator) -> FloatImage:
        photo = self._photos[rng.integers(len(self._photos))]
        largest = min(photo.shape[:2])
        side = min(largest, round(self._window * float(rng.choice([1.0, rng.uniform(1.0, 2.5)]))))
        top, left = (int(rng.integers(length - side + 1)) for length in photo.shape[:2])
        window = to_float(np.ascontiguousarray(photo[top : top + side, left : left + side]))
        if side != self._window:
            kernel = SOFT_KERNELS[rng.integers(len(SOFT_KERNELS))]
            window = resize(window, self._window, self._window, kernel)
        return another_look(window, rng)

    def _degraded(
        self, window: FloatImage, family: str, damage: Degradation, rng: np.random.Generator
    ) -> Crop:
        # The clean side is what 8 bits can hold, so that no damage is no error.
        clean = to_uint8(window)
        lq = to_uint8(damage.apply(to_float(clean), rng))
        top, left = (int(offset) for offset in rng.integers(*CORNER, 2))
        place = (slice(top, top + self._side), slice(left, left + self._side))
        lq, clean = (np.ascontiguousarray(image[place]) for image in (lq, clean))
        return Crop(lq, clean, family, damage)


def another_look(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """The same scene as another camera, or another hand, would have shown it: still clean.

    Args:
        image: RGB (H, H, 3), float32, [0, 1].
        rng: Source of everything random.
    """
    image = np.rot90(image, int(rng.integers(4)))
    if rng.random() < 0.5:
        image = image[:, ::-1]
    image = np.ascontiguousarray(image)
    if rng.random() < 0.25:
        amount, sigma = np.float32(rng.uniform(0.1, 0.8)), float(rng.uniform(0.5, 1.5))
        soft = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
        image = image + amount * (image - soft)
    if rng.random() < 0.5:
        image = image.clip(0.0, 1.0) ** np.float32(rng.uniform(0.7, 1.4))
    if rng.random() < 0.5:
        gray = image.mean(axis=2, keepdims=True)
        saturation = 0.0 if rng.random() < 0.2 else rng.uniform(0.4, 1.4)
        image = gray + np.float32(saturation) * (image - gray)
    if rng.random() < 0.3:
        low, high = rng.uniform(0.0, 0.15), rng.uniform(0.8, 1.0)
        image = np.float32(low) + np.float32(high - low) * image
    return np.asarray(image, np.float32).clip(0.0, 1.0)


def printed(photo: FloatImage, rng: np.random.Generator) -> FloatImage:
    """A photo as it is printed: in dots on a turned grid, whose size says how dark it is.

    Args:
        photo: RGB (H, W, 3), float32, [0, 1].
        rng: Source of the pitch, the angles, the inks, and of how sharply it was scanned.
    """
    height, width = photo.shape[:2]
    fine = int(rng.integers(1, 4))  # dots are drawn so many times larger, and then made smaller
    large = resize(photo, fine * height, fine * width, "bilinear")
    if rng.random() < 0.5:
        large = np.repeat(large.mean(axis=2, keepdims=True), 3, axis=2)
    is_gray = bool((large[..., 0] == large[..., 1]).all())
    pitch, first = fine * rng.uniform(3.0, 9.0), rng.uniform(0.0, 90.0)
    v, u = np.mgrid[: len(large), : large.shape[1]].astype(np.float32) * (2.0 * np.pi / pitch)
    planes = []
    for channel in range(3):
        angle = np.radians(first + (0.0 if is_gray else 30.0 * channel))
        across, along = np.cos(angle), np.sin(angle)
        screen = np.cos(u * across + v * along) * np.cos(v * across - u * along)
        planes.append(large[..., channel] > 0.5 + 0.5 * screen)
    dark, light = np.float32(rng.uniform(0.0, 0.25)), np.float32(rng.uniform(0.8, 1.0))
    dots = np.where(np.stack(planes, axis=-1), light, dark).astype(np.float32)
    kernel = SOFT_KERNELS[rng.integers(len(SOFT_KERNELS))]
    return resize(dots, height, width, kernel) if fine > 1 else dots


def gather(crops: Sequence[Crop]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The degraded and the clean sides of crops, each uint8 (N, S, S, 3)."""
    return np.stack([crop.lq for crop in crops]), np.stack([crop.gt for crop in crops])
