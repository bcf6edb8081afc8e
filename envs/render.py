"""Pictures of episodes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from restoration_toolchain.data.images import to_uint8

GAP = 2  # pixels of white between two images


def side_by_side(images: Sequence[Tensor]) -> npt.NDArray[np.uint8]:
    """Put n images (3, H, W) in [0, 1] in a row: RGB uint8 (H, n * W + (n - 1) * GAP, 3)."""
    panels = [to_uint8(image.cpu().permute(1, 2, 0).numpy()) for image in images]
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for panel in panels for part in (gap, panel)]
    return np.concatenate(parts[1:], axis=1)
