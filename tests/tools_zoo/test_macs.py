"""Properties of counting multiply-accumulates."""

import pytest
import torch
from torch import nn

from restoration_toolchain.tools_zoo.macs import count_macs


def test_a_known_network_is_counted_as_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=2),  # 600 weights, 6x5 pixels
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3),  # 288 weights, 4x3 pixels
        nn.Flatten(),
        nn.Linear(48, 10),  # 480 weights
    )
    by_hand = 600 * 6 * 5 + 288 * 4 * 3 + 480
    assert count_macs(network, torch.zeros(1, 3, 12, 10)) == by_hand
    assert count_macs(network, torch.zeros(3, 3, 12, 10)) == 3 * by_hand


def test_grouped_convolutions_count_the_weights_they_have() -> None:
    assert count_macs(nn.Conv2d(8, 8, 3, groups=8, padding=1), torch.zeros(1, 8, 4, 4)) == 72 * 16


def test_an_lstm_cell_counts_both_of_its_matrices() -> None:
    cell = nn.LSTMCell(7, 5)
    assert count_macs(cell, torch.zeros(2, 7)) == 2 * 4 * 5 * (7 + 5)


def test_counting_changes_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    count_macs(network, torch.rand(2, 3, 4, 4))
    assert network.training
    assert not network[0]._forward_hooks
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("side", [8, 63])
def test_a_plain_stack_counts_every_weight_once_per_pixel(side: int) -> None:
    stack = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 3, 5, padding=2))
    assert count_macs(stack, torch.zeros(1, 3, side, side)) == (162 + 450) * side**2
