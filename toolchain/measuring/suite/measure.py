"""Run a suite: every contender on every level, timed."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from restoration_toolchain.agents.players.play import EpisodeResults, play
from restoration_toolchain.agents.players.reference import SequenceTable, search_sequences
from restoration_toolchain.data.patches.pairs import ArrayPairs
from restoration_toolchain.envs.chain import MAX_STEPS
from restoration_toolchain.toolchain.measuring.evaluation import score_results
from restoration_toolchain.toolchain.measuring.suite.behaviour import decisions_on, usage_of
from restoration_toolchain.toolchain.measuring.suite.cast import Cast
from restoration_toolchain.toolchain.measuring.suite.contenders import (
    AGENT,
    GREEDY,
    Contender,
    contenders,
    oracle,
)
from restoration_toolchain.toolchain.measuring.suite.cost import cost_of
from restoration_toolchain.toolchain.measuring.suite.levels import LevelSet
from restoration_toolchain.toolchain.measuring.suite.results import (
    Decisions,
    OracleShare,
    Row,
    SuiteResults,
)
from restoration_toolchain.tools_zoo.precision import Precision

OnProgress = Callable[[str, int, int, str], None]
"""Called with (what is going on, done, total, what was done last)."""

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


def run_suite(
    cast: Cast,
    levels: Sequence[LevelSet],
    config: SuiteConfig,
    *,
    facts: dict[str, str | int | float] | None = None,
    on_progress: OnProgress = lambda title, done, total, note: None,
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
    results = [_LevelRun(cast, level, config, on_progress).run() for level in levels]
    return SuiteResults(
        facts={**_facts(cast, config), **(facts or {})},
        remarks=cast.remarks,
        actions=cast.ours.toolbox.action_names,
        rows=tuple(row for result in results for row in result.rows),
        oracle=tuple(result.share for result in results),
        decisions=tuple(result.decisions for result in results),
        usage=usage_of(
            [result.actions for result in results],
            [level.strengths for level in levels],
            cast.ours.toolbox.stop,
        ),
    )


@dataclass(frozen=True, slots=True)
class _LevelResults:
    """What one level contributes; ``actions`` (N, max_steps) are the agent's."""

    rows: list[Row]
    share: OracleShare
    decisions: Decisions
    actions: npt.NDArray[np.int64]


class _LevelRun:
    """Measures one level."""

    def __init__(
        self, cast: Cast, level: LevelSet, config: SuiteConfig, on_progress: OnProgress
    ) -> None:
        self._cast, self._level, self._config = cast, level, config
        self._on_progress = on_progress
        self._rows: list[Row] = []

    def run(self) -> _LevelResults:
        cast, config, pairs = self._cast, self._config, self._level.pairs
        chosen = _choose(len(pairs), config)
        subset = ArrayPairs(pairs.lq[chosen], pairs.gt[chosen])
        searched, seconds = self._search(subset)
        single = search_sequences(
            cast.ours.toolbox, pairs, max_steps=1, device=config.device, precision=config.precision
        )
        limits = {"max_steps": config.max_steps, "seed": config.seed}
        playing = [*contenders(cast, single=single, searched=searched, **limits)]
        played: dict[str, EpisodeResults] = {}
        for contender in playing:
            results = self._measure(contender, pairs, len(playing) + 1)
            if contender.key in (AGENT, GREEDY):
                played[contender.key] = results
        best = oracle(cast, searched, config.max_steps)
        self._measure(best, subset, len(playing) + 1, seconds=seconds)
        gains = {key: (r.psnr_after - r.psnr_before)[chosen] for key, r in played.items()}
        share = _share(self._level.name, searched, gains[AGENT], gains[GREEDY])
        agent = played[AGENT]
        decisions = decisions_on(self._level.name, agent, cast.ours.toolbox.stop)
        return _LevelResults(self._rows, share, decisions, agent.actions)

    def _search(self, pairs: ArrayPairs) -> tuple[SequenceTable, float]:
        """Try every sequence; also return the seconds that it took."""
        title = f"{self._level.name}: trying all sequences"
        began = time.perf_counter()
        searched = search_sequences(
            self._cast.ours.toolbox,
            pairs,
            max_steps=self._config.max_steps,
            device=self._config.device,
            precision=self._config.precision,
            on_images=lambda done, total: self._on_progress(title, done, total, "patches"),
        )
        return searched, time.perf_counter() - began

    def _measure(
        self, contender: Contender, pairs: ArrayPairs, total: int, *, seconds: float = 0.0
    ) -> EpisodeResults:
        """Play and add a row; ``seconds`` were spent before playing."""
        results = play(
            contender.player,
            contender.toolbox,
            pairs,
            max_steps=contender.max_steps,
            device=self._config.device,
            precision=self._config.precision,
        )
        score = score_results(contender.key, results, pairs, level=self._level.name)
        cost = cost_of(contender, results.actions, pairs.lq.shape[1])
        lengths = (results.actions != contender.toolbox.stop).sum(axis=1)
        per_patch = (seconds + results.seconds) / len(pairs)
        self._rows.append(
            Row(
                key=contender.key,
                label=contender.label,
                level=self._level.name,
                count=score.count,
                psnr=score.psnr_after,
                ssim=score.ssim_after,
                gain=score.gain,
                share_worse=score.share_worse,
                tools=float(lengths.mean()),
                parameters=cost.parameters,
                parameters_run=cost.parameters_run,
                macs=cost.macs,
                milliseconds=1000.0 * per_patch if cost.macs else None,
                gain_after_step=tuple((results.psnr - results.psnr[:, :1]).mean(axis=0).tolist()),
                note=contender.note,
            )
        )
        self._on_progress(f"{self._level.name}: playing", len(self._rows), total, contender.label)
        return results


def _warm_up(cast: Cast, pairs: ArrayPairs, config: SuiteConfig) -> None:
    """Run every network once, so that no row is charged for what happens only the first time."""
    few = ArrayPairs(pairs.lq[:_WARM_UP], pairs.gt[:_WARM_UP])
    bundles = [cast.ours, *cast.rivals.values(), *([cast.before] if cast.before else [])]
    for bundle in bundles:
        bundle.policy.q_net.to(config.device)
        play(bundle.policy, bundle.toolbox, few, device=config.device, precision=config.precision)
    for toolbox in (cast.ours.toolbox, cast.baselines):
        if toolbox is not None:
            search_sequences(
                toolbox, few, max_steps=1, device=config.device, precision=config.precision
            )


def _choose(count: int, config: SuiteConfig) -> npt.NDArray[np.int64]:
    rng = np.random.default_rng(config.seed)
    chosen = rng.choice(count, min(count, config.oracle_count), replace=False)
    return np.sort(chosen).astype(np.int64)


def _share(
    level: str,
    searched: SequenceTable,
    agent: npt.NDArray[np.float64],
    greedy: npt.NDArray[np.float64],
) -> OracleShare:
    untouched = searched.psnr[searched.sequences.index(())]
    return OracleShare(
        level=level,
        count=len(agent),
        oracle=float((searched.oracle - untouched).mean()),
        greedy=float(greedy.mean()),
        agent=float(agent.mean()),
    )


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
