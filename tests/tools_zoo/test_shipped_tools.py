"""Properties of the tools that ship: each does what it was trained for."""

import functools

import numpy as np
import numpy.typing as npt
import pytest
import torch

from restoration_toolchain.data.damage.world import FAMILIES
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.store import StoreConfig, cut_windows
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.tools_zoo.catalog import CLASSIC, EFFICIENT, TOOLBOXES
from restoration_toolchain.tools_zoo.profile import check_names
from restoration_toolchain.tools_zoo.recipes.plan import read_recipe
from restoration_toolchain.tools_zoo.recipes.specialists import (
    ANY_PSNR,
    Specialist,
    SpecialistConfig,
    SpecialistCrops,
)
from restoration_toolchain.tools_zoo.storage import (
    WEIGHTS_FOLDER,
    load_toolbox,
    read_manifest,
    read_spec,
)
from restoration_toolchain.tools_zoo.tool import ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.batches import ToolDegrader, degrade_batch
from restoration_toolchain.tools_zoo.training.run_folder import config_from_dict

COUNT = 48


@functools.cache
def shipped(name: str) -> Toolbox:
    return load_toolbox(name)


@functools.cache
def photo_windows() -> npt.NDArray[np.uint8]:
    """Patches of the photos in scikit-image, none of which any tool was trained on."""
    config = StoreConfig(stride=63)
    windows = [
        window for _, photo in open_source("embedded") for window in cut_windows(photo, config)
    ]
    chosen = np.random.default_rng(0).choice(len(windows), COUNT, replace=False)
    return np.stack([windows[i] for i in chosen])


def every_tool(*, weakest: bool) -> pytest.MarkDecorator:
    """Every shipped tool, or all but the weakest of each task, which no mixture was shown to."""
    params = [
        pytest.param(name, spec, id=spec.name)
        for name in ("classic", "efficient")
        for spec in TOOLBOXES[name]
        if weakest or not spec.name.endswith("1")
    ]
    return pytest.mark.parametrize(("toolbox", "spec"), params)


@every_tool(weakest=True)
def test_a_shipped_tool_raises_psnr_on_its_own_range(toolbox: str, spec: ToolSpec) -> None:
    degrade = ToolDegrader(spec).own_only
    lq, gt = degrade_batch(photo_windows(), degrade, np.random.default_rng(0))
    with torch.inference_mode():
        restored = shipped(toolbox)[spec.name](lq).clamp(0.0, 1.0)
    assert float((batch_psnr(restored, gt) - batch_psnr(lq, gt)).mean()) > 0.0


@every_tool(weakest=False)
def test_a_shipped_tool_raises_psnr_within_mixtures(toolbox: str, spec: ToolSpec) -> None:
    degrade = ToolDegrader(spec, mixed=1.0)
    lq, gt = degrade_batch(photo_windows(), degrade, np.random.default_rng(0))
    with torch.inference_mode():
        restored = shipped(toolbox)[spec.name](lq).clamp(0.0, 1.0)
    assert float((batch_psnr(restored, gt) - batch_psnr(lq, gt)).mean()) > 0.0


@pytest.mark.parametrize("name", ["classic", "efficient"])
def test_a_shipped_toolbox_is_the_one_of_the_catalogue(name: str) -> None:
    assert [tool.spec for tool in shipped(name)] == list(TOOLBOXES[name])


def world_specs() -> list[ToolSpec]:
    return [read_spec(entry) for entry in read_manifest(WEIGHTS_FOLDER / "world")["tools"]]


def test_the_default_toolbox_is_what_its_recipe_plans() -> None:
    table = {**read_recipe("world")["specialists"], "photos": ("embedded",)}
    plans = config_from_dict(SpecialistConfig, table).tools
    assert world_specs() == [plan.spec(name) for name, plan in plans.items()]
    assert len(plans) <= 16
    assert max(spec.macs_per_pixel for spec in world_specs()) <= 51_000


def test_names_of_the_default_tools_are_true_by_their_profile() -> None:
    profile = shipped("world").profile
    assert profile is not None
    assert set(profile.families) == {*FAMILIES, "clean"}
    assert [check.tool for check in check_names(profile)] == [spec.name for spec in world_specs()]
    # Generalists follow one another, and are not the best alone.
    untrue = [check.tool for check in check_names(profile) if not check.is_true]
    assert set(untrue) <= {"restore_mixture", "finish_mixture"}


@pytest.mark.parametrize("spec", world_specs(), ids=lambda spec: spec.name)
def test_a_specialist_raises_psnr_on_its_own_families(spec: ToolSpec) -> None:
    families = dict.fromkeys(spec.families, 1.0)
    crops = SpecialistCrops(
        [photo for _, photo in open_source("embedded")],
        Specialist(families=families, psnr=spec.psnr or ANY_PSNR),
        side=64,
    )
    lq, gt = crops.pairs(24, np.random.default_rng(0))
    with torch.inference_mode():
        restored = shipped("world")[spec.name](lq)
    assert float((batch_psnr(restored, gt) - batch_psnr(lq, gt)).mean()) > 0.0


@pytest.mark.parametrize("place", range(12))
def test_an_efficient_tool_costs_no_more_than_the_classic_one(place: int) -> None:
    assert EFFICIENT[place].macs_per_pixel <= CLASSIC[place].macs_per_pixel


@pytest.mark.parametrize("name", ["classic", "efficient", "world"])
def test_every_shipped_tool_says_how_it_was_trained(name: str) -> None:
    for entry in read_manifest(WEIGHTS_FOLDER / name)["tools"]:
        assert entry["notes"], entry["name"]
