"""The folder of a training run: configuration, versions, metrics and an atomic checkpoint."""

import contextlib
import dataclasses
import difflib
import json
import os
import pickle
import platform
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from torch.utils.tensorboard import SummaryWriter

from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.training.errors import (
    DamagedRunError,
    NothingToResumeError,
    RunMismatchError,
    RunTakenError,
)

RECORDED_PACKAGES: Final = ("torch", "numpy", "gymnasium", "stable-baselines3", "h5py")

CONFIG: Final = "config.json"
CHECKPOINT: Final = "checkpoint.pt"
METRICS: Final = "metrics.jsonl"
BOARD: Final = "tensorboard"

_WITHOUT_CONSEQUENCE: Final = frozenset({"num_processes"})
"""Settings that a run may be resumed without: they say nothing about its result."""

_UNIONS: Final = (Union, UnionType)
_LISTS: Final = (tuple, Sequence)
"""What a list of a file may become."""

Config = TypeVar("Config")


def config_from_dict(kind: type[Config], values: Mapping[str, Any], within: str = "") -> Config:
    """Build a config dataclass, and those nested in it, from plain values; lists become tuples.

    Args:
        kind: Config dataclass.
        values: Value by field; those of a nested config are a mapping of their own.
        within: Prefix of the names of fields in messages, such as ``agent.``.

    Raises:
        UnknownNameError: A key is not a field of ``kind``, so a typo is never a silent default.
        ToolchainError: A value has another type, or is refused by the dataclass.
    """
    hints = get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise _unknown_option(within + key, value, option_names(kind, within))
        if dataclasses.is_dataclass(hints[key]):
            value = config_from_dict(
                hints[key], check_table(value, within + key), f"{within}{key}."
            )
        elif get_origin(hints[key]) is Mapping:
            value = _mapping(value, get_args(hints[key])[1], within + key)
        else:
            _check_type(within + key, value, hints[key])
        plain[key] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**plain)
    except (TypeError, ValueError) as error:
        says = str(error)
        if within:  # most messages begin with the name of a field
            says = within + says if says.split()[0] in known else f"{within[:-1]}: {says}"
        raise ToolchainError(says) from error


def check_table(value: Any, key: str) -> Mapping[str, Any]:
    """Make sure that what a file has under a key is a table."""
    if not isinstance(value, Mapping):
        raise ToolchainError(f"{key} must be a table, got {_shown(value)}")
    return value


def _mapping(value: Any, kind: Any, key: str) -> dict[str, Any]:
    """Read a table with names of one's own: of values, or of config dataclasses."""
    entries = dict(check_table(value, key))
    for name, entry in entries.items():
        if dataclasses.is_dataclass(kind):
            assert isinstance(kind, type)
            entries[name] = config_from_dict(
                kind, check_table(entry, f"{key}.{name}"), f"{key}.{name}."
            )
        else:
            _check_type(f"{key}.{name}", entry, kind)
    return entries


def _unknown_option(name: str, value: Any, known: Sequence[str]) -> UnknownNameError:
    """Error about an option, or about the first one in a table, that a config does not have."""
    while isinstance(value, Mapping) and value:
        key, value = next(iter(value.items()))
        name = f"{name}.{key}"
    last = name.rpartition(".")[2]
    near = difflib.get_close_matches(last, known, n=1, cutoff=0.8)
    return UnknownNameError("option", name, near or known)


def merge_options(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Put options over others, table by table; ``more`` wins."""
    merged = dict(values)
    for key, value in more.items():
        before = merged.get(key)
        is_table = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[key] = merge_options(before, value) if is_table else value  # type: ignore[arg-type]
    return merged


def option_names(kind: type[Any], within: str = "") -> list[str]:
    """Names of all options, those of nested configs with a dot."""
    hints, names = get_type_hints(kind), []
    for field in dataclasses.fields(kind):
        name, hint = within + field.name, hints[field.name]
        nested = dataclasses.is_dataclass(hint)
        names += option_names(hint, f"{name}.") if nested else [name]
    return names


def _check_type(key: str, value: Any, hint: Any) -> None:
    """Refuse what a file or a flag can get wrong before it fails hours later, far from here."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise UnknownNameError(key, str(value), get_args(hint))
        return
    if not _fits(value, hint):
        wanted = f"a {_named(hint)}" if get_origin(hint) in _LISTS else f"of type {_named(hint)}"
        raise ToolchainError(f"{key} must be {wanted}, got {_shown(value)}")


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) in _LISTS:
        element, *_ = get_args(hint)  # any number of them
        return isinstance(value, tuple | list) and all(_fits(item, element) for item in value)
    if get_origin(hint) in _UNIONS:
        return any(_fits(value, kind) for kind in get_args(hint))
    if hint is NoneType:
        return value is None
    if hint not in (bool, int, float, str):
        return True
    accepted = (int, float) if hint is float else hint
    return isinstance(value, accepted) and (hint is bool or not isinstance(value, bool))


def _named(hint: Any) -> str:
    """``list of float``, ``list of list of str``; what may be nothing is called as the rest."""
    if get_origin(hint) in _UNIONS:
        return " or ".join(_named(kind) for kind in get_args(hint) if kind is not NoneType)
    if get_origin(hint) not in _LISTS:
        return str(getattr(hint, "__name__", hint))
    return f"list of {_named(get_args(hint)[0])}"


def _shown(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)


def load_toml(path: Path) -> dict[str, Any]:
    """Read a config file.

    Raises:
        ToolchainError: The file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ToolchainError(f"cannot read the config {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ToolchainError(f"{path} is not valid TOML: {error}") from error


class RunFolder:
    """One training run on disk.

    ``config.json`` holds the resolved configuration and versions, ``metrics.jsonl`` one line per
    measurement, ``tensorboard/`` the same for TensorBoard, ``checkpoint.pt`` all that resumes.

    Args:
        path: Folder; made if missing.
        config: Dataclass instance to record.
        resume: Go on from the checkpoint in the folder.

    Raises:
        RunTakenError: The folder holds a run and ``resume`` is off.
        NothingToResumeError: It holds none and ``resume`` is on.
        RunMismatchError: It was started with another configuration.
        DamagedRunError: Its configuration is damaged.
    """

    def __init__(self, path: Path, config: Any, *, resume: bool = False) -> None:
        self.path = path
        self.checkpoint = path / CHECKPOINT
        values = json.loads(json.dumps(dataclasses.asdict(config)))
        if resume:
            before = recorded_config(path)
            compared = values.keys() - _WITHOUT_CONSEQUENCE
            changed = sorted(key for key in compared if values[key] != before.get(key))
            if changed:
                raise RunMismatchError(
                    f"{path} was started with other settings ({', '.join(changed)})"
                )
        elif self.checkpoint.is_file():
            raise RunTakenError(f"{path} already holds a run")
        path.mkdir(parents=True, exist_ok=True)
        versions = {name: version(name) for name in RECORDED_PACKAGES}
        versions = {"python": platform.python_version(), **versions}
        record = {"config": values, "versions": versions}
        write_atomically(path / CONFIG, json.dumps(record, indent=2).encode())
        self._metrics = (path / METRICS).open("a")
        self._board = SummaryWriter(str(path / BOARD))

    def log(self, step: int, **metrics: float) -> None:
        """Record measurements at a step."""
        self._metrics.write(json.dumps({"step": step, **metrics}) + "\n")
        self._metrics.flush()
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint: tensors, numbers, strings and containers of them only."""
        part = self.checkpoint.with_suffix(".part")
        try:
            torch.save(state, part)
            os.replace(part, self.checkpoint)
        finally:
            part.unlink(missing_ok=True)

    def load(self) -> dict[str, Any]:
        """Read the checkpoint; never runs code from it.

        Raises:
            DamagedRunError: It is damaged.
        """
        try:
            state: dict[str, Any] = torch.load(
                self.checkpoint, weights_only=True, map_location="cpu"
            )
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise DamagedRunError(f"the checkpoint {self.checkpoint} is damaged") from error
        return state

    def close(self) -> None:
        """Flush and close the logs."""
        self._metrics.close()
        self._board.close()


def check_run(path: Path, *, resume: bool) -> None:
    """Make sure that a run lies in a folder exactly if it is to be resumed.

    Raises:
        NothingToResumeError: There is none.
        RunTakenError: There is one.
    """
    there = (path / CHECKPOINT).is_file()
    if resume and not there:
        raise NothingToResumeError(f"nothing to resume in {path}")
    if there and not resume:
        raise RunTakenError(f"{path} already holds a run")


def remove_run(path: Path) -> None:
    """Remove what a run wrote into its folder, and the folder if nothing else lies there."""
    for name in (CONFIG, METRICS, CHECKPOINT):
        (path / name).unlink(missing_ok=True)
    shutil.rmtree(path / BOARD, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.rmdir()


def network_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """Name the weights in a checkpoint as in a network; older ones have it as a part of a tool."""
    return {name.removeprefix("network."): value for name, value in state.items()}


def recorded_config(path: Path) -> dict[str, Any]:
    """Read the configuration that the run in a folder was started with, as plain values.

    Raises:
        NothingToResumeError: There is no checkpoint in the folder.
        DamagedRunError: The record is damaged.
    """
    if not (path / CHECKPOINT).is_file():
        raise NothingToResumeError(f"nothing to resume in {path}")
    recorded = path / CONFIG
    try:
        config: dict[str, Any] = json.loads(recorded.read_text())["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedRunError(f"{recorded} cannot be read, so the run cannot go on") from error
    return config
