"""Properties of the folder of a training run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.training.errors import (
    DamagedRunError,
    NothingToResumeError,
    RunMismatchError,
    RunTakenError,
)
from restoration_toolchain.tools_zoo.training.run_folder import (
    RunFolder,
    config_from_dict,
    load_toml,
    merge_options,
)


@dataclass(frozen=True, kw_only=True)
class Config:
    learning_rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)
    chains: tuple[Sequence[str], ...] = ()

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")


def test_a_mistyped_option_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'learning_rate'"):
        config_from_dict(Config, {"learning_rat": 0.2})


def test_lists_of_a_file_become_tuples() -> None:
    assert config_from_dict(Config, {"sizes": [3, 4]}) == Config(sizes=(3, 4))


@pytest.mark.parametrize(
    ("value", "message"),
    [(-1.0, "must be positive"), ("fast", "of type float, got 'fast'"), (True, "of type float")],
)
def test_a_refused_value_is_an_error_of_the_user(value: Any, message: str) -> None:
    with pytest.raises(ToolchainError, match=message):
        config_from_dict(Config, {"learning_rate": value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sizes": ["a", 2]}, r"sizes must be a list of int, got \['a', 2\]"),
        ({"sizes": [1, True]}, "sizes must be a list of int"),
        ({"sizes": 3}, "sizes must be a list of int, got 3"),
        ({"chains": ["blur"]}, r"chains must be a list of list of str, got \['blur'\]"),
        ({"chains": [["blur", 1]]}, "chains must be a list of list of str"),
    ],
)
def test_a_list_with_other_things_in_it_names_the_option(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToolchainError, match=message):
        config_from_dict(Config, values)


def test_lists_within_a_list_are_taken() -> None:
    config = config_from_dict(Config, {"chains": [["blur", "noise"], ["jpeg"]]})
    assert [list(chain) for chain in config.chains] == [["blur", "noise"], ["jpeg"]]


@dataclass(frozen=True, kw_only=True)
class Job:
    tools: Config = field(default_factory=Config)
    rounds: int = 3


def test_a_config_within_another_takes_its_own_options() -> None:
    job = config_from_dict(Job, {"tools": {"sizes": [7]}, "rounds": 1})
    assert job == Job(tools=Config(sizes=(7,)), rounds=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tools": {"learning_rat": 0.2}}, "'tools.learning_rat'; did you mean 'tools.learning_r"),
        ({"learning_rate": 0.2}, "no option 'learning_rate'; did you mean 'tools.learning_rate'"),
        ({"tools": {"learning_rate": "fast"}}, "tools.learning_rate must be of type float"),
        ({"tools": {"learning_rate": -1.0}}, "^tools.learning_rate must be positive"),
        ({"agent": {"rounds": 2}}, "no option 'agent.rounds'; did you mean 'rounds'"),
        ({"tool": {"sizes": [2]}}, "no option 'tool.sizes'; did you mean 'tools.sizes'"),
        ({"tools": 3}, "tools must be a table, got 3"),
    ],
)
def test_an_error_in_a_config_within_another_names_the_whole_way(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToolchainError, match=message):
        config_from_dict(Job, values)


def test_tables_are_merged_and_later_options_win() -> None:
    first = {"rounds": 1, "tools": {"sizes": [1], "learning_rate": 0.3}}
    more = {"tools": {"sizes": [2]}}
    assert merge_options(first, more) == {
        "rounds": 1,
        "tools": {"sizes": [2], "learning_rate": 0.3},
    }
    assert first["tools"] == {"sizes": [1], "learning_rate": 0.3}


@pytest.mark.parametrize(
    ("content", "message"), [("a = ", "not valid TOML"), (None, "cannot read")]
)
def test_a_bad_config_file_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ToolchainError, match=message) as caught:
        load_toml(path)
    assert str(path) in str(caught.value)


def started(path: Path) -> None:
    run = RunFolder(path, Config())
    run.save({"step": 3, "weights": torch.arange(4.0)})
    run.close()


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    started(tmp_path / "run")
    run = RunFolder(tmp_path / "run", Config(), resume=True)
    state = run.load()
    run.close()
    assert state["step"] == 3
    assert torch.equal(state["weights"], torch.arange(4.0))


def test_configuration_versions_and_metrics_are_recorded(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, Config(sizes=(5,)))
    run.log(1, psnr=20.0)
    run.log(2, psnr=21.0)
    run.close()
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["config"] == {"learning_rate": 0.1, "sizes": [5], "chains": []}
    assert record["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "psnr": 20.0}, {"step": 2, "psnr": 21.0}]
    assert list((tmp_path / "tensorboard").iterdir())


def test_resuming_with_other_settings_names_them(tmp_path: Path) -> None:
    started(tmp_path)
    with pytest.raises(RunMismatchError, match=r"other settings \(sizes\)"):
        RunFolder(tmp_path, Config(sizes=(9,)), resume=True)


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    started(tmp_path)
    with pytest.raises(RunTakenError, match="already holds a run"):
        RunFolder(tmp_path, Config())


def test_resuming_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingToResumeError, match="nothing to resume"):
        RunFolder(tmp_path / "absent", Config(), resume=True)
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    started(tmp_path)
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-200] if content is None else content)
    run = RunFolder(tmp_path, Config(), resume=True)
    with pytest.raises(DamagedRunError, match="is damaged") as caught:
        run.load()
    run.close()
    assert "\n" not in str(caught.value)


def test_a_damaged_configuration_is_refused_in_one_line(tmp_path: Path) -> None:
    started(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DamagedRunError, match="cannot go on"):
        RunFolder(tmp_path, Config(), resume=True)


def test_a_failed_save_keeps_the_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(tmp_path)
    run = RunFolder(tmp_path, Config(), resume=True)

    def fill_disk(state: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        run.save({"step": 4})
    monkeypatch.undo()
    assert run.load()["step"] == 3
    run.close()
    assert not list(tmp_path.glob("*.part"))


def test_a_failed_write_keeps_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fill_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("restoration_toolchain.data.atomic.os.fsync", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
