"""Train the tools of a plan one after the other, and keep them in a toolbox folder."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.catalog import TOOLBOXES
from restoration_toolchain.tools_zoo.enlarging.config import SrTrainConfig
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import IQA_FOLDER
from restoration_toolchain.tools_zoo.enlarging.train import train_sr_tool
from restoration_toolchain.tools_zoo.origin import Origin, joined, origin_of_store
from restoration_toolchain.tools_zoo.recipes.plan import SPECS, SR_BASE, TrainingJob
from restoration_toolchain.tools_zoo.recipes.run_start import network_of_run
from restoration_toolchain.tools_zoo.storage import (
    MANIFEST,
    load_toolbox,
    load_weights,
    read_notes,
    read_origin,
    save_toolbox,
    toolbox_folder,
)
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from restoration_toolchain.tools_zoo.training.config import NOT_NOTED
from restoration_toolchain.tools_zoo.training.errors import (
    NotANumberError,
    NothingToResumeError,
    RunTakenError,
)
from restoration_toolchain.tools_zoo.training.loop import is_main_process
from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT
from restoration_toolchain.tools_zoo.training.supervised import train_tool

OnToolStep = Callable[[str, int, int, dict[str, float]], None]
"""Called with (tool, step, total, newest metrics)."""

_SCORES = ("psnr", "gain", "detail", "feature_distance")
"""What a validation says of a tool, by the beginnings of its names."""


@dataclass(frozen=True, slots=True)
class TrainedTool:
    """A tool and what its last validation said.

    Attributes:
        tool: Tool with averaged weights.
        metrics: ``psnr_own``, ``gain_own``, ``psnr_chain``, ``gain_chain`` in dB, and of a tool
            that makes images larger, ``detail`` and ``feature_distance``.
    """

    tool: Tool
    metrics: Mapping[str, float]


def train_tools(
    jobs: Sequence[TrainingJob],
    run_path: Path,
    toolbox_path: Path,
    *,
    include: str | None = None,
    resume: bool = False,
    on_step: OnToolStep = lambda name, step, total, metrics: None,
) -> list[TrainedTool]:
    """Train every tool of a plan, each in a folder of its own below ``run_path``.

    The toolbox folder is brought up to date after each tool, so that an interruption loses none
    that is finished; tools that lie there already and are not trained here stay.

    Args:
        jobs: Tools to train, in order.
        run_path: Folder of the run folders.
        toolbox_path: Toolbox folder to write or update.
        include: Toolbox whose tools are put in as they are, each unless one of its name is there.
        resume: Go on: finished tools are kept, the interrupted one continues.
        on_step: Progress.

    Raises:
        ToolchainError: A run folder is taken or does not fit, starting weights are missing or
            have another shape, or the store is unusable.
        NotANumberError: A loss or its gradient stops being a number; the message says where the
            last good weights are, if there are any.
    """
    if resume and not any(_has_checkpoint(run_path, job) for job in jobs):
        raise NothingToResumeError(f"nothing to resume in {run_path}")
    for job in jobs:
        if not resume and _has_checkpoint(run_path, job):
            raise RunTakenError(f"{run_path / job.spec.name} already holds a run")
    if (toolbox_path / MANIFEST).exists():
        load_toolbox(toolbox_path)  # a damaged one is better found now than after the training
    if include is not None:
        _include(toolbox_path, include)
    trained: dict[str, TrainedTool] = {}
    origins: list[Origin] = []  # of those that others only start from, too
    for job in jobs:
        name = job.spec.name
        origins += _origins(job, trained, toolbox_path)
        try:
            train: Any = train_sr_tool if isinstance(job.config, SrTrainConfig) else train_tool
            tool = train(
                job.spec,
                job.config,
                run_path / name,
                init=_starting_network(job, trained, toolbox_path),
                resume=resume and _has_checkpoint(run_path, job),
                on_step=lambda step, total, metrics, name=name: on_step(name, step, total, metrics),
            )
        except NotANumberError as error:
            raise NotANumberError(f"{error}{_way_on(job, run_path / name)}") from error
        trained[name] = TrainedTool(tool, _last_metrics(run_path / name))
        if job.keep and is_main_process():
            notes = _notes(job, trained[name].metrics)
            _update_toolbox(toolbox_path, {name: tool}, {name: notes}, joined(origins))
            if (run_path / name / IQA_FOLDER).is_dir():
                shutil.copytree(
                    run_path / name / IQA_FOLDER, toolbox_path / IQA_FOLDER, dirs_exist_ok=True
                )
    return list(trained.values())


def _way_on(job: TrainingJob, run_path: Path) -> str:
    """What is left of a run that failed; nothing where it left no weights of the whole tool."""
    try:
        network_of_run(job.spec, run_path)
    except ToolchainError:
        return ""
    return f"; {job.spec.name} can start again from {run_path}"


def _has_checkpoint(run_path: Path, job: TrainingJob) -> bool:
    # Some trainings have parts, each in a folder of its own.
    return any((run_path / job.spec.name).rglob(CHECKPOINT))


def _starting_network(
    job: TrainingJob, trained: Mapping[str, TrainedTool], toolbox_path: Path
) -> nn.Module | None:
    if job.init is None:
        return None
    if job.init in trained:
        return trained[job.init].tool.network
    if (toolbox_path / MANIFEST).exists():
        kept = load_toolbox(toolbox_path)  # trained here before
        if job.init in kept.names:
            return kept[job.init].network
    if job.init in SPECS:
        home = next(name for name, specs in TOOLBOXES.items() if SPECS[job.init] in specs)
        return load_toolbox(home)[job.init].network
    path = Path(job.init)
    if (path / CHECKPOINT).is_file():
        return network_of_run(job.spec, path)
    if path.is_dir():
        there = load_toolbox(path)
        if job.spec.task != "sr" or job.spec.name in there.names:
            return there[job.spec.name].network
        # A tool of another scale has nothing there to start from.
        return there[SR_BASE].network if there[SR_BASE].spec.scale == job.spec.scale else None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ToolchainError(
            f"no starting weights {job.init!r}: neither a tool ({', '.join(SPECS)}), nor a "
            "safetensors file, nor the folder of a toolbox or of one tool's run"
        ) from error
    network = Tool(job.spec).network
    load_weights(network, content, path)
    return network


def _origins(
    job: TrainingJob, trained: Mapping[str, TrainedTool], toolbox_path: Path
) -> list[Origin]:
    """The origin of the store of a tool, and of starting weights from elsewhere."""
    learnt = origin_of_store(job.config.store)
    if job.init is None or job.init in trained:
        return [learnt]
    if (toolbox_path / MANIFEST).exists() and job.init in read_notes(toolbox_path):
        return [learnt, read_origin(toolbox_path)]
    if job.init in SPECS:
        home = next(name for name, specs in TOOLBOXES.items() if SPECS[job.init] in specs)
        return [learnt, read_origin(toolbox_folder(home))]
    there = Path(job.init)
    return [learnt, read_origin(there) if (there / MANIFEST).is_file() else Origin()]


def _last_metrics(run_path: Path) -> dict[str, float]:
    lines = (run_path / "metrics.jsonl").read_text().splitlines()
    metrics: dict[str, float] = json.loads(lines[-1])
    return {key: value for key, value in metrics.items() if key.startswith(_SCORES)}


def _notes(job: TrainingJob, metrics: Mapping[str, float]) -> dict[str, Any]:
    config = dataclasses.asdict(job.config)
    return {
        "trained": {key: value for key, value in config.items() if key not in NOT_NOTED},
        # A path of this machine means nothing elsewhere; its last part says enough.
        "init": Path(job.init).name if job.init else None,
        "validation": {key: round(value, 3) for key, value in metrics.items()},
    }


def _include(folder: Path, name: str) -> None:
    there = load_toolbox(folder).names if (folder / MANIFEST).exists() else ()
    notes = read_notes(toolbox_folder(name))
    new = {tool.spec.name: tool for tool in load_toolbox(name) if tool.spec.name not in there}
    if new:
        kept = {tool: notes.get(tool, {}) for tool in new}
        _update_toolbox(folder, new, kept, read_origin(toolbox_folder(name)))


def _update_toolbox(
    folder: Path,
    new: Mapping[str, Tool],
    notes: Mapping[str, Mapping[str, Any]],
    origin: Origin,
) -> None:
    tools: dict[str, Tool] = {}
    all_notes: dict[str, Mapping[str, Any]] = {}
    name = folder.resolve().name
    if (folder / MANIFEST).exists():
        toolbox = load_toolbox(folder)
        tools = {other.spec.name: other for other in toolbox}
        all_notes.update(read_notes(folder))
        name, origin = toolbox.name, joined([read_origin(folder), origin])
    tools.update(new)
    all_notes.update(notes)
    known = list(SPECS)
    # A new tool takes the place that the catalogue gives it, whatever the order of training.
    order = sorted(tools, key=lambda key: known.index(key) if key in known else len(known))
    toolbox = Toolbox(name, [tools[key] for key in order])
    save_toolbox(toolbox, folder, all_notes, origin=origin)
