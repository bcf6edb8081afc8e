"""Tables that several commands print."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from restoration_toolchain.toolchain.looking.inspection import Inspection
    from restoration_toolchain.toolchain.restoring.restoration import Score, Step


def print_inspection(console: Console, inspection: "Inspection") -> None:
    """Print how a photo was degraded, if it was, every decision, and why the chain ended."""
    from restoration_toolchain.toolchain.restoring.restoration import (
        explain_end,
        explain_passed_over,
    )

    restoration = inspection.restoration
    if inspection.caption:
        console.print(f"The photo was {inspection.caption}.", highlight=False)
    console.print(sequence_table(inspection))
    for remark in explain_passed_over(restoration):
        console.print(remark, highlight=False)
    for note in restoration.notes:
        console.print(note, style="yellow", highlight=False, markup=False)
    console.print(explain_end(restoration), highlight=False)
    before, after = restoration.score, restoration.final_score
    if before is not None and after is not None:
        gain = f"[bold]{after.psnr - before.psnr:+.2f} dB[/]"
        console.print(f"{_score(before)}  ->  {_score(after)}   ({gain})", highlight=False)
    looked, looks = restoration.quality, restoration.final_quality
    if looked is not None and looks is not None:
        gain = f"[bold]{looks.score - looked.score:+.3f}[/], by {looks.encoder}"
        change = f"SFD-IQA {looked.score:.3f}  ->  SFD-IQA {looks.score:.3f}   ({gain})"
        console.print(change, highlight=False)


def sequence_table(inspection: "Inspection") -> Table:
    """One row per decision: what was chosen, for what, at which value and risk, what came next.

    It fits 80 columns: headings take two lines, and SSIM stands below PSNR.
    """
    is_scored = inspection.restoration.score is not None
    unit = inspection.restoration.provenance.unit
    is_judged = inspection.restoration.quality is not None
    knows_risk = any(step.risk is not None for step in inspection.restoration.steps)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("step", justify="right", style="dim")
    table.add_column("tool", style="cyan", no_wrap=True)
    table.add_column("treats", min_width=9)  # the longest name of a family, up to its first hyphen
    table.add_column(f"value\n{unit}".rstrip(), justify="right", no_wrap=True)
    if knows_risk:
        table.add_column("risk", justify="right", no_wrap=True)
    table.add_column("runners-up", style="dim", no_wrap=True)
    scores = [*(("PSNR\nSSIM",) if is_scored else ()), *(("IQA",) if is_judged else ())]
    for heading in ("time", *scores):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, step in enumerate(inspection.restoration.steps, start=1):
        rivals = "\n".join(f"{name} {value:+.2f}" for name, value in step.runners_up(3))
        cells = [str(number), step.tool, step.treats or "nothing further"]
        cells.append(f"{step.action_values[step.tool]:+.2f}")
        if knows_risk:
            cells.append(_risk(step))
        cells += [rivals, f"{step.seconds:.2f} s"]
        if is_scored and step.score is not None:
            ssim = step.score.ssim
            cells.append(f"{step.score.psnr:.2f}\n{'-' if ssim is None else f'{ssim:.3f}'}")
        if is_judged and step.quality is not None:
            cells.append(f"{step.quality.score:.3f}")
        table.add_row(*cells)
    return table


def _risk(step: "Step") -> str:
    """Risk of the tool that ran or, in parentheses, of the one that was held back."""
    if step.risk is None or (step.is_stop and not step.is_held_back):
        return ""
    return f"({step.risk:.0%})" if step.is_stop else f"{step.risk:.0%}"


def _score(score: "Score") -> str:
    ssim = "" if score.ssim is None else f", SSIM {score.ssim:.3f}"
    return f"PSNR {score.psnr:.2f} dB{ssim}"
