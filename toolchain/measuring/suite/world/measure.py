"""Run the suite of the world: every family, by everyone who can be compared, in one go."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from restoration_toolchain.agents.outcomes.record import PSNR_CAP
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import ByteImage, to_float, to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.patches.world_set import UNITS, Pair, Unit, WorldFamily
from restoration_toolchain.toolchain.measuring.suite.cost import agent_macs
from restoration_toolchain.toolchain.measuring.suite.world.outcomes import (
    Outcomes,
    Values,
    best_sequence,
    best_sequence_of_all,
    best_single,
    greedy_oracle,
)
from restoration_toolchain.toolchain.measuring.suite.world.results import (
    GREAT_HARM,
    HARM,
    RISK_EDGES,
    FamilyResult,
    Kept,
    RiskGroup,
    Spending,
    WorldResults,
)
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.toolchain.restoring.settings import effort_name
from restoration_toolchain.toolchain.restoring.views import views
from restoration_toolchain.tools_zoo.device import choose_precision
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox

OnProgress = Callable[[int, int, str, str], None]
"""Called with (done, total, what was done last, what is going on)."""

_WORSE: Final = 1e-6
"""dB by which a step must lower the PSNR to count as one that made the image worse."""


class Example(NamedTuple):
    """One picture of a family, and what came of it.

    Attributes:
        family: Name of the family.
        label: Damage in words, or the kind of drawing.
        clean: Clean picture, RGB uint8 (H, W, 3).
        damaged: Degraded picture, likewise.
        restored: What users get, likewise.
        chain: Names of the tools that ran.
        before: PSNR of the degraded picture in dB, capped.
        after: PSNR of the restored picture in dB, capped.
    """

    family: str
    label: str
    clean: ByteImage
    damaged: ByteImage
    restored: ByteImage
    chain: tuple[str, ...]
    before: float
    after: float


@dataclass(frozen=True, slots=True, eq=False)
class _Restored:
    """What came of one picture.

    Attributes:
        psnr: PSNR in dB, capped, before and after every tool.
        image: Result, RGB uint8 (H, W, 3).
        chain: Names of the tools that ran.
        decisions: Number of decisions, that to stop included.
        steps: Claimed risk of every tool that ran, and whether it made the picture worse.
        seconds: Time taken.
        is_identical: Whether the result is the input, to the last bit of 8.
        is_unfamiliar: Whether it was called unlike what the agent was trained on.
        is_held_back: Whether a tool promised a gain and was too risky.
    """

    psnr: tuple[float, ...]
    image: ByteImage
    chain: tuple[str, ...]
    decisions: int
    steps: tuple[tuple[float, bool], ...]
    seconds: float
    is_identical: bool
    is_unfamiliar: bool
    is_held_back: bool


def run_world(
    restorer: Restorer,
    families: Iterable[WorldFamily],
    *,
    total: int,
    reference: Toolbox | None = None,
    rival: Tool | None = None,
    efforts: Sequence[float] = (),
    facts: dict[str, str | int | float] | None = None,
    on_progress: OnProgress = lambda done, total, note, title: None,
) -> tuple[WorldResults, list[Example]]:
    """Measure what users get on every family, and what would have been possible.

    Args:
        restorer: Agent and toolbox, told everything that a user could tell them.
        families: The validation set, one family at a time.
        total: Number of families.
        reference: Networks that were trained on one family alone each, named like it.
        rival: One network for everything, that runs once on every picture.
        efforts: Prices of arithmetic at which the agent is to be measured, too, beside that which
            the restorer was told (`toolchain.restoring.settings.EFFORTS`).
        facts: Facts to record beside those known here.
        on_progress: Progress, over families.

    Returns:
        The results, and one example of each family.

    Raises:
        ToolchainError: There is nothing to measure on.
    """
    results: list[FamilyResult] = []
    examples: list[Example] = []
    tried: dict[int, Outcomes] = {}  # by the place of the result, of damaged families
    for number, family in enumerate(families, start=1):
        units = [unit for unit in UNITS if family.of(unit)]
        for unit in units:
            outcomes = _outcomes(restorer, family.of(unit))
            result, example = _measure(restorer, family, unit, outcomes, reference, rival, efforts)
            if family.kind == "damaged":
                outcomes.forget()
                tried[len(results)] = outcomes
            results.append(result)
            if unit == units[0]:
                examples.append(example)
        on_progress(number, total, family.name, "the world, by family")
    if not results:
        raise ToolchainError("there is no picture to measure on")
    max_steps = restorer.provenance.settings.max_steps
    on_progress(total, total, "", "one sequence for all of the world")
    results, sequences = _with_one_for_all(results, tried, restorer.toolbox.names, max_steps)
    in_order = sorted(results, key=lambda one: UNITS.index(one.unit))
    facts = {**_facts(restorer), **sequences, **(facts or {})}
    return WorldResults(facts=facts, families=tuple(in_order)), examples


def _outcomes(restorer: Restorer, pairs: Sequence[Pair]) -> Outcomes:
    settings = restorer.provenance.settings
    precision = choose_precision(settings.precision, torch.device(settings.device))
    return Outcomes(restorer.toolbox, pairs, device=settings.device, precision=precision)


def _with_one_for_all(
    results: Sequence[FamilyResult],
    tried: Mapping[int, Outcomes],
    names: Sequence[str],
    max_steps: int,
) -> tuple[list[FamilyResult], dict[str, str]]:
    """Add to each result what the best sequence for all damaged families of its unit reaches."""
    added = list(results)
    sequences = {}
    for unit in UNITS:
        places = [place for place in tried if results[place].unit == unit]
        if places:
            groups = [tried[place] for place in places]
            chain, reached = best_sequence_of_all(groups, max_steps=max_steps)
            sequences[f"{unit}_sequence"] = ", ".join(names[action] for action in chain) or "none"
            for place, values in zip(places, reached, strict=True):
                added[place] = dataclasses.replace(results[place], one_for_all=float(values.mean()))
    return added, sequences


def _measure(
    restorer: Restorer,
    family: WorldFamily,
    unit: Unit,
    outcomes: Outcomes,
    reference: Toolbox | None,
    rival: Tool | None,
    efforts: Sequence[float],
) -> tuple[FamilyResult, Example]:
    pairs = family.of(unit)
    toolbox, max_steps = restorer.toolbox, restorer.provenance.settings.max_steps
    single, single_psnr = best_single(outcomes)
    sequence, sequence_psnr = best_sequence(outcomes, max_steps=max_steps)
    _, oracle_psnr = greedy_oracle(outcomes, max_steps=max_steps)
    alone = alone_psnr = None
    if reference is not None and family.name in reference.names:
        alone = reference[family.name]
        alone_psnr = outcomes.alone(alone)
    rival_psnr = None if rival is None else outcomes.alone(rival)
    restored = [_restore(restorer, pair) for pair in pairs]
    spending: list[Spending] = []
    if efforts:
        fixed = {
            "best single tool": ([toolbox[action] for action in single], single_psnr),
            "best fixed sequence": ([toolbox[action] for action in sequence], sequence_psnr),
        }
        if alone is not None and alone_psnr is not None:
            fixed["reference"] = ([alone], alone_psnr)
        if rival is not None and rival_psnr is not None:
            fixed["one network for all"] = ([rival], rival_psnr)
        spending += [_spent(n, *of, outcomes.inputs) for n, of in fixed.items()]
        spending += _spent_by_agent(restorer, pairs, restored, efforts)
    # By the same measure before and after, so that what is left alone loses nothing at all.
    losses = np.array([one.psnr[0] - one.psnr[-1] for one in restored])
    result = FamilyResult(
        family=family.name,
        kind=family.kind,
        unit=unit,
        count=len(pairs),
        input=float(outcomes.inputs.mean()),
        single=float(single_psnr.mean()),
        sequence=float(sequence_psnr.mean()),
        agent=float((outcomes.inputs - losses).mean()),
        oracle=float(oracle_psnr.mean()),
        reference=None if alone_psnr is None else float(alone_psnr.mean()),
        rival=None if rival_psnr is None else float(rival_psnr.mean()),
        rival_harmed=0 if rival_psnr is None else int((outcomes.inputs - rival_psnr > HARM).sum()),
        single_tool=tuple(toolbox.names[action] for action in single),
        sequence_tools=tuple(toolbox.names[action] for action in sequence),
        chains=tuple(Counter(one.chain for one in restored).most_common()),
        harmed=int((losses > HARM).sum()),
        greatly_harmed=int((losses > GREAT_HARM).sum()),
        worst_loss=float(max(losses.max(), 0.0)),
        identical=sum(one.is_identical for one in restored),
        kept=tuple(_kept(family, pairs, restored, losses)),
        risks=_risk_groups([step for one in restored for step in one.steps]),
        unfamiliar=sum(one.is_unfamiliar for one in restored),
        held_back=sum(one.is_held_back for one in restored),
        seconds=float(np.mean([one.seconds for one in restored])),
        spending=tuple(spending),
    )
    chosen = int(np.abs(losses - losses.mean()).argmin())  # the one that is most like all of them
    pair, one = pairs[chosen], restored[chosen]
    pictures, ends = (pair.gt, pair.lq, one.image), (one.psnr[0], one.psnr[-1])
    return result, Example(family.name, pair.label, *pictures, one.chain, *ends)


def _spent(player: str, chain: Sequence[Tool], reached: Values, inputs: Values) -> Spending:
    """What the same tools gain on every picture."""
    return Spending(
        player=player,
        price=None,
        gain=float((reached - inputs).mean()),
        macs=float(sum(tool.spec.macs_per_pixel for tool in chain)),
        tools=float(len(chain)),
    )


def _spent_by_agent(
    restorer: Restorer,
    pairs: Sequence[Pair],
    restored: Sequence[_Restored],
    efforts: Sequence[float],
) -> Iterator[Spending]:
    """What the agent gains at several efforts; ``restored`` is what it does as it was told."""
    told, look = restorer.provenance.settings.effort, agent_macs(restorer.policy)
    macs_of = {tool.spec.name: tool.spec.macs_per_pixel for tool in restorer.toolbox}
    played = [
        _restore_at(restorer, pair, efforts, {told: one})
        for pair, one in zip(pairs, restored, strict=True)
    ]
    looks = []  # multiply-accumulates per pixel that one decision takes
    for pair in pairs:
        height, width = pair.lq.shape[:2]
        positions = views(height, width, grid=restorer.policy.view_grid)
        looks.append(len(positions) * look / (height * width))
    for price in efforts:
        found = [by_price[price] for by_price in played]
        macs = [
            sum(macs_of[name] for name in one.chain) + one.decisions * of_look
            for one, of_look in zip(found, looks, strict=True)
        ]
        yield Spending(
            player=f"agent, {effort_name(price)}",
            price=price,
            gain=float(np.mean([one.psnr[-1] - one.psnr[0] for one in found])),
            macs=float(np.mean(macs)),
            tools=float(np.mean([len(one.chain) for one in found])),
        )


def _restore_at(
    restorer: Restorer, pair: Pair, prices: Sequence[float], known: dict[float, _Restored]
) -> dict[float, _Restored]:
    """Restore a picture at every price of arithmetic, where that is not known yet.

    What a tool is worth falls in a straight line with the price. So a tool that is best at two
    prices is best between them, and a chain that two prices have in common is that of all between.
    Of regions, each of which has its own chain, this cannot be told by the names of the tools.
    """
    ordered = sorted({*prices, *known})
    is_line = not restorer.provenance.settings.regions

    def at(price: float) -> _Restored:
        if price not in known:
            known[price] = _restore(restorer, pair, effort=price)
        return known[price]

    def fill(low: int, high: int) -> None:
        """Settle what lies between two places of the prices."""
        first, last = at(ordered[low]), at(ordered[high])
        if high - low < 2:
            return
        if is_line and first.chain == last.chain:
            known.update((price, known.get(price, first)) for price in ordered[low:high])
            return
        middle = (low + high) // 2
        fill(low, middle)
        fill(middle, high)

    fill(0, len(ordered) - 1)
    return known


def _restore(restorer: Restorer, pair: Pair, effort: float | None = None) -> _Restored:
    """Restore a picture as a user would; None is the effort that the restorer was told."""
    restoration = restorer.restore(pair.lq, keep_frames=True, effort=effort)
    clean = to_float(pair.gt)
    reached = [psnr(frame, clean) for frame in restoration.frames]
    tools = [step for step in restoration.steps if not step.is_stop]
    steps = [
        (step.risk, after < before - _WORSE)
        for step, (before, after) in zip(tools, pairwise(reached), strict=True)
        if step.risk is not None
    ]
    image = to_uint8(restoration.image)
    return _Restored(
        psnr=tuple(min(value, PSNR_CAP) for value in reached),
        image=image,
        chain=restoration.sequence,
        decisions=len(restoration.steps),
        steps=tuple(steps),
        seconds=restoration.seconds,
        is_identical=np.array_equal(image, pair.lq),
        is_unfamiliar=(restoration.unfamiliarity or 0.0) > 1.0,
        is_held_back=any(step.is_held_back for step in restoration.steps),
    )


def _kept(
    family: WorldFamily,
    pairs: Sequence[Pair],
    restored: Sequence[_Restored],
    losses: npt.NDArray[np.float64],
) -> Iterator[Kept]:
    is_drawn = "drawings" in family.kind
    labels = [pair.label if is_drawn else family.name for pair in pairs]
    for label in dict.fromkeys(labels):
        rows = [row for row, other in enumerate(labels) if other == label]
        yield Kept(
            label=label,
            count=len(rows),
            identical=sum(restored[row].is_identical for row in rows),
            worst_loss=float(max(0.0, *(losses[row] for row in rows))),
        )


def _risk_groups(steps: Sequence[tuple[float, bool]]) -> tuple[RiskGroup, ...]:
    """Sort steps into the groups between `RISK_EDGES`; groups without any are left out."""
    if not steps:
        return ()
    risks, is_worse = np.array([risk for risk, _ in steps]), np.array([worse for _, worse in steps])
    places = np.clip(np.searchsorted(RISK_EDGES, risks) - 1, 0, len(RISK_EDGES) - 2)
    return tuple(
        RiskGroup(
            low=RISK_EDGES[place],
            high=RISK_EDGES[place + 1],
            count=int((places == place).sum()),
            claimed=float(risks[places == place].sum()),
            worse=int(is_worse[places == place].sum()),
        )
        for place in np.unique(places).tolist()
    )


def _facts(restorer: Restorer) -> dict[str, Any]:
    made_by = restorer.provenance
    settings = made_by.settings
    device = torch.device(settings.device)
    return {
        "toolbox": made_by.toolbox,
        "agent": made_by.agent_checksum[:12],
        "max_steps": settings.max_steps,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "precision": settings.precision,
        "torch": torch.__version__,
    }
