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

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.tools_zoo.precision import Precision

if TYPE_CHECKING:  # stores and sources of photos: nothing that a restoration needs
    from restoration_toolchain.data.patches.pairs import PairSource

POOLED: Final = 4.0
"""Independent views that those of one photo count as, at most."""

PRISTINE_PATCHES: Final = 60_000
"""Enough, where nothing else is said: a minute on a core."""

PRISTINE_LEVELS: Final = (
    *("light", "light", "light", "light"),
    *("single", "single", "camera", "camera", "camera", "double", "mild"),
)
"""Damage that it is to tell from none, mostly slight: strong damage is no question."""

_WIDTH: Final = 32
_LIMIT: Final = 8.0
"""Largest log odds of one view, and largest standardised feature."""
_BATCH_SIZE: Final = 64
_EPOCHS: Final = 20


class Pristine(nn.Module):
    """Log odds that a view is clean, by what an encoder says of it.

    Args:
        in_features: Of the encoder.
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
            embedding: (N, in_features).
            together: They are views of one photo, and are as likely to be clean as it is.
        """
        odds: Tensor = self(embedding)
        if together:
            odds = (odds.mean() * min(len(odds), POOLED)).expand(len(odds))
        return torch.sigmoid(odds)


def learn_pristine(
    q_net: RecurrentQNet,
    pairs: "PairSource",
    num_patches: int,
    *,
    learning_rate: float = 2e-3,
    seed: int = 0,
    precision: Precision = "fp32",
) -> Pristine:
    """Learn to tell clean patches from damaged ones, by how a trained agent sees them.

    Args:
        q_net: Of the agent, in evaluation mode; not changed.
        pairs: Half of which are clean: both images are the same.
        num_patches: To learn from.
        learning_rate: Of AdamW, at the start.
        seed: Of everything drawn.
        precision: What the encoder computes in.
    """
    device = next(q_net.parameters()).device
    rng = np.random.default_rng((seed, 3))
    seen, is_clean = [], []
    for _ in range(max(1, num_patches // _BATCH_SIZE)):
        lq, gt = pairs.pairs(rng.integers(len(pairs), size=_BATCH_SIZE), rng)
        with torch.no_grad():
            seen.append(q_net.see(to_tensor(lq).to(device), precision).cpu())
        is_clean.append(torch.from_numpy((lq == gt).all(axis=(1, 2, 3))).float())
    return _fit(torch.cat(seen), torch.cat(is_clean), learning_rate, seed).to(device)


def _fit(embedding: Tensor, is_clean: Tensor, learning_rate: float, seed: int) -> Pristine:
    torch.manual_seed(seed)
    pristine = Pristine(embedding.shape[1])
    pristine.mean.copy_(embedding.mean(dim=0))
    pristine.std.copy_(embedding.std(dim=0).clamp(min=1e-3))
    optimizer = torch.optim.AdamW(pristine.parameters(), lr=learning_rate, weight_decay=1e-2)
    batches = max(1, len(embedding) // _BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, _EPOCHS * batches)
    for _ in range(_EPOCHS):
        for rows in torch.randperm(len(embedding)).tensor_split(batches):
            odds = pristine(embedding[rows])
            loss = functional.binary_cross_entropy_with_logits(odds, is_clean[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return pristine.requires_grad_(False).eval()
