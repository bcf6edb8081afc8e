"""Categorical priors for `SftNet` that are chosen or made by hand; see also `segformer`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.tools_zoo.networks.segmenter import NUM_CATEGORIES
from restoration_toolchain.tools_zoo.networks.sft import SCENES, CategoryKind, PriorError, SharesOf


class ConstantPrior:
    """The same shares everywhere, chosen by hand.

    Args:
        shares: Eight numbers, none negative, that sum to 1; or the name of one of `SCENES`; or the
            index of one category.
        kind: Kind of the categories; a name makes them scenes. None is whatever the network was
            trained with.

    Raises:
        PriorError: The shares are not that.
        UnknownNameError: There is no such scene.
    """

    def __init__(
        self, shares: Sequence[float] | str | int, kind: CategoryKind | None = None
    ) -> None:
        if isinstance(shares, str):
            if shares not in SCENES:
                raise UnknownNameError("scene", shares, SCENES)
            shares, kind = SCENES.index(shares), "scenes"
        if isinstance(shares, int):
            if not 0 <= shares < NUM_CATEGORIES:
                raise PriorError(f"categories are 0 to {NUM_CATEGORIES - 1}, got {shares}")
            shares = [float(place == shares) for place in range(NUM_CATEGORIES)]
        self.kind = kind
        self._shares = torch.tensor(shares, dtype=torch.float32).view(1, -1, 1, 1)
        check_shares(self._shares)

    checksum = ""
    """Its name says everything."""

    as_tile_pixels = 0
    """See `tools_zoo.enlarging.segformer.SegformerPrior`."""

    def look(self, lq: Tensor, scale: int) -> SharesOf:
        """Repeat the shares over small images (N, 3, H, W)."""
        shares = self._shares.to(lq)

        def part(rows: slice, columns: slice) -> Tensor:
            height, width = (scale * (axis.stop - axis.start) for axis in (rows, columns))
            return shares.expand(len(lq), -1, height, width)

        return part


class MapPrior:
    """A map that someone made, for one photo.

    Args:
        shares: (8, H, W) of the enlarged photo; none negative, sum to 1 at each pixel.
        kind: Kind of the categories. None is whatever the network was trained with.

    Raises:
        PriorError: It has other categories, or they do not sum to 1.
    """

    def __init__(self, shares: Tensor, kind: CategoryKind | None = "scenes") -> None:
        self.kind = kind
        self._shares = shares.float()[None]
        check_shares(self._shares)

    as_tile_pixels = 0
    """It is in memory from the start."""

    def look(self, lq: Tensor, scale: int) -> SharesOf:
        """The map for each of the small images (N, 3, H, W).

        Raises:
            PriorError: It was made for a photo of another size.
        """
        height, width = (side * scale for side in lq.shape[-2:])
        if self._shares.shape[-2:] != (height, width):
            own = "x".join(map(str, reversed(self._shares.shape[-2:])))
            raise PriorError(
                f"the map has {own} pixels, but the enlarged photo has {width}x{height}"
            )

        def part(rows: slice, columns: slice) -> Tensor:
            rows, columns = (
                slice(axis.start * scale, axis.stop * scale) for axis in (rows, columns)
            )
            return self._shares[..., rows, columns].expand(len(lq), -1, -1, -1)

        return part

    @property
    def checksum(self) -> str:
        """SHA-256 of its numbers."""
        return hashlib.sha256(self._shares.contiguous().numpy().data).hexdigest()


def read_map(path: Path) -> MapPrior:
    """Read a map (8, H, W) of the enlarged photo from a file of NumPy (.npy).

    A file does not say what its categories are: they are those of the network that it is given.

    Raises:
        PriorError: It cannot be read, or is no such map.
    """
    try:
        shares = np.load(path, allow_pickle=False)
    except OSError as error:
        raise PriorError(f"cannot read the map {path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise PriorError(f"{path} is no map: it holds no array of numbers (.npy)") from error
    if not isinstance(shares, np.ndarray) or shares.dtype.kind not in "fiub":
        raise PriorError(f"{path} is no map: it holds no array of numbers (.npy)")
    try:
        return MapPrior(torch.from_numpy(np.ascontiguousarray(shares, np.float32)), kind=None)
    except PriorError as error:
        raise PriorError(f"{path}: {error}") from error


def check_shares(shares: Tensor) -> None:
    """Raise PriorError unless (N, 8, H, W) holds shares that sum to 1 over the second dimension."""
    if shares.ndim != 4 or shares.shape[1] != NUM_CATEGORIES:
        raise PriorError(
            f"a prior has {NUM_CATEGORIES} categories, got shape {tuple(shares.shape[1:])}"
        )
    if 0 in shares.shape:
        raise PriorError(f"a prior has pixels, got shape {tuple(shares.shape[1:])}")
    off = (shares.sum(dim=1) - 1.0).abs().max()
    if not (float(shares.min()) >= 0.0 and float(off) <= 1e-3):  # this way round, NaN is refused
        raise PriorError("the categories of a prior must be shares that sum to 1")
