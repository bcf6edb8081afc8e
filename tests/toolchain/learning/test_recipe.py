"""Properties of the one recipe: tools and their agent from nothing, stage by stage."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from restoration_toolchain.agents.learning.outcome_learning import Student
from restoration_toolchain.agents.outcomes import record as recording
from restoration_toolchain.agents.policy.storage import load_bundle, load_policy, save_policy
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.toolchain.learning import costs as costing
from restoration_toolchain.toolchain.learning import recipe as recipes
from restoration_toolchain.toolchain.learning import world as worlds
from restoration_toolchain.toolchain.learning.costs import estimate
from restoration_toolchain.toolchain.learning.recipe import learnt_from, read_recipe, train_recipe
from restoration_toolchain.tools_zoo.origin import Origin
from restoration_toolchain.tools_zoo.recipes import plan
from restoration_toolchain.tools_zoo.storage import load_toolbox, read_notes, save_toolbox
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.errors import (
    DamagedRunError,
    NothingToResumeError,
    RunMismatchError,
    RunTakenError,
)

TINY: dict[str, Any] = {
    "photos": ["embedded"],
    "held_out": "embedded",
    "device": "cpu",
    "precision": "fp32",
    "profile_crops": 1,
    "specialists": {
        "batch_size": 2,
        "side": 32,
        "eval_crops": 2,
        "eval_photos": 1,
        "num_workers": 0,
        "tools": {
            "a": {
                "families": {"noise": 1},
                "psnr": [10, 45],
                "network": "small",
                "total_crops": 4,
            },
            "b": {"families": {"jpeg": 1}, "network": "small", "init": "a", "total_crops": 4},
        },
    },
    "agent": {
        "num_crops": 8,
        "held_out_crops": 8,
        "held_out_photos": 2,
        "rounds": 1,
        "chains": [["a", "b"]],
        "learning": {"epochs": 1, "batch_size": 4, "eval_every": 1000, "num_workers": 0},
    },
}


JOINT: dict[str, Any] = {
    "tools": {"chain_crops": 4, "frozen": ["a"]},
    "agent": {
        "recognition": {"total_crops": 8, "batch_size": 4, "eval_every": 1000, "num_workers": 0},
        "learning": {"fresh": 2},
    },
}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "CROPS_PER_SHARD", 8)


def interrupt(at: str) -> recipes.OnPhaseStep:
    def on_step(phase: str, step: int, total: int, metrics: dict[str, float]) -> None:
        if phase == at:
            raise KeyboardInterrupt

    return on_step


def test_a_recipe_makes_tools_and_their_agent_and_goes_on_where_it_was_interrupted(
    tmp_path: Path,
) -> None:
    recipe = read_recipe(TINY, name="tiny", run_path=tmp_path)
    phases: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        train_recipe(recipe, tmp_path, on_step=interrupt("b"))
    with pytest.raises(RunTakenError):
        train_recipe(recipe, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_recipe(recipe, tmp_path, resume=True, on_step=interrupt("recording held_out"))
    folder = train_recipe(
        recipe, tmp_path, resume=True, on_step=lambda phase, *_: phases.append(phase)
    )
    assert set(phases) == {
        "recording outcomes",
        "recording held_out",
        "learning, round 1",
        "measuring tools",
    }
    toolbox, policy = load_bundle(folder)
    assert (toolbox.name, toolbox.names) == ("tiny", ("a", "b"))
    assert policy.default_chains == (("a", "b"),)
    assert policy.knows_risk
    assert {notes["recipe"] for notes in read_notes(folder).values()} == {"tiny"}
    assert toolbox.profile is not None
    assert set(toolbox.profile.own) == {"a", "b"}
    assert toolbox["a"].spec.psnr == (10, 45)
    # What ships has 16 bits; the agent learnt with the tools as they ship.
    for value in toolbox["a"].network.state_dict().values():
        assert torch.equal(value, value.half().float())


def test_tools_and_agent_learn_from_each_other_and_what_ships_is_what_comes_of_it(
    tmp_path: Path,
) -> None:
    values = {**TINY, "joint": JOINT}
    recipe = read_recipe(values, name="tiny", run_path=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_recipe(recipe, tmp_path, on_step=interrupt("joint: tools"))
    # What the first agent gives its tools is kept: its record may go.
    for shard in (tmp_path / "agent" / "held_out").iterdir():
        shard.unlink()
    for stage in ("recording outcomes", "recognising", "learning, round 1"):
        with pytest.raises(KeyboardInterrupt):
            train_recipe(recipe, tmp_path, resume=True, on_step=interrupt(stage))
    phases: list[str] = []
    folder = train_recipe(
        recipe, tmp_path, resume=True, on_step=lambda phase, *_: phases.append(phase)
    )
    assert folder == tmp_path / "joint" / "toolbox"
    assert not {"joint: tools", "recognising"} & set(phases)
    assert phases[-1] == "measuring tools"
    first, (toolbox, policy) = load_toolbox(tmp_path / "toolbox"), load_bundle(folder)
    assert (toolbox.name, toolbox.names) == ("tiny", ("a", "b"))
    assert toolbox.checksums["a"] == first.checksums["a"]
    assert toolbox.checksums["b"] != first.checksums["b"]
    assert policy.tool_checksums == toolbox.checksums
    assert toolbox.profile is not None
    assert {notes["recipe"] for notes in read_notes(folder).values()} == {"tiny"}
    assert read_notes(folder)["b"]["joint"]["trained"]["met"] == 0.5
    # Another first agent gives its tools other things.
    save_policy(load_policy(folder / "agent"), tmp_path / "agent" / "best")
    with pytest.raises(RunMismatchError, match="is of another agent"):
        train_recipe(recipe, tmp_path, resume=True)


def test_what_an_agent_gives_its_tools_needs_its_record_or_what_was_kept_of_it(
    tmp_path: Path,
) -> None:
    recipe = read_recipe({**TINY, "joint": JOINT}, name="tiny", run_path=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_recipe(recipe, tmp_path, on_step=interrupt("joint: tools"))
    (tmp_path / "joint" / "encounters.json").unlink()
    shutil.rmtree(tmp_path / "agent" / "held_out")
    with pytest.raises(DamagedRunError, match="delete that folder and resume"):
        train_recipe(recipe, tmp_path, resume=True)


def test_what_was_recognised_is_what_the_agent_learns_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe({**TINY, "joint": JOINT}, name="tiny", run_path=tmp_path)
    begun: list[dict[str, torch.Tensor]] = []
    learn = worlds._learn

    def watched(student: Student, *others: Any) -> Student:
        begun.append({key: value.clone() for key, value in student.observer.state_dict().items()})
        return learn(student, *others)

    monkeypatch.setattr(worlds, "_learn", watched)
    train_recipe(recipe, tmp_path)
    folder = tmp_path / "joint" / "agent" / "recognition"
    learnt = torch.load(folder / "checkpoint.pt", weights_only=True)["averaged"]
    _, second = begun
    assert learnt.keys() == second.keys()
    for key, value in second.items():
        assert torch.equal(value, learnt[key]), key


def test_a_run_that_ended_before_its_first_checkpoint_begins_again(tmp_path: Path) -> None:
    (tmp_path / "tools" / "a").mkdir(parents=True)
    recipe = read_recipe(TINY, name="tiny", run_path=tmp_path)
    with pytest.raises(NothingToResumeError):
        train_recipe(recipe, tmp_path, resume=True)
    assert load_bundle(train_recipe(recipe, tmp_path))[0].names == ("a", "b")


def test_what_is_wrong_with_the_agent_is_said_before_its_tools_are_trained(tmp_path: Path) -> None:
    for change in ({"held_out": str(tmp_path / "nowhere")}, {"init_encoder": "nobody"}):
        values = {**TINY, **change} if "held_out" in change else TINY
        agent = TINY["agent"] if "held_out" in change else {**TINY["agent"], **change}
        recipe = read_recipe({**values, "agent": agent}, name="tiny", run_path=tmp_path)
        with pytest.raises(ToolchainError, match=r"nowhere|nobody"):
            train_recipe(recipe, tmp_path)
        assert not (tmp_path / "tools").exists()


def test_what_was_recorded_of_other_tools_is_not_gone_on_with(tmp_path: Path) -> None:
    recipe = read_recipe(TINY, name="tiny", run_path=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_recipe(recipe, tmp_path, on_step=interrupt("recording outcomes"))
    runs = tmp_path / "tools" / "toolbox"
    toolbox = load_toolbox(runs)
    next(toolbox["a"].parameters()).data.add_(1.0)
    save_toolbox(Toolbox(toolbox.name, list(toolbox)), runs, read_notes(runs))
    with pytest.raises(ToolchainError, match="the tools are others"):
        train_recipe(recipe, tmp_path, resume=True)


def test_a_recipe_says_what_every_stage_costs_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costing, "_TRIAL_CROPS", 2)
    recipe = read_recipe(TINY, name="tiny", run_path=tmp_path)
    costs = estimate(recipe)
    assert [cost.stage for cost in costs] == ["a", "b", "recording", "learning", "measuring"]
    assert [cost.crops for cost in costs] == [4, 4, 16, 8, 32]
    assert all(cost.minutes > 0.0 for cost in costs)
    assert not list(tmp_path.iterdir())
    joint = {**JOINT, "agent": {**JOINT["agent"], "num_crops": 16}}
    recipe = read_recipe({**TINY, "joint": joint}, name="tiny", run_path=tmp_path)
    more = {cost.stage: cost.crops for cost in estimate(recipe)}
    assert (more["joint: tools"], more["joint: recognising"]) == (4, 8)
    assert "recognising" not in more
    assert (more["recording"], more["joint: recording"], more["joint: learning"]) == (16, 24, 16)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"agent": None}, r"agent must be a table, got None"),
        ({"specialists": {**TINY["specialists"], "seed": 3}}, "specialists.seed is that of"),
        ({"agent": {**TINY["agent"], "toolbox": "x"}}, "the tools of the recipe"),
        ({"agent": {**TINY["agent"], "rounds": 0}}, "must be positive"),
        ({"held_out": ""}, "held out"),
        ({"profile_crops": 0}, "profile_crops must be"),
        ({"profile_crops": "many"}, "profile_crops must be"),
        ({"agent": {**TINY["agent"], "chains": [["a", "c"]]}}, "no tool 'c'"),
        ({"fresh": "yes"}, "fresh must be true or false"),
        ({"joint": 3}, "joint must be a table, got 3"),
        ({"joint": {"agent": 3}}, "joint.agent must be a table, got 3"),
        ({"joint": {"tools": 3}}, "joint.tools must be a table, got 3"),
        ({"joint": {"tools": {"met": 2.0}}}, r"joint.tools.met must lie in \[0, 1\], got 2.0"),
        (
            {"agent": {**TINY["agent"], "chains": [["a", "b"], ["b", "a"]]}, "joint": {}},
            "a would learn in two chains at once: name it in joint.tools.frozen",
        ),
        ({"agent": {**TINY["agent"], "chains": [["a", "a"]]}}, "chains are pairs of different"),
        ({"agent": {**TINY["agent"], "chains": [["a", "b"]] * 2}}, "a chain is named twice"),
        (
            {"specialists": {"tools": {"a": 3}}, "fresh": True},
            "specialists.tools.a must be a table, got 3",
        ),
        (
            {"specialists": {"tools": {"a": {"init": 3}}}, "fresh": True},
            "specialists.tools.a.init must be of type str, got 3",
        ),
        (
            {"specialists": {"tools": {"a": {"total_crops": "x"}}}, "fresh": True},
            "specialists.tools.a.total_crops must be of type int, got 'x'",
        ),
        ({"joint": {"chains": {}}}, "joint.chains"),
        ({"joint": {"tools": {"frozen": ["c"]}}}, "no tool 'c'"),
        ({"joint": {"agent": {"init": "x"}}}, "joint.agent.init is that of"),
    ],
)
def test_what_a_recipe_cannot_mean_is_one_line(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ToolchainError, match=says):
        read_recipe({**TINY, **change}, name="tiny", run_path=tmp_path)


def test_unknown_options_of_a_recipe_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="spezialists"):
        read_recipe({**TINY, "spezialists": {}}, name="tiny", run_path=tmp_path)


def test_a_fresh_recipe_begins_with_nothing_that_ships(tmp_path: Path) -> None:
    values = {**plan.read_recipe("world"), "photos": ["embedded"], "held_out": "embedded"}
    shipped = read_recipe(values, name="world", run_path=tmp_path)
    fresh = read_recipe({**values, "fresh": True}, name="world", run_path=tmp_path)
    assert shipped.agent.init_encoder is not None
    assert fresh.agent.init_encoder is None
    for name, tool in fresh.specialists.tools.items():
        before = shipped.specialists.tools[name]
        assert "/" not in (tool.init or "")
        if tool.init == before.init:
            assert tool == before
        else:
            assert tool.total_crops == (recipes.FRESH_FACTOR * before.total_crops or 96_000)
    assert {tool.init for tool in fresh.specialists.tools.values()} > {None, "deblock_jpeg"}


def test_a_bundle_says_what_its_agent_was_learnt_from_too(tmp_path: Path) -> None:
    def origin(**changes: Any) -> Origin:
        public = {"photos": ["stockimages-cc0"], "held_out": "stockimages-cc0-val"}
        values = {**TINY, **public, "agent": {**TINY["agent"], **changes}}
        return learnt_from(read_recipe(values, name="tiny", run_path=tmp_path).agent)

    alone, begun = origin(), origin(init_encoder="efficient")
    assert "StockImages" in alone.data
    assert "BSDS" not in alone.data
    assert "StockImages" in begun.data
    assert "BSDS500" in begun.data
    assert "LicenseRef-BSDS500-research" in begun.license
    assert "unknown" in origin(init_encoder=str(tmp_path)).data


def test_the_recipe_of_what_ships_can_be_read(tmp_path: Path) -> None:
    values = {**plan.read_recipe("world"), "photos": ["embedded"], "held_out": "embedded"}
    recipe = read_recipe(values, name="world", run_path=tmp_path)
    tools = recipe.specialists.tools
    assert all(tool in tools for chain in recipe.agent.chains for tool in chain)
