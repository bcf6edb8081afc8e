"""Properties of ``toolchain evaluate``, and of the measuring behind it."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.agents.policy.storage import save_policy
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.images import ByteImage, to_float
from restoration_toolchain.data.metrics import psnr, ssim
from restoration_toolchain.data.patches.pairs import ArrayPairs, degrade_windows
from restoration_toolchain.toolchain.cli import app
from restoration_toolchain.toolchain.measuring.evaluation import (
    PLAYERS,
    evaluate_players,
    evaluation_patches,
)
from restoration_toolchain.tools_zoo.storage import save_toolbox
from restoration_toolchain.tools_zoo.toolbox import Toolbox

NamedPhotos = list[tuple[str, ByteImage]]
COUNT = 5


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)], env={"COLUMNS": "200"})


def read_json(path: Path) -> list[dict[str, Any]]:
    figures: list[dict[str, Any]] = json.loads(path.read_text())
    return figures


def write_photos(folder: Path, photos: list[ByteImage], suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for number, photo in enumerate(photos):
        cv2.imwrite(str(folder / f"{number}{suffix}"), cv2.cvtColor(photo, cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture
def clean(photos: NamedPhotos) -> list[ByteImage]:
    return [photo[:64, :70] for _, photo in photos[:3]]


@pytest.fixture
def folders(tmp_path: Path, clean: list[ByteImage]) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    noisy = [np.clip(p + rng.normal(0, 9, p.shape), 0, 255).astype(np.uint8) for p in clean]
    return write_photos(tmp_path / "lq", noisy), write_photos(tmp_path / "gt", clean)


@pytest.fixture
def tiny_agent(tiny_toolbox: Toolbox) -> LstmPolicy:
    return LstmPolicy(RecurrentQNet(len(tiny_toolbox)), tiny_toolbox.names)


@pytest.fixture
def tiny_folders(tmp_path: Path, tiny_toolbox: Toolbox, tiny_agent: LstmPolicy) -> tuple[str, ...]:
    save_toolbox(tiny_toolbox, tmp_path / "box")
    save_policy(tiny_agent, tmp_path / "agent")
    return "--toolbox", str(tmp_path / "box"), "--agent", str(tmp_path / "agent")


def test_folders_are_compared_photo_by_photo(
    folders: tuple[Path, Path], clean: list[ByteImage], tmp_path: Path
) -> None:
    lq, gt = folders
    result = run("--lq", lq, "--gt", gt, "--json", tmp_path / "figures.json")
    assert result.exit_code == 0, result.output
    (figures,) = read_json(tmp_path / "figures.json")
    noisy = [cv2.cvtColor(cv2.imread(str(lq / f"{i}.png")), cv2.COLOR_BGR2RGB) for i in range(3)]
    pairs = [(to_float(a), to_float(b)) for a, b in zip(noisy, clean, strict=True)]  # type: ignore[arg-type]
    assert figures["psnr_after"] == pytest.approx(np.mean([psnr(a, b) for a, b in pairs]), abs=1e-4)
    assert figures["ssim_after"] == pytest.approx(np.mean([ssim(a, b) for a, b in pairs]), abs=1e-4)
    assert figures["count"] == 3
    assert figures["gain"] == 0.0
    assert f"{figures['psnr_after']:.3f}" in result.output


def test_nothing_is_written_into_the_folders_compared(folders: tuple[Path, Path]) -> None:
    before = {path: path.read_bytes() for folder in folders for path in folder.iterdir()}
    run("--lq", folders[0], "--gt", folders[1])
    assert {path: path.read_bytes() for folder in folders for path in folder.iterdir()} == before


def test_degraded_photos_can_be_restored_first(
    folders: tuple[Path, Path], toolbox_folder: Path, agent_folder: Path, tmp_path: Path
) -> None:
    lq, gt = folders
    words = ("--toolbox", toolbox_folder, "--agent", agent_folder, "--device", "cpu")
    output = tmp_path / "figures.json"
    result = run("--lq", lq, "--gt", gt, "--restore", *words, "--json", output)
    assert result.exit_code == 0, result.output
    (figures,) = read_json(output)
    assert figures["gain"] == pytest.approx(figures["psnr_after"] - figures["psnr_before"])
    assert figures["gain"] != 0.0
    assert figures["share_worse"] in (0.0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0)
    assert "made worse" in result.output


def test_partners_may_have_another_suffix(tmp_path: Path, clean: list[ByteImage]) -> None:
    lq = write_photos(tmp_path / "lq", clean, ".jpg")
    gt = write_photos(tmp_path / "gt", clean, ".png")
    assert run("--lq", lq, "--gt", gt).exit_code == 0


def test_a_photo_without_a_partner_is_named(folders: tuple[Path, Path]) -> None:
    (folders[1] / "2.png").unlink()
    result = run("--lq", folders[0], "--gt", folders[1])
    assert result.exit_code == 2
    assert "2.png has no partner" in result.output


def test_partners_of_different_sizes_are_refused(
    folders: tuple[Path, Path], clean: list[ByteImage]
) -> None:
    cv2.imwrite(str(folders[1] / "1.png"), clean[0][:60])
    result = run("--lq", folders[0], "--gt", folders[1])
    assert result.exit_code == 2
    assert "partners have one size" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either clean photos"),
        (["embedded", "--lq", "a", "--gt", "b"], "give either clean photos"),
        (["--lq", "a"], "give both --lq and --gt"),
        (["embedded", "--restore"], "--restore goes with"),
        (["--lq", "absent", "--gt", "absent"], "no such file or folder"),
        (["embeded", "--players", "stop"], "did you mean 'embedded'"),
        (["embedded", "--players", "stop,greedy"], "no player 'greedy'"),
        (["embedded", "--players", "stop", "--level", "sever"], "did you mean 'severe'"),
        (["absent.h5", "--players", "stop"], "no patch store"),
        (["embedded", "--json", "absent/figures.json"], "no such folder"),
    ],
)
def test_bad_options_are_refused_in_one_line(
    words: list[str], message: str, tiny_folders: tuple[str, ...]
) -> None:
    result = run(*words, *tiny_folders)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output


def test_players_are_compared_per_level(
    store_path: Path, tiny_folders: tuple[str, ...], tmp_path: Path
) -> None:
    words = ("--level", "mild", "--level", "severe", "--count", COUNT, "--max-steps", 2)
    output = tmp_path / "figures.json"
    players = ",".join(PLAYERS)
    result = run(store_path, "--players", players, *words, *tiny_folders, "--json", output)
    assert result.exit_code == 0, result.output
    figures = read_json(output)
    expected = [(level, name) for level in ("mild", "severe") for name in PLAYERS]
    assert [(entry["level"], entry["name"]) for entry in figures] == expected
    assert all(entry["count"] == COUNT for entry in figures)
    assert figures[0]["psnr_before"] > figures[len(PLAYERS)]["psnr_before"]
    for name in PLAYERS:
        assert name in result.output


def test_a_folder_of_clean_photos_is_degraded(
    folders: tuple[Path, Path], tiny_folders: tuple[str, ...]
) -> None:
    result = run(folders[1], "--players", "stop,agent", "--level", "moderate", *tiny_folders)
    assert result.exit_code == 0, result.output
    assert "moderate" in result.output


def test_the_ladder_is_in_order(
    photos: NamedPhotos, tiny_toolbox: Toolbox, tiny_agent: LstmPolicy
) -> None:
    windows = evaluation_patches(photos, COUNT, seed=0)
    results = evaluate_players(PLAYERS, ["moderate"], windows, tiny_toolbox, tiny_agent)
    after = {result.name: result.psnr_after for result in results}
    assert after["oracle"] >= after["greedy-oracle"] - 1e-6
    assert after["greedy-oracle"] >= after["stop"] - 1e-6
    for name in ("random", "fixed", "agent"):
        assert after["oracle"] >= after[name] - 1e-6


def test_every_player_meets_the_same_patches(photos: NamedPhotos, tiny_toolbox: Toolbox) -> None:
    windows = evaluation_patches(photos, COUNT, seed=0)
    names = ("stop", "random")
    results = list(evaluate_players(names, ["mild"], windows, tiny_toolbox, None, seed=4))
    pairs = ArrayPairs(*degrade_windows(windows, sampler("mild"), np.random.default_rng(4)))
    expected = np.mean(
        [psnr(to_float(a), to_float(b)) for a, b in zip(pairs.lq, pairs.gt, strict=True)]
    )
    assert [result.psnr_before for result in results] == pytest.approx([expected] * 2)
    assert results[0].gain == pytest.approx(0.0)
    assert results[0].share_worse == 0.0


def test_the_exhaustive_oracle_reaches_the_best_sequence_of_each_patch(
    photos: NamedPhotos, tiny_toolbox: Toolbox
) -> None:
    from restoration_toolchain.agents.players.reference import search_sequences

    tiny_toolbox[1].network.conv3.weight.data.mul_(-0.1)  # type: ignore[union-attr,operator]
    windows = evaluation_patches(photos, COUNT, seed=0)
    (oracle,) = evaluate_players(["oracle"], ["severe"], windows, tiny_toolbox, None, seed=1)
    pairs = ArrayPairs(*degrade_windows(windows, sampler("severe"), np.random.default_rng(1)))
    best = search_sequences(tiny_toolbox, pairs).oracle.mean()
    assert oracle.psnr_after == pytest.approx(best, abs=1e-3)


def test_patches_follow_from_the_seed(photos: NamedPhotos) -> None:
    first, again, other = (evaluation_patches(photos, 4, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_patches_are_played_as_cautiously_as_the_agent_is_unless_told_otherwise(
    store_path: Path, tiny_toolbox: Toolbox, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = RecurrentQNet(len(tiny_toolbox), quantiles=True)
    with torch.no_grad():
        net.head.bias[0] = 1.0  # it wants its first tool, and knows nothing of the gain
    save_toolbox(tiny_toolbox, tmp_path / "box")
    save_policy(LstmPolicy(net, tiny_toolbox.names, max_risk=0.01), tmp_path / "agent")
    where = ("--toolbox", tmp_path / "box", "--agent", tmp_path / "agent", "--device", "cpu")
    changes = []
    for number, more in enumerate(((), ("--even-if-unsure",))):
        output = tmp_path / f"{number}.json"
        words = ("--players", "agent", "--level", "mild", "--count", COUNT, "--json", output)
        result = run(store_path, *words, *where, *more)
        assert result.exit_code == 0, result.output
        (found,) = read_json(output)
        changes.append(found["psnr_after"] - found["psnr_before"])
    assert changes[0] == 0.0
    assert changes[1] != 0.0
