"""Train the tools of a plan one after the other, and keep them in a toolbox folder."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from data.errors import ToolchainError
from tools_zoo.catalog import TOOLBOXES
from tools_zoo.recipe import SPECS, TrainingJob
from tools_zoo.storage import MANIFEST, load_toolbox, load_weights, read_notes, save_toolbox
from tools_zoo.tool import Tool
from tools_zoo.toolbox import Toolbox
from tools_zoo.training import train_tool

OnToolStep = Callable[[str, int, int, dict[str, float]], None]
"""Called with (tool, step, total, newest metrics)."""

_NOTED = (
    "total_patches",
    "batch_size",
    "learning_rate",
    "loss",
    "mixed",
    "jitter",
    "residual_scale",
    "seed",
)


@dataclass(frozen=True, slots=True)
class TrainedTool:
    """A tool and what its last validation said.

    Attributes:
        tool: With averaged weights.
        metrics: ``psnr_own``, ``gain_own``, ``psnr_chain``, ``gain_chain`` in dB.
    """

    tool: Tool
    metrics: Mapping[str, float]


def train_tools(
    jobs: Sequence[TrainingJob],
    run_path: Path,
    toolbox_path: Path,
    *,
    resume: bool = False,
    on_step: OnToolStep = lambda name, step, total, metrics: None,
) -> list[TrainedTool]:
    """Train every tool of a plan, each in a folder of its own below ``run_path``.

    The toolbox folder is brought up to date after each tool, so that an interruption loses none
    that is finished; tools that lie there already and are not trained here stay.

    Args:
        jobs: The plan.
        run_path: Where the run folders go.
        toolbox_path: The toolbox folder.
        resume: Go on: finished tools are kept, the interrupted one continues.
        on_step: Progress.

    Raises:
        ToolchainError: A run folder is taken or does not fit, starting weights are missing or
            have another shape, the store is unusable, or a loss stops being a number.
    """
    if resume and not any(_has_checkpoint(run_path, job) for job in jobs):
        raise ToolchainError(f"nothing to resume in {run_path}; leave out --resume to start")
    taken = [job.spec.name for job in jobs if _has_checkpoint(run_path, job)]
    if taken and not resume:
        raise ToolchainError(
            f"{run_path} already holds a run of {taken[0]}; add --resume or choose another --run"
        )
    if (toolbox_path / MANIFEST).exists():
        load_toolbox(toolbox_path)  # a damaged one is better found now than after the training
    trained: dict[str, TrainedTool] = {}
    for job in jobs:
        name = job.spec.name
        tool = train_tool(
            job.spec,
            job.config,
            run_path / name,
            init=_starting_network(job, trained, run_path),
            resume=resume and _has_checkpoint(run_path, job),
            on_step=lambda step, total, metrics, name=name: on_step(name, step, total, metrics),  # type: ignore[misc]
        )
        trained[name] = TrainedTool(tool, _last_metrics(run_path / name))
        if job.keep:
            _update_toolbox(toolbox_path, tool, _notes(job, trained[name].metrics))
    return list(trained.values())


def _has_checkpoint(run_path: Path, job: TrainingJob) -> bool:
    return (run_path / job.spec.name / "checkpoint.pt").is_file()


def _starting_network(
    job: TrainingJob, trained: Mapping[str, TrainedTool], run_path: Path
) -> nn.Module | None:
    if job.init is None:
        return None
    if job.init in trained:
        return trained[job.init].tool.network
    if job.init in SPECS:
        return load_toolbox(_home_of(job.init))[job.init].network
    path = Path(job.init)
    if path.is_dir():
        return load_toolbox(path)[job.spec.name].network
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ToolchainError(
            f"no starting weights {job.init!r}: neither a tool ({', '.join(SPECS)}), nor a "
            "safetensors file, nor a toolbox folder"
        ) from error
    network = Tool(job.spec).network
    load_weights(network, content, path)
    return network


def _home_of(tool: str) -> str:
    return next(name for name, specs in TOOLBOXES.items() if SPECS[tool] in specs)


def _last_metrics(run_path: Path) -> dict[str, float]:
    lines = (run_path / "metrics.jsonl").read_text().splitlines()
    metrics: dict[str, float] = json.loads(lines[-1])
    return {key: value for key, value in metrics.items() if key.startswith(("psnr", "gain"))}


def _notes(job: TrainingJob, metrics: Mapping[str, float]) -> dict[str, Any]:
    config = dataclasses.asdict(job.config)
    return {
        "trained": {key: config[key] for key in _NOTED},
        # A path of this machine means nothing elsewhere; its last part says enough.
        "init": Path(job.init).name if job.init else None,
        "validation": {key: round(value, 3) for key, value in metrics.items()},
    }


def _update_toolbox(folder: Path, tool: Tool, notes: Mapping[str, Any]) -> None:
    tools, all_notes, name = {}, {}, folder.resolve().name
    if (folder / MANIFEST).exists():
        toolbox = load_toolbox(folder)
        tools = {other.spec.name: other for other in toolbox}
        all_notes = read_notes(folder)
        name = toolbox.name
    tools[tool.spec.name] = tool
    all_notes[tool.spec.name] = dict(notes)
    known = list(SPECS)
    # A new tool takes the place that the catalogue gives it, whatever the order of training.
    order = sorted(tools, key=lambda key: known.index(key) if key in known else len(known))
    save_toolbox(Toolbox(name, [tools[key] for key in order]), folder, all_notes)
