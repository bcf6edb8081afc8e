import numpy as np
import pytest
import torch
from torch import Tensor

from data.noise_model import KNOTS, RADIUS, NoiseModel
from tools_zoo.noise_pool import NoisePool
from tools_zoo.self_supervised.recorruption import recorruption_error, recorruption_loss

SIGMA = 0.1
STRENGTH = 0.5


def draw(seed: int) -> Tensor:
    return SIGMA * torch.randn(40, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("off", [0.0, 0.05, 0.1])
def test_the_error_is_that_against_the_clean_image_and_the_noise_together(off: float) -> None:
    def denoise(images: Tensor) -> Tensor:
        return torch.full_like(images, 0.5 + off)

    error = recorruption_error(denoise, 0.5 + draw(0), draw(1), strength=STRENGTH)
    assert float(error) == pytest.approx(off**2 + SIGMA**2, rel=0.1)


def test_the_best_linear_denoiser_is_found_without_the_clean_image() -> None:
    """Of images with variance v under noise n, it keeps v / (v + n) of what it sees."""
    spread = 0.2
    clean = 0.5 + spread * torch.randn(40, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    noisy, noise = clean + draw(0), draw(1)
    keep = torch.linspace(0.5, 1.0, 26)
    losses = [
        recorruption_loss(lambda y, k=k: 0.5 + k * (y - 0.5), noisy, noise, strength=STRENGTH)
        for k in keep
    ]
    seen = SIGMA**2 * (1 + STRENGTH**2)
    best = float(keep[int(torch.stack(losses).argmin())])
    assert best == pytest.approx(spread**2 / (spread**2 + seen), abs=0.03)


def test_both_signs_are_seen_so_the_order_of_signs_does_not_matter() -> None:
    noisy, noise = 0.5 + draw(0), draw(1)
    losses = [
        recorruption_loss(lambda y: y.square(), noisy, sign * noise, strength=STRENGTH)
        for sign in (1.0, -1.0)
    ]
    torch.testing.assert_close(losses[0], losses[1])


def test_the_pool_draws_noise_as_strong_as_the_model_says_at_each_level() -> None:
    side = 2 * RADIUS + 1
    kernel = np.zeros((3, 3, side, side), np.float32)
    kernel[range(3), range(3), RADIUS, RADIUS] = 1.0
    deviation = np.tile(np.linspace(0.02, 0.2, KNOTS, dtype=np.float32), (3, 1))
    noise = NoiseModel(deviation, np.full_like(deviation, 1.0 / deviation.size), kernel)
    pool = NoisePool(noise, seed=0)
    images = torch.tensor([0.0, 0.5, 1.0]).reshape(3, 1, 1, 1).expand(3, 3, 120, 120)
    drawn = [pool.draw(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert drawn[0].std(dim=(1, 2, 3)).tolist() == pytest.approx([0.02, 0.11, 0.2], rel=0.03)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
