import numpy as np
import pytest
import torch

from agents.extension import UNKNOWN, extend_policy
from agents.policy import LstmPolicy
from agents.q_net import RecurrentQNet

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


def test_the_values_of_all_old_actions_stay_exactly_as_they_were(policy: LstmPolicy) -> None:
    extended = extend_policy(policy, "mine")
    old, new = walk(policy, [1, 2], stop=3), walk(extended, [1, 2], stop=4)
    for before, after in zip(old, new, strict=True):
        kept = torch.cat([after[:, :3], after[:, 4:]], dim=1)
        torch.testing.assert_close(kept, before, rtol=0, atol=1e-6)
        assert torch.equal(kept.argmax(dim=1), before.argmax(dim=1))


def test_every_old_weight_is_kept_bit_for_bit(policy: LstmPolicy) -> None:
    old, new = policy.q_net.state_dict(), extend_policy(policy, "mine").q_net.state_dict()
    for name, value in old.items():
        if name == "lstm.weight_ih":
            assert torch.equal(new[name][:, :-1], value)
            assert not new[name][:, -1].any()
        elif name.startswith(("head.", "shortcut.")):
            assert torch.equal(torch.cat([new[name][:3], new[name][4:]]), value)
        else:
            assert torch.equal(new[name], value)


def test_the_new_action_is_not_chosen_before_anything_is_learnt_of_it(policy: LstmPolicy) -> None:
    for values in walk(extend_policy(policy, "mine"), [0], stop=4):
        assert torch.equal(values[:, 3], torch.full((5,), UNKNOWN))


def test_the_new_tool_stands_before_stop_with_its_checksum(policy: LstmPolicy) -> None:
    extended = extend_policy(policy, "mine", "def")
    assert extended.tool_names == (*NAMES, "mine")
    assert extended.tool_checksums == {"blur": "abc", "mine": "def"}
    assert extended.stop_margin == 0.05
    obs = {"image": np.zeros((1, 3, 63, 63), np.float32), "last_action": np.array([4])}
    actions, _ = extended.predict(obs)
    assert actions[0] in range(5)
