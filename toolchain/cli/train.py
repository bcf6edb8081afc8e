"""The commands of ``toolchain train``: tools, chains of them, the agent, and all together."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.table import Table

from restoration_toolchain.toolchain.cli.options import grouped
from restoration_toolchain.toolchain.cli.training_options import (
    ConfigOption,
    JobOptions,
    LoopOptions,
    RunOptions,
    check_store,
    with_progress,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from restoration_toolchain.toolchain.learning.costs import Cost
    from restoration_toolchain.tools_zoo.recipes.train import TrainedTool

app = typer.Typer(
    no_args_is_help=True, help="Train tools, the agent that chooses them, or both together."
)


PhotosArgument: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(help="Clean photos to learn from: folders, or public sets."),
]
HeldOutOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Other clean photos, which teach the agent how cautious it has to be."),
]


@app.command("tools")
@grouped()
def train_tools_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tools to train; none means all of the recipe, or all of the toolbox 'classic'."
        ),
    ] = None,
    *,
    options: LoopOptions,
    run: Annotated[Path, typer.Option(help="Folder of the runs, one below it per tool.")] = Path(
        "runs/tools"
    ),
    toolbox_out: Annotated[
        Path | None, typer.Option(help="Toolbox to write or update.", show_default="RUN/toolbox")
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
) -> None:
    """Train restoration tools, and put them in a toolbox with their checksums and scores."""
    from restoration_toolchain.tools_zoo.device import choose_device
    from restoration_toolchain.tools_zoo.recipes import plan
    from restoration_toolchain.tools_zoo.recipes.train import train_tools

    recipe = {} if config is None else plan.read_recipe(config)
    overrides = options.overrides()
    check_store({**recipe, **overrides})
    jobs = plan.plan_training(names or [], recipe, overrides, init=init, warm_start=warm_start)
    for job in jobs:
        choose_device(job.config.device)
    folder = toolbox_out or run / "toolbox"
    include = plan.included_toolbox(recipe)
    work = partial(train_tools, jobs, run, folder, include=include, resume=options.resume)
    trained = with_progress(run, work, "psnr_own", "{:.2f} dB on its own range")
    _print_gains(trained)
    typer.echo(f"toolbox: {folder}")


@app.command("chains")
@grouped()
def train_chains_command(
    options: LoopOptions,
    toolbox: Annotated[
        str, typer.Option(help="Tools to start from: a shipped toolbox, or a folder.")
    ] = "efficient",
    run: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/chains"),
    toolbox_out: Annotated[
        Path | None, typer.Option(help="Toolbox to write.", show_default="RUN/toolbox")
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="Which tools follow each other on what: 'efficient_pair', 'efficient_chains', "
            "'efficient_detours', 'efficient_finish' and 'efficient_experts' made the shipped "
            "tools; or a TOML file. --set and the flags win over it."
        ),
    ] = None,
) -> None:
    """Train tools one behind the other, in chains that the degradation prescribes."""
    from restoration_toolchain.tools_zoo.recipes import prescribed_chains as chains
    from restoration_toolchain.tools_zoo.recipes.plan import read_recipe

    recipe = None if config is None else read_recipe(config)
    chosen = options.resolve(chains.ChainTrainConfig, recipe)
    folder = toolbox_out or run / "toolbox"
    work = partial(chains.train_toolbox_chains, toolbox, chosen, run, folder, resume=options.resume)
    with_progress(run, work, "gain", "{:.2f} dB gained", title="chains")
    typer.echo(f"toolbox: {folder}")


@app.command("agent")
@grouped()
def train_agent_command(
    algo: Annotated[str, typer.Option(help="drqn (recurrent Q-learning) or ppo (recurrent).")],
    options: RunOptions,
    toolbox: Annotated[
        str | None, typer.Option(help="Tools to choose from: a shipped toolbox, or a folder.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run.", show_default="runs/agent-ALGO")
    ] = None,
    config: ConfigOption = None,
    total_timesteps: Annotated[int | None, typer.Option(help="Tools run in training.")] = None,
) -> None:
    """Train the agent that looks at an image and chooses the next tool."""
    from restoration_toolchain.agents.learning.drqn import DrqnConfig, train_drqn
    from restoration_toolchain.agents.learning.ppo import PpoConfig, train_ppo
    from restoration_toolchain.data.errors import UnknownNameError

    trainers: dict[str, tuple[Any, Any]]
    trainers = {"drqn": (DrqnConfig, train_drqn), "ppo": (PpoConfig, train_ppo)}
    if algo not in trainers:
        raise UnknownNameError("algorithm", algo, trainers)
    kind, train = trainers[algo]
    chosen = options.resolve(kind, config, toolbox=toolbox, total_timesteps=total_timesteps)
    folder = run or Path(f"runs/agent-{algo}")
    unit = "dB gained" if chosen.made_reward.unit else "gained"
    work = partial(train, chosen, folder, resume=options.resume)
    with_progress(folder, work, "gain", f"{{:.2f}} {unit}", title="agent")
    typer.echo(f"agent of the best validation: {folder / 'best'}")


@app.command("joint")
@grouped(
    settings=typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other option, such as agent.gamma=0.99; may be given repeatedly.",
    )
)
def train_joint_command(
    options: RunOptions,
    toolbox: Annotated[
        str | None,
        typer.Option(help="Where to start: a shipped toolbox, or a folder with its agent in it."),
    ] = None,
    run: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/joint"),
    config: ConfigOption = None,
    rounds: Annotated[int | None, typer.Option(help="Tool phase and agent phase, at most.")] = None,
) -> None:
    """Fine-tune tools and agent together, in turns, while validation gets better."""
    from restoration_toolchain.toolchain.learning.joint import JointConfig, train_joint

    chosen = options.resolve(JointConfig, config, toolbox=toolbox, rounds=rounds)
    work = partial(train_joint, chosen, run, resume=options.resume)
    best = with_progress(run, work, "gain", "{:.2f} dB gained")
    typer.echo(f"toolbox with its agent: {best}")


@app.command("specialists")
@grouped()
def train_specialists_command(
    plan: Annotated[
        str,
        typer.Argument(help="'all_in_one', 'world', or a TOML file with a table 'specialists'."),
    ],
    photos: PhotosArgument = None,
    *,
    options: JobOptions,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the runs.", show_default="runs/tools-PLAN")
    ] = None,
) -> None:
    """Train the tools of a recipe, which learn families of damage from photos, and no agent."""
    from restoration_toolchain.data.errors import ToolchainError
    from restoration_toolchain.toolchain.learning.recipe import SHARED, TOOLS, read_specialists
    from restoration_toolchain.tools_zoo.device import choose_device
    from restoration_toolchain.tools_zoo.recipes.plan import read_recipe
    from restoration_toolchain.tools_zoo.recipes.specialists import train_specialists
    from restoration_toolchain.tools_zoo.training.run_folder import merge_options

    name = Path(plan).stem
    folder = run or Path("runs") / f"tools-{name}"
    if (folder / TOOLS).is_dir():
        raise ToolchainError(f"{folder} holds the run of a recipe; name another folder")
    values = read_recipe(plan)
    if "specialists" not in values:
        raise ToolchainError(f"the recipe {name} has no table [specialists]")
    given = options.overrides(photos=tuple(photos) if photos else None)
    of_run: dict[str, Any] = {key: given.pop(key) for key in (*SHARED, "fresh") if key in given}
    chosen = read_specialists(merge_options({**values, **of_run}, {"specialists": given}))
    choose_device(chosen.device)
    work = partial(
        train_specialists, chosen, folder, toolbox=name.replace("_", "-"), resume=options.resume
    )
    typer.echo(f"toolbox: {with_progress(folder, work, 'gain', '{:.2f} dB gained')}")


@app.command("references")
@grouped()
def train_references_command(
    options: RunOptions,
    minutes: Annotated[
        float | None,
        typer.Option(help="Minutes for each network.", min=0.0, show_default="20"),
    ] = None,
    families: Annotated[
        str | None,
        typer.Option(help="Families of damage, with commas: motion-blur,webp.", show_default="all"),
    ] = None,
    run: Annotated[Path, typer.Option(help="Folder of the runs, one below it per family.")] = Path(
        "runs/references"
    ),
    config: ConfigOption = None,
) -> None:
    """Train a network for each family of damage alone: what 'evaluate --suite world' compares with.

    Families that are finished are skipped.
    """
    from restoration_toolchain.data.damage.world import FAMILIES
    from restoration_toolchain.toolchain.cli.suite import parse_families
    from restoration_toolchain.tools_zoo.recipes.references import (
        ReferenceConfig,
        train_references,
    )

    chosen = options.resolve(ReferenceConfig, config, minutes=minutes)
    names = parse_families(families) or FAMILIES
    work = partial(train_references, names, chosen, run, resume=options.resume)
    folder = with_progress(run, work, "gain", "{:.2f} dB gained")
    typer.echo(f"references: {folder}")


@app.command("world")
@grouped()
def train_world_command(
    photos: PhotosArgument = None,
    *,
    options: JobOptions,
    held_out: HeldOutOption = None,
    toolbox: Annotated[
        str | None, typer.Option(help="Tools to choose from: a shipped toolbox, or a folder.")
    ] = None,
    run: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/agent-world"),
    config: Annotated[
        str | None,
        typer.Option(
            help="Recipe: 'efficient_world', which made the agent 'efficient', or a TOML file; "
            "--set and the flags win over it."
        ),
    ] = None,
    num_crops: Annotated[
        int | None, typer.Option(help="Crops that all tools run on, once.", min=1)
    ] = None,
) -> None:
    """Train an agent for photos as people have them, from a record of what its tools do to them."""
    from restoration_toolchain.toolchain.learning.world import WorldConfig, train_world
    from restoration_toolchain.tools_zoo.recipes.plan import read_recipe

    recipe = {} if config is None else read_recipe(config)
    named = {"photos": tuple(photos) if photos else None, "held_out": held_out}
    chosen = options.resolve(WorldConfig, recipe, **named, toolbox=toolbox, num_crops=num_crops)
    work = partial(train_world, chosen, run, resume=options.resume)
    with_progress(run, work, "share_of_oracle", "{:.0%} of what could be gained in a step")
    typer.echo(f"agent: {run / 'best'}")


@app.command("recipe")
@grouped(
    settings=typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other option, such as agent.num_processes=8; may be given repeatedly.",
    )
)
def train_recipe_command(
    recipe: Annotated[
        str, typer.Argument(help="'world', which made what ships, or a TOML file like it.")
    ],
    photos: PhotosArgument = None,
    *,
    options: JobOptions,
    held_out: HeldOutOption = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run.", show_default="runs/RECIPE")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what every stage costs here, and train nothing.")
    ] = False,
) -> None:
    """Make tools and their agent, stage by stage: all that ships by default, in one command."""
    from restoration_toolchain.toolchain.learning import recipe as recipes
    from restoration_toolchain.toolchain.learning.costs import estimate
    from restoration_toolchain.tools_zoo.device import choose_device
    from restoration_toolchain.tools_zoo.recipes import plan
    from restoration_toolchain.tools_zoo.training.run_folder import merge_options

    name = Path(recipe).stem
    folder = run or Path("runs") / name
    named = {"photos": tuple(photos) if photos else None, "held_out": held_out}
    values = merge_options(plan.read_recipe(recipe), options.overrides(**named))
    chosen = recipes.read_recipe(values, name=name, run_path=folder)
    choose_device(chosen.agent.device)
    if dry_run:
        _print_costs(estimate(chosen))
        return
    work = partial(recipes.train_recipe, chosen, folder, resume=options.resume)
    bundle = with_progress(folder, work, "gain", "{:.2f} dB gained")
    typer.echo(f"toolbox with its agent: {bundle}")


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


def _print_costs(costs: "Sequence[Cost]") -> None:
    table = Table("stage", title="What the recipe costs on this machine")
    for column in ("crops", "minutes"):
        table.add_column(column, justify="right")
    for cost in costs:
        table.add_row(cost.stage, f"{cost.crops:,}", f"{cost.minutes:.0f}")
    table.add_section()
    crops, minutes = sum(c.crops for c in costs), sum(c.minutes for c in costs)
    table.add_row("all", f"{crops:,}", f"{minutes:.0f}")
    Console().print(table)


def _print_gains(trained: "Sequence[TrainedTool]") -> None:
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
