import torch

from agents.q_net import LstmState, RecurrentQNet


def test_the_network_has_the_published_number_of_parameters():
    count = sum(parameter.numel() for parameter in RecurrentQNet(12).parameters())
    # The original counts 87,863; PyTorch's LSTM cell has a second bias vector of 4 * 50.
    assert count == 87_863 + 200


def test_the_convolutions_end_at_four_by_four():
    assert RecurrentQNet(12).embed(torch.rand(2, 3, 63, 63)).shape == (2, 32)


def test_stop_as_previous_action_is_the_same_as_no_previous_action():
    net, state = RecurrentQNet(3), LstmState.zeros(1)
    torch.nn.init.normal_(net.head.weight)
    embedding = torch.rand(1, 32)
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
