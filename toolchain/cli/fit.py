"""``toolchain fit``: a denoiser for one's own camera, learnt from noisy photos alone."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from restoration_toolchain.toolchain.cli.errors import STATUS_FAILED, fail, failure_of_photos
from restoration_toolchain.toolchain.cli.options import DEFAULT_TOOLBOX, grouped
from restoration_toolchain.toolchain.cli.training_options import JobOptions, with_progress

if TYPE_CHECKING:
    from restoration_toolchain.toolchain.learning.camera_fit import Verdict


@grouped(
    seed=typer.Option(help="Seed of every random draw.", min=0, show_default="0"),
    device=typer.Option(help="Where to compute: auto, cpu, cuda.", show_default="auto"),
    resume=typer.Option("--resume", help="Go on with a fit that was interrupted."),
)
def fit(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Noisy photos of one camera, or folders of them; one photo is enough.",
            metavar="PHOTOS",
        ),
    ],
    name: Annotated[str, typer.Option(help="What to call the tool.")],
    options: JobOptions,
    method: Annotated[
        str | None,
        typer.Option(
            help="ams (hides pixels by masks) or sdap (by a blind-spot network).",
            show_default="ams",
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Time to learn.", show_default="30")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder of the tool.", show_default="with your own tools"
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of the checkpoint.", show_default="beside your own tools"),
    ] = None,
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
) -> None:
    """Fit a denoiser to your own noisy photos; no clean photo is needed.

    The tool is kept only if it is estimated to be better than every shipped denoiser, and than
    doing nothing, on parts of your photos that it did not learn from. Exit status: 0 if it was
    kept, 1 if it was not or a photo cannot be read, 2 for what cannot work as asked.
    """
    from restoration_toolchain.toolchain.batches.batch import check_writable
    from restoration_toolchain.toolchain.learning import camera_fit
    from restoration_toolchain.toolchain.photos.paths import list_photos
    from restoration_toolchain.tools_zoo import own_tools
    from restoration_toolchain.tools_zoo.device import choose_device
    from restoration_toolchain.tools_zoo.fitting.fit import GAIN, FitConfig
    from restoration_toolchain.tools_zoo.storage import check_replaceable
    from restoration_toolchain.tools_zoo.training.run_folder import (
        CHECKPOINT,
        check_run,
        config_from_dict,
        remove_run,
    )

    own_tools.check_new_name(name)
    given = options.overrides(method=method, minutes=minutes)
    config = config_from_dict(FitConfig, {"minutes": 30.0} | given)
    choose_device(config.device)
    home = own_tools.default_home()
    folder = own_tools.own_tool_folder(name, home) if output is None else output
    run_path = home / "fits" / name if run is None else run
    check_replaceable(folder, overwrite=overwrite)
    if (run_path / CHECKPOINT).is_file() and not options.resume:
        fail(
            f"{run_path} holds a fit that was not kept: add --resume to go on with it, or choose "
            "another --name or --run"
        )
    check_run(run_path, resume=options.resume)
    check_writable(folder)
    check_writable(run_path)
    console = Console(stderr=True)
    jobs = list_photos(inputs)
    with failure_of_photos():
        photos = camera_fit.read_noisy_photos(jobs)
    for note in photos.notes:
        console.print(f"note: {escape(note)}", style="yellow", soft_wrap=True, highlight=False)
    noise = camera_fit.measure_noise(photos, allow_mixed=mixed)
    count = len(photos.images)
    console.print(
        f"{count} photo{'s' if count > 1 else ''}, noise of {noise.sigma:.1f} grey levels, "
        f"correlation between neighbours {noise.neighbour_correlation:.2f}",
        highlight=False,
    )
    work = partial(
        camera_fit.fit_to_photos, photos, noise, config, run_path, name=name, resume=options.resume
    )
    fitted = with_progress(run_path, work, GAIN, "estimated gain {:+.2f} dB", title="fitting")
    _print_verdict(fitted.verdict)
    if not (fitted.verdict.accepted or keep_anyway):
        fail(
            f"{fitted.verdict.sentence()}; nothing was kept, go on with the shipped tools "
            "(or add --resume --keep-anyway)",
            STATUS_FAILED,
        )
    fitted.save(folder, overwrite=overwrite)
    for part in (*run_path.glob("distilled-*"), run_path):  # other things may lie there, too
        remove_run(part)
    known = name if output is None else output
    out = Console()
    out.print(f"{fitted.verdict.sentence()}.", soft_wrap=True, highlight=False)
    for line in (
        f"kept in {folder}; to use it:",
        f"  toolchain restore PHOTO -o restored/ --add-tool {known}",
        f"  toolchain extend {DEFAULT_TOOLBOX} --add-tool {known} -o my-toolbox/",
    ):
        out.print(line, soft_wrap=True, highlight=False, markup=False)


def _print_verdict(verdict: "Verdict") -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(f"on {verdict.num_crops} held-out crops", style="cyan", no_wrap=True)
    table.add_column("estimated gain dB", justify="right")
    for name, gain in verdict.gains.items():
        table.add_row(name, f"{gain:+.2f}")
    Console().print(table)
