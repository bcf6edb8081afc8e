"""Properties of the toolbox, which is the action space."""

import pytest
import torch

from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.catalog import CLASSIC
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import DuplicateToolError, Toolbox


def random_images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 20, 24, generator=torch.Generator().manual_seed(1))


def test_the_order_of_the_tools_is_the_action_order(tiny_toolbox: Toolbox) -> None:
    assert tiny_toolbox.names == ("deblur_1", "denoise_1", "deblock_1")
    assert [tool.spec.name for tool in tiny_toolbox] == list(tiny_toolbox.names)
    for action, name in enumerate(tiny_toolbox.names):
        assert tiny_toolbox[action] is tiny_toolbox[name]
    assert tiny_toolbox.stop == len(tiny_toolbox) == 3
    assert tiny_toolbox.action_names[tiny_toolbox.stop] == "stop"


def test_the_classic_order_is_by_task_and_then_from_weak_to_strong() -> None:
    tasks = ("deblur", "denoise", "deblock")
    expected = [f"{task}_{strength}" for task in tasks for strength in (1, 2, 3, 4)]
    assert [spec.name for spec in CLASSIC] == expected


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(DuplicateToolError, match="two tools are named 'deblur_1'"):
        Toolbox("twice", [Tool(CLASSIC[0]), Tool(CLASSIC[1]), Tool(CLASSIC[0])])


def test_a_toolbox_without_tools_is_refused() -> None:
    with pytest.raises(ToolchainError, match="holds no tool"):
        Toolbox("empty", [])


def test_a_mistyped_tool_gets_a_suggestion(tiny_toolbox: Toolbox) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'denoise_1'"):
        tiny_toolbox["denoize_1"]


def test_restoring_in_groups_equals_restoring_one_by_one(tiny_toolbox: Toolbox) -> None:
    images = random_images(6)
    actions = torch.tensor([2, 0, 3, 0, 1, 2])
    restored = tiny_toolbox.restore(images, actions)
    for row, action in enumerate(actions.tolist()):
        alone = images[row : row + 1]
        expected = alone if action == tiny_toolbox.stop else tiny_toolbox[action](alone)
        torch.testing.assert_close(restored[row : row + 1], expected)


def test_stopped_images_come_back_bit_identical(tiny_toolbox: Toolbox) -> None:
    images = random_images(4)
    before = images.clone()
    restored = tiny_toolbox.restore(images, torch.tensor([3, 0, 3, 1]))
    assert torch.equal(restored[[0, 2]], before[[0, 2]])
    assert not torch.equal(restored[1], before[1])
    assert torch.equal(images, before)


def test_each_image_is_restored_on_its_own(tiny_toolbox: Toolbox) -> None:
    images = random_images(3)
    actions = torch.tensor([1, 1, 1])
    restored = tiny_toolbox.restore(images, actions)
    images[1] = 0.0
    other = tiny_toolbox.restore(images, actions)
    torch.testing.assert_close(other[[0, 2]], restored[[0, 2]])
    assert not torch.allclose(other[1], restored[1])
