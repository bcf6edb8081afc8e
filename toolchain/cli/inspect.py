"""``toolchain inspect``: one photo, every decision explained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from restoration_toolchain.toolchain.cli.errors import fail, failure_of_photos
from restoration_toolchain.toolchain.cli.levels import NAMES
from restoration_toolchain.toolchain.cli.options import OverwriteOption, grouped
from restoration_toolchain.toolchain.cli.tables import print_inspection
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings

if TYPE_CHECKING:
    from restoration_toolchain.toolchain.photos.read import Photo


@grouped()
def inspect(
    photo: Annotated[Path, typer.Argument(help="The photo.", metavar="INPUT")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Show every step and its action values in this file: a picture, or, if it ends in "
            ".html, a page for browsers that holds everything.",
        ),
    ] = None,
    gt: Annotated[
        Path | None, typer.Option(help="The clean photo: adds PSNR and SSIM after every step.")
    ] = None,
    degrade: Annotated[
        str | None,
        typer.Option(
            help=f"INPUT is clean: damage it first ({NAMES}; with --scale, which makes it smaller "
            "too, also slight and real).",
            metavar="LEVEL",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the damage.", min=0)] = 0,
    settings: RestoreSettings,
    overwrite: OverwriteOption = False,
) -> None:
    """Restore one photo and show the choice of every step."""
    from restoration_toolchain.data.atomic import write_atomically
    from restoration_toolchain.data.damage.levels import check_level
    from restoration_toolchain.toolchain.batches.batch import check_writable
    from restoration_toolchain.toolchain.looking.inspection import inspect_degraded, inspect_photo
    from restoration_toolchain.toolchain.photos.write import check_free, check_target, write_photo
    from restoration_toolchain.toolchain.restoring.load import load

    if gt is not None and degrade is not None:
        fail("--gt and --degrade exclude each other: with --degrade, INPUT is the clean photo")
    if degrade is not None:
        check_level(degrade, settings.scale)
    if output is not None:
        check = check_free if _is_page(output) else check_target
        for source in filter(None, (photo, gt)):
            check(output, source, overwrite=overwrite)
        check_writable(output)
    lq = _read(photo, settings.scale if degrade is None else 1)
    reference = None if gt is None else _read(gt)
    restorer = load(settings=settings)
    if degrade is None:
        inspection = inspect_photo(restorer, lq, gt=reference)
    else:
        inspection = inspect_degraded(restorer, lq, level=degrade, seed=seed)
    console = Console()
    print_inspection(console, inspection)
    if output is not None:
        if _is_page(output):
            # A file name may hold bytes that are no text in any encoding.
            page = inspection.report(photo.name).encode("utf-8", "replace")
            output.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(output, page)
        else:
            write_photo(output, inspection.sheet(), overwrite=overwrite)
        console.print(str(output), markup=False, highlight=False, soft_wrap=True)


def _is_page(path: Path) -> bool:
    return path.suffix.lower() in (".html", ".htm")


def _read(path: Path, scale: int = 1) -> "Photo":
    """Read a photo; that it is not there is wrong usage, that it is damaged a failure."""
    from restoration_toolchain.toolchain.photos.read import read_photo

    if not path.is_file():
        fail(f"{path}: is a folder, not a photo" if path.is_dir() else f"{path}: no such file")
    with failure_of_photos():
        return read_photo(path, scale=scale)
