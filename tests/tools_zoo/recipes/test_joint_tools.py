"""Properties of the training of tools on what their agent gives them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.world_crops import WorldCrops
from restoration_toolchain.tools_zoo.recipes import joint_tools
from restoration_toolchain.tools_zoo.recipes.joint_tools import (
    NO_TOOL,
    Encounters,
    JointToolsConfig,
    MetCrops,
    train_tools_jointly,
)
from restoration_toolchain.tools_zoo.recipes.specialists import (
    Specialist,
    SpecialistConfig,
    SpecialistCrops,
    train_specialists,
)
from restoration_toolchain.tools_zoo.storage import load_toolbox, read_notes, save_toolbox
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.errors import RunMismatchError
from tests.tools_zoo.recipes.conftest import small_config

NOISE = Specialist(families={"noise": 1.0}, psnr=(0.0, 24.0), network="small", total_crops=2)
PLAN = {
    "a": NOISE,
    "b": Specialist(families={"jpeg": 1.0}, network="small", total_crops=2),
    "kept": Specialist(families={"webp": 1.0}, network="small", init="b", total_crops=0),
}
MET: dict[str, Encounters] = {
    "a": {("photon-noise", NO_TOOL): 1.0, ("noise", "b"): 1.0},
    "b": {("clean", NO_TOOL): 1.0},
    "kept": {},
}


@pytest.fixture
def config() -> SpecialistConfig:
    return small_config(PLAN)


class Dark(torch.nn.Module):
    """A network that leaves no light, so that what it ran on is seen at once."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(images)


def crops_of(
    photos: list[ByteImage], encounters: Encounters, share: float, behind: str = NO_TOOL
) -> MetCrops:
    toolbox = Toolbox("dark", [Tool(ToolSpec("dark", "noise", network="small"), Dark())])
    own, crops = SpecialistCrops(photos, NOISE, 32), WorldCrops(photos, side=32)
    return MetCrops(own, crops, encounters, share, toolbox, behind)


def test_a_tool_meets_its_own_crops_and_those_that_its_agent_gives_it(
    embedded_photos: list[ByteImage],
) -> None:
    clean = {("clean", NO_TOOL): 1.0}
    lq, gt = crops_of(embedded_photos, clean, 1.0).pairs(8, np.random.default_rng(0))
    assert torch.equal(lq, gt)
    lq, gt = crops_of(embedded_photos, clean, 0.0).pairs(8, np.random.default_rng(0))
    assert (batch_psnr(lq, gt) < 24.5).all()
    lq, gt = crops_of(embedded_photos, clean, 0.5).pairs(64, np.random.default_rng(0))
    assert 0.3 < (lq == gt).flatten(1).all(dim=1).float().mean() < 0.7
    # Without anything that it is given, it learns what is its own.
    lq, gt = crops_of(embedded_photos, {}, 0.5).pairs(8, np.random.default_rng(0))
    assert (batch_psnr(lq, gt) < 24.5).all()


def test_what_is_met_behind_another_tool_has_gone_through_it_and_nothing_else_has(
    embedded_photos: list[ByteImage],
) -> None:
    met = {("clean", "dark"): 1.0, ("jpeg", NO_TOOL): 1.0}
    lq, gt = crops_of(embedded_photos, met, 1.0).pairs(32, np.random.default_rng(0))
    is_dark = (lq == 0.0).flatten(1).all(dim=1)
    assert 0.2 < is_dark.float().mean() < 0.8
    assert (batch_psnr(lq, gt)[~is_dark] > 20.0).all()
    assert (gt.flatten(1).amax(dim=1) > 0.0).all()


def test_the_second_tool_of_a_chain_meets_its_own_families_behind_the_first(
    embedded_photos: list[ByteImage],
) -> None:
    lq, _ = crops_of(embedded_photos, {}, 0.5, "dark").pairs(4, np.random.default_rng(0))
    assert (lq == 0.0).all()


def test_tools_learn_and_frozen_ones_stay_in_one_process_as_in_two(
    config: SpecialistConfig, tmp_path: Path
) -> None:
    tools = train_specialists(config, tmp_path / "tools")
    joint = JointToolsConfig(total_crops=4, frozen=("kept",))
    names: list[str] = []
    folders = [
        train_tools_jointly(
            config,
            joint,
            tools,
            MET,
            tmp_path / str(number),
            chains=[("kept", "a")],
            num_processes=number,
            on_step=lambda name, step, total, metrics: names.append(f"{step} of {total}"),
        )
        for number in (1, 2)
    ]
    assert names == ["2 of 3", "3 of 3"] * 2  # the frozen one is there at once
    before, one, two = (load_toolbox(folder) for folder in (tools, *folders))
    assert one.names == two.names == before.names
    assert one.checksums == two.checksums
    changed = {name for name in one.names if one.checksums[name] != before.checksums[name]}
    assert changed == {"a", "b"}
    notes = read_notes(folders[0])
    assert notes["a"]["plan"]["total_crops"] == 2  # how it began
    assert notes["a"]["joint"]["plan"]["total_crops"] == 4
    assert notes["a"]["joint"]["trained"]["seed"] == notes["a"]["trained"]["seed"] + 1
    assert {"gain", "met_gain"} <= notes["a"]["joint"]["validation"].keys()
    assert "joint" not in notes["kept"]


def test_what_was_interrupted_goes_on(
    config: SpecialistConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = train_specialists(config, tmp_path / "tools")
    joint, run = JointToolsConfig(total_crops=2, frozen=("kept",)), tmp_path / "joint"

    def interrupt(name: str, step: int, total: int, metrics: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tools_jointly(config, joint, tools, MET, run, on_step=interrupt)
    begun = load_toolbox(run / "toolbox")
    assert begun.names == ("a", "kept")
    for other in (
        JointToolsConfig(total_crops=4, frozen=("kept",)),
        JointToolsConfig(total_crops=2, met=0.1, frozen=("kept",)),
        JointToolsConfig(total_crops=2, learning_rate=1e-3, frozen=("kept",)),
        JointToolsConfig(total_crops=2, frozen=("a", "kept")),
        JointToolsConfig(total_crops=2),
    ):
        with pytest.raises(RunMismatchError, match="learnt by other settings"):
            train_tools_jointly(config, other, tools, MET, run, resume=True)
    others: list[Encounters] = [{("noise", NO_TOOL): 0.5}, {}]
    for given in others:
        with pytest.raises(RunMismatchError, match="from other encounters"):
            train_tools_jointly(config, joint, tools, {**MET, "a": given}, run, resume=True)
    with pytest.raises(RunMismatchError, match="learnt by other settings"):
        train_tools_jointly(config, joint, tools, MET, run, chains=[("kept", "a")], resume=True)
    folder = train_tools_jointly(config, joint, tools, MET, run, resume=True)
    assert load_toolbox(folder).names == ("a", "b", "kept")
    assert load_toolbox(folder).checksums["a"] == begun.checksums["a"]


def test_a_tool_that_was_trained_and_not_put_away_is_not_trained_again(
    config: SpecialistConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = train_specialists(config, tmp_path / "tools")
    joint, run = JointToolsConfig(total_crops=2, frozen=("b", "kept")), tmp_path / "joint"

    def put_away(tool: Tool, *_: Any, **__: Any) -> None:
        if tool.spec.name == "a":
            raise KeyboardInterrupt

    monkeypatch.setattr(joint_tools, "add_tool", put_away)
    with pytest.raises(KeyboardInterrupt):
        train_tools_jointly(config, joint, tools, MET, run)
    monkeypatch.undo()
    # It goes on only as it began.
    changed = {**MET, "a": {("noise", NO_TOOL): 1.0}}
    with pytest.raises(RunMismatchError, match="encounters"):
        train_tools_jointly(config, joint, tools, changed, run, resume=True)
    state = (run / "a" / "checkpoint.pt").stat().st_mtime_ns
    folder = train_tools_jointly(config, joint, tools, MET, run, resume=True)
    assert (run / "a" / "checkpoint.pt").stat().st_mtime_ns == state
    assert {"gain", "met_gain"} <= read_notes(folder)["a"]["joint"]["validation"].keys()


def test_tools_whose_starting_weights_changed_are_not_gone_on_with(
    config: SpecialistConfig, tmp_path: Path
) -> None:
    tools = train_specialists(config, tmp_path / "tools")
    joint, run = JointToolsConfig(total_crops=2, frozen=("kept",)), tmp_path / "joint"
    train_tools_jointly(config, joint, tools, MET, run)
    toolbox = load_toolbox(tools)
    next(toolbox["a"].parameters()).data.add_(1.0)
    save_toolbox(Toolbox(toolbox.name, list(toolbox)), tools, read_notes(tools))
    with pytest.raises(RunMismatchError, match="from other weights"):
        train_tools_jointly(config, joint, tools, MET, run, resume=True)


def test_the_first_tool_of_a_chain_stays_as_the_second_knows_it(
    config: SpecialistConfig, tmp_path: Path
) -> None:
    tools = train_specialists(config, tmp_path / "tools")
    joint, run = JointToolsConfig(total_crops=2, frozen=("kept",)), tmp_path / "joint"
    with pytest.raises(ToolchainError, match="name b in joint.tools.frozen"):
        train_tools_jointly(config, joint, tools, MET, run, chains=[("b", "a")])
    assert not run.exists()
    for chain in (("kept", "a"), ("a", "kept")):
        joint.check_chains([chain])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"met": 1.5}, "met must lie in [0, 1], got 1.5"),
        ({"untouched": -1.0}, "untouched must lie in [0, 1], got -1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"total_crops": 0}, "total_crops must be positive"),
    ],
)
def test_what_is_out_of_range_is_one_line(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        JointToolsConfig(**wrong)


def test_settings_that_do_not_fit_the_plan_are_refused(config: SpecialistConfig) -> None:
    with pytest.raises(ToolchainError, match="batch"):
        JointToolsConfig(total_crops=1).settings(config)
    with pytest.raises(UnknownNameError, match="nobody"):
        JointToolsConfig(frozen=("nobody",)).settings(config)
