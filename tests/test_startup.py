"""What a restoration does not need, it does not import: no figure, only what was loaded."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

UNNEEDED = (
    # Fabric takes as long as PyTorch, and brings the compiler and distributed training along.
    *("lightning_fabric", "torch._dynamo", "torch._inductor", "torch.distributed.fsdp"),
    *("torch.utils.tensorboard", "tensorboard", "sympy"),
    # Training of agents, and where it plays.
    *("gymnasium", "stable_baselines3", "sb3_contrib", "pandas"),
    # Stores, pictures to measure by, and what only some photos need.
    *("h5py", "skimage", "scipy", "cv2", "tifffile", "pyvips", "pillow_heif", "bm3d"),
    # The page, reports and pictures of them; models that were trained elsewhere.
    *("gradio", "matplotlib", "jinja2", "transformers", "torchvision"),
)

RESTORE = """
import sys
import numpy as np
from restoration_toolchain import load
photo = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
load().restore(photo)
"""

COMMAND = """
import sys
from restoration_toolchain.toolchain.cli import app
app(["restore", sys.argv[1], "-o", sys.argv[2]], standalone_mode=False)
"""


def imported_by(code: str, *arguments: str) -> set[str]:
    shown = f"{code}\nimport sys\nprint('imported:', *sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", shown, *arguments], capture_output=True, text=True, check=True
    )
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("imported:"))
    return set(line.split()[1:])


@pytest.mark.parametrize("way", ["python", "command"])
def test_a_restoration_imports_nothing_that_it_does_not_need(way: str, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.full((70, 90, 3), 99, np.uint8))
    arguments = (str(photo), str(tmp_path / "restored"))
    imported = imported_by(RESTORE) if way == "python" else imported_by(COMMAND, *arguments)
    assert "torch" in imported
    assert sorted(imported.intersection(UNNEEDED)) == []


def test_importing_the_package_alone_costs_nothing() -> None:
    imported = imported_by("import restoration_toolchain")
    heavy = {"torch", "numpy", "importlib.metadata", "typer", "rich"}
    assert sorted(imported & heavy) == []
