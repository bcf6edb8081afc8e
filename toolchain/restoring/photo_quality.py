"""SFD-IQA of photos as they are shown: large ones by their middle, small ones enlarged."""

from typing import Final

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import FloatImage, to_tensor
from restoration_toolchain.data.scaling import upsampled
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import MAX_SIDE, Quality, SfdIqa

AS_TILE_PIXELS: Final = 540_000
"""Judging takes as much memory as a tool with a tile of so many pixels: 352 MiB were measured."""

_REACH: Final = 2  # pixels that a bicubic enlargement looks to each side


def judge(iqa: SfdIqa, image: FloatImage, scale: int = 1) -> Quality:
    """Score a photo without a clean partner.

    Args:
        iqa: The score.
        image: RGB, shape (H, W, 3), float32, range [0, 1]. Of a large one, only the middle is
            copied.
        scale: By how much it is shown larger than it is: its bicubic enlargement is judged.

    Raises:
        ToolchainError: It is too small to be judged.
    """
    return iqa.score(to_tensor(_middle(image, scale)[None])[0])


class PhotoJudge:
    """Judges one photo on its way, if it is to be judged at all.

    Args:
        iqa: The score; without one, nothing is judged.
        lq: The photo as it came, RGB (H, W, 3), if it is to be enlarged.
        scale: By how much it is; while still as small as it came, its bicubic enlargement is
            judged, so that before and after compare.

    Attributes:
        notes: Why it could not be judged, if it could not.
    """

    def __init__(self, iqa: SfdIqa | None, lq: FloatImage | None = None, scale: int = 1) -> None:
        self._iqa, self._scale = iqa, scale
        self._small = None if lq is None else lq.shape
        self.notes: tuple[str, ...] = ()

    def __call__(self, image: FloatImage) -> Quality | None:
        """Score an image of the way, float32 in [0, 1]; None if it is not, or cannot be, judged."""
        if self._iqa is None:
            return None
        try:
            return judge(self._iqa, image, self._scale if image.shape == self._small else 1)
        except ToolchainError as error:
            self.notes = (f"its quality is not known: {error}",)
            return None


def rounded(quality: Quality) -> str:
    """A score with its name and encoder: ``SFD-IQA 0.512 (efficientnet-lite0)``."""
    return f"SFD-IQA {quality.score:.3f} ({quality.encoder})"


def _middle(image: FloatImage, scale: int) -> FloatImage:
    """The part that is judged, enlarged; the whole of a photo that is not too large."""
    height, width = image.shape[:2]
    top, left = (max(0, (scale * side - MAX_SIDE) // 2) for side in (height, width))
    first, before = (max(0, start // scale - _REACH) for start in (top, left))
    behind = MAX_SIDE // scale + 2 * _REACH + 2
    part = image[first : first + behind, before : before + behind]
    if scale > 1:
        part = upsampled(part, scale)
    top, left = top - scale * first, left - scale * before
    return part[top : top + MAX_SIDE, left : left + MAX_SIDE]
