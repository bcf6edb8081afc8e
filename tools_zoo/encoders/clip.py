"""CLIP's image and text encoders, through Hugging Face ``transformers``; nothing is downloaded."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.tools_zoo.encoders.local_model import load_local_model
from restoration_toolchain.tools_zoo.encoders.semantics import Semantics

if TYPE_CHECKING:
    from transformers import CLIPModel

MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
STD: Final = (0.26862954, 0.26130258, 0.27577711)
"""Moments of RGB in [0, 1] in CLIP's training (Radford et al., ICML 2021)."""

_DEPTHS: Final = (1 / 3, 2 / 3)
"""Shares of the layers after which the maps are taken."""


class ClipEncoder(nn.Module):
    """What a CLIP model with a vision transformer sees; frozen, but images get gradients.

    Images are not brought to 224 pixels, which would hide blur: sides become the nearest multiples
    of the model's patches, and its positional embedding is interpolated.

    Args:
        model: Model with its weights.
        name: Name that goes with every score.
    """

    def __init__(self, model: "CLIPModel", name: str) -> None:
        super().__init__()
        self.name = name
        self.model = model
        vision = cast(Any, model.config.vision_config)
        self._cell = int(vision.patch_size)
        self.min_side = self._cell
        layers = int(vision.num_hidden_layers)
        # Index 0 holds what goes into the first layer.
        self._taps = sorted({max(1, round(depth * layers)) for depth in _DEPTHS})
        self.map_channels = (int(vision.hidden_size),) * len(self._taps)
        self.num_embedding = int(cast(Any, model.config).projection_dim)
        self.logit_scale = 100.0
        self._mean: Tensor
        self._std: Tensor
        self.register_buffer("_mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "ClipEncoder":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> Semantics:
        """Look at RGB (N, 3, H, W) in [0, 1], in float32."""
        with torch.autocast(images.device.type, enabled=False):
            cells = [max(1, round(side / self._cell)) for side in images.shape[-2:]]
            size = [count * self._cell for count in cells]
            pixels = images.float()
            if size != list(images.shape[-2:]):
                pixels = functional.interpolate(
                    pixels, size, mode="bicubic", align_corners=False, antialias=True
                )
            pixels = (pixels - self._mean) / self._std
            seen = self.model.vision_model(
                pixel_values=pixels, output_hidden_states=True, interpolate_pos_encoding=True
            )
            embedding = self.model.visual_projection(seen.pooler_output)
        maps = []
        for tap in self._taps:
            tokens = seen.hidden_states[tap][:, 1:]  # the first stands for the whole image
            maps.append(tokens.transpose(1, 2).unflatten(2, cells))
        return Semantics(tuple(maps), embedding)

    @property
    def num_token_feat(self) -> int:
        """Length of a token's embedding in the text encoder."""
        return int(cast(Any, self.model.config.text_config).hidden_size)

    def embed_prompts(self, tokens: Tensor) -> Tensor:
        """What the text encoder makes of prompts that are given as vectors instead of words.

        Args:
            tokens: (N, n, num_token_feat); a start token goes before them and an end token after.

        Returns:
            (N, num_embedding), not normalised; gradients reach ``tokens``.

        Source:
            Prompts as vectors: Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV
            2022.
        """
        text = cast(Any, self.model.text_model)
        table = text.embeddings.token_embedding.weight
        first, last = self._edge_tokens()
        count = len(tokens)
        whole = torch.cat(
            [table[first].expand(count, 1, -1), tokens, table[last].expand(count, 1, -1)], dim=1
        )
        # The encoder takes words' numbers only to find the end token: where its output is read.
        ids = torch.full(whole.shape[:2], first, device=tokens.device)
        ids[:, -1] = last
        with _vectors_for_words(text.embeddings.token_embedding, whole):
            pooled = text(input_ids=ids).pooler_output
        embedding: Tensor = self.model.text_projection(pooled)
        return embedding

    def _edge_tokens(self) -> tuple[int, int]:
        config = cast(Any, self.model.config.text_config)
        # CLIP's vocabulary ends with its two edge tokens. Published configurations hold other, old
        # numbers for them, which transformers reads as "the largest number is the end".
        last = config.vocab_size - 1 if config.eos_token_id == 2 else int(config.eos_token_id)
        return last - 1, last


@contextlib.contextmanager
def _vectors_for_words(layer: nn.Module, vectors: Tensor) -> Iterator[None]:
    """While open, an embedding layer gives vectors of ours, whatever words it is asked for."""
    hook = layer.register_forward_hook(lambda *_: vectors)
    try:
        yield
    finally:
        hook.remove()


def load_clip(source: str | Path) -> ClipEncoder:
    """Load a CLIP model that is on this machine.

    Args:
        source: Its folder, or its name in the local cache of Hugging Face.

    Raises:
        ToolchainError: ``transformers`` is not installed, the model is not on this machine, or is
            no CLIP model.
    """
    model = load_local_model(
        source,
        "CLIPModel",
        "clip",
        "CLIP",
        user="CLIP",
        absent=f": give a folder, or fetch it with 'hf download {source}'; nothing is downloaded "
        "unasked",
    )
    return ClipEncoder(model, f"clip:{Path(source).name}")
