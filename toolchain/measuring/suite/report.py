"""The results of a suite as Markdown, and the folder that they are written to."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Final

from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.toolchain.errors import PhotoError
from restoration_toolchain.toolchain.measuring.suite.plots import PLOTS, draw_plots
from restoration_toolchain.toolchain.measuring.suite.results import Row, SuiteResults

RESULTS: Final = "results.json"
TABLES: Final = "results.md"


def check_folder(folder: Path, *, overwrite: bool, results: str = RESULTS) -> None:
    """Make sure, before anything is measured, that the results can be written.

    Args:
        folder: Folder for the results.
        overwrite: Whether results that are there may be replaced.
        results: Name of the file that says that results are there.

    Raises:
        PhotoError: ``folder`` is a file, or holds results that must not be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise PhotoError(f"{folder} is a file; name a folder for the results")
    if (folder / results).exists() and not overwrite:
        raise PhotoError(
            f"{folder} already holds results; add --overwrite or name another folder with -o"
        )


def write_report(results: SuiteResults, folder: Path, *, plots: bool = True) -> list[Path]:
    """Write ``results.json``, ``results.md`` and the plots; return their paths.

    Args:
        results: Results to write.
        folder: Folder of the files, made if missing; files of the same names are replaced.
        plots: Whether to draw plots, which needs matplotlib.

    Raises:
        ToolchainError: matplotlib is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = draw_plots(results) if plots else {}
    contents = {
        **images,
        TABLES: to_markdown(results, images=list(images)).encode(),
        RESULTS: results.to_json().encode() + b"\n",
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def to_markdown(results: SuiteResults, *, images: Sequence[str] = ()) -> str:
    """Write a section of a page: how it was measured, tables, plots, and what is left out."""
    parts = ["## Comparison", _method(results)]
    parts += [_overview(results), _oracle_table(results)]
    parts += [f"### {level}\n\n{_level_table(results.of_level(level))}" for level in results.levels]
    captions = {name: PLOTS[name][1] for name in images}
    parts += [f"![{caption}]({name})\n\n{caption}" for name, caption in captions.items()]
    if results.remarks:
        parts.append("Left out:\n\n" + "\n".join(f"- {remark}" for remark in results.remarks))
    return "\n\n".join(parts) + "\n"


def _method(results: SuiteResults) -> str:
    counts = ", ".join(f"{results.of_level(level)[0].count} ({level})" for level in results.levels)
    text = (
        "PSNR in dB and SSIM on RGB, means over patches of 63x63 pixels, not rounded to 8 bits: "
        f"{counts}. Multiply-accumulates (MACs) are of what ran on a patch, the agent's looks "
        "included; *stored* counts the parameters of agent and tools that must be at hand, *run* "
        "those that ran on a patch. Milliseconds per patch were measured in this run, in batches. "
        "Oracles are charged for everything that they try."
    )
    facts = dict(results.facts)
    command = facts.pop("command", None)
    measured = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
    return (
        text + (f"\n\n```sh\n{command}\n```" if command else "") + f"\n\nMeasured with: {measured}."
    )


def _overview(results: SuiteResults) -> str:
    by_key = {(row.key, row.level): row for row in results.rows}
    lines = []
    for key in dict.fromkeys(row.key for row in results.rows):
        rows = [by_key[key, level] for level in results.levels]
        cells = [f"{row.psnr:.2f} ({row.gain:+.2f})" for row in rows]
        cells.append(f"{max(row.share_worse for row in rows):.1%}")
        is_whole = all(row.count == by_key["input", row.level].count for row in rows)
        label = rows[0].label + ("" if is_whole else f", on {rows[0].count} patches")
        lines.append([label, *cells, *_costs(rows)])
    heads = ["", *results.levels, "made worse, at most", "stored", "run", "MACs", "ms"]
    return markdown_table(heads, lines)


def _costs(rows: Sequence[Row]) -> list[str]:
    """Write means over levels: parameters stored and run, MACs, milliseconds."""
    times = [row.milliseconds for row in rows if row.milliseconds is not None]
    return [
        f"{max(row.parameters for row in rows):,}",
        f"{fmean(row.parameters_run for row in rows):,.0f}",
        f"{fmean(row.macs for row in rows) / 1e9:.3f} G",
        f"{fmean(times):.2f}" if times else "",
    ]


def _oracle_table(results: SuiteResults) -> str:
    lines = []
    for share in results.oracle:
        gains = [f"{gain:+.2f}" for gain in (share.oracle, share.greedy, share.agent)]
        part = "" if share.share is None else f"{share.share:.1%}"
        lines.append([share.level, f"{share.count}", *gains, part])
    heads = ["gain in dB", "patches", "exhaustive oracle", "greedy oracle", "agent"]
    heads += ["agent's share"]
    return "The agent and the oracles on the same patches:\n\n" + markdown_table(heads, lines)


def _level_table(rows: Sequence[Row]) -> str:
    heads = ["", "patches", "PSNR", "SSIM", "gain", "made worse", "tools"]
    heads += ["stored", "run", "MACs", "ms", "remarks"]
    lines = [
        [
            row.label,
            f"{row.count}",
            f"{row.psnr:.3f}",
            "" if row.ssim is None else f"{row.ssim:.4f}",
            f"{row.gain:+.3f}",
            f"{row.share_worse:.1%}",
            f"{row.tools:.2f}",
            *_costs([row]),
            row.note,
        ]
        for row in rows
    ]
    return markdown_table(heads, lines, left=(0, len(heads) - 1))


def markdown_table(
    heads: Sequence[str], lines: Iterable[Sequence[str]], left: Sequence[int] = (0,)
) -> str:
    """Write a table of Markdown; ``left`` are the columns of words."""
    rule = ["---" if k in left else "---:" for k in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *lines))
