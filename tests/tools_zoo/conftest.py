"""Noise, a store of patches for super-resolution, and encoders that need no weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from restoration_toolchain.data.damage.noise_model import KNOTS, RADIUS, NoiseModel
from restoration_toolchain.data.patches.store import StoreConfig, prepare_store
from restoration_toolchain.tools_zoo.encoders.efficientnet import (
    EfficientNetEncoder,
    EfficientNetLite0,
)
from restoration_toolchain.tools_zoo.enlarging.config import SrTrainConfig


def white_noise(sigma: float) -> NoiseModel:
    """Noise of so many grey levels at every brightness, without any correlation."""
    side = 2 * RADIUS + 1
    kernel = np.zeros((3, 3, side, side), np.float32)
    kernel[range(3), range(3), RADIUS, RADIUS] = 1.0
    levels = np.ones((3, KNOTS), np.float32)
    return NoiseModel(sigma / 255.0 * levels, levels / levels.sum(), kernel)


@pytest.fixture(scope="session")
def sr_store(photos: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patches of 32 pixels of the small photos; read it only."""
    path = tmp_path_factory.mktemp("store") / "sr.h5"
    prepare_store(
        path, photos, StoreConfig(patch_size=32, stride=32, scales=(1.0,), holdout=0.3, seed=3)
    )
    return path


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> EfficientNetEncoder:
    """EfficientNet-Lite0 with random weights; trainings find it in place of the real one."""
    torch.manual_seed(0)
    made = EfficientNetEncoder(EfficientNetLite0())
    monkeypatch.setattr("restoration_toolchain.tools_zoo.enlarging.clusters.NUM_BATCHES", 2)
    for place in ("start", "sfd_iqa", "one_step", "sft"):
        monkeypatch.setattr(
            f"restoration_toolchain.tools_zoo.enlarging.{place}.load_encoder",
            lambda name="auto": made,
        )
    return made


@pytest.fixture
def tiny(sr_store: Path) -> Callable[..., SrTrainConfig]:
    """Settings of a run of few small steps."""

    def build(kind: type[SrTrainConfig] = SrTrainConfig, **values: Any) -> SrTrainConfig:
        defaults: dict[str, Any] = {
            "store": str(sr_store),
            "total_patches": 2 * 6,
            "batch_size": 2,
            "eval_every": 3,
            "eval_patches": 3,
            "num_workers": 0,
            "device": "cpu",
            "precision": "fp32",
            "ssl_search": 9,
            "ssl_window": 3,
        }
        return kind(**(defaults | values))

    return build
