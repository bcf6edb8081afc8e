"""Properties of the training of an agent for the world, on few crops and two tiny tools."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from restoration_toolchain.agents.learning.outcome_learning import OutcomeLearningConfig
from restoration_toolchain.agents.outcomes import record as recording
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.agents.policy.storage import check_fits, load_policy, save_policy
from restoration_toolchain.agents.tuning.caution import MAX_RISK, PRICES, UNFAMILIAR_RISK
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.toolchain.learning.world import (
    WorldConfig,
    begin,
    families_of_the_world,
    train_world,
)
from restoration_toolchain.tools_zoo.storage import load_toolbox, save_toolbox
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.errors import RunMismatchError, RunTakenError

LEARNING = OutcomeLearningConfig(epochs=1, batch_size=4, eval_every=1000, num_workers=0)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "CROPS_PER_SHARD", 8)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A toolbox of two tools that change pixels a little."""
    torch.manual_seed(0)
    specs = [ToolSpec("a", "noise", (0, 1), "small"), ToolSpec("b", "blur", (0, 1), "small")]
    tools = [Tool(spec) for spec in specs]
    with torch.no_grad():
        for tool in tools:
            *_, last = (m for m in tool.network.modules() if isinstance(m, torch.nn.Conv2d))
            last.weight *= 0.1
    save_toolbox(Toolbox("pair", tools), tmp_path / "toolbox")
    return tmp_path / "toolbox"


@pytest.fixture
def config(pair: Path) -> WorldConfig:
    return WorldConfig(
        photos=("embedded",),
        held_out="embedded",
        held_out_photos=2,
        toolbox=str(pair),
        num_crops=8,
        held_out_crops=8,
        chains=(("a", "b"),),
        learning=LEARNING,
        device="cpu",
        precision="fp32",
    )


def weights_of(policy: LstmPolicy) -> dict[str, torch.Tensor]:
    return policy.q_net.state_dict()


def test_an_agent_for_the_world_knows_risks_names_and_its_limits_and_goes_on_when_interrupted(
    config: WorldConfig, pair: Path, tmp_path: Path
) -> None:
    phases: list[str] = []
    run = tmp_path / "whole"
    policy = train_world(config, run, on_step=lambda phase, *_: phases.append(phase))
    learning = [f"learning, round {number}" for number in (1, 1, 2, 2)]
    assert phases == ["recording outcomes", "recording held_out", *learning]
    check_fits(policy, load_toolbox(pair))
    assert policy.knows_risk
    assert policy.guard is not None
    assert policy.caution in PRICES
    assert (policy.max_risk, policy.unfamiliar_risk) == (MAX_RISK, UNFAMILIAR_RISK)
    assert policy.recognition is not None
    assert policy.recognition.families == families_of_the_world()
    assert set(policy.recognition.untouched) < set(families_of_the_world())
    with pytest.raises(RunTakenError):
        train_world(config, run)
    with pytest.raises(RunMismatchError):
        train_world(dataclasses.replace(config, num_crops=16), run, resume=True)

    def interrupt(at: str) -> Any:
        def on_step(phase: str, step: int, total: int, metrics: dict[str, float]) -> None:
            if phase == at:
                raise KeyboardInterrupt

        return on_step

    parts = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        train_world(config, parts, on_step=interrupt("recording held_out"))
    shard = next((parts / "outcomes").iterdir())
    written = shard.stat().st_mtime_ns
    with pytest.raises(RunTakenError):  # what was recorded is not for other settings
        train_world(dataclasses.replace(config, seed=1), parts)
    with pytest.raises(KeyboardInterrupt):
        train_world(config, parts, resume=True, on_step=interrupt("learning, round 2"))
    again = train_world(config, parts, resume=True)
    assert shard.stat().st_mtime_ns == written
    assert again.caution == policy.caution
    for name, value in weights_of(again).items():
        assert torch.equal(value, weights_of(policy)[name]), name
    # What is finished is not made again.
    more: list[str] = []
    train_world(config, parts, resume=True, on_step=lambda phase, *_: more.append(phase))
    assert not more
    kept = load_policy(parts / "best")
    assert torch.equal(kept.guard.mean, policy.guard.mean)  # type: ignore[union-attr]


def test_several_processes_record_what_one_does(config: WorldConfig, tmp_path: Path) -> None:
    def interrupt(phase: str, done: int, total: int, metrics: dict[str, float]) -> None:
        if done == total:
            raise KeyboardInterrupt

    three = dataclasses.replace(config, num_crops=24)
    records = []
    for processes in (1, 2):
        several = dataclasses.replace(three, num_processes=processes)
        run = tmp_path / str(processes)
        with pytest.raises(KeyboardInterrupt):
            train_world(several, run, on_step=interrupt)
        paths = sorted((run / "outcomes").iterdir())
        assert len(paths) == 3
        records.append(recording.load(paths))
    one, two = records
    assert np.array_equal(one.images, two.images)
    np.testing.assert_allclose(one.gains, two.gains, atol=1e-3)
    # How many processes record is nothing that a run must go on with.
    policy = train_world(dataclasses.replace(three, num_processes=1), run, resume=True)
    assert policy.knows_risk


def test_an_agent_begins_with_the_eyes_of_another_or_says_at_once_that_it_cannot(
    config: WorldConfig, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    seeing = LstmPolicy(RecurrentQNet(1, "fine_statistics"), ("other",))
    save_policy(seeing, tmp_path / "seeing")
    begins = dataclasses.replace(config, init_encoder=str(tmp_path / "seeing"))
    student = begin(begins, ("a", "b"))
    found, known = student.q_net.encoder.state_dict(), seeing.q_net.encoder.state_dict()
    assert all(torch.equal(found[name], value) for name, value in known.items())
    save_policy(LstmPolicy(RecurrentQNet(1, "rl_restore"), ("other",)), tmp_path / "other")
    for agent, says in ((str(tmp_path / "other"), "sees with other layers"), ("nobody", "nobody")):
        other, run = dataclasses.replace(config, init_encoder=agent), tmp_path / "run"
        with pytest.raises(ToolchainError, match=says):
            train_world(other, run)
        assert not (run / "outcomes").exists()  # nothing was recorded in vain


def test_an_agent_goes_on_with_all_that_another_one_knows_of_the_same_tools(
    config: WorldConfig, tmp_path: Path
) -> None:
    knowing = train_world(dataclasses.replace(config, rounds=1), tmp_path / "run")
    best = str(tmp_path / "run" / "best")
    student = begin(dataclasses.replace(config, init=best), ("a", "b"))
    for name, value in weights_of(knowing).items():
        assert torch.equal(student.q_net.state_dict()[name], value)
    assert knowing.recognition is not None
    for name, value in knowing.recognition.state_dict().items():
        assert torch.equal(student.recognition.state_dict()[name], value)
    with pytest.raises(ToolchainError, match="knows other tools"):
        begin(dataclasses.replace(config, init=best), ("b", "a"))
    with pytest.raises(ToolchainError, match="recognises other families"):
        begin(dataclasses.replace(config, init="efficient-paper"), load_agent_tools())
    with pytest.raises(ToolchainError, match="encoder alone"):
        dataclasses.replace(config, init=best, init_encoder="efficient")


def load_agent_tools() -> tuple[str, ...]:
    return load_policy("efficient-paper").tool_names


def test_bad_settings_are_one_clear_line(config: WorldConfig, pair: Path, tmp_path: Path) -> None:
    for missing in ({"photos": ()}, {"held_out": ""}):
        with pytest.raises(ToolchainError, match="photos to learn from must be named"):
            dataclasses.replace(config, **missing)
    with pytest.raises(ToolchainError, match="pairs of different tools"):
        dataclasses.replace(config, chains=(("a", "b", "a"),))
    with pytest.raises(ValueError, match="must be positive"):
        dataclasses.replace(config, num_crops=0)
    with pytest.raises(ToolchainError, match=r"learning\.seed is that of the whole run: set seed"):
        dataclasses.replace(config, learning=dataclasses.replace(LEARNING, seed=3))
    unknown = dataclasses.replace(config, chains=(("a", "c"),))
    with pytest.raises(ToolchainError, match="no tool 'c'; known: a, b"):
        train_world(unknown, tmp_path / "unknown")
    spec = ToolSpec("larger", "sr", (4, 4), "sr_x4", 4)
    save_toolbox(Toolbox("larger", [Tool(spec)]), tmp_path / "larger")
    enlarging = dataclasses.replace(config, toolbox=str(tmp_path / "larger"), chains=())
    with pytest.raises(ToolchainError, match="has tools that enlarge"):
        train_world(enlarging, tmp_path / "enlarging")
    (tmp_path / "small").mkdir()
    Image.fromarray(np.zeros((100, 300, 3), np.uint8)).save(tmp_path / "small" / "photo.png")
    small = dataclasses.replace(config, photos=(str(tmp_path / "small"),))
    with pytest.raises(ToolchainError, match="no photo has 192 pixels a side"):
        train_world(small, tmp_path / "small-run")
    nowhere = dataclasses.replace(config, held_out=str(tmp_path / "nowhere"))
    few = dataclasses.replace(config, held_out=str(tmp_path / "small"))
    for other, says in ((nowhere, "nowhere"), (few, "no photo has 192 pixels a side")):
        with pytest.raises(ToolchainError, match=says):
            train_world(other, tmp_path / says[:7])
        assert not (tmp_path / says[:7] / "outcomes").exists()  # nothing was recorded in vain
