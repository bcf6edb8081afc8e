"""What a suite found out, as plain data that goes to JSON."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Final

FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one player reached on one level, and at which cost; means over the patches.

    Attributes:
        key: Stable name of the player.
        label: Name of the player for people.
        level: Name of the degradation level.
        count: Number of patches.
        psnr: PSNR in dB.
        ssim: SSIM; None if the patches are too small for it.
        gain: PSNR above that of the input, in dB.
        share_worse: Share of patches whose PSNR fell.
        tools: Tools run per patch.
        parameters: Parameters of the agent and of all tools that must be at hand.
        parameters_run: Parameters of the agent and of the distinct tools that ran on a patch.
        macs: Multiply-accumulates per patch, of the tools that ran, the agent's looks, and
            everything that an oracle tried.
        milliseconds: Time per patch, in batches; None for doing nothing.
        gain_after_step: PSNR above that of the input after 0, 1, ... steps, in dB.
        note: Remark on the player.
    """

    key: str
    label: str
    level: str
    count: int
    psnr: float
    ssim: float | None
    gain: float
    share_worse: float
    tools: float
    parameters: int
    parameters_run: float
    macs: float
    milliseconds: float | None
    gain_after_step: tuple[float, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleShare:
    """How much of the best possible gain the agent takes, on the same patches.

    Attributes:
        level: Name of the degradation level.
        count: Number of patches.
        oracle: Gain in dB of the best of all sequences.
        greedy: Gain in dB of the greedy oracle.
        agent: Gain in dB of the agent.
        share: The agent's share of the oracle's gain; None where there is nothing to gain.
    """

    level: str
    count: int
    oracle: float
    greedy: float
    agent: float
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What the agent expected and did on one level.

    Attributes:
        level: Name of the degradation level.
        stops: Share of patches on which it stopped in step 1, 2, ...; the rest met the limit.
        steps: Step of every tool that ran, from 1.
        values: Value that the agent gave to each of them, in dB.
        gains: Gain of each of them, in dB.
        gains_to_end: Gain of each of them and all tools after it, in dB.
    """

    level: str
    stops: tuple[float, ...]
    steps: tuple[int, ...]
    values: tuple[float, ...]
    gains: tuple[float, ...]
    gains_to_end: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How often the agent chose which action, by a property of the input.

    Attributes:
        by: The property: ``blur``, ``noise`` or ``jpeg`` level, or ``patches`` if none is known.
        columns: Values of the property.
        first: Number of times an action was chosen first, per action (*stop* last) and column.
        every: The same for all steps.
    """

    by: str
    columns: tuple[str, ...]
    first: tuple[tuple[int, ...], ...]
    every: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResults:
    """Everything that a run found out.

    Attributes:
        facts: How it was measured: version, device, seed, names.
        remarks: A sentence for each comparison that is left out.
        actions: Names of the agent's actions, *stop* last.
        rows: Results of the players, by level, in order.
        oracle: Comparison with the oracles, for each level.
        decisions: The agent's decisions, for each level.
        usage: The agent's actions by strength, for each known distortion, over all levels.
    """

    facts: dict[str, str | int | float]
    remarks: tuple[str, ...]
    actions: tuple[str, ...]
    rows: tuple[Row, ...]
    oracle: tuple[OracleShare, ...]
    decisions: tuple[Decisions, ...]
    usage: tuple[Usage, ...]

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the levels, in order."""
        return tuple(dict.fromkeys(row.level for row in self.rows))

    def of_level(self, level: str) -> list[Row]:
        """The rows of a level, in order."""
        return [row for row in self.rows if row.level == level]

    def to_json(self) -> str:
        """All of it as text."""
        about = {"suite": "paper", "format_version": FORMAT_VERSION}
        return json.dumps(about | dataclasses.asdict(self), indent=1)
