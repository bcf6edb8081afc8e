"""``toolchain evaluate --suite``: every comparison in one run, written to a folder."""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from restoration_toolchain.toolchain.cli.errors import fail
from restoration_toolchain.toolchain.cli.material import Material
from restoration_toolchain.toolchain.cli.options import OverwriteOption, is_offered
from restoration_toolchain.toolchain.restoring.settings import SETTINGS, RestoreSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from restoration_toolchain.data.patches.world_set import WorldFamily
    from restoration_toolchain.toolchain.measuring.suite import SuiteResults
    from restoration_toolchain.toolchain.measuring.suite.world import Spending, WorldResults
    from restoration_toolchain.tools_zoo.tool import Tool

SUITES: Final = ("paper", "world")

CROPS: Final = 48
"""Patches per family of the suite *world*, where nobody says how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteOptions:
    """Options of ``toolchain evaluate`` that only a suite has a use for."""

    output_folder: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results of --suite.")
    ] = Path("results")
    drqn: Annotated[
        Path | None, typer.Option(help="Agent trained the paper's way, to compare with.")
    ] = None
    ppo: Annotated[
        Path | None, typer.Option(help="Agent trained by recurrent PPO, to compare with.")
    ] = None
    before: Annotated[
        Path | None,
        typer.Option(help="Toolbox folder with its agent in it, from before joint training."),
    ] = None
    baselines: Annotated[
        str | None,
        typer.Option(
            help="Toolbox of single networks to compare with.",
            show_default="the shipped one, if any",
        ),
    ] = None
    oracle_count: Annotated[
        int, typer.Option(help="Most patches per level for the exhaustive oracle.", min=1)
    ] = 64
    photos: Annotated[
        int, typer.Option(help="Whole photos per family of the suite 'world'.", min=0)
    ] = 6
    families: Annotated[
        str | None,
        typer.Option(
            help="Families of the suite 'world', with commas: motion-blur,clean.",
            show_default="all",
        ),
    ] = None
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Folder of networks trained on one family alone each, to compare with (see: "
            "train references)."
        ),
    ] = None
    rival: Annotated[
        Path | None,
        typer.Option(
            help="Toolbox of one network for everything, to compare with in the suite 'world' "
            "(see: train specialists)."
        ),
    ] = None
    efforts: Annotated[
        str | None,
        typer.Option(
            help="Efforts of the suite 'world', with commas: low,medium,high,0.2. The agent is "
            "measured at each: what it gains, by how much arithmetic.",
            show_default="none",
        ),
    ] = None
    plots: Annotated[bool, typer.Option(help="Draw plots; needs matplotlib.")] = True
    overwrite: OverwriteOption = False


OTHER_OPTIONS: Final = (
    *("players", "restore", "output"),
    *(
        name
        for name, setting in SETTINGS.items()
        if is_offered(setting, "evaluate") and not is_offered(setting, "suite")
    ),
)
"""Parameters of ``toolchain evaluate`` that a suite has no use for."""

OWN_OPTIONS: Final = {
    "paper": ("level", "lq", "gt", "drqn", "ppo", "before", "baselines", "oracle_count"),
    "world": ("photos", "families", "reference", "rival", "efforts", "even_if_unsure", "effort"),
}
"""Parameters that only one of the suites has a use for."""


def refuse_stray_options(ctx: typer.Context, suite: str | None) -> None:
    """End the command if an option was given that the kind of evaluation has no use for."""
    stray = [field.name for field in fields(SuiteOptions)] if suite is None else OTHER_OPTIONS
    for name in stray:
        if _was_given(ctx, name):
            flag = _flag_of(ctx, name)
            fail(f"{flag} goes with --suite" if suite is None else f"{flag} is not for --suite")
    for owner, names in OWN_OPTIONS.items():
        for name in names:
            if suite in SUITES and suite != owner and _was_given(ctx, name):
                fail(f"{_flag_of(ctx, name)} is for --suite {owner}, not for --suite {suite}")


def run(
    ctx: typer.Context,
    suite: str,
    material: Material,
    settings: RestoreSettings,
    options: SuiteOptions,
) -> None:
    """Measure everything, write the folder and print the tables."""
    from restoration_toolchain.data.errors import UnknownNameError

    if suite not in SUITES:
        raise UnknownNameError("suite", suite, SUITES)
    (_run_paper if suite == "paper" else _run_world)(ctx, material, settings, options)


def _run_paper(
    ctx: typer.Context, material: Material, settings: RestoreSettings, options: SuiteOptions
) -> None:
    from restoration_toolchain.toolchain.cli.progress import Steps
    from restoration_toolchain.toolchain.measuring import suite as suites
    from restoration_toolchain.toolchain.measuring.suite.plots import check_plotting
    from restoration_toolchain.toolchain.measuring.suite.report import check_folder, write_report
    from restoration_toolchain.tools_zoo.device import choose_device, choose_precision

    check_folder(options.output_folder, overwrite=options.overwrite)
    if options.plots:
        check_plotting()
    others = {name: getattr(options, name) for name in ("drqn", "ppo", "before", "baselines")}
    cast = suites.load_cast(settings, **others)
    device = choose_device(settings.device)
    config = suites.SuiteConfig(
        oracle_count=options.oracle_count,
        max_steps=settings.max_steps,
        seed=material.seed,
        device=str(device),
        precision=choose_precision(settings.precision, device),
    )
    if material.folders is not None:
        levels = [suites.folder_level(*material.folders)]
    else:
        levels = suites.degraded_levels(material.clean_windows(), material.levels, material.seed)
    facts: dict[str, Any] = {"command": _command(ctx)}
    with Steps("") as steps:
        results = suites.run_suite(cast, levels, config, facts=facts, on_progress=steps.update)
    paths = write_report(results, options.output_folder, plots=options.plots)
    _print(results)
    typer.echo(f"written: {', '.join(map(str, paths))}")


def _run_world(
    ctx: typer.Context, material: Material, settings: RestoreSettings, options: SuiteOptions
) -> None:
    from restoration_toolchain import load
    from restoration_toolchain.toolchain.cli.progress import Steps
    from restoration_toolchain.toolchain.measuring.suite.plots import check_plotting
    from restoration_toolchain.toolchain.measuring.suite.report import check_folder
    from restoration_toolchain.toolchain.measuring.suite.world import report, run_world
    from restoration_toolchain.tools_zoo.storage import load_toolbox

    check_folder(options.output_folder, overwrite=options.overwrite, results=report.RESULTS)
    if options.plots:
        check_plotting()
    efforts = parse_efforts(options.efforts)
    restorer = load(settings=settings)
    reference = None if options.reference is None else load_toolbox(options.reference)
    rival = None if options.rival is None else _only_tool(options.rival)
    count = material.count if _was_given(ctx, "count") else CROPS
    total, families = _world(ctx, material, options, count)
    facts: dict[str, Any] = {"command": _command(ctx), "seed": material.seed}
    with Steps("", unit="families") as steps:
        results, examples = run_world(
            restorer,
            families,
            total=total,
            reference=reference,
            rival=rival,
            efforts=efforts,
            facts=facts,
            on_progress=steps.update,
        )
    paths = report.write_report(results, examples, options.output_folder, plots=options.plots)
    _print_world(results)
    typer.echo(report.headline(results))
    typer.echo(f"written: {', '.join(map(str, paths))}")


def _only_tool(path: Path) -> "Tool":
    from restoration_toolchain.data.errors import ToolchainError
    from restoration_toolchain.tools_zoo.storage import load_toolbox

    tools = list(load_toolbox(path))
    if len(tools) != 1:
        raise ToolchainError(f"{path} has {len(tools)} tools; a rival is one network")
    if tools[0].spec.scale > 1:
        raise ToolchainError(f"the tool of {path} enlarges; a rival keeps the size")
    return tools[0]


def _world(
    ctx: typer.Context, material: Material, options: SuiteOptions, count: int
) -> "tuple[int, Iterator[WorldFamily]]":
    """The validation set, from a file or made of clean photos, and the number of its families."""
    from restoration_toolchain.data.patches.world_set import (
        WORLD,
        WorldSetConfig,
        load_world,
        read_world_config,
        world_set,
    )
    from restoration_toolchain.data.photos.sources import open_source
    from restoration_toolchain.toolchain.cli.progress import Download

    source = material.source or ""
    names = parse_families(options.families)
    if source.endswith((".h5", ".hdf5")):
        for name in ("count", "photos", "seed"):
            if _was_given(ctx, name):
                fail(f"{_flag_of(ctx, name)} is settled in {source}")
        families = load_world(Path(source), names)
        return len(names or read_world_config(Path(source))["families"]), families
    config = WorldSetConfig(
        families=names or WORLD, count=count, photos=options.photos, seed=material.seed
    )
    with Download(source) as bar:
        photos = open_source(source, progress=bar.update)
    return len(config.families), world_set(photos, config)


def parse_families(text: str | None) -> tuple[str, ...]:
    """Names of families with commas between them, each once; None is no name."""
    return tuple(dict.fromkeys(_words(text)))


def parse_efforts(text: str | None) -> tuple[float, ...]:
    """Prices of efforts with commas between them, each once; None is no effort.

    Raises:
        SettingError: A price is out of bounds.
        UnknownNameError: There is no such effort.
    """
    prices = (RestoreSettings().changed({"effort": word}).effort for word in _words(text))
    return tuple(dict.fromkeys(prices))


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


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


def _print_world(results: "WorldResults") -> None:
    console = Console()
    for unit in results.units:
        found = results.of(unit)
        title = f"the world of damage, {unit}"
        table = Table(title=title, box=None, header_style="bold", pad_edge=False)
        table.add_column("", no_wrap=True)
        for column in ("input", "single", "fixed", "agent", "oracle", "share", "worse", "same"):
            table.add_column(column, justify="right", no_wrap=True)
        for one in found:
            table.add_row(
                one.family,
                *(f"{v:.2f}" for v in (one.input, one.single, one.sequence, one.agent, one.oracle)),
                "-" if one.share is None else f"{one.share:.0%}",
                f"{one.harmed / one.count:.1%}",
                f"{one.identical / one.count:.0%}",
            )
        mean = results.mean(unit)
        if mean is not None:
            table.add_section()
            table.add_row(
                "mean (damaged)",
                *(f"{value:.2f}" for value in mean.psnr.values()),
                "-" if mean.share is None else f"{mean.share:.0%}",
                f"{mean.share_harmed:.1%}",
            )
        console.print(table)
        console.print()
        _print_spending(console, results.spending(unit))


def _print_spending(console: Console, spending: "Sequence[Spending]") -> None:
    if not spending:
        return
    table = Table(
        title="quality and arithmetic (damaged)", box=None, header_style="bold", pad_edge=False
    )
    table.add_column("", no_wrap=True)
    for column in ("price", "gain", "MACs per pixel", "tools"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in spending:
        price = "-" if one.price is None else f"{one.price:g}"
        table.add_row(one.player, price, f"{one.gain:+.3f}", f"{one.macs:,.0f}", f"{one.tools:.2f}")
    console.print(table)
    console.print()


def _print(results: "SuiteResults") -> None:
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
