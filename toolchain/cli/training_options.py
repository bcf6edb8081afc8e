"""What the commands that train have in common: options, settings, and progress."""

import dataclasses
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import typer

from restoration_toolchain.toolchain.cli.errors import STATUS_INTERRUPTED, fail

Config = TypeVar("Config")
Result = TypeVar("Result")

ConfigOption: TypeAlias = Annotated[
    str | None, typer.Option(help="TOML file of options; --set and the flags win over it.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """Options of whatever learns."""

    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other option, such as learning_rate=0.001; may be given repeatedly.",
        ),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.", min=0)] = None
    device: Annotated[str | None, typer.Option(help="Where to compute: auto, cpu, cuda.")] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was interrupted.")
    ] = False

    def overrides(self, **flags: Any) -> dict[str, Any]:
        """What wins over a file: what --set says, and over that all flags that were given."""
        from restoration_toolchain.tools_zoo.training.run_folder import merge_options

        flags = {**dataclasses.asdict(self), **flags}
        for name in ("settings", "resume"):  # which say nothing about the config
            del flags[name]
        given = {name: value for name, value in flags.items() if value is not None}
        return merge_options(parse_settings(self.settings or []), given)

    def resolve(
        self, kind: type[Config], file: str | Mapping[str, Any] | None, **flags: Any
    ) -> Config:
        """Settings of a run: those of a TOML file, or read before, and what wins over them."""
        from restoration_toolchain.tools_zoo.device import choose_device
        from restoration_toolchain.tools_zoo.training import run_folder

        read = run_folder.load_toml(Path(file)) if isinstance(file, str) else file or {}
        values = run_folder.merge_options(read, self.overrides(**flags))
        known = run_folder.option_names(kind)
        if "store" in known:
            more = "; to try it out: --store embedded" if "n_envs" in known else ""
            check_store(values, more)
        chosen = run_folder.config_from_dict(kind, values)
        choose_device(chosen.device)  # type: ignore[attr-defined]
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(JobOptions):
    """Options of a training on a patch store."""

    store: Annotated[
        str | None, typer.Option(help="Patch store to train on (see: toolchain data prepare).")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopOptions(RunOptions):
    """Options of a training of networks on patches."""

    total_patches: Annotated[
        int | None, typer.Option(help="Patches seen: by each tool, or by all chains together.")
    ] = None
    devices: Annotated[int | None, typer.Option(help="Processes to train with.")] = None
    precision: Annotated[str | None, typer.Option(help="auto (the faster), fp32 or bf16.")] = None


def check_store(values: Mapping[str, Any], more: str = "") -> None:
    """End the command, with a line that may say more, if no patch store was named."""
    if "store" not in values:
        fail(f"no patch store given; add --store FILE (toolchain data prepare makes one{more})")


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE words; values are TOML, and what is no TOML is a string.

    A key with a dot reaches into a table: ``agent.gamma=0.99``.
    """
    from restoration_toolchain.tools_zoo.training.run_folder import merge_options

    values: dict[str, Any] = {}
    for word in settings:
        key, equals, text = word.partition("=")
        for value in (text, json.dumps(text, ensure_ascii=False)) if equals else ():
            try:
                values = merge_options(values, tomllib.loads(f"{key} = {value}"))
                break
            except tomllib.TOMLDecodeError:
                continue
        else:
            fail(f"--set takes KEY=VALUE, got {word!r}")
    return values


def with_progress(
    run: Path, work: Callable[..., Result], metric: str, note: str, *, title: str = ""
) -> Result:
    """Work under a progress bar; Ctrl-C ends with a line that says how to go on.

    Args:
        run: Run folder.
        work: Function to call with an ``on_step``, which gets (name of what is trained, step,
            total, newest metrics), or, where there is a title, all but the name.
        metric: Name of the metric that is shown.
        note: Words for a value of it, with braces around its format.
        title: Name of what is trained.
    """
    from restoration_toolchain.toolchain.cli.progress import Steps
    from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT

    notes: dict[str, str] = {}
    with Steps("") as steps:

        def on_step(name: str, step: int, total: int, metrics: Mapping[str, float]) -> None:
            if metric in metrics:
                notes[name] = note.format(metrics[metric])
            steps.update(step, total, notes.get(name, ""), title=name)

        try:
            return work(on_step=partial(on_step, title) if title else on_step)
        except KeyboardInterrupt:
            steps.stop()  # the line comes below the bar
            if not any(run.rglob(CHECKPOINT)):
                fail("interrupted before anything was learnt", STATUS_INTERRUPTED)
            fail(
                f"interrupted; {run} keeps what was learnt: add --resume to the same command "
                "to go on",
                STATUS_INTERRUPTED,
            )
