"""The settings that trainings of networks have in common, and the checks of their ranges."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

NOT_NOTED: Final = ("store", "device", "devices", "precision", "num_workers", "eval_every")
"""Settings that say nothing about the weights, or are paths of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """What every training of a network has in common."""

    steps_averaged_before: ClassVar[int] = 0
    """Steps that the average of the weights takes its start for (`loop.average_into`)."""

    optimizer: Literal["muon", "adamw"] = "adamw"
    """Optimiser of the network; critics always learn by Adam."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule; `training.muon` takes larger steps in inner convolutions."""
    warmup: float = 0.05
    """Share of the run in which the learning rate rises."""
    weight_decay: float = 1e-4
    max_grad_norm: float = 1.0
    ema_decay: float = 0.99
    """Decay of the averaged weights, which are validated and shipped."""
    eval_every: int = 200
    """Iterations between validations and checkpoints."""
    num_workers: int = 1
    seed: int = 0
    device: str = "auto"
    devices: int = 1
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f"ema_decay must lie in [0, 1), got {self.ema_decay}")
        if not 0.0 < self.warmup < 1.0:
            raise ValueError(f"warmup must lie in (0, 1), got {self.warmup}")
        if self.eval_every < 1:
            raise ValueError(f"eval_every must be at least 1, got {self.eval_every}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchConfig(LoopConfig):
    """What trainings on the patches of a store have in common."""

    store: str
    """Path of the patch store."""
    total_patches: int = 400_000
    """Patches seen in all; the schedule spans them."""
    batch_size: int = 32
    """Patches per step and process."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        LoopConfig.__post_init__(self)
        if self.total_patches < self.batch_size or self.batch_size < 1:
            raise ValueError("total_patches must hold at least one batch of positive size")

    @property
    def num_batches(self) -> int:
        """Batches of the whole run."""
        return self.total_patches // self.batch_size


def check_shares(config: Any, *names: str) -> None:
    """Make sure that fields of a config lie in [0, 1]."""
    for name in names:
        if not 0.0 <= getattr(config, name) <= 1.0:
            raise ValueError(f"{name} must lie in [0, 1], got {getattr(config, name)}")


def check_not_negative(config: Any, *names: str) -> None:
    """Make sure that fields of a config are at least 0."""
    for name in names:
        if getattr(config, name) < 0:
            raise ValueError(f"{name} must not be negative, got {getattr(config, name)}")


def check_positive(config: Any, *names: str) -> None:
    """Make sure that counts of a config are at least 1."""
    if min(getattr(config, name) for name in names) < 1:
        *others, last = names
        raise ValueError(f"{', '.join(others)} and {last} must be positive".removeprefix(" and "))
