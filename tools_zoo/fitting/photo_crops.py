"""What a tool is fitted to: crops of noisy photos, and held-out ones that it is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import FloatImage, check_float_image, to_tensor
from restoration_toolchain.tools_zoo.training.batches import flip

MIN_SUB_SIDE: Final = 8
"""Pixels; the smallest side of a sub-image that is worth learning from."""

HOLDOUT: Final = 0.15
"""Share of a photo's longer side that is held out."""

MAX_HELD_OUT: Final = 16
"""Crops."""


@dataclass(frozen=True, slots=True)
class SplitPhotos:
    """Photos, each with a strip across one end cut off.

    Attributes:
        train: Rest of each photo: (H, W, 3) float32 in [0, 1], lying on its side if that
            makes it upright.
        held_out: Crops of the strips, (N, 3, h, w) float32 in [0, 1].
        side: Side of training crops, in pixels.
    """

    train: tuple[FloatImage, ...]
    held_out: Tensor
    side: int


def split_photos(photos: Sequence[FloatImage], *, patch_size: int, stride: int) -> SplitPhotos:
    """Cut a strip off the end of every photo, and crops out of the strips.

    Args:
        photos: RGB (H, W, 3), float32, [0, 1]; any sizes.
        patch_size: Largest side of a crop, in pixels. Crops all have one size, so it is less if the
            smallest photo is.
        stride: Stride of the sub-images; the sides of all crops are multiples of it.

    Raises:
        ToolchainError: There is no photo, or one is too small.
        ImageFormatError: A photo is not float32 RGB.
    """
    if not photos:
        raise ToolchainError("no photo to learn from")
    side = MIN_SUB_SIDE * stride
    for photo in photos:
        check_float_image(photo)
        height, width = photo.shape[:2]
        if min(height, width) < side or max(height, width) < 2 * side:
            raise ToolchainError(
                f"a photo of {width}x{height} pixels is too small to learn from with a "
                f"train_stride of {stride}; at least {2 * side}x{side} are needed"
            )
    upright = [p if p.shape[0] >= p.shape[1] else p.transpose(1, 0, 2) for p in photos]

    def fit(length: float) -> int:
        return max(MIN_SUB_SIDE, int(min(patch_size, length)) // stride) * stride

    across = fit(min(photo.shape[1] for photo in upright))
    strip = fit(HOLDOUT * min(photo.shape[0] for photo in upright))
    train = tuple(photo[:-strip] for photo in upright)
    crops = [
        photo[-strip:, left : left + across]
        for photo in upright
        for left in range(0, photo.shape[1] - across + 1, across)
    ]
    chosen = np.unique(np.linspace(0, len(crops) - 1, MAX_HELD_OUT).round().astype(int))
    held_out = to_tensor(np.stack([crops[index] for index in chosen]))
    return SplitPhotos(train, held_out, fit(min(min(photo.shape[:2]) for photo in train)))


class PhotoCrops(Dataset[tuple[Tensor, int]]):
    """Item ``i`` is training batch ``i``, without end: a pure function of the seed and ``i``.

    Args:
        photos: RGB (H, W, 3) float32 in [0, 1], no side below ``side``.
        side: Side of the crops, in pixels.
        batch_size: Crops per batch.
        seed: Seed of every random draw.
    """

    def __init__(
        self, photos: Sequence[FloatImage], side: int, *, batch_size: int, seed: int
    ) -> None:
        self._photos = photos
        self._side = side
        self._batch_size = batch_size
        self._seed = seed

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return crops (batch_size, 3, side, side) in [0, 1] and a seed for what the loss draws."""
        rng = np.random.default_rng((self._seed, index))
        crops = draw_crops(self._photos, self._side, self._batch_size, rng)
        return to_tensor(np.stack(crops)), int(rng.integers(2**63))


def draw_crops(
    photos: Sequence[FloatImage], side: int, count: int, rng: np.random.Generator
) -> list[FloatImage]:
    """Draw square crops: any place in any photo alike often, flipped and transposed at random."""
    places = np.array([(p.shape[0] - side + 1) * (p.shape[1] - side + 1) for p in photos])
    crops = []
    for index in rng.choice(len(photos), count, p=places / places.sum()):
        photo = photos[index]
        top, left = (int(rng.integers(length - side + 1)) for length in photo.shape[:2])
        crops.append(flip(photo[top : top + side, left : left + side], rng))
    return crops
