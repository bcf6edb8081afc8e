"""Properties of the loop body."""

import pytest
import torch
from torch import Tensor

from restoration_toolchain.envs.chain import Chain

STOP = 2


def apply(images: Tensor, actions: Tensor) -> Tensor:
    """Action 0 darkens, action 1 brightens beyond the range."""
    change = torch.tensor([-0.25, 0.75, 0.0])[actions]
    return images + change[:, None, None, None]


def make_chain(count: int = 3, max_steps: int = 2) -> Chain:
    return Chain(torch.full((count, 3, 4, 4), 0.5), stop=STOP, max_steps=max_steps, apply=apply)


def test_a_chain_starts_with_the_stop_action_and_no_steps() -> None:
    chain = make_chain()
    assert chain.last_action.tolist() == [STOP] * 3
    assert chain.num_steps.tolist() == [0] * 3


def test_every_image_follows_its_own_actions() -> None:
    chain = make_chain()
    chain.advance(torch.tensor([0, 1, STOP]))
    assert chain.images[:, 0, 0, 0].tolist() == [0.25, 1.0, 0.5]
    assert chain.last_action.tolist() == [0, 1, STOP]
    assert chain.num_steps.tolist() == [1, 1, 0]


def test_images_are_clipped_after_every_tool() -> None:
    chain = make_chain(count=1)
    chain.advance(torch.tensor([1]))
    chain.advance(torch.tensor([0]))
    assert chain.images.unique().tolist() == [0.75]  # 1.25 was clipped to 1 in between


def test_stop_terminates_and_the_last_permitted_tool_truncates() -> None:
    chain = make_chain()
    first = chain.advance(torch.tensor([0, STOP, 0]))
    assert first.terminated.tolist() == [False, True, False]
    assert first.truncated.tolist() == [False, False, False]
    second = chain.advance(torch.tensor([0, STOP, STOP]))
    assert second.terminated.tolist() == [False, True, True]
    assert second.truncated.tolist() == [True, False, False]
    assert second.done.tolist() == [True, True, True]


def test_stopping_when_all_tools_are_used_up_is_a_termination() -> None:
    chain = make_chain(count=1, max_steps=1)
    chain.advance(torch.tensor([0]))
    ended = chain.advance(torch.tensor([STOP]))
    assert ended.terminated.tolist() == [True]
    assert ended.truncated.tolist() == [False]


def test_stop_leaves_its_image_bit_identical() -> None:
    chain = make_chain()
    chain.images = torch.rand(3, 3, 4, 4)
    before = chain.images.clone()
    chain.advance(torch.tensor([STOP, 0, STOP]))
    assert torch.equal(chain.images[[0, 2]], before[[0, 2]])


def test_advancing_leaves_images_handed_out_before_alone() -> None:
    chain = make_chain()
    handed_out = chain.images
    chain.advance(torch.tensor([0, 0, 0]))
    assert handed_out.unique().tolist() == [0.5]


def test_a_restart_touches_its_rows_only() -> None:
    chain = make_chain()
    chain.advance(torch.tensor([0, 0, 0]))
    chain.restart(torch.tensor([1]), torch.full((1, 3, 4, 4), 0.125))
    assert chain.images[:, 0, 0, 0].tolist() == [0.25, 0.125, 0.25]
    assert chain.last_action.tolist() == [0, STOP, 0]
    assert chain.num_steps.tolist() == [1, 0, 1]


@pytest.mark.parametrize("action", [-1, STOP + 1])
def test_an_action_that_does_not_exist_is_refused(action: int) -> None:
    with pytest.raises(ValueError, match="actions must lie in 0 to 2"):
        make_chain(count=1).advance(torch.tensor([action]))


def test_a_chain_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="max_steps must be at least 1"):
        make_chain(max_steps=0)
