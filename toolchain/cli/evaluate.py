"""The command ``toolchain evaluate``."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from restoration_toolchain.toolchain.cli import suite as suites
from restoration_toolchain.toolchain.cli.errors import fail
from restoration_toolchain.toolchain.cli.material import Material
from restoration_toolchain.toolchain.cli.options import grouped, option_of
from restoration_toolchain.toolchain.cli.progress import Steps
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings, is_map

if TYPE_CHECKING:
    from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
    from restoration_toolchain.toolchain.measuring.evaluation import Evaluation
    from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import SfdIqa
    from restoration_toolchain.tools_zoo.toolbox import Toolbox

DEFAULT_PLAYERS = "stop,random,fixed,greedy-oracle,agent"
SCALED_PLAYERS = "bicubic,sr-alone,single,fixed,greedy-oracle,agent"


@grouped(
    scale=option_of(
        "scale",
        "4: make clean photos smaller, too, and let players restore and enlarge them; "
        f"--players are then {SCALED_PLAYERS.replace(',', ', ')}. With --restore: photos of --gt "
        "are so many times as large a side as those of --lq.",
    ),
    device=option_of(
        "device",
        "Where to compute with --restore, --scale, --iqa and --suite: auto, cpu, cuda, mps.",
    ),
    precision=option_of(
        "precision", "Number format of the tools with --restore and --suite: auto, fp32, bf16."
    ),
)
def evaluate(
    ctx: typer.Context,
    material: Material,
    *,
    players: Annotated[
        str,
        typer.Option(
            help="Players, with commas: stop, random, fixed (best single tool), greedy-oracle, "
            "oracle (tries every sequence, which takes a second or more per patch), agent."
        ),
    ] = DEFAULT_PLAYERS,
    settings: RestoreSettings,
    output: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="Many comparisons in one run, with tables and plots: 'paper' (with costs, on the "
            "paper's damage), 'world' (what users get on every family of damage)."
        ),
    ] = None,
    suite_options: suites.SuiteOptions,
) -> None:
    """Measure PSNR and SSIM: of two folders, or of players that restore degraded clean photos."""
    suites.refuse_stray_options(ctx, suite)
    material.check()
    is_restored = material.restore or material.folders is None
    if not is_restored and (settings.scale > 1 or settings.prefer is not None):
        fail("with --lq and --gt, --scale and --prefer say how to restore: add --restore")
    if settings.scale == 1 and settings.asks_enlargers:
        fail("--prior and --steps go with --scale")
    if is_map(settings.prior):
        fail(f"{settings.prior} is the map of one photo, and many images are evaluated")
    if output is not None and not output.absolute().parent.is_dir():
        fail(f"{output}: there is no such folder to write to")
    if suite is not None:
        suites.run(ctx, suite, material, settings, suite_options)
        return
    score = _open_score(settings)
    if material.folders is not None:
        results = [_compare(material, settings, score)]
    else:
        results = _play(material, players, settings, score)
    _print_table(results, restored=is_restored, judged=settings.iqa is not None)
    if output is not None:
        from restoration_toolchain.data.atomic import write_atomically

        content = json.dumps([result.to_dict() for result in results], indent=2)
        write_atomically(output, content.encode() + b"\n")


def _open_score(settings: RestoreSettings) -> "SfdIqa | None":
    from restoration_toolchain.tools_zoo.device import choose_device
    from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import open_named

    score = open_named(settings.iqa, settings.iqa_encoder)
    return None if score is None else score.to(choose_device(settings.device))


def _compare(material: Material, settings: RestoreSettings, iqa: "SfdIqa | None") -> "Evaluation":
    """Compare two folders, restored first if that is asked for."""
    from restoration_toolchain.toolchain.measuring.evaluation import compare_folders

    assert material.folders is not None
    loaded = None
    if material.restore:
        from restoration_toolchain import load

        loaded = load(settings=dataclasses.replace(settings, iqa=None, iqa_encoder=None))
    with Steps("Comparing", unit="photos") as steps:
        return compare_folders(
            *material.folders,
            restore=None if loaded is None else lambda image: loaded.restore(image).image,
            scale=settings.scale,
            on_image=steps.update,
            iqa=iqa,
        )


def _play(
    material: Material, players: str, settings: RestoreSettings, iqa: "SfdIqa | None"
) -> "list[Evaluation]":
    """Let players restore degraded patches, and enlarge them where a scale is given."""
    from restoration_toolchain.agents.policy.decision import tool_prices
    from restoration_toolchain.agents.policy.storage import load_bundle, toolbox_for
    from restoration_toolchain.tools_zoo.storage import load_toolbox

    if settings.scale > 1 and players == DEFAULT_PLAYERS:
        players = SCALED_PLAYERS
    names = [name.strip() for name in players.split(",") if name.strip()]
    toolbox, policy = settings.toolbox or toolbox_for(settings.agent, settings.scale), None
    if "agent" in names:
        tools, policy = load_bundle(toolbox, settings.agent, prefer=settings.prefer)
        if settings.even_if_unsure:
            policy = policy.daring()
        policy = policy.changed(tool_prices=tool_prices(tools, settings.effort))
    else:
        tools = load_toolbox(toolbox)
    n_alone = sum(scale > 1 for scale in tools.scales) if "sr-alone" in names else 1
    total = (len(names) + n_alone - 1) * len(material.levels)
    results = []
    with Steps("Playing", unit="players") as steps:
        for result in _evaluations(material, names, (tools, policy), settings, iqa):
            results.append(result)
            steps.update(len(results), total, f"{result.level}, {result.name}")
    return results


def _evaluations(
    material: Material,
    names: Sequence[str],
    bundle: "tuple[Toolbox, LstmPolicy | None]",
    settings: RestoreSettings,
    iqa: "SfdIqa | None",
) -> "Iterator[Evaluation]":
    from restoration_toolchain.data.patches.pairs import SMALL_SIDE
    from restoration_toolchain.envs.task import task_scale
    from restoration_toolchain.toolchain.measuring.evaluation import evaluate_players
    from restoration_toolchain.toolchain.restoring.enlarge_options import instruct
    from restoration_toolchain.tools_zoo.device import choose_device

    (tools, policy), levels, scale = bundle, material.levels, settings.scale
    more: Any = {"seed": material.seed, "max_steps": settings.max_steps, "iqa": iqa}
    if scale == 1:
        return evaluate_players(names, levels, material.clean_windows(), *bundle, **more)
    instruct(tools, settings)
    if task_scale("real-sr", tools) != scale:
        fail(f"the tools of {tools.name} enlarge by {task_scale('real-sr', tools)}, not by {scale}")
    side = SMALL_SIDE if policy is None else policy.q_net.encoder.only_side or SMALL_SIDE
    windows = material.clean_windows(side * scale)
    more |= {"scale": scale, "device": choose_device(settings.device)}
    return evaluate_players(names, levels, windows, *bundle, **more)


def _print_table(results: "Sequence[Evaluation]", *, restored: bool, judged: bool) -> None:
    has_levels = any(result.level for result in results)
    names = [*(["level"] if has_levels else []), "player" if has_levels else "photos"]
    table = Table(*names, box=None, header_style="bold", pad_edge=False)
    gains = ("gain dB", "made worse") if restored else ()
    has_distance = any(result.distance is not None for result in results)
    encoder = next((r.quality_encoder for r in results if r.quality_encoder is not None), None)
    seen = [*(["distance"] if has_distance else []), *(["SFD-IQA"] if encoder else [])]
    for column in ("images", "PSNR dB", "SSIM", *seen, *gains):
        table.add_column(column, justify="right")
    for number, result in enumerate(results):
        if number and result.level != results[number - 1].level:
            table.add_section()
        ssim = "-" if result.ssim_after is None else f"{result.ssim_after:.4f}"
        table.add_row(
            *([result.level] if has_levels else []),
            result.name,
            *(f"{result.count}", f"{result.psnr_after:.3f}", ssim),
            *([f"{result.distance:.4f}"] if result.distance is not None else []),
            *(["-" if result.quality is None else f"{result.quality:.4f}"] if encoder else []),
            *((f"{result.gain:+.3f}", f"{result.share_worse:.1%}") if restored else ()),
        )
    console = Console()
    console.print(table)
    if judged:
        seen_by = f"as {encoder} sees it; 0 to 1, higher is cleaner"
        what = seen_by if encoder else "not known: the images are too small for it"
        console.print(f"SFD-IQA {what}", style="dim", highlight=False)
    for result in results:  # below, where there is room for them
        if result.note:
            name = " ".join(filter(None, (result.level, result.name)))
            console.print(f"{name}: {result.note}", style="dim", highlight=False, markup=False)
