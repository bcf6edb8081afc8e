"""Properties of fitting a tool to noisy photos alone."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import FloatImage, to_numpy, to_tensor
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.tools_zoo.fitting.distillation import shipped_denoisers
from restoration_toolchain.tools_zoo.fitting.fit import BLIND_ERROR, FitConfig, fit_tool
from restoration_toolchain.tools_zoo.networks import NETWORKS
from restoration_toolchain.tools_zoo.networks.blind_spot import BlindSpot
from restoration_toolchain.tools_zoo.networks.masked_unet import MaskedUnet
from restoration_toolchain.tools_zoo.storage import load_toolbox, save_toolbox
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from tests.tools_zoo.conftest import white_noise

METHODS = ["ams", "sdap"]
SIGMA = 30.0  # 8-bit grey levels


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "masked_unet", lambda: MaskedUnet(num_feat=8))
    monkeypatch.setitem(NETWORKS, "blind_spot", lambda: BlindSpot(num_feat=8, num_module=1))


@pytest.fixture(scope="module")
def clean() -> FloatImage:
    """Smooth colours, 64x88 pixels."""
    coarse = np.random.default_rng(5).uniform(0.1, 0.9, (4, 5, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (88, 64), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth, 0.0, 1.0)


@pytest.fixture(scope="module")
def noisy(clean: FloatImage) -> FloatImage:
    noise = np.random.default_rng(6).normal(0.0, SIGMA / 255.0, clean.shape)
    return (clean + noise).astype(np.float32)


def tiny_config(method: str = "ams", **values: Any) -> FitConfig:
    defaults: dict[str, Any] = {
        "method": method,
        "total_steps": 6,
        "distill": 0.0,
        "batch_size": 2,
        "patch_size": 32,
        "train_stride": 2,
        "cycle": 4,
        "eval_every": 2,
        "device": "cpu",
        "precision": "fp32",
    }
    return FitConfig(**(defaults | values))


NOISE = white_noise(SIGMA)


def fit(photo: FloatImage, config: FitConfig, path: Path, **options: Any) -> Tool:
    return fit_tool([photo], config, path, name="fitted", noise=NOISE, **options)


def read_errors(path: Path) -> list[float]:
    return [json.loads(line)[BLIND_ERROR] for line in (path / "metrics.jsonl").open()]


def assert_same_weights(left: Tool, right: Tool) -> None:
    for name, value in left.state_dict().items():
        assert torch.equal(right.state_dict()[name], value), name


@pytest.mark.parametrize("method", METHODS)
def test_a_single_noisy_photo_is_enough_to_denoise_it(
    method: str, clean: FloatImage, noisy: FloatImage, tmp_path: Path
) -> None:
    config = tiny_config(method, total_steps=150, batch_size=4, learning_rate=5e-3, eval_every=30)
    tool = fit(noisy, config, tmp_path)
    errors = read_errors(tmp_path)
    assert min(errors) < errors[0]
    with torch.no_grad():
        restored = to_numpy(tool(to_tensor(noisy[None])))[0]
    assert psnr(restored, clean) > psnr(noisy, clean) + 3.0


@pytest.mark.parametrize("method", METHODS)
def test_the_error_is_measured_in_grey_levels_of_the_noise(
    method: str, noisy: FloatImage, tmp_path: Path
) -> None:
    photo = np.full_like(noisy, 0.5) + (noisy - noisy.mean())[::-1] * 0.0
    fit(photo.astype(np.float32), tiny_config(method, learning_rate=1e-9), tmp_path)
    assert 1.0 < read_errors(tmp_path)[0] < 255.0  # nothing is learnt: far from a grey of 127.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("interrupted_at", [3, 4])
def test_a_resumed_fit_equals_an_uninterrupted_one_bit_for_bit(
    method: str, interrupted_at: int, noisy: FloatImage, tmp_path: Path
) -> None:
    def interrupt(step: int, total: int, metrics: dict[str, float]) -> None:
        if step == interrupted_at:
            raise KeyboardInterrupt

    config = tiny_config(method)
    whole = fit(noisy, config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(noisy, config, tmp_path / "parts", on_step=interrupt)
    resumed = fit(noisy, config, tmp_path / "parts", resume=True)
    assert_same_weights(whole, resumed)
    assert read_errors(tmp_path / "whole") == read_errors(tmp_path / "parts")


def test_a_fit_by_time_is_resumed_with_the_number_of_steps_it_began_with(
    noisy: FloatImage, tmp_path: Path
) -> None:
    totals = set()

    def interrupt(step: int, total: int, metrics: dict[str, float]) -> None:
        totals.add(total)
        if step == 2:
            raise KeyboardInterrupt

    config = tiny_config(total_steps=0, minutes=0.5 / 60.0, eval_every=1000)
    with pytest.raises(KeyboardInterrupt):
        fit(noisy, config, tmp_path, on_step=interrupt)
    steps = []

    def count(step: int, total: int, metrics: dict[str, float]) -> None:
        totals.add(total)
        steps.append(step)

    fit(noisy, config, tmp_path, resume=True, on_step=count)
    (total,) = totals
    assert steps == list(range(3, total + 1))


def test_a_fit_is_not_resumed_on_other_photos(noisy: FloatImage, tmp_path: Path) -> None:
    fit(noisy, tiny_config(), tmp_path)
    with pytest.raises(ToolchainError, match=r"started with other settings \(photos\)"):
        fit(noisy[::-1], tiny_config(), tmp_path, resume=True)


@pytest.mark.parametrize("interrupted_at", [2, 3, 5])
def test_a_distilled_fit_is_resumed_wherever_it_was_interrupted(
    interrupted_at: int, noisy: FloatImage, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []

    def interrupt(step: int, total: int, metrics: dict[str, float]) -> None:
        seen.append((step, total))
        if step == interrupted_at:
            raise KeyboardInterrupt

    config = tiny_config(distill=0.5)
    whole = fit(noisy, config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(noisy, config, tmp_path / "parts", on_step=interrupt)
    interrupted_at = 0
    resumed = fit(noisy, config, tmp_path / "parts", resume=True, on_step=interrupt)
    assert_same_weights(whole, resumed)
    assert seen == [(step, 6) for step in range(1, 7)]


def test_a_distilled_tool_has_the_shape_of_a_shipped_one(noisy: FloatImage, tmp_path: Path) -> None:
    tool = fit(noisy, tiny_config(distill=0.5), tmp_path)
    shipped = shipped_denoisers()
    assert tool.spec.network in {one.spec.network for one in shipped}
    assert "distilled" in tool.spec.source
    assert tool.spec.label == "noise 30-30"
    start = next(one for one in shipped if one.spec.name in tool.spec.source)
    pairs = zip(tool.parameters(), start.parameters(), strict=True)
    assert any(not torch.equal(own, its) for own, its in pairs)


def test_there_must_be_something_to_resume(noisy: FloatImage, tmp_path: Path) -> None:
    config = tiny_config(total_steps=0, minutes=0.01)
    with pytest.raises(ToolchainError, match="nothing to resume"):
        fit(noisy, config, tmp_path, resume=True)


def test_the_weights_that_are_kept_are_those_that_did_best(
    noisy: FloatImage, tmp_path: Path
) -> None:
    tool = fit(noisy, tiny_config(), tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    best = state["early_stopping"]
    assert best["lowest"] == min(read_errors(tmp_path))
    for name, value in best["weights"].items():
        assert torch.equal(tool.network.state_dict()[f"denoiser.{name}"], value)


@pytest.mark.parametrize("method", METHODS)
def test_a_fitted_tool_is_a_tool_like_any_other(
    method: str, noisy: FloatImage, tmp_path: Path
) -> None:
    tool = fit(noisy, tiny_config(method), tmp_path / "run")
    assert tool.spec.label == "noise 30-30"
    save_toolbox(Toolbox("own", [tool]), tmp_path / "own")
    (loaded,) = load_toolbox(tmp_path / "own")
    assert loaded.spec == tool.spec
    image = to_tensor(noisy[None, :31, :45])
    torch.testing.assert_close(loaded(image), tool(image))


def test_photos_of_all_sizes_are_learnt_from_together(noisy: FloatImage, tmp_path: Path) -> None:
    photos = [noisy, noisy[:40, :33], np.ascontiguousarray(noisy[10:, 30:])]
    fit_tool(photos, tiny_config(), tmp_path, name="fitted", noise=NOISE)
    assert len(read_errors(tmp_path)) == 3


def test_a_photo_too_small_is_refused_before_a_run_folder_is_made(
    noisy: FloatImage, tmp_path: Path
) -> None:
    with pytest.raises(ToolchainError, match="88x12 pixels is too small"):
        fit(noisy[:12], tiny_config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"total_steps": 0, "minutes": 0.0}, "must be positive"),
        ({"total_steps": -1}, "must be positive"),
        ({"distill": 1.0}, r"distill must lie in \[0, 1\)"),
        ({"distill": -0.1}, r"distill must lie in \[0, 1\)"),
        ({"batch_size": 0}, "at least 1"),
        ({"patience": 0}, "at least 1"),
        ({"train_stride": 1}, "train_stride must be at least 2"),
        ({"patch_size": 15}, "patch_size must be at least 8 times"),
        ({"cycle": 1}, "cycle must lie in 2 to 4"),
        ({"cycle": 5}, "cycle must lie in 2 to 4"),
        ({"ema_decay": 1.0}, "ema_decay must lie in"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(**values)
