"""Peak memory and time of restoring photos of growing size, each in a process of its own."""

import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.material import CHAINS, ScriptedPolicy, make_toolbox, synthetic_photo
from benchmarks.report import Report, Row
from toolchain.restorer import Restorer
from tools_zoo.device import choose_precision

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
            _row(megapixels) for megapixels in (_QUICK_MEGAPIXELS if quick else _MEGAPIXELS)
        ),
    )


def restore_once(megapixels: float) -> dict[str, Any]:
    """Restore one photo in this process: size, seconds, and peak memory in MiB."""
    width = round(math.sqrt(megapixels * 1e6 * 4 / 3))
    height = round(megapixels * 1e6 / width)
    toolbox = make_toolbox("efficient")
    precision = choose_precision("auto", torch.device("cpu"))
    restorer = Restorer(toolbox, ScriptedPolicy(toolbox, _CHAIN), precision=precision)
    photo = synthetic_photo(height, width)
    before = peak_mib()
    start = time.perf_counter()
    restorer.restore(photo)
    seconds = time.perf_counter() - start
    return {
        "width": width,
        "height": height,
        "precision": precision,
        "seconds": seconds,
        "start_mib": before,
        "peak_mib": peak_mib(),
    }


def _row(megapixels: float) -> Row:
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", str(megapixels)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    figures = json.loads(finished.stdout)
    return {
        "photo": f"{figures['width']}x{figures['height']}",
        "MP": megapixels,
        "precision": figures["precision"],
        "start MiB": figures["start_mib"],
        "peak MiB": figures["peak_mib"],
        "seconds": figures["seconds"],
        "MP/s": megapixels / figures["seconds"],
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


if __name__ == "__main__":
    print(json.dumps(restore_once(float(sys.argv[1]))))
