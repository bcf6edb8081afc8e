"""Time and peak memory of the self-similarity loss, beside its equations written out."""

import time
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.memory import in_fresh_process, peak_mib
from benchmarks.report import Report, Row
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.tools_zoo.losses.self_similarity import (
    Similarity,
    edge_pixels,
    self_similarity_loss,
)

SIDE: Final = 256  # pixels
QUICK_SIDE: Final = 64
STRIDE: Final = 3
"""Distance of the masked pixels. Written out, the graphs of all would take tens of gigabytes."""

METHODS: Final = ("written out", "by convolution", "by convolution, 128 at once")


def run(*, quick: bool) -> Report:
    """Measure each way in a fresh process, since a peak never falls again."""
    side = QUICK_SIDE if quick else SIDE
    return Report(
        title="Self-similarity loss",
        method=(
            f"Loss and gradient of one {side}x{side} crop at the paper's sizes (25 and 9), on the "
            f"edge pixels of every third diagonal, each way once and in a process of its own; "
            "memory is the rise of the peak above the start. The losses agree."
        ),
        rows=tuple(
            in_fresh_process("self_similarity", "measure", method, side) for method in METHODS
        ),
    )


def measure(method: str, side: int) -> Row:
    """Compute the loss and its gradient once: a row of the table."""
    _, photo = next(iter(open_source("embedded")))
    gt = to_tensor(photo[None, 60 : 60 + side, 140 : 140 + side].copy())
    noise = torch.randn(gt.shape, generator=torch.Generator().manual_seed(0))
    restored = (gt + 0.03 * noise).requires_grad_()
    pixels, kind = edge_pixels(gt, stride=STRIDE), Similarity()
    before = peak_mib()
    start = time.perf_counter()
    if method == "written out":
        loss = _written_out(restored, gt, pixels, kind)
    else:
        chunk = 128 if method.endswith("at once") else len(pixels)
        loss = torch.stack(self_similarity_loss(restored, gt, pixels, kind, chunk=chunk)).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    seconds = time.perf_counter() - start
    return {
        "computed": method,
        "edge pixels": float(len(pixels)),
        "loss": float(loss.detach()),
        "seconds": seconds,
        "peak MiB": peak_mib() - before,
    }


def _written_out(restored: Tensor, gt: Tensor, pixels: Tensor, kind: Similarity) -> Tensor:
    with torch.no_grad():
        wanted = _unfolded_graph(gt, pixels, kind)
    got = _unfolded_graph(restored, pixels, kind)
    floored = wanted.clamp_min(1e-10)
    divergence = floored * (floored.log() - got.clamp_min(1e-10).log())
    return (got - wanted).abs().mean() + divergence.mean()


def _unfolded_graph(images: Tensor, pixels: Tensor, kind: Similarity) -> Tensor:
    """Every patch of every area side by side, as the released PyTorch version lays them out."""
    margin, half = kind.margin, kind.window // 2
    padded = functional.pad(images, (margin,) * 4, mode="reflect")[0]
    areas = torch.stack(
        [padded[:, r : r + kind.search, c : c + kind.search] for _, r, c in pixels.tolist()]
    )
    patches = functional.unfold(functional.pad(areas, (half,) * 4), kind.window)
    centre = kind.search**2 // 2
    distance = (patches - patches[:, :, centre : centre + 1]).square().mean(dim=1)
    similar = torch.exp(-distance / kind.bandwidth)
    return similar / (similar.sum(dim=1, keepdim=True) + 1e-10)
