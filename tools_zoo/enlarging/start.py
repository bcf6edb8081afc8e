"""What trainings of tools that make images larger begin with: weights, and an encoder."""

from torch import nn

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.encoders import SemanticEncoder, load_encoder
from restoration_toolchain.tools_zoo.enlarging.config import SrTrainConfig


def load_start(network: nn.Module, init: nn.Module, name: str) -> list[str]:
    """Copy the weights of a network into one that has all its layers, and maybe more.

    Args:
        network: Changed.
        init: Where the weights come from.
        name: Of the tool, for errors.

    Returns:
        Names of the parameters that ``init`` lacks.

    Raises:
        ToolchainError: ``init`` has layers that the network lacks, or of another shape.
    """
    try:
        missing, unexpected = network.load_state_dict(init.state_dict(), strict=False)
    except RuntimeError as error:
        raise ToolchainError(f"the starting weights do not fit {name!r}") from error
    if unexpected or len(missing) == len(network.state_dict()):
        raise ToolchainError(f"the starting weights do not fit {name!r}")
    return [str(key) for key in missing]


def encoder_for(config: SrTrainConfig) -> SemanticEncoder | None:
    """The encoder that a configuration needs; None if it looks at pixels only."""
    looks = (
        config.perceptual,
        config.semantic,
        config.feature_discrimination,
        config.text_guided,
    )
    return load_encoder(config.encoder) if any(looks) else None
