"""The tool phase: what gradients reach, and what they leave alone."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.patches.store import PatchStore
from restoration_toolchain.toolchain.learning import tool_phase
from restoration_toolchain.toolchain.learning.tool_phase import (
    ChainBatch,
    ChainBatches,
    ChainObjective,
    ToolPhaseConfig,
    tune_tools,
    walk,
)
from restoration_toolchain.tools_zoo.catalog import CLASSIC
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.batches import ToolDegrader
from tests.toolchain.conftest import NAMES, scripted_policy

SPECS = {spec.name: spec for spec in CLASSIC}


@pytest.fixture
def toolbox() -> Toolbox:
    torch.manual_seed(0)
    return Toolbox("classic", [Tool(spec) for spec in CLASSIC])


def batch(count: int = 2, own: int = 0, tool: int = 0) -> ChainBatch:
    """The first batch of a phase."""
    rng = np.random.default_rng(0)

    def images(n: int) -> Tensor:
        return to_tensor(rng.integers(0, 256, (n, 63, 63, 3), dtype=np.uint8))

    return ChainBatch(0, images(count), images(count), tool, images(own), images(own))


def config(**changes: object) -> ToolPhaseConfig:
    values = {
        "store": "unused", "total_patches": 32, "epsilon": 0.0, "persistence": 0.0,
        "num_workers": 0, "device": "cpu", "precision": "fp32",
    }  # fmt: skip
    return ToolPhaseConfig(**{**values, **changes})  # type: ignore[arg-type]


Tune = Callable[..., Toolbox]


@pytest.fixture
def tune(toolbox: Toolbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tune:
    """Run a phase of a single step, on a batch that is given."""

    def run(policy: LstmPolicy, images: ChainBatch, **changes: object) -> Toolbox:
        monkeypatch.setattr(tool_phase, "ChainBatches", lambda *_: [images])
        return tune_tools(toolbox, policy, config(**changes), tmp_path / "run")

    return run


def gradients(
    toolbox: Toolbox, policy: LstmPolicy, images: ChainBatch, **changes: object
) -> tuple[Toolbox, float]:
    """A copy of the tools with the gradients that a step would use, and the loss per image."""
    trained = copy.deepcopy(toolbox).requires_grad_(True)
    objective = ChainObjective(trained, policy, config(**changes))
    objective.loss(trained, images).backward()  # type: ignore[no-untyped-call]
    objective.bound_gradients(trained)
    return trained, objective.loss_per_image


def tools_changed(before: Toolbox, after: Toolbox) -> set[str]:
    return {
        name
        for name in before.names
        for a, b in zip(before[name].parameters(), after[name].parameters(), strict=True)
        if not torch.equal(a, b)
    }


def test_gradient_reaches_the_first_tool_through_the_later_one(toolbox: Toolbox) -> None:
    policy = scripted_policy("denoise_3", "deblur_1")
    lq, gt = batch()[1:3]
    toolbox.requires_grad_(True)
    after, actions = walk(toolbox, policy, lq, config(), np.random.default_rng(0))
    assert [NAMES.index(n) for n in ("denoise_3", "deblur_1")] == actions[0, :2].tolist()
    assert (actions[:, 2] == toolbox.stop).all()
    (after[-1] - gt).square().mean().backward()  # type: ignore[no-untyped-call]
    through = [p.grad for p in toolbox["denoise_3"].parameters()]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in through)
    # Alone it would get another gradient: this one came through the deblurring.
    alone = copy.deepcopy(toolbox)
    alone.zero_grad()
    (alone["denoise_3"](lq).clamp(0, 1) - gt).square().mean().backward()
    first = next(alone["denoise_3"].parameters()).grad
    assert first is not None
    assert through[0] is not None
    assert not torch.allclose(first, through[0])


def test_a_step_changes_the_tools_that_ran_and_nothing_else(toolbox: Toolbox, tune: Tune) -> None:
    policy = scripted_policy("denoise_3", "deblur_1")
    weights = copy.deepcopy(policy.q_net.state_dict())
    tuned = tune(policy, batch(own=2, tool=NAMES.index("deblock_2")))
    assert tools_changed(toolbox, tuned) == {"denoise_3", "deblur_1", "deblock_2"}
    assert all(torch.equal(v, weights[k]) for k, v in policy.q_net.state_dict().items())


def test_a_frozen_tool_stays_and_passes_gradients_on(toolbox: Toolbox, tune: Tune) -> None:
    policy = scripted_policy("denoise_3", "deblur_1")
    tuned = tune(policy, batch(), frozen=("deblur_1",), early_weight=0.0)
    assert tools_changed(toolbox, tuned) == {"denoise_3"}
    with pytest.raises(UnknownNameError, match="deblur_9"):
        tune(policy, batch(), frozen=("deblur_9",))
    with pytest.raises(ToolchainError, match="nothing to train"):
        tune(policy, batch(), frozen=NAMES)


def test_no_patches_are_drawn_for_a_frozen_tool(
    store_path: Path, toolbox: Toolbox, tmp_path: Path
) -> None:
    settings = config(
        store=str(store_path), total_patches=64, batch_size=2, own_patches=1, frozen=NAMES[1:]
    )
    tuned = tune_tools(toolbox, scripted_policy(), settings, tmp_path / "run")
    assert tools_changed(toolbox, tuned) == {NAMES[0]}


def test_an_agent_that_stops_at_once_teaches_nothing(toolbox: Toolbox, tune: Tune) -> None:
    policy = LstmPolicy(RecurrentQNet(len(NAMES)), NAMES, stop_margin=1e6)
    assert tools_changed(toolbox, tune(policy, batch())) == set()


def test_a_tools_gradient_is_the_mean_over_its_own_images(toolbox: Toolbox) -> None:
    """Otherwise the tool that is chosen often would take longer steps (algorithm 1: G_k / c_k)."""
    policy = scripted_policy("deblur_1")
    once, many = batch(1), batch(1)
    many = many._replace(lq=many.lq.repeat(8, 1, 1, 1), gt=many.gt.repeat(8, 1, 1, 1))
    grads = []
    for images in (once, many):
        trained, _ = gradients(toolbox, policy, images, max_grad_norm=1e9)
        grads.append(next(trained["deblur_1"].parameters()).grad)
    torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-6)


def test_each_tools_gradient_is_bounded_for_itself(toolbox: Toolbox) -> None:
    policy = scripted_policy("denoise_3", "deblur_1")
    trained, _ = gradients(toolbox, policy, batch(), max_grad_norm=1e-3)
    for name in ("denoise_3", "deblur_1"):
        norms = [p.grad.norm() for p in trained[name].parameters() if p.grad is not None]
        assert float(torch.stack(norms).norm()) == pytest.approx(1e-3, rel=1e-2)


def test_what_lies_between_two_tools_counts_as_much_as_it_is_told_to(toolbox: Toolbox) -> None:
    """With a weight of 0 the first tool serves the second alone; with much, itself."""
    policy, images = scripted_policy("denoise_3", "deblur_1"), batch()
    alone = copy.deepcopy(toolbox).requires_grad_(True)
    first = alone["denoise_3"](images.lq).clamp(0.0, 1.0)
    (0.5 * torch.log((first - images.gt).square().mean(dim=(1, 2, 3)) + 1e-6)).mean().backward()
    wanted = next(alone["denoise_3"].parameters()).grad
    assert wanted is not None
    likeness = []
    for weight in (0.0, 1.0, 100.0):
        trained, _ = gradients(toolbox, policy, images, max_grad_norm=1e9, early_weight=weight)
        grad = next(trained["denoise_3"].parameters()).grad
        assert grad is not None
        likeness.append(torch.cosine_similarity(grad.flatten(), wanted.flatten(), dim=0))
    assert likeness[0] < likeness[1] < likeness[2]
    assert likeness[2] > 0.999


def test_bfloat16_learns_much_the_same(toolbox: Toolbox) -> None:
    policy = scripted_policy("denoise_3", "deblur_1")
    (exact, loss), (rough, rough_loss) = (
        gradients(toolbox, policy, batch(), precision=precision) for precision in ("fp32", "bf16")
    )
    assert loss == pytest.approx(rough_loss, abs=0.01)
    for name in ("denoise_3", "deblur_1"):
        for a, b in zip(exact[name].parameters(), rough[name].parameters(), strict=True):
            assert a.grad is not None
            assert b.grad is not None
            assert torch.cosine_similarity(a.grad.flatten(), b.grad.flatten(), dim=0) > 0.98


def test_a_phase_begins_with_small_steps(
    toolbox: Toolbox, store_path: Path, tmp_path: Path
) -> None:
    """Full steps at the start killed all channels of four tools."""
    settings = config(
        store=str(store_path),
        total_patches=2 * 100,
        batch_size=2,
        own_patches=0,
        learning_rate=1e-3,
    )

    def stop(step: int, total: int, metrics: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_tools(toolbox, scripted_policy("deblur_1"), settings, tmp_path / "run", on_step=stop)
    after = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["tool"]
    changes = [float((after[name] - old).abs().max()) for name, old in toolbox.state_dict().items()]
    assert 0.0 < max(changes) < 0.1 * settings.learning_rate


def test_exploration_gives_every_tool_practice(toolbox: Toolbox) -> None:
    policy = scripted_policy("deblur_1")
    lq = torch.rand(64, 3, 63, 63)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        _, actions = walk(toolbox, policy, lq, config(epsilon=1.0), rng)
    assert set(actions.flatten().tolist()) == set(range(len(toolbox)))


def test_an_agent_that_may_not_stop_plays_to_the_end(toolbox: Toolbox) -> None:
    policy = LstmPolicy(RecurrentQNet(len(NAMES)), NAMES, stop_margin=1e6)
    lq = torch.rand(64, 3, 63, 63)
    shares = []
    for persistence in (0.0, 0.5, 1.0):
        settings = config(max_steps=2, persistence=persistence)
        with torch.no_grad():
            _, actions = walk(toolbox, policy, lq, settings, np.random.default_rng(0))
        lengths = (actions != toolbox.stop).sum(dim=1)
        assert set(lengths.tolist()) <= {0, 2}
        shares.append(float((lengths == 2).float().mean()))
    assert shares[0] == 0.0
    assert 0.3 < shares[1] < 0.7
    assert shares[2] == 1.0


def test_training_lowers_the_loss_and_a_resumed_run_equals_an_uninterrupted_one(
    toolbox: Toolbox, store_path: Path, tmp_path: Path
) -> None:
    settings = config(
        store=str(store_path), total_patches=96, batch_size=8, own_patches=2, learning_rate=1e-3,
        eval_every=1,
    )  # fmt: skip
    policy = scripted_policy("denoise_3", "deblur_1")
    losses: list[float] = []
    whole = tune_tools(
        toolbox,
        policy,
        settings,
        tmp_path / "whole",
        on_step=lambda step, total, metrics: losses.append(metrics["loss"]),
    )
    assert len(losses) == settings.num_batches
    assert np.mean(losses[-4:]) < np.mean(losses[:4])

    def stop(step: int, total: int, metrics: dict[str, float]) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_tools(toolbox, policy, settings, tmp_path / "parts", on_step=stop)
    resumed = tune_tools(toolbox, policy, settings, tmp_path / "parts", resume=True)
    assert tools_changed(whole, resumed) == set()


def test_batches_depend_on_seed_and_number_alone(store_path: Path) -> None:
    settings = config(store=str(store_path), batch_size=4, own_patches=2)
    degraders = {i: ToolDegrader(spec) for i, spec in enumerate(CLASSIC)}
    first, second = (ChainBatches(settings, degraders)[3] for _ in range(2))
    assert first.tool == second.tool
    assert torch.equal(first.lq, second.lq)
    assert torch.equal(first.own_gt, second.own_gt)
    with PatchStore(store_path) as store:
        assert first.lq.shape == (4, 3, store.patch_size, store.patch_size)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": 1.5},
        {"own_patches": -1},
        {"total_patches": 1},
        {"warmup": 0.0},
        {"early_weight": -0.1},
        {"persistence": 1.5},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        config(**wrong)
