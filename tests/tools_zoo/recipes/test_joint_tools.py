"""Properties of the training of tools on what their agent gives them."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.metrics import batch_psnr
from restoration_toolchain.data.patches.world_crops import WorldCrops
from restoration_toolchain.tools_zoo.networks import build_network
from restoration_toolchain.tools_zoo.recipes import joint_tools
from restoration_toolchain.tools_zoo.recipes.joint_tools import (
    NO_TOOL,
    Encounters,
    JointToolsConfig,
    TeamCrops,
    TeamNetwork,
    TeamObjective,
    TeamSample,
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


def crops_of(photos: list[ByteImage], share: float, *encounters: Encounters) -> TeamCrops:
    toolbox = Toolbox("dark", [Tool(ToolSpec("dark", "noise", network="small"), Dark())])
    own, crops = SpecialistCrops(photos, NOISE, 32), WorldCrops(photos, side=32)
    return TeamCrops(own, crops, encounters, share, toolbox)


def change_weights(folder: Path, name: str) -> None:
    """Put other weights of a tool into a toolbox folder."""
    toolbox = load_toolbox(folder)
    next(toolbox[name].parameters()).data.add_(1.0)
    save_toolbox(Toolbox(toolbox.name, list(toolbox)), folder, read_notes(folder))


def test_a_tool_meets_its_own_crops_and_those_that_its_agent_gives_it(
    embedded_photos: list[ByteImage],
) -> None:
    def sample(share: float, given: Encounters, count: int = 8) -> TeamSample:
        crops = crops_of(embedded_photos, share, given)
        return crops.sample(count, np.random.default_rng(0))

    clean = {("clean", NO_TOOL): 1.0}
    lq, gt, runs = sample(1.0, clean)
    assert torch.equal(lq, gt)
    assert runs.all()
    lq, gt, runs = sample(0.0, clean)
    assert (batch_psnr(lq, gt) < 24.5).all()
    assert runs.all()
    lq, gt, _ = sample(0.5, clean, 64)
    assert 0.3 < (lq == gt).flatten(1).all(dim=1).float().mean() < 0.7
    # Without anything that it is given, it learns what is its own.
    lq, gt, _ = sample(0.5, {})
    assert (batch_psnr(lq, gt) < 24.5).all()


def test_what_is_met_behind_another_tool_has_gone_through_it_and_nothing_else_has(
    embedded_photos: list[ByteImage],
) -> None:
    met = {("clean", "dark"): 1.0, ("jpeg", NO_TOOL): 1.0}
    lq, gt, _ = crops_of(embedded_photos, 1.0, met).sample(32, np.random.default_rng(0))
    is_dark = (lq == 0.0).flatten(1).all(dim=1)
    assert 0.2 < is_dark.float().mean() < 0.8
    assert (batch_psnr(lq, gt)[~is_dark] > 20.0).all()
    assert (gt.flatten(1).amax(dim=1) > 0.0).all()


def test_both_tools_of_a_chain_run_on_what_it_is_for_and_one_on_what_it_is_given(
    embedded_photos: list[ByteImage],
) -> None:
    met = ({("clean", NO_TOOL): 1.0}, {("clean", "dark"): 3.0})
    lq, gt, runs = crops_of(embedded_photos, 0.5, *met).sample(96, np.random.default_rng(0))
    is_dark = (lq == 0.0).flatten(1).all(dim=1)
    is_clean = (lq == gt).flatten(1).all(dim=1)
    assert (runs[is_clean] == torch.tensor([True, False])).all()
    assert (runs[is_dark] == torch.tensor([False, True])).all()
    assert runs[~is_dark & ~is_clean].all()
    assert 0.3 < runs.all(dim=1).float().mean() < 0.7
    assert is_dark.sum() > is_clean.sum() > 0


def test_what_weighs_nothing_is_not_met(embedded_photos: list[ByteImage]) -> None:
    none = {("clean", NO_TOOL): 0.0}
    lq, gt, _ = crops_of(embedded_photos, 1.0, none).sample(4, np.random.default_rng(0))
    assert (batch_psnr(lq, gt) < 24.5).all()


class Scaled(nn.Module):
    """A network that multiplies."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.factor * images


def test_a_chain_runs_as_it_will_and_what_it_gives_is_not_clipped() -> None:
    team = TeamNetwork([Scaled(2.0), Scaled(0.5)])
    lq = torch.tensor([0.25, 0.75, 0.75]).reshape(3, 1, 1, 1).expand(3, 3, 4, 4)
    runs = torch.tensor([[True, True], [True, True], [True, False]])
    first, last = team(lq, runs)
    assert first[:, 0, 0, 0].tolist() == [0.5, 1.5, 1.5]
    # What comes to a tool is an image, in [0, 1]; what is learnt from knows how far off it is.
    assert last[:, 0, 0, 0].tolist() == [0.25, 0.5, 1.5]


def test_what_a_chain_reaches_teaches_its_first_tool_too() -> None:
    team = TeamNetwork([Scaled(1.0), Scaled(0.5)])
    lq = torch.full((2, 3, 2, 2), 0.5)
    team(lq, torch.ones(2, 2, dtype=torch.bool))[-1].mean().backward()
    gradients = [network.factor.grad for network in team.networks]
    assert [float(gradient) for gradient in gradients] == pytest.approx([0.25, 0.5])


@pytest.mark.parametrize("name", ["small", "unshuffled_small", "unshuffled_unet"])
def test_a_tool_of_a_chain_may_have_nothing_to_do(name: str) -> None:
    team = TeamNetwork([build_network(name), build_network(name)])
    lq = torch.rand(2, 3, 16, 16)
    for runs in ([True, False], [False, True], [False, False]):
        first, last = team(lq, torch.tensor([runs] * 2))
        assert torch.equal(first, lq) == (not runs[0])
        assert torch.equal(last, first) == (not runs[1])


def test_the_first_tool_of_a_chain_is_judged_alone_as_well() -> None:
    objective = TeamObjective.__new__(TeamObjective)
    objective._loss, objective._early = torch.nn.functional.mse_loss, 0.5
    team = TeamNetwork([Scaled(1.0), Scaled(1.0)])
    lq, gt = torch.full((4, 3, 2, 2), 0.5), torch.full((4, 3, 2, 2), 0.3)
    runs = torch.tensor([[True, True], [True, False], [False, True], [True, True]])
    loss = float(objective.loss(team, TeamSample(lq, gt, runs)).detach())
    assert loss == pytest.approx(0.04 + 0.5 * 0.5 * 0.04)


def test_tools_learn_and_frozen_ones_stay_in_one_process_as_in_two(
    config: SpecialistConfig, tmp_path: Path
) -> None:
    tools = train_specialists(config, tmp_path / "tools")
    joint = JointToolsConfig(total_crops=4, chain_crops=4, frozen=("kept",))
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
    assert {"gain", "met_gain"} <= notes["b"]["joint"]["validation"].keys()
    assert {"chain_gain", "chain_met_gain"} <= notes["a"]["joint"]["validation"].keys()
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
        JointToolsConfig(total_crops=4, chain_crops=4, frozen=("kept",)),
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
    change_weights(tools, "a")
    with pytest.raises(RunMismatchError, match="from other weights"):
        train_tools_jointly(config, joint, tools, MET, run, resume=True)


def test_tools_of_a_chain_learn_end_to_end_and_a_frozen_partner_stays(
    config: SpecialistConfig, tmp_path: Path
) -> None:
    tools = train_specialists(config, tmp_path / "tools")
    before = load_toolbox(tools)
    joint = JointToolsConfig(total_crops=2, chain_crops=6)
    chains = [("b", "a")]

    def train(name: str, *frozen: str) -> Path:
        config_ = dataclasses.replace(joint, frozen=("kept", *frozen))
        return train_tools_jointly(config, config_, tools, MET, tmp_path / name, chains=chains)

    folder = train("both")
    notes = read_notes(folder)
    for name in ("a", "b"):
        assert load_toolbox(folder).checksums[name] != before.checksums[name]
        assert notes[name]["joint"]["trained"]["team"] == ["b", "a"]
        assert notes[name]["joint"]["plan"]["total_crops"] == 6
        assert "chain_gain" in notes[name]["joint"]["validation"]
    assert (tmp_path / "both" / "b" / "checkpoint.pt").is_file()
    assert not (tmp_path / "both" / "a").exists()
    # Only what learns is given anything, and what comes in is what the first tool is for.
    folder = train("second", "b")
    checkpoint = torch.load(tmp_path / "second" / "a" / "checkpoint.pt", weights_only=True)
    first = {
        key.removeprefix("_networks.0."): value
        for key, value in checkpoint["averaged"].items()
        if "_networks.0." in key
    }
    assert first.keys() == before["b"].network.state_dict().keys()
    for key, value in before["b"].network.state_dict().items():
        assert torch.equal(first[key], value), key
    trained = read_notes(folder)["a"]["joint"]["trained"]
    assert trained["own"]["families"] == dict(PLAN["b"].families)
    given = json.dumps([[], sorted(MET["a"].items())])
    assert trained["encounters"] == hashlib.sha256(given.encode()).hexdigest()
    assert load_toolbox(folder).checksums["b"] == before.checksums["b"]
    assert load_toolbox(folder).checksums["a"] != before.checksums["a"]
    assert read_notes(folder)["a"]["joint"]["trained"]["team"] == ["b", "a"]
    assert load_toolbox(train("none", "a", "b")).checksums == before.checksums


def test_a_frozen_tool_is_the_one_of_now(config: SpecialistConfig, tmp_path: Path) -> None:
    tools = train_specialists(config, tmp_path / "tools")
    joint, run = JointToolsConfig(frozen=tuple(PLAN)), tmp_path / "joint"
    train_tools_jointly(config, joint, tools, MET, run)
    change_weights(tools, "kept")
    with pytest.raises(RunMismatchError, match="kept in .* from other weights"):
        train_tools_jointly(config, joint, tools, MET, run, resume=True)


def test_a_chain_of_which_one_tool_was_put_away_is_finished(
    config: SpecialistConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = train_specialists(config, tmp_path / "tools")
    joint, chains = JointToolsConfig(chain_crops=4, frozen=("kept",)), [("b", "a")]
    how: dict[str, Any] = {"chains": chains}
    whole = load_toolbox(train_tools_jointly(config, joint, tools, MET, tmp_path / "1", **how))
    put_away = joint_tools.add_tool

    def once(tool: Tool, *args: Any, **more: Any) -> None:
        if tool.spec.name == "a":
            raise KeyboardInterrupt
        put_away(tool, *args, **more)

    monkeypatch.setattr(joint_tools, "add_tool", once)
    with pytest.raises(KeyboardInterrupt):
        train_tools_jointly(config, joint, tools, MET, tmp_path / "2", **how)
    monkeypatch.undo()
    assert load_toolbox(tmp_path / "2" / "toolbox").names == ("b", "kept")
    how["resume"] = True
    parts = load_toolbox(train_tools_jointly(config, joint, tools, MET, tmp_path / "2", **how))
    assert parts.checksums == whole.checksums


def test_a_tool_learns_in_one_chain_at_a_time() -> None:
    names, chains = ["a", "b", "c", "d"], [("a", "b"), ("a", "c")]
    with pytest.raises(ToolchainError, match="a would learn in two chains at once: name it"):
        JointToolsConfig().teams(names, chains)
    frozen = JointToolsConfig(frozen=("a",))
    assert frozen.teams(names, chains) == [("a", "b"), ("a", "c"), ("d",)]
    assert JointToolsConfig(frozen=("a", "b")).teams(names, chains[:1]) == [("c",), ("d",)]
    with pytest.raises(UnknownNameError, match="nobody"):
        JointToolsConfig(frozen=("nobody",)).teams(names, chains)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"met": 1.5}, "met must lie in [0, 1], got 1.5"),
        ({"untouched": -1.0}, "untouched must lie in [0, 1], got -1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"early": -1.0}, "early must not be negative, got -1.0"),
        ({"total_crops": 0}, "total_crops and chain_crops must be positive"),
    ],
)
def test_what_is_out_of_range_is_one_line(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        JointToolsConfig(**wrong)


def test_settings_that_do_not_fit_the_plan_are_refused(config: SpecialistConfig) -> None:
    joint = JointToolsConfig(total_crops=1, chain_crops=1)
    for key, team in (("total_crops", ("a",)), ("chain_crops", ("b", "a"))):
        with pytest.raises(ToolchainError, match=f"^joint.tools.{key} must hold a batch of 2$"):
            joint.settings(config, team)
