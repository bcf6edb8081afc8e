"""Large photos in bounded memory: tools run in tiles."""

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from restoration_toolchain.toolchain.photos.arrays import Arrays


def apply_tiled(
    tool: Callable[..., Tensor],
    image: Tensor,
    *,
    halo: int,
    max_tile_pixels: int,
    grid: int = 1,
    scale: int = 1,
    arrays: Arrays | None = None,
    beside: Callable[[slice, slice], Tensor] | None = None,
) -> Tensor:
    """Apply ``tool`` tile by tile; the result equals ``tool(image)`` but for float rounding.

    Every tile sees at least ``halo`` pixels of its surroundings and is cropped where the photo
    ends, so that padding inside the tool happens at the true border only. All tiles look at windows
    of the same size, but for less than ``grid`` pixels. No gradients are recorded.

    Args:
        tool: Maps (1, 3, H, W) in [0, 1] to (1, 3, H * scale, W * scale); an output pixel depends
            on no input further than ``halo`` away.
        image: Shape (1, 3, H, W), float, range [0, 1].
        halo: Radius of the tool's receptive field, in pixels of the input.
        max_tile_pixels: Most pixels in one call of the tool; a smaller image goes in whole.
        grid: Windows start at multiples of this many pixels: the side of the blocks that the tool
            divides its input into.
        scale: Side of the tool's output over side of its input.
        arrays: Makes the array that the result is put in, float32 in main memory; None puts it
            where ``image`` is.
        beside: From the rows and columns of a tile, what else the tool is to know of it: its second
            argument. None gives it the tile alone.

    Returns:
        (1, 3, H * scale, W * scale), dtype and device as ``image``, channels last in memory.

    Raises:
        ValueError: The budget holds no tile with such a halo, or the tool changed the shape.
    """
    height, width = image.shape[-2:]
    output = _output(image, height * scale, width * scale, arrays)
    halo += grid - 1  # room to move a window to the grid
    n_rows, n_columns = _tile_grid(height, width, halo, max_tile_pixels)
    with torch.no_grad():
        spans = _spans(height, n_rows, halo, grid), _spans(width, n_columns, halo, grid)
        for (rows, *own_rows), (columns, *own_columns) in itertools.product(*spans):
            tile = image[..., rows, columns]
            restored = tool(tile) if beside is None else tool(tile, beside(rows, columns))
            expected = (*tile.shape[:-2], tile.shape[-2] * scale, tile.shape[-1] * scale)
            if restored.shape != expected:
                raise ValueError(
                    f"the tool turned {tuple(tile.shape)} into {tuple(restored.shape)}"
                )
            (top, bottom), (left, right) = (
                [scale * side for side in own] for own in (own_rows, own_columns)
            )
            above, before = scale * rows.start, scale * columns.start
            output[..., top:bottom, left:right].copy_(
                restored[..., top - above : bottom - above, left - before : right - before]
            )
            if arrays is not None:
                arrays.give_back()
    return output


def _output(image: Tensor, height: int, width: int, arrays: Arrays | None) -> Tensor:
    if arrays is not None:
        return torch.from_numpy(arrays.empty(height, width)).permute(2, 0, 1)[None]
    # Channels last, so that the image as an array (H, W, 3) is the same memory.
    shape = (*image.shape[:-2], height, width)
    return torch.empty(
        shape, dtype=image.dtype, device=image.device, memory_format=torch.channels_last
    )


def _tile_grid(height: int, width: int, halo: int, max_tile_pixels: int) -> tuple[int, int]:
    """Number of tiles down and across, so that a tile with its halo fits the budget."""
    if height * width <= max_tile_pixels:
        return 1, 1
    side = math.isqrt(max_tile_pixels)
    if side <= 2 * halo:
        raise ValueError(
            f"a tile of {max_tile_pixels} pixels has no room inside a halo of {halo}; "
            f"allow at least {(2 * halo + 1) ** 2}"
        )
    # The shorter side first: where the image is narrower than a square tile, its tiles grow longer.
    shorter, longer = sorted((height, width))
    n_shorter = 1 if shorter <= side else math.ceil(shorter / (side - 2 * halo))
    across = min(shorter, math.ceil(shorter / n_shorter) + 2 * halo)
    n_longer = math.ceil(longer / (max_tile_pixels // across - 2 * halo))
    return (n_shorter, n_longer) if height <= width else (n_longer, n_shorter)


def _spans(length: int, n_tiles: int, halo: int, grid: int) -> Iterator[tuple[slice, int, int]]:
    """Divide ``length`` evenly: what each tile looks at, and start and stop of its own pixels.

    Near the border the window moves inwards to keep its size.
    """
    window = min(length, math.ceil(length / n_tiles) + 2 * halo)
    for index in range(n_tiles):
        start, stop = length * index // n_tiles, length * (index + 1) // n_tiles
        at_end = start - halo >= length - window
        context_start = min(max(start - halo, 0), length - window) // grid * grid
        context_stop = length if at_end else context_start + window
        yield slice(context_start, context_stop), start, stop
