import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.run import DOCS, main
from data.errors import ToolchainError


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a quick run of two benchmarks writes."""
    path = tmp_path_factory.mktemp("bench") / "figures.json"
    main(["environment", "store", "--quick", "--json", str(path)])
    written: dict[str, Any] = json.loads(path.read_text())
    return written


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield value


def test_every_figure_of_a_benchmark_is_positive(figures: dict[str, Any]) -> None:
    assert set(figures["benchmarks"]) == {"environment", "store"}
    for report in figures["benchmarks"].values():
        assert report["rows"]
        assert all(list(_numbers(row)) for row in report["rows"])
        assert all(number > 0 for number in _numbers(report))


def test_the_figures_name_the_machine(figures: dict[str, Any]) -> None:
    assert {"processor", "cores", "torch", "precision"} <= set(figures["machine"])


def test_compression_makes_the_file_smaller(figures: dict[str, Any]) -> None:
    none, _, gzip = figures["benchmarks"]["store"]["rows"]
    assert gzip["file MB"] < none["file MB"]


def test_a_quick_run_leaves_the_documentation_alone(
    figures: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def modified(path: Path) -> float:
        return path.stat().st_mtime if path.exists() else 0.0

    before = [modified(DOCS / name) for name in ("benchmarks.json", "benchmarks.md")]
    main(["store", "--quick"])
    assert [modified(DOCS / name) for name in ("benchmarks.json", "benchmarks.md")] == before
    assert "gzip" in capsys.readouterr().out


def test_an_unknown_benchmark_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["speed"])
    assert error.value.code == 2
    assert "no benchmark 'speed'; there are environment, restore" in capsys.readouterr().err


def test_bm3d_is_asked_for_when_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm3d", None)
    with pytest.raises(ToolchainError, match=r"\[bench\]"):
        main(["bm3d", "--quick"])
