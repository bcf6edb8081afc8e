"""Muon: steps of equal size in every direction, for the inner convolutions of a network.

The gradient of a convolution is ruled by few directions. Adam follows them weight by weight; Muon
makes its momentum orthogonal first, so that rare directions are learnt as fast as common ones.
docs/results.md compares the two.

Source:
    Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from restoration_toolchain.tools_zoo.networks.starting_weights import convolutions

NEWTON_SCHULZ: Final = (3.4445, -4.7750, 2.0315)
"""Coefficients of the polynomial whose iteration moves all singular values towards 1."""

NUM_ITERATIONS: Final = 5
MOMENTUM: Final = 0.95
BETAS: Final = (0.9, 0.999)

RATIO: Final = 5.0
"""Muon's learning rate over AdamW's: a step of Muon has a given spectral norm, not a given size per
weight. The best of 2.5, 5 and 10 in short trials, by little."""


class Muon(torch.optim.Optimizer):
    """Muon for the groups marked ``orthogonal``, AdamW for the others.

    PyTorch's own Muon takes matrices only; the weights of a convolution are one, (output channels,
    input channels times kernel area), once they are flattened.

    Args:
        params: Groups such as `parameter_groups` makes.
        lr: Learning rate of AdamW; Muon's is `RATIO` times as large.
        weight_decay: Decoupled, as in AdamW.
    """

    def __init__(self, params: list[dict[str, Any]], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; a parameter without a gradient stays as it is."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            take = self._step_orthogonal if group["orthogonal"] else self._step_adamw
            take(group, [p for p in group["params"] if p.grad is not None])
        return loss

    def _step_orthogonal(self, group: dict[str, Any], params: list[Tensor]) -> None:
        rate = RATIO * group["lr"]
        for param in params:
            assert param.grad is not None
            state = self.state[param]
            if not state:
                state["momentum"] = torch.zeros_like(param)
            momentum = state["momentum"].lerp_(param.grad, 1.0 - MOMENTUM)
            direction = param.grad.lerp(momentum, MOMENTUM)  # Nesterov's look ahead
            update = orthogonalize(direction.reshape(len(param), -1)).reshape(param.shape)
            param.mul_(1.0 - group["lr"] * group["weight_decay"])
            param.add_(update, alpha=-rate * max(1.0, len(param) / param[0].numel()) ** 0.5)

    def _step_adamw(self, group: dict[str, Any], params: list[Tensor]) -> None:
        for param in params:
            if not self.state[param]:
                self.state[param] = {
                    "step": torch.zeros(()),
                    "mean": torch.zeros_like(param),
                    "square": torch.zeros_like(param),
                }
        states = [self.state[param] for param in params]
        adamw(
            params,
            [param.grad for param in params if param.grad is not None],
            [state["mean"] for state in states],
            [state["square"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=1e-8,
            maximize=False,
        )


def orthogonalize(matrix: Tensor) -> Tensor:
    """Move all singular values of a matrix close to 1 (0.7 to 1.2), its directions kept.

    Args:
        matrix: (M, N), of any scale.

    Returns:
        The same shape and dtype. A matrix of zeros stays one.
    """
    a, b, c = NEWTON_SCHULZ
    rows, columns = matrix.shape
    work = matrix.T if rows > columns else matrix
    # No singular value above 1: there the iteration converges.
    work = work / work.norm().clamp(min=1e-12)
    for _ in range(NUM_ITERATIONS):
        gram = work @ work.T
        work = a * work + (b * gram + c * gram @ gram) @ work
    result: Tensor = work.T if rows > columns else work
    return result


def parameter_groups(
    module: nn.Module, lr: float, factor: Callable[[str], float] = lambda name: 1.0
) -> list[dict[str, Any]]:
    """Sort the parameters of a network into groups for `Muon`.

    Inner convolutions are orthogonal; the first and the last one, biases and normalisations are
    not: they deal with colours, not with features.

    Args:
        module: The network, or one that lists those that it is made of as ``networks``.
        lr: Learning rate.
        factor: On the learning rate, by the name of the parameter.
    """
    networks = getattr(module, "networks", [module])
    inner = {id(conv.weight) for part in networks for conv in convolutions(part)[1:-1]}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        groups.setdefault((factor(name), id(parameter) in inner), []).append(parameter)
    return [
        {"params": params, "lr": times * lr, "orthogonal": orthogonal}
        for (times, orthogonal), params in groups.items()
    ]
