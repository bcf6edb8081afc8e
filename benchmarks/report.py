"""What a benchmark says: a table with a sentence above it."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.table import Table

Row = dict[str, str | float]
"""One line of a table: column headings, with their units, to values."""

PATIENCE: Final = 30.0
"""Seconds; a machine that emulates bfloat16 would else spend most of an hour on it."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one benchmark.

    Attributes:
        title: Heading, which names what was measured.
        method: Way of measuring, in a sentence or two.
        rows: The figures; all rows have the same columns.
    """

    title: str
    method: str
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def to_markdown(self) -> str:
        """A section with a table."""
        columns = list(self.rows[0])
        lines = [f"## {self.title}", "", self.method, "", _line(columns)]
        lines.append(_line(["---:" if _is_numeric(self.rows, c) else "---" for c in columns]))
        lines += [_line([_text(row[column]) for column in columns]) for row in self.rows]
        return "\n".join(lines) + "\n"

    def to_table(self) -> Table:
        """The same table for a terminal."""
        table = Table(title=self.title, caption=self.method, title_justify="left")
        for column in self.rows[0]:
            table.add_column(column, justify="right" if _is_numeric(self.rows, column) else "left")
        for row in self.rows:
            table.add_row(*map(_text, row.values()))
        return table


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """Median duration of a call in seconds.

    The first call prepares kernels and caches and does not count, unless it alone takes more than
    `PATIENCE`; no call begins after that much time.
    """
    durations: list[float] = []
    while len(durations) <= repeats and sum(durations) < PATIENCE:
        start = time.perf_counter()
        function()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations[1:] or durations)


def _is_numeric(rows: tuple[Row, ...], column: str) -> bool:
    return all(isinstance(row[column], float) for row in rows)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
