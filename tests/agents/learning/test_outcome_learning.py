"""Properties of learning from recorded outcomes, on a world that is known in full."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from restoration_toolchain.agents.learning.errors import quantile_errors
from restoration_toolchain.agents.learning.fresh_crops import FreshBatches, Lesson, Lessons
from restoration_toolchain.agents.learning.outcome_learning import (
    OutcomeLearningConfig,
    OutcomeObjective,
    Student,
    errors_of,
)
from restoration_toolchain.agents.learning.pretraining import num_facts
from restoration_toolchain.agents.outcomes.batches import OutcomeBatches
from restoration_toolchain.agents.outcomes.record import Outcomes
from restoration_toolchain.agents.policy.q_net import LEVELS, VIEW_SIZE
from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.damage.noise import Noise
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import to_float, to_uint8
from restoration_toolchain.data.patches.world_crops import Crop
from restoration_toolchain.tools_zoo.training.loop import make_fabric, train_module

FAMILIES = ("dark", "bright")
CONFIG = OutcomeLearningConfig(
    epochs=1,
    batch_size=8,
    learning_rate=5e-3,
    ema_decay=0.9,
    eval_every=1000,
    num_workers=0,
    device="cpu",
    precision="fp32",
)


def world(count: int, seed: int = 0) -> Outcomes:
    """Tool 0 brings 3 dB to dark images and takes 3 from bright ones; tool 1 does the opposite."""
    rng = np.random.default_rng(seed)
    is_bright = rng.random(count) < 0.5
    level = np.where(is_bright, 190, 60)[:, None, None, None]
    noise = rng.integers(-20, 21, (count, VIEW_SIZE, VIEW_SIZE, 3))
    gain = np.where(is_bright[:, None], [-3.0, 3.0], [3.0, -3.0]).astype(np.float32)
    return Outcomes(
        images=(level + noise).astype(np.uint8),
        gains=np.repeat(gain[:, None], 2, axis=1),  # one view, and the whole
        chained=np.zeros((count, 2, 0), np.float32),
        psnr=np.full((count, 2), 30.0, np.float32),
        last_action=np.full(count, 2),
        step=np.zeros(count, np.int64),
        episode=np.arange(count),
        family=np.array(FAMILIES)[is_bright.astype(int)],
    )


def batches_of(count: int, *, seed: int = 0, epochs: int = 1) -> OutcomeBatches:
    how = {"batch_size": CONFIG.batch_size, "epochs": epochs}
    return OutcomeBatches(world(count, seed), FAMILIES, [], **how)


def student() -> Student:
    torch.manual_seed(0)
    return Student(2, FAMILIES, (), "pooled_statistics")


def test_it_learns_which_tool_helps_how_surely_and_what_it_sees() -> None:
    module = student()
    objective = OutcomeObjective(Lessons(batches_of(160)), batches_of(24, seed=1), CONFIG)
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    losses = []
    for step in range(20):
        module.train()
        loss = objective.loss(module, objective.batches[step])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])
    assert set(objective.terms) == {"values", "ranking", "distribution", "recognition"}
    for part in module.modules():  # twenty steps are few for running means
        if isinstance(part, torch.nn.BatchNorm1d):
            part.track_running_stats, part.running_mean, part.running_var = False, None, None
    with torch.no_grad():
        measured = objective.evaluate(module, torch.device("cpu"))
    assert measured["share_of_oracle"] > 0.9  # chance is about 0
    lesson = objective.batches[0]
    batch = lesson.recorded
    with torch.no_grad():
        told = module(lesson)
    harms = batch.gains[:, 0] < 0.0
    median = told.quantiles[:, 0, :, :, LEVELS.index(0.5)]
    assert ((median < 0.0) == harms).float().mean() > 0.9
    assert (told.named.argmax(dim=-1) == batch.family[:, None]).float().mean() > 0.9


def test_what_is_not_known_does_not_count() -> None:
    module, batches = student().eval(), batches_of(8)
    batch = batches.batch(batches.episodes)
    with torch.no_grad():
        told = module(Lesson(batch))
    assert told.fresh is None
    assert told.values.shape == (8, 1, 2, 3)
    assert told.quantiles.shape == (8, 1, 2, 2, len(LEVELS))
    known = errors_of(told, batch)
    # Steps that never were, with whatever is said of them.
    unknown = torch.full_like(batch.gains, float("nan"))
    longer = batch._replace(
        gains=torch.cat([batch.gains, unknown], dim=1),
        returns=torch.cat([batch.returns, unknown], dim=1),
    )
    said = told._replace(
        values=torch.cat([told.values, torch.randn(8, 1, 2, 3)], dim=1),
        quantiles=torch.cat([told.quantiles, torch.randn(8, 1, 2, 2, len(LEVELS))], dim=1),
    )
    for name, error in errors_of(said, longer).items():
        assert float(error) == pytest.approx(float(known[name]), rel=1e-5), name


class Shades:
    """Dark crops and bright ones, that are noisier."""

    def draw(self, rng: np.random.Generator) -> Crop:
        is_bright = rng.random() < 0.5
        gt = np.full((VIEW_SIZE, VIEW_SIZE, 3), 190 if is_bright else 60, np.uint8)
        damage = Degradation((Noise(40.0 if is_bright else 5.0),))
        lq = to_uint8(damage.apply(to_float(gt), rng))
        return Crop(lq, gt, FAMILIES[int(is_bright)], damage)


def test_crops_that_no_tool_ran_on_are_recognised_and_change_nothing_else() -> None:
    recorded = batches_of(8)
    lessons = Lessons(recorded, FreshBatches(Shades(), FAMILIES, size=6, count=2, seed=(3,)))
    lesson = lessons[0]
    assert lesson.fresh is not None
    assert lesson.fresh.images.shape == (6, 1, 3, VIEW_SIZE, VIEW_SIZE)
    assert torch.equal(lessons[0].fresh.images, lesson.fresh.images)
    assert not torch.equal(lessons[1].fresh.images, lesson.fresh.images)
    module = student().eval()
    with torch.no_grad():
        told, alone = module(lesson), module(Lesson(lesson.recorded))
    torch.testing.assert_close(told.values, alone.values, rtol=1e-4, atol=1e-5)
    assert told.fresh is not None
    assert told.fresh.named.shape == (6, 2, 2)
    assert told.fresh.strength.shape == (6, 2, num_facts())


def test_names_and_strengths_are_learnt_from_crops_alone() -> None:
    config = dataclasses.replace(CONFIG, fresh=16)
    module = student()
    lessons = Lessons(batches_of(160), FreshBatches(Shades(), FAMILIES, size=16, count=20))
    objective = OutcomeObjective(lessons, batches_of(8, seed=1), config)
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    errors = []
    for step in range(20):
        loss = objective.loss(module.train(), lessons[step])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append([objective.terms[f"fresh_{name}"] for name in ("recognition", "strength")])
    early, late = np.mean(errors[:3], axis=0), np.mean(errors[-3:], axis=0)
    assert (late < 0.5 * early).all()


def test_the_pinball_loss_is_least_at_the_quantiles() -> None:
    gains = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    best = torch.quantile(gains, torch.tensor(LEVELS))
    least = float(quantile_errors(best.expand(len(gains), -1), gains).mean())
    for index in range(len(LEVELS)):
        for moved in (-0.2, 0.2):
            other = best.clone()
            other[index] += moved
            assert float(quantile_errors(other.expand(len(gains), -1), gains).mean()) > least


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    def learn(folder: Path, stop_at: int = 0, *, resume: bool = False) -> dict[str, torch.Tensor]:
        def on_step(step: int, total: int, metrics: dict[str, float]) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        objective = OutcomeObjective(Lessons(batches_of(24)), batches_of(8, seed=1), CONFIG)
        how = {"num_steps": 3, "resume": resume, "on_step": on_step}
        learnt = train_module(student(), objective, CONFIG, folder, make_fabric(CONFIG), **how)
        return learnt.state_dict()

    whole = learn(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "parts", stop_at=2)
    for name, value in learn(tmp_path / "parts", resume=True).items():
        assert torch.equal(value, whole[name]), name


def test_what_judges_views_one_by_one_cannot_learn_so() -> None:
    with pytest.raises(ToolchainError, match="fine_statistics judges each view for itself"):
        OutcomeLearningConfig(encoder="fine_statistics")
    with pytest.raises(ValueError, match="at least 1"):
        OutcomeLearningConfig(epochs=0)
    with pytest.raises(ValueError, match="fresh must not be negative"):
        OutcomeLearningConfig(fresh=-1)
