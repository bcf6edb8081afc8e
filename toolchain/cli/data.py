"""The commands of ``toolchain data``: prepare a patch store, and look at what there is."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from restoration_toolchain.toolchain.cli.errors import fail
from restoration_toolchain.toolchain.cli.levels import NAMES
from restoration_toolchain.toolchain.cli.options import grouped
from restoration_toolchain.toolchain.cli.progress import Download, Steps

if TYPE_CHECKING:
    from restoration_toolchain.data.images import ByteImage
    from restoration_toolchain.data.photos.sources import CleanSource

app = typer.Typer(no_args_is_help=True, help="Prepare patches to train and evaluate on.")

MAX_SKIPPED_SHOWN = 10
"""Unreadable files that are named one by one."""


@dataclass(frozen=True)
class StoreOptions:
    """Fields of `StoreConfig`, as far as they are given."""

    level: Annotated[
        str | None,
        typer.Option(help=f"Damage: {NAMES}.  [default: all]"),
    ] = None
    patch_size: Annotated[
        int | None,
        typer.Option(
            help="Pixels a side; 96 or more for tools that make images larger.  [default: 63]"
        ),
    ] = None
    stride: Annotated[
        int | None, typer.Option(help="Pixels between neighbouring patches.  [default: 48]")
    ] = None
    scales: Annotated[
        str | None,
        typer.Option(help="Sizes of each photo, with commas: 1,0.5.  [default: 1,2/3,1/3]"),
    ] = None
    holdout: Annotated[
        float | None, typer.Option(help="Share of photos kept for validation.  [default: 0.05]")
    ] = None
    single_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share of pairs with one distortion.  [default: 0.5 of mixtures, else 0]"
        ),
    ] = None
    max_patches: Annotated[
        int | None, typer.Option(help="Most patches per photo; 0 is no bound.  [default: 0]")
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of every draw.  [default: 0]")] = None

    def given(self) -> dict[str, Any]:
        """The options that were given, as `StoreConfig` takes them."""
        values = {name: value for name, value in vars(self).items() if value is not None}
        return values if self.scales is None else values | {"scales": _parse_scales(self.scales)}


@app.command()
@grouped()
def prepare(
    sources: Annotated[
        list[str],
        typer.Argument(help="Folders of photos, 'embedded', or public sets (see: data sets)."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HDF5 file to write.")],
    options: StoreOptions,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with the same options; flags win over it.")
    ] = None,
    offline: Annotated[bool, typer.Option(help="Never touch the network.")] = False,
    cache_dir: Annotated[Path | None, typer.Option(help="Folder of public sets.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing store.")] = False,
) -> None:
    """Cut clean photos into patches and degrade them, once and for many trainings."""
    from restoration_toolchain.data.patches.store import PatchStore, StoreConfig, prepare_store
    from restoration_toolchain.tools_zoo.training.run_folder import config_from_dict, load_toml

    if output.exists() and not overwrite:
        fail(f"{output} exists; add --overwrite to replace it")
    values = {**({} if config is None else load_toml(config)), **options.given()}
    settings = config_from_dict(StoreConfig, values)
    opened = _open_all(sources, cache_dir, offline=offline)
    with Steps("Preparing", unit="photos") as steps:
        total, done = sum(len(source) for source in opened), itertools.count(1)

        def on_photo(name: str, patches: int) -> None:
            steps.update(next(done), total, f"{patches:,} patches")

        count = prepare_store(
            output, _chain(sources, opened), settings, sources=sources, on_photo=on_photo
        )
    with PatchStore(output) as store:
        held_out = len(store.val_indices)
        photos = len(store.attrs["photos"])
    typer.echo(f"{output}: {count:,} patches of {photos:,} photos, {held_out:,} held out")
    _report_skipped(opened)


@app.command("world")
def world_command(
    sources: Annotated[
        list[str],
        typer.Argument(help="Folders of photos, 'embedded', or public sets (see: data sets)."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HDF5 file to write.")],
    count: Annotated[int, typer.Option(help="Patches per family.", min=0)] = 48,
    photos: Annotated[int, typer.Option(help="Whole photos per family.", min=0)] = 6,
    families: Annotated[
        str | None,
        typer.Option(help="Families, with commas: motion-blur,clean.", show_default="all"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 0,
    offline: Annotated[bool, typer.Option(help="Never touch the network.")] = False,
    cache_dir: Annotated[Path | None, typer.Option(help="Folder of public sets.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing set.")] = False,
) -> None:
    """Make the validation set of 'evaluate --suite world' once, and keep it in a file."""
    from restoration_toolchain.data.patches.world_set import (
        WORLD,
        WorldSetConfig,
        save_world,
        world_set,
    )
    from restoration_toolchain.toolchain.cli.suite import parse_families

    if output.exists() and not overwrite:
        fail(f"{output} exists; add --overwrite to replace it")
    if not count and not photos:
        fail("--count and --photos are both 0: nothing would be in the set")
    names = parse_families(families) or WORLD
    config = WorldSetConfig(families=names, count=count, photos=photos, seed=seed)
    opened = _open_all(sources, cache_dir, offline=offline)
    made = world_set(_chain(sources, opened), config)
    with Steps("Damaging", unit="families") as steps:
        done = itertools.count(1)
        save_world(
            output,
            made,
            config,
            on_family=lambda name: steps.update(next(done), len(names), name),
        )
    typer.echo(f"{output}: {len(names)} families")
    _report_skipped(opened)


@app.command("sets")
def list_sets() -> None:
    """List the sources that have a name."""
    from restoration_toolchain.data.photos.public_sets import PUBLIC_SETS
    from restoration_toolchain.data.photos.sources import EMBEDDED, EMBEDDED_PHOTOS

    table = Table("name", "download", "licence")
    about = f"{len(EMBEDDED_PHOTOS)} photos of scikit-image; see its LICENSE"
    table.add_row(EMBEDDED, "none", about)
    for name, public in PUBLIC_SETS.items():
        table.add_row(name, f"{public.size / 1e6:,.0f} MB", public.licence)
    Console().print(table)


@app.command()
def info(store: Annotated[Path, typer.Argument(help="A patch store.")]) -> None:
    """Show what a store holds and how it was made."""
    from restoration_toolchain.data.patches.store import PatchStore

    with PatchStore(store) as opened:
        facts: dict[str, Any] = {
            "patches": f"{len(opened):,} of {opened.patch_size}x{opened.patch_size}",
            "for training": f"{len(opened.train_indices):,}",
            "held out": f"{len(opened.val_indices):,}",
            "photos": f"{len(opened.attrs['photos']):,}",
            "layout": opened.attrs["layout"],
            "size": f"{store.stat().st_size / 1e6:,.1f} MB",
            **opened.attrs["config"],
        }
    table = Table("fact", "value", title=str(store))
    for name, value in facts.items():
        table.add_row(name, str(value))
    Console().print(table)


def _parse_scales(text: str) -> tuple[float, ...]:
    from fractions import Fraction

    try:
        return tuple(float(Fraction(part.strip())) for part in text.split(","))
    except (ValueError, ZeroDivisionError):
        fail(f"--scales takes numbers with commas between them, such as 1,2/3; got {text!r}")


def _open_all(
    sources: Sequence[str], cache_dir: Path | None, *, offline: bool
) -> "list[CleanSource]":
    from restoration_toolchain.data.photos.sources import open_source

    opened = []
    for name in sources:
        with Download(name) as bar:
            source = open_source(name, cache_dir=cache_dir, offline=offline, progress=bar.update)
        opened.append(source)
    return opened


def _chain(
    names: Sequence[str], sources: "Sequence[CleanSource]"
) -> "Iterator[tuple[str, ByteImage]]":
    """Photos of all sources in turn; the source's name tells equal identifiers apart."""
    for name, source in zip(names, sources, strict=True):
        for identifier, photo in source:
            yield (identifier if len(names) == 1 else f"{name}/{identifier}"), photo


def _report_skipped(sources: "Sequence[CleanSource]") -> None:
    skipped = [file for source in sources for file in source.skipped]
    if not skipped:
        return
    typer.echo(f"skipped {len(skipped)} unreadable:", err=True)
    for file in skipped[:MAX_SKIPPED_SHOWN]:
        typer.echo(f"  {file.path}: {file.reason}", err=True)
    if len(skipped) > MAX_SKIPPED_SHOWN:
        typer.echo(f"  and {len(skipped) - MAX_SKIPPED_SHOWN} more", err=True)
