"""A training that begins with the averaged weights in the checkpoint of another one's run."""

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.enlarging.one_step import TEACHER_RUN
from restoration_toolchain.tools_zoo.networks.one_step import OneStepNet
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT, network_weights


def network_of_run(spec: ToolSpec, folder: Path) -> nn.Module:
    """Load the averaged weights of a run; nothing is unpickled but tensors and plain data.

    Args:
        spec: The tool that was trained there.
        folder: Its run folder; with the teacher's below it, if the tool has one.

    Raises:
        ToolchainError: A checkpoint is missing or damaged, or is that of another network.
    """
    network = Tool(spec).network
    parts: dict[Path, nn.Module] = {folder: network}
    if isinstance(network, OneStepNet):
        parts = {folder: network.student, folder / TEACHER_RUN: network.teacher}
    for place, part in parts.items():
        try:
            part.load_state_dict(_averaged(place / CHECKPOINT))
        except RuntimeError as error:
            raise ToolchainError(
                f"the run in {folder} has another network than {spec.name!r}"
            ) from error
    return network


def _averaged(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")["averaged"]
    except FileNotFoundError as error:
        raise ToolchainError(f"no weights to start from: there is no {path}") from error
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise ToolchainError(f"{path} is damaged, or no checkpoint of a tool") from error
    return network_weights(state)
