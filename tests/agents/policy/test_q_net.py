from functools import partial
from typing import get_args

import pytest
import torch

from restoration_toolchain.agents.policy.q_net import (
    STATISTICS_LAYERS,
    EncoderName,
    LstmState,
    RecurrentQNet,
    RlRestoreEncoder,
    StatisticsEncoder,
    make_optimizer,
)
from restoration_toolchain.data.errors import UnknownNameError


def test_the_network_has_the_published_number_of_parameters():
    count = sum(p.numel() for p in RecurrentQNet(12, "rl_restore").parameters())
    # The original counts 87,863; PyTorch's LSTM cell has a second bias vector of 4 * 50.
    assert count == 87_863 + 200


@pytest.mark.parametrize(
    "encoder", [RlRestoreEncoder, *(partial(StatisticsEncoder, name) for name in STATISTICS_LAYERS)]
)
def test_an_encoder_describes_each_view_by_its_own(encoder):
    look = encoder().eval()
    views = torch.rand(3, 3, 63, 63)
    described = look(views)
    assert described.shape == (3, look.out_features)
    torch.testing.assert_close(look(views[1:2]), described[1:2])


def test_statistics_see_noise_and_not_where_things_are():
    look = StatisticsEncoder("statistics").eval()
    smooth = torch.linspace(0, 1, 128).expand(1, 3, 128, 128)
    noisy = smooth + 0.1 * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(0))
    here, there = look(noisy[..., :63, :63]), look(noisy[..., 32:95, :63])
    clean = look(smooth[..., :63, :63])
    assert (here - there).norm() < 0.5 * (here - clean).norm()


def test_statistics_of_areas_tell_noise_from_texture_of_the_same_energy():
    look = StatisticsEncoder("local_statistics").eval()
    grain = torch.randn(1, 3, 63, 63, generator=torch.Generator().manual_seed(0))
    noise = 0.5 + 0.05 * grain  # everywhere
    texture = 0.5 + 0.05 * 2**0.5 * grain * (torch.arange(63) < 32)  # on one half
    difference = (look.measure(noise) - look.measure(texture)).abs()[0]
    of_all, of_areas = difference[:232], difference[232:]
    assert of_areas.mean() > 4 * of_all.mean()


@pytest.mark.parametrize("encoder", get_args(EncoderName))
def test_different_images_get_different_values_after_training_steps(encoder):
    """Large activations used to saturate the LSTM: then every image gets the same values."""
    torch.manual_seed(0)
    net = RecurrentQNet(3, encoder)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    dark, bright = torch.full((8, 3, 63, 63), 0.2), torch.full((8, 3, 63, 63), 0.8)
    images = torch.cat([dark, bright]) + 0.02 * torch.randn(16, 3, 63, 63)
    targets = torch.tensor([[2.0, -2, 0, 0]] * 8 + [[-2.0, 2, 0, 0]] * 8)
    for _ in range(60):
        values, _ = net(images, torch.full((16,), 3), LstmState.zeros(16))
        loss = (values - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert values.argmax(dim=1).tolist() == [0] * 8 + [1] * 8


def test_an_unknown_encoder_is_named():
    with pytest.raises(UnknownNameError, match="statistics"):
        RecurrentQNet(3, "statistcs")  # type: ignore[arg-type]


def test_stop_as_previous_action_is_the_same_as_no_previous_action():
    net, state = RecurrentQNet(3, "rl_restore"), LstmState.zeros(1)
    torch.nn.init.normal_(net.head.weight)
    embedding = torch.rand(1, net.encoder.out_features)
    start, _ = net.remember(embedding, torch.tensor([3]), state)
    by_hand = net.lstm(torch.cat([embedding, torch.zeros(1, 3)], dim=1), tuple(state))[0]
    torch.testing.assert_close(start, net.head(by_hand))
    after_a_tool, _ = net.remember(embedding, torch.tensor([1]), state)
    assert not torch.allclose(start, after_a_tool)


def test_masking_forgets_exactly_the_rows_asked_for():
    state = LstmState(torch.ones(3, 50), torch.ones(3, 50))
    kept = state.masked(torch.tensor([True, False, True]))
    assert kept.hidden.sum(dim=1).tolist() == [50, 0, 50]
    assert kept.cell.sum(dim=1).tolist() == [50, 0, 50]


def test_muon_takes_the_matrices_of_the_encoder_and_nothing_else():
    net = RecurrentQNet(3)
    others = [part for part in net.children() if part is not net.encoder]
    groups = make_optimizer("muon", net.encoder, others, 1e-3).param_groups
    matrices, rest = (
        {id(p) for group in groups if group["orthogonal"] == kind for p in group["params"]}
        for kind in (True, False)
    )
    assert matrices == {id(p) for p in net.encoder.parameters() if p.ndim >= 2}
    assert matrices | rest == {id(p) for p in net.parameters()}
    with pytest.raises(UnknownNameError, match="muon"):
        make_optimizer("sgd", net.encoder, others, 1e-3)
