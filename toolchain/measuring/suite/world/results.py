"""What the suite of the world found out, as plain data that goes to JSON and back."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final, Self

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.patches.world_set import UNITS, Kind, Unit

FORMAT_VERSION: Final = 1

HARM: Final = 0.05
"""dB; an image that loses more was made worse."""

GREAT_HARM: Final = 0.5
"""dB; what no image in a thousand may lose."""

LOW_RISK: Final = 0.1
"""Largest claimed risk of a step that counts as safe."""

RISK_EDGES: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0)
"""Edges of the groups of steps by their claimed risk; one on an edge belongs to the group below."""

SHARE_TO_REACH: Final = 0.85
"""Share of the greedy oracle's gain that the agent is to take on every family."""

LEAST_GAIN: Final = 0.02
"""dB; where the oracle gains less, a share of it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How pictures of one kind came out.

    Attributes:
        label: The kind of drawing, or the name of the family.
        count: Number of pictures.
        identical: Pictures that came out as they were, to the last bit of 8.
        worst_loss: Largest loss of capped PSNR in dB, 0 or more.
    """

    label: str
    count: int
    identical: int
    worst_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskGroup:
    """Steps of about the same claimed risk.

    Attributes:
        low: Edge below.
        high: Edge above.
        count: Steps that ran a tool.
        claimed: Sum of their claimed risks.
        worse: Steps of them that made the image worse.
    """

    low: float
    high: float
    count: int
    claimed: float
    worse: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What one player gains, and what arithmetic that takes; means over images.

    Attributes:
        player: Who restored: ``agent, low`` is the agent at an effort.
        price: What arithmetic cost the agent, in dB per 100,000 multiply-accumulates and pixel
            (`toolchain.restoring.settings.EFFORTS`); None of others.
        gain: dB of PSNR, capped at 50 before and after.
        macs: Multiply-accumulates per pixel, of the tools that ran and of the agent's looks.
        tools: Tools that ran.
    """

    player: str
    price: float | None
    gain: float
    macs: float
    tools: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyResult:
    """What was reached on one family; means over its images of PSNR in dB, capped at 50.

    Attributes:
        family: Name of the family.
        kind: What it holds.
        unit: Whether the images are crops or whole photos.
        count: Number of images.
        input: PSNR of the images as they came.
        single: PSNR of the best single tool, in hindsight.
        sequence: PSNR of the best fixed sequence, in hindsight.
        agent: PSNR of what users get.
        oracle: PSNR of the greedy oracle.
        reference: PSNR of a network that was trained on this family alone; None if there is none.
        single_tool: Names of the best single tool's chain: one, or none if doing nothing is best.
        sequence_tools: Names of the best fixed sequence's tools.
        chains: The agent's chains by how often it played them, most often first: names of tools,
            and images.
        harmed: Images that the agent made worse by more than `HARM`.
        greatly_harmed: Images that it made worse by more than `GREAT_HARM`.
        worst_loss: Largest loss of an image in dB, 0 or more.
        identical: Images that came out as they were, to the last bit of 8.
        kept: The same by kind of drawing; one entry for a family of photos.
        risks: The agent's steps by claimed risk; none of an agent that claims none.
        unfamiliar: Images that were called unlike what the agent was trained on.
        held_back: Images on which a tool promised a gain and was too risky.
        seconds: Time that the agent took for an image, tools included.
        one_for_all: PSNR of the sequence that is best for all damaged families of the unit; None of
            other families.
        rival: PSNR of one network for everything; None if there was none.
        rival_harmed: Images that it made worse by more than `HARM`.
        spending: What others and the agent at several efforts gain, and the arithmetic that it
            takes; empty where no effort was asked for.
    """

    family: str
    kind: Kind
    unit: Unit
    count: int
    input: float
    single: float
    sequence: float
    agent: float
    oracle: float
    reference: float | None
    single_tool: tuple[str, ...]
    sequence_tools: tuple[str, ...]
    chains: tuple[tuple[tuple[str, ...], int], ...]
    harmed: int
    greatly_harmed: int
    worst_loss: float
    identical: int
    kept: tuple[Kept, ...]
    risks: tuple[RiskGroup, ...]
    unfamiliar: int
    held_back: int
    seconds: float
    one_for_all: float | None = None
    rival: float | None = None
    rival_harmed: int = 0
    spending: tuple[Spending, ...] = ()

    @property
    def gain(self) -> float:
        """What the agent gains, in dB."""
        return self.agent - self.input

    @property
    def decision_regret(self) -> float:
        """What the decision loses against the best chain of these tools, in dB."""
        return self.oracle - self.agent

    @property
    def tools_regret(self) -> float | None:
        """What these tools lack against a network of this family alone, in dB."""
        return None if self.reference is None else self.reference - self.oracle

    @property
    def share(self) -> float | None:
        """The agent's share of the oracle's gain; None where there is nothing to gain."""
        return share_of(self.gain, self.oracle - self.input)

    @property
    def low_risk(self) -> RiskGroup | None:
        """The steps with a claimed risk of at most `LOW_RISK`; None if there are none."""
        return merged([group for group in self.risks if group.high <= LOW_RISK])


def share_of(gain: float, best: float) -> float | None:
    """A gain as a share of the best one; None where that is hardly one."""
    return gain / best if best >= LEAST_GAIN else None


def merged(groups: Sequence[RiskGroup]) -> RiskGroup | None:
    """Groups of steps as one; None if there is no step in them."""
    if not sum(group.count for group in groups):
        return None
    return RiskGroup(
        low=min(group.low for group in groups),
        high=max(group.high for group in groups),
        count=sum(group.count for group in groups),
        claimed=sum(group.claimed for group in groups),
        worse=sum(group.worse for group in groups),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """Means over families, each counting alike; PSNR in dB, capped at 50.

    Attributes:
        families: Number of families.
        count: Number of images.
        psnr: Mean PSNR by name of the column: ``input``, ``single``, ``sequence``, ``agent``,
            ``oracle``.
        one_for_all: PSNR of the sequence that is best for all of these families together; None if
            it was not measured.
        rival: PSNR of one network for everything; None if there was none.
        decision_regret: What the decision loses, in dB.
        tools_regret: What the tools lack, over the families that have a reference; None if none
            has.
        share: The agent's gain over the oracle's, both summed over families.
        share_harmed: Share of the images that were made worse by more than `HARM`.
        worst_loss: Largest loss of an image in dB.
    """

    families: int
    count: int
    psnr: Mapping[str, float]
    one_for_all: float | None
    rival: float | None
    decision_regret: float
    tools_regret: float | None
    share: float | None
    share_harmed: float
    worst_loss: float


COLUMNS: Final = ("input", "single", "sequence", "agent", "oracle")
"""Players of the tables, weakest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldResults:
    """Everything that a run found out.

    Attributes:
        facts: How it was measured: names, seed, device, versions, the command.
        families: Results by unit and family, in order.
    """

    facts: dict[str, str | int | float]
    families: tuple[FamilyResult, ...]

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units that were measured."""
        return tuple(unit for unit in UNITS if self.of(unit))

    def of(self, unit: Unit) -> list[FamilyResult]:
        """The results of a unit, in order."""
        return [one for one in self.families if one.unit == unit]

    def damaged(self, unit: Unit) -> list[FamilyResult]:
        """The results of a unit on damaged photos."""
        return [one for one in self.of(unit) if one.kind == "damaged"]

    def mean(self, unit: Unit) -> Mean | None:
        """The mean over damaged families; None if there are none."""
        found = self.damaged(unit)
        if not found:
            return None
        lacks = [one.tools_regret for one in found if one.tools_regret is not None]
        count = sum(one.count for one in found)
        psnr = {name: fmean(getattr(one, name) for one in found) for name in COLUMNS}
        return Mean(
            families=len(found),
            count=count,
            psnr=psnr,
            one_for_all=_mean_of([one.one_for_all for one in found]),
            rival=_mean_of([one.rival for one in found]),
            decision_regret=psnr["oracle"] - psnr["agent"],
            tools_regret=fmean(lacks) if lacks else None,
            share=share_of(psnr["agent"] - psnr["input"], psnr["oracle"] - psnr["input"]),
            share_harmed=sum(one.harmed for one in found) / count,
            worst_loss=max(one.worst_loss for one in found),
        )

    def spending(self, unit: Unit) -> list[Spending]:
        """Who gains how much by how much arithmetic: means over damaged families, each alike.

        Left out is who did not play on all of them.
        """
        found = [one.spending for one in self.damaged(unit)]
        seats = {one.player: one for spent in found for one in spent}
        means = []
        for player, seat in seats.items():
            spent = [one for of_family in found for one in of_family if one.player == player]
            if len(spent) == len(found):
                gain, macs, tools = (
                    fmean(getattr(one, name) for one in spent) for name in ("gain", "macs", "tools")
                )
                means.append(dataclasses.replace(seat, gain=gain, macs=macs, tools=tools))
        return means

    def risks(self) -> list[RiskGroup]:
        """All steps of all families by claimed risk, in groups that are not empty."""
        groups = [group for one in self.families for group in one.risks]
        found = [merged([g for g in groups if g.low == low]) for low in RISK_EDGES[:-1]]
        return [group for group in found if group is not None]

    def to_json(self) -> str:
        """All of it as text; `from_json` reads it."""
        about = {"suite": "world", "format_version": FORMAT_VERSION, "facts": self.facts}
        means = {unit: self.mean(unit) for unit in self.units}
        return json.dumps(
            {
                **about,
                "means": {
                    u: None if m is None else dataclasses.asdict(m) for u, m in means.items()
                },
                "families": [
                    {
                        **dataclasses.asdict(one),
                        "decision_regret": one.decision_regret,
                        "tools_regret": one.tools_regret,
                        "share": one.share,
                    }
                    for one in self.families
                ],
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ToolchainError: It is no such text, or one of another version.
        """
        try:
            content = json.loads(text)
            if (content["suite"], content["format_version"]) != ("world", FORMAT_VERSION):
                raise ToolchainError("these are not results of the suite world of this version")
            families = tuple(map(_read_family, content["families"]))
            return cls(facts=content["facts"], families=families)
        except (ValueError, KeyError, TypeError) as error:
            raise ToolchainError(f"no results of the suite world: {error}") from error


def _mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of numbers; None if one of them is not known."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _read_family(entry: Mapping[str, Any]) -> FamilyResult:
    names = {field.name for field in dataclasses.fields(FamilyResult)}
    values = {name: value for name, value in entry.items() if name in names}
    return FamilyResult(
        **{
            **values,
            "single_tool": tuple(values["single_tool"]),
            "sequence_tools": tuple(values["sequence_tools"]),
            "chains": tuple((tuple(chain), count) for chain, count in values["chains"]),
            "kept": tuple(Kept(**kept) for kept in values["kept"]),
            "risks": tuple(RiskGroup(**group) for group in values["risks"]),
            # Results of before there were efforts have none.
            "spending": tuple(Spending(**one) for one in values.get("spending", ())),
        }
    )
