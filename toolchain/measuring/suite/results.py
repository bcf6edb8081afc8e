"""What a suite found out, as plain data that goes to JSON."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Final

FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Who reached what at which cost, on one level; means over its patches.

    Attributes:
        key: Stable name.
        label: The same for people.
        level: Of the degradation.
        count: Number of patches.
        psnr: dB.
        ssim: None if the patches are too small for it.
        gain: dB above the input.
        share_worse: Share of patches whose PSNR fell.
        tools: Tools run per patch.
        parameters: Agent and all tools that must be at hand.
        parameters_run: Agent and distinct tools that ran on a patch.
        macs: Multiply-accumulates per patch.
        milliseconds: Per patch, in batches; None for doing nothing.
        gain_after_step: dB above the input after 0, 1, ... steps.
        note: What else is worth knowing.
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
        level: Of the degradation.
        count: Number of patches.
        oracle: Gain in dB of the best of all sequences.
        greedy: Gain in dB of the greedy oracle.
        agent: Gain in dB of the agent.
    """

    level: str
    count: int
    oracle: float
    greedy: float
    agent: float

    @property
    def share(self) -> float | None:
        """The agent's share of the oracle's gain; None where there is nothing to gain."""
        return self.agent / self.oracle if self.oracle > 0.0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What the agent expected and did on one level.

    Attributes:
        level: Of the degradation.
        stops: Share of patches on which it stopped in step 1, 2, ...; the rest met the limit.
        steps: Of every tool that ran, the step it ran in, from 1.
        values: The value that the agent gave to it, in dB.
        gains: dB that it gained.
        gains_to_end: dB that it and all after it gained.
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
        columns: Its values.
        first: Per action, *stop* last, and column: how often it was chosen first.
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
        rows: By level, in order.
        oracle: One per level.
        decisions: One per level.
        usage: One per known distortion, over all levels.
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
        """All of it as text, with the agent's shares of the oracle's gain."""
        content = dataclasses.asdict(self)
        for entry, share in zip(content["oracle"], self.oracle, strict=True):
            entry["share"] = share.share
        return json.dumps({"suite": "paper", "format_version": FORMAT_VERSION, **content}, indent=1)
