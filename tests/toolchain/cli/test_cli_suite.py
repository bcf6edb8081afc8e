"""Properties of ``toolchain evaluate --suite``."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.agents.policy.storage import AGENT_FOLDER, save_policy
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.toolchain.cli import app
from restoration_toolchain.toolchain.measuring.suite import folder_level
from restoration_toolchain.tools_zoo.storage import load_toolbox, save_toolbox
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox

NamedPhotos = list[tuple[str, ByteImage]]
QUICK = ("--count", 3, "--oracle-count", 2, "--max-steps", 1, "--device", "cpu")


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)], env={"COLUMNS": "200"})


def write_photos(folder: Path, photos: list[ByteImage]) -> Path:
    folder.mkdir()
    for number, photo in enumerate(photos):
        cv2.imwrite(str(folder / f"{number}.png"), photo[..., ::-1])
    return folder


@pytest.fixture
def bundle(tiny_toolbox: Toolbox, tmp_path: Path) -> Path:
    folder = tmp_path / "box"
    save_toolbox(tiny_toolbox, folder)
    checksums = load_toolbox(folder).checksums
    for name, encoder in ((AGENT_FOLDER, "statistics"), ("ppo", "rl_restore")):
        policy = LstmPolicy(
            RecurrentQNet(3, encoder),  # type: ignore[arg-type]
            tiny_toolbox.names,
            tool_checksums=checksums,
        )
        save_policy(policy, folder / name)
    return folder


@pytest.fixture
def baselines(tmp_path: Path) -> Path:
    tool = Tool(ToolSpec("alone", "mixed", (9.0, 20.0), "small"))
    save_toolbox(Toolbox("baselines", [tool]), tmp_path / "baselines")
    return tmp_path / "baselines"


def test_one_run_writes_figures_tables_and_plots(
    store_path: Path, bundle: Path, baselines: Path, tmp_path: Path
) -> None:
    words = ("--level", "mild", "--level", "single", "--toolbox", bundle, "--ppo", bundle / "ppo")
    words += ("--drqn", bundle, "--before", bundle, "--baselines", baselines)
    out = tmp_path / "out"
    result = run(store_path, "--suite", "paper", *QUICK, *words, "-o", out)
    assert result.exit_code == 0, result.output
    names = ["calibration", "gain_per_step", "stops", "tool_usage"]
    expected = [f"{name}.png" for name in names] + ["results.json", "results.md"]
    assert sorted(path.name for path in out.iterdir()) == sorted(expected)
    results = json.loads((out / "results.json").read_text())
    assert (results["suite"], results["format_version"]) == ("paper", 1)
    assert [entry["level"] for entry in results["oracle"]] == ["mild", "single"]
    assert all("share" in entry for entry in results["oracle"])
    keys = {row["key"] for row in results["rows"]}
    assert {"alone", "before-joint", "recurrent PPO", "DRQN, the paper's way"} <= keys
    assert results["remarks"] == []
    command = str(results["facts"]["command"])
    assert command.startswith("toolchain evaluate")
    assert "--suite paper" in command
    assert "--level mild --level single" in command
    assert command in (out / "results.md").read_text()
    assert "greedy oracle" in result.output


def test_what_is_not_given_is_left_out_with_a_remark(
    store_path: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "restoration_toolchain.toolchain.measuring.suite.cast.shipped_toolboxes",
        lambda: ("classic",),
    )
    words = ("--toolbox", bundle, "--level", "mild", "--no-plots", "-o", tmp_path / "out")
    result = run(store_path, "--suite", "paper", *QUICK, *words)
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(results["remarks"]) == 4
    for option in ("--drqn", "--ppo", "--before", "--baselines"):
        assert any(option in remark for remark in results["remarks"])
        assert option in result.output
    assert not list((tmp_path / "out").glob("*.png"))


def test_a_pair_of_folders_is_one_level(photos: NamedPhotos, bundle: Path, tmp_path: Path) -> None:
    clean = [photos[0][1][:63, :63], photos[1][1]]  # one patch, and 96x130 pixels: two
    lq = write_photos(tmp_path / "lq", [cv2.blur(photo, (3, 3)) for photo in clean])  # type: ignore[misc]
    gt = write_photos(tmp_path / "gt", clean)
    words = ("--toolbox", bundle, "--oracle-count", 1, "--max-steps", 1, "-o", tmp_path / "out")
    result = run("--lq", lq, "--gt", gt, "--suite", "paper", "--no-plots", *words)
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {row["level"] for row in results["rows"]} == {"given"}
    assert results["rows"][0]["count"] == 3


def test_large_photos_become_patches_on_the_grid_of_jpeg(
    photos: NamedPhotos, tmp_path: Path
) -> None:
    photo = photos[2][1]
    folder = write_photos(tmp_path / "photos", [photo])
    level = folder_level(folder, folder)
    np.testing.assert_array_equal(level.pairs.gt, np.stack([photo[:63, :63], photo[:63, 64:127]]))
    np.testing.assert_array_equal(level.pairs.lq, level.pairs.gt)


def test_small_photos_are_refused_in_one_line(
    photos: NamedPhotos, bundle: Path, tmp_path: Path
) -> None:
    folder = write_photos(tmp_path / "small", [photos[0][1][:62, :70]])
    words = ("--suite", "paper", "--toolbox", bundle, "-o", tmp_path / "out")
    result = run("--lq", folder, "--gt", folder, *words)
    assert result.exit_code == 2
    assert "70x62 pixels; a suite needs at least 63x63" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["embedded", "--suite", "papre"], "did you mean 'paper'"),
        (["embedded", "--suite", "paper", "--players", "stop"], "--players is not for --suite"),
        (["embedded", "--suite", "paper", "--json", "x.json"], "--json is not for --suite"),
        (["embedded", "--oracle-count", "3"], "--oracle-count goes with --suite"),
        (["embedded", "-o", "out"], "--output goes with --suite"),
        (["--suite", "paper"], "give either clean photos"),
        (["embedded", "--suite", "paper", "--ppo", "absent"], "no agent 'absent'"),
        (["embedded", "--suite", "paper", "--before", "absent"], "no toolbox 'absent'"),
        (["embedded", "--suite", "paper", "--baselines", "absent"], "no toolbox 'absent'"),
        (["embedded", "--suite", "paper", "--level", "sever"], "did you mean 'severe'"),
    ],
)
def test_bad_requests_are_refused_in_one_line(
    words: list[str], message: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*words, "--toolbox", bundle)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "results").exists()


def test_results_are_not_replaced_unless_asked_to(
    store_path: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = (store_path, "--suite", "paper", *QUICK, "--level", "mild", "--no-plots")
    words += ("--toolbox", bundle, "-o", out)
    assert run(*words).exit_code == 0
    before = json.loads((out / "results.json").read_text())
    refused = run(*words, "--seed", 5)
    assert refused.exit_code == 2
    assert "already holds results; add --overwrite" in refused.stderr
    assert json.loads((out / "results.json").read_text()) == before
    assert run(*words, "--seed", 5, "--overwrite").exit_code == 0
    assert json.loads((out / "results.json").read_text())["facts"]["seed"] == 5


def test_missing_matplotlib_is_said_before_anything_is_measured(
    store_path: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    words = (store_path, "--suite", "paper", *QUICK, "--toolbox", bundle, "-o", tmp_path / "out")
    result = run(*words)
    assert result.exit_code == 2
    assert 'pip install "restoration-toolchain[plots]"' in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_agent_of_other_tools_is_refused(store_path: Path, bundle: Path, tmp_path: Path) -> None:
    other = LstmPolicy(RecurrentQNet(2), ("deblur_1", "other"))
    save_policy(other, tmp_path / "other")
    words = ("--toolbox", bundle, "--drqn", tmp_path / "other", "-o", tmp_path / "out")
    result = run(store_path, "--suite", "paper", *QUICK, *words)
    assert result.exit_code == 2
    assert "the agent was trained for the tools" in result.stderr
