"""Pairs for the environments."""

import numpy as np
import pytest

from restoration_toolchain.data.patches.pairs import ArrayPairs


@pytest.fixture
def pairs() -> ArrayPairs:
    """Twelve noisy patches of 63x63 and their clean partners."""
    rng = np.random.default_rng(0)
    gt = np.repeat(np.repeat(rng.integers(40, 216, (12, 9, 9, 3)), 7, axis=1), 7, axis=2)
    lq = np.clip(gt + rng.normal(0.0, 20.0, gt.shape), 0, 255)
    return ArrayPairs(lq.astype(np.uint8), gt.astype(np.uint8))
