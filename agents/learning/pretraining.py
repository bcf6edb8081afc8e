"""Teach an encoder to see damage before the agent learns what tools do about it.

To learn from a state, an agent needs every tool to run on it. What was done to an image is known
for nothing, so an encoder can see many more images beforehand, and tell how strong each distortion
is.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.agents.policy.q_net import Encoder, OptimizerName, make_optimizer
from restoration_toolchain.data.damage.camera import Camera
from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.damage.levels import Sampler, sampler
from restoration_toolchain.data.damage.noise import Noise
from restoration_toolchain.data.damage.steps import graded_kinds
from restoration_toolchain.data.images import to_float, to_tensor
from restoration_toolchain.data.patches.pairs import degrade_windows
from restoration_toolchain.data.patches.store import Patches, PatchStore
from restoration_toolchain.tools_zoo.precision import Precision, computing

BATCH_SIZE: Final = 64
PATCHES_AT_ONCE: Final = 4096
"""Read from the store in one go, in the order in which they lie there."""

_NO_ERROR: Final = 1e-5
"""Mean squared error that is hardly any: 50 dB of PSNR."""


def facts(damage: Degradation, lq: Patches, gt: Patches) -> list[float]:
    """What an encoder is to tell about one image: `num_facts` numbers, each about 0 to 1.

    Args:
        damage: Damage of the patch.
        lq: Damaged patch, uint8 (P, P, 3).
        gt: Clean patch, the same shape.

    Returns:
        Strength of each of `data.damage.steps.graded_kinds`, the error, and whether there is none.
    """
    error = float(np.mean(np.square(to_float(lq) - to_float(gt))))
    shares = {step.name: step.grade for step in damage.steps if step.edges}
    if any(isinstance(step, Camera) for step in damage.steps):
        # It differs from place to place: what it comes to on this image.
        shares[Noise.name] = Noise(255.0 * error**0.5).grade
    return [
        *(shares.get(kind.name, 0.0) for kind in graded_kinds()),
        float(np.log10(error / _NO_ERROR + 1.0)) / 4.0,
        float(error == 0.0),
    ]


def num_facts() -> int:
    """Number of `facts` about an image."""
    return len(graded_kinds()) + 2


def pretrain_encoder(
    encoder: Encoder,
    store: PatchStore,
    levels: Sequence[str],
    num_patches: int,
    *,
    optimizer: OptimizerName = "muon",
    learning_rate: float = 3e-3,
    seed: int = 0,
    precision: Precision = "fp32",
    on_step: Callable[[int, int, dict[str, float]], None] = lambda step, total, metrics: None,
) -> nn.Linear:
    """Train an encoder, in place, to tell the `facts` of freshly degraded patches.

    Args:
        encoder: Encoder to train, on any device; left in training mode.
        store: Clean patches.
        levels: Names of levels to draw the damage from (`data.damage.levels.sampler`).
        num_patches: Patches in all; the learning rate falls to nothing over them.
        optimizer: Name of the optimiser, see `agents.policy.q_net.make_optimizer`.
        learning_rate: Learning rate at the start.
        seed: Seed of every random draw.
        precision: Precision that the encoder computes in.
        on_step: Called with (patches so far, total, newest errors) after every optimiser step.

    Returns:
        The layer that tells the facts from what the encoder says.
    """
    device = next(encoder.parameters()).device
    torch.manual_seed(seed)
    head = nn.Linear(encoder.out_features, num_facts(), device=device)
    learner = make_optimizer(optimizer, encoder, [head], learning_rate)
    encoder.train()
    rng = np.random.default_rng((seed, 2))
    draw, done, error = sampler(*levels), 0, 0.0
    while done < num_patches:
        chosen = rng.choice(store.train_indices, min(PATCHES_AT_ONCE, num_patches - done))
        windows = store.read_windows(np.sort(chosen))
        for rows in np.array_split(rng.permutation(len(chosen)), max(1, len(chosen) // BATCH_SIZE)):
            images, known = examples(windows[rows], draw, rng)
            for group in learner.param_groups:
                group["lr"] = learning_rate * max(0.02, 1.0 - done / num_patches)
            with computing(precision, device):
                told = head(encoder.read(encoder(images.to(device))))
            loss = functional.mse_loss(told.float(), known.to(device))
            learner.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_([*encoder.parameters(), *head.parameters()], 1.0)
            learner.step()
            done += len(rows)
            newest = float(loss.detach())
            error = 0.9 * error + 0.1 * newest if error else newest
            on_step(done, num_patches, {"pretraining_error": error})
    return head


def examples(windows: Patches, draw: Sampler, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Degraded views to learn from, and what is to be told about them.

    Args:
        windows: Clean patches with their surroundings (`data.patches.store.cut_windows`).
        draw: Distribution of the damage.
        rng: Source of everything random.

    Returns:
        Views (N, 3, P, P) in [0, 1], all flipped and transposed alike, and their `facts`,
        (N, `num_facts`).
    """
    damages = [draw(rng) for _ in windows]
    following = iter(damages)
    lq, gt = degrade_windows(windows, lambda _: next(following), rng)
    known = [facts(*each) for each in zip(damages, lq, gt, strict=True)]
    images = to_tensor(to_float(lq))
    axes = [axis for axis in (-1, -2) if rng.random() < 0.5]
    images = images.flip(axes) if axes else images
    return images.transpose(-1, -2) if rng.random() < 0.5 else images, torch.tensor(known)
