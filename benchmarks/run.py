"""``python -m benchmarks.run``: measure, print, and write what the documentation shows."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import bm3d, environment, memory, restore, self_similarity, startup, store
from benchmarks.machine import Facts, machine_facts
from benchmarks.report import Report

BENCHMARKS: Final[dict[str, Callable[..., Report]]] = {
    "environment": environment.run,
    "restore": restore.run,
    "startup": startup.run,
    "bm3d": bm3d.run,
    "memory": memory.run,
    "store": store.run,
    "self_similarity": self_similarity.run,
}
"""Every benchmark by name, in the order they run."""

DOCS: Final = Path(__file__).parents[1] / "docs"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks that were asked for.

    The files in ``docs/`` hold one complete run on one machine, so only a run of everything at
    full size replaces them.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here instead")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it runs")
    options = parser.parse_args(arguments)
    names = options.names or list(BENCHMARKS)
    for name in set(names) - set(BENCHMARKS):
        parser.error(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    console = Console()
    facts = machine_facts()
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()), highlight=False)
    reports = {}
    for name in names:
        reports[name] = BENCHMARKS[name](quick=options.quick)
        console.print(reports[name].to_table())
    if options.json is not None:
        _write_json(options.json, facts, reports)
    elif not options.quick and set(names) == set(BENCHMARKS):
        _write_json(DOCS / "benchmarks.json", facts, reports)
        (DOCS / "benchmarks.md").write_text(_markdown(facts, reports))
        console.print(f"wrote {DOCS / 'benchmarks.md'} and benchmarks.json", soft_wrap=True)


def _write_json(path: Path, facts: Facts, reports: Mapping[str, Report]) -> None:
    content = {
        "machine": facts,
        "benchmarks": {name: report.to_dict() for name, report in reports.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def _markdown(facts: Facts, reports: Mapping[str, Report]) -> str:
    head = "# Benchmarks\n\nMade by `make bench`; medians of repeated runs, all on one machine:\n\n"
    machine = "".join(f"- {key.replace('_', ' ')}: {value}\n" for key, value in facts.items())
    return head + machine + "".join(f"\n{report.to_markdown()}" for report in reports.values())


if __name__ == "__main__":
    main()
