"""What a tool is: a named image-to-image map with a specification."""

from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any, Final, Literal, cast, get_args

import torch
from torch import Tensor, nn

from restoration_toolchain.data.errors import ImageFormatError, ToolchainError
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
"""Unit of a tool's strength range, by task."""

_SIDE: Final = 8  # pixels; multiply-accumulates per pixel do not depend on it


@dataclass(frozen=True)
class ToolSpec:
    """What is known of a tool before any weight is read.

    Attributes:
        name: Stable id, and stem of the weight file.
        task: Distortion it removes; ``mixed`` is all three at once, ``sr`` a lack of pixels.
        strength: Range of damage to train on, in the unit of the task (`UNITS`), ascending.
        network: Name of its layers in `tools_zoo.networks.NETWORKS`.
        scale: Side of the output over side of the input: 1, 2 or 4.
        source: Paper or repository the layers come from.
        families: Families of damage of the world that it was trained on (`data.damage.world`), in
            place of a range; none for a tool of the paper.
        psnr: Range of the PSNR of its input in dB, of a tool that is for some of a family only.
    """

    name: str
    task: Task
    strength: tuple[float, float] = (0.0, 1.0)
    network: str = "unshuffled_unet"
    scale: int = 1
    source: str = ""
    families: tuple[str, ...] = ()
    psnr: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the task and the range."""
        if self.task not in get_args(Task):
            raise ToolchainError(f"tool {self.name!r} has an unknown task {self.task!r}")
        if self.strength[0] > self.strength[1]:
            raise ToolchainError(f"tool {self.name!r}: strength {self.strength} is not ascending")
        if self.scale not in SCALES:
            raise ToolchainError(f"tool {self.name!r} has scale {self.scale!r}, not of {SCALES}")

    @cached_property
    def _built(self) -> nn.Module:
        return build_network(self.network)

    @property
    def num_params(self) -> int:
        """Number of weights and biases."""
        return sum(parameter.numel() for parameter in self._built.parameters())

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-accumulates per input pixel, biases excluded; counted while the network runs."""
        return _macs_per_pixel(self.network)

    @property
    def halo(self) -> int:
        """Receptive-field radius in input pixels, as `Tool.halo` says of a tool at hand."""
        return cast(int, self._built.halo)

    @property
    def label(self) -> str:
        """What it treats, for people: ``noise 25-37.5``, or families of damage."""
        if self.families:
            return ", ".join(self.families)
        low, high = self.strength
        return (
            f"{self.task} x{self.scale}" if self.task == "sr" else f"{self.task} {low:g}-{high:g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest; `from_dict` reads it."""
        entry = asdict(self)
        for key in ("families", "psnr"):
            if not entry[key]:
                del entry[key]  # manifests of the paper's tools stay as they were
        return entry

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "ToolSpec":
        """Read what `to_dict` wrote.

        Raises:
            ToolchainError: A key is unknown or missing, or a value is out of range.
        """
        try:
            low, high = entry["strength"]
            families, psnr = tuple(entry.get("families", ())), entry.get("psnr")
            ranges = {"strength": (low, high), "psnr": None if psnr is None else tuple(psnr)}
            return cls(**{**entry, **ranges, "families": families})
        except (KeyError, TypeError, ValueError) as error:
            raise ToolchainError(f"malformed tool entry in a manifest: {error}") from error


@cache
def _macs_per_pixel(network: str) -> int:
    return round(count_macs(build_network(network), torch.zeros(1, 3, _SIDE, _SIDE)) / _SIDE**2)


class Tool(nn.Module):
    """A restoration network behind a door that makes the same promises for all of them.

    What goes in is float32 (N, 3, H, W) in [0, 1], of any size. What comes out is (N, 3, H * scale,
    W * scale) in [0, 1], of the same dtype and on the same device, also under autocast.

    Args:
        spec: Specification of the tool.
        network: Network to run; None builds one from the spec, with fresh weights. It may
            say of itself how far it looks (``halo``), in which blocks it works (``grid``) and by
            how much it enlarges (``scale``).

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

    @property
    def halo(self) -> int:
        """Receptive-field radius in input pixels: how far an output pixel looks to each side."""
        return cast(int, self.network.halo)

    @property
    def grid(self) -> int:
        """Side in pixels of the blocks that the network divides images into; 1 for none."""
        return cast(int, getattr(self.network, "grid", 1))

    def forward(self, lq: Tensor, *beside: Tensor) -> Tensor:
        """Restore images; the class says what is promised.

        Args:
            lq: (N, 3, H, W) float32 in [0, 1].
            beside: Further inputs of some networks, such as a prior.

        Raises:
            ImageFormatError: The images are not float32.
            ToolchainError: The network returns no tensor of the shape that its scale promises.
        """
        return self.unclipped(lq, *beside).clamp(0.0, 1.0)

    def unclipped(self, lq: Tensor, *beside: Tensor) -> Tensor:
        """Restore images, and leave values outside [0, 1] as they are.

        For whom the range comes later: a loss, whose gradients are needed beyond it too, or a
        correction of colours.
        """
        if lq.dtype != torch.float32:
            raise ImageFormatError(f"tool {self.spec.name!r} takes float32 images, not {lq.dtype}")
        restored = self.network(lq, *beside)
        if not isinstance(restored, Tensor):
            kind = type(restored).__name__
            raise ToolchainError(f"tool {self.spec.name!r} made {kind} of images, not one tensor")
        (count, _, height, width), scale = lq.shape, self.spec.scale
        if restored.shape != (count, 3, height * scale, width * scale):
            raise ToolchainError(
                f"tool {self.spec.name!r} turned {tuple(lq.shape)} into {tuple(restored.shape)}"
            )
        return restored.to(lq)
