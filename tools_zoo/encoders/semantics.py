"""What an image encoder tells: maps, and one vector. Every term that looks at features takes it."""

from typing import NamedTuple, Protocol

from torch import Tensor


class Semantics(NamedTuple):
    """What an encoder sees in a batch of images.

    Attributes:
        maps: Middle features, from fine to coarse, each (N, C, h, w).
        embedding: One vector per image, (N, D), not normalised.
    """

    maps: tuple[Tensor, ...]
    embedding: Tensor


class SemanticEncoder(Protocol):
    """A frozen image encoder through which gradients reach the image."""

    @property
    def name(self) -> str:
        """Which one: goes with every score that it made."""

    @property
    def map_channels(self) -> tuple[int, ...]:
        """Channels of each of `Semantics.maps`."""

    @property
    def num_embedding(self) -> int:
        """Length of `Semantics.embedding`."""

    @property
    def logit_scale(self) -> float:
        """Factor on cosines before a softmax."""

    @property
    def min_side(self) -> int:
        """Smallest side of an image in pixels."""

    def __call__(self, images: Tensor) -> Semantics:
        """Look at RGB (N, 3, H, W) in [0, 1]."""
