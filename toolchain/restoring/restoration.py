"""What a restoration is: the image, and the trace of how it came to be."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.images import FloatImage
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import Quality

STOP: Final = "stop"
"""Name of the action that ends a chain."""

BICUBIC: Final = "bicubic"
"""What enlarges a photo where no tool did."""


@dataclass(frozen=True, slots=True)
class Score:
    """How close an image is to the clean one.

    Attributes:
        psnr: In dB.
        ssim: None where a side is too short for it.
    """

    psnr: float
    ssim: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One decision, and what it did.

    Attributes:
        tool: Name of the chosen tool, or `STOP`.
        treats: What the tool treats, for people; empty for stop.
        action: Index of the choice; the agent's last one is stop, and tools that it does not know
            count on from there.
        action_values: By name and in action order, the gain in dB that the agent expected of each
            action that it could choose, the best continuation and the agent's margins included; of
            an agent that was not trained for PSNR alone, the reward. Of a tool that it does not
            know, that tool's alone: what it was estimated to gain on the photos that it was fitted
            to.
        seconds: Time taken by the decision and the tool.
        score: Score of the image after the step, and of its bicubic enlargement while it is still
            small; None where no clean image is known.
        scale: By how much the tool enlarged the photo; 1 is not at all.
        region_actions: Where regions decide, the action of each cell of `restoring.regions.CELL`
            pixels, (rows, columns) int64. ``tool`` is then what most of those that went on got,
            and ``action_values`` are means over them.
        risk: Estimated probability that the tool made the photo worse or, of stop, that the best
            one would have; None where the agent was not calibrated, or regions decide.
        colour_drift: By how many 8-bit grey levels the tool moved the mean of a channel in an area
            of 64 x 64 pixels, at most; None of stop, and of a tool that enlarged.
        clean: Where the agent chose to do nothing at all, the probability with which it takes the
            photo for undamaged; None otherwise, of an agent that does not ask, and where regions
            decide.
        quality: SFD-IQA of the image after the step, and of its bicubic enlargement while it is
            still small; None where it was not asked for, or the image is too small for it.
        is_held_back: Whether a tool promised more than to stop, and was too risky.
        dared: Name and risk of a tool that ran where the agent by itself would have stopped because
            of the risk; where regions decide, of the riskiest one. None if none did.
    """

    tool: str
    treats: str
    action: int
    action_values: Mapping[str, float]
    seconds: float
    score: Score | None = None
    scale: int = 1
    region_actions: npt.NDArray[np.int64] | None = None
    risk: float | None = None
    colour_drift: float | None = None
    clean: float | None = None
    quality: Quality | None = None
    is_held_back: bool = False
    dared: tuple[str, float] | None = None

    @property
    def is_stop(self) -> bool:
        """Whether the agent chose to leave the image as it is."""
        return self.tool == STOP

    def runners_up(self, n: int = 3) -> tuple[tuple[str, float], ...]:
        """The ``n`` best actions that were not chosen, best first, with their values."""
        others = [item for item in self.action_values.items() if item[0] != self.tool]
        return tuple(sorted(others, key=lambda item: -item[1])[:n])


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a restoration, precisely enough to make it again.

    Attributes:
        version: Version of this package.
        toolbox: Name of the toolbox.
        tool_checksums: SHA-256 of each tool's weight file, where it was loaded from one.
        agent: Name or folder of the agent.
        agent_checksum: SHA-256 of the agent's weights.
        settings: What it was told, with device and precision as they were chosen and with what the
            call chose.
        prior_checksum: SHA-256 of the numbers of a map or of a model's weights that was given for
            a prior; empty where its name says everything.
        reward: Unit of action values: ``psnr`` in dB, or another name of `envs.reward`.
        loaded: What `restoring.load.load` is to be told for the same restorer again; None of one
            that was not loaded.
    """

    version: str
    toolbox: str
    tool_checksums: Mapping[str, str]
    agent: str
    agent_checksum: str
    settings: RestoreSettings
    prior_checksum: str = ""
    reward: str = "psnr"
    loaded: RestoreSettings | None = None

    @property
    def unit(self) -> str:
        """Unit of action values: ``dB``, or nothing that has a name."""
        return "dB" if self.reward == "psnr" else ""

    @property
    def options(self) -> dict[str, Any]:
        """What `loaded` holds, as plain data for JSON; empty of a restorer that was not loaded."""
        return {} if self.loaded is None else self.loaded.to_dict()


@dataclass(frozen=True, slots=True, eq=False)
class Restoration:
    """A restored image and how it came to be.

    Attributes:
        image: Restored RGB, shape (H, W, 3), float32, range [0, 1].
        steps: Every decision in order; the last one is stop unless the limit was reached first.
        provenance: What made it.
        score: Score of the input; None where no clean image is known.
        frames: The input, then the image after each tool, if they were asked for; else empty.
        notes: One sentence for each tool that was added and not used, and for what else is to be
            known.
        unfamiliarity: How far the photo lies from what the agent was calibrated on; above 1 it is
            unlike that. None of an agent that was not calibrated.
        quality: SFD-IQA of the input, as `Step.quality` is.
        permitted_risk: Largest risk of harm with which a tool might run.
    """

    image: FloatImage
    steps: tuple[Step, ...]
    provenance: Provenance
    score: Score | None = None
    frames: tuple[FloatImage, ...] = ()
    notes: tuple[str, ...] = ()
    unfamiliarity: float | None = None
    quality: Quality | None = None
    permitted_risk: float = 1.0

    @property
    def sequence(self) -> tuple[str, ...]:
        """The tools that ran, in order; empty if the agent left the image as it was."""
        return tuple(step.tool for step in self.steps if not step.is_stop)

    @property
    def enlarged_by(self) -> str | None:
        """The tool that enlarged the photo, or `BICUBIC`; None if it kept its size."""
        if self.provenance.settings.scale == 1:
            return None
        return next((step.tool for step in self.steps if step.scale > 1), BICUBIC)

    @property
    def final_score(self) -> Score | None:
        """Score of the restored image."""
        return self.steps[-1].score

    @property
    def final_quality(self) -> Quality | None:
        """SFD-IQA of the restored image."""
        return self.steps[-1].quality

    @property
    def seconds(self) -> float:
        """Time taken by all steps."""
        return sum(step.seconds for step in self.steps)

    def trace(self) -> dict[str, Any]:
        """Everything but pixels, as plain data for JSON; the ``psnr_gain`` of the steps add up."""
        height, width = self.image.shape[:2]
        made_by, settings = self.provenance, self.provenance.settings
        return {
            "version": made_by.version,
            "toolbox": {"name": made_by.toolbox, "sha256": dict(made_by.tool_checksums)},
            "agent": {"name": made_by.agent, "sha256": made_by.agent_checksum},
            "device": settings.device,
            "precision": settings.precision,
            "max_steps": settings.max_steps,
            "scale": settings.scale,
            "enlarged_by": self.enlarged_by,
            "enlarging": {
                "prior": settings.prior,
                "steps": settings.steps,
                "prior_sha256": made_by.prior_checksum,
            },
            "reward": made_by.reward,
            **settings.chosen_by_call(),
            "options": made_by.options,
            "max_risk": settings.max_risk,
            "permitted_risk": self.permitted_risk,
            "unfamiliarity": self.unfamiliarity,
            "width": width,
            "height": height,
            "sequence": list(self.sequence),
            "seconds": self.seconds,
            **_score_entries(self.score, "_before"),
            **_score_entries(self.final_score, "_after"),
            "quality_before": _quality_entry(self.quality),
            "quality_after": _quality_entry(self.final_quality),
            "steps": self._step_entries(),
        }

    def _step_entries(self) -> list[dict[str, Any]]:
        before, entries = self.score, list[dict[str, Any]]()
        for step in self.steps:
            gain = None if step.score is None or before is None else step.score.psnr - before.psnr
            entries.append(
                {
                    "tool": step.tool,
                    "treats": step.treats,
                    "action": step.action,
                    "action_values": dict(step.action_values),
                    "risk": step.risk,
                    "held_back": step.is_held_back,
                    "clean_probability": step.clean,
                    "colour_drift": step.colour_drift,
                    "seconds": step.seconds,
                    **_score_entries(step.score),
                    "psnr_gain": gain,
                    "quality": _quality_entry(step.quality),
                }
            )
            if step.region_actions is not None:
                entries[-1]["region_actions"] = step.region_actions.tolist()
            before = step.score
        return entries


def explain_end(restoration: Restoration) -> str:
    """Say why no further tool ran, and if none has enlarged the photo as it was to be."""
    why = _explain_last(restoration)
    if restoration.enlarged_by != BICUBIC:
        return why
    return f"{why} No tool enlarged it: this is its bicubic enlargement."


def explain_passed_over(restoration: Restoration) -> tuple[str, ...]:
    """Say why a tool ran although another had a larger value, in one sentence if any did.

    A stop is explained by `explain_end`. Where regions decide, nothing is said: values are then
    means.
    """
    settings = restoration.provenance.settings
    by_agent = [step for step in restoration.steps if STOP in step.action_values]
    passed_over = [
        step
        for step in by_agent[len(settings.forced) :]
        if not step.is_stop
        and step.region_actions is None
        and max(step.action_values.values()) > step.action_values[step.tool]
    ]
    if not passed_over:
        return ()
    has_limits = not settings.even_if_unsure or settings.max_risk < 1.0
    counts_risk = passed_over[0].risk is not None and has_limits
    if counts_risk and settings.effort:
        why = "costs more than its gain is worth, in risk or in arithmetic"
    elif counts_risk:
        limit = restoration.permitted_risk
        more = f"the {limit:.0%} permitted, or than " if limit < 1.0 else ""
        why = f"risks more than {more}its gain is worth to the agent"
    else:
        why = "costs more arithmetic than its gain is worth at this effort"
    return (f"A runner-up with a larger value than the tool that ran {why}.",)


def _explain_last(restoration: Restoration) -> str:
    last, settings = restoration.steps[-1], restoration.provenance.settings
    if not last.is_stop:
        limit = settings.max_steps
        return f"Ended at the limit of {limit} tool{'s' if limit > 1 else ''}."
    known = sum(step.action <= last.action for step in restoration.steps)  # not of added tools
    if len(settings.forced) >= known:
        return "Stopped by hand."
    ((rival, value), *_) = last.runners_up(1)
    stop = last.action_values[STOP]
    allowed = restoration.permitted_risk
    if last.is_held_back and last.risk is None:  # of regions, each of which has its own
        above = f"above {allowed:.0%}" if allowed < 1.0 else "too high for it"
        return f"Stopped: every tool that promises something has a risk {above}."
    if last.is_held_back and last.risk is not None and last.risk > allowed:
        return (
            f"Stopped: the best tool, {rival}, would make the photo worse with a probability of "
            f"{last.risk:.0%}, more than the {allowed:.0%} permitted."
        )
    what = "Left as it is" if not restoration.sequence else "Stopped"
    if last.is_held_back and last.risk is not None:
        return (
            f"{what}: the best tool, {rival}, promises {value - stop:.2f}"
            f"{restoration.provenance.unit and ' ' + restoration.provenance.unit} more than "
            f"stopping, too little for the risk of {last.risk:.0%} that it makes the photo worse."
        )
    unit = f" {restoration.provenance.unit}".rstrip()
    if settings.effort and value > stop:
        return (
            f"{what}: the best tool, {rival}, promises {value - stop:.2f}{unit} more than "
            "stopping, too little for the arithmetic at this effort."
        )
    if last.clean is not None and last.clean > 0.5:
        return f"{what}: the agent takes it for undamaged, with a probability of {last.clean:.0%}."
    if value <= 0.0:
        change = f"change PSNR by {value:+.2f} dB" if unit else f"be worth {value:+.2f}"
        return f"{what}: the agent expects no tool to help; the best, {rival}, would {change}."
    return (
        f"{what}: stopping is valued at {stop:+.2f}{unit}, the best tool, {rival}, at {value:+.2f}."
    )


def _score_entries(score: Score | None, suffix: str = "") -> dict[str, float | None]:
    return {
        f"psnr{suffix}": None if score is None else score.psnr,
        f"ssim{suffix}": None if score is None else score.ssim,
    }


def _quality_entry(quality: Quality | None) -> dict[str, Any] | None:
    return None if quality is None else dataclasses.asdict(quality)
