"""The command ``toolchain evaluate``."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restoration_toolchain.toolchain.cli import suite as suites
from restoration_toolchain.toolchain.cli.errors import fail
from restoration_toolchain.toolchain.cli.options import (
    AgentOption,
    IqaEncoderOption,
    IqaOption,
    OverwriteOption,
    PreferOption,
    PriorOption,
    ScaledToolboxOption,
    StepsOption,
)

if TYPE_CHECKING:
    from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy
    from restoration_toolchain.data.images import FloatImage
    from restoration_toolchain.data.patches.store import Patches
    from restoration_toolchain.toolchain.measuring.evaluation import Evaluation
    from restoration_toolchain.toolchain.restoring.enlarge_options import EnlargeOptions
    from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import SfdIqa
    from restoration_toolchain.tools_zoo.toolbox import Toolbox

ALL_LEVELS = ("mild", "moderate", "severe")
DEFAULT_PLAYERS = "stop,random,fixed,greedy-oracle,agent"
SCALED_PLAYERS = "bicubic,sr-alone,single,fixed,greedy-oracle,agent"


def evaluate(
    ctx: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(help="Clean photos: a folder, 'embedded', a public set, or a store (.h5)."),
    ] = None,
    lq: Annotated[Path | None, typer.Option(help="Degraded photos, to compare with --gt.")] = None,
    gt: Annotated[Path | None, typer.Option(help="Clean photos with the names of --lq.")] = None,
    restore: Annotated[bool, typer.Option("--restore", help="Restore --lq first.")] = False,
    level: Annotated[
        list[str] | None,
        typer.Option(help="Degradation, repeatable.  [default: mild, moderate and severe]"),
    ] = None,
    count: Annotated[int, typer.Option(help="Patches per level.", min=1)] = 64,
    seed: Annotated[int, typer.Option(help="Of everything drawn.")] = 0,
    players: Annotated[
        str,
        typer.Option(
            help="With commas: stop, random, fixed (best single tool), greedy-oracle, oracle (tries"
            " every sequence, which takes a second or more per patch), agent."
        ),
    ] = DEFAULT_PLAYERS,
    agent: AgentOption = None,
    toolbox: ScaledToolboxOption = None,
    scale: Annotated[
        int,
        typer.Option(
            help="4: make clean photos smaller, too, and let players restore and enlarge them; "
            "--players are then bicubic, sr-alone, single, fixed, greedy-oracle, agent. With "
            "--restore: photos of --gt are so many times as large a side as those of --lq.",
            min=1,
        ),
    ] = 1,
    prefer: PreferOption = None,
    max_steps: Annotated[int, typer.Option(help="Most tools on one image.", min=1)] = 3,
    device: Annotated[
        str, typer.Option(help="For --restore, --scale, --iqa and --suite: auto, cpu, cuda, mps.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option(help="For --restore and --suite: auto, fp32 or bf16.")
    ] = "auto",
    iqa: IqaOption = None,
    iqa_encoder: IqaEncoderOption = None,
    prior: PriorOption = "own",
    steps: StepsOption = 1,
    output: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="'paper': every comparison in one run, with costs, tables and plots."),
    ] = None,
    output_folder: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results of --suite.")
    ] = Path("results"),
    drqn: Annotated[
        Path | None, typer.Option(help="Agent trained the paper's way, to compare with.")
    ] = None,
    ppo: Annotated[
        Path | None, typer.Option(help="Agent trained by recurrent PPO, to compare with.")
    ] = None,
    before: Annotated[
        Path | None,
        typer.Option(help="Toolbox folder with its agent in it, from before joint training."),
    ] = None,
    baselines: Annotated[
        str | None,
        typer.Option(
            help="Toolbox of single networks to compare with.  [default: the shipped one, if any]"
        ),
    ] = None,
    oracle_count: Annotated[
        int, typer.Option(help="Most patches per level for the exhaustive oracle.", min=1)
    ] = 64,
    plots: Annotated[bool, typer.Option(help="Draw plots; needs matplotlib.")] = True,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure PSNR and SSIM: of two folders, or of players that restore degraded clean photos."""
    from restoration_toolchain.tools_zoo.catalog import default_toolbox

    suites.refuse_stray_options(ctx, suite)
    if (lq is None) != (gt is None):
        fail("give both --lq and --gt, or neither")
    if (lq is None) == (source is None):
        fail("give either clean photos (a folder, 'embedded', ...) or --lq and --gt")
    if restore and lq is None:
        fail("--restore goes with --lq and --gt; photos to degrade are always restored")
    if lq is not None and not restore and (scale > 1 or prefer is not None):
        fail("with --lq and --gt, --scale and --prefer say how to restore: add --restore")
    if scale == 1 and (prior, steps) != ("own", 1):
        fail("--prior and --steps go with --scale")
    if output is not None and not output.absolute().parent.is_dir():
        fail(f"{output}: there is no such folder to write to")
    levels = level or list(ALL_LEVELS)
    toolbox = default_toolbox(scale) if toolbox is None else toolbox
    if suite is not None:
        request = suites.SuiteRequest(
            lq=lq,
            gt=gt,
            levels=levels,
            clean_windows=lambda: _clean_windows(source or "", count, seed),
            seed=seed,
            agent=agent,
            toolbox=toolbox,
            drqn=drqn,
            ppo=ppo,
            before=before,
            baselines=baselines,
            oracle_count=oracle_count,
            max_steps=max_steps,
            device=device,
            precision=precision,
            output=output_folder,
            plots=plots,
            overwrite=overwrite,
        )
        suites.run(ctx, suite, request)
        return
    score = _open_score(iqa, iqa_encoder, device)
    if lq is not None and gt is not None:
        options: dict[str, Any] = {"agent": agent, "toolbox": toolbox, "scale": scale}
        options |= {"prefer": prefer, "max_steps": max_steps}
        options |= {"device": device, "precision": precision}
        options |= dataclasses.asdict(_enlarging(prior, steps))
        results = [_compare(lq, gt, options if restore else None, score)]
    else:
        assert source is not None
        if scale > 1 and players == DEFAULT_PLAYERS:
            players = SCALED_PLAYERS
        names = [name.strip() for name in players.split(",") if name.strip()]
        tools, policy = _load(toolbox, agent if "agent" in names else None, prefer, names)
        if scale > 1:
            _enlarging(prior, steps).apply_to(tools, scale)
            results = _play_scaled(
                source, names, levels, count, seed, tools, policy, max_steps, device, scale, score
            )
        else:
            results = _play(source, names, levels, count, seed, tools, policy, max_steps, score)
    _print_table(results, restored=restore or lq is None, judged=iqa is not None)
    if output is not None:
        from restoration_toolchain.data.atomic import write_atomically

        content = json.dumps([result.to_dict() for result in results], indent=2)
        write_atomically(output, content.encode() + b"\n")


def _open_score(name: str | None, encoder: str | None, device: str) -> "SfdIqa | None":
    from restoration_toolchain.tools_zoo.device import choose_device
    from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import open_named

    score = open_named(name, encoder)
    return None if score is None else score.to(choose_device(device))


def _compare(
    lq: Path,
    gt: Path,
    options: dict[str, Any] | None,
    iqa: "SfdIqa | None",
) -> "Evaluation":
    from restoration_toolchain.toolchain.cli.progress import Steps
    from restoration_toolchain.toolchain.measuring.evaluation import compare_folders

    restore = None
    if options is not None:
        from restoration_toolchain import load

        loaded = load(**options)

        def restore(image: "FloatImage") -> "FloatImage":
            return loaded.restore(image).image

    with Steps("Comparing", unit="photos") as steps:
        return compare_folders(
            lq,
            gt,
            restore=restore,
            scale=1 if options is None else options["scale"],
            on_image=lambda done, total: steps.update(done, total),
            iqa=iqa,
        )


def _play(
    source: str,
    names: Sequence[str],
    levels: Sequence[str],
    count: int,
    seed: int,
    tools: "Toolbox",
    policy: "LstmPolicy | None",
    max_steps: int,
    iqa: "SfdIqa | None",
) -> "list[Evaluation]":
    from restoration_toolchain.toolchain.measuring.evaluation import evaluate_players

    evaluations = evaluate_players(
        names,
        levels,
        _clean_windows(source, count, seed),
        tools,
        policy,
        seed=seed,
        max_steps=max_steps,
        iqa=iqa,
    )
    return _collected(evaluations, len(names) * len(levels))


def _play_scaled(
    source: str,
    names: Sequence[str],
    levels: Sequence[str],
    count: int,
    seed: int,
    tools: "Toolbox",
    policy: "LstmPolicy | None",
    max_steps: int,
    device: str,
    scale: int,
    iqa: "SfdIqa | None",
) -> "list[Evaluation]":
    from restoration_toolchain.data.patches.scaled_pairs import SMALL_SIDE
    from restoration_toolchain.envs.task import task_scale
    from restoration_toolchain.toolchain.measuring.evaluation import evaluate_players
    from restoration_toolchain.tools_zoo.device import choose_device

    if task_scale("real-sr", tools) != scale:
        fail(f"the tools of {tools.name} enlarge by {task_scale('real-sr', tools)}, not by {scale}")
    side = SMALL_SIDE if policy is None else policy.q_net.encoder.only_side or SMALL_SIDE
    windows = _clean_windows(source, count, seed, side * scale)
    evaluations = evaluate_players(
        names,
        levels,
        windows,
        tools,
        policy,
        scale=scale,
        seed=seed,
        max_steps=max_steps,
        device=choose_device(device),
        iqa=iqa,
    )
    per_level = len(names) + ("sr-alone" in names) * (sum(s > 1 for s in tools.scales) - 1)
    return _collected(evaluations, per_level * len(levels))


def _enlarging(prior: str, steps: int) -> "EnlargeOptions":
    from restoration_toolchain.toolchain.restoring.enlarge_options import EnlargeOptions

    enlarge = EnlargeOptions(prior, steps)
    if enlarge.has_map:
        fail(f"{prior} is the map of one photo, and many images are evaluated")
    return enlarge


def _load(
    toolbox: str, agent: str | None, prefer: str | None, names: Sequence[str]
) -> "tuple[Toolbox, LstmPolicy | None]":
    from restoration_toolchain.agents.policy.storage import load_bundle
    from restoration_toolchain.tools_zoo.storage import load_toolbox

    if "agent" in names:
        return load_bundle(toolbox, agent, prefer=prefer)
    return load_toolbox(toolbox), None


def _collected(evaluations: "Iterator[Evaluation]", total: int) -> "list[Evaluation]":
    from restoration_toolchain.toolchain.cli.progress import Steps

    results = []
    with Steps("Playing", unit="players") as steps:
        for result in evaluations:
            results.append(result)
            steps.update(len(results), total, f"{result.level}, {result.name}")
    return results


def _clean_windows(source: str, count: int, seed: int, side: int | None = None) -> "Patches":
    from restoration_toolchain.agents.policy.q_net import VIEW_SIZE
    from restoration_toolchain.data.photos.sources import open_source
    from restoration_toolchain.toolchain.cli.progress import Download
    from restoration_toolchain.toolchain.measuring.evaluation import (
        evaluation_patches,
        store_patches,
    )

    if source.endswith((".h5", ".hdf5")):
        return store_patches(Path(source), count, seed)
    with Download(source) as bar:
        photos = open_source(source, progress=bar.update)
    return evaluation_patches(photos, count, seed, patch_size=side or VIEW_SIZE)


def _print_table(results: "Sequence[Evaluation]", *, restored: bool, judged: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    has_levels = any(result.level for result in results)
    names = [*(["level"] if has_levels else []), "player" if has_levels else "photos"]
    table = Table(*names, box=None, header_style="bold", pad_edge=False)
    gains = ("gain dB", "made worse") if restored else ()
    has_distance = any(result.distance is not None for result in results)
    encoder = next((r.quality_encoder for r in results if r.quality_encoder is not None), None)
    seen = [*(["distance"] if has_distance else []), *(["SFD-IQA"] if encoder else [])]
    for column in ("images", "PSNR dB", "SSIM", *seen, *gains):
        table.add_column(column, justify="right")
    before = ""
    for result in results:
        if before and result.level != before:
            table.add_section()
        before = result.level
        ssim = "-" if result.ssim_after is None else f"{result.ssim_after:.4f}"
        table.add_row(
            *([result.level] if has_levels else []),
            result.name,
            f"{result.count}",
            f"{result.psnr_after:.3f}",
            ssim,
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
