"""Whether a photo was damaged at all: asked by itself, before what could be done about it.

An agent that meets clean patches among damaged ones learns values that are a mixture of two: what a
tool gains if there is damage, and what it ruins if there is none. To tell slight damage from none
by such values it would have to run every tool on very many patches. Whether a patch is clean costs
no tool run to know, so that is learnt apart, from as many patches as needed; values are those of
damaged images, and the two are put together when the agent decides.

What no single view tells, all views of a photo together may: a sky looks the same blurred and not.
A mean of values does not add up such evidence. A mean of the log odds does.

Source:
    This project. Log odds of independent views add up (Bayes' rule); those of one photo share too
    much to count as more than `POOLED`.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

POOLED: Final = 4.0
"""Independent views that those of one photo count as, at most."""

_WIDTH: Final = 32
_LIMIT: Final = 8.0
"""Largest log odds of one view, and largest standardised feature."""


class Pristine(nn.Module):
    """Log odds that a view is clean, by what an encoder says of it.

    Args:
        in_features: Numbers that the encoder says of a view.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("std", torch.ones(in_features))
        self.fc1 = nn.Linear(in_features, _WIDTH)
        self.fc2 = nn.Linear(_WIDTH, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Log odds (N,) of embeddings (N, in_features), clean and damaged being as likely."""
        standardised = ((embedding - self.mean) / self.std).clamp(-_LIMIT, _LIMIT)
        odds: Tensor = self.fc2(functional.relu(self.fc1(standardised)))[:, 0]
        return odds.clamp(-_LIMIT, _LIMIT)

    def probability(self, embedding: Tensor, *, together: bool = False) -> Tensor:
        """Probability that views are clean, (N,).

        Args:
            embedding: What the encoder says of them, (N, in_features).
            together: They are views of one photo, and are as likely to be clean as it is.
        """
        odds: Tensor = self(embedding)
        if together:
            odds = (odds.mean() * min(len(odds), POOLED)).expand(len(odds))
        return torch.sigmoid(odds)
