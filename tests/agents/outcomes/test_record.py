"""Properties of recorded outcomes: what a tool gains is what it gains, and nothing is lost."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from restoration_toolchain.agents.outcomes import record as recording
from restoration_toolchain.agents.outcomes.record import Outcomes, corner_views, load, record
from restoration_toolchain.agents.policy.q_net import VIEW_SIZE
from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import to_float, to_numpy, to_tensor
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.patches.world_crops import Crop
from restoration_toolchain.tools_zoo.toolbox import Toolbox

SIDE = 80
STEPS = 2
CHAINS = [(0, 0)]  # brighter, and brighter again


class DarkCrops:
    """Grey noise; every other crop is too dark by a lack of its own, and the others are clean."""

    def __init__(self) -> None:
        self.drawn: list[Crop] = []

    def draw(self, rng: np.random.Generator) -> Crop:
        gt = rng.integers(100, 140, (SIDE, SIDE, 3)).astype(np.uint8)
        lack = int(rng.integers(20, 80)) * (len(self.drawn) % 2)
        noise = rng.integers(-5, 6, gt.shape) if lack else 0
        family = "dark" if lack else "clean"
        self.drawn.append(Crop((gt - lack + noise).astype(np.uint8), gt, family, Degradation()))
        return self.drawn[-1]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "CROPS_PER_SHARD", 8)


def recorded(toolbox: Toolbox, folder: Path, num_crops: int = 8, seed: int = 0) -> Outcomes:
    how = {"chains": CHAINS, "max_steps": STEPS}
    return load(record(toolbox, DarkCrops(), folder, num_crops=num_crops, seed=seed, **how))


def assert_same(one: Outcomes, other: Outcomes) -> None:
    for name in Outcomes.__slots__:
        assert np.array_equal(
            getattr(one, name), getattr(other, name), equal_nan=name in ("gains", "chained")
        ), name


def test_a_record_is_that_of_its_seed(shifts: Toolbox, tmp_path: Path) -> None:
    first = recorded(shifts, tmp_path / "first")
    assert_same(recorded(shifts, tmp_path / "again"), first)
    other = recorded(shifts, tmp_path / "other", seed=1)
    assert not np.array_equal(other.images[:8], first.images[:8])


def test_what_is_missing_is_recorded_and_what_is_there_stays(
    shifts: Toolbox, tmp_path: Path
) -> None:
    whole = recorded(shifts, tmp_path, num_crops=15)  # two shards
    kept, lost = sorted(tmp_path.glob("*.npz"))
    written = kept.stat().st_mtime_ns
    lost.unlink()
    told: list[tuple[int, int]] = []
    paths = record(
        shifts,
        DarkCrops(),
        tmp_path,
        num_crops=15,
        chains=CHAINS,
        max_steps=STEPS,
        on_shard=lambda done, total: told.append((done, total)),
    )
    assert paths == [kept, lost]
    assert kept.stat().st_mtime_ns == written
    assert told == [(8, 15), (15, 15)]
    assert_same(load(paths), whole)
    assert len(record(shifts, DarkCrops(), tmp_path, num_crops=8)) == 1  # of those that are there


def test_a_damaged_shard_is_named(shifts: Toolbox, tmp_path: Path) -> None:
    (path,) = record(shifts, DarkCrops(), tmp_path, num_crops=8, max_steps=1)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ToolchainError, match=f"{path.name} is damaged; remove it"):
        load([path])


def test_a_gain_is_what_the_psnr_gains_on_each_view_and_on_the_whole(
    shifts: Toolbox, tmp_path: Path
) -> None:
    crops = DarkCrops()
    outcomes = load(record(shifts, crops, tmp_path, num_crops=8, chains=CHAINS, max_steps=STEPS))
    places = [
        *((slice(t, t + VIEW_SIZE), slice(s, s + VIEW_SIZE)) for t, s in corner_views(SIDE)),
        (slice(None), slice(None)),
    ]
    assert len(places) == 5
    checked = 0
    for row in np.flatnonzero(outcomes.step == 0):
        crop = crops.drawn[outcomes.episode[row]]
        assert np.array_equal(outcomes.images[row], crop.lq)
        assert outcomes.family[row] == crop.family
        lq, gt = to_float(crop.lq), to_float(crop.gt)

        def score(image: np.ndarray, place: tuple[slice, slice], gt: np.ndarray = gt) -> float:
            return min(psnr(image[place], gt[place]), recording.PSNR_CAP)

        with torch.inference_mode():
            after = [to_numpy(tool(to_tensor(lq[None])))[0] for tool in shifts]
            twice = to_numpy(shifts[0](to_tensor(after[0][None])))[0]
        for column, place in enumerate(places):
            before = score(lq, place)
            assert outcomes.psnr[row, column] == pytest.approx(before, abs=1e-3)
            gains = [score(each, place) - before for each in after]
            assert outcomes.gains[row, column] == pytest.approx(gains, abs=1e-3)
            added = score(twice, place) - score(after[0], place)
            assert outcomes.chained[row, column] == pytest.approx([added], abs=1e-3)
            checked += 1
    assert checked == 8 * 5


def test_states_of_a_crop_follow_each_other_by_the_tool_that_was_kept(
    shifts: Toolbox, tmp_path: Path
) -> None:
    outcomes = recorded(shifts, tmp_path, num_crops=16)
    assert (np.diff(outcomes.episode) >= 0).all()
    assert set(outcomes.episode) == set(range(16))
    starts = np.diff(outcomes.episode, prepend=-1) > 0
    assert (outcomes.step[starts] == 0).all()
    assert (outcomes.last_action[starts] == len(shifts)).all()
    for row in np.flatnonzero(~starts):
        assert outcomes.step[row] == outcomes.step[row - 1] + 1
        with torch.inference_mode():
            tool = shifts[int(outcomes.last_action[row])]
            made = to_numpy(tool(to_tensor(to_float(outcomes.images[row - 1])[None])))[0]
        assert np.abs(made - to_float(outcomes.images[row])).max() <= 1.01 / 255.0
    unknown = np.isnan(outcomes.gains).all(axis=(1, 2))
    assert np.array_equal(unknown, outcomes.step == STEPS)
    assert not np.isnan(outcomes.gains[~unknown]).any()
    assert not np.isnan(outcomes.psnr).any()


def test_crops_that_nothing_helps_end_earlier(shifts: Toolbox, tmp_path: Path) -> None:
    outcomes = recorded(shifts, tmp_path, num_crops=64)
    lengths = np.bincount(outcomes.episode)
    is_clean = outcomes.family[outcomes.step == 0] == "clean"
    assert 0.4 < (lengths[is_clean] == 1).mean() < 0.85  # most of the time the best is to end
    assert lengths[~is_clean].mean() > lengths[is_clean].mean() + 0.5
    assert lengths.max() == STEPS + 1


def test_columns_are_named_as_they_are_read() -> None:
    assert [one.name for one in dataclasses.fields(Outcomes)] == list(Outcomes.__slots__)
    assert corner_views(VIEW_SIZE) == ((0, 0),)
