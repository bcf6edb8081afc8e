"""Properties of ``toolchain calibrate``."""

import shutil
from pathlib import Path

from typer.testing import CliRunner, Result

from restoration_toolchain.agents.policy.guard import GUARD_FILE
from restoration_toolchain.agents.policy.storage import load_policy
from restoration_toolchain.toolchain.cli import app
from tests.toolchain.conftest import MakePhoto, RunCli, assert_one_line


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


def test_an_agent_that_never_acts_has_no_risk(
    store_path: Path, toolbox_folder: Path, idle_agent_folder: Path
) -> None:
    result = calibrate(store_path, toolbox_folder, idle_agent_folder)
    assert_one_line(result, 2, "0 of 0 steps")
