"""The optimiser of inner convolutions: what a step looks like, and who takes which."""

import pytest
import torch
from torch import nn

from restoration_toolchain.tools_zoo.networks import build_network
from restoration_toolchain.tools_zoo.training.muon import (
    RATIO,
    Muon,
    orthogonalize,
    parameter_groups,
)


@pytest.mark.parametrize("shape", [(16, 144), (48, 16), (8, 8)])
def test_orthogonalising_keeps_directions_and_evens_out_their_strength(
    shape: tuple[int, int],
) -> None:
    left, _, right = torch.linalg.svd(
        torch.randn(*shape, generator=torch.Generator().manual_seed(0)), full_matrices=False
    )
    strengths = torch.logspace(0.0, -1.5, min(shape))
    result = orthogonalize(1e3 * left * strengths @ right)
    found = left.T @ result @ right.T
    assert found.diagonal().min() > 0.5
    assert found.diagonal().max() < 1.3
    assert (found - found.diagonal().diag()).abs().max() < 0.01


def test_nothing_comes_of_nothing() -> None:
    assert not orthogonalize(torch.zeros(4, 9)).any()


def test_inner_convolutions_alone_are_orthogonal() -> None:
    network = build_network("unshuffled_small")
    groups = parameter_groups(network, 1e-3)
    orthogonal = [p for group in groups if group["orthogonal"] for p in group["params"]]
    named = dict(network.named_parameters())
    inner = [named[n] for n in named if n.startswith("blocks.") and n.endswith(".weight")]
    assert {id(p) for p in orthogonal} == {id(p) for p in inner}
    assert sum(len(group["params"]) for group in groups) == len(named)


def test_a_factor_on_the_learning_rate_goes_by_name() -> None:
    network = build_network("unshuffled_small")
    groups = parameter_groups(network, 1e-3, lambda name: 0.1 if "blocks.0" in name else 1.0)
    slow = sum(len(group["params"]) for group in groups if group["lr"] == pytest.approx(1e-4))
    assert slow == sum(name.startswith("blocks.0") for name, _ in network.named_parameters())


def stack() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
    )


def test_the_size_of_a_step_does_not_depend_on_that_of_the_gradient() -> None:
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    changes = []
    for scale in (1e-3, 1e3):
        network = stack()
        before = network[1].weight.detach().clone()
        optimizer = Muon(parameter_groups(network, 1e-2), lr=1e-2)
        (scale * network(images).square().mean()).backward()
        optimizer.step()
        changes.append(network[1].weight.detach() - before)
    torch.testing.assert_close(changes[0], changes[1], rtol=1e-3, atol=1e-5)
    spectral = torch.linalg.matrix_norm(changes[0].reshape(8, -1), 2)
    assert float(spectral) == pytest.approx(RATIO * 1e-2, rel=0.35)


def test_colours_and_biases_take_the_steps_of_adamw() -> None:
    ours, theirs = stack(), stack()
    optimizers = (
        Muon(parameter_groups(ours, 1e-2), lr=1e-2, weight_decay=0.1),
        torch.optim.AdamW(theirs.parameters(), lr=1e-2, weight_decay=0.1),
    )
    for network, optimizer in zip((ours, theirs), optimizers, strict=True):
        network(torch.ones(1, 3, 8, 8)).square().mean().backward()
        optimizer.step()
    for layer in (0, 2):
        torch.testing.assert_close(ours[layer].weight, theirs[layer].weight)
    torch.testing.assert_close(ours[1].bias, theirs[1].bias)
    assert not torch.equal(ours[1].weight, theirs[1].weight)


def test_what_has_no_gradient_stays_as_it_is() -> None:
    network, unused = stack(), stack()
    together = nn.ModuleList([network, unused])
    groups = [g for part in together for g in parameter_groups(part, 1e-2)]
    optimizer = Muon(groups, lr=1e-2, weight_decay=0.1)
    before = [p.detach().clone() for p in unused.parameters()]
    network(torch.ones(1, 3, 8, 8)).square().mean().backward()
    optimizer.step()
    for old, new in zip(before, unused.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_state_that_is_put_back_goes_on_the_same_way() -> None:
    def learn(network: nn.Sequential, optimizer: Muon, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            network(torch.ones(1, 3, 8, 8)).square().mean().backward()
            optimizer.step()

    whole, first, second = stack(), stack(), stack()
    learn(whole, Muon(parameter_groups(whole, 1e-2), lr=1e-2), 4)
    half = Muon(parameter_groups(first, 1e-2), lr=1e-2)
    learn(first, half, 2)
    second.load_state_dict(first.state_dict())
    rest = Muon(parameter_groups(second, 1e-2), lr=1e-2)
    rest.load_state_dict(half.state_dict())
    learn(second, rest, 2)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
