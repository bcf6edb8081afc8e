"""What the figures were measured on."""

import os
import platform
from pathlib import Path

import torch

from restoration_toolchain.tools_zoo.precision import fastest_precision

Facts = dict[str, str | int | float]


def machine_facts() -> Facts:
    """Processor, cores, memory, versions, and the number format that ``auto`` picks here."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores or 1,
        "threads": torch.get_num_threads(),
        "memory_gib": round(_memory_bytes() / 2**30, 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "precision": fastest_precision(torch.device("cpu")),
    }


def _processor() -> str:
    # `platform.processor` is empty or only the architecture on Linux.
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # not every system tells
        return 0
