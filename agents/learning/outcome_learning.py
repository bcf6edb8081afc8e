"""Teach an agent from recorded outcomes: what each tool gains, how surely, and what is seen at all.

Nothing is explored here and no tool runs: what every action would have brought was recorded
(`agents.outcomes`); what only has to be recognised is drawn afresh (`fresh_crops`). Values are
those of fitted Q-iteration with full backups, of which the best known continuation is one. Beside
them the network learns how gains are distributed, so that an agent knows when it does not know, and
to name the damage, which costs no tool run at all.

Sources:
    Ernst et al., "Tree-Based Batch Mode Reinforcement Learning", JMLR 2005 (fitted Q-iteration).
    Dabney et al., "Distributional Reinforcement Learning with Quantile Regression", AAAI 2018.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from restoration_toolchain.agents.learning.errors import (
    MAX_GAIN,
    quantile_errors,
    ranking_errors,
)
from restoration_toolchain.agents.learning.fresh_crops import Lesson, Lessons
from restoration_toolchain.agents.learning.pretraining import num_facts
from restoration_toolchain.agents.learning.recognition import (
    Observer,
    Recognised,
    StudentConfig,
    errors_of_recognised,
    naming_error,
)
from restoration_toolchain.agents.outcomes.batches import OutcomeBatch, OutcomeBatches
from restoration_toolchain.agents.policy.q_net import (
    EncoderName,
    LstmState,
    RecurrentQNet,
    find_encoder,
)
from restoration_toolchain.agents.policy.recognition import Recognition
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.envs.reward import MAX_LOSS
from restoration_toolchain.tools_zoo.training.config import LoopConfig, check_not_negative

ERROR_BEND: Final = 1.0
"""dB; larger errors of values count linearly, or strong noise would rule all else."""

WHOLE_WEIGHT: Final = 2.0
"""Weight of a crop as a whole beside that of each of its views."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeLearningConfig(StudentConfig):
    """How an agent learns from recorded outcomes."""

    epochs: int = 5
    """Times that every crop is seen."""
    batch_size: int = 24
    """Crops in a step."""
    encoder: EncoderName = "pooled_statistics"
    """What the agent sees with."""
    ranking: float = 0.05
    """Weight of the choice between tools (`errors.ranking_errors`)."""
    distribution: float = 2.0
    """Weight of the quantiles of gains."""
    recognition: float = 0.2
    """Weight of naming the family of the damage."""
    fresh: int = 0
    """Further crops in a step, on which no tool ran: their damage is named, its strength told."""
    strength: float = 2.0
    """Weight of how strong the damage of these is, for each kind."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        LoopConfig.__post_init__(self)
        if min(self.epochs, self.batch_size) < 1:
            raise ValueError("epochs and batch_size must be at least 1")
        check_not_negative(self, "fresh")
        if not find_encoder(self.encoder).is_pooled:
            raise ToolchainError(
                f"the encoder {self.encoder} judges each view for itself; "
                "here all views of a crop are judged together"
            )


class Student(nn.Module):
    """The network that learns: that of the agent, and a layer that names damage.

    Args:
        n_tools: Tools of the toolbox.
        families: Names of families of damage, of *clean*, and of kinds of drawn pictures.
        untouched: Those of them whose images are to be left as they are.
        encoder: Name of the encoder, a pooled one.
    """

    def __init__(
        self,
        n_tools: int,
        families: Sequence[str],
        untouched: Sequence[str],
        encoder: EncoderName,
    ) -> None:
        super().__init__()
        self.q_net = RecurrentQNet(n_tools, encoder, quantiles=True)
        features = self.q_net.encoder.out_features
        self.recognition = Recognition(features, families, untouched)
        self.strength = nn.Linear(features, num_facts())

    @property
    def observer(self) -> Observer:
        """The part of it that recognises damage; the same layers."""
        return Observer(self.q_net.encoder, self.recognition, self.strength)

    def forward(self, lesson: Lesson) -> "Told":
        """Judge all states of a batch, each view for itself and all of a crop together."""
        batch, fresh = lesson
        images = batch.images
        looked_at = [images] if fresh is None else [images, fresh.images]
        views = torch.cat([part.flatten(0, 1) for part in looked_at])
        seen = self.q_net.encoder(views.contiguous(memory_format=torch.channels_last))
        count = images.shape[0] * images.shape[1]
        said, further = seen[:count], seen[count:]
        with torch.autocast(images.device.type, enabled=False):
            padded = batch.arranged(said.float())
            episodes, steps, columns = padded.shape[:3]
            state = LstmState.zeros(episodes * columns, images.device)
            values, quantiles = [], []
            for step in range(steps):
                last = batch.last_action[:, step].repeat_interleave(columns)
                value, spread, state = self.q_net.judge(padded[:, step].flatten(0, 1), last, state)
                assert spread is not None
                values.append(value.reshape(episodes, columns, -1))
                quantiles.append(spread.reshape(episodes, columns, *spread.shape[1:]))
            named = self.recognition(self.q_net.encoder.read(padded[:, 0].flatten(0, 1)))
            recognised = None
            if fresh is not None:
                said = further.float().reshape(*fresh.images.shape[:2], -1)
                recognised = self.observer.recognise(said)
        return Told(
            torch.stack(values, dim=1),
            torch.stack(quantiles, dim=1),
            named.reshape(episodes, columns, -1),
            recognised,
        )


class Told(NamedTuple):
    """What a `Student` says of E crops at T steps, of C columns: views, and the whole.

    Attributes:
        values: (E, T, C, n_tools + 1) dB.
        quantiles: (E, T, C, n_tools, len(LEVELS)) dB.
        named: (E, C, families) log odds of the families of the damage.
        fresh: What is said of crops that no tool ran on; None if there are none.
    """

    values: Tensor
    quantiles: Tensor
    named: Tensor
    fresh: Recognised | None = None


class OutcomeObjective:
    """Training objective: values, distributions and names, on recorded outcomes.

    Args:
        batches: What is learnt from.
        held_out: What is only measured.
        config: Settings.
    """

    def __init__(
        self, batches: Lessons, held_out: OutcomeBatches, config: OutcomeLearningConfig
    ) -> None:
        self.batches, self._held_out, self._config = batches, held_out, config
        self.terms: dict[str, float] = {}

    def loss(self, module: nn.Module, batch: Lesson) -> Tensor:
        """Weighted sum of the errors."""
        told = cast(Told, module(batch))
        terms = errors_of(told, batch.recorded)
        if told.fresh is not None and batch.fresh is not None:
            errors = errors_of_recognised(told.fresh, batch.fresh)
            terms |= {f"fresh_{name}": error for name, error in errors.items()}
        config = self._config
        self.terms = {name: float(term.detach()) for name, term in terms.items()}
        return (
            terms["values"]
            + config.ranking * terms["ranking"]
            + config.distribution * terms["distribution"]
            + config.recognition * terms["recognition"]
            + config.recognition * terms.get("fresh_recognition", 0.0)
            + config.strength * terms.get("fresh_strength", 0.0)
        )

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """What the values of first steps would gain, and the errors, on held-out crops."""
        module.eval()
        gained = possible = 0.0
        errors: list[float] = []
        for start in range(0, len(self._held_out.episodes), self._config.batch_size):
            rows = self._held_out.episodes[start : start + self._config.batch_size]
            batch = self._held_out.batch(rows)
            moved = OutcomeBatch(*(part.to(device) for part in batch))
            told = module(Lesson(moved))
            errors.append(float(errors_of(told, moved)["distribution"]))
            gains = batch.gains[:, 0, -1]
            values = told.values[:, 0, -1].float().cpu()
            best = (values[:, :-1] - values[:, -1:]).max(dim=1)
            taken = gains.gather(1, best.indices[:, None])[:, 0]
            gained += float(taken[best.values > 0.0].sum())
            possible += float(gains.max(dim=1).values.clamp(min=0.0).sum())
        return {
            "share_of_oracle": gained / max(possible, 1e-6),
            "distribution": sum(errors) / max(len(errors), 1),
        }


def errors_of(told: Told, batch: OutcomeBatch) -> dict[str, Tensor]:
    """Mean errors of a batch: of values, of the choice, of distributions, and of names."""
    known = ~batch.gains.isnan()
    gains = torch.nan_to_num(batch.gains).clamp(-MAX_LOSS, MAX_GAIN)
    weight = known.float()
    weight[:, :, -1] *= WHOLE_WEIGHT
    weight = weight / weight.sum().clamp(min=1e-6)
    returns = torch.nan_to_num(batch.returns).clamp(-MAX_LOSS, MAX_GAIN)
    targets = torch.cat([returns, torch.zeros_like(returns[..., :1])], dim=-1)
    weights = torch.cat([weight, weight.mean(dim=-1, keepdim=True)], dim=-1)
    return {
        "values": (
            functional.huber_loss(told.values, targets, reduction="none", delta=ERROR_BEND)
            * weights
        ).sum(),
        "ranking": (ranking_errors(told.values, targets) * weight.sum(dim=-1)).sum(),
        "distribution": (quantile_errors(told.quantiles, gains) * weight).sum(),
        "recognition": naming_error(told.named, batch.family),
    }
