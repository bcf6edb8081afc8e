"""Properties of training tools that make images larger by a recipe."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.toolchain.measuring.tool_list import measure_tools
from restoration_toolchain.tools_zoo.catalog import EFFICIENT, ENLARGERS, TOOLBOXES
from restoration_toolchain.tools_zoo.encoders.efficientnet import EfficientNetEncoder
from restoration_toolchain.tools_zoo.enlarging.config import (
    OneStepTrainConfig,
    SftTrainConfig,
    SrTrainConfig,
)
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import load_iqa
from restoration_toolchain.tools_zoo.recipes.plan import (
    config_kind,
    included_toolbox,
    plan_training,
    read_recipe,
)
from restoration_toolchain.tools_zoo.recipes.train import train_tools
from restoration_toolchain.tools_zoo.storage import load_toolbox
from restoration_toolchain.tools_zoo.training.supervised import ToolTrainConfig

TINY: dict[str, Any] = {
    "total_patches": 2,
    "batch_size": 2,
    "eval_every": 1,
    "eval_patches": 2,
    "num_workers": 0,
    "device": "cpu",
    "precision": "fp32",
}


def test_a_tool_is_trained_with_the_settings_of_its_kind() -> None:
    kinds = {spec.name: config_kind(spec) for spec in TOOLBOXES["generative"]}
    assert kinds["denoise_e1"] is ToolTrainConfig
    assert kinds["sr-psnr"] is kinds["sr-ssl"] is kinds["sr-sfd"] is SrTrainConfig
    assert kinds["sr-sft"] is SftTrainConfig
    assert kinds["sr-vpd"] is OneStepTrainConfig


def test_the_generative_toolbox_is_the_efficient_one_and_five_that_enlarge() -> None:
    names = [spec.name for spec in ENLARGERS]
    assert names == ["sr-psnr", "sr-sft", "sr-ssl", "sr-sfd", "sr-vpd"]
    assert TOOLBOXES["generative"] == (*EFFICIENT, *ENLARGERS)
    assert all(spec.scale == 4 for spec in ENLARGERS)


def test_without_a_recipe_a_tool_starts_from_the_one_towards_psnr() -> None:
    jobs = plan_training(["sr-psnr", "sr-ssl", "sr-psnr-x2"], {}, {"store": "s.h5"})
    assert [job.init for job in jobs] == [None, "sr-psnr", None]


def test_a_setting_of_another_kind_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no option 'teacher_patches'"):
        plan_training(["sr-psnr"], {}, {"store": "s.h5", "teacher_patches": 3})


def test_a_recipe_includes_one_toolbox() -> None:
    assert included_toolbox(read_recipe("generative")) == "efficient"
    assert included_toolbox({}) is None
    with pytest.raises(ToolchainError, match="include names one toolbox"):
        included_toolbox({"include": ["efficient"]})


def train_recipe(sr_store: Path, tmp_path: Path) -> Path:
    """A toolbox folder with the tools of the recipe after one step each, beside the twelve."""
    recipe = read_recipe("generative")
    stages = {"sr-sft": {"prior_patches": 2}, "sr-vpd": {"teacher_patches": 2}}
    tables = {
        name: {**table, **stages.get(name, {}), **TINY} for name, table in recipe["tools"].items()
    }
    jobs = plan_training([], {"tools": tables}, {"store": str(sr_store)})
    train_tools(jobs, tmp_path / "run", tmp_path / "toolbox", include="efficient")
    return tmp_path / "toolbox"


def test_the_recipe_makes_the_toolbox_that_others_start_from(
    sr_store: Path, encoder: EfficientNetEncoder, tmp_path: Path
) -> None:
    trained = train_recipe(sr_store, tmp_path)
    toolbox = load_toolbox(trained)
    assert [tool.spec for tool in toolbox] == list(TOOLBOXES["generative"])
    for tool in toolbox:
        lq, scale = torch.rand(1, 3, 16, 12), tool.spec.scale
        assert tool(lq).shape == (1, 3, 16 * scale, 12 * scale)
    assert load_iqa(trained / "sfd_iqa").score(torch.rand(3, 64, 64)).score > 0.0
    assert set(measure_tools(toolbox, sr_store, count=2)) == set(toolbox.names)
    # A tool that is trained later finds here what it starts from.
    shutil.rmtree(tmp_path / "run" / "sr-ssl")
    tables = {"sr-ssl": {**TINY, "init": "sr-psnr", "learning_rate": 1e-9}}
    jobs = plan_training([], {"tools": tables}, {"store": str(sr_store)})
    train_tools(jobs, tmp_path / "again", trained)
    again = load_toolbox(trained)
    left, right = (again[name].network.state_dict() for name in ("sr-psnr", "sr-ssl"))
    torch.testing.assert_close(left, right, atol=1e-6, rtol=0)
    # One that is not there starts from the one towards PSNR.
    settings = {"store": str(sr_store), **TINY, "learning_rate": 1e-9}
    jobs = plan_training(["sr-gan", "sr-psnr-x2"], {}, settings, init=str(trained))
    control, _ = train_tools(jobs, tmp_path / "control", tmp_path / "controls")
    torch.testing.assert_close(control.tool.network.state_dict(), left, atol=1e-6, rtol=0)
