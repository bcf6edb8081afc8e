"""Properties of the one loop in which every chain is played."""

import torch

from restoration_toolchain.agents.players.rollout import rollout
from restoration_toolchain.agents.policy.decision import Decision
from restoration_toolchain.envs.chain import Chain

TOOL, STOP = 0, 1


def brighter(images: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    return images + 0.1 * (actions == TOOL)[:, None, None, None]


def make_chain(count: int, max_steps: int = 3) -> Chain:
    return Chain(torch.zeros(count, 3, 2, 2), (1,), max_steps=max_steps, apply=brighter)


def scripted(*steps: list[int]):  # type: ignore[no-untyped-def]
    """Chooses these actions, step by step, whatever it sees."""
    following = iter(steps)
    return lambda chain: Decision(torch.tensor(next(following)))


def test_it_ends_with_the_last_episode() -> None:
    chain = make_chain(2)
    moves = list(rollout(chain, scripted([STOP, TOOL], [STOP, TOOL], [STOP, STOP])))
    assert [move.decision.actions.tolist() for move in moves] == [
        [STOP, TOOL], [STOP, TOOL], [STOP, STOP]
    ]  # fmt: skip
    assert [move.playing.tolist() for move in moves] == [[True] * 2, [False, True], [False, True]]
    assert all(move.seconds > 0.0 for move in moves)


def test_what_has_stopped_is_left_alone_whatever_is_chosen_for_it() -> None:
    chain = make_chain(2)
    moves = list(rollout(chain, scripted([STOP, TOOL], [TOOL, TOOL], [TOOL, TOOL])))
    assert [move.decision.actions.tolist() for move in moves][1:] == [[STOP, TOOL]] * 2
    assert chain.num_steps.tolist() == [0, 3]
    assert torch.allclose(chain.result()[:, 0, 0, 0], torch.tensor([0.0, 0.3]))


def test_no_episode_is_longer_than_permitted() -> None:
    chain = make_chain(3, max_steps=2)
    moves = rollout(chain, lambda chain: Decision(torch.full((3,), TOOL)))
    assert len(list(moves)) == 2


def test_the_chain_has_advanced_when_a_move_is_yielded() -> None:
    chain = make_chain(1)
    seen = [
        round(float(chain.result().mean()), 3)
        for _ in rollout(chain, scripted([TOOL], [TOOL], [STOP]))
    ]
    assert seen == [0.1, 0.2, 0.2]
