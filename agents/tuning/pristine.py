"""Learn to tell clean photos from damaged ones, by how a trained agent sees them."""

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from restoration_toolchain.agents.policy.pristine import Pristine
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.patches.pairs import PairSource
from restoration_toolchain.tools_zoo.precision import Precision

PRISTINE_PATCHES: Final = 60_000
"""Enough, where nothing else is said: a minute on a core."""

PRISTINE_LEVELS: Final = (
    *("light", "light", "light", "light"),
    *("single", "single", "camera", "camera", "camera", "double", "mild"),
)
"""Damage that it is to tell from none, mostly slight: strong damage is no question."""

_BATCH_SIZE: Final = 64
_EPOCHS: Final = 20


def learn_pristine(
    q_net: RecurrentQNet,
    pairs: PairSource,
    num_patches: int,
    *,
    learning_rate: float = 2e-3,
    seed: int = 0,
    precision: Precision = "fp32",
) -> Pristine:
    """Learn to tell clean patches from damaged ones, by how a trained agent sees them.

    Args:
        q_net: The agent's network, in evaluation mode; not changed.
        pairs: Pairs to learn from; in half of them both images are the same, and clean.
        num_patches: Number of patches to learn from.
        learning_rate: Learning rate of AdamW, at the start.
        seed: Seed of every random draw.
        precision: Number format that the encoder computes in.
    """
    device = next(q_net.parameters()).device
    rng = np.random.default_rng((seed, 3))
    seen, is_clean = [], []
    for _ in range(max(1, num_patches // _BATCH_SIZE)):
        lq, gt = pairs.pairs(rng.integers(len(pairs), size=_BATCH_SIZE), rng)
        with torch.no_grad():
            said = q_net.see(to_tensor(lq).to(device), precision)
            seen.append(q_net.encoder.read(said).cpu())
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
