"""``toolchain tools``: what is in a toolbox, and what each tool is worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from restoration_toolchain.toolchain.cli.errors import STATUS_FAILED, fail, with_hint
from restoration_toolchain.toolchain.cli.options import (
    DEFAULT_TOOLBOX,
    DeviceOption,
    OverwriteOption,
    ToolboxOption,
)
from restoration_toolchain.toolchain.cli.progress import Download, Steps

if TYPE_CHECKING:
    from restoration_toolchain.tools_zoo.profile import ToolProfile

_STATE_STYLES = {"ok": "green", "damaged": "bold red", "missing": "bold yellow"}

_GAIN_WIDTH: Final = 8  # columns of a terminal
_ABOUT_WIDTH: Final = 26


def tools(
    toolbox: ToolboxOption = DEFAULT_TOOLBOX,
    store: Annotated[
        Path | None,
        typer.Option(help="Patch store: measure each tool on its own range, on held-out photos."),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Show what each tool gains on each family of damage."),
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the profile as a heat map in this PNG file.")
    ] = None,
    measure_profile: Annotated[
        str | None,
        typer.Option(
            help="Measure the profile, and keep it in the folder of the toolbox: a folder of "
            "photos that no tool learnt from, 'embedded', or a public set.",
            metavar="PHOTOS",
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(help="Crops of each family to measure the profile on.", min=1)
    ] = 64,
    seed: Annotated[int, typer.Option(help="Seed of these crops.", min=0)] = 0,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """List the tools of a toolbox, and whether their weights are sound; or show their profile."""
    if picture is not None:
        _check_picture(picture, overwrite=overwrite)
    if measure_profile is not None:
        _measure(toolbox, measure_profile, count, seed, device, overwrite=overwrite)
    if profile or picture is not None or measure_profile is not None:
        _show_profile(toolbox, picture)
    else:
        _list(toolbox, store)


def _list(toolbox: str, store: Path | None) -> None:
    from restoration_toolchain.toolchain.measuring.tool_list import list_tools, measure_tools
    from restoration_toolchain.tools_zoo.profile import (
        NoProfileError,
        ProfileError,
        read_profile,
        treatment,
    )
    from restoration_toolchain.tools_zoo.storage import (
        load_toolbox,
        measured_checksums,
        read_manifest,
        read_origin,
        toolbox_folder,
    )
    from restoration_toolchain.tools_zoo.tool import UNITS

    listed = list_tools(toolbox)
    folder, note = toolbox_folder(toolbox), ""
    measured: ToolProfile | None = None
    try:
        measured = read_profile(folder, measured_checksums(read_manifest(folder)))
    except NoProfileError:
        pass
    except ProfileError as error:
        note = with_hint(error)
    # A range says little of tools that have families, or were measured on them.
    has_ranges = measured is None and not any(tool.spec.families for tool in listed)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("tool", style="cyan", no_wrap=True)
    if has_ranges:
        table.add_column("task")
        table.add_column("range", justify="right")
        table.add_column("unit")
    else:
        table.add_column("treats")
    # Short enough for terminals of 80 columns, gains included.
    for heading in ("params", "MACs/px", "halo"):
        table.add_column(heading, justify="right")
    table.add_column("weights")
    gains = {} if store is None else measure_tools(load_toolbox(toolbox), store)
    if gains:
        table.add_column("gain dB", justify="right", no_wrap=True)
    for tool in listed:
        spec, (low, high) = tool.spec, tool.spec.strength
        strength = f"{low:g}-{high:g}" if low < high else f"{low:g}"
        what = (
            [spec.task, strength, UNITS[spec.task]] if has_ranges else [treatment(spec, measured)]
        )
        table.add_row(
            spec.name,
            *what,
            f"{spec.num_params:,}",
            f"{spec.macs_per_pixel:,}",
            str(spec.halo),
            f"[{_STATE_STYLES[tool.state]}]{tool.state}[/]",
            *([f"{gains[spec.name]:+.2f}"] if gains else []),
        )
    console = Console()
    console.print(table)
    console.print(read_origin(folder).sentence(), highlight=False, markup=False, soft_wrap=True)
    if note:
        console.print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)
    if any(tool.state != "ok" for tool in listed):
        raise typer.Exit(STATUS_FAILED)


def _measure(
    toolbox: str, photos: str, count: int, seed: int, device: str, *, overwrite: bool
) -> None:
    from restoration_toolchain.data.photos.sources import name_of, open_source
    from restoration_toolchain.toolchain.batches.batch import check_writable
    from restoration_toolchain.toolchain.measuring.tool_profile import measure_profile
    from restoration_toolchain.tools_zoo.device import choose_device
    from restoration_toolchain.tools_zoo.profile import PROFILE, write_profile
    from restoration_toolchain.tools_zoo.storage import load_toolbox, toolbox_folder

    folder = toolbox_folder(toolbox)
    if (folder / PROFILE).exists() and not overwrite:
        fail(f"{folder / PROFILE} exists; add --overwrite to measure again")
    check_writable(folder / PROFILE)
    loaded = load_toolbox(toolbox)
    with Download(photos) as bar:
        opened = open_source(photos, progress=bar.update)
    images = [photo for _, photo in opened]
    with Steps("Measuring", unit="families") as steps:
        made = measure_profile(
            loaded,
            images,
            source=name_of(photos),
            count=count,
            seed=seed,
            device=choose_device(device),
            on_family=steps.update,
        )
    write_profile(made, folder)


def _show_profile(toolbox: str, picture: Path | None) -> None:
    from restoration_toolchain.tools_zoo.profile import read_profile
    from restoration_toolchain.tools_zoo.storage import (
        measured_checksums,
        read_manifest,
        toolbox_folder,
    )

    folder = toolbox_folder(toolbox)
    profile = read_profile(folder, measured_checksums(read_manifest(folder)))
    console = Console()
    _print_gains(console, profile)
    _print_tools(console, profile)
    if picture is not None:
        from restoration_toolchain.data.atomic import write_atomically
        from restoration_toolchain.toolchain.measuring.profile_plot import draw_profile

        picture.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(picture, draw_profile(profile))
        console.print(str(picture), markup=False, highlight=False, soft_wrap=True)


def _print_gains(console: Console, profile: "ToolProfile") -> None:
    """A row per family, a column per tool; in several parts where the terminal is too narrow."""
    counts = sorted({family.count for family in profile.families.values()})
    console.print(
        f"Mean PSNR gain in dB on {' or '.join(map(str, counts))} crops per family of "
        f"{profile.photos}, of {profile.side} pixels; input is the PSNR before, * the best tool",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    names = profile.tools
    together = max(1, (console.width - _ABOUT_WIDTH) // _GAIN_WIDTH)
    for first in range(0, len(names), together):
        shown = range(first, min(first + together, len(names)))
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("family", style="cyan", no_wrap=True)
        table.add_column("input", justify="right", no_wrap=True)
        for index in shown:  # names of tools are too long for as many columns
            table.add_column(str(index + 1), justify="right", no_wrap=True)
        for name, family in profile.families.items():
            best = family.best
            cells = [
                f"[bold green]{family.gains[names[index]]:+.2f}*[/]"
                if names[index] == best
                else f"{family.gains[names[index]]:+.2f} "
                for index in shown
            ]
            table.add_row(name, f"{family.psnr:.2f}", *cells)
        console.print(table)
        console.print()


def _print_tools(console: Console, profile: "ToolProfile") -> None:
    """What the tools are by this, and whether those made for families are the best at them."""
    from restoration_toolchain.tools_zoo.profile import AS_GOOD, check_names, treats

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", justify="right")
    table.add_column("tool", style="cyan", no_wrap=True)
    table.add_column("is best at, or nearly")
    for number, name in enumerate(profile.tools, start=1):
        table.add_row(str(number), name, ", ".join(treats(profile, name)) or "nothing")
    console.print(table)
    checks = check_names(profile)
    if not checks:
        return
    untrue = [check for check in checks if not check.is_true]
    says = (
        f"{len(checks) - len(untrue)} of {len(checks)} tools are the best, or within "
        f"{AS_GOOD:g} dB of it, on what they were trained for"
    )
    for check in untrue:
        says += f"; {check.tool} is not: {check.gain:+.2f} dB, {check.best} {check.best_gain:+.2f}"
    console.print(says, highlight=False, markup=False, soft_wrap=True)


def _check_picture(path: Path, *, overwrite: bool) -> None:
    from restoration_toolchain.toolchain.measuring.suite.plots import check_plotting

    if path.suffix.lower() != ".png":
        fail(f"{path}: the heat map is a PNG file")
    if path.exists() and not overwrite:
        fail(f"{path} exists; add --overwrite to replace it")
    check_plotting()
