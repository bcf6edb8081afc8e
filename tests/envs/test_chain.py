"""Properties of the loop body, with tools that keep the size and with one that enlarges."""

import pytest
import torch
from torch import Tensor

from restoration_toolchain.data.scaling import upsample_bicubic
from restoration_toolchain.envs.chain import Chain
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from tests.envs.conftest import Nearest, Shift

DARKER, BRIGHTER, NEAREST = 0, 1, 2
SIDE = 8


def shifts(*more: Tool) -> Toolbox:
    """Action 0 darkens, action 1 brightens beyond the range; then come others."""
    tools = [
        Tool(ToolSpec(name, "noise", (0, 1), "small"), Shift(amount))
        for name, amount in (("darker", -0.25), ("brighter", 0.75))
    ]
    return Toolbox("shifts", [*tools, *more])


def shifts_and_nearest() -> Toolbox:
    """The same, but action 2 repeats pixels."""
    return shifts(Tool(ToolSpec("nearest", "sr", (4, 4), "sr_x4", 4), Nearest()))


def make_chain(
    count: int = 3, max_steps: int = 2, *, scale: int = 1, images: Tensor | None = None
) -> Chain:
    """Tools that keep the size at scale 1; beside them one that enlarges at any other."""
    images = torch.full((count, 3, SIDE, SIDE), 0.5) if images is None else images
    tools = shifts() if scale == 1 else shifts_and_nearest()
    return Chain(images, tools.scales, scale=scale, max_steps=max_steps, apply=tools.restore)


@pytest.fixture(params=[1, 4], ids=["size kept", "enlarged"])
def scale(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def levels(chain: Chain) -> list[float]:
    """Grey level of each image."""
    return [float(chain.current(row)[0, 0, 0]) for row in range(len(chain.last_action))]


def test_a_chain_starts_with_the_stop_action_and_no_steps(scale: int) -> None:
    chain = make_chain(scale=scale)
    assert chain.stop == (2 if scale == 1 else 3)
    assert chain.last_action.tolist() == [chain.stop] * 3
    assert chain.num_steps.tolist() == [0] * 3
    assert not chain.enlarged.any()


def test_every_image_follows_its_own_actions(scale: int) -> None:
    chain = make_chain(scale=scale)
    chain.advance(torch.tensor([DARKER, BRIGHTER, chain.stop]))
    assert levels(chain) == [0.25, 1.0, 0.5]
    assert chain.last_action.tolist() == [DARKER, BRIGHTER, chain.stop]
    assert chain.num_steps.tolist() == [1, 1, 0]


def test_images_are_clipped_after_every_tool(scale: int) -> None:
    chain = make_chain(count=1, scale=scale)
    chain.advance(torch.tensor([BRIGHTER]))
    chain.advance(torch.tensor([DARKER]))
    assert chain.current(0).unique().tolist() == [0.75]  # 1.25 was clipped to 1 in between


def test_stop_terminates_and_the_last_permitted_tool_truncates(scale: int) -> None:
    chain = make_chain(scale=scale)
    stop = chain.stop
    first = chain.advance(torch.tensor([DARKER, stop, DARKER]))
    assert first.terminated.tolist() == [False, True, False]
    assert first.truncated.tolist() == [False, False, False]
    second = chain.advance(torch.tensor([DARKER, stop, stop]))
    assert second.terminated.tolist() == [False, True, True]
    assert second.truncated.tolist() == [True, False, False]
    assert second.done.tolist() == [True, True, True]


def test_stopping_when_all_tools_are_used_up_is_a_termination(scale: int) -> None:
    chain = make_chain(count=1, max_steps=1, scale=scale)
    chain.advance(torch.tensor([DARKER]))
    ended = chain.advance(torch.tensor([chain.stop]))
    assert ended.terminated.tolist() == [True]
    assert ended.truncated.tolist() == [False]


def test_stop_leaves_its_image_bit_identical(scale: int) -> None:
    images = torch.rand(3, 3, SIDE, SIDE)
    chain = make_chain(scale=scale, images=images.clone())
    chain.advance(torch.tensor([chain.stop, DARKER, chain.stop]))
    chain.advance(torch.full((3,), chain.stop))  # of stops alone
    assert all(torch.equal(chain.current(row), images[row]) for row in (0, 2))


def test_advancing_and_restarting_leave_images_handed_out_before_alone(scale: int) -> None:
    chain = make_chain(scale=scale)
    handed_out = chain.view()
    chain.advance(torch.full((3,), DARKER))
    assert handed_out.unique().tolist() == [0.5]
    handed_out = chain.view()
    chain.advance(torch.full((3,), chain.stop))
    chain.restart(torch.tensor([1]), torch.ones(1, 3, SIDE, SIDE))
    assert handed_out.unique().tolist() == [0.25]


def test_a_restart_touches_its_rows_only(scale: int) -> None:
    chain = make_chain(scale=scale)
    chain.advance(torch.tensor([DARKER, DARKER if scale == 1 else NEAREST, DARKER]))
    chain.restart(torch.tensor([1]), torch.full((1, 3, SIDE, SIDE), 0.125))
    assert levels(chain) == [0.25, 0.125, 0.25]
    assert chain.last_action.tolist() == [DARKER, chain.stop, DARKER]
    assert chain.num_steps.tolist() == [1, 0, 1]
    assert chain.allowed().all()


def test_an_action_that_does_not_exist_is_refused(scale: int) -> None:
    chain = make_chain(count=1, scale=scale)
    for action in (-1, chain.stop + 1):
        with pytest.raises(ValueError, match=f"actions must lie in 0 to {chain.stop}"):
            chain.advance(torch.tensor([action]))


def test_every_image_needs_one_action_and_there_may_be_no_image(scale: int) -> None:
    with pytest.raises(ValueError, match=r"must be 2 actions, got shape \(1,\)"):
        make_chain(count=2, scale=scale).advance(torch.tensor([DARKER]))
    nothing = torch.zeros(0, dtype=torch.int64)
    assert make_chain(count=0, scale=scale).advance(nothing).done.shape == (0,)


def test_a_chain_without_steps_is_refused(scale: int) -> None:
    with pytest.raises(ValueError, match="max_steps must be at least 1"):
        make_chain(max_steps=0, scale=scale)


def test_outcomes_are_what_every_action_would_bring(scale: int) -> None:
    images = torch.rand(3, 3, SIDE, SIDE)
    chain = make_chain(max_steps=3, scale=scale, images=images.clone())
    chain.advance(torch.tensor([DARKER, chain.stop, BRIGHTER if scale == 1 else NEAREST]))
    before, steps = chain.result().clone(), chain.num_steps.tolist()
    outcomes = list(chain.outcomes())
    assert len(outcomes) == chain.stop
    assert torch.equal(chain.result(), before)
    assert chain.num_steps.tolist() == steps
    for action, after in enumerate(outcomes):
        assert after.last_action.tolist() == [action] * 3
        played = chain.after(torch.full((3,), chain.stop))  # a copy
        played.advance(torch.full((3,), action))
        assert torch.equal(after.result(), played.result())
        assert torch.equal(after.allowed(), played.allowed())


def test_before_a_tool_enlarges_the_bicubic_enlargement_is_the_result() -> None:
    images = torch.rand(3, 3, SIDE, SIDE)
    chain = make_chain(scale=4, images=images)
    assert torch.equal(chain.result(), upsample_bicubic(images, 4).clamp(0.0, 1.0))
    chain.advance(torch.full((3,), DARKER))
    darker = (images - 0.25).clamp(0.0, 1.0)
    assert torch.equal(chain.result(), upsample_bicubic(darker, 4).clamp(0.0, 1.0))


def test_a_tool_that_enlarges_gives_the_large_image_and_others_go_on_with_it() -> None:
    images = torch.rand(3, 3, SIDE, SIDE)
    chain = make_chain(scale=4, images=images)
    chain.advance(torch.full((3,), NEAREST))
    large = images.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.equal(chain.result(), large)
    middle = slice(2 * SIDE - SIDE // 2, 2 * SIDE + SIDE // 2)
    assert torch.equal(chain.view(), large[..., middle, middle])
    chain.advance(torch.full((3,), DARKER))
    assert torch.equal(chain.result(), (large - 0.25).clamp(0.0, 1.0))


def test_images_of_both_sizes_advance_together_as_they_do_alone() -> None:
    images = torch.rand(6, 3, SIDE, SIDE)
    moves = [torch.tensor([0, 2, 2, 0, 3, 2]), torch.tensor([2, 0, 2, 0, 0, 3])]
    together = make_chain(scale=4, images=images)
    for actions in moves:
        together.advance(actions)
    for row in range(6):
        alone = make_chain(scale=4, images=images[row : row + 1])
        for actions in moves:
            alone.advance(actions[row : row + 1])
        assert torch.equal(together.result()[row], alone.result()[0])


def test_enlarging_twice_changes_nothing() -> None:
    chain = make_chain(scale=4)
    assert chain.allowed().all()
    chain.advance(torch.full((3,), NEAREST))
    before = chain.result().clone()
    assert chain.allowed().tolist() == [[True, True, False, True]] * 3
    chain.advance(torch.full((3,), NEAREST))
    assert torch.equal(chain.result(), before)
    assert chain.num_steps.tolist() == [2] * 3


def test_where_the_size_is_kept_tools_that_enlarge_do_nothing() -> None:
    images = torch.rand(3, 3, SIDE, SIDE)
    chain = Chain(images, (1, 1, 4), scale=1, max_steps=2, apply=shifts_and_nearest().restore)
    assert chain.allowed().tolist() == [[True, True, False, True]] * 3
    chain.advance(torch.full((3,), NEAREST))
    assert torch.equal(chain.result(), images)


def test_a_photo_of_any_shape_is_carried_on_at_its_new_size() -> None:
    chain = make_chain(max_steps=3, scale=4, images=torch.rand(1, 3, 5, 9))
    chain.advance(torch.tensor([NEAREST]))
    assert chain.current(0).shape == (3, 20, 36)
    assert chain.result().shape == (1, 3, 20, 36)


def test_gradients_flow_through_the_tools_if_asked_for() -> None:
    weight = torch.tensor(0.1, requires_grad=True)
    for differentiable in (False, True):
        chain = Chain(
            torch.full((2, 3, 4, 4), 0.5),
            (1,),
            max_steps=1,
            apply=lambda images, _: images * weight,
            differentiable=differentiable,
        )
        chain.advance(torch.tensor([0, 0]))
        assert chain.result().requires_grad == differentiable
