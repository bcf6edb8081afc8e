"""A categorical prior of scenes for `SftNet`: a segmentation model that is on this machine."""

import hashlib
import math
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from restoration_toolchain.tools_zoo.encoders.local_model import load_local_model
from restoration_toolchain.tools_zoo.networks.segmenter import NUM_CATEGORIES
from restoration_toolchain.tools_zoo.networks.sft import SCENES, CategoryKind, PriorError, SharesOf

ADE20K: Final[dict[str, str]] = {
    "sky": "sky",
    "water": "water",
    "sea": "water",
    "river": "water",
    "lake": "water",
    "waterfall": "water",
    "swimming pool": "water",
    "grass": "grass",
    "field": "grass",
    "mountain": "mountain",
    "hill": "mountain",
    "rock": "mountain",
    "building": "building",
    "house": "building",
    "skyscraper": "building",
    "tower": "building",
    "tree": "plant",
    "plant": "plant",
    "palm": "plant",
    "flower": "plant",
    "animal": "animal",
}
"""Classes of ADE20K to `SCENES`, by the first of their names; all others are background."""

SEEN_PIXELS: Final = 768 * 768
"""Most pixels of the enlargement. A larger one is seen whole, but smaller: these models learnt from
images of 512 pixels a side."""

_WIDE: Final = 768
"""Channels of the decoder in b2 to b5; b0 and b1 have 256."""

_MIN_SIDE: Final = 32  # pixels: eight by eight of its patches become one
_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)


class SegformerPrior:
    """A segmentation model of Hugging Face ``transformers``, its classes gathered into `SCENES`.

    It is shown the bicubic enlargement, as SFTGAN's segmentation is. What it says is kept as coarse
    as it says it, a quarter of what it saw a side, and interpolated where it is asked for.

    Args:
        model: ``SegformerForSemanticSegmentation`` with the classes of ADE20K.

    Raises:
        PriorError: The model has other classes.
    """

    kind: CategoryKind = "scenes"

    def __init__(self, model: Any) -> None:
        self._model = model.requires_grad_(False).eval().float()
        names = [model.config.id2label[place] for place in range(model.config.num_labels)]
        scenes = [ADE20K.get(name.split(",")[0].split(";")[0].strip().lower()) for name in names]
        missing = sorted(set(SCENES[1:]) - set(scenes))
        if missing:
            raise PriorError(
                f"the segmentation model has no class for {', '.join(missing)}; "
                "one trained on ADE20K is needed"
            )
        gather = torch.zeros(NUM_CATEGORIES, len(names))
        for place, scene in enumerate(scenes):
            gather[SCENES.index(scene or "background"), place] = 1.0
        self._gather = gather

    def look(self, lq: Tensor, scale: int) -> SharesOf:
        """Segment small images (N, 3, H, W) in [0, 1], on the device that they are on."""
        coarse = self._segment(_shown(lq.float(), scale))
        height, width = lq.shape[-2:]

        def part(rows: slice, columns: slice) -> Tensor:
            shares = _interpolated(coarse, 2, rows, height, scale)
            return _interpolated(shares, 3, columns, width, scale)

        return part

    @property
    def checksum(self) -> str:
        """SHA-256 of its weights."""
        sha256 = hashlib.sha256()
        for name, value in sorted(self._model.state_dict().items()):
            sha256.update(name.encode())
            sha256.update(value.cpu().contiguous().numpy())
        return sha256.hexdigest()

    @property
    def as_tile_pixels(self) -> int:
        """It takes as much memory as a tool with a tile of so many pixels.

        Measured: 702 bytes for each pixel that is seen by b0, 1913 by b5; a tool is taken for 700.
        """
        is_wide = self._model.config.decoder_hidden_size >= _WIDE
        return round(SEEN_PIXELS * (2.8 if is_wide else 1.1))

    @torch.no_grad()
    def _segment(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] to shares (N, 8, H / 4, W / 4), rounded up."""
        mean, std = (images.new_tensor(value).view(1, 3, 1, 1) for value in (_MEAN, _STD))
        logits = self._model.to(images.device)(pixel_values=(images - mean) / std).logits
        return torch.einsum("kc,nchw->nkhw", self._gather.to(logits), logits.softmax(dim=1))


def load_segformer(source: str | Path) -> SegformerPrior:
    """Load a segmentation model that is on this machine; nothing is downloaded.

    Args:
        source: Its folder, or its name in the local cache, such as
            ``nvidia/segformer-b0-finetuned-ade-512-512``.

    Raises:
        ToolchainError: ``transformers`` is missing, there is no such model here, it is another
            model, or it cannot be read or lacks weights.
        PriorError: The model has other classes than ADE20K's.
    """
    return SegformerPrior(
        load_local_model(
            source,
            "SegformerForSemanticSegmentation",
            "segformer",
            "SegFormer",
            user="this prior",
            absent="; give its folder, nothing is downloaded unasked",
        )
    )


def _shown(lq: Tensor, scale: int) -> Tensor:
    """The bicubic enlargement, or as much of one as has `SEEN_PIXELS`."""
    height, width = (side * scale for side in lq.shape[-2:])
    shrink = min(1.0, math.sqrt(SEEN_PIXELS / (height * width)))
    size = [max(_MIN_SIDE, round(side * shrink)) for side in (height, width)]
    # With antialias, the cubic is that of `data.scaling`.
    large = functional.interpolate(lq, size, mode="bicubic", align_corners=False, antialias=True)
    return large.clamp(0.0, 1.0)


def _interpolated(coarse: Tensor, dim: int, part: slice, length: int, scale: int) -> Tensor:
    """A part of one axis of what bilinear interpolation to ``length * scale`` would give."""
    count = coarse.shape[dim]
    places = torch.arange(part.start * scale, part.stop * scale, device=coarse.device)
    places = ((places + 0.5) * (count / (length * scale)) - 0.5).clamp(0.0, count - 1.0)
    before = places.long()
    after = (before + 1).clamp(max=count - 1)
    weights = (places - before).view(-1, *[1] * (coarse.ndim - dim - 1))
    return torch.lerp(coarse.index_select(dim, before), coarse.index_select(dim, after), weights)
