"""What ships does no harm: to clean photos, to pictures that are no photos, and to what it lacks.

The pictures are drawn or degraded here, with seeds that training did not see. Figures over many
images are measured by ``toolchain evaluate --suite world`` (docs/suite/world.md).
"""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from restoration_toolchain.data.damage.blur import Defocus, MotionBlur
from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.noise import FilmGrain, Noise
from restoration_toolchain.data.damage.resampling import Resize
from restoration_toolchain.data.damage.webp import Webp
from restoration_toolchain.data.damage.world import life
from restoration_toolchain.data.images import ByteImage, to_float, to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.drawings import DRAWINGS, draw_picture
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.toolchain.restoring.restorer import Restorer

SIDE = 192
NOTICED = 0.05  # dB

HARMED_BEFORE = {
    "enlarged": Degradation((Resize(0.5, "area"), Resize(1.0, "bicubic"))),
    "JPEG, then enlarged": Degradation((Resize(0.5, "area"), Jpeg(50), Resize(1.0, "bicubic"))),
    "defocus": Degradation((Defocus(5.0), Jpeg(85))),
    "motion": Degradation((MotionBlur(15.0, 70.0), Noise(3.0), Jpeg(80))),
    "JPEG, then reduced": Degradation((Resize(1.4), Jpeg(30), Resize(1.0, "area"))),
    "grain": Degradation((FilmGrain(10.0),)),
    "WebP": Degradation((Webp(20),)),
}
"""What the first edition made worse, or passed over."""


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return load()


@pytest.fixture(scope="module")
def crops() -> list[ByteImage]:
    """The middle of each embedded photo."""

    def middles() -> Iterator[ByteImage]:
        for _, image in open_source("embedded"):
            top, left = ((side - SIDE) // 2 for side in image.shape[:2])
            yield np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])

    return list(middles())


def restored(restorer: Restorer, image: ByteImage) -> ByteImage:
    return to_uint8(restorer.restore(image).image)


@pytest.mark.parametrize("kind", DRAWINGS)
def test_pictures_that_are_no_photos_are_left_bit_for_bit(restorer: Restorer, kind: str) -> None:
    for seed in range(3):
        picture = draw_picture(kind, 140, 150, np.random.default_rng((9, seed)))
        np.testing.assert_array_equal(restored(restorer, picture), picture)


def test_text_sprites_and_flat_colours_are_left_bit_for_bit(restorer: Restorer) -> None:
    page = np.full((200, 320), 255, np.uint8)
    for row in range(10):
        at = (6, 18 + 18 * row)
        cv2.putText(page, f"Invoice {row:04d}: a quick fox", at, 0, 0.5, 0, 1, cv2.LINE_AA)
    rng = np.random.default_rng(1)
    palette = rng.integers(0, 256, (6, 3), np.uint8)
    half = rng.integers(0, 6, (16, 16))
    sprites = np.tile(palette[np.hstack([half, half[:, ::-1]])], (4, 3, 1))
    flat = np.full((150, 200, 3), (10, 20, 90), np.uint8)
    black = np.zeros((80, 70, 3), np.uint8)
    for picture in (np.stack([page] * 3, axis=-1), sprites, flat, black):
        np.testing.assert_array_equal(restored(restorer, picture), picture)


def test_clean_photos_are_left_bit_for_bit(restorer: Restorer, crops: list[ByteImage]) -> None:
    for crop in crops:
        np.testing.assert_array_equal(restored(restorer, crop), crop)


@pytest.mark.parametrize("damage", HARMED_BEFORE)
def test_what_was_harmed_before_is_better_now_or_left_alone(
    restorer: Restorer, crops: list[ByteImage], damage: str
) -> None:
    for seed, crop in enumerate(crops):
        rng = np.random.default_rng(seed)
        lq = to_uint8(HARMED_BEFORE[damage].apply(to_float(crop), rng))
        before, after = (psnr(one, crop, data_range=255) for one in (lq, restored(restorer, lq)))
        assert after >= before - NOTICED


def test_noise_of_a_camera_on_a_good_day_is_not_made_worse(
    restorer: Restorer, crops: list[ByteImage]
) -> None:
    gains = []
    for seed, crop in enumerate(crops):
        rng = np.random.default_rng((4, seed))
        lq = to_uint8(life("weak-camera")(rng).apply(to_float(crop), rng))
        before, after = (psnr(one, crop, data_range=255) for one in (lq, restored(restorer, lq)))
        gains.append(after - before)
    assert np.mean(gains) >= 0.0


def test_strong_noise_is_still_removed(restorer: Restorer, crops: list[ByteImage]) -> None:
    for seed, crop in enumerate(crops):
        lq = to_uint8(Noise(40.0).apply(to_float(crop), np.random.default_rng(seed)))
        before, after = (psnr(one, crop, data_range=255) for one in (lq, restored(restorer, lq)))
        assert after > before + 5.0
