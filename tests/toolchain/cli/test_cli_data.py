"""Properties of ``toolchain data``."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from restoration_toolchain.data.damage.levels import LEVELS, SCALED_LEVELS
from restoration_toolchain.data.damage.steps import graded_kinds
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.patches.store import PatchStore
from restoration_toolchain.toolchain.cli import app

NamedPhotos = list[tuple[str, ByteImage]]


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, words)], env={"COLUMNS": "200"})


@pytest.fixture
def folder(tmp_path: Path, photos: NamedPhotos) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    for name, photo in photos[:3]:
        cv2.imwrite(str(path / f"{name}.png"), photo)
    return path


def test_a_folder_becomes_a_store(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.h5"
    result = run("prepare", folder, "-o", store, "--stride", 33, "--scales", "1,2/3")
    assert result.exit_code == 0, result.output
    with PatchStore(store) as opened:
        assert f"{len(opened)} patches of 3 photos" in result.output
        assert opened.attrs["photos"] == ["photo_0.png", "photo_1.png", "photo_2.png"]
        assert opened.attrs["config"]["scales"] == [1.0, pytest.approx(2 / 3)]


def test_several_sources_keep_their_photos_apart(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.h5"
    result = run("prepare", "embedded", folder, "-o", store, "--max-patches", 1)
    assert result.exit_code == 0, result.output
    with PatchStore(store) as opened:
        assert "embedded/astronaut" in opened.attrs["photos"]
        assert f"{folder}/photo_0.png" in opened.attrs["photos"]


def test_flags_win_over_the_config_file(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('level = "mild"\nseed = 5\nstride = 40\n')
    store = tmp_path / "store.h5"
    result = run("prepare", folder, "-o", store, "--config", config, "--seed", 9)
    assert result.exit_code == 0, result.output
    with PatchStore(store) as opened:
        made = opened.attrs["config"]
    assert (made["level"], made["seed"], made["stride"]) == ("mild", 9, 40)


def test_an_existing_store_is_not_replaced_unless_asked_for(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.h5"
    store.write_text("precious")
    result = run("prepare", folder, "-o", store)
    assert result.exit_code == 2
    assert "--overwrite" in result.output
    assert store.read_text() == "precious"
    assert run("prepare", folder, "-o", store, "--overwrite").exit_code == 0
    with PatchStore(store) as opened:
        assert len(opened) > 0


def test_unreadable_files_are_named_and_skipped(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_text("no image")
    result = run("prepare", folder, "-o", tmp_path / "store.h5")
    assert result.exit_code == 0, result.output
    assert "skipped 1 unreadable" in result.output
    assert "broken.png: not an image" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--level", "moderat"], "did you mean 'moderate'"),
        (["--scales", "big"], "--scales takes numbers"),
        (["--scales", "2"], "scales must lie in"),
        (["--holdout", "1"], "holdout must lie in"),
        (["--config", "absent.toml"], "cannot read the config"),
    ],
)
def test_bad_options_are_refused_in_one_line(
    folder: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    result = run("prepare", folder, "-o", tmp_path / "store.h5", *words)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "store.h5").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [("embeded", "did you mean 'embedded'"), ("./absent", "no folder"), (".", "no photos in")],
)
def test_bad_sources_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("prepare", source, "-o", "store.h5")
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_photos_smaller_than_a_patch_leave_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "small.png"), np.zeros((20, 20, 3), np.uint8))
    result = run("prepare", folder, "-o", tmp_path / "store.h5")
    assert result.exit_code == 2
    assert "as large as one patch" in result.output
    assert list(tmp_path.iterdir()) == [folder]


def test_a_public_set_that_is_not_there_needs_the_network(tmp_path: Path) -> None:
    words = ["bsds500", "-o", tmp_path / "store.h5", "--offline", "--cache-dir", tmp_path / "sets"]
    result = run("prepare", *words)
    assert result.exit_code == 2
    assert "not in the cache and the network is off" in result.output


def test_the_sets_are_listed_with_their_licences() -> None:
    result = run("sets")
    assert result.exit_code == 0
    for word in ("embedded", "div2k-train", "bsds500-test", "Academic research only"):
        assert word in result.output


def test_a_store_tells_how_it_was_made(store_path: Path) -> None:
    result = run("info", store_path)
    assert result.exit_code == 0
    for word in ("63x63", "held out", "single_fraction", "RGB uint8"):
        assert word in result.output


def test_information_on_no_store_is_one_line(tmp_path: Path) -> None:
    result = run("info", tmp_path / "absent.h5")
    assert result.exit_code == 2
    assert "no patch store" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("command", "levels"),
    [(("data", "prepare"), LEVELS), (("inspect",), SCALED_LEVELS), (("evaluate",), SCALED_LEVELS)],
)
def test_help_names_every_level_with_damage(command: tuple[str, ...], levels: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    named = set(re.findall(r"[\w-]+", result.output))
    assert {*levels, *(kind.name for kind in graded_kinds())} - {"clean"} <= named
