"""The results of the suite of the world as Markdown and pictures, and where they are written."""

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.data.patches.world_set import Unit
from restoration_toolchain.toolchain.looking.before_after import BeforeAfter, draw_before_after
from restoration_toolchain.toolchain.measuring.suite.report import markdown_table
from restoration_toolchain.toolchain.measuring.suite.world.measure import Example
from restoration_toolchain.toolchain.measuring.suite.world.plots import (
    CAPTION,
    EFFORT_CAPTION,
    EFFORT_PLOT,
    PLOT,
    draw_plots,
)
from restoration_toolchain.toolchain.measuring.suite.world.results import (
    COLUMNS,
    GREAT_HARM,
    HARM,
    LOW_RISK,
    SHARE_TO_REACH,
    FamilyResult,
    Mean,
    RiskGroup,
    WorldResults,
    merged,
)

RESULTS: Final = "world.json"
PAGE: Final = "world.md"
SHEET: Final = "world.jpg"
SHEET_CAPTION: Final = (
    "One picture of each family, that whose gain is nearest to the family's mean: clean, as it "
    "came, and restored, with the tools that ran and the PSNR before and after."
)

_QUALITY: Final = 90  # of the sheet, without chroma subsampling, which would pass for damage
_MOST_CHAINS: Final = 3
_TITLES: Final[dict[Unit, str]] = {"crops": "Patches", "photos": "Whole photos"}


def write_report(
    results: WorldResults, examples: Sequence[Example], folder: Path, *, plots: bool = True
) -> list[Path]:
    """Write ``world.json``, ``world.md`` and the pictures; return their paths.

    Args:
        results: Results to write.
        examples: Pictures for the sheet; none leaves it out.
        folder: Folder of the files, made if missing; files of the same names are replaced.
        plots: Whether to draw plots, which needs matplotlib.

    Raises:
        ToolchainError: matplotlib is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = draw_plots(results) if plots else {}
    if examples:
        images[SHEET] = draw_examples(examples)
    contents = {
        **images,
        PAGE: to_markdown(results, images=list(images)).encode(),
        RESULTS: results.to_json().encode() + b"\n",
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def draw_examples(examples: Sequence[Example]) -> bytes:
    """Draw the sheet of before and after: JPEG content."""
    entries = [
        BeforeAfter(
            f"{one.family}: {one.label}",
            f"{_chain(one.chain)}; {one.before:.2f} to {one.after:.2f} dB",
            one.clean,
            one.damaged,
            one.restored,
        )
        for one in examples
    ]
    stream = io.BytesIO()
    draw_before_after(entries).save(stream, "JPEG", quality=_QUALITY, subsampling=0)
    return stream.getvalue()


def to_markdown(results: WorldResults, *, images: Sequence[str] = ()) -> str:
    """Write a section of a page: how it was measured, what came out, tables, pictures."""
    parts = ["## The world of damage", _method(results), headline(results)]
    for unit in results.units:
        parts.append(f"### {_TITLES[unit]}")
        parts += [_psnr_table(results, unit), _harm_table(results, unit)]
    parts += ["### What the agent chose", usage(results), _chain_table(results)]
    parts += _kept_section(results) + _risk_section(results) + _effort_section(results)
    captions = {PLOT: CAPTION, EFFORT_PLOT: EFFORT_CAPTION, SHEET: SHEET_CAPTION}
    parts += [f"![{captions[name]}]({name})\n\n{captions[name]}" for name in images]
    return "\n\n".join(parts) + "\n"


def headline(results: WorldResults) -> str:
    """What the suite is there to say, as a list."""
    every = results.families
    damaged = [one for one in every if one.kind == "damaged"]
    count = sum(one.count for one in every)
    below = [_name(one) for one in damaged if round(one.gain, 2) < 0.0]
    short = [
        f"{_name(one)} {one.share:.0%}"
        for one in damaged
        if one.share is not None and one.share < SHARE_TO_REACH
    ]
    harmed, greatly = (sum(getattr(one, n) for one in every) for n in ("harmed", "greatly_harmed"))
    lines = [
        f"below their input: {', '.join(below) or 'no family'}",
        f"worse by more than {HARM} dB: {harmed} of {count:,} images ({harmed / count:.1%}); by "
        f"more than {GREAT_HARM} dB: {greatly}; the worst loses "
        f"{max(one.worst_loss for one in every):.2f} dB",
        f"less than {SHARE_TO_REACH:.0%} of the greedy oracle's gain: "
        f"{', '.join(short) or 'no family'}",
    ]
    for unit in results.units:
        mean = results.mean(unit)
        if mean is not None and mean.one_for_all is not None:
            gains = (mean.psnr["agent"] - mean.psnr["input"], mean.one_for_all - mean.psnr["input"])
            lines.append(
                f"{_TITLES[unit].lower()}: the agent gains {gains[0]:.2f} dB, the sequence that is "
                f"best for all {gains[1]:.2f} dB ({results.facts.get(f'{unit}_sequence', '')})"
            )
        if mean is not None and mean.rival is not None:
            worse = sum(one.rival_harmed for one in results.of(unit))
            lines.append(
                f"{_TITLES[unit].lower()}: one network for all gains "
                f"{mean.rival - mean.psnr['input']:.2f} dB on damaged ones; of all "
                f"{sum(one.count for one in results.of(unit)):,}, clean ones among them, it makes "
                f"{worse} worse by more than {HARM} dB"
            )
    for kind in ("clean photos", "clean drawings", "clean prints"):
        found = [one for one in every if one.kind == kind]
        if found:
            number, same = sum(o.count for o in found), sum(o.identical for o in found)
            lines.append(f"{kind} left bit-identical: {same} of {number} ({same / number:.1%})")
    return "\n".join(f"- {line}" for line in lines)


def _method(results: WorldResults) -> str:
    counts = ", ".join(
        f"{sum(one.count for one in results.of(unit)):,} {_TITLES[unit].lower()}"
        for unit in results.units
    )
    steps = results.facts.get("max_steps", "several")
    text = (
        f"PSNR in dB on RGB, capped at 50 dB, of {counts}. *Agent* is what a user gets: patches "
        "and photos alike are restored by the restorer. *Best single tool* and *best fixed "
        "sequence* are the best of each family in hindsight, by its mean; a sequence has up to "
        f"{steps} tools, each chosen for what those before it leave. *One for all* is "
        "the sequence that is best for all damaged families together, chosen likewise. *One "
        'network* runs once on every picture ("-": none was named). The *greedy '
        "oracle* knows the "
        "clean image and takes the best next tool until none gains. *Decision* is what the agent "
        "loses against the oracle; *tools* is what the oracle lacks against a network that was "
        'trained on the family alone ("-": there is none). Means count damaged families alike.'
    )
    facts = dict(results.facts)
    command = facts.pop("command", None)
    measured = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
    return (
        text + (f"\n\n```sh\n{command}\n```" if command else "") + f"\n\nMeasured with: {measured}."
    )


def _psnr_table(results: WorldResults, unit: Unit) -> str:
    heads = ["", "images", "input", "best single tool", "best fixed sequence", "agent"]
    heads += ["greedy oracle", "one for all", "one network", "reference", "agent's gain"]
    heads += ["share of oracle's gain", "decision", "tools"]
    lines = [_psnr_line(one) for one in results.of(unit)]
    mean = results.mean(unit)
    if mean is not None:
        lines.append([f"**mean of {mean.families} damaged families**", *_mean_cells(mean)])
    return markdown_table(heads, lines)


def _psnr_line(one: FamilyResult) -> list[str]:
    return [
        one.family,
        f"{one.count}",
        *(f"{getattr(one, name):.2f}" for name in COLUMNS),
        "" if one.one_for_all is None else f"{one.one_for_all:.2f}",
        "-" if one.rival is None else f"{one.rival:.2f}",
        "-" if one.reference is None else f"{one.reference:.2f}",
        f"{one.gain:+.2f}",
        "" if one.share is None else f"{one.share:.0%}",
        f"{one.decision_regret:.2f}",
        "-" if one.tools_regret is None else f"{one.tools_regret:.2f}",
    ]


def _mean_cells(mean: Mean) -> list[str]:
    return [
        f"{mean.count:,}",
        *(f"{mean.psnr[name]:.2f}" for name in COLUMNS),
        "" if mean.one_for_all is None else f"{mean.one_for_all:.2f}",
        "-" if mean.rival is None else f"{mean.rival:.2f}",
        "",
        f"{mean.psnr['agent'] - mean.psnr['input']:+.2f}",
        "" if mean.share is None else f"{mean.share:.0%}",
        f"{mean.decision_regret:.2f}",
        "-" if mean.tools_regret is None else f"{mean.tools_regret:.2f}",
    ]


def _harm_table(results: WorldResults, unit: Unit) -> str:
    heads = ["", f"worse by more than {HARM} dB", "worst loss, dB", "left bit-identical"]
    heads += [f"steps of risk <= {LOW_RISK:.0%}", "of them worse", "held back", "unfamiliar"]
    heads += ["ms", "best single tool", "best fixed sequence"]
    lines = []
    for one in results.of(unit):
        lines.append(
            [
                one.family,
                f"{one.harmed / one.count:.1%}",
                f"{one.worst_loss:.2f}",
                f"{one.identical / one.count:.1%}",
                *_low_risk_cells(one.low_risk),
                f"{one.held_back / one.count:.0%}",
                f"{one.unfamiliar / one.count:.0%}",
                f"{1000.0 * one.seconds:,.0f}",
                _chain(one.single_tool),
                _chain(one.sequence_tools),
            ]
        )
    mean = results.mean(unit)
    if mean is not None:
        found = results.damaged(unit)
        low = merged([one.low_risk for one in found if one.low_risk is not None])
        same = sum(one.identical for one in found) / mean.count
        harm = [f"{mean.share_harmed:.1%}", f"{mean.worst_loss:.2f}", f"{same:.1%}"]
        lines.append(["**damaged families**", *harm, *_low_risk_cells(low), *[""] * 5])
    return markdown_table(heads, lines, left=(0, len(heads) - 2, len(heads) - 1))


def _low_risk_cells(group: RiskGroup | None) -> list[str]:
    return ["0", ""] if group is None else [f"{group.count}", f"{group.worse / group.count:.1%}"]


def usage(results: WorldResults) -> str:
    """How often each tool ran on damaged images, most often first: a list, by unit."""
    lines = []
    for unit in results.units:
        damaged = results.damaged(unit)
        ran: Counter[str] = Counter()
        for chain, count in (played for one in damaged for played in one.chains):
            ran.update(dict.fromkeys(chain, count))  # twice on one image is once
        total = sum(one.count for one in damaged)
        shares = ", ".join(f"{tool} {count / total:.1%}" for tool, count in ran.most_common())
        shares = shares or "no tool ran"
        lines.append(f"- share of damaged {_TITLES[unit].lower()} that a tool ran on: {shares}")
    return "\n".join(lines)


def _chain_table(results: WorldResults) -> str:
    lines = []
    for family in dict.fromkeys(one.family for one in results.families):
        cells = []
        for unit in results.units:
            found = next((one for one in results.of(unit) if one.family == family), None)
            cells.append("" if found is None else _most_chains(found))
        lines.append([family, *cells])
    heads = ["", *(_TITLES[unit].lower() for unit in results.units)]
    return markdown_table(heads, lines, left=range(len(heads)))


def _most_chains(one: FamilyResult) -> str:
    shown = [
        f"{_chain(chain)} ({count / one.count:.0%})" for chain, count in one.chains[:_MOST_CHAINS]
    ]
    left = len(one.chains) - len(shown)
    return "; ".join([*shown, *([f"{left} more"] if left > 0 else [])])


def _kept_section(results: WorldResults) -> list[str]:
    """By kind of drawing, how many came out as they were."""
    lines = [
        [
            kept.label,
            one.family,
            one.unit,
            f"{kept.count}",
            f"{kept.identical / kept.count:.1%}",
            f"{kept.worst_loss:.2f}",
        ]
        for one in results.families
        if one.kind not in ("damaged", "clean photos")
        for kept in one.kept
    ]
    if not lines:
        return []
    heads = ["", "family", "unit", "images", "left bit-identical", "worst loss, dB"]
    return ["### Pictures that are no photos", markdown_table(heads, lines, left=(0, 1, 2))]


def _risk_section(results: WorldResults) -> list[str]:
    """Claimed risk against what happened, over all families."""
    groups = results.risks()
    if not groups:
        return ["The agent claims no risk: it was not calibrated."]
    lines = [
        [
            f"{group.low:.0%} to {group.high:.0%}",
            f"{group.count:,}",
            f"{group.claimed / group.count:.1%}",
            f"{group.worse / group.count:.1%}",
        ]
        for group in groups
    ]
    heads = ["claimed risk", "steps", "claimed, mean", "made the image worse"]
    text = "Steps of all families that ran a tool, by the risk that the agent claimed for them:"
    return ["### Risk, claimed and met", text, markdown_table(heads, lines)]


def _effort_section(results: WorldResults) -> list[str]:
    """What is gained by how much arithmetic, by the agent at several efforts and by others."""
    lines = [
        [
            one.player,
            unit,
            "-" if one.price is None else f"{one.price:g}",
            f"{one.gain:+.3f}",
            f"{one.macs:,.0f}",
            f"{one.tools:.2f}",
        ]
        for unit in results.units
        for one in results.spending(unit)
    ]
    if not lines:
        return []
    heads = ["", "unit", "price", "gain, dB", "MACs per pixel", "tools"]
    text = (
        "Means over the damaged families, each counting alike. The price is that of `--effort`, "
        "in dB per 100,000 multiply-accumulates (MACs) and pixel. MACs are those of the tools "
        "that ran and of the agent's looks, at every view for each decision. The best tool "
        "and sequence of a family are known in hindsight; they and single networks look at nothing."
    )
    return ["### Quality and arithmetic", text, markdown_table(heads, lines, left=(0, 1))]


def _chain(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


def _name(one: FamilyResult) -> str:
    return one.family if one.unit == "crops" else f"{one.family} ({_TITLES[one.unit].lower()})"
