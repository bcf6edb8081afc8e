"""Properties of the tools that ship: each does what it was trained for."""

import functools

import numpy as np
import numpy.typing as npt
import pytest
import torch

from data.metrics import batch_psnr
from data.sources import open_source
from data.store import StoreConfig, cut_patches
from tools_zoo.catalog import CLASSIC
from tools_zoo.storage import WEIGHTS_FOLDER, load_toolbox, read_manifest
from tools_zoo.tool import ToolSpec
from tools_zoo.tool_data import ToolDegrader, degrade_batch
from tools_zoo.toolbox import Toolbox

COUNT = 48


@functools.cache
def shipped() -> Toolbox:
    return load_toolbox("classic")


@functools.cache
def photo_patches() -> npt.NDArray[np.uint8]:
    """Patches of the photos in scikit-image, none of which any tool was trained on."""
    config = StoreConfig(stride=63)
    patches = [
        patch for _, photo in open_source("embedded") for patch in cut_patches(photo, config)
    ]
    chosen = np.random.default_rng(0).choice(len(patches), COUNT, replace=False)
    return np.stack([patches[i] for i in chosen])


# Strict, so that a better deblur_1 is noticed here: the shipped one is near the identity, at
# -0.03 dB on its own range (docs/results.md).
SPECS_BUT_THE_WEAK = pytest.mark.parametrize(
    "spec",
    [
        pytest.param(
            spec,
            marks=[pytest.mark.xfail(strict=True)] if spec.name == "deblur_1" else [],
            id=spec.name,
        )
        for spec in CLASSIC
    ],
)


@SPECS_BUT_THE_WEAK
def test_a_shipped_tool_raises_psnr_on_its_own_range(spec: ToolSpec) -> None:
    degrade = ToolDegrader(spec).own_only
    lq, gt = degrade_batch(photo_patches(), degrade, np.random.default_rng(0))
    with torch.inference_mode():
        restored = shipped()[spec.name](lq).clamp(0.0, 1.0)
    assert float((batch_psnr(restored, gt) - batch_psnr(lq, gt)).mean()) > 0.0


@SPECS_BUT_THE_WEAK
def test_a_shipped_tool_raises_psnr_within_mixtures(spec: ToolSpec) -> None:
    degrade = ToolDegrader(spec, mixed=1.0)
    lq, gt = degrade_batch(photo_patches(), degrade, np.random.default_rng(0))
    with torch.inference_mode():
        restored = shipped()[spec.name](lq).clamp(0.0, 1.0)
    assert float((batch_psnr(restored, gt) - batch_psnr(lq, gt)).mean()) > 0.0


def test_the_shipped_toolbox_is_the_one_of_the_catalogue() -> None:
    assert [tool.spec for tool in shipped()] == list(CLASSIC)


def test_every_shipped_tool_says_how_it_was_trained() -> None:
    for entry in read_manifest(WEIGHTS_FOLDER / "classic")["tools"]:
        assert entry["notes"], entry["name"]
