"""Properties of what tools are trained on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from restoration_toolchain.data.damage.degradation import (
    CONTEXT,
    Degradation,
    central_patch,
    strength_levels,
)
from restoration_toolchain.data.images import FloatImage
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.patches.store import PatchStore
from restoration_toolchain.tools_zoo.catalog import BASELINES, CLASSIC
from restoration_toolchain.tools_zoo.tool import ToolSpec
from restoration_toolchain.tools_zoo.training import batches as tool_data
from restoration_toolchain.tools_zoo.training.batches import (
    ToolBatches,
    ToolDegrader,
    validation_pairs,
)

WINDOW = np.zeros((8 + 2 * CONTEXT, 8 + 2 * CONTEXT, 3), np.float32)
SPECS = pytest.mark.parametrize("spec", CLASSIC, ids=lambda spec: spec.name)


def batches(store_path: Path, *, seed: int = 0, mixed: float = 0.5) -> ToolBatches:
    degrader = ToolDegrader(CLASSIC[5], mixed=mixed)
    return ToolBatches(store_path, degrader, batch_size=3, num_batches=6, seed=seed)


def own_strength(spec: ToolSpec, degradation: Degradation) -> float:
    return degradation.strength(spec.task) or 0.0


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[Degradation]:
    """Every degradation applied, in order; the images stay as they are."""
    seen: list[Degradation] = []

    def record(d: Degradation, window: FloatImage, rng: np.random.Generator) -> FloatImage:
        seen.append(d)
        return central_patch(window)

    monkeypatch.setattr(tool_data, "degrade_crop", record)
    return seen


def draw_many(degrader: ToolDegrader, count: int = 60) -> None:
    rng = np.random.default_rng(0)
    for _ in range(count):
        degrader(WINDOW, rng)


@SPECS
@pytest.mark.parametrize("mixed", [0.0, 1.0])
def test_the_own_strength_stays_in_the_range_of_the_tool(
    spec: ToolSpec, mixed: float, applied: list[Degradation]
) -> None:
    draw_many(ToolDegrader(spec, mixed=mixed, jitter=0.0))
    strengths = [own_strength(spec, degradation) for degradation in applied]
    low, high = spec.strength
    assert low <= min(strengths)
    assert max(strengths) <= high
    assert max(strengths) - min(strengths) > 0.8 * (high - low)


@SPECS
def test_mixtures_carry_all_three_distortions(spec: ToolSpec, applied: list[Degradation]) -> None:
    draw_many(ToolDegrader(spec, mixed=1.0))
    assert {tuple(step.name for step in d.steps) for d in applied} == {("blur", "noise", "jpeg")}


def test_jitter_is_a_slight_noise_and_jpeg_after_the_own_distortion(
    applied: list[Degradation],
) -> None:
    draw_many(ToolDegrader(CLASSIC[3], mixed=0.0, jitter=1.0))
    own, slight = applied[::2], applied[1::2]
    assert {tuple(step.name for step in d.steps) for d in own} == {("blur",)}
    assert {tuple(step.name for step in d.steps) for d in slight} == {("noise", "jpeg")}
    assert all(0.0 < d.strength("noise") <= 5.0 for d in slight)
    assert all(80 <= d.strength("jpeg") <= 100 for d in slight)


def test_the_table_of_gains_is_made_on_the_own_distortion_only(applied: list[Degradation]) -> None:
    degrader = ToolDegrader(CLASSIC[9])
    degrader.own_only(WINDOW, np.random.default_rng(0))
    assert applied
    assert {tuple(step.name for step in d.steps) for d in applied} == {("jpeg",)}


def test_a_tool_for_mixtures_sees_mixtures_and_single_distortions(
    applied: list[Degradation],
) -> None:
    degrader = ToolDegrader(BASELINES[0], mixed=0.5, jitter=1.0)
    draw_many(degrader, 200)
    kinds = [len(d.steps) for d in applied]
    assert set(kinds) == {1, 3}
    assert 0.3 < np.mean([kind == 3 for kind in kinds]) < 0.7


def test_the_own_distortion_of_a_tool_for_mixtures_is_a_mixture(
    applied: list[Degradation],
) -> None:
    degrader, rng = ToolDegrader(BASELINES[1], mixed=0.0), np.random.default_rng(0)
    for _ in range(50):
        degrader.own_only(WINDOW, rng)
    severities = [sum(strength_levels(d)) - 2 for d in applied]
    # A quality is rounded, which may move it by one level.
    assert 8 <= min(severities) < 12
    assert 18 <= max(severities) <= 21


def test_damage_that_nobody_can_see_is_drawn_again() -> None:
    edge = np.zeros((48, 48, 3), np.float32)
    edge[:, 24:] = 1.0
    degrader, rng = ToolDegrader(CLASSIC[0], mixed=0.0, jitter=0.0), np.random.default_rng(0)
    scores = [psnr(degrader(edge, rng), central_patch(edge)) for _ in range(50)]
    assert max(scores) <= 50.0
    # A flat patch shows no blur at all, and is taken as it comes.
    flat = np.full((48, 48, 3), 0.5, np.float32)
    assert psnr(degrader.own_only(flat, rng), central_patch(flat)) > 50.0


def test_a_batch_follows_from_the_seed_and_its_index_alone(store_path: Path) -> None:
    forwards = [batches(store_path)[i] for i in (0, 1, 2)]
    one_set = batches(store_path)
    for index in (2, 0, 1):
        assert one_set[index].step == index
        for got, expected in zip(one_set[index][:2], forwards[index][:2], strict=True):
            assert torch.equal(got, expected)


def test_batches_of_other_indices_and_seeds_differ(store_path: Path) -> None:
    first = batches(store_path)[0].gt
    assert not torch.equal(first, batches(store_path)[1].gt)
    assert not torch.equal(first, batches(store_path, seed=1)[0].gt)


def test_batches_are_images_in_the_unit_range(store_path: Path) -> None:
    lq, gt, _ = batches(store_path)[0]
    for images in (lq, gt):
        assert images.shape == (3, 3, 63, 63)
        assert images.dtype == torch.float32
        assert 0.0 <= images.min() < images.max() <= 1.0


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_make_the_same_batches(store_path: Path, num_workers: int) -> None:
    data_set = batches(store_path)
    loader = DataLoader(data_set, batch_size=None, num_workers=num_workers)
    for index, (lq, gt, step) in enumerate(loader):
        assert step == index
        assert torch.equal(lq, data_set[index].lq)
        assert torch.equal(gt, data_set[index].gt)


def test_training_never_meets_a_held_out_patch(store_path: Path) -> None:
    with PatchStore(store_path) as store:
        _, held_out = validation_pairs(store, lambda w, rng: central_patch(w), count=1000, seed=0)
        train = store.read_gt(store.train_indices)
        assert len(held_out) == len(store.val_indices)
    keys = {patch.tobytes() for patch in train}
    for patch in (held_out * 255).round().byte().permute(0, 2, 3, 1).numpy():
        assert patch.tobytes() not in keys


def test_validation_pairs_are_always_the_same(store_path: Path) -> None:
    degrader = ToolDegrader(CLASSIC[0])
    with PatchStore(store_path) as store:
        first = validation_pairs(store, degrader, count=4, seed=2)
        again = validation_pairs(store, degrader, count=4, seed=2)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
