"""Properties of trainings that begin with the checkpoint of another one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.catalog import ENLARGERS
from restoration_toolchain.tools_zoo.enlarging.config import OneStepTrainConfig, SrTrainConfig
from restoration_toolchain.tools_zoo.enlarging.objective import SrObjective
from restoration_toolchain.tools_zoo.enlarging.one_step import train_one_step_tool
from restoration_toolchain.tools_zoo.enlarging.train import train_sr_tool
from restoration_toolchain.tools_zoo.networks.one_step import OneStepNet
from restoration_toolchain.tools_zoo.recipes.plan import TrainingJob
from restoration_toolchain.tools_zoo.recipes.run_start import network_of_run
from restoration_toolchain.tools_zoo.recipes.train import train_tools
from restoration_toolchain.tools_zoo.training.loop import NotANumberError

SPECS = {spec.name: spec for spec in ENLARGERS}
PSNR, VPD = SPECS["sr-psnr"], SPECS["sr-vpd"]

Config = Callable[..., Any]


def same(left: nn.Module, right: nn.Module) -> bool:
    theirs = right.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in left.state_dict().items())


def break_from(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original = SrObjective.loss

    def broken(self: SrObjective, module: nn.Module, batch: Any) -> Tensor:
        loss = original(self, module, batch)
        return loss * float("nan") if batch.step >= step else loss

    monkeypatch.setattr(SrObjective, "loss", broken)


def test_a_run_that_failed_tells_how_to_go_on_and_that_works(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = TrainingJob(PSNR, tiny())
    folder = tmp_path / "first" / PSNR.name
    with monkeypatch.context() as patch:
        break_from(4, patch)
        with pytest.raises(NotANumberError) as caught:
            train_tools([job], tmp_path / "first", tmp_path / "toolbox")
    assert str(caught.value).endswith(f"train sr-psnr with --init {folder}")
    config = tiny(total_patches=2, learning_rate=1e-9)
    again = TrainingJob(PSNR, config, init=str(folder))
    (trained,) = train_tools([again], tmp_path / "second", tmp_path / "toolbox")
    kept = torch.load(folder / "checkpoint.pt", weights_only=True)["averaged"]
    for name, value in trained.tool.network.state_dict().items():
        torch.testing.assert_close(value, kept[name], atol=1e-6, rtol=0)


def test_a_run_that_failed_before_its_first_checkpoint_promises_nothing(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_from(1, monkeypatch)
    with pytest.raises(NotANumberError, match="lower learning_rate and another --run$"):
        train_tools([TrainingJob(PSNR, tiny())], tmp_path / "run", tmp_path / "toolbox")


def test_a_one_step_tool_comes_with_its_teacher(tiny: Config, tmp_path: Path) -> None:
    config = tiny(OneStepTrainConfig, teacher_patches=4, total_patches=4)
    trained = train_one_step_tool(VPD, config, tmp_path / "run").network
    found = network_of_run(VPD, tmp_path / "run")
    assert isinstance(found, OneStepNet)
    assert same(trained, found)
    with pytest.raises(ToolchainError, match="there is no .*checkpoint.pt"):
        network_of_run(VPD, tmp_path / "run" / "teacher")  # which is no whole tool


def test_a_run_of_another_network_or_a_damaged_one_is_refused(tiny: Config, tmp_path: Path) -> None:
    config = tiny(SrTrainConfig, total_patches=2)
    train_sr_tool(PSNR, config, tmp_path / "run")
    with pytest.raises(ToolchainError, match="another network than 'sr-sft'"):
        network_of_run(SPECS["sr-sft"], tmp_path / "run")
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ToolchainError, match="is damaged, or no checkpoint of a tool"):
        network_of_run(PSNR, tmp_path / "run")
