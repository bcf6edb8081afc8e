"""Peak memory and time of restoring photos of growing size, each in a process of its own.

``python -m benchmarks.memory [MEGAPIXELS ...] [--max-memory SIZE] [--precision FORMAT]`` restores
photos from file to file within a limit on memory, and says what was taken. With ``--toolbox``,
``--regions`` or ``--scale`` it is a shipped agent that restores, else one tool that is cheap.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.material import CHAINS, ScriptedPolicy, make_toolbox, synthetic_photo
from benchmarks.report import Report, Row
from restoration_toolchain.toolchain.batches.batch import plan_batch, restore_batch
from restoration_toolchain.toolchain.batches.memory import parse_size, tile_pixels_within
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.toolchain.restoring.settings import (
    DEFAULT_MAX_TILE_PIXELS,
    RestoreSettings,
)
from restoration_toolchain.tools_zoo.catalog import DEFAULT_TOOLBOX
from restoration_toolchain.tools_zoo.device import choose_precision

_CHAIN = CHAINS["efficient", "large"]
_MEGAPIXELS = (1.0, 4.0, 16.0, 64.0)
_QUICK_MEGAPIXELS = (0.05, 0.1)


def run(*, quick: bool) -> Report:
    """Measure each size in a fresh process, since a peak never falls again."""
    return Report(
        title="Memory of large photos",
        method=(
            f"Peak resident memory and time of restoring with {', '.join(_CHAIN)}, each size "
            "once and in a process of its own; the start is the peak when photo, tools and agent "
            "are loaded and nothing has been restored."
        ),
        rows=tuple(
            in_fresh_process("memory", "restore_once", megapixels)
            for megapixels in (_QUICK_MEGAPIXELS if quick else _MEGAPIXELS)
        ),
    )


def restore_once(megapixels: float) -> Row:
    """Restore one photo in this process: a row of the table."""
    width, height = _size(megapixels)
    toolbox = make_toolbox("efficient")
    precision = choose_precision("auto", torch.device("cpu"))
    settings = RestoreSettings(device="cpu", precision=precision)
    restorer = Restorer(toolbox, ScriptedPolicy(toolbox, _CHAIN), settings)
    photo = synthetic_photo(height, width)
    before = peak_mib()
    start = time.perf_counter()
    restorer.restore(photo)
    seconds = time.perf_counter() - start
    return {
        "photo": f"{width}x{height}",
        "MP": megapixels,
        "precision": precision,
        "start MiB": before,
        "peak MiB": peak_mib(),
        "seconds": seconds,
        "MP/s": megapixels / seconds,
    }


def peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    # Linux lets getrusage of a child start at the peak of the process that started it.
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = (text for text in status.read_text().splitlines() if text.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere


def restore_within(
    megapixels: float, limit: str, precision: str, options: dict[str, Any]
) -> dict[str, Any]:
    """Restore a JPEG file within a limit, as ``toolchain restore`` does, in this process.

    Args:
        megapixels: Size of the photo.
        limit: Size such as ``2G``, as for ``--max-memory``.
        precision: Number format, as for ``--precision``.
        options: Arguments of `restoring.load.load`. Without any, one tool runs that is cheap to
            compute: what is large then is what the photo takes.
    """
    max_bytes = parse_size(limit)
    width, height = _size(megapixels)
    tile_pixels = tile_pixels_within(max_bytes, DEFAULT_MAX_TILE_PIXELS)
    chosen = choose_precision(precision, torch.device("cpu"))
    if options:
        restorer = load(**options, device="cpu", precision=chosen, max_tile_pixels=tile_pixels)
    else:
        toolbox = make_toolbox("efficient")
        policy = ScriptedPolicy(toolbox, ("deblur_e1",))
        settings = RestoreSettings(device="cpu", precision=chosen, max_tile_pixels=tile_pixels)
        restorer = Restorer(toolbox, policy, settings)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "photo.jpg"
        in_fresh_process("memory", "write_photo_file", str(source), height, width)
        start = time.perf_counter()
        plan = plan_batch([source], Path(folder) / "restored.jpg")
        (outcome,) = restore_batch(restorer, plan, max_memory=max_bytes)
        seconds = time.perf_counter() - start
    return {
        "photo": f"{width}x{height}",
        "MP": megapixels,
        **options,
        "limit": limit,
        "precision": chosen,
        "tile MP": tile_pixels / 1e6,
        "peak MiB": peak_mib(),
        "seconds": seconds,
        "outcome": "restored" if outcome.error is None else outcome.error.partition(": ")[2],
    }


def write_photo_file(path: str, height: int, width: int) -> None:
    """Write a synthetic JPEG; in a process of its own, whose memory does not count."""
    Image.fromarray(synthetic_photo(height, width)).save(path, quality=90)


def _size(megapixels: float) -> tuple[int, int]:
    """Width and height of a 4:3 photo."""
    width = round(math.sqrt(megapixels * 1e6 * 4 / 3))
    return width, round(megapixels * 1e6 / width)


def main() -> None:
    """Measure within a limit, each size in a fresh process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("megapixels", nargs="*", type=float, default=[16.0, 64.0])
    parser.add_argument("--max-memory", default="2G")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--toolbox", help="restore with the agent of this one")
    parser.add_argument("--regions", action="store_true", help="deciding per region")
    parser.add_argument("--scale", type=int, default=1, help="enlarging by 2 or 4")
    parsed = parser.parse_args()
    chosen: dict[str, Any] = {}
    if parsed.toolbox or parsed.regions or parsed.scale > 1:
        toolbox = parsed.toolbox or ("generative" if parsed.scale > 1 else DEFAULT_TOOLBOX)
        chosen = {"toolbox": toolbox, "regions": parsed.regions, "scale": parsed.scale}
    for megapixels in parsed.megapixels:
        told = (megapixels, parsed.max_memory, parsed.precision, chosen)
        print(in_fresh_process("memory", "restore_within", *told))


def in_fresh_process(benchmark: str, function: str, *arguments: object) -> Any:
    """Call a function of a benchmark in a process of its own, since a peak never falls again."""
    code = (
        f"import json, benchmarks.{benchmark} as m; print(json.dumps(m.{function}(*{arguments!r})))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(finished.stdout)


if __name__ == "__main__":
    main()
