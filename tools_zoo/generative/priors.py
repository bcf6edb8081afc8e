"""Where the categorical prior of `SftNet` comes from, if not from the network itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from data.errors import ToolchainError, UnknownNameError
from data.scaling import upsample_bicubic
from tools_zoo.networks.segmenter import NUM_CATEGORIES
from tools_zoo.networks.sft import SCENES, CategoryKind, PriorError

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

_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)


class ConstantPrior:
    """The same shares everywhere, chosen by hand.

    Args:
        shares: Eight numbers, none negative, that sum to 1; or the name of one of `SCENES`; or the
            index of one category.
        kind: What the categories are; a name makes them scenes.

    Raises:
        PriorError: The shares are not that.
        UnknownNameError: There is no such scene.
    """

    def __init__(
        self, shares: Sequence[float] | str | int, kind: CategoryKind = "clusters"
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

    def __call__(self, lq: Tensor, scale: int) -> Tensor:
        """Repeat the shares over small images (N, 3, H, W)."""
        height, width = (side * scale for side in lq.shape[-2:])
        return self._shares.to(lq).expand(len(lq), -1, height, width)


class MapPrior:
    """A map that someone made, for one photo.

    Args:
        shares: (8, H, W) of the enlarged photo; none negative, sum to 1 at each pixel.
        kind: What the categories are.

    Raises:
        PriorError: It has other categories, or they do not sum to 1.
    """

    def __init__(self, shares: Tensor, kind: CategoryKind = "scenes") -> None:
        self.kind = kind
        self._shares = shares.float()[None]
        check_shares(self._shares)

    def __call__(self, lq: Tensor, scale: int) -> Tensor:
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
        return self._shares.to(lq).expand(len(lq), -1, -1, -1)


class SegformerPrior:
    """A segmentation model of Hugging Face ``transformers``, its classes gathered into `SCENES`.

    It is shown the bicubic enlargement, as SFTGAN's segmentation is.

    Args:
        model: ``SegformerForSemanticSegmentation`` with the classes of ADE20K.

    Raises:
        PriorError: The model has other classes.
    """

    kind: CategoryKind = "scenes"

    def __init__(self, model: Any) -> None:
        self._model = model.requires_grad_(False).eval()
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

    @torch.no_grad()
    def __call__(self, lq: Tensor, scale: int) -> Tensor:
        """Segment small images (N, 3, H, W) in [0, 1]."""
        large = upsample_bicubic(lq.float(), scale).clamp(0.0, 1.0)
        mean, std = (lq.new_tensor(value).float().view(1, 3, 1, 1) for value in (_MEAN, _STD))
        logits = self._model.to(lq.device)(pixel_values=(large - mean) / std).logits
        classes = functional.interpolate(
            logits, large.shape[-2:], mode="bilinear", align_corners=False
        ).softmax(dim=1)
        return torch.einsum("kc,nchw->nkhw", self._gather.to(lq.device), classes)


def load_segformer(source: str | Path) -> SegformerPrior:
    """Load a segmentation model that is on this machine; nothing is downloaded.

    Args:
        source: Its folder, or its name in the local cache, such as
            ``nvidia/segformer-b0-finetuned-ade-512-512``.

    Raises:
        ToolchainError: ``transformers`` is missing, or there is no such model here.
        PriorError: The model has other classes than ADE20K's.
    """
    try:
        from transformers import AutoConfig, SegformerForSemanticSegmentation
    except ImportError as error:
        raise ToolchainError(
            'this prior needs Hugging Face transformers: pip install "restoration-toolchain[clip]"'
        ) from error
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=True)
        if config.model_type != "segformer":
            raise ToolchainError(
                f"{source} holds a model of type {config.model_type!r}, not SegFormer"
            )
        model = SegformerForSemanticSegmentation.from_pretrained(
            source, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ToolchainError(
            f"no SegFormer model {str(source)!r} on this machine; give its folder, "
            "nothing is downloaded unasked"
        ) from error
    return SegformerPrior(model)


def check_shares(shares: Tensor) -> None:
    """Raise PriorError unless (N, 8, H, W) holds shares that sum to 1 over the second dimension."""
    if shares.ndim != 4 or shares.shape[1] != NUM_CATEGORIES:
        raise PriorError(
            f"a prior has {NUM_CATEGORIES} categories, got shape {tuple(shares.shape[1:])}"
        )
    if float(shares.min()) < 0.0 or float((shares.sum(dim=1) - 1.0).abs().max()) > 1e-3:
        raise PriorError("the categories of a prior must be shares that sum to 1")
