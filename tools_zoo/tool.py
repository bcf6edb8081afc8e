"""What a tool is: a named image-to-image map with a specification."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.scaling import SCALES
from restoration_toolchain.tools_zoo.macs import count_macs
from restoration_toolchain.tools_zoo.networks import build_network

Task = Literal["blur", "noise", "jpeg", "mixed", "sr"]
"""One distortion, all three at once, or too few pixels."""

UNITS: dict[str, str] = {
    "blur": "sigma px",
    "noise": "sigma /255",
    "jpeg": "quality",
    "mixed": "severity",
    "sr": "times",
}
"""What a tool's strength range is measured in, by task."""


_SIDE = 8  # pixels; multiply-accumulates per pixel do not depend on it


@dataclass(frozen=True)
class ToolSpec:
    """What is known of a tool before any weight is read.

    Attributes:
        name: Stable id, and stem of the weight file.
        task: The distortion it removes; ``mixed`` is all three at once, ``sr`` a lack of pixels.
        strength: Range it is trained on, in the unit of its task (`UNITS`), smaller number first.
        network: Name of its shape in `tools_zoo.networks.NETWORKS`.
        scale: Side of the output over side of the input: 1, 2 or 4.
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
        if self.scale not in SCALES:
            raise ToolchainError(f"tool {self.name!r} has scale {self.scale!r}, not of {SCALES}")

    @cached_property
    def _shape(self) -> tuple[int, int, int, int]:
        network = build_network(self.network)
        params = sum(parameter.numel() for parameter in network.parameters())
        macs = count_macs(network, torch.zeros(1, 3, _SIDE, _SIDE))
        grid = cast(int, getattr(network, "grid", 1))
        return params, round(macs / _SIDE**2), cast(int, network.halo), grid

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
        """Receptive-field radius in input pixels: how far an output pixel looks to each side."""
        return self._shape[2]

    @property
    def grid(self) -> int:
        """Side in pixels of the blocks that it divides images into; 1 if it does not."""
        return self._shape[3]

    @property
    def label(self) -> str:
        """What it treats, for people: ``noise 25-37.5``."""
        low, high = self.strength
        return (
            f"{self.task} x{self.scale}" if self.task == "sr" else f"{self.task} {low:g}-{high:g}"
        )

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

    Raises:
        ToolchainError: The network enlarges by another factor than the spec says.
    """

    def __init__(self, spec: ToolSpec, network: nn.Module | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.network = build_network(spec.network) if network is None else network
        scale = getattr(self.network, "scale", 1)
        if scale != spec.scale:
            raise ToolchainError(
                f"tool {spec.name!r} has scale {spec.scale}, but its network enlarges x{scale}"
            )

    def forward(self, lq: Tensor, *beside: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to (N, 3, H * scale, W * scale), same dtype, not clipped.

        What some networks take ``beside`` the images, such as a prior of tiles, is passed on.
        """
        restored: Tensor = self.network(lq, *beside)
        return restored
