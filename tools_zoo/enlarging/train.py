"""The trainer of tools that make images larger."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from torch import nn

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.enlarging.build_terms import build_terms
from restoration_toolchain.tools_zoo.enlarging.config import (
    OneStepTrainConfig,
    SftTrainConfig,
    SrTrainConfig,
)
from restoration_toolchain.tools_zoo.enlarging.objective import SrObjective
from restoration_toolchain.tools_zoo.enlarging.one_step import train_one_step
from restoration_toolchain.tools_zoo.enlarging.sft import train_sft
from restoration_toolchain.tools_zoo.enlarging.stages import Stage
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.training.loop import OnStep, make_fabric


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

    Args:
        spec: Tool to train.
        config: Settings; their kind says what is trained first (`enlarging.sft.train_sft`,
            `enlarging.one_step.train_one_step`).
        run_path: Run folder.
        init: Network whose weights are the starting point. It may lack layers that this one has
            (`Stage.load_start`).
        resume: Go on from the checkpoint in ``run_path``.
        on_step: Called with (step, total, newest metrics) after every optimiser step.

    Returns:
        The tool with averaged weights, on the CPU, frozen.

    Raises:
        ToolchainError: The store is unusable, ``init`` has other layers, an encoder is missing, the
            tool is of another kind than the settings, or `train_module` fails.
    """
    if config.classification > 0.0 and not isinstance(config, SftTrainConfig):
        raise ToolchainError(f"{spec.name!r} knows no categories; set classification to 0")
    stage = Stage(
        name=spec.name,
        config=config,
        run_path=run_path,
        fabric=make_fabric(config),
        resume=resume,
        on_step=on_step,
    )
    train = _TRAINERS.get(type(config), _train_plain)
    return Tool(spec, train(Tool(spec).network, stage, init)).eval()


def _train_plain(network: nn.Module, stage: Stage, init: nn.Module | None) -> nn.Module:
    if init is not None:
        stage.load_start(network, init)
    encoder, config = stage.load_encoder(), stage.config
    terms = build_terms(config, encoder)
    return stage.train(network, SrObjective(config, network.scale, terms, encoder))  # type: ignore[arg-type]


_TRAINERS: Final[
    dict[type[SrTrainConfig], Callable[[nn.Module, Stage, nn.Module | None], nn.Module]]
] = {SftTrainConfig: train_sft, OneStepTrainConfig: train_one_step}
