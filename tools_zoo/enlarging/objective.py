"""The loss of a generator: a weighted sum of named terms, some with critics."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.store import PatchStore
from restoration_toolchain.data.scaling import upsample_bicubic
from restoration_toolchain.tools_zoo.encoders import SemanticEncoder
from restoration_toolchain.tools_zoo.enlarging.config import SrTrainConfig
from restoration_toolchain.tools_zoo.enlarging.terms import Made, Term
from restoration_toolchain.tools_zoo.losses.features import feature_distance
from restoration_toolchain.tools_zoo.losses.high_frequency import detail_ratio
from restoration_toolchain.tools_zoo.training.batches import (
    Batch,
    ToolBatches,
    level_degrader,
    validation_pairs,
)


class SrObjective:
    """Training objective: clean large images, by all terms of a configuration at once.

    Args:
        config: Settings of the training.
        scale: Scale of the tool.
        terms: Terms with a weight above 0.
        encoder: Encoder of the terms that look at features, and of the validation, if any.
    """

    critic_learning_rate = 2e-4

    def __init__(
        self,
        config: SrTrainConfig,
        scale: int,
        terms: Sequence[Term],
        encoder: SemanticEncoder | None,
    ) -> None:
        self.terms: dict[str, float] = {}
        self.critic_terms: dict[str, float] = {}
        self.critics = nn.ModuleDict(
            {term.name: term.critic for term in terms if term.critic is not None}
        )
        self._config = config
        self._scale = scale
        self._terms = terms
        self.encoder = encoder
        self._made: Made | None = None
        self.eval_sets = self._load_eval_sets()

    @property
    def batches(self) -> Dataset[Batch]:
        """Batches of the whole run."""
        config = self._config
        return ToolBatches(
            Path(config.store),
            level_degrader(sampler(*config.levels, scale=self._scale)),
            config.batch_size,
            config.num_batches,
            config.seed,
            scale=self._scale,
        )

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """Weighted sum of the terms; critics that are not listened to yet are left out."""
        made = self.make(module, batch)
        self._made = made
        losses = {
            term.name: (getattr(self._config, term.name), term.loss(made))
            for term in self._terms
            if term.critic is None or self._listens(batch.step)
        }
        losses.update(self.more_losses(module, batch, made))
        self.terms = {name: float(loss.detach()) for name, (_, loss) in losses.items()}
        return torch.stack([weight * loss for weight, loss in losses.values()]).sum()

    def to(self, device: torch.device | str) -> None:
        """Move what the loss looks with; the loop moves the module and the critics."""
        if isinstance(self.encoder, nn.Module):
            self.encoder.to(device)

    def critic_loss(self, batch: Batch) -> Tensor:
        """Sum of the critics' own losses on what the last call of `loss` made."""
        assert self._made is not None
        made = self._made.detached()
        self._made = None
        losses = {
            term.name: term.critic_loss(made)
            for term in self._terms
            if term.critic_loss is not None
        }
        self.critic_terms = {name: float(loss.detach()) for name, loss in losses.items()}
        return torch.stack(list(losses.values())).sum()

    def make(self, module: nn.Module, batch: Batch) -> Made:
        """Let the module restore a batch."""
        lq = batch.lq.contiguous(memory_format=torch.channels_last)
        return self.made(batch, module(lq).float())

    def made(self, batch: Batch, restored: Tensor) -> Made:
        """What is made of a batch, with all that the terms need to look at it."""
        return Made(batch.lq, restored, batch.gt, batch.step, self.encoder, seed=self._config.seed)

    def restore(self, module: nn.Module, lq: Tensor) -> Tensor:
        """What a user of the module gets: (N, 3, H * scale, W * scale), not clipped."""
        restored: Tensor = module(lq)
        return restored

    def more_losses(
        self, module: nn.Module, batch: Batch, made: Made
    ) -> dict[str, tuple[float, Tensor]]:
        """Terms that need the module itself: name to (weight, loss)."""
        return {}

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """PSNR in dB on held-out patches and over bicubic; with an encoder, also what it sees.

        ``own`` is clean photos made smaller by bicubic, ``chain`` what the training meets.
        """
        metrics = {}
        for name, (lq, gt) in self.eval_sets.items():
            lq, gt = lq.to(device), gt.to(device)
            restored = self.restore(module, lq).float().clamp(0.0, 1.0)
            after = float(batch_psnr(restored, gt).mean())
            metrics[f"psnr_{name}"] = after
            metrics[f"gain_{name}"] = after - float(batch_psnr(bicubic(lq, self._scale), gt).mean())
            if name == "own":
                metrics["detail"] = float(detail_ratio(restored, gt).mean())
                if self.encoder is not None:
                    seen = self.encoder(restored).maps, self.encoder(gt).maps
                    metrics["feature_distance"] = float(feature_distance(*seen))
        return metrics

    def _listens(self, step: int) -> bool:
        return step >= self._config.adversarial_start * self._config.num_batches

    def _load_eval_sets(self) -> dict[str, tuple[Tensor, Tensor]]:
        config, own = self._config, Degradation().shrunk(self._scale)
        draws = {"own": lambda rng: own, "chain": sampler(*config.levels, scale=self._scale)}
        with PatchStore(Path(config.store), scale=self._scale) as store:
            return {
                name: validation_pairs(
                    store, level_degrader(draw), count=config.eval_patches, seed=config.seed
                )
                for name, draw in draws.items()
            }


def bicubic(lq: Tensor, scale: int) -> Tensor:
    """What a tool that enlarges has to beat, clipped to [0, 1]; at scale 1, the image itself."""
    if scale == 1:
        return lq
    return upsample_bicubic(lq, scale).clamp(0.0, 1.0)
