"""Properties of the trainer of tools."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from restoration_toolchain.data.errors import StoreError, ToolchainError
from restoration_toolchain.tools_zoo.catalog import CLASSIC
from restoration_toolchain.tools_zoo.networks import NETWORKS
from restoration_toolchain.tools_zoo.networks.single import PlainStack
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.training import supervised as training
from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT
from restoration_toolchain.tools_zoo.training.supervised import ToolTrainConfig, train_tool

STRONG_NOISE = ToolSpec("denoise", "noise", (40.0, 50.0), "small")


def tiny_config(store_path: Path, **values: Any) -> ToolTrainConfig:
    defaults: dict[str, Any] = {
        "store": str(store_path),
        "total_patches": 4 * 10,
        "batch_size": 4,
        "eval_every": 4,
        "eval_patches": 8,
        "num_workers": 0,
        "device": "cpu",
        "precision": "fp32",
    }
    return ToolTrainConfig(**(defaults | values))


def assert_same_weights(left: Tool, right: Tool) -> None:
    for name, value in left.network.state_dict().items():
        assert torch.equal(right.network.state_dict()[name], value), name


def read_metrics(run_path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_path / "metrics.jsonl").read_text().splitlines()]


class StopAt:
    """Presses Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, step: int, total: int, metrics: dict[str, float]) -> None:
        if step == self.step:
            raise KeyboardInterrupt


def test_a_few_dozen_steps_raise_psnr_on_the_own_range(store_path: Path, tmp_path: Path) -> None:
    spec = ToolSpec("denoise", "noise", (40.0, 50.0), "large")
    config = tiny_config(
        store_path, total_patches=4 * 48, eval_every=12, ema_decay=0.8, mixed=0.0, jitter=0.0
    )
    tool = train_tool(spec, config, tmp_path / "run")
    metrics = read_metrics(tmp_path / "run")
    assert [line["step"] for line in metrics] == [12, 24, 36, 48]
    assert metrics[-1]["psnr_own"] > metrics[0]["psnr_own"] + 0.5
    assert metrics[-1]["gain_own"] > 0.5
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert tool.spec == spec


def test_the_small_network_does_not_die_of_a_high_learning_rate(
    store_path: Path, tmp_path: Path
) -> None:
    config = tiny_config(store_path, total_patches=4 * 40, ema_decay=0.8, learning_rate=2e-3)
    tool = train_tool(STRONG_NOISE, config, tmp_path / "run")
    network = tool.network
    lq = torch.rand(16, 3, 24, 24) * torch.rand(16, 3, 1, 1)
    feat = torch.relu(network.conv1(lq))  # type: ignore[operator]
    feat = torch.relu(network.conv2(feat))  # type: ignore[operator]
    assert (feat.amax(dim=(0, 2, 3)) > 0.0).sum() >= 6  # of 16 channels


def test_a_small_residual_scale_starts_near_the_identity(store_path: Path, tmp_path: Path) -> None:
    start = Tool(STRONG_NOISE).network
    lq = torch.rand(2, 3, 24, 24)

    def change(factor: float) -> float:
        config = tiny_config(store_path, learning_rate=1e-9, residual_scale=factor)
        tool = train_tool(STRONG_NOISE, config, tmp_path / str(factor), init=start)
        with torch.no_grad():
            return float((tool(lq) - lq).abs().mean())

    assert change(0.1) == pytest.approx(0.1 * change(1.0), rel=1e-2)


def test_a_network_with_batch_normalisation_learns_and_averages_its_statistics(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        NETWORKS, "tiny_norm", lambda: PlainStack(depth=3, num_feat=4, use_norm=True)
    )
    spec = ToolSpec("normed", "mixed", (9.0, 20.0), "tiny_norm")
    tool = train_tool(spec, tiny_config(store_path, mixed=1.0), tmp_path / "run")
    state = tool.network.state_dict()
    assert int(state["body.3.num_batches_tracked"]) == 10
    assert not torch.equal(state["body.3.running_mean"], torch.zeros(4))
    assert not tool.training


def test_progress_is_reported_after_every_step(store_path: Path, tmp_path: Path) -> None:
    calls = []
    train_tool(
        STRONG_NOISE,
        tiny_config(store_path),
        tmp_path / "run",
        on_step=lambda step, total, metrics: calls.append((step, total, "psnr_own" in metrics)),
    )
    assert calls == [(step, 10, step >= 4) for step in range(1, 11)]


@pytest.mark.parametrize("interrupted_at", [3, 7, 8])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    store_path: Path, tmp_path: Path, interrupted_at: int
) -> None:
    config = tiny_config(store_path)
    whole = train_tool(STRONG_NOISE, config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_tool(STRONG_NOISE, config, tmp_path / "parts", on_step=StopAt(interrupted_at))
    resumed = train_tool(STRONG_NOISE, config, tmp_path / "parts", resume=True)
    assert_same_weights(whole, resumed)
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "parts")


def test_a_run_of_an_older_version_is_resumed(store_path: Path, tmp_path: Path) -> None:
    config = tiny_config(store_path)
    finished = train_tool(STRONG_NOISE, config, tmp_path / "run")
    state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    for part in ("tool", "averaged"):  # where a network was trained as a part of its tool
        state[part] = {f"network.{name}": value for name, value in state[part].items()}
    torch.save(state, tmp_path / "run" / CHECKPOINT)
    again = train_tool(STRONG_NOISE, config, tmp_path / "run", resume=True)
    assert_same_weights(finished, again)


def test_resuming_a_finished_run_gives_its_tool_at_once(store_path: Path, tmp_path: Path) -> None:
    config = tiny_config(store_path)
    finished = train_tool(STRONG_NOISE, config, tmp_path / "run")
    steps: list[int] = []
    again = train_tool(
        STRONG_NOISE,
        config,
        tmp_path / "run",
        resume=True,
        on_step=lambda step, total, metrics: steps.append(step),
    )
    assert steps == []
    assert_same_weights(finished, again)


def test_the_seed_decides_the_run(store_path: Path, tmp_path: Path) -> None:
    runs = {
        name: train_tool(STRONG_NOISE, tiny_config(store_path, seed=seed), tmp_path / name)
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    }
    assert_same_weights(runs["first"], runs["again"])
    own, other = (runs[name].network.state_dict()["conv1.bias"] for name in ("first", "other"))
    assert not torch.equal(own, other)


def test_a_warm_start_begins_at_the_weights_given(store_path: Path, tmp_path: Path) -> None:
    start = Tool(STRONG_NOISE)
    config = tiny_config(store_path, total_patches=4, learning_rate=1e-9)
    trained = train_tool(CLASSIC[5], config, tmp_path / "run", init=start.network)
    for name, value in start.network.state_dict().items():
        torch.testing.assert_close(trained.network.state_dict()[name], value, atol=1e-6, rtol=0)


def test_starting_weights_of_another_shape_are_refused(store_path: Path, tmp_path: Path) -> None:
    large = Tool(CLASSIC[6]).network
    with pytest.raises(ToolchainError, match="starting weights do not fit 'denoise'"):
        train_tool(STRONG_NOISE, tiny_config(store_path), tmp_path / "run", init=large)


def test_a_loss_that_is_no_number_stops_with_the_checkpoint_kept(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def break_down(restored: Tensor, gt: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return (restored - gt).square().mean() * (1.0 if calls <= 6 else float("nan"))

    monkeypatch.setattr(training, "pixel_loss", lambda name: break_down)
    with pytest.raises(ToolchainError, match="the last good state is kept"):
        train_tool(STRONG_NOISE, tiny_config(store_path), tmp_path / "run")
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 4
    assert all(torch.isfinite(value).all() for value in state["tool"].values())


def test_a_missing_store_is_reported_before_a_run_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no patch store"):
        train_tool(STRONG_NOISE, tiny_config(tmp_path / "absent.h5"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"total_patches": 1}, "at least one batch"),
        ({"batch_size": 0}, "of positive size"),
        ({"ema_decay": 1.0}, "ema_decay must lie in"),
        ({"warmup": 0.0}, "warmup must lie in"),
        ({"residual_scale": 0.0}, "residual_scale must be positive"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(Path("store.h5"), **values)
