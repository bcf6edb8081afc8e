"""``toolchain calibrate``: how much an agent's expectations are worth."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from restoration_toolchain.toolchain.cli.options import (
    DEFAULT_TOOLBOX,
    AgentOption,
    DeviceOption,
    option_of,
)


def calibrate(
    store: Annotated[
        str, typer.Option(help="Patch store; its held-out photos are used.", show_default=False)
    ],
    toolbox: Annotated[str | None, option_of("toolbox", usual=DEFAULT_TOOLBOX)] = None,
    agent: AgentOption = None,
    count: Annotated[int, typer.Option(help="Patches of each kind of damage.", min=32)] = 384,
    seed: Annotated[int, typer.Option(help="Seed of what is done to them.", min=0)] = 0,
    device: DeviceOption = "auto",
) -> None:
    """Learn how often an agent's steps do harm, and what looks familiar to it.

    Half of the patches teach the guard, which is written beside the agent; the table compares its
    risks with what happens to the other half. Afterwards `restore --max-risk` works.

    Without --agent, it is the toolbox's own; a shipped one's guard is replaced where the program is
    installed.
    """
    import numpy as np

    from restoration_toolchain.agents.policy import storage
    from restoration_toolchain.agents.tuning import guard as guards
    from restoration_toolchain.data.damage.levels import TRAINING_LEVELS
    from restoration_toolchain.data.patches.pairs import ArrayPairs
    from restoration_toolchain.toolchain.learning.joint import held_out_pairs
    from restoration_toolchain.tools_zoo.device import choose_device

    place = choose_device(device)
    toolbox = toolbox or storage.toolbox_for(agent)
    tools, policy = storage.load_bundle(toolbox, agent)
    tools.to(place)
    folder = storage.agent_folder(storage.own_agent(toolbox) if agent is None else agent)
    kinds = (*TRAINING_LEVELS, "camera", "clean")
    drawn = [held_out_pairs(store, kind, count, seed + i) for i, kind in enumerate(kinds)]
    half, other = (
        ArrayPairs(
            np.concatenate([pairs.lq[start::2] for pairs in drawn]),
            np.concatenate([pairs.gt[start::2] for pairs in drawn]),
        )
        for start in (0, 1)
    )
    guard = guards.calibrate(policy, tools, half, device=place)
    groups = guards.reliability(guard, *guards.watch(policy, tools, other, device=place))
    storage.put_guard(guard, folder)
    table = Table("risk", "mean risk", "made worse", "steps", title="Steps on other patches")
    for group in groups:
        shares = (f"{group.predicted:.1%}", f"{group.observed:.1%}")
        table.add_row(f"{group.low:.0%} to {group.high:.0%}", *shares, str(group.count))
    Console().print(table)
    typer.echo(f"guard: {folder}")
