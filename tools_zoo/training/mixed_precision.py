"""Training in bfloat16, for Fabric.

Apart from `tools_zoo.precision`, because Fabric takes as long to import as PyTorch, and a
restoration does not need it.
"""

from typing import Any

from lightning_fabric.plugins.precision import MixedPrecision


class MixedBf16(MixedPrecision):
    """Computes in bfloat16 where that is safe, as autocast does, and leaves images as they are.

    Fabric's own rounds them to bfloat16 first: a step there is a whole grey level, an image that a
    network adds to its result is worse for it, and some operations on images do not exist in it.

    Args:
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, device: str) -> None:
        super().__init__("bf16-mixed", device)

    def convert_input(self, data: Any) -> Any:
        """Leave the arguments of a module as they are."""
        return data
