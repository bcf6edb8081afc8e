"""The commands fit and extend, and restore with a fitted tool."""

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from restoration_toolchain.agents.policy.storage import load_bundle
from restoration_toolchain.data.damage.noise_model import estimate_noise
from restoration_toolchain.data.images import ByteImage, to_float
from restoration_toolchain.toolchain.cli import app
from restoration_toolchain.toolchain.learning import camera_fit
from restoration_toolchain.toolchain.learning.camera_fit import Verdict, judge
from restoration_toolchain.tools_zoo.fitting.sure import Risk, estimate_risk
from restoration_toolchain.tools_zoo.networks import NETWORKS
from restoration_toolchain.tools_zoo.networks.blind_spot import BlindSpot
from restoration_toolchain.tools_zoo.networks.masked_unet import MaskedUnet
from restoration_toolchain.tools_zoo.own_tools import HOME_VARIABLE, load_own_tool
from restoration_toolchain.tools_zoo.storage import load_toolbox
from restoration_toolchain.tools_zoo.tool import Tool
from tests.toolchain.conftest import RunCli, assert_one_line, snapshot, write_bad_photo

QUICK = (
    "--device=cpu", "--set=total_steps=2", "--set=eval_every=1", "--set=batch_size=1",
    "--set=patch_size=40",
)  # fmt: skip

Fit = Callable[..., Result]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and networks that compute at once."""
    monkeypatch.setitem(NETWORKS, "masked_unet", lambda: MaskedUnet(num_feat=3))
    monkeypatch.setitem(NETWORKS, "blind_spot", lambda: BlindSpot(num_feat=6, num_module=1))
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def no_rivals(monkeypatch: pytest.MonkeyPatch, tiny_toolbox: Any) -> None:
    """Shipped denoisers that are quick; they change an image a little, at random."""
    shipped = [tool for tool in tiny_toolbox if tool.spec.task == "noise"]
    monkeypatch.setattr(camera_fit, "shipped_denoisers", lambda: shipped)
    monkeypatch.setattr(camera_fit, "MAX_CROPS", 3)


@pytest.fixture
def fit() -> Fit:
    def run(*words: object) -> Result:
        return CliRunner().invoke(app, ["fit", *map(str, words), *QUICK])

    return run


def noisy_photo(sigma: float, seed: int = 0, side: int = 128) -> ByteImage:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(60, 190, (4, 4, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0.0, sigma, smooth.shape), 0, 255).astype(np.uint8)


def textured_photo(sigma: float, seed: int = 0, side: int = 128) -> ByteImage:
    """Texture of all sizes, whose contrast differs from place to place, under noise."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    waves = np.fft.fft2(rng.standard_normal((side, side))) / np.maximum(frequency, 1.0 / side)
    texture = np.fft.ifft2(waves).real
    contrast = np.exp(0.6 * cv2.resize(rng.standard_normal((6, 6)), (side, side)))
    photo = 128.0 + 30.0 * (contrast * texture / texture.std())[..., None]
    return np.clip(photo + rng.normal(0.0, sigma, (side, side, 3)), 2, 253).astype(np.uint8)


def write(path: Path, photo: ByteImage) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three noisy photos."""
    for seed in range(3):
        write(tmp_path / "photos" / f"{seed}.png", noisy_photo(15.0, seed))
    return tmp_path / "photos"


@pytest.mark.parametrize("method", ["ams", "sdap"])
def test_a_fitted_tool_is_kept_with_its_noise_and_figures(
    method: str, fit: Fit, folder: Path, home: Path
) -> None:
    result = fit(folder, "--name", "mine", "--method", method, "--keep-anyway")
    assert result.exit_code == 0, result.output
    assert "--add-tool mine" in result.stdout
    own = load_own_tool("mine")
    assert own.noise.sigma == pytest.approx(15.0, rel=0.2)
    assert own.notes["fit"]["method"] == method
    assert {"mine", "doing nothing"} <= own.notes["estimated_gains"].keys()
    assert not (home / "fits" / "mine").exists()


def test_one_photo_is_enough_and_the_tool_goes_where_it_should(
    fit: Fit, folder: Path, tmp_path: Path
) -> None:
    result = fit(folder / "0.png", "--name", "mine", "-o", tmp_path / "tool", "--keep-anyway")
    assert result.exit_code == 0, result.output
    assert load_own_tool(tmp_path / "tool").name == "mine"


def test_a_tool_that_is_not_better_is_not_kept_unless_asked(
    fit: Fit, folder: Path, home: Path
) -> None:
    blind = ("--name", "mine", "--set", "distill=0")
    result = fit(folder, *blind)  # two steps teach nothing
    assert result.exit_code == 1
    assert "is not better than" in result.stderr
    assert "nothing was kept" in result.stderr
    assert not (home / "tools").exists()
    again = fit(folder, *blind, "--resume", "--keep-anyway")
    assert again.exit_code == 0, again.output
    assert load_own_tool("mine").notes["accepted"] is False


def test_a_photo_of_nothing_but_texture_is_refused_unless_asked(
    fit: Fit, tmp_path: Path, home: Path
) -> None:
    photo = write(tmp_path / "grass.png", textured_photo(3.0, side=256))
    result = fit(photo, "--name", "mine")
    assert_one_line(result, 2, "may as well be texture")
    assert not (home / "fits").exists()
    assert fit(photo, "--name", "mine", "--mixed", "--keep-anyway").exit_code == 0


def test_photos_full_of_texture_are_taken_where_one_of_them_shows_the_noise(
    fit: Fit, tmp_path: Path
) -> None:
    for seed in range(3):
        write(tmp_path / "photos" / f"{seed}.png", textured_photo(6.0, seed))
    write(tmp_path / "photos" / "calm.png", noisy_photo(6.0))
    result = fit(tmp_path / "photos", "--name", "mine", "--keep-anyway")
    assert result.exit_code == 0, result.output
    assert load_own_tool("mine").noise.sigma == pytest.approx(6.0, rel=0.2)


def test_a_tool_better_than_all_is_kept(
    fit: Fit, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_fit, "better_than_all", lambda own, others: True)
    monkeypatch.setattr(camera_fit, "FLATTERY", -100.0)
    result = fit(folder, "--name", "mine")
    assert result.exit_code == 0, result.output
    assert "is estimated to be better than" in result.stdout


@pytest.mark.parametrize(("lead", "accepted"), [(0.6, True), (0.4, False), (-0.5, False)])
def test_a_tool_has_to_be_better_by_more_than_its_estimate_may_flatter_it(
    lead: float, accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = load_toolbox("efficient")["denoise_e1"]
    fitted = Tool(replace(tool.spec, name="mine"), tool.network)

    def estimate(denoise: object, crops: object, noise: object) -> Risk:
        mse = 0.1 * 10.0 ** (-0.1 * lead) if denoise is fitted else 0.1
        return Risk((mse, 1.01 * mse), (1.0, 1.0))

    monkeypatch.setattr(camera_fit, "estimate_risk", estimate)
    noise = estimate_noise([to_float(noisy_photo(15.0))])
    verdict = judge(fitted, [np.zeros((64, 64, 3), np.float32)] * 2, noise)
    assert verdict.accepted is accepted
    assert ("by the 0.5 dB" in verdict.sentence()) is (lead == 0.4)


def test_of_a_large_lead_that_may_be_chance_it_is_not_said_to_be_small() -> None:
    verdict = Verdict("mine", {"mine": 3.0, "denoise_e1": 2.0}, accepted=False, num_crops=2)
    assert verdict.sentence().startswith("mine is not better than the shipped denoise_e1, on")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere", "--name", "mine"], "nowhere: no such file or folder"),
        (["empty", "--name", "mine"], "no photos in this folder"),
        (["photos", "--name", "a b"], "cannot name a tool"),
        (["photos", "--name", "denoise_e1"], "choose another name"),
        (["photos", "--name", "mine", "--method", "asm"], "did you mean 'ams'?"),
        (["photos", "--name", "mine", "--minutes", "0", "--set", "total_steps=0"], "positive"),
        (["photos", "--name", "mine", "--resume"], "nothing to resume"),
    ],
)
def test_what_cannot_work_is_one_line_and_leaves_nothing(
    words: list[str], says: str, fit: Fit, folder: Path, tmp_path: Path,
    home: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    command = ["fit", *words, *(() if "total_steps=0" in words else QUICK)]
    assert_one_line(CliRunner().invoke(app, command), 2, says)
    assert not home.exists()


def test_a_run_below_the_folder_of_a_fit_neither_stops_it_nor_is_removed_with_it(
    fit: Fit, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs" / "other").mkdir(parents=True)
    (tmp_path / "runs" / "other" / "checkpoint.pt").touch()
    result = fit(folder, "--name", "mine", "--run", tmp_path / "runs", "--keep-anyway")
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["other"]
    assert (tmp_path / "runs" / "other" / "checkpoint.pt").exists()


def test_a_taken_name_is_refused_before_anything_is_done(fit: Fit, folder: Path) -> None:
    assert fit(folder, "--name", "mine", "--keep-anyway").exit_code == 0
    assert_one_line(fit(folder, "--name", "mine"), 2, "exists already")
    assert fit(folder, "--name", "mine", "--keep-anyway", "--overwrite").exit_code == 0


def test_clean_photos_have_nothing_to_teach(fit: Fit, tmp_path: Path, home: Path) -> None:
    for seed in range(3):
        write(tmp_path / "clean" / f"{seed}.png", noisy_photo(0.0, seed))
    assert_one_line(fit(tmp_path / "clean", "--name", "mine"), 2, "the photos are clean")
    assert not home.exists()


def test_a_clean_photo_among_noisy_ones_does_not_make_them_pass_for_clean(
    fit: Fit, folder: Path
) -> None:
    write(folder / "clean.png", noisy_photo(0.0))
    assert_one_line(fit(folder, "--name", "mine"), 2, "do not have the same noise")


def test_photos_of_different_cameras_are_refused_unless_asked(
    fit: Fit, folder: Path, tmp_path: Path
) -> None:
    for seed in range(3):
        write(folder / f"other_{seed}.png", noisy_photo(60.0, seed + 10))
    result = fit(folder, "--name", "mine")
    assert_one_line(result, 2, "do not have the same noise")
    assert "other_" in result.stderr
    assert fit(folder, "--name", "mine", "--mixed", "--keep-anyway").exit_code == 0


def test_a_photo_too_small_or_damaged_is_a_failure_when_it_was_named(
    fit: Fit, tmp_path: Path
) -> None:
    small = write(tmp_path / "small.png", noisy_photo(15.0, side=60))
    assert_one_line(fit(small, "--name", "mine"), 1, "60 x 60 pixels are too few")
    bad = write_bad_photo(tmp_path / "bad.png", "text")
    assert_one_line(fit(bad, "--name", "mine"), 1, "not an image")


def test_what_cannot_be_read_in_a_folder_is_left_out_with_a_note(
    fit: Fit, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "small.png", noisy_photo(15.0, side=60))
    write_bad_photo(folder / "bad.png", "text")
    read = camera_fit.read_photo

    def vanish(path: Path) -> Any:
        if path.name == "1.png":
            path.unlink()
        return read(path)

    monkeypatch.setattr(camera_fit, "read_photo", vanish)
    result = fit(folder, "--name", "mine", "--keep-anyway")
    assert result.exit_code == 0, result.output
    for says in ("small.png: 60 x 60", "bad.png: not an image", "1.png: no such file"):
        assert says in result.stderr.replace("\n", "")
    assert "2 photos, noise" in result.stderr


def test_an_interrupted_fit_goes_on_to_the_same_tool(
    fit: Fit, folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fit(folder, "--name", "whole", "--keep-anyway").exit_code == 0

    def interrupt(*args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGINT)  # Ctrl-C in the middle of a validation
        return estimate_risk(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr("restoration_toolchain.tools_zoo.fitting.fit.estimate_risk", interrupt)
        result = fit(folder, "--name", "parts")
        assert result.exit_code == 130
        assert "add --resume" in result.stderr
    assert not (home / "tools" / "parts").exists()
    assert_one_line(fit(folder, "--name", "parts"), 2, "choose another --name or --run")
    assert fit(folder, "--name", "parts", "--resume", "--keep-anyway").exit_code == 0
    whole, parts = load_own_tool("whole").tool, load_own_tool("parts").tool
    for name, value in whole.state_dict().items():
        assert value.equal(parts.state_dict()[name])


@pytest.fixture
def own_tool(fit: Fit, folder: Path) -> str:
    assert fit(folder, "--name", "mine", "--keep-anyway").exit_code == 0
    return "mine"


def test_a_photo_with_the_noise_it_was_fitted_to_gets_the_tool_first(
    run_cli: RunCli, own_tool: str, folder: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.json"
    words = ("-o", tmp_path / "out", "--trace", trace, "--max-steps", 2, "--add-tool", own_tool)
    result = run_cli("restore", folder / "0.png", *words)
    assert result.exit_code == 0, result.output
    (entry,) = json.loads(trace.read_text())
    assert entry["sequence"] == ["mine", "denoise_3"]
    assert "mine" in entry["toolbox"]["sha256"]


def test_a_photo_with_other_noise_is_left_to_the_agent_with_a_note(
    run_cli: RunCli, own_tool: str, tmp_path: Path
) -> None:
    photo = write(tmp_path / "clean.png", noisy_photo(1.0))
    result = run_cli("restore", photo, "-o", tmp_path / "out", "--add-tool", own_tool)
    assert result.exit_code == 0, result.output
    assert "denoise_3, deblur_1" in result.stdout
    assert "mine was not used: its noise is" in result.stderr


def test_inspect_shows_what_the_tool_did(
    run_cli: RunCli, own_tool: str, folder: Path, tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    result = run_cli("inspect", folder / "0.png", "-o", sheet, "--add-tool", own_tool)
    assert result.exit_code == 0, result.output
    assert "mine" in result.stdout
    assert Image.open(sheet).width > 1000


def test_an_unknown_tool_is_named_with_the_nearest(
    run_cli: RunCli, own_tool: str, folder: Path, tmp_path: Path
) -> None:
    words = ("-o", tmp_path / "out", "--add-tool", "mien")
    assert_one_line(run_cli("restore", folder, *words), 2, "did you mean 'mine'?")


def extend(toolbox: Path, *words: object) -> Result:
    return CliRunner().invoke(
        app, ["extend", str(toolbox), *map(str, words), "--total-timesteps", "64", "--device=cpu"]
    )


@pytest.fixture
def bundle(tmp_path: Path, tiny_toolbox: Any) -> Path:
    """A small toolbox with its agent."""
    import torch

    from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
    from restoration_toolchain.agents.policy.q_net import RecurrentQNet
    from restoration_toolchain.toolchain.learning.joint import save_bundle

    torch.manual_seed(0)
    policy = LstmPolicy(RecurrentQNet(len(tiny_toolbox)), tiny_toolbox.names)
    save_bundle(tiny_toolbox, policy, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_an_extended_toolbox_restores_with_its_agent(
    own_tool: str, bundle: Path, store_path: Path, folder: Path, tmp_path: Path
) -> None:
    target, run = tmp_path / "new" / "bigger", tmp_path / "run"
    words = ("--add-tool", own_tool, "-o", target, "--store", store_path, "--run", run)
    result = extend(bundle, *words)
    assert result.exit_code == 0, result.output
    assert "noise of your photos" in result.stdout
    toolbox, policy = load_bundle(target)
    assert toolbox.names == policy.tool_names == (*load_bundle(bundle)[0].names, "mine")
    restore = ["restore", str(folder / "0.png"), "-o", str(tmp_path / "out"), "--device=cpu"]
    result = CliRunner().invoke(app, [*restore, "--toolbox", str(target)])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, [*restore, "--toolbox", str(target), "--add-tool", own_tool])
    assert_one_line(result, 2, "has a tool 'mine' already")


def test_what_cannot_be_extended_is_one_line_and_leaves_nothing(
    own_tool: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "bigger"
    before = snapshot(tmp_path)
    out = ("-o", target)
    assert_one_line(extend(bundle, "--add-tool", "mien", *out), 2, "did you mean 'mine'?")
    assert_one_line(extend(tmp_path / "no", "--add-tool", own_tool, *out), 2, "no toolbox")
    assert_one_line(extend(bundle, "--add-tool", own_tool, "-o", bundle), 2, "exists already")
    assert_one_line(
        extend(bundle, "--add-tool", own_tool, *out, "--store", "none.h5"), 2, "none.h5"
    )
    assert_one_line(
        extend(bundle, "--add-tool", own_tool, *out, "--resume"), 2, "nothing to resume"
    )
    photos = ("-o", tmp_path / "photos", "--overwrite")
    assert_one_line(extend(bundle, "--add-tool", own_tool, *photos), 2, "is not replaced")
    after = {path for path in snapshot(tmp_path) if not path.startswith("runs")}
    assert after == set(before)
