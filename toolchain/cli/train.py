"""The commands of ``toolchain train``: tools, chains of them, the agent, and all together."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restoration_toolchain.toolchain.cli.errors import STATUS_INTERRUPTED, fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from restoration_toolchain.tools_zoo.recipes.train import TrainedTool

app = typer.Typer(
    no_args_is_help=True, help="Train tools, the agent that chooses them, or both together."
)

StoreOption = Annotated[
    str | None, typer.Option(help="Patch store to train on (see: toolchain data prepare).")
]
ConfigOption = Annotated[
    str | None, typer.Option(help="TOML file of options; --set and the flags win over it.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any other option; may be given repeatedly."),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in --run.")]
SeedOption = Annotated[int | None, typer.Option(help="Of everything drawn.")]
DeviceOption = Annotated[str | None, typer.Option(help="Where to compute: auto, cpu, cuda.")]
DevicesOption = Annotated[int | None, typer.Option(help="Processes to train with.")]
PrecisionOption = Annotated[str | None, typer.Option(help="auto (the faster), fp32 or bf16.")]

_STORE_HINT = "--store FILE (toolchain data prepare makes one)"


@app.command("tools")
def train_tools_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tools to train; none means all of the recipe, or all of the toolbox 'classic'."
        ),
    ] = None,
    store: StoreOption = None,
    run: Annotated[Path, typer.Option(help="Folder of the runs, one below it per tool.")] = Path(
        "runs/tools"
    ),
    toolbox_out: Annotated[
        Path | None, typer.Option(help="Toolbox to write or update.  [default: RUN/toolbox]")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Starting weights: a tool, a safetensors file, a toolbox folder, or the folder of "
            "a run of the same tool (its newest checkpoint)."
        ),
    ] = None,
    warm_start: Annotated[
        bool,
        typer.Option(
            help="Start a tool from the one the recipe names or, without a recipe, from the next "
            "weaker one of its task that is trained before it and has the same network."
        ),
    ] = True,
    config: Annotated[
        str | None,
        typer.Option(
            help="Recipe: 'classic' and 'efficient', which made the shipped tools, 'baselines' "
            "(single networks to compare with), 'generative' (tools that make images larger), or a "
            "TOML file; --set and the flags win over it."
        ),
    ] = None,
    settings: SetOption = None,
    total_patches: Annotated[int | None, typer.Option(help="Patches seen per tool.")] = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    devices: DevicesOption = None,
    precision: PrecisionOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train restoration tools, and put them in a toolbox with their checksums and scores."""
    from restoration_toolchain.tools_zoo.recipes.plan import (
        included_toolbox,
        plan_training,
        read_recipe,
    )
    from restoration_toolchain.tools_zoo.recipes.train import train_tools

    flags = {
        "store": store,
        "total_patches": total_patches,
        "seed": seed,
        "device": device,
        "devices": devices,
        "precision": precision,
    }
    recipe = {} if config is None else read_recipe(config)
    overrides = {**parse_settings(settings or []), **_given(flags)}
    if "store" not in {**recipe, **overrides}:
        fail(f"no patch store given; add {_STORE_HINT}")
    jobs = plan_training(names or [], recipe, overrides, init=init, warm_start=warm_start)
    for job in jobs:
        _check_device(job.config.device)
    folder = toolbox_out or run / "toolbox"
    trained = with_progress(
        "psnr_own",
        "dB on its own range",
        run,
        lambda on_step: train_tools(
            jobs, run, folder, include=included_toolbox(recipe), resume=resume, on_step=on_step
        ),
    )
    _print_gains(trained)
    typer.echo(f"toolbox: {folder}")


@app.command("chains")
def train_chains_command(
    store: StoreOption = None,
    toolbox: Annotated[
        str, typer.Option(help="Tools to start from: a shipped toolbox, or a folder.")
    ] = "efficient",
    run: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/chains"),
    toolbox_out: Annotated[
        Path | None, typer.Option(help="Toolbox to write.  [default: RUN/toolbox]")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="Which tools follow each other on what: 'efficient_pair', 'efficient_chains', "
            "'efficient_detours' and 'efficient_finish' made the shipped tools; or a TOML file. "
            "--set and the flags win over it."
        ),
    ] = None,
    settings: SetOption = None,
    total_patches: Annotated[int | None, typer.Option(help="Chains in all.")] = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    devices: DevicesOption = None,
    precision: PrecisionOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train tools one behind the other, in chains that the degradation prescribes."""
    from restoration_toolchain.tools_zoo.recipes.plan import read_recipe
    from restoration_toolchain.tools_zoo.recipes.prescribed_chains import (
        ChainTrainConfig,
        train_toolbox_chains,
    )

    flags = {
        "store": store,
        "total_patches": total_patches,
        "seed": seed,
        "device": device,
        "devices": devices,
        "precision": precision,
    }
    recipe = {} if config is None else read_recipe(config)
    chosen = _resolve(ChainTrainConfig, recipe, settings, flags, _STORE_HINT)
    folder = toolbox_out or run / "toolbox"
    with_progress(
        "gain",
        "dB gained",
        run,
        lambda on_step: train_toolbox_chains(
            toolbox,
            chosen,
            run,
            folder,
            resume=resume,
            on_step=lambda step, total, metrics: on_step("chains", step, total, metrics),
        ),
    )
    typer.echo(f"toolbox: {folder}")


@app.command("agent")
def train_agent_command(
    algo: Annotated[str, typer.Option(help="drqn (recurrent Q-learning) or ppo (recurrent).")],
    store: StoreOption = None,
    toolbox: Annotated[
        str | None, typer.Option(help="Tools to choose from: a shipped toolbox, or a folder.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run.  [default: runs/agent-ALGO]")
    ] = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    total_timesteps: Annotated[int | None, typer.Option(help="Tools run in training.")] = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train the agent that looks at an image and chooses the next tool."""
    from restoration_toolchain.agents.learning.drqn import DrqnConfig, train_drqn
    from restoration_toolchain.agents.learning.ppo import PpoConfig, train_ppo
    from restoration_toolchain.data.errors import UnknownNameError

    trainers: dict[str, tuple[Any, Callable[..., Any]]] = {
        "drqn": (DrqnConfig, train_drqn),
        "ppo": (PpoConfig, train_ppo),
    }
    if algo not in trainers:
        raise UnknownNameError("algorithm", algo, trainers)
    kind, train = trainers[algo]
    flags = {
        "store": store,
        "toolbox": toolbox,
        "total_timesteps": total_timesteps,
        "seed": seed,
        "device": device,
    }
    hint = "--store FILE, or --store embedded to try it out"
    chosen = _read_config(kind, config, settings, flags, hint)
    folder = run or Path(f"runs/agent-{algo}")
    with_progress(
        "gain",
        "dB gained" if chosen.made_reward.unit else "gained",
        folder,
        lambda on_step: train(
            chosen,
            folder,
            resume=resume,
            on_step=lambda step, total, metrics: on_step("agent", step, total, metrics),
        ),
    )
    typer.echo(f"agent of the best validation: {folder / 'best'}")


@app.command("joint")
def train_joint_command(
    store: StoreOption = None,
    toolbox: Annotated[
        str | None,
        typer.Option(help="Where to start: a shipped toolbox, or a folder with its agent in it."),
    ] = None,
    run: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/joint"),
    config: ConfigOption = None,
    settings: SetOption = None,
    rounds: Annotated[int | None, typer.Option(help="Tool phase and agent phase, at most.")] = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    resume: ResumeOption = False,
) -> None:
    """Fine-tune tools and agent together, in turns, while validation gets better."""
    from restoration_toolchain.toolchain.learning.joint import JointConfig, train_joint

    flags = {
        "store": store,
        "toolbox": toolbox,
        "rounds": rounds,
        "seed": seed,
        "device": device,
    }
    chosen = _read_config(JointConfig, config, settings, flags, _STORE_HINT)
    best = with_progress(
        "gain",
        "dB gained",
        run,
        lambda on_step: train_joint(chosen, run, resume=resume, on_step=on_step),
    )
    typer.echo(f"toolbox with its agent: {best}")


@app.command("average")
def average_command(
    toolboxes: Annotated[
        list[str],
        typer.Argument(help="Toolboxes of one training: shipped ones by name, or folders."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Toolbox to write.")],
) -> None:
    """Average the weights of a training's toolboxes: often better than each, and never dearer.

    One that is named twice counts twice. The agent of the first goes with them; train it on.
    """
    from restoration_toolchain.toolchain.learning.joint import average_bundles

    average_bundles(toolboxes, out)
    typer.echo(f"toolbox: {out}")


def _read_config(
    kind: type[Any],
    path: str | None,
    settings: "Sequence[str] | None",
    flags: Mapping[str, Any],
    hint: str,
) -> Any:
    """Settings of a run: a TOML file, then --set, then the other flags; the last one wins."""
    from restoration_toolchain.tools_zoo.training.run_folder import load_toml

    return _resolve(kind, {} if path is None else load_toml(Path(path)), settings, flags, hint)


def _resolve(
    kind: type[Any],
    values: Mapping[str, Any],
    settings: "Sequence[str] | None",
    flags: Mapping[str, Any],
    hint: str,
) -> Any:
    from restoration_toolchain.tools_zoo.training.run_folder import config_from_dict

    values = {**values, **parse_settings(settings or []), **_given(flags)}
    if "store" not in values:
        fail(f"no patch store given; add {hint}")
    chosen = config_from_dict(kind, values)
    _check_device(chosen.device)
    return chosen


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def parse_settings(settings: "Sequence[str]") -> dict[str, Any]:
    """Read KEY=VALUE words; values are TOML, and what is no TOML is a string."""
    values: dict[str, Any] = {}
    for word in settings:
        key, equals, text = word.partition("=")
        if not equals or not key.strip():
            fail(f"--set takes KEY=VALUE, got {word!r}")
        try:
            values[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            values[key.strip()] = text
    return values


def _check_device(name: str) -> None:
    from restoration_toolchain.tools_zoo.device import choose_device

    choose_device(name)


def with_progress(metric: str, unit: str, run: Path, train: Callable[..., Any]) -> Any:
    """Train under a progress bar; Ctrl-C ends with a line that says how to go on."""
    from restoration_toolchain.toolchain.cli.progress import Steps

    with Steps("") as steps:

        def on_step(name: str, step: int, total: int, metrics: Mapping[str, float]) -> None:
            note = f"{metrics[metric]:.2f} {unit}" if metric in metrics else ""
            steps.update(step, total, note, title=name)

        try:
            result = train(on_step)
        except KeyboardInterrupt:
            steps.stop()  # the line comes below the bar
            fail(
                f"interrupted; {run} keeps what was learnt: add --resume to the same command "
                "to go on",
                STATUS_INTERRUPTED,
            )
    return result


def _print_gains(trained: "Sequence[TrainedTool]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("tool", "treats", title="Held-out photos, PSNR in dB")
    for column in ("own range", "gain", "in a chain", "gain"):
        table.add_column(column, justify="right")
    for result in trained:
        metrics = result.metrics
        table.add_row(
            result.tool.spec.name,
            result.tool.spec.label,
            f"{metrics['psnr_own']:.2f}",
            f"{metrics['gain_own']:+.2f}",
            f"{metrics['psnr_chain']:.2f}",
            f"{metrics['gain_chain']:+.2f}",
        )
    Console().print(table)
