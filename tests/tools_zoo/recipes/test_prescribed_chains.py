"""Properties of tools that are trained in prescribed chains."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from restoration_toolchain.data.damage.degradation import mixture
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.recipes.plan import read_recipe
from restoration_toolchain.tools_zoo.recipes.prescribed_chains import (
    ChainSamples,
    ChainTrainConfig,
    PrescribedChains,
    Prescription,
    Rule,
    train_chains,
    with_starts,
)
from restoration_toolchain.tools_zoo.storage import load_toolbox
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.run_folder import config_from_dict

STAGES = (["denoise_1: noise 25", "deblock_1: jpeg 35"], ["deblur_1"])


def tiny_config(store_path: Path, **values: Any) -> ChainTrainConfig:
    defaults: dict[str, Any] = {
        "store": str(store_path),
        "stages": STAGES,
        "total_patches": 4 * 10,
        "batch_size": 4,
        "eval_every": 4,
        "eval_patches": 8,
        "num_workers": 0,
        "device": "cpu",
        "precision": "fp32",
    }
    return ChainTrainConfig(**(defaults | values))


def weights(toolbox: Toolbox, name: str) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in toolbox[name].parameters()])


def test_the_first_rule_that_holds_names_the_tool(tiny_toolbox: Toolbox) -> None:
    prescription = Prescription(STAGES, tiny_toolbox)
    deblur, denoise, deblock, stop = range(4)
    assert tiny_toolbox.names == ("deblur_1", "denoise_1", "deblock_1")
    for degradation, first in (
        (mixture(noise_sigma=30.0, jpeg_quality=20), denoise),
        (mixture(noise_sigma=25.0), denoise),
        (mixture(noise_sigma=24.0, jpeg_quality=35), deblock),
        (mixture(noise_sigma=24.0, jpeg_quality=36), stop),
        (mixture(blur_sigma=3.0), stop),
    ):
        assert prescription.chain(degradation) == [first, deblur]
    assert prescription.alone(deblock) == [deblock, stop]
    assert prescription.alone(deblur) == [stop, deblur]
    assert prescription.tools == [deblur, denoise, deblock]


def test_a_rule_asks_for_blur_too() -> None:
    rule = Rule.parse("deblur_1: blur 2.5")
    assert rule == Rule("deblur_1", "blur", 2.5)
    assert rule.holds(mixture(blur_sigma=2.5))
    assert not rule.holds(mixture(blur_sigma=2.4, noise_sigma=50.0))


@pytest.mark.parametrize("text", ["denoise_1: rain 3", "denoise_1: noise", "denoise_1: noise much"])
def test_a_rule_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ToolchainError, match="KIND STRENGTH"):
        Rule.parse(text)


def test_a_prescription_must_fit_the_toolbox(tiny_toolbox: Toolbox) -> None:
    with pytest.raises(UnknownNameError, match="denoise_9"):
        Prescription([["denoise_9"]], tiny_toolbox)
    with pytest.raises(ToolchainError, match="stages"):
        Prescription([], tiny_toolbox)


@pytest.mark.parametrize(
    ("recipe", "endings"),
    [
        ("efficient_pair", ["e3"] * 2),
        ("efficient_chains", ["e3", "e4"] * 3),
        ("efficient_detours", ["e3", "e4"] * 3),
        ("efficient_finish", ["e3", "e4"]),
        ("efficient_experts", ["e3", "e4"] * 3),
    ],
)
def test_the_shipped_prescriptions_fit_the_default_toolbox(recipe: str, endings: list[str]) -> None:
    values = {**read_recipe(recipe), "store": "store.h5"}
    config = config_from_dict(ChainTrainConfig, values)
    toolbox = with_starts(load_toolbox("efficient"), config.starts)
    assert toolbox.names == load_toolbox("efficient").names
    tools = Prescription(config.stages, toolbox).tools
    assert [toolbox.names[tool][-2:] for tool in tools] == endings


def test_tools_start_as_copies_or_afresh(tiny_toolbox: Toolbox) -> None:
    starts = ("denoise_1: deblock_1", "deblur_1: random", "deblur_2: denoise_1")
    started = with_starts(tiny_toolbox, starts)
    assert started.names == ("deblur_1", "deblur_2", "denoise_1", "deblock_1")
    assert torch.equal(weights(started, "denoise_1"), weights(tiny_toolbox, "deblock_1"))
    assert torch.equal(weights(started, "deblur_2"), weights(tiny_toolbox, "denoise_1"))
    assert not torch.equal(weights(started, "deblur_1"), weights(tiny_toolbox, "deblur_1"))
    assert torch.equal(weights(started, "deblock_1"), weights(tiny_toolbox, "deblock_1"))
    assert with_starts(tiny_toolbox, ()).names == tiny_toolbox.names
    with pytest.raises(ToolchainError, match="cannot start"):
        with_starts(tiny_toolbox, ["deblur_3: deblur_1"])  # a larger network
    for unknown in ("derain: random", "deblur_1: derain"):
        with pytest.raises(UnknownNameError, match="derain"):
            with_starts(tiny_toolbox, [unknown])


@pytest.mark.parametrize(
    "bad",
    [
        {"own": 1.5},
        {"detour": -0.5},
        {"early_weight": -0.1},
        {"batch_size": 0},
        {"total_patches": 3},
    ],
)
def test_bad_settings_are_refused(store_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        tiny_config(store_path, **bad)


def test_batches_are_a_pure_function_of_their_number(
    store_path: Path, tiny_toolbox: Toolbox
) -> None:
    prescription = Prescription(STAGES, tiny_toolbox)
    samples = ChainSamples(tiny_toolbox, prescription, tiny_config(store_path))
    for one, other in zip(samples[3], samples[3], strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(samples[3].lq, samples[4].lq)
    assert len(samples) == 10
    assert samples[3].actions.shape == (4, 2)


def test_images_with_one_distortion_meet_its_tool_only(
    store_path: Path, tiny_toolbox: Toolbox
) -> None:
    config = tiny_config(store_path, own=1.0, batch_size=16)
    prescription = Prescription(STAGES, tiny_toolbox)
    actions = ChainSamples(tiny_toolbox, prescription, config)[0].actions
    assert ((actions != tiny_toolbox.stop).sum(dim=1) == 1).all()
    assert set(actions.flatten().tolist()) == {0, 1, 2, 3}


def test_detours_take_any_tool_of_each_stage(store_path: Path, tiny_toolbox: Toolbox) -> None:
    config = tiny_config(store_path, own=0.0, detour=1.0, batch_size=32)
    prescription = Prescription(STAGES, tiny_toolbox)
    actions = ChainSamples(tiny_toolbox, prescription, config)[0].actions
    assert set(actions[:, 0].tolist()) == {1, 2}  # denoise_1, deblock_1
    assert set(actions[:, 1].tolist()) == {0}


def test_the_loss_behind_the_last_tool_teaches_the_first(tiny_toolbox: Toolbox) -> None:
    torch.manual_seed(0)
    chains = PrescribedChains(tiny_toolbox).requires_grad_(True)
    lq = torch.rand(2, 3, 24, 24) * 0.5 + 0.25
    first, last = chains(lq, torch.tensor([[1, 0], [1, 3]]))
    assert torch.equal(last[1], first[1])  # its chain has ended
    last[0].mean().backward()
    gradient = next(tiny_toolbox["denoise_1"].parameters()).grad
    assert gradient is not None
    assert gradient.abs().max() > 0.0
    assert next(tiny_toolbox["deblock_1"].parameters()).grad is None


def test_chains_get_better_and_other_tools_stay_as_they_are(
    store_path: Path, tmp_path: Path, tiny_toolbox: Toolbox
) -> None:
    config = tiny_config(
        store_path,
        stages=(["denoise_1"], ["deblur_1"]),
        total_patches=4 * 120,
        eval_every=20,
        ema_decay=0.8,
        optimizer="muon",
    )
    before = {name: weights(tiny_toolbox, name) for name in tiny_toolbox.names}
    trained = train_chains(tiny_toolbox, config, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    assert metrics[-1]["gain"] > metrics[0]["gain"] + 0.1
    assert metrics[-1]["gain"] > 0.0
    assert {"first_mild", "gain_mild", "gain_severe"} <= set(metrics[-1])
    assert trained.names == tiny_toolbox.names
    assert not torch.equal(weights(trained, "denoise_1"), before["denoise_1"])
    assert torch.equal(weights(trained, "deblock_1"), before["deblock_1"])
    for name, start in before.items():  # a copy was trained
        assert torch.equal(weights(tiny_toolbox, name), start)


def test_a_resumed_run_equals_an_uninterrupted_one(
    store_path: Path, tmp_path: Path, tiny_toolbox: Toolbox
) -> None:
    config = tiny_config(store_path)

    def press_ctrl_c(step: int, total: int, metrics: dict[str, float]) -> None:
        if step == 7:
            raise KeyboardInterrupt

    whole = train_chains(tiny_toolbox, config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_chains(tiny_toolbox, config, tmp_path / "parts", on_step=press_ctrl_c)
    resumed = train_chains(tiny_toolbox, config, tmp_path / "parts", resume=True)
    for name in whole.names:
        assert torch.equal(weights(whole, name), weights(resumed, name))


def test_two_processes_share_the_batches_and_finish_the_schedule(
    store_path: Path, tmp_path: Path
) -> None:
    flags = ("--store", store_path, "--run", tmp_path / "run", "--devices", 2, "--device", "cpu",
             "--precision", "fp32", "--toolbox", "classic", "--total-patches", 16)  # fmt: skip
    settings = ('stages=[["denoise_1"],["deblur_1"]]', "batch_size=2", "eval_every=3",
                "eval_patches=4", "num_workers=0")  # fmt: skip
    words = [word for setting in settings for word in ("--set", setting)]
    script = Path(sys.executable).parent / "toolchain"
    done = subprocess.run(
        [script, "train", "chains", *map(str, flags), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 4]  # 8 batches, two per step
    assert load_toolbox(tmp_path / "run" / "toolbox").names == load_toolbox("classic").names
