"""Properties of the guard: risks that come true, and photos that look strange."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from restoration_toolchain.agents.policy.guard import (
    GUARD_FILE,
    Guard,
    features,
    load_guard,
)
from restoration_toolchain.agents.policy.lstm_policy import Judgement, LstmPolicy
from restoration_toolchain.agents.policy.q_net import LstmState, RecurrentQNet
from restoration_toolchain.agents.policy.storage import (
    PolicyError,
    load_policy,
    put_guard,
    save_policy,
)
from restoration_toolchain.agents.tuning.guard import calibrate, reliability, watch
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import to_float, to_tensor
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.tools_zoo.toolbox import Toolbox


def optimist(names: tuple[str, ...]) -> LstmPolicy:
    """Brightens everything once, and expects more of it where an image is darker."""
    torch.manual_seed(0)
    return Optimist(RecurrentQNet(3, "statistics"), names)


class Optimist(LstmPolicy):
    def see(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))[:, None]

    def judge(
        self, seen: Tensor, last_action: Tensor, state: LstmState, *, together: bool = False
    ) -> tuple[Judgement, LstmState]:
        values = torch.tensor([[0.0, -9.0, -9.0, 0.0]]).repeat(len(seen), 1)
        values[:, 0] = (3.0 - 6.0 * seen[:, 0]).where(last_action == 3, -1.0)
        return Judgement(values, self._risks(values, None)), state


@pytest.fixture
def grey_pairs() -> ArrayPairs:
    """Grey pairs; the darker the input, the likelier it lacks brightness."""
    rng = np.random.default_rng(0)
    lq = np.repeat(rng.integers(20, 120, 256), 63 * 63 * 3).reshape(256, 63, 63, 3)
    lacks = rng.random(256) < 1.2 - lq[:, 0, 0, 0] / 100.0
    texture = rng.normal(0, 4, lq.shape)
    gt = np.clip(lq + np.where(lacks, 26, 3)[:, None, None, None] + texture, 0, 255)
    return ArrayPairs(lq.astype(np.uint8), gt.astype(np.uint8))


def test_risks_come_true(shifts: Toolbox, grey_pairs: ArrayPairs) -> None:
    policy = optimist(shifts.names)
    guard = calibrate(policy, shifts, ArrayPairs(grey_pairs.lq[::2], grey_pairs.gt[::2]))
    assert guard.slope < 0.0  # the more is expected, the smaller the risk
    others = ArrayPairs(grey_pairs.lq[1::2], grey_pairs.gt[1::2])
    expected, is_worse = watch(policy, shifts, others)
    assert len(expected) == 128
    assert 0.1 < is_worse.mean() < 0.9
    groups = reliability(guard, expected, is_worse, edges=(0.0, 0.35, 0.65, 1.0))
    assert sum(group.count for group in groups) == len(expected)
    for group in groups:
        assert group.low <= group.predicted <= group.high
        assert group.observed == pytest.approx(group.predicted, abs=0.2)
    assert groups[0].observed < groups[-1].observed


def test_what_differs_from_the_calibration_is_strange(
    shifts: Toolbox, grey_pairs: ArrayPairs
) -> None:
    policy = optimist(shifts.names)
    guard = calibrate(policy, shifts, grey_pairs)

    def distance(images: np.ndarray) -> float:
        described = features(policy.q_net, to_tensor(to_float(images)))
        return float(guard.distance(described).median())

    assert distance(grey_pairs.lq[:64]) < 1.0
    stripes = np.zeros((4, 63, 63, 3), np.uint8)
    stripes[:, ::2] = 255
    assert distance(stripes) > 1.0


def test_a_risk_cannot_be_learnt_without_harm(shifts: Toolbox, grey_pairs: ArrayPairs) -> None:
    policy = optimist(shifts.names)
    gt = np.clip(grey_pairs.lq.astype(int) + 26, 0, 255).astype(np.uint8)
    with pytest.raises(ToolchainError, match="0 of 256 steps made an image worse"):
        calibrate(policy, shifts, ArrayPairs(grey_pairs.lq, gt))


def test_a_guard_is_kept_beside_its_agent_and_no_other(tmp_path: Path) -> None:
    names = ("brighter", "darker", "much_brighter")
    guard = Guard(-1.5, -2.0, torch.rand(64), torch.rand(64, 64), 9.5)
    policy = LstmPolicy(RecurrentQNet(3), names, guard=guard)
    save_policy(policy, tmp_path / "agent")
    loaded = load_policy(tmp_path / "agent").guard
    assert loaded is not None
    assert (loaded.intercept, loaded.slope, loaded.limit) == (-1.5, -2.0, 9.5)
    assert torch.equal(loaded.whitening, guard.whitening)
    assert policy.with_stop_margin(0.3).guard is guard
    assert load_guard(tmp_path / "agent", "of another agent") is None
    save_policy(LstmPolicy(RecurrentQNet(3), names), tmp_path / "agent")  # another agent
    assert load_policy(tmp_path / "agent").guard is None
    put_guard(guard, tmp_path / "agent")
    assert load_policy(tmp_path / "agent").guard is not None
    (tmp_path / "agent" / GUARD_FILE).write_bytes(b"no tensors")
    with pytest.raises(ToolchainError, match="damaged"):
        load_policy(tmp_path / "agent")
    with pytest.raises(PolicyError, match="no agent"):
        put_guard(guard, tmp_path)
