"""Megapixels per second through a restorer and a chain of three tools."""

from typing import Final

import torch
from torch import nn

from benchmarks.material import CHAINS, ScriptedPolicy, make_toolbox, synthetic_photo
from benchmarks.report import Report, Row, median_seconds
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings
from restoration_toolchain.tools_zoo.precision import Precision, fastest_precision

_SIZES = ((500, 500), (1500, 2000))
_QUICK_SIZES = ((100, 100), (150, 200))

_CONV: Final = (64, 250)
"""Channels, and side in pixels, of the convolution that stands for what the machine can do."""


def run(*, quick: bool) -> Report:
    """Restore two photos with small tools and with large ones, in the faster number format."""
    sizes, repeats = (_QUICK_SIZES, 1) if quick else (_SIZES, 3)
    precision = fastest_precision(torch.device("cpu"))
    rate = _conv_rate(precision, repeats)
    return Report(
        title="Restoring a photo",
        method=(
            "Restorer.restore with a policy that plays a fixed sequence of three tools; "
            "what counts is the photo's pixels, once, over the time of all three tools and of "
            "the agent's decisions. The share is that of the tools' multiply-accumulates in the "
            f"{rate / 1e9:,.0f} GMAC/s that one 3x3 convolution of {_CONV[0]} channels computes."
        ),
        rows=tuple(
            _row(toolbox, chain, height, width, precision, repeats, rate)
            for height, width in sizes
            for toolbox, chain in CHAINS
        ),
    )


def _row(
    name: str, size: str, height: int, width: int, precision: Precision, repeats: int, rate: float
) -> Row:
    photo = synthetic_photo(height, width)
    chain, toolbox = CHAINS[name, size], make_toolbox(name)
    settings = RestoreSettings(device="cpu", precision=precision)
    restorer = Restorer(toolbox, ScriptedPolicy(toolbox, chain), settings)
    seconds = median_seconds(lambda: restorer.restore(photo), repeats)
    macs = sum(toolbox[tool].spec.macs_per_pixel for tool in chain) * height * width
    return {
        "photo": f"{width}x{height}",
        "tools": f"{name}, {size}",
        "precision": precision,
        "MP/s": height * width / 1e6 / seconds,
        "share, %": 100.0 * macs / seconds / rate,
    }


def _conv_rate(precision: Precision, repeats: int) -> float:
    """Multiply-accumulates per second of one large convolution."""
    channels, side = _CONV
    conv = nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(1, channels, side, side).to(memory_format=torch.channels_last)

    def compute() -> None:
        with torch.inference_mode(), torch.autocast("cpu", enabled=precision == "bf16"):
            conv(images)

    return 9 * channels**2 * side**2 / median_seconds(compute, 3 * repeats)
