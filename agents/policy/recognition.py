"""What an agent takes the damage of a photo for: seen at the first look, before any tool runs."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

NOT_DAMAGED: Final = "clean"
"""Name of the family of photos that nothing happened to."""


class Recognition(nn.Module):
    """Names the family of the damage by what the encoder makes of views.

    Args:
        in_features: Numbers that the encoder makes of a view or a photo.
        families: Names of families of damage, of kinds of pictures that are no photos, and *clean*.
        untouched: Those of them whose images are to be left as they are.
    """

    def __init__(
        self, in_features: int, families: Sequence[str], untouched: Sequence[str] = (NOT_DAMAGED,)
    ) -> None:
        super().__init__()
        self.families, self.untouched = tuple(families), tuple(untouched)
        self.fc = nn.Linear(in_features, len(self.families))

    def forward(self, read: Tensor) -> Tensor:
        """Log odds of the families, (N, families), from (N, in_features)."""
        named: Tensor = self.fc(read)
        return named

    def likely(self, read: Tensor) -> dict[str, float]:
        """Probability of each family for one photo, (1, in_features), most likely first."""
        shares = torch.softmax(self(read)[0], dim=0).tolist()
        known = zip(self.families, shares, strict=True)
        return dict(sorted(known, key=lambda pair: -pair[1]))

    def untouched_probability(self, read: Tensor) -> float:
        """Probability that one photo, (1, in_features), is to be left as it is."""
        likely = self.likely(read)
        return sum(likely[name] for name in self.untouched if name in likely)
