"""Network shapes that tools are built from, by name."""

from collections.abc import Callable
from typing import Final

from torch import nn

from restoration_toolchain.data.errors import UnknownNameError
from restoration_toolchain.tools_zoo.networks.blind_spot import BlindSpot
from restoration_toolchain.tools_zoo.networks.masked_unet import MaskedUnet
from restoration_toolchain.tools_zoo.networks.one_step import OneStepNet
from restoration_toolchain.tools_zoo.networks.rl_restore import LargeCnn, SmallCnn
from restoration_toolchain.tools_zoo.networks.sft import SftNet
from restoration_toolchain.tools_zoo.networks.single import PlainStack
from restoration_toolchain.tools_zoo.networks.super_resolution import SrNet
from restoration_toolchain.tools_zoo.networks.unshuffled import UnshuffledCnn
from restoration_toolchain.tools_zoo.networks.unshuffled_unet import WIDE, UnshuffledUnet

NETWORKS: Final[dict[str, Callable[[], nn.Module]]] = {
    "small": SmallCnn,
    "large": LargeCnn,
    "unshuffled_small": lambda: UnshuffledCnn(32, 4),
    "unshuffled_unet": UnshuffledUnet,
    "unshuffled_unet_wide": lambda: UnshuffledUnet(WIDE),
    "vdsr_s": lambda: PlainStack(12, 48),
    "vdsr": lambda: PlainStack(20, 64),
    "dncnn": lambda: PlainStack(20, 64, use_norm=True),
    "masked_unet": MaskedUnet,
    "blind_spot": BlindSpot,
    "sr_x2": lambda: SrNet(2),
    "sr_x4": lambda: SrNet(4),
    "sft_x4": lambda: SftNet("sft"),
    "film_x4": lambda: SftNet("film"),
    "concat_x4": lambda: SftNet("concat"),
    "one_step_x4": OneStepNet,
}
"""Every network a manifest can name; each has a ``halo`` in pixels of its input and needs no
arguments. One that enlarges has a ``scale``."""


def build_network(name: str) -> nn.Module:
    """Build a network with fresh weights.

    Raises:
        UnknownNameError: The name is not in `NETWORKS`.
    """
    if name not in NETWORKS:
        raise UnknownNameError("network", name, NETWORKS)
    return NETWORKS[name]()
