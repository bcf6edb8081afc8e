"""Run a suite: every contender on every level, timed."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from restoration_toolchain.agents.players.play import EpisodeResults, play
from restoration_toolchain.agents.players.reference import search_sequences
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.chain import MAX_STEPS
from restoration_toolchain.toolchain.measuring.evaluation import score_results
from restoration_toolchain.toolchain.measuring.suite import contenders
from restoration_toolchain.toolchain.measuring.suite.behaviour import decisions_on, usage_of
from restoration_toolchain.toolchain.measuring.suite.cast import Cast
from restoration_toolchain.toolchain.measuring.suite.cost import cost_of
from restoration_toolchain.toolchain.measuring.suite.levels import LevelSet
from restoration_toolchain.toolchain.measuring.suite.results import OracleShare, Row, SuiteResults
from restoration_toolchain.tools_zoo.precision import Precision

OnProgress = Callable[[int, int, str, str], None]
"""Called with (done, total, what was done last, what is going on)."""

_WARM_UP: Final = 8  # patches, before anything is timed


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteConfig:
    """How a suite is run."""

    oracle_count: int = 64
    """Most patches per level for the exhaustive oracle, which tries every sequence."""
    max_steps: int = MAX_STEPS
    seed: int = 0
    """Seed of the random player and of the choice of the oracle's patches."""
    device: str = "cpu"
    precision: Precision = "fp32"
    """Number format that all networks but the agents' compute in."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if min(self.oracle_count, self.max_steps) < 1:
            raise ValueError("oracle_count and max_steps must be positive")

    @property
    def computing(self) -> dict[str, Any]:
        """Where and in which numbers tools compute, as `play` and `search_sequences` take it."""
        return {"device": self.device, "precision": self.precision}


def run_suite(
    cast: Cast,
    levels: Sequence[LevelSet],
    config: SuiteConfig,
    *,
    facts: dict[str, str | int | float] | None = None,
    on_progress: OnProgress = lambda done, total, note, title: None,
) -> SuiteResults:
    """Let everybody play on every level, and count what it took.

    Args:
        cast: Who takes part; the tools are moved to the device.
        levels: What is played.
        config: How the suite is run.
        facts: Facts to record beside those known here.
        on_progress: Progress.
    """
    _warm_up(cast, levels[0].pairs, config)
    stop = cast.ours.toolbox.stop
    results = [_measure(cast, level, config, on_progress) for level in levels]
    actions = [result.agent.actions for result in results]
    return SuiteResults(
        facts={**_facts(cast, config), **(facts or {})},
        remarks=cast.remarks,
        actions=cast.ours.toolbox.action_names,
        rows=tuple(row for result in results for row in result.rows),
        oracle=tuple(result.share for result in results),
        decisions=tuple(
            decisions_on(level.name, result.agent, stop)
            for level, result in zip(levels, results, strict=True)
        ),
        usage=usage_of(actions, [level.strengths for level in levels], stop),
    )


class _LevelResults(NamedTuple):
    """What one level contributes."""

    rows: list[Row]
    share: OracleShare
    agent: EpisodeResults


def _measure(
    cast: Cast, level: LevelSet, config: SuiteConfig, on_progress: OnProgress
) -> _LevelResults:
    """Search, then let everybody play on one level."""
    toolbox, pairs = cast.ours.toolbox, level.pairs
    drawn = np.random.default_rng(config.seed).choice(
        len(pairs), min(len(pairs), config.oracle_count), replace=False
    )
    chosen = np.sort(drawn)
    subset = ArrayPairs(pairs.lq[chosen], pairs.gt[chosen])
    began, title = time.perf_counter(), f"{level.name}: trying all sequences"
    searched = search_sequences(
        toolbox,
        subset,
        max_steps=config.max_steps,
        on_images=lambda done, total: on_progress(done, total, "patches", title),
        **config.computing,
    )
    seconds = time.perf_counter() - began
    single = search_sequences(toolbox, pairs, max_steps=1, **config.computing)
    limits = {"max_steps": config.max_steps, "seed": config.seed}
    everybody = contenders.everybody(cast, single=single, searched=searched, **limits)
    turns = [(contender, pairs, 0.0) for contender in everybody]
    turns.append((contenders.oracle(cast, searched, config.max_steps), subset, seconds))
    rows: list[Row] = []
    played: dict[str, EpisodeResults] = {}
    for contender, met, spent in turns:
        player, tools, steps = contender.player, contender.toolbox, contender.max_steps
        results = play(player, tools, met, max_steps=steps, **config.computing)
        rows.append(_row(contender, level.name, met, results, spent + results.seconds))
        on_progress(len(rows), len(turns), contender.label, f"{level.name}: playing")
        if contender.key in (contenders.AGENT, contenders.GREEDY):
            played[contender.key] = results
    gains = {k: float((r.psnr_after - r.psnr_before)[chosen].mean()) for k, r in played.items()}
    best = float((searched.oracle - searched.psnr[0]).mean())  # the first is to do nothing
    share = OracleShare(
        level=level.name,
        count=len(chosen),
        oracle=best,
        greedy=gains[contenders.GREEDY],
        agent=gains[contenders.AGENT],
        share=gains[contenders.AGENT] / best if best > 0.0 else None,
    )
    return _LevelResults(rows, share, played[contenders.AGENT])


def _row(
    contender: contenders.Contender,
    level: str,
    pairs: ArrayPairs,
    results: EpisodeResults,
    seconds: float,
) -> Row:
    """Sum up what a player reached in so many seconds."""
    score = score_results(contender.key, results, pairs, level=level)
    cost = cost_of(contender, results.actions, pairs.lq.shape[1])
    lengths = (results.actions != contender.toolbox.stop).sum(axis=1)
    return Row(
        key=contender.key,
        label=contender.label,
        level=level,
        count=score.count,
        psnr=score.psnr_after,
        ssim=score.ssim_after,
        gain=score.gain,
        share_worse=score.share_worse,
        tools=float(lengths.mean()),
        **cost._asdict(),
        milliseconds=1000.0 * seconds / len(pairs) if cost.macs else None,
        gain_after_step=tuple((results.psnr - results.psnr[:, :1]).mean(axis=0).tolist()),
        note=contender.note,
    )


def _warm_up(cast: Cast, pairs: ArrayPairs, config: SuiteConfig) -> None:
    """Run every network once, so that no row is charged for what happens only the first time."""
    few = ArrayPairs(pairs.lq[:_WARM_UP], pairs.gt[:_WARM_UP])
    for bundle in (cast.ours, *cast.rivals.values(), cast.before):
        if bundle is not None:
            bundle.policy.q_net.to(config.device)
            play(bundle.policy, bundle.toolbox, few, **config.computing)
    for toolbox in (cast.ours.toolbox, cast.baselines):
        if toolbox is not None:
            search_sequences(toolbox, few, max_steps=1, **config.computing)


def _facts(cast: Cast, config: SuiteConfig) -> dict[str, str | int | float]:
    device = torch.device(config.device)
    policy = cast.ours.policy
    return {
        "toolbox": cast.ours.toolbox.name,
        "encoder": policy.q_net.encoder_name,
        "stop_margin": policy.stop_margin if math.isfinite(policy.stop_margin) else "never stops",
        "max_steps": config.max_steps,
        "seed": config.seed,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "precision": config.precision,
        "torch": torch.__version__,
    }
