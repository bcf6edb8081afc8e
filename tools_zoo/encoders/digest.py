"""What tells encoders of one name apart: a digest of their weights."""

import hashlib
from typing import Final

from torch import Tensor, nn

from restoration_toolchain.tools_zoo.encoders.semantics import SemanticEncoder

LENGTH: Final = 16
"""Hexadecimal digits: enough to tell models apart, and short enough to read."""


def encoder_digest(encoder: SemanticEncoder) -> str:
    """Digest of an encoder's weights, wherever they lie and whatever they are called.

    Libraries rename layers and add buffers of integers from version to version, so that neither
    names nor integers count; numbers of 16 bits count as the same numbers of 32.

    Returns:
        Hexadecimal digits; none for an encoder that is no network.
    """
    if not isinstance(encoder, nn.Module):
        return ""
    values = (value for value in encoder.state_dict().values() if value.is_floating_point())
    parts = sorted(_digest(value) for value in values)
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:LENGTH]


def _digest(value: Tensor) -> str:
    content = value.detach().cpu().float().contiguous().numpy()
    return hashlib.sha256(repr(content.shape).encode() + content.tobytes()).hexdigest()
