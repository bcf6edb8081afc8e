"""The trainer of tools that make images larger."""

from pathlib import Path

from torch import nn

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.enlarging.build_terms import build_terms
from restoration_toolchain.tools_zoo.enlarging.config import SrTrainConfig
from restoration_toolchain.tools_zoo.enlarging.objective import SrObjective
from restoration_toolchain.tools_zoo.enlarging.stages import run_stage
from restoration_toolchain.tools_zoo.enlarging.start import encoder_for, load_start
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

    As `training.supervised.train_tool`: Ctrl-C leaves a checkpoint, and a resumed run computes what
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
    if config.classification > 0.0:
        raise ToolchainError(f"{spec.name!r} knows no categories; set classification to 0")
    fabric = make_fabric(config)
    tool = Tool(spec)
    if init is not None:
        load_start(tool.network, init, spec.name)
    encoder = encoder_for(config)
    objective = SrObjective(config, spec.scale, build_terms(config, encoder), encoder)
    averaged = run_stage(
        tool.network, objective, config, run_path, fabric, resume=resume, on_step=on_step
    )
    return Tool(spec, averaged).eval()
