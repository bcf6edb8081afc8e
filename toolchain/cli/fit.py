"""``toolchain fit``: a denoiser for one's own camera, learnt from noisy photos alone."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from restoration_toolchain.toolchain.cli.errors import STATUS_FAILED, STATUS_INTERRUPTED, fail
from restoration_toolchain.toolchain.cli.options import DEFAULT_TOOLBOX

if TYPE_CHECKING:
    from restoration_toolchain.toolchain.learning.camera_fit import NoisyPhotos, Verdict


def fit(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Noisy photos of one camera, or folders of them; one photo is enough.",
            metavar="PHOTOS",
        ),
    ],
    name: Annotated[str, typer.Option(help="What to call the tool.")],
    method: Annotated[
        str,
        typer.Option(help="ams (hides pixels by masks) or sdap (by a blind-spot network)."),
    ] = "ams",
    minutes: Annotated[float, typer.Option(help="Time to learn.")] = 30.0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other option of the fit."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder of the tool.  [default: with your own tools]"),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of the checkpoint.  [default: beside your own tools]"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the fit that was interrupted.")
    ] = False,
    mixed: Annotated[
        bool,
        typer.Option(
            "--mixed",
            help="Do not ask whether the photos are of one camera, nor whether their noise can be "
            "told from texture.",
        ),
    ] = False,
    keep_anyway: Annotated[
        bool, typer.Option("--keep-anyway", help="Keep the tool even if a shipped one is better.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a fitted tool of that name.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of everything drawn.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda.")] = "auto",
) -> None:
    """Fit a denoiser to your own noisy photos; no clean photo is needed.

    The tool is kept only if it is estimated to be better than every shipped denoiser, and than
    doing nothing, on parts of your photos that it did not learn from. Exit status: 0 if it was
    kept, 1 if it was not or a photo cannot be read, 2 for what cannot work as asked.
    """
    from restoration_toolchain.toolchain.batches.batch import check_writable
    from restoration_toolchain.toolchain.cli.train import parse_settings
    from restoration_toolchain.toolchain.learning.camera_fit import fit_to_photos, measure_noise
    from restoration_toolchain.tools_zoo.device import choose_device
    from restoration_toolchain.tools_zoo.fitting.fit import FitConfig
    from restoration_toolchain.tools_zoo.own_tools import (
        check_new_name,
        default_home,
        own_tool_folder,
    )
    from restoration_toolchain.tools_zoo.storage import check_replaceable
    from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT, config_from_dict

    check_new_name(name)
    flags = {"method": method, "minutes": minutes, "seed": seed, "device": device}
    config = config_from_dict(FitConfig, {**flags, **parse_settings(settings or [])})
    choose_device(config.device)
    home = default_home()
    folder = own_tool_folder(name, home) if output is None else output
    run_path = home / "fits" / name if run is None else run
    check_replaceable(folder, overwrite=overwrite)
    if resume != (run_path / CHECKPOINT).is_file():
        fail(
            f"nothing to resume in {run_path}; leave --resume out"
            if resume
            else f"{run_path} holds a fit that was not kept: add --resume to go on with it, or "
            "choose another --name or --run"
        )
    check_writable(folder)
    check_writable(run_path)
    console = Console(stderr=True)
    photos = _read(inputs)
    for note in photos.notes:
        console.print(f"note: {escape(note)}", style="yellow", soft_wrap=True, highlight=False)
    noise = measure_noise(photos, allow_mixed=mixed)
    count = len(photos.images)
    console.print(
        f"{count} photo{'s' if count > 1 else ''}, noise of {noise.sigma:.1f} grey levels, "
        f"correlation between neighbours {noise.neighbour_correlation:.2f}",
        highlight=False,
    )
    fitted = _with_progress(
        run_path,
        lambda on_step: fit_to_photos(
            photos, noise, config, run_path, name=name, resume=resume, on_step=on_step
        ),
    )
    _print_verdict(fitted.verdict)
    if not (fitted.verdict.accepted or keep_anyway):
        fail(
            f"{fitted.verdict.sentence()}; nothing was kept, go on with the shipped tools "
            "(or add --resume --keep-anyway)",
            STATUS_FAILED,
        )
    fitted.save(folder, overwrite=overwrite)
    shutil.rmtree(run_path, ignore_errors=True)
    known = name if output is None else output
    out = Console()
    out.print(f"{fitted.verdict.sentence()}.", soft_wrap=True, highlight=False)
    for line in (
        f"kept in {folder}; to use it:",
        f"  toolchain restore PHOTO -o restored/ --add-tool {known}",
        f"  toolchain extend {DEFAULT_TOOLBOX} --add-tool {known} -o my-toolbox/",
    ):
        out.print(line, soft_wrap=True, highlight=False, markup=False)


def _read(inputs: list[Path]) -> "NoisyPhotos":
    """Read the photos; that one is not there is wrong usage, that it cannot be used a failure."""
    from restoration_toolchain.toolchain.errors import PhotoError
    from restoration_toolchain.toolchain.learning.camera_fit import read_noisy_photos
    from restoration_toolchain.toolchain.photos.paths import list_photos

    jobs = list_photos(inputs)
    try:
        return read_noisy_photos(jobs)
    except PhotoError as error:
        fail(str(error), STATUS_FAILED)


def _with_progress(run_path: Path, work: Callable[..., Any]) -> Any:
    """Fit under a progress bar; Ctrl-C ends with a line that says how to go on."""
    from restoration_toolchain.toolchain.cli.progress import Steps
    from restoration_toolchain.tools_zoo.fitting.fit import GAIN
    from restoration_toolchain.tools_zoo.training.run_folder import CHECKPOINT

    best: list[float] = []
    with Steps("fitting") as steps:

        def on_step(step: int, total: int, metrics: Mapping[str, float]) -> None:
            best[:] = [metrics[GAIN]] if GAIN in metrics else best
            steps.update(step, total, f"estimated gain {best[0]:+.2f} dB" if best else "")

        try:
            return work(on_step)
        except KeyboardInterrupt:
            steps.stop()  # the line comes below the bar
            if not (run_path / CHECKPOINT).is_file():
                fail("interrupted before anything was learnt", STATUS_INTERRUPTED)
            fail(
                f"interrupted; {run_path} keeps what was learnt: add --resume to the same command "
                "to go on",
                STATUS_INTERRUPTED,
            )


def _print_verdict(verdict: "Verdict") -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(f"on {verdict.num_crops} held-out crops", style="cyan", no_wrap=True)
    table.add_column("estimated gain dB", justify="right")
    for name, gain in verdict.gains.items():
        table.add_row(name, f"{gain:+.2f}")
    Console().print(table)
