"""A new kind of damage takes one class: everything else follows from it."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from restoration_toolchain.agents.learning.pretraining import facts, num_facts
from restoration_toolchain.data.damage.degradation import Degradation, strength_levels
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.damage.noise import Noise
from restoration_toolchain.data.damage.step import Step
from restoration_toolchain.data.damage.steps import STEP_KINDS, graded_kinds, register
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import ByteImage, FloatImage
from restoration_toolchain.data.patches.pairs import open_pairs
from restoration_toolchain.data.patches.store import PatchStore, StoreConfig, prepare_store
from restoration_toolchain.toolchain.looking.inspection import Inspection
from restoration_toolchain.toolchain.measuring.suite.behaviour import usage_of
from restoration_toolchain.toolchain.measuring.suite.levels import degraded_levels
from restoration_toolchain.tools_zoo.catalog import CLASSIC
from restoration_toolchain.tools_zoo.recipes.prescribed_chains import Rule
from restoration_toolchain.tools_zoo.training.batches import ToolDegrader


@dataclass(frozen=True)
class Stripes(Step):
    """Every fourth row is darker, by so many grey levels."""

    name = "stripes"
    words = "stripes of {:.2g} / 255"
    unit = "depth /255"
    edges = tuple(6.0 * i for i in range(11))

    depth: float

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Darken rows."""
        out = image.copy()
        out[::4] -= np.float32(self.depth / 255.0)
        return out.clip(0.0, 1.0)


@pytest.fixture(autouse=True)
def stripes_are_known() -> Iterator[None]:
    register(Stripes)
    yield
    del STEP_KINDS["stripes"]


@pytest.fixture
def striped_store(tmp_path: Path, photos: list[tuple[str, ByteImage]]) -> Path:
    config = StoreConfig(
        level="stripes", single_fraction=0.0, stride=33, holdout=0.3, scales=(1.0,)
    )
    prepare_store(tmp_path / "store.h5", photos, config)
    return tmp_path / "store.h5"


def drawn(level: str = "stripes", scale: int = 1) -> Degradation:
    return sampler(level, scale=scale)(np.random.default_rng(2))


def test_it_is_a_level_at_every_scale_and_lies_in_a_strength_level() -> None:
    (step,) = drawn().steps
    assert isinstance(step, Stripes)
    assert strength_levels(drawn()) == (0,) * (len(graded_kinds()) - 1) + (step.level,)
    assert step.edges[step.level - 1] <= step.depth <= step.edges[step.level]
    assert [step.name for step in drawn(scale=2).steps] == ["resize", "stripes"]
    assert drawn("all") == sampler("all")(np.random.default_rng(2))


@pytest.mark.parametrize("name", ["mild", "slight"])
def test_it_is_refused_where_its_name_is_that_of_a_level(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stripes, "name", name)
    monkeypatch.setitem(STEP_KINDS, name, Stripes)
    for scale in (1, 2):
        with pytest.raises(ToolchainError, match="is a level already"):
            sampler(name, scale=scale)


def test_it_is_applied() -> None:
    grey = np.full((8, 8, 3), 0.5, np.float32)
    out = Degradation((Stripes(51.0), Noise(0.0))).apply(grey, np.random.default_rng(0))
    np.testing.assert_allclose(out[:, 0, 0], [0.3, 0.5, 0.5, 0.5] * 2, atol=1e-6)


def test_a_store_keeps_it_and_pairs_are_damaged_by_it(striped_store: Path) -> None:
    with PatchStore(striped_store) as store:
        indices = np.arange(len(store))
        lq, done = store.read_lq(indices), store.read_degradation(indices)
    assert {type(step) for each in done for step in each.steps} == {Stripes}
    assert len({each.strength("stripes") for each in done}) == len(done)
    assert Degradation.from_dict(done[0].to_dict()) == done[0]
    fresh, gt = open_pairs(striped_store, levels=["stripes"]).pairs(
        np.arange(3), np.random.default_rng(0)
    )
    assert fresh.shape == gt.shape == (3, *lq.shape[1:])
    changed = (fresh != gt).any(axis=(2, 3))
    assert 0.1 < changed.mean() <= 0.3  # one row in four


def test_inspections_name_it() -> None:
    inspection = Inspection(restoration=None, degradation=Degradation((Stripes(12.0),)))  # type: ignore[arg-type]
    assert inspection.caption == "degraded by stripes of 12 / 255"


def test_encoders_learn_to_tell_it_and_suites_count_by_it() -> None:
    patch = np.zeros((8, 8, 3), np.uint8)
    told = facts(Degradation((Stripes(30.0),)), patch + np.uint8(3), patch)
    assert len(told) == num_facts() == len(graded_kinds()) + 2
    assert told[:-2] == [0.0] * (len(graded_kinds()) - 1) + [0.5]
    windows = np.random.default_rng(0).integers(0, 256, (4, 95, 95, 3), np.uint8)
    (level,) = degraded_levels(windows, ["stripes"], seed=0)
    usage = usage_of([np.zeros((4, 1), np.int64)], [level.strengths], stop=1)
    assert [table.by for table in usage] == ["stripes"]


def test_rules_ask_for_it_and_tools_are_trained_on_it() -> None:
    rule = Rule.parse("destripe: stripes 30")
    assert rule.holds(Degradation((Stripes(31.0),)))
    assert not rule.holds(Degradation((Stripes(29.0),)))
    assert not rule.holds(Degradation())
    spec = dataclasses.replace(CLASSIC[0])
    object.__setattr__(spec, "task", "stripes")
    object.__setattr__(spec, "strength", (40.0, 50.0))
    window = np.full((40, 40, 3), 0.5, np.float32)
    lq = ToolDegrader(spec).own_only(window, np.random.default_rng(0))
    assert 40 <= 255 * (window.max() - lq.min()) <= 51
