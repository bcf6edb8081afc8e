import numpy as np
import pytest
import torch

from restoration_toolchain.agents.policy.extension import BEHIND, extend_policy
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
from restoration_toolchain.agents.policy.q_net import RecurrentQNet

NAMES = ("blur", "noise", "jpeg")


@pytest.fixture(params=["statistics", "rl_restore"])
def policy(request: pytest.FixtureRequest) -> LstmPolicy:
    torch.manual_seed(0)
    q_net = RecurrentQNet(len(NAMES), request.param)
    with torch.no_grad():
        for parameter in q_net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return LstmPolicy(q_net, NAMES, stop_margin=0.05, tool_checksums={"blur": "abc"})


def walk(policy: LstmPolicy, actions: list[int], stop: int) -> list[torch.Tensor]:
    """Values of every step of one episode per image."""
    images = torch.rand(5, 3, 63, 63, generator=torch.Generator().manual_seed(1))
    state, found = policy.initial_state(len(images)), []
    for action in [stop, *actions]:
        last = torch.full((len(images),), action)
        values, state = policy.action_values(images, last, state)
        found.append(values)
    return found


def test_the_values_of_all_old_actions_stay_as_they_were_but_for_rounding(
    policy: LstmPolicy,
) -> None:
    extended = extend_policy(policy, "mine", like="noise")
    old, new = walk(policy, [1, 2], stop=3), walk(extended, [1, 2], stop=4)
    for before, after in zip(old, new, strict=True):
        kept = torch.cat([after[:, :3], after[:, 4:]], dim=1)
        torch.testing.assert_close(kept, before, rtol=0, atol=1e-6)
        assert torch.equal(kept.argmax(dim=1), before.argmax(dim=1))


def test_every_old_weight_is_kept_bit_for_bit(policy: LstmPolicy) -> None:
    old, new = (
        policy.q_net.state_dict(),
        extend_policy(policy, "mine", like="noise").q_net.state_dict(),
    )
    for name, value in old.items():
        if name == "lstm.weight_ih":
            assert torch.equal(new[name][:, :-1], value)
            assert torch.equal(new[name][:, -1], value[:, -2])  # that of the tool it is like
        elif name.startswith(("head.", "shortcut.")):
            assert torch.equal(torch.cat([new[name][:3], new[name][4:]]), value)
        else:
            assert torch.equal(new[name], value)


def test_the_new_action_begins_just_behind_the_one_it_is_like(policy: LstmPolicy) -> None:
    for values in walk(extend_policy(policy, "mine", like="noise"), [0], stop=4):
        torch.testing.assert_close(values[:, 3], values[:, 1] - BEHIND)


def test_the_new_tool_stands_before_stop_with_its_checksum(policy: LstmPolicy) -> None:
    extended = extend_policy(policy, "mine", like="noise", sha256="def")
    assert extended.tool_names == (*NAMES, "mine")
    assert extended.tool_checksums == {"blur": "abc", "mine": "def"}
    assert extended.stop_margin == 0.05
    obs = {"image": np.zeros((1, 3, 63, 63), np.float32), "last_action": np.array([4])}
    actions, _ = extended.predict(obs)
    assert actions[0] in range(5)


def test_the_new_tool_need_not_promise_more_than_the_chains_to_fall_back_on(
    policy: LstmPolicy,
) -> None:
    known = policy.changed(default_chains=(("noise", "jpeg"),), default_margin=0.6)
    extended = extend_policy(known, "mine", like="noise")
    assert extended.default_chains == (("noise", "jpeg"), ("mine",))
    assert extended.default_margin == 0.6
    (plain,) = walk(extend_policy(policy, "mine", like="noise"), [], stop=4)
    (values,) = walk(extended, [], stop=4)
    lowered = (values - plain)[0].round(decimals=4).tolist()
    assert lowered == pytest.approx([-0.6, 0.0, -0.6, 0.0, 0.0], abs=1e-4)


def test_distributions_of_old_tools_stay_and_the_new_one_begins_with_those_of_its_like() -> None:
    torch.manual_seed(0)
    q_net = RecurrentQNet(len(NAMES), "pooled_statistics", quantiles=True)
    with torch.no_grad():
        for parameter in q_net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    policy = LstmPolicy(q_net, NAMES, max_risk=0.1, unfamiliar_risk=0.02)
    extended = extend_policy(policy, "mine", like="noise")
    assert (extended.max_risk, extended.unfamiliar_risk) == (0.1, 0.02)
    seen = policy.see(torch.rand(5, 3, 63, 63))
    states = [one.initial_state(5) for one in (policy, extended)]
    for action in (None, 1, 2):
        told = []
        for index, (one, stop) in enumerate(((policy, 3), (extended, 4))):
            last = torch.full((5,), stop if action is None else action)
            with torch.inference_mode():
                values, quantiles, states[index] = one.q_net.judge(seen, last, states[index])
            assert quantiles is not None
            told.append((values, quantiles))
        (old_values, old), (new_values, new) = told
        torch.testing.assert_close(new[:, :3], old, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(new[:, 3], old[:, 1], rtol=1e-5, atol=1e-6)
        kept = torch.cat([new_values[:, :3], new_values[:, 4:]], dim=1)
        torch.testing.assert_close(kept, old_values, rtol=1e-5, atol=1e-6)
        like = old_values[:, 1] - BEHIND
        torch.testing.assert_close(new_values[:, 3], like, rtol=1e-5, atol=1e-6)
