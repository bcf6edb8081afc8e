"""What a tool is: a named image-to-image map with a specification."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from data.errors import ToolchainError
from tools_zoo.networks import build_network

Task = Literal["blur", "noise", "jpeg"]

UNITS: dict[str, str] = {"blur": "sigma px", "noise": "sigma /255", "jpeg": "quality"}
"""What a tool's strength range is measured in, by task."""


@dataclass(frozen=True)
class ToolSpec:
    """What is known of a tool before any weight is read.

    Attributes:
        name: Stable id, and stem of the weight file.
        task: The distortion it removes.
        strength: Range it is trained on, in the unit of its task (`UNITS`), smaller number first.
        network: Name of its shape in `tools_zoo.networks.NETWORKS`.
        scale: Output size over input size.
        source: Paper or repository that the layers come from.
    """

    name: str
    task: Task
    strength: tuple[float, float]
    network: str
    scale: int = 1
    source: str = ""

    def __post_init__(self) -> None:
        """Check the task and the range."""
        if self.task not in get_args(Task):
            raise ToolchainError(f"tool {self.name!r} has an unknown task {self.task!r}")
        if self.strength[0] > self.strength[1]:
            raise ToolchainError(f"tool {self.name!r}: strength {self.strength} is not ascending")

    @cached_property
    def _shape(self) -> tuple[int, int, int]:
        network = build_network(self.network)
        params = sum(parameter.numel() for parameter in network.parameters())
        return params, _count_macs_per_pixel(network), cast(int, network.halo)

    @property
    def num_params(self) -> int:
        """Number of weights and biases."""
        return self._shape[0]

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-accumulates of the convolutions per input pixel, biases excluded."""
        return self._shape[1]

    @property
    def halo(self) -> int:
        """Receptive-field radius in pixels: how far an output pixel looks to each side."""
        return self._shape[2]

    @property
    def label(self) -> str:
        """What it treats, for people: ``noise 25-37.5``."""
        low, high = self.strength
        return f"{self.task} {low:g}-{high:g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest; `from_dict` reads it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "ToolSpec":
        """Read what `to_dict` wrote.

        Raises:
            ToolchainError: A key is unknown or missing, or a value is out of range.
        """
        try:
            low, high = entry["strength"]
            return cls(**{**entry, "strength": (low, high)})
        except (KeyError, TypeError, ValueError) as error:
            raise ToolchainError(f"malformed tool entry in a manifest: {error}") from error


class Tool(nn.Module):
    """A restoration network with its specification.

    Args:
        spec: What the tool is.
        network: The network that does it; built from the spec with fresh weights if left out.
    """

    def __init__(self, spec: ToolSpec, network: nn.Module | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.network = build_network(spec.network) if network is None else network

    def forward(self, lq: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to (N, 3, H * scale, W * scale), same dtype, not clipped."""
        restored: Tensor = self.network(lq)
        return restored


def _count_macs_per_pixel(network: nn.Module) -> int:
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        conv = cast(nn.Conv2d, module)
        total += conv.weight.numel() * output.shape[-2] * output.shape[-1]

    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    handles = [conv.register_forward_hook(count) for conv in convs]
    side = 8
    with torch.no_grad():
        network(torch.zeros(1, 3, side, side))
    for handle in handles:
        handle.remove()
    return round(total / side**2)
