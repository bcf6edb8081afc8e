"""Properties of ``toolchain calibrate``."""

import shutil
from pathlib import Path

import torch
from typer.testing import CliRunner, Result

from restoration_toolchain.agents.policy.guard import GUARD_FILE
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.agents.policy.storage import load_policy, save_policy
from restoration_toolchain.toolchain.cli import app
from tests.toolchain.conftest import NAMES, MakePhoto, RunCli, assert_one_line


def calibrate(store: Path, toolbox: Path, agent: Path, *words: object) -> Result:
    flags = ("--store", store, "--toolbox", toolbox, "--agent", agent, "--count", 32)
    fixed = ("--device", "cpu")
    return CliRunner().invoke(app, ["calibrate", *map(str, (*flags, *fixed, *words))])


def test_a_calibrated_agent_tells_its_risk(
    store_path: Path,
    toolbox_folder: Path,
    agent_folder: Path,
    run_cli: RunCli,
    make_photo: MakePhoto,
    tmp_path: Path,
) -> None:
    agent = tmp_path / "agent"
    shutil.copytree(agent_folder, agent)
    words = ("restore", make_photo("in.png"), "-o", tmp_path / "out.png", "--agent", agent)
    assert_one_line(run_cli(*words, "--max-risk", 0.0), 2, "toolchain calibrate")
    config = (agent / "config.json").read_bytes()
    result = calibrate(store_path, toolbox_folder, agent)
    assert result.exit_code == 0, result.output
    assert (agent / GUARD_FILE).is_file()
    assert (agent / "config.json").read_bytes() == config
    assert load_policy(agent).guard is not None
    for column in ("mean risk", "made worse", "steps"):
        assert column in result.output
    result = run_cli(*words, "--max-risk", 0.0)
    assert result.exit_code == 0, result.output
    assert "left as it is" in result.output


def test_an_agent_that_knows_distributions_learns_what_its_claims_are_worth_and_keeps_its_limits(
    store_path: Path, toolbox_folder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = RecurrentQNet(len(NAMES), "pooled_statistics", quantiles=True)
    with torch.no_grad():
        net.head.bias[:3] = 1.0  # some tool runs on everything, and the limits are left out
    limits = {"max_risk": 0.04, "unfamiliar_risk": 0.01}
    save_policy(LstmPolicy(net, NAMES, **limits), tmp_path / "agent")
    result = calibrate(store_path, toolbox_folder, tmp_path / "agent")
    assert result.exit_code == 0, result.output
    policy = load_policy(tmp_path / "agent")
    assert (policy.max_risk, policy.unfamiliar_risk) == (0.04, 0.01)
    assert policy.guard is not None
    images = torch.rand(4, 3, 63, 63)
    seen, state = policy.see(images), policy.initial_state(4)
    start = torch.full((4,), len(NAMES))
    found, _ = policy.judge(seen, start, state)
    claimed, _ = policy.changed(guard=None).judge(seen, start, state)
    assert claimed.risks is not None
    corrected = policy.guard.intercept + policy.guard.slope * torch.logit(claimed.risks)
    torch.testing.assert_close(found.risks, torch.sigmoid(corrected))


def test_an_agent_that_never_acts_has_no_risk(
    store_path: Path, toolbox_folder: Path, idle_agent_folder: Path
) -> None:
    result = calibrate(store_path, toolbox_folder, idle_agent_folder)
    assert_one_line(result, 2, "0 of 0 steps")
