"""Properties of agents that know distributions: quantiles, risks, and views seen together."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from restoration_toolchain.agents.learning.pretraining import num_facts, pretrain_encoder
from restoration_toolchain.agents.policy.guard import GUARD_FILE, Guard, claimed_risk
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.pristine import Pristine
from restoration_toolchain.agents.policy.q_net import LEVELS, RecurrentQNet, rising
from restoration_toolchain.agents.policy.recognition import NOT_DAMAGED, Recognition
from restoration_toolchain.agents.policy.storage import PolicyError, load_policy, save_policy
from restoration_toolchain.agents.tuning.pristine import learn_pristine
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.data.patches.store import PatchStore

NAMES = ("a", "b", "c")


def world_net(**how: bool) -> RecurrentQNet:
    torch.manual_seed(0)
    net = RecurrentQNet(3, "pooled_statistics", **{"quantiles": True, **how})
    with torch.no_grad():
        for layer in filter(None, (net.head, net.shortcut, net.spread)):
            torch.nn.init.normal_(layer.weight, std=0.3)
    return net


@pytest.fixture
def policy() -> LstmPolicy:
    net = world_net()
    named = Recognition(net.encoder.out_features, ("grain", NOT_DAMAGED, "text"), ("clean", "text"))
    guard = Guard(0.3, 0.9, torch.rand(64), torch.rand(64, 64), 9.5)
    known = {"guard": guard, "max_risk": 0.1, "unfamiliar_risk": 0.02}
    return LstmPolicy(net, NAMES, recognition=named, **known)


VIEWS = torch.rand(5, 3, 63, 63, generator=torch.Generator().manual_seed(1))
START = torch.full((5,), 3)


def test_quantiles_rise_whatever_a_layer_says() -> None:
    raw = torch.randn(100, 4, len(LEVELS), generator=torch.Generator().manual_seed(0))
    quantiles = rising(raw)
    assert (quantiles.diff(dim=-1) > 0.0).all()
    assert (rising(30.0 * raw).diff(dim=-1) >= 0.0).all()
    middle = LEVELS.index(0.5)
    assert torch.equal(quantiles[..., middle], raw[..., middle])
    assert (torch.tensor(LEVELS).diff() > 0.0).all()


def normal_quantiles(mean: float, std: float = 1.0) -> Tensor:
    return torch.distributions.Normal(mean, std).icdf(torch.tensor(LEVELS))


def test_a_claimed_risk_falls_as_gains_grow() -> None:
    shifts = torch.linspace(-40.0, 40.0, 1601)
    uneven = rising(torch.randn(len(LEVELS), generator=torch.Generator().manual_seed(0)))
    for inner in (normal_quantiles(0.0), uneven):
        risk = claimed_risk(inner + shifts[:, None])
        assert risk.shape == (1601,)
        assert (risk.diff() <= 1e-6).all()
        assert risk[0] > 0.99
        assert risk[-1] < 0.005
        assert risk.diff().abs().max() < 0.2  # no jump


@pytest.mark.parametrize("mean", [-2.5, -1.0, -0.2, 0.0, 0.7, 1.5, 2.2, 3.5])
def test_a_claimed_risk_is_the_share_of_gains_below_nothing(mean: float) -> None:
    gains = mean + torch.randn(50_000, generator=torch.Generator().manual_seed(0))
    risk = float(claimed_risk(torch.quantile(gains, torch.tensor(LEVELS))))
    assert risk == pytest.approx(float((gains < 0.0).float().mean()), abs=0.03)


def test_a_claimed_risk_is_a_probability_at_both_ends_and_of_a_single_number() -> None:
    far = torch.tensor([-1e4, -50.0, -1.0, 0.0, 1e-3, 1.0, 50.0, 1e4])
    spread = claimed_risk(far[:, None] + normal_quantiles(0.0))
    alike = claimed_risk(far[:, None].expand(-1, len(LEVELS)))
    for risk in (spread, alike):
        assert risk.isfinite().all()
        assert ((risk > 0.0) & (risk < 1.0)).all()
        assert torch.logit(risk).isfinite().all()
    assert (alike[far < 0.0] > 0.99).all()
    assert (alike[far > 0.0] < 0.01).all()


def test_what_is_said_of_views_is_averaged_for_their_photo(policy: LstmPolicy) -> None:
    seen, state = policy.see(VIEWS), policy.initial_state(5, together=True)
    assert state.hidden.shape[0] == 1
    photo, after = policy.judge(seen, START, state, together=True)
    mean, expected = policy.judge(seen.mean(dim=0, keepdim=True), START[:1], state)
    assert photo.values.shape == (1, 4)
    assert torch.equal(photo.values, mean.values)
    assert photo.risks is not None
    assert mean.risks is not None
    assert torch.equal(photo.risks, mean.risks)
    assert torch.equal(after.cell, expected.cell)
    # A mean of what each concludes is something else.
    alone, _ = policy.judge(seen, START, policy.initial_state(5))
    assert not torch.allclose(alone.values.mean(dim=0), photo.values[0], atol=1e-4)


def test_a_single_view_is_its_own_photo_and_the_order_of_views_is_none(policy: LstmPolicy) -> None:
    seen = policy.see(VIEWS)
    one = policy.initial_state(1, together=True)
    together, _ = policy.judge(seen[:1], START[:1], one, together=True)
    alone, _ = policy.judge(seen[:1], START[:1], policy.initial_state(1))
    assert torch.equal(together.values, alone.values)
    photo, _ = policy.judge(seen, START, one, together=True)
    turned, _ = policy.judge(seen.flip(0), START, one, together=True)
    torch.testing.assert_close(turned.values, photo.values, rtol=0, atol=1e-5)
    torch.testing.assert_close(turned.risks, photo.risks, rtol=0, atol=1e-5)


def test_views_of_an_encoder_that_is_not_pooled_are_averaged_by_their_values() -> None:
    torch.manual_seed(0)
    net = RecurrentQNet(3, "statistics")
    torch.nn.init.normal_(net.head.weight)
    policy = LstmPolicy(net, NAMES)
    seen, state = policy.see(VIEWS), policy.initial_state(5, together=True)
    assert state.hidden.shape[0] == 5
    photo, _ = policy.judge(seen, START, state, together=True)
    alone, _ = policy.judge(seen, START, state)
    torch.testing.assert_close(photo.values[0], alone.values.mean(dim=0))
    assert photo.risks is None
    torch.manual_seed(0)
    knowing = LstmPolicy(RecurrentQNet(3, "statistics", quantiles=True), NAMES, max_risk=0.5)
    judged, _ = knowing.judge(seen, START, state, together=True)
    assert judged.risks is not None
    assert judged.risks.shape == (1, 3)
    assert len(knowing.decide_on(judged).actions) == 1


def test_a_guard_corrects_what_an_agent_claims(policy: LstmPolicy) -> None:
    seen, state = policy.see(VIEWS), policy.initial_state(5)
    claimed, _ = policy.changed(guard=None).judge(seen, START, state)
    found, _ = policy.judge(seen, START, state)
    assert claimed.risks is not None
    expected = torch.sigmoid(0.3 + 0.9 * torch.logit(claimed.risks))
    torch.testing.assert_close(found.risks, expected)


def test_a_risk_that_nobody_knows_cannot_be_limited() -> None:
    for limited in ({"max_risk": 0.5}, {"unfamiliar_risk": 0.5}):
        with pytest.raises(ValueError, match="no risk is known"):
            LstmPolicy(RecurrentQNet(3), NAMES, **limited)
        assert LstmPolicy(world_net(), NAMES, **limited).knows_risk
        guard = Guard(0.0, -1.0, torch.zeros(1), torch.eye(1), 1.0)
        assert LstmPolicy(RecurrentQNet(3), NAMES, guard=guard, **limited).knows_risk


def test_an_agent_on_disk_whose_limits_need_a_guard_that_is_gone_is_one_clear_line(
    tmp_path: Path,
) -> None:
    guard = Guard(0.0, -1.0, torch.zeros(1), torch.eye(1), 1.0)
    save_policy(LstmPolicy(RecurrentQNet(3), NAMES, guard=guard, max_risk=0.5), tmp_path)
    (tmp_path / GUARD_FILE).unlink()
    with pytest.raises(PolicyError, match="cannot be used: .* no risk is known"):
        load_policy(tmp_path)


def test_played_it_runs_nothing_that_is_riskier_than_it_permits(policy: LstmPolicy) -> None:
    obs = {"image": VIEWS.numpy(), "last_action": START.numpy()}
    daring, _ = policy.changed(max_risk=1.0, unfamiliar_risk=1.0).decide(obs)
    assert daring.risk is not None
    assert (daring.actions != 3).any()
    limit = float(daring.risk[daring.actions != 3].min()) / 2.0
    careful, _ = policy.changed(max_risk=limit).decide(obs)
    assert careful.risk is not None
    assert (careful.risk[careful.actions != 3] <= limit).all()
    assert not torch.equal(careful.actions, daring.actions)


def test_what_damage_looks_like_has_a_name(policy: LstmPolicy) -> None:
    named = policy.recognition
    assert named is not None
    seen = policy.see(VIEWS)
    with torch.inference_mode():
        read = policy.q_net.encoder.read(seen.mean(dim=0, keepdim=True))
        likely = named.likely(read)
    assert set(likely) == {"grain", "clean", "text"}
    assert sum(likely.values()) == pytest.approx(1.0)
    assert list(likely.values()) == sorted(likely.values(), reverse=True)
    assert policy.clean_probability(seen) == pytest.approx(likely["clean"] + likely["text"])


def test_all_that_it_knows_is_kept_on_disk(policy: LstmPolicy, tmp_path: Path) -> None:
    save_policy(policy, tmp_path)
    loaded = load_policy(tmp_path)
    seen, state = policy.see(VIEWS), policy.initial_state(5)
    before, after = (one.judge(seen, START, state)[0] for one in (policy, loaded))
    assert torch.equal(after.values, before.values)
    assert before.risks is not None
    assert after.risks is not None
    assert torch.equal(after.risks, before.risks)
    assert (loaded.max_risk, loaded.unfamiliar_risk) == (0.1, 0.02)
    assert loaded.guard is not None
    assert loaded.recognition is not None
    assert loaded.recognition.families == ("grain", "clean", "text")
    assert loaded.recognition.untouched == ("clean", "text")
    assert loaded.clean_probability(seen) == policy.clean_probability(seen)


def test_an_agent_that_was_saved_before_there_were_distributions_still_loads(
    tmp_path: Path,
) -> None:
    save_policy(LstmPolicy(RecurrentQNet(3), NAMES), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    for key in ("knows_distributions", "max_risk", "unfamiliar_risk", "families", "untouched"):
        del config[key]
    path.write_text(json.dumps(config))
    loaded = load_policy(tmp_path)
    assert not loaded.knows_risk
    assert (loaded.max_risk, loaded.unfamiliar_risk) == (1.0, 1.0)
    assert loaded.recognition is None


def test_whether_a_photo_is_clean_is_read_from_what_a_pooled_encoder_concludes(
    tmp_path: Path,
) -> None:
    net = world_net().eval()
    gt = np.random.default_rng(0).integers(0, 256, (64, 63, 63, 3)).astype(np.uint8)
    pristine = learn_pristine(net, ArrayPairs(gt, gt), 64)
    policy = LstmPolicy(net, NAMES, pristine=pristine)
    save_policy(policy, tmp_path)
    loaded = load_policy(tmp_path)
    assert isinstance(loaded.pristine, Pristine)
    seen, state = policy.see(VIEWS), policy.initial_state(5, together=True)
    before, after = (one.judge(seen, START, state, together=True)[0] for one in (policy, loaded))
    assert torch.equal(before.values, after.values)
    assert 0.0 < (loaded.clean_probability(seen) or 0.0) < 1.0


def test_a_pooled_encoder_can_be_taught_what_damage_looks_like(store_path: Path) -> None:
    encoder = world_net().encoder
    with PatchStore(store_path) as store:
        head = pretrain_encoder(encoder, store, ("mild",), 64)
    assert head.weight.shape == (num_facts(), encoder.out_features)
