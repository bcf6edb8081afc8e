"""Teach an agent to recognise damage before it learns what tools do about it.

What was done to a crop is known for nothing, and what every tool does to it takes a hundred times
as long to find out as to draw it. So its eyes see many more crops than its judgement ever will.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.agents.learning.fresh_crops import FreshBatches, FreshCrops
from restoration_toolchain.agents.outcomes.batches import OutcomeBatches, with_whole
from restoration_toolchain.agents.policy.q_net import Encoder
from restoration_toolchain.agents.policy.recognition import Recognition
from restoration_toolchain.tools_zoo.training.config import LoopConfig, check_not_negative

STRENGTH_WEIGHT: Final = 10.0
"""Weight of the error of strengths beside that of names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentConfig(LoopConfig):
    """What all learning of an agent for the world has in common."""

    optimizer: Literal["muon", "adamw"] = "muon"
    max_grad_norm: float = 10.0
    ema_decay: float = 0.998
    eval_every: int = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognitionConfig(StudentConfig):
    """How an agent learns to recognise damage."""

    total_crops: int = 0
    """Crops seen in all; none leaves the stage out."""
    batch_size: int = 64
    """Crops in a step."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        LoopConfig.__post_init__(self)
        check_not_negative(self, "total_crops")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {self.batch_size}")
        if 0 < self.total_crops < self.batch_size:
            raise ValueError(f"total_crops must hold a batch of {self.batch_size}")


class Recognised(NamedTuple):
    """What is said of the damage of E crops, of C columns: views, and the whole.

    Attributes:
        named: (E, C, families) log odds of the families.
        strength: (E, C, F) strengths of the kinds of damage.
    """

    named: Tensor
    strength: Tensor


class Observer(nn.Module):
    """An encoder, and what is said of damage by what it sees.

    Args:
        encoder: A pooled encoder.
        recognition: Layer that names damage.
        strength: Layer that says how strong it is, of each kind.
    """

    def __init__(self, encoder: Encoder, recognition: Recognition, strength: nn.Linear) -> None:
        super().__init__()
        self.encoder, self.recognition, self.strength = encoder, recognition, strength

    def forward(self, views: Tensor) -> Recognised:
        """Look at views (E, V, 3, 63, 63)."""
        seen = self.encoder(views.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        with torch.autocast(views.device.type, enabled=False):
            return self.recognise(seen.float().reshape(*views.shape[:2], -1))

    def recognise(self, said: Tensor) -> Recognised:
        """Conclude from what the encoder said of views, (E, V, F)."""
        of_crops = with_whole(said)
        read = self.encoder.read(of_crops.flatten(0, 1))
        return Recognised(
            self.recognition(read).reshape(*of_crops.shape[:2], -1),
            self.strength(read).reshape(*of_crops.shape[:2], -1),
        )


class RecognitionObjective:
    """Training objective: names and strengths of damage.

    Args:
        batches: What is learnt from.
        held_out: What is only measured.
    """

    def __init__(self, batches: FreshBatches, held_out: OutcomeBatches) -> None:
        self.batches, self._held_out = batches, held_out
        self.terms: dict[str, float] = {}

    def loss(self, module: nn.Module, batch: FreshCrops) -> Tensor:
        """Weighted sum of the errors."""
        terms = errors_of_recognised(cast(Recognised, module(batch.images)), batch)
        self.terms = {name: float(term.detach()) for name, term in terms.items()}
        return terms["recognition"] + STRENGTH_WEIGHT * terms["strength"]

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Share of held-out crops that are called by their name, and the error of names."""
        module.eval()
        right = count = 0
        error = 0.0
        firsts, size = self._held_out.episodes[:, :1], self._held_out.batch_size
        for start in range(0, len(firsts), size):
            batch = self._held_out.batch(firsts[start : start + size])
            named = module(batch.images.to(device)).named[:, -1].float().cpu()
            known = batch.family >= 0
            right += int((named.argmax(dim=1) == batch.family)[known].sum())
            told = functional.cross_entropy(named[known], batch.family[known], reduction="sum")
            error += float(told.detach())
            count += int(known.sum())
        return {"recognised": right / max(count, 1), "naming_error": error / max(count, 1)}


def errors_of_recognised(told: Recognised, fresh: FreshCrops) -> dict[str, Tensor]:
    """Mean errors of what is said of crops that no tool ran on: of names, and of strengths."""
    strengths = fresh.facts[:, None].expand_as(told.strength)
    return {
        "recognition": naming_error(told.named, fresh.family),
        "strength": functional.mse_loss(told.strength, strengths),
    }


def naming_error(named: Tensor, family: Tensor) -> Tensor:
    """Mean cross-entropy of log odds (E, C, families) and families (E,); -1 has no name."""
    return functional.cross_entropy(
        named.flatten(0, 1), family.repeat_interleave(named.shape[1]), ignore_index=-1
    )
