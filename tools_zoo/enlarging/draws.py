"""What the losses of a training draw at random: from the seed, the step, and who draws."""

from typing import Final

import torch

_SPREAD: Final = 0x9E3779B1
"""2^32 over the golden ratio, odd: neighbouring seeds end up far from each other. The generator
looks at the lower 32 bits only, of which the step fills the upper half."""


def step_generator(seed: int, step: int, who: int) -> torch.Generator:
    """Random numbers of one step of one run, so that runs resume.

    Args:
        seed: Seed of the run; 0 to 2^32 - 1 differ.
        step: Index of the batch; of 65536 in a row, all differ.
        who: Number of the one who draws, 0 to 65535.

    Returns:
        A generator on the CPU.
    """
    mixed = ((step << 16) + who) ^ (seed * _SPREAD % 2**32)
    return torch.Generator().manual_seed(mixed)
