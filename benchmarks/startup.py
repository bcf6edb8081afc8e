"""``python -m benchmarks.startup``: what it costs to restore one small photo, imports included."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from rich.console import Console

from benchmarks.material import synthetic_photo
from benchmarks.report import Report

SIDES: Final = (160, 200)
"""Height and width of the photo in pixels."""

_IMPORT_TORCH: Final = "import torch"
_RESTORE: Final = """
import sys
import numpy as np
from restoration_toolchain import load
load().restore(np.load(sys.argv[1]))
"""
_COMMAND: Final = "from restoration_toolchain.toolchain.cli import main; main()"


def run(*, quick: bool = False) -> Report:
    """Compare whole processes with one that only imports PyTorch."""
    repeats = 1 if quick else 7
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = synthetic_photo(*SIDES)
        np.save(folder / "photo.npy", photo)
        Image.fromarray(photo).save(folder / "photo.png")
        restore = ("restore", str(folder / "photo.png"), "-o", str(folder / "out"), "--overwrite")
        ways = {
            "import torch": ("-c", _IMPORT_TORCH),
            "load().restore(photo)": ("-c", _RESTORE, str(folder / "photo.npy")),
            "toolchain restore photo.png": ("-c", _COMMAND, *restore),
            "toolchain restore --help": ("-c", _COMMAND, "restore", "--help"),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(repeats + 1):  # side by side, so that a busy spell meets all of them
            for way, arguments in ways.items():
                seconds[way].append(_cpu_seconds(arguments, folder))
    medians = {way: statistics.median(taken[1:]) for way, taken in seconds.items()}
    return Report(
        title="Start-up",
        method=(
            f"Processor time of a whole process, start to end, for one photo of {SIDES[1]}x"
            f"{SIDES[0]} pixels; medians of {repeats} runs after one that fills the caches. One "
            "thread computes, because threads that wait for each other count as busy."
        ),
        rows=tuple(
            {"what": way, "CPU s": taken, "times import torch": taken / medians["import torch"]}
            for way, taken in medians.items()
        ),
    )


def _cpu_seconds(arguments: tuple[str, ...], cache: Path) -> float:
    """User and system time of Python, called with these arguments."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling is no part of a usual start
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    Console().print(run().to_table())
