import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks import light_damage, self_supervised
from benchmarks.run import DOCS, main
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.tools_zoo.fitting.distillation import shipped_denoisers
from restoration_toolchain.tools_zoo.networks import NETWORKS
from restoration_toolchain.tools_zoo.networks.masked_unet import MaskedUnet


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


def test_fits_are_measured_beside_what_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NETWORKS, "masked_unet", lambda: MaskedUnet(num_feat=3))
    for seed in range(2):
        photo = cv2.resize(make_noise(seed), (120, 100), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / f"{seed}.png"), photo)
    settings = ["eval_every=1", "batch_size=1", "patch_size=40"]
    self_supervised.main(
        [str(tmp_path), "--cameras", "high", "--methods", "ams", "--steps", "1", "--no-bm3d"]
        + [f"--set={setting}" for setting in settings]
        + ["--json", str(tmp_path / "figures.json")]
    )
    rows = json.loads((tmp_path / "figures.json").read_text())["rows"]
    shipped = [tool.spec.name for tool in shipped_denoisers()]
    names = ["noisy", *shipped, "non-local means", "ams"]
    assert [row["method"] for row in rows] == names
    assert all(10.0 < float(row["PSNR dB"]) < 60.0 for row in rows)


def test_light_damage_is_measured_beside_the_best_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = make_noise(0).repeat(8, axis=0).repeat(8, axis=1)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    for name, one in (("BLURS", (0.0, 2.0)), ("NOISES", (0.0,)), ("QUALITIES", (None, 85))):
        monkeypatch.setattr(light_damage, name, one)
    light_damage.main([str(tmp_path), "--toolbox", "classic", "--precision", "fp32"])
    table = capsys.readouterr().out.split("## Light damage", 1)[1]
    lines = [line for line in table.splitlines() if line.startswith(("| 0", "| 2"))]
    rows = [line.strip("| ").split(" | ") for line in lines]
    assert [row[:3] for row in rows] == [["0", "0", "85"], ["2", "0", "none"], ["2", "0", "85"]]
    for row in rows:
        before, _, best = map(float, row[3:6])
        assert best >= before


def make_noise(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (8, 10, 3)).astype(np.uint8)
