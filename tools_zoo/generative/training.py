"""The trainer of tools that make images larger."""

from pathlib import Path
from typing import Final

from torch import nn

from data.errors import ToolchainError
from tools_zoo.critics.features import FeatureCritic
from tools_zoo.critics.prompts import PromptPair
from tools_zoo.encoders import SemanticEncoder, load_encoder
from tools_zoo.generative.build_terms import build_terms
from tools_zoo.generative.config import SrTrainConfig
from tools_zoo.generative.iqa import SfdIqa, save_iqa
from tools_zoo.generative.objective import SrObjective
from tools_zoo.tool import Tool, ToolSpec
from tools_zoo.training_loop import OnStep, make_fabric, train_module

IQA_FOLDER: Final = "sfd_iqa"
"""Below a run folder or a toolbox folder: the score that SFD's critics give."""


def train_sr_tool(
    spec: ToolSpec,
    config: SrTrainConfig,
    run_path: Path,
    *,
    init: nn.Module | None = None,
    resume: bool = False,
    on_step: OnStep = lambda step, total, metrics: None,
) -> Tool:
    """Train a tool that makes images larger, towards all that its configuration gives a weight.

    As `tools_zoo.training.train_tool`: Ctrl-C leaves a checkpoint, and a resumed run computes what
    an uninterrupted one would have computed.

    Args:
        spec: The tool.
        config: How to train it.
        run_path: Run folder.
        init: Network whose weights are the starting point. It may lack layers that this one has
            (`load_start`).
        resume: Go on from the checkpoint in ``run_path``.
        on_step: Called with (step, total, newest metrics) after every optimiser step.

    Returns:
        The tool with averaged weights, on the CPU.

    Raises:
        ToolchainError: The run folder does not fit, the store is unusable, ``init`` has other
            layers, an encoder is missing, or a loss stops being a number.
    """
    fabric = make_fabric(config)
    tool = Tool(spec)
    if init is not None:
        load_start(tool.network, init, spec.name)
    encoder = encoder_for(config)
    objective = SrObjective(config, spec.scale, build_terms(config, encoder), encoder)
    if isinstance(encoder, nn.Module):
        encoder.to(fabric.device)
    averaged = train_module(
        tool,
        objective,
        config,
        run_path,
        fabric,
        num_steps=config.num_batches,
        resume=resume,
        adversary=objective if len(objective.critics) else None,
        on_step=on_step,
    )
    assert isinstance(averaged, Tool)
    save_score(objective, encoder, run_path)
    return averaged


def save_score(objective: SrObjective, encoder: SemanticEncoder | None, run_path: Path) -> None:
    """Keep the critics of features as a score without a reference, if there are both."""
    critics = dict(objective.critics.items())
    features, prompts = critics.get("feature_discrimination"), critics.get("text_guided")
    if isinstance(features, FeatureCritic) and isinstance(prompts, PromptPair):
        assert encoder is not None
        save_iqa(SfdIqa(encoder, features, prompts), run_path / IQA_FOLDER)


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
