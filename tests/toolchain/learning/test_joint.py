"""Joint fine-tuning: bundles, acceptance of phases, interruption."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.agents.policy.recognition import Recognition
from restoration_toolchain.agents.policy.storage import (
    AGENT_FOLDER,
    PolicyError,
    load_bundle,
    load_policy,
    save_policy,
)
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.toolchain.cli import app
from restoration_toolchain.toolchain.learning import joint
from restoration_toolchain.toolchain.learning.joint import (
    JointConfig,
    average_bundles,
    held_out_pairs,
    save_bundle,
    train_joint,
)
from restoration_toolchain.tools_zoo.storage import load_toolbox, read_notes
from restoration_toolchain.tools_zoo.training.run_folder import config_from_dict, merge_options
from tests.toolchain.conftest import scripted_policy


@pytest.fixture
def bundle(toolbox_folder: Path, tmp_path: Path) -> Path:
    save_bundle(load_toolbox(toolbox_folder), scripted_policy("denoise_3"), tmp_path / "bundle")
    return tmp_path / "bundle"


def config(store: Path, bundle: Path, **changes: Any) -> JointConfig:
    values: dict[str, Any] = {
        "store": str(store), "toolbox": str(bundle), "rounds": 1, "tools_only": True,
        "tools": {"total_patches": 16, "batch_size": 4, "own_patches": 1}, "eval_pairs": 4,
        "tolerance": 1e9, "device": "cpu", "precision": "fp32",
    }  # fmt: skip
    return config_from_dict(JointConfig, merge_options(values, changes))


def test_a_bundle_is_loaded_by_the_name_of_its_toolbox_alone(bundle: Path) -> None:
    toolbox, policy = load_bundle(bundle)
    assert policy.tool_checksums == toolbox.checksums


def test_an_agent_of_other_weights_is_refused(bundle: Path, tmp_path: Path) -> None:
    toolbox = load_toolbox(bundle)
    with torch.no_grad():
        next(toolbox["deblur_1"].parameters()).add_(1e-3)
    save_bundle(toolbox, scripted_policy("denoise_3"), tmp_path / "other")
    with pytest.raises(PolicyError, match="other weights of deblur_1"):
        load_bundle(bundle, tmp_path / "other" / AGENT_FOLDER)


def test_options_of_the_agent_phases_are_passed_on_and_checked_at_once(
    store_path: Path, bundle: Path
) -> None:
    chains = [["denoise_3", "deblur_1"]]
    options = {"gamma": 1.0, "rollout_chains": chains, "levels": ["mild", "clean"]}
    phase = config(store_path, bundle, agent=options).agent_phase(2, bundle)
    assert phase.known_chains == (("denoise_3", "deblur_1"),)
    assert (phase.gamma, tuple(phase.levels), phase.seed) == (1.0, ("mild", "clean"), 2)
    with pytest.raises(ToolchainError, match=r"'agent.gama'; did you mean 'agent.gamma'"):
        config(store_path, bundle, agent={"gama": 1.0})
    with pytest.raises(ToolchainError, match=r"agent.seed is that of the whole run: set seed"):
        config(store_path, bundle, agent={"seed": 1})
    with pytest.raises(ToolchainError, match=r"did you mean 'tools"):
        config(store_path, bundle, tool_patches=5)
    with pytest.raises(ToolchainError, match="rollout_chains needs"):
        config(store_path, bundle, agent={"rollout_chains": chains})


def test_a_toolbox_without_an_agent_says_so(toolbox_folder: Path) -> None:
    with pytest.raises(PolicyError, match="no agent in it"):
        load_bundle(toolbox_folder)


def test_an_agent_that_knows_no_checksums_plays_with_any_weights(
    bundle: Path, tmp_path: Path
) -> None:
    save_policy(scripted_policy("denoise_3"), tmp_path / "agent")
    load_bundle(bundle, tmp_path / "agent")


def test_a_phase_that_helps_becomes_the_best_bundle(
    store_path: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gains = iter([0.0, 1.0, 1.0])  # the start, the tool phase, the agent phase
    monkeypatch.setattr(
        joint._Alternation, "_validate", lambda *_: dict.fromkeys(("mild", "severe"), next(gains))
    )
    best = train_joint(config(store_path, bundle), tmp_path / "run")
    assert load_toolbox(best).checksums != load_toolbox(bundle).checksums
    toolbox, policy = load_bundle(best)
    assert policy.tool_checksums == toolbox.checksums


@pytest.mark.parametrize(
    "after", [{"mild": -0.1, "severe": -0.1}, {"mild": 1.0, "severe": -0.1}], ids=["all", "one"]
)
def test_a_phase_that_harms_a_level_is_undone(
    store_path: Path,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: dict[str, float],
) -> None:
    gains = iter([{"mild": 0.0, "severe": 0.0}, after, after])
    monkeypatch.setattr(joint._Alternation, "_validate", lambda *_: next(gains))
    best = train_joint(config(store_path, bundle, tolerance=0.02), tmp_path / "run")
    assert load_toolbox(best).checksums == load_toolbox(bundle).checksums
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["accepted"] for line in lines] == [0.0, 0.0]


def test_a_round_without_success_is_the_last(
    store_path: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint._Alternation, "_validate", lambda *_: {"mild": 0.0})
    train_joint(config(store_path, bundle, rounds=5), tmp_path / "run")
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


def test_an_interrupted_run_goes_on_to_the_same_end(
    store_path: Path, bundle: Path, tmp_path: Path
) -> None:
    settings = config(store_path, bundle)
    whole = train_joint(settings, tmp_path / "whole")

    def interrupt(phase: str, step: int, total: int, metrics: dict[str, float]) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_joint(settings, tmp_path / "parts", on_step=interrupt)
    resumed = train_joint(settings, tmp_path / "parts", resume=True)
    assert load_toolbox(resumed).checksums == load_toolbox(whole).checksums


def test_the_agent_phase_starts_from_the_agent_and_learns_the_new_tools(
    store_path: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(
        store_path,
        bundle,
        tools_only=False,
        tools={"epsilon": 0.0},
        agent={"total_timesteps": 256, "encoder": "rl_restore"},
    )
    assert settings.agent_phase(1, bundle).eval_every == 64
    best = train_joint(settings, tmp_path / "run")
    toolbox, policy = load_bundle(best)
    trained = load_policy(tmp_path / "run" / "round-1-agent" / "best")
    assert trained.tool_checksums == toolbox.checksums
    assert policy.tool_names == toolbox.names


def test_an_agent_that_knows_distributions_still_does_when_it_has_learnt_new_tools(
    store_path: Path, bundle: Path, tmp_path: Path
) -> None:
    toolbox = load_toolbox(bundle)
    torch.manual_seed(0)
    net = RecurrentQNet(len(toolbox), "pooled_statistics", quantiles=True)
    named = Recognition(net.encoder.out_features, ("grain", "clean"))
    limits = {"max_risk": 0.9, "unfamiliar_risk": 0.5}
    knowing = LstmPolicy(net, toolbox.names, recognition=named, **limits)
    save_bundle(toolbox, knowing, tmp_path / "knowing")
    agent = {"total_timesteps": 64, "n_envs": 4, "gradient_steps": 1, "learning_starts": 4}
    settings = config(store_path, tmp_path / "knowing", tools_only=False, agent=agent)
    train_joint(settings, tmp_path / "run")
    trained = load_policy(tmp_path / "run" / "round-1-agent" / "best")
    assert trained.q_net.encoder_name == "pooled_statistics"
    assert trained.q_net.spread is not None
    assert net.spread is not None
    assert not torch.equal(trained.q_net.spread.weight, net.spread.weight)
    assert trained.recognition is not None
    assert torch.equal(trained.recognition.fc.weight, named.fc.weight)
    assert (trained.max_risk, trained.unfamiliar_risk) == (0.9, 0.5)


def test_held_out_pairs_are_fixed_and_degraded(store_path: Path) -> None:
    first, second = (held_out_pairs(str(store_path), "mild", 3, 0) for _ in range(2))
    assert (first.lq == second.lq).all()
    assert (first.lq != first.gt).any()


def test_the_average_of_bundles_has_the_agent_of_the_first(bundle: Path, tmp_path: Path) -> None:
    toolbox = load_toolbox(bundle)
    with torch.no_grad():
        for weights in toolbox["deblur_1"].parameters():
            weights.add_(1.0)
    said = {"deblur_1": {"made": "by hand"}}
    save_bundle(toolbox, scripted_policy("deblur_1"), tmp_path / "other", said)
    average_bundles([bundle, tmp_path / "other"], tmp_path / "mean")
    average, policy = load_bundle(tmp_path / "mean")
    for now, before in zip(
        average["deblur_1"].parameters(), load_toolbox(bundle)["deblur_1"].parameters(), strict=True
    ):
        torch.testing.assert_close(now, before + 0.5)
    original = load_policy(bundle / AGENT_FOLDER)
    for now, before in zip(policy.q_net.parameters(), original.q_net.parameters(), strict=True):
        assert torch.equal(now, before)
    notes = read_notes(tmp_path / "mean")
    assert notes["deblur_1"]["mean_of"] == [
        load_toolbox(folder).checksums["deblur_1"] for folder in (bundle, tmp_path / "other")
    ]
    assert notes["deblur_1"]["made"] == "by hand"
    assert not notes["denoise_3"]


def test_toolboxes_without_an_agent_are_averaged_from_the_command_line(
    toolbox_folder: Path, tmp_path: Path
) -> None:
    words = [
        "train",
        "average",
        str(toolbox_folder),
        str(toolbox_folder),
        "-o",
        str(tmp_path / "m"),
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert load_toolbox(tmp_path / "m").checksums == load_toolbox(toolbox_folder).checksums
    assert not (tmp_path / "m" / AGENT_FOLDER).exists()
