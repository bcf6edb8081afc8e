"""Properties of ``toolchain inspect``, ``toolchain tools`` and ``toolchain demo``."""

import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.images import to_float
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.toolchain.cli.tables import print_inspection
from restoration_toolchain.toolchain.looking.inspection import Inspection
from restoration_toolchain.toolchain.restoring.restoration import Score, Step
from restoration_toolchain.tools_zoo.catalog import DEFAULT_TOOLBOX
from restoration_toolchain.tools_zoo.storage import load_toolbox
from tests.toolchain.conftest import (
    BAD_PHOTOS,
    NAMES,
    SEQUENCE,
    MakePhoto,
    MakeRestorer,
    RunCli,
    assert_one_line,
    random_samples,
    snapshot,
    write_bad_photo,
)


def test_every_step_is_a_row_with_its_value_and_runners_up(
    run_cli: RunCli, make_photo: MakePhoto
) -> None:
    result = run_cli("inspect", make_photo("photo.png"))
    assert result.exit_code == 0, result.output
    rows = re.findall(r"^ +(\d) +(\w+) .*?([+-]\d\.\d\d) ", result.stdout, re.MULTILINE)
    assert [(int(number), tool) for number, tool, _ in rows] == [
        (1, SEQUENCE[0]),
        (2, SEQUENCE[1]),
        (3, "stop"),
    ]
    assert rows[0][2] == "+1.00"
    assert "noise 25-37.5" in result.stdout
    assert len(re.findall(r"\b(?:de\w+_\d|stop) -0\.\d\d", result.stdout)) >= 9
    assert "PSNR change" not in result.stdout
    assert "risk" not in result.stdout  # this agent knows none


def test_that_it_stopped_is_explained_in_words(
    run_cli: RunCli, make_photo: MakePhoto, idle_agent_folder: Path
) -> None:
    photo = make_photo("photo.png")
    assert "Stopped: the agent expects no tool to help" in run_cli("inspect", photo).stdout
    at_once = run_cli("inspect", photo, "--agent", idle_agent_folder).stdout
    assert "Left as it is:" in at_once
    limited = run_cli("inspect", photo, "--max-steps", 1).stdout
    assert "Ended at the limit of 1 tool." in limited


def test_with_the_clean_photo_every_step_is_scored(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    gt, photo = make_photo("gt.png"), tmp_path / "photo.png"
    lq = random_samples(40, 48) + np.uint8(20)
    Image.fromarray(lq).save(photo)
    result = run_cli("inspect", photo, "--gt", gt)
    assert result.exit_code == 0, result.output
    before = psnr(to_float(lq), to_float(random_samples(40, 48)))
    assert f"PSNR {before:.2f} dB" in result.stdout
    assert "SSIM" in result.stdout


def in_80_columns(inspection: Inspection) -> str:
    written = io.StringIO()
    print_inspection(Console(file=written, width=80), inspection)
    return written.getvalue()


def test_risks_and_scores_fit_80_columns_with_the_longest_names_that_ship(
    make_restorer: MakeRestorer,
) -> None:
    restored = make_restorer().restore(to_float(random_samples(40, 48)))
    first, *others = sorted(load_toolbox(DEFAULT_TOOLBOX).names, key=len)[:-4:-1]
    assert len(first) == len(others[0]) == 16
    values = {first: 0.61, others[0]: 0.75, others[1]: -0.02, "stop": -0.4}
    score = Score(psnr=25.88, ssim=0.7514)
    step = Step(first, "motion-blur, shaken", 0, values, seconds=12.34, score=score, risk=0.089)
    stop = dataclasses.replace(step, tool="stop", treats="", action=16, seconds=0.02, risk=0.17)
    held_back = dataclasses.replace(stop, is_held_back=True)
    for last, risk in ((stop, ""), (held_back, "(17%)")):
        told = dataclasses.replace(restored, score=score, steps=(step, last))
        table = in_80_columns(Inspection(told)).splitlines()
        (row,) = (line for line in table if f"1 {first} " in line)
        # No cell is cut off, and SSIM stands below PSNR.
        cells = [first, "+0.61", "9%", others[0], "+0.75", "12.34", "s", "25.88"]
        assert [cell for cell in row.split()[1:] if cell in cells] == cells
        (row,) = (line for line in table if " 2 stop " in line)
        assert row.split("-0.40")[1].split()[:1] == ([risk] if risk else [others[0]])
        assert sum(line.rstrip().endswith(" 0.751") for line in table) == 2
        assert any(line.startswith("A runner-up with a larger value than") for line in table)


def test_a_photo_is_degraded_as_the_level_and_the_seed_say(
    run_cli: RunCli, make_photo: MakePhoto
) -> None:
    photo = make_photo("photo.png", 70, 70)
    words = [
        run_cli("inspect", photo, "--degrade", "moderate", "--seed", seed).stdout
        for seed in (3, 3, 4)
    ]
    degradation = sampler("moderate")(np.random.default_rng(3))
    assert f"JPEG of quality {degradation.strength('jpeg')}" in " ".join(words[0].split())
    first, again, other = (" ".join(text.split("step")[0].split()) for text in words)
    assert first == again != other
    scores = [re.findall(r"PSNR (\S+) dB", text)[0] for text in words]
    assert scores[0] == scores[1] != scores[2]


def test_the_sheet_is_written_and_named(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    photo, sheet = make_photo("photo.png"), tmp_path / "new" / "sheet.png"
    result = run_cli("inspect", photo, "-o", sheet)
    assert result.exit_code == 0, result.output
    assert str(sheet) in result.stdout
    assert Image.open(sheet).width > 3 * 300


@pytest.mark.parametrize("kind", BAD_PHOTOS)
def test_a_bad_photo_is_one_line(run_cli: RunCli, tmp_path: Path, kind: str) -> None:
    name, says = BAD_PHOTOS[kind]
    photo = write_bad_photo(tmp_path / name, kind)
    before = snapshot(tmp_path)
    assert_one_line(run_cli("inspect", photo, "-o", tmp_path / "sheet.png"), 1, says)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("missing.png",), "no such file"),
        ((".",), "is a folder"),
        (("photo.png", "--gt", "missing.png"), "no such file"),
        (("photo.png", "--gt", "small.png"), "9 x 9 pixels"),
        (("photo.png", "--degrade", "moderat"), "did you mean 'moderate'?"),
        (("photo.png", "--degrade", "mild", "--gt", "photo.png"), "exclude each other"),
        (("photo.png", "-o", "photo.png", "--overwrite"), "this is the input photo"),
        (("photo.png", "--gt", "small.png", "-o", "small.png", "--overwrite"), "input photo"),
        (("photo.png", "-o", "small.png"), "pass --overwrite"),
        (("photo.png", "-o", "sheet.txt"), "cannot write .txt"),
        (("photo.png", "-o", "photo.png/sheet.png"), "is not a folder"),
        (("photo.png", "--agent", "clasic"), "did you mean 'classic'?"),
    ],
)
def test_wrong_usage_is_one_line_with_status_2_and_nothing_is_done(
    run_cli: RunCli,
    make_photo: MakePhoto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    make_photo("photo.png")
    make_photo("small.png", 9, 9)
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    assert_one_line(run_cli("inspect", *arguments), 2, says)
    assert snapshot(tmp_path) == before


def test_all_tools_are_listed_with_the_state_of_their_weights(
    run_cli: RunCli, toolbox_folder: Path, tmp_path: Path
) -> None:
    for path in toolbox_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "deblur_2.safetensors").write_bytes(b"something else")
    (tmp_path / "denoise_4.safetensors").unlink()
    sound = run_cli("tools")
    assert sound.exit_code == 0, sound.output
    lines = sound.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(NAMES)
    assert lines[-1] == "licence of the weights: unknown"
    assert "21,827" in sound.stdout
    assert "50,851" in sound.stdout
    broken = run_cli("tools", "--toolbox", tmp_path)
    assert broken.exit_code == 1
    states = {line.split()[0]: line.split()[-1] for line in broken.stdout.splitlines()[1:-1]}
    expected = dict.fromkeys(NAMES, "ok") | {"deblur_2": "damaged", "denoise_4": "missing"}
    assert states == expected


def test_tools_are_measured_on_the_held_out_photos_of_a_store(
    run_cli: RunCli, toolbox_folder: Path, store_path: Path
) -> None:
    measured = run_cli("tools", "--toolbox", toolbox_folder, "--store", store_path)
    assert measured.exit_code == 0, measured.output
    lines = measured.stdout.splitlines()
    assert lines[0].endswith("gain dB")
    rows = [line.split() for line in lines[1:]]
    gains = [float(row[-1]) for row in rows if row[0] in NAMES]  # others are wrapped units
    assert len(gains) == len(NAMES)
    assert any(gain != 0.0 for gain in gains)


def test_an_unknown_toolbox_is_one_line(run_cli: RunCli, tmp_path: Path) -> None:
    assert_one_line(run_cli("tools", "--toolbox", "clasic"), 2, "did you mean 'classic'?")
    assert_one_line(run_cli("tools", "--toolbox", tmp_path), 2, "no readable manifest.json")


@pytest.mark.slow
def test_the_demo_works_anywhere_and_twice(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outputs = [run_cli("demo") for _ in range(2)]
    assert [result.exit_code for result in outputs] == [0, 0], outputs[0].output
    for name in ("input.png", "restored.png", "sheet.png"):
        assert str(Path("demo", name)) in outputs[0].stdout
        assert Image.open(tmp_path / "demo" / name).width > 100
    assert "The photo was degraded by blur" in outputs[0].stdout
    assert re.search(r"PSNR \S+ dB, SSIM \S+ +-> ", outputs[0].stdout)
