"""Where the tools run, and in which number format."""

from typing import Final

import torch

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.precision import PRECISIONS, Precision, fastest_precision

AUTO: Final = "auto"


class DeviceError(ToolchainError, ValueError):
    """A device was asked for that this machine lacks."""


def choose_device(name: str = AUTO) -> torch.device:
    """Find a device by name; ``auto`` is a GPU where there is one.

    Args:
        name: Name such as ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises:
        DeviceError: This machine, or its PyTorch, has no such device.
    """
    if name == AUTO:
        name = "mps" if torch.backends.mps.is_available() else "cpu"
        name = "cuda" if torch.cuda.is_available() else name
    try:
        device = torch.device(name)
        torch.empty(1, device=device)  # a name alone does not prove that the device is there
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DeviceError(f"no device {name!r} on this machine; use auto or cpu") from error
    if device.type == "meta":
        raise DeviceError("the device 'meta' computes nothing; use auto or cpu")
    return device


def choose_precision(name: str, device: torch.device) -> Precision:
    """Find a number format by name; ``auto`` is the faster one on ``device``.

    Args:
        name: Name of the format: ``auto``, ``fp32`` or ``bf16``.
        device: Device of the tools.

    Raises:
        UnknownNameError: There is no such format.
    """
    if name == AUTO:
        return fastest_precision(device)
    if name not in PRECISIONS:
        raise UnknownNameError("precision", name, (AUTO, *PRECISIONS))
    return name
