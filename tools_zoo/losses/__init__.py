"""Training losses, one file each."""

from collections.abc import Callable
from typing import Final

from torch import Tensor

from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.tools_zoo.losses.pixel import mse_loss, psnr_loss

Loss = Callable[[Tensor, Tensor], Tensor]
"""(restored, gt), both (N, 3, H, W), to a scalar."""

PIXEL_LOSSES: Final[dict[str, Loss]] = {"psnr": psnr_loss, "mse": mse_loss}


def pixel_loss(name: str) -> Loss:
    """Look up a pixel loss.

    Raises:
        UnknownNameError: The name is not in `PIXEL_LOSSES`.
    """
    if name not in PIXEL_LOSSES:
        raise UnknownNameError("loss", name, PIXEL_LOSSES)
    return PIXEL_LOSSES[name]
