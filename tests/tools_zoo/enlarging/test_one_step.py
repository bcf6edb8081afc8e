"""Properties of residual shifting, of its network, and of its distillation to one step."""

import contextlib
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.catalog import ENLARGERS
from restoration_toolchain.tools_zoo.encoders.efficientnet import EfficientNetEncoder
from restoration_toolchain.tools_zoo.enlarging.build_terms import build_terms
from restoration_toolchain.tools_zoo.enlarging.config import WEIGHTS, OneStepTrainConfig
from restoration_toolchain.tools_zoo.enlarging.one_step import (
    StudentObjective,
    TeacherObjective,
)
from restoration_toolchain.tools_zoo.enlarging.train import train_sr_tool
from restoration_toolchain.tools_zoo.networks.diffusion import TEMPERATURE, Shifting
from restoration_toolchain.tools_zoo.networks.one_step import PERIOD, STEPS, OneStepNet
from restoration_toolchain.tools_zoo.networks.super_resolution import SrNet
from restoration_toolchain.tools_zoo.training.batches import Batch

VPD = next(spec for spec in ENLARGERS if spec.name == "sr-vpd")

Config = Callable[..., OneStepTrainConfig]


def test_the_schedule_is_that_of_resshift() -> None:
    # sqrt(eta) for T = 8, kappa = 1, d = 0.04, p = 0.3, computed from the paper's equations.
    expected = (0.0, 0.0316, 0.2159, 0.3366, 0.4570, 0.5814, 0.7113, 0.8473, 0.99)
    assert Shifting(8).roots == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("steps", [2, 4, 8, 15])
def test_the_parts_of_a_step_sum_to_one_and_the_last_is_the_clean_image(steps: int) -> None:
    shifting = Shifting(steps)
    assert list(shifting.roots) == sorted(set(shifting.roots))
    for t in range(1, steps + 1):
        assert sum(shifting.weights(t, t - 1)) == pytest.approx(1.0)
    assert shifting.weights(1, 0) == pytest.approx((1.0, 0.0, 0.0))


@pytest.mark.parametrize("calls", [1, 2, 5, 8])
def test_who_knows_the_clean_image_recovers_it_in_any_number_of_steps(calls: int) -> None:
    gt, y, noise = (torch.randn(2, 3, 8, 8) for _ in range(3))
    seen: list[int] = []

    def oracle(state: Tensor, t: int) -> Tensor:
        seen.append(t)
        return gt

    torch.testing.assert_close(Shifting(8).sample(oracle, y, noise, calls), gt)
    assert len(seen) == calls
    assert seen == sorted(set(seen), reverse=True)
    assert seen[0] == 8


def test_a_step_lands_on_the_forward_process() -> None:
    shifting = Shifting(8)
    gt, y, noise = (torch.randn(2, 3, 8, 8) for _ in range(3))
    states = [shifting.noisy(gt, y, torch.tensor([t, t]), noise) for t in (5, 4)]
    of_clean, of_state, of_y = shifting.weights(5, 4)
    torch.testing.assert_close(of_clean * gt + of_state * states[0] + of_y * y, states[1])


def test_sampling_starts_with_the_last_state_of_calmer_noise() -> None:
    shifting = Shifting(8)
    y, noise = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8)
    gt = y + 0.1
    last = shifting.noisy(gt, y, torch.tensor([8]), TEMPERATURE * noise)
    assert (last - shifting.start(y, noise)).abs().max() < 0.1 * (1 - 0.98) + 1e-6


@pytest.mark.parametrize("calls", [0, 9])
def test_an_impossible_number_of_steps_is_refused(calls: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 8 steps are possible, got {calls}"):
        Shifting(8).times(calls)


@pytest.fixture
def network() -> OneStepNet:
    """With noise and step that matter."""
    torch.manual_seed(0)
    made = OneStepNet()
    for parameter in made.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return made.requires_grad_(False).eval()


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_one_step_calls_the_student_once_and_more_the_teacher(
    network: OneStepNet, steps: int
) -> None:
    calls = {"student": 0, "teacher": 0}
    for name in calls:

        def count(*_: Any, name: str = name) -> None:
            calls[name] += 1

        network.get_submodule(name).register_forward_hook(count)
    network.steps = steps
    assert network(torch.rand(1, 3, 9, 7)).shape == (1, 3, 36, 28)
    assert calls == (
        {"student": 1, "teacher": 0} if steps == 1 else {"student": 0, "teacher": steps}
    )


def test_the_seed_decides_the_image(network: OneStepNet) -> None:
    lq = torch.rand(1, 3, 8, 8)
    first, again = network(lq), network(lq)
    network.seed = 1
    assert torch.equal(first, again)
    assert not torch.allclose(first, network(lq))


def test_a_tile_on_the_grid_finds_the_noise_of_the_whole(network: OneStepNet) -> None:
    assert network.grid == PERIOD
    whole = network.noise(80, 80)
    tile = network.noise(20, 40)
    start = 4 * PERIOD
    torch.testing.assert_close(whole[..., start : start + 80, start : start + 160], tile)


def test_it_begins_as_the_network_that_knows_no_noise() -> None:
    base, network = SrNet(4), OneStepNet()
    network.student.load_state_dict(base.state_dict(), strict=False)
    network.teacher.load_state_dict(base.state_dict(), strict=False)
    lq = torch.rand(1, 3, 10, 8)
    torch.testing.assert_close(network(lq), base(lq), atol=1e-5, rtol=0)
    network.steps = STEPS
    torch.testing.assert_close(network(lq), base(lq), atol=1e-4, rtol=0)


@pytest.fixture
def one_step_config(tiny: Callable[..., Any]) -> Config:
    def build(**values: Any) -> OneStepTrainConfig:
        config = tiny(OneStepTrainConfig, **({"teacher_patches": 6, "levels": ("clean",)} | values))
        assert isinstance(config, OneStepTrainConfig)
        return config

    return build


@pytest.mark.parametrize("interrupted_at", [2, 5])
def test_a_run_resumes_in_either_part(
    one_step_config: Config, tmp_path: Path, interrupted_at: int
) -> None:
    config = one_step_config(adversarial=0.1, total_patches=6)
    calls = 0

    def stop(step: int, total: int, metrics: dict[str, float]) -> None:
        nonlocal calls
        calls += 1
        if calls == interrupted_at:  # the first three are the teacher's
            raise KeyboardInterrupt

    whole = train_sr_tool(VPD, config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_sr_tool(VPD, config, tmp_path / "parts", on_step=stop)
    resumed = train_sr_tool(VPD, config, tmp_path / "parts", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_the_student_comes_nearer_to_its_teacher(
    one_step_config: Config, network: OneStepNet, tmp_path: Path
) -> None:
    config = one_step_config(total_patches=2 * 16, eval_every=16, pixel=0.0, ema_decay=0.5)
    lq = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    noise = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    taught = network.sample(lq, noise, STEPS)
    before = (network.sample(lq, noise, 1) - taught).square().mean()
    trained = train_sr_tool(VPD, config, tmp_path / "run", init=network).network
    assert isinstance(trained, OneStepNet)
    assert (trained.sample(lq, noise, 1) - taught).square().mean() < 0.8 * before


def test_the_teacher_stays_as_it_is_while_the_student_learns(
    one_step_config: Config, tmp_path: Path
) -> None:
    first = train_sr_tool(VPD, one_step_config(), tmp_path / "first")
    second = train_sr_tool(VPD, one_step_config(), tmp_path / "second", init=first.network)
    assert not (tmp_path / "second" / "teacher").exists()
    for network in (first.network, second.network):
        assert isinstance(network, OneStepNet)
        for name, value in first.network.teacher.state_dict().items():  # type: ignore[operator,union-attr]
            assert torch.equal(network.teacher.state_dict()[name], value)


def test_the_teacher_learns_from_features_too(
    one_step_config: Config, tmp_path: Path, encoder: EfficientNetEncoder
) -> None:
    trained = []
    for weight in (0.0, 10.0):
        config = one_step_config(teacher_perceptual=weight)
        run = tmp_path / str(weight)
        trained.append(train_sr_tool(VPD, config, run).network.teacher.state_dict())  # type: ignore[union-attr]
        (*_, line) = (run / "teacher" / "metrics.jsonl").read_text().splitlines()
        assert ("term_perceptual" in line) == (weight > 0.0)
        assert ("feature_distance" in line) == (weight > 0.0)
    assert any(not torch.equal(trained[1][name], value) for name, value in trained[0].items())


def test_negative_weights_are_refused(one_step_config: Config) -> None:
    for name in ("teacher_perceptual", "distillation"):
        with pytest.raises(ValueError, match=f"{name} must not be negative"):
            one_step_config(**{name: -1.0})


def test_every_term_of_the_student_is_logged(
    one_step_config: Config, tmp_path: Path, encoder: EfficientNetEncoder
) -> None:
    config = one_step_config(high_frequency=0.1, semantic=0.1, adversarial=0.1, total_patches=2)
    train_sr_tool(VPD, config, tmp_path / "run")
    (line,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    terms = {name.removeprefix("term_") for name in json.loads(line) if name.startswith("term_")}
    expected = {"pixel", "high_frequency", "semantic", "adversarial"}
    assert terms == expected | {"distillation"}


def test_all_that_the_losses_look_with_is_where_the_batch_is(
    one_step_config: Config,
    encoder: EfficientNetEncoder,
    network: OneStepNet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # That device knows no number formats either.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    # Without `self_similarity`, whose size depends on the numbers: the device here has none.
    names = [name for name in WEIGHTS if name not in {"classification", "self_similarity"}]
    config = one_step_config(**dict.fromkeys(names, 0.1))
    terms = build_terms(config, encoder)
    objective = StudentObjective(config, network, terms, encoder)
    student = copy.deepcopy(network.student).to("meta")
    objective.critics.to("meta")
    objective.to("meta")
    lq, gt, step = objective.batches[0]
    batch = Batch(lq.to("meta"), gt.to("meta"), step)
    made = objective.make(student, batch)
    losses = [loss for _, loss in objective.more_losses(student, batch, made).values()]
    losses += [term.loss(made) for term in terms]
    losses += [term.critic_loss(made.detached()) for term in terms if term.critic is not None]
    assert len(losses) == len(names) + 1 + 3
    assert {loss.device.type for loss in losses} == {"meta"}


def test_the_teacher_is_where_its_batch_is(one_step_config: Config, network: OneStepNet) -> None:
    config = one_step_config()
    objective = TeacherObjective(config, network)
    objective.to("meta")
    lq, gt, step = objective.batches[0]
    batch = Batch(lq.to("meta"), gt.to("meta"), step)
    made = objective.make(copy.deepcopy(network.teacher).to("meta"), batch)
    assert made.restored.device.type == "meta"


def test_the_noise_of_a_training_depends_on_its_seed(
    one_step_config: Config, network: OneStepNet
) -> None:
    made = []
    for seed in (0, 1):
        objective = StudentObjective(one_step_config(seed=seed), network, [])
        lq, gt = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 32, 32)
        made.append(objective.make(network.student, Batch(lq, gt, 0)).restored)
    assert not torch.equal(*made)


def test_another_network_is_refused(one_step_config: Config, tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="'sr-psnr' is no diffusion"):
        train_sr_tool(ENLARGERS[0], one_step_config(), tmp_path / "run")
