"""How good enlarged images are: players that restore and enlarge degraded small images."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch

from restoration_toolchain.agents.players.play import play
from restoration_toolchain.agents.players.reference import (
    FixedPlayer,
    GreedyOracle,
    SequenceTable,
    StopPlayer,
    search_sequences,
)
from restoration_toolchain.agents.policy.lstm_policy import LstmPolicy, Player
from restoration_toolchain.agents.policy.storage import check_fits
from restoration_toolchain.data.damage.degradation import CONTEXT
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.data.images import to_tensor
from restoration_toolchain.data.patches.pairs import (
    ArrayPairs,
    check_large_side,
    degrade_windows,
)
from restoration_toolchain.data.patches.store import Patches
from restoration_toolchain.envs.restoration_vec_env import MAX_STEPS
from restoration_toolchain.envs.reward import PSNR, REWARDS, Judge
from restoration_toolchain.envs.task import task_scale
from restoration_toolchain.toolchain.measuring.evaluation import Evaluation, score_results
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import SfdIqa
from restoration_toolchain.tools_zoo.toolbox import Toolbox

SCALED_PLAYERS: Final = ("bicubic", "sr-alone", "single", "fixed", "greedy-oracle", "agent")
"""Who can be evaluated: no tool at all, each tool that enlarges alone, the best single tool, the
best chain of up to two, the best next tool with the clean image known, and the agent."""

FIXED_LENGTH: Final = 2
"""Tools of the best fixed chain."""


def evaluate_scaled_players(
    names: Sequence[str],
    levels: Sequence[str],
    windows: Patches,
    toolbox: Toolbox,
    policy: LstmPolicy | None,
    *,
    seed: int = 0,
    max_steps: int = MAX_STEPS,
    device: torch.device | str = "cpu",
    iqa: SfdIqa | None = None,
) -> Iterator[Evaluation]:
    """Make clean patches smaller and worse, and let players restore and enlarge them.

    The gains are those over the bicubic enlargement. What is best is so by the reward that the
    agent was trained with; without an agent, by PSNR.

    Args:
        names: Some of `SCALED_PLAYERS`.
        levels: Some of `data.damage.levels.SCALED_LEVELS`.
        windows: Clean patches with their surroundings, as `patches.store.cut_windows` yields them;
            sides are multiples of the tools' scale.
        toolbox: The action space.
        policy: Who plays as ``agent``; needed only if named.
        seed: Of the degradations.
        max_steps: Tools per image.
        device: Where the tools run.
        iqa: SFD-IQA to judge results by.

    Yields:
        One evaluation per level and player, in the order given; *sr-alone* has one for each tool
        that enlarges.

    Raises:
        UnknownNameError: A player or level does not exist.
        StoreError: The patches are too small for the scale, or do not divide by it.
        ToolchainError: The toolbox has no tool that enlarges, the agent was trained with other
            tools or is missing, the encoder of the feature distance is not installed, or there is
            no SFD-IQA that its reward weighs.
    """
    for name in names:
        if name not in SCALED_PLAYERS:
            raise UnknownNameError("player", name, SCALED_PLAYERS)
    scale = task_scale("real-sr", toolbox)
    check_large_side(windows.shape[1] - 2 * CONTEXT, scale)
    samplers = {level: sampler(level, scale=scale) for level in levels}
    if "agent" in names:
        if policy is None:
            raise ToolchainError("to evaluate the player 'agent', give an agent")
        check_fits(policy, toolbox)
    reward = PSNR if policy is None else policy.reward
    judge = Judge(REWARDS["mixed"], device)
    for level, draw in samplers.items():
        pairs = ArrayPairs(*degrade_windows(windows, draw, np.random.default_rng(seed)))
        judge.remember(to_tensor(pairs.gt).to(device))
        table = None
        if {"single", "fixed"} & set(names):
            table = search_sequences(
                toolbox,
                pairs,
                max_steps=min(FIXED_LENGTH, max_steps),
                task="real-sr",
                reward=reward,
                device=device,
            )
        for name in names:
            for player, label, note in _players(name, toolbox, policy, table):
                results = play(
                    player,
                    toolbox,
                    pairs,
                    max_steps=max_steps,
                    task="real-sr",
                    reward=reward,
                    device=device,
                )
                scored = score_results(label, results, pairs, level=level, note=note, iqa=iqa)
                distance = judge.score(torch.from_numpy(results.restored).to(device)).distance
                assert distance is not None
                yield dataclasses.replace(scored, distance=float(distance.mean()))


def _players(
    name: str, toolbox: Toolbox, policy: LstmPolicy | None, table: SequenceTable | None
) -> Iterator[tuple[Player, str, str]]:
    """Player, label and note: several for each tool that enlarges alone, else one."""
    stop = toolbox.stop
    match name:
        case "bicubic":
            yield StopPlayer(stop=stop), "bicubic", "no tool at all"
        case "sr-alone":
            for action, scale in enumerate(toolbox.scales):
                if scale > 1:
                    yield FixedPlayer([action], stop=stop), toolbox.names[action], "alone"
        case "single" | "fixed":
            assert table is not None
            chosen = table.best_fixed(max_length=1 if name == "single" else FIXED_LENGTH)
            tools = ", ".join(toolbox.names[action] for action in chosen) or "none"
            yield FixedPlayer(chosen, stop=stop), name, tools
        case "greedy-oracle":
            yield GreedyOracle(), name, "best next tool, clean image known"
        case _:
            assert policy is not None
            yield policy, name, f"rewarded by {policy.reward.name}"
