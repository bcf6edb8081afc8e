"""``toolchain evaluate --suite``: every comparison in one run, written to a folder."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from restoration_toolchain.toolchain.cli.errors import fail

if TYPE_CHECKING:
    from restoration_toolchain.data.patches.store import Patches
    from restoration_toolchain.toolchain.measuring.suite import LevelSet, SuiteResults

SUITES: Final = ("paper",)
SUITE_OPTIONS: Final = (
    "output_folder",
    "drqn",
    "ppo",
    "before",
    "baselines",
    "oracle_count",
    "plots",
    "overwrite",
)
"""Parameters of ``toolchain evaluate`` that only a suite has a use for."""

OTHER_OPTIONS: Final = (
    "players",
    "restore",
    "output",
    "scale",
    "prefer",
    "iqa",
    "iqa_encoder",
    "prior",
    "steps",
)
"""Parameters that a suite has no use for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRequest:
    """What the command line asked for; see its options."""

    lq: Path | None
    gt: Path | None
    levels: Sequence[str]
    clean_windows: "Callable[[], Patches]"
    seed: int
    agent: str | None
    toolbox: str
    drqn: Path | None
    ppo: Path | None
    before: Path | None
    baselines: str | None
    oracle_count: int
    max_steps: int
    device: str
    precision: str
    output: Path
    plots: bool
    overwrite: bool


def refuse_stray_options(ctx: typer.Context, suite: str | None) -> None:
    """End the command if an option was given that the kind of evaluation has no use for."""
    stray = SUITE_OPTIONS if suite is None else OTHER_OPTIONS
    for name in stray:
        if _was_given(ctx, name):
            flag = _flag_of(ctx, name)
            fail(f"{flag} goes with --suite" if suite is None else f"{flag} is not for --suite")


def run(ctx: typer.Context, suite: str, request: SuiteRequest) -> None:
    """Measure everything, write the folder and print the tables."""
    from restoration_toolchain.data.errors import UnknownNameError
    from restoration_toolchain.toolchain.cli.progress import Steps
    from restoration_toolchain.toolchain.measuring.suite import SuiteConfig, load_cast, run_suite
    from restoration_toolchain.toolchain.measuring.suite.plots import check_plotting
    from restoration_toolchain.toolchain.measuring.suite.report import check_folder, write_report
    from restoration_toolchain.tools_zoo.device import choose_device, choose_precision

    if suite not in SUITES:
        raise UnknownNameError("suite", suite, SUITES)
    check_folder(request.output, overwrite=request.overwrite)
    if request.plots:
        check_plotting()
    cast = load_cast(
        request.toolbox,
        request.agent,
        drqn=request.drqn,
        ppo=request.ppo,
        before=request.before,
        baselines=request.baselines,
    )
    device = choose_device(request.device)
    config = SuiteConfig(
        oracle_count=request.oracle_count,
        max_steps=request.max_steps,
        seed=request.seed,
        device=str(device),
        precision=choose_precision(request.precision, device),
    )
    with Steps("") as steps:
        results = run_suite(
            cast,
            _level_sets(request),
            config,
            facts={"command": _command(ctx)},
            on_progress=lambda title, done, total, note: steps.update(
                done, total, note, title=title
            ),
        )
    paths = write_report(results, request.output, plots=request.plots)
    _print(results)
    typer.echo(f"written: {', '.join(map(str, paths))}")


def _level_sets(request: SuiteRequest) -> "list[LevelSet]":
    from restoration_toolchain.toolchain.measuring.suite import degraded_levels, folder_level

    if request.lq is not None and request.gt is not None:
        return [folder_level(request.lq, request.gt)]
    return degraded_levels(request.clean_windows(), request.levels, request.seed)


def _was_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _flag_of(ctx: typer.Context, name: str) -> str:
    (parameter,) = (p for p in ctx.command.params if p.name == name)
    return max(parameter.opts, key=len)


def _command(ctx: typer.Context) -> str:
    """The command line that was given, but for where the results go."""
    words = ["toolchain", "evaluate"]
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name in ("output_folder", "overwrite") or not _was_given(ctx, name):
            continue
        value = ctx.params[name]
        if parameter.param_type_name == "argument":
            words.append(str(value))
        elif isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        else:
            for one in value if isinstance(value, list | tuple) else [value]:
                words += [_flag_of(ctx, name), str(one)]
    return shlex.join(words)


def _print(results: "SuiteResults") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for level in results.levels:
        rows = results.of_level(level)
        table = Table(title=f"{level}, {rows[0].count} patches", box=None, header_style="bold")
        table.add_column("", no_wrap=True)
        for column in ("PSNR", "SSIM", "gain", "worse", "G MACs", "ms"):
            table.add_column(column, justify="right", no_wrap=True)
        for row in rows:
            few = "" if row.count == rows[0].count else f" ({row.count} patches)"
            table.add_row(
                row.label + few,
                f"{row.psnr:.2f}",
                "-" if row.ssim is None else f"{row.ssim:.3f}",
                f"{row.gain:+.2f}",
                f"{row.share_worse:.1%}",
                f"{row.macs / 1e9:.2f}",
                "-" if row.milliseconds is None else f"{row.milliseconds:,.0f}",
            )
        console.print(table)
        console.print()
    for share in results.oracle:
        if share.share is not None:
            console.print(
                f"{share.level}: the agent takes {share.share:.0%} of the gain that the best "
                f"sequences have on the same {share.count} patches",
                highlight=False,
            )
    for remark in results.remarks:
        console.print(remark, style="dim", highlight=False, markup=False)
