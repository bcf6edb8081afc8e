"""Environment steps per second, beside what the tools alone could do."""

import tempfile
from pathlib import Path
from typing import cast

import numpy as np
import torch

from benchmarks.material import make_store, make_toolbox
from benchmarks.report import Report, Row, median_seconds
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.patches.pairs import StorePairs
from restoration_toolchain.data.patches.store import PatchStore
from restoration_toolchain.envs.restoration_vec_env import RestorationVecEnv
from restoration_toolchain.tools_zoo.precision import PRECISIONS, Precision, computing
from restoration_toolchain.tools_zoo.toolbox import Toolbox


def run(*, quick: bool) -> Report:
    """Play random actions on a store of the embedded photos."""
    n_envs, repeats = (16, 2) if quick else (256, 9)
    toolbox = make_toolbox("classic")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.h5"
        make_store(path, quick=quick)
        with PatchStore(path) as store:
            pairs = StorePairs(store)
            rows = [_environment(toolbox, pairs, n_envs, repeats, p) for p in PRECISIONS]
            rows += [_tools(toolbox, pairs, n_envs, repeats, p) for p in PRECISIONS]
    return Report(
        title="Environment steps",
        method=(
            f"{n_envs} images of 63x63 pixels side by side, random actions (stop included), "
            "episodes from a patch store; a step is one action on one image. Below it, the same "
            "numbers of images through the tools alone."
        ),
        rows=tuple(rows),
    )


def _environment(
    toolbox: Toolbox, pairs: StorePairs, n_envs: int, repeats: int, precision: Precision
) -> Row:
    env = RestorationVecEnv(toolbox, pairs, n_envs, seed=0, precision=precision)
    rng = np.random.default_rng(0)
    seconds = median_seconds(lambda: env.step(rng.integers(len(toolbox) + 1, size=n_envs)), repeats)
    rate = n_envs / seconds
    return {"what": "RestorationVecEnv.step", "precision": cast(str, precision), "steps/s": rate}


def _tools(
    toolbox: Toolbox, pairs: StorePairs, n_envs: int, repeats: int, precision: Precision
) -> Row:
    rng = np.random.default_rng(0)
    lq, _ = pairs.pairs(rng.integers(len(pairs), size=n_envs), rng)
    images = to_tensor(lq)

    def restore() -> None:
        actions = torch.from_numpy(rng.integers(len(toolbox) + 1, size=n_envs))
        with torch.inference_mode(), computing(precision, "cpu"):
            toolbox.restore(images, actions)

    rate = n_envs / median_seconds(restore, repeats)
    return {"what": "Toolbox.restore", "precision": cast(str, precision), "steps/s": rate}
