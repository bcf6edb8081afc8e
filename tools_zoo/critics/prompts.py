"""A critic that compares an image with two learnable prompts, a good and a bad one: TG-D."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.tools_zoo.encoders import SemanticEncoder
from restoration_toolchain.tools_zoo.encoders.clip import ClipEncoder

NUM_TOKENS: Final = 16
GAIN: Final = 5.0
"""The prompts move this much faster than other weights of the critics' optimiser."""


class PromptPair(nn.Module):
    """Two prompts, of which an image is nearer to one.

    With a text encoder, each prompt is a row of vectors in place of words. Without one, each is a
    single vector among the image embeddings: such prompts fit their encoder only, and are no text.
    Both prompts start alike, at a verdict of 1/2, and receive opposite gradients.

    Args:
        encoder: Its weights are used and not trained, and are no part of this module.

    Source:
        The idea is that of SFD, Dong et al., CVPR 2025 (learnable prompt pairs); length and loss
        follow CLIP-LIT, Liang et al., ICCV 2023.
    """

    def __init__(self, encoder: SemanticEncoder) -> None:
        super().__init__()
        self._embed: Callable[[Tensor], Tensor] | None = None
        size: tuple[int, ...] = (encoder.num_embedding,)
        if isinstance(encoder, ClipEncoder):
            # A bound method hides the encoder from this module's parameters.
            self._embed = encoder.embed_prompts
            size = (NUM_TOKENS, encoder.num_token_feat)
        self._scale = encoder.logit_scale
        start = torch.empty(1, *size)
        nn.init.normal_(start, std=0.02)
        self.start = nn.Buffer(start)
        self.offset = nn.Parameter(torch.zeros(2, *size))

    @property
    def kind(self) -> str:
        """What the prompts are: ``text`` or ``vectors``."""
        return "vectors" if self._embed is None else "text"

    def forward(self, embedding: Tensor) -> Tensor:
        """Compare image embeddings (N, D): log-probabilities (N, 2) of the good and the bad."""
        prompts = self.start + GAIN * self.offset
        if self._embed is not None:
            prompts = self._embed(prompts)
        images = functional.normalize(embedding, dim=1)
        cosines = images @ functional.normalize(prompts, dim=1).T
        return functional.log_softmax(self._scale * cosines, dim=1)
