"""What the training loop is given: something to lower, and maybe someone to train against."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset


class Objective(Protocol):
    """What a network is trained towards, and how it is measured."""

    @property
    def batches(self) -> Dataset[Any]:
        """Item ``i`` is what step ``i`` learns from: a pure function of ``i``, so runs resume."""

    def loss(self, module: nn.Module, batch: Any) -> Tensor:
        """Scalar to be lowered; ``batch`` lies on the module's device."""

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Measure averaged weights, which lie on ``device``; no gradients are recorded."""


@runtime_checkable
class Termed(Protocol):
    """An objective whose loss is a sum of named terms."""

    @property
    def terms(self) -> dict[str, float]:
        """The newest value of each term, unweighted; logged with every validation."""


@runtime_checkable
class Bounded(Protocol):
    """An objective that bounds gradients in a way of its own, not by the norm of all together."""

    def bound_gradients(self, module: nn.Module) -> float:
        """Change the gradients of ``module`` in place, before the optimiser sees them.

        Returns:
            Norm of the gradients before they were bounded; not finite if one of them is not.
        """


@runtime_checkable
class Adversary(Protocol):
    """An objective with critics, which learn from what the network has just made."""

    @property
    def critics(self) -> nn.Module:
        """All that learns here, if anything; frozen while the network takes its step."""

    @property
    def critic_learning_rate(self) -> float:
        """Constant learning rate of the critics."""

    @property
    def critic_terms(self) -> dict[str, float]:
        """The newest loss of each critic by name; logged with every validation."""

    def critic_loss(self, batch: Any) -> Tensor:
        """Scalar to be lowered, on what the network made of ``batch`` in the step before."""
