"""Properties of ``evaluate --suite world``, ``data world`` and ``train references``."""

import json
from pathlib import Path

import cv2
import h5py
import pytest
from typer.testing import CliRunner, Result

from restoration_toolchain.agents.policy.storage import AGENT_FOLDER, save_policy
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.toolchain.cli import app
from restoration_toolchain.toolchain.restoring.settings import EFFORTS
from restoration_toolchain.tools_zoo.storage import load_toolbox, save_toolbox
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from tests.toolchain.conftest import assert_one_line, scripted_policy

NamedPhotos = list[tuple[str, ByteImage]]
FEW = "motion-blur,clean,drawings"


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def folder(photos: NamedPhotos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos large enough for patches of 126 pixels."""
    path = tmp_path_factory.mktemp("photos")
    for name, photo in photos[:2]:
        large = cv2.resize(photo, (260, 200), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(path / f"{name}.png"), large[..., ::-1])
    return path


@pytest.fixture
def suite(tiny_toolbox: Toolbox, tmp_path: Path) -> tuple[object, ...]:
    """Options of the suite with an agent that stops at once."""
    save_toolbox(tiny_toolbox, tmp_path / "box")
    save_policy(scripted_policy(names=tiny_toolbox.names), tmp_path / "box" / AGENT_FOLDER)
    words = ("--suite", "world", "--toolbox", tmp_path / "box")
    return (*words, "--max-steps", 1, "--device", "cpu", "--precision", "fp32")


def test_one_run_writes_figures_page_and_pictures(
    folder: Path, suite: tuple[object, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = (*suite, "--count", 2, "--photos", 1, "--families", FEW, "-o", out, "--even-if-unsure")
    result = run("evaluate", folder, *words)
    assert result.exit_code == 0, result.output
    expected = ["world.jpg", "world.json", "world.md", "world.png"]
    assert sorted(path.name for path in out.iterdir()) == expected
    content = json.loads((out / "world.json").read_text())
    found = [(one["family"], one["unit"], one["count"]) for one in content["families"]]
    names = FEW.split(",")
    assert found == [*((n, "crops", 2) for n in names), *((n, "photos", 1) for n in names)]
    command = content["facts"]["command"]
    assert "--suite world" in command
    assert f"--families {FEW}" in command
    assert "--even-if-unsure" in command
    assert command in (out / "world.md").read_text()
    assert "clean drawings left bit-identical: 3 of 3" in result.output
    refused = run("evaluate", folder, *words)
    assert_one_line(refused, 2, "already holds results; add --overwrite")


def test_a_set_in_a_file_gives_the_same_figures(
    folder: Path, suite: tuple[object, ...], tmp_path: Path
) -> None:
    few, path = ("--count", 2, "--photos", 1, "--families", FEW), tmp_path / "world.h5"
    assert run("data", "world", folder, *few, "-o", path).exit_code == 0
    assert_one_line(run("data", "world", folder, *few, "-o", path), 2, "add --overwrite")
    twice = ("--families", "clean,clean", "--count", 1, "--photos", 0, "-o", tmp_path / "once.h5")
    assert "1 families" in run("data", "world", folder, *twice).output
    results = []
    for source, words, out in ((folder, few, "made"), (path, (), "read")):
        done = run("evaluate", source, *suite, *words, "--no-plots", "-o", tmp_path / out)
        assert done.exit_code == 0, done.output
        families = json.loads((tmp_path / out / "world.json").read_text())["families"]
        results.append([{**one, "seconds": 0.0} for one in families])
    assert results[0] == results[1]
    settled = run("evaluate", path, *suite, "--count", 3, "-o", tmp_path / "other")
    assert_one_line(settled, 2, "--count is settled in")
    with h5py.File(path, "r+") as file:
        file.attrs["world_version"] = 99
    refused = run("evaluate", path, *suite, "-o", tmp_path / "other")
    assert_one_line(refused, 2, "a set of version 99, this program reads 1")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--families", "motion-blurr"), "no family 'motion-blurr'; did you mean 'motion-blur'"),
        (("--level", "mild"), "--level is for --suite paper, not for --suite world"),
        (("--oracle-count", "3"), "--oracle-count is for --suite paper"),
        (("--reference", "absent"), "no toolbox 'absent'"),
        (("--players", "stop"), "--players is not for --suite"),
        (("--efforts", "high,lo"), "no effort 'lo'; did you mean 'low'?"),
        (("--efforts", "0.1,101"), "effort must lie in [0, 100], got 101"),
        (("--effort", "hihg"), "no effort 'hihg'; did you mean 'high'?"),
    ],
)
def test_bad_requests_are_refused_in_one_line(
    words: tuple[str, ...], message: str, suite: tuple[object, ...], tmp_path: Path
) -> None:
    result = run("evaluate", "embedded", *suite, *words, "-o", tmp_path / "out")
    assert_one_line(result, 2, message)
    assert not (tmp_path / "out").exists()


def test_options_of_the_world_are_not_for_the_paper(tmp_path: Path) -> None:
    result = run("evaluate", "embedded", "--suite", "paper", "--photos", 3)
    assert_one_line(result, 2, "--photos is for --suite world, not for --suite paper")
    assert_one_line(run("evaluate", "embedded", "--families", "jpeg"), 2, "goes with --suite")
    daring = run("evaluate", "embedded", "--suite", "paper", "--even-if-unsure")
    assert_one_line(daring, 2, "--even-if-unsure is for --suite world, not for --suite paper")
    thrifty = run("evaluate", "embedded", "--suite", "paper", "--effort", "low")
    assert_one_line(thrifty, 2, "--effort is for --suite world, not for --suite paper")
    assert_one_line(run("evaluate", "embedded", "--efforts", "low"), 2, "goes with --suite")


def test_efforts_are_measured_and_printed(
    folder: Path, suite: tuple[object, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    few = ("--count", 2, "--photos", 0, "--families", "motion-blur", "--no-plots")
    result = run("evaluate", folder, *suite, *few, "--efforts", "low,0.2,low", "-o", out)
    assert result.exit_code == 0, result.output
    assert "quality and arithmetic" in result.output
    (family,) = json.loads((out / "world.json").read_text())["families"]
    prices = [spent["price"] for spent in family["spending"] if spent["price"] is not None]
    assert prices == [EFFORTS["low"], 0.2]


def test_a_patch_store_is_no_set_of_the_world(
    store_path: Path, suite: tuple[object, ...], tmp_path: Path
) -> None:
    result = run("evaluate", store_path, *suite, "-o", tmp_path / "out")
    assert_one_line(result, 2, "is not a set of the world")


def test_references_are_trained_and_compared_with(
    store_path: Path, folder: Path, suite: tuple[object, ...], tmp_path: Path
) -> None:
    words = ("--run", tmp_path / "runs", "--store", store_path, "--device", "cpu")
    for option in ("total_patches=4", "batch_size=2", "num_workers=0", "precision='fp32'"):
        words += ("--set", option)
    result = run("train", "references", "--families", "motion-blur", *words)
    assert result.exit_code == 0, result.output
    box = tmp_path / "runs" / "toolbox"
    assert load_toolbox(box).names == ("motion-blur",)
    assert f"references: {box}" in result.output
    few = ("--count", 2, "--photos", 0, "--families", "motion-blur,clean", "--no-plots")
    done = run("evaluate", folder, *suite, *few, "--reference", box, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    blurred, clean = json.loads((tmp_path / "out" / "world.json").read_text())["families"]
    assert blurred["tools_regret"] == pytest.approx(blurred["reference"] - blurred["oracle"])
    assert (clean["reference"], clean["tools_regret"]) == (None, None)
    unknown = run("train", "references", "--families", "motoin-blur", *words)
    assert_one_line(unknown, 2, "did you mean 'motion-blur'")


def test_one_network_for_all_is_trained_by_a_plan_and_compared_with(
    folder: Path, suite: tuple[object, ...], tmp_path: Path
) -> None:
    plan = tmp_path / "tiny_plan.toml"
    plan.write_text(
        "[specialists]\nside = 32\nbatch_size = 2\n"
        "eval_photos = 1\neval_crops = 2\nnum_workers = 0\n"
        '[specialists.tools.all]\nnetwork = "small"\ntotal_crops = 4\nfamilies = { jpeg = 1 }\n'
    )
    words = ("train", "specialists", plan, folder, "--run", tmp_path / "runs", "--device", "cpu")
    result = run(*words)
    assert result.exit_code == 0, result.output
    box = tmp_path / "runs" / "toolbox"
    assert f"toolbox: {box}" in result.output
    toolbox = load_toolbox(box)
    assert (toolbox.name, toolbox.names) == ("tiny-plan", ("all",))
    few = ("--count", 2, "--photos", 0, "--families", "motion-blur,clean", "--no-plots")
    done = run("evaluate", folder, *suite, *few, "--rival", box, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "out" / "world.json").read_text())
    (blurred, _), mean = content["families"], content["means"]["crops"]
    assert mean["rival"] == blurred["rival"] != blurred["input"]
    several = run("evaluate", folder, *suite, *few, "--rival", "efficient", "-o", tmp_path / "two")
    assert_one_line(several, 2, "a rival is one network")
    assert_one_line(run("train", "specialists", plan, folder, "--set", "sede=1"), 2, "sede")
    for option in ("seed=3", "fresh=true"):  # what a recipe says of all of its stages
        again = run(*words, "--resume", "--set", option)
        code, says = (2, "train in another folder") if option == "seed=3" else (0, "toolbox:")
        assert (again.exit_code, says in again.output) == (code, True), again.output
    (tmp_path / "runs" / "tools").mkdir()
    assert_one_line(run(*words, "--resume"), 2, "holds the run of a recipe")
    (tmp_path / "runs" / "tools").rmdir()
    plan.write_text("[agent]\n")
    assert_one_line(run(*words, "--resume"), 2, "the recipe tiny_plan has no table [specialists]")
