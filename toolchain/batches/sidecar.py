"""What lies beside a result: how it was made, precisely enough to make it again."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import PIL
import torch

from restoration_toolchain.data.atomic import write_atomically
from restoration_toolchain.data.checksum import sha256_of
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.toolchain.errors import PhotoError, one_line
from restoration_toolchain.toolchain.restoring.restoration import Provenance
from restoration_toolchain.toolchain.restoring.settings import (
    DEFAULTS,
    SETTINGS,
    CallOptions,
    RestoreSettings,
)

FORMAT_VERSION: Final = 1
SUFFIX: Final = ".json"


class SidecarError(ToolchainError):
    """A sidecar is missing or malformed, or what it asks for is not there any more."""


@dataclass(frozen=True, slots=True, eq=False)
class Sidecar:
    """How one result was made.

    Attributes:
        source: The photo, by its absolute path.
        input_sha256: SHA-256 of the photo's file.
        target: The result, by its absolute path.
        pixels_sha256: SHA-256 of the result's samples, see `photos.write.pixels_sha256`.
        entry: The entry of the trace, see `Restoration.trace`.
        runtime: Versions, threads and instruction set, as they were.
    """

    source: Path
    input_sha256: str
    target: Path
    pixels_sha256: str
    entry: Mapping[str, Any]
    runtime: Mapping[str, Any]

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `restoring.load.load`; empty if the restorer was not loaded."""
        return dict(self.entry["options"])

    @property
    def per_call(self) -> CallOptions:
        """Arguments of `Restorer.restore`."""
        names = (name for name, setting in SETTINGS.items() if setting.of_call)
        return cast(CallOptions, {n: self.entry.get(n, DEFAULTS[n]) for n in names})

    @property
    def weights(self) -> dict[str, str]:
        """SHA-256 of the weights of each tool, of ``the agent`` and of ``the prior``.

        Empty for a prior whose name says everything.
        """
        prior = self.entry.get("enlarging", {}).get("prior_sha256", "")
        agent = self.entry["agent"]["sha256"]
        return {**self.entry["toolbox"]["sha256"], "the agent": agent, "the prior": prior}

    def changed_weights(self, now: Provenance) -> tuple[str, ...]:
        """Names of the tools, ``the agent`` and ``the prior``, if their numbers are others now.

        A prior of another name counts as another option, not as this.
        """
        is_other_prior = now.settings.prior != {**DEFAULTS, **self.options}["prior"]
        prior = self.weights["the prior"] if is_other_prior else now.prior_checksum
        others = {"the agent": now.agent_checksum, "the prior": prior}
        names = dict.fromkeys([*self.entry["toolbox"]["sha256"], *now.tool_checksums, *others])
        found = {**now.tool_checksums, **others}
        return tuple(name for name in names if self.weights.get(name) != found.get(name))

    def changed_options(self, now: Provenance) -> tuple[str, ...]:
        """Names of the options that are others now, but for those that change only rounding."""
        defaults = RestoreSettings()
        usual = {**defaults.to_dict(), **defaults.chosen_by_call()}
        before = {**usual, **self.options, **self.per_call}
        asked = {**usual, **now.options, **now.settings.chosen_by_call()}
        how = {name for name, setting in SETTINGS.items() if not setting.identifies}
        return tuple(sorted(n for n in before.keys() - how if before[n] != asked.get(n)))


def sidecar_path(target: Path) -> Path:
    """Where the sidecar of a result lies: ``cat.png.json`` beside ``cat.png``."""
    return target.with_name(target.name + SUFFIX)


def runtime() -> dict[str, Any]:
    """What arithmetic may depend on besides the weights and the options."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "machine": platform.machine(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def write_sidecar(sidecar: Sidecar) -> None:
    """Write a sidecar beside its result, completely or not at all.

    Raises:
        PhotoError: It cannot be written.
    """
    content = {
        "sidecar_version": FORMAT_VERSION,
        **sidecar.entry,
        "input": str(sidecar.source),
        "input_sha256": sidecar.input_sha256,
        "output": str(sidecar.target),
        "pixels_sha256": sidecar.pixels_sha256,
        "runtime": dict(sidecar.runtime),
    }
    path = sidecar_path(sidecar.target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise PhotoError(f"cannot write {path}: {one_line(error)}") from error


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar.

    Raises:
        SidecarError: There is none, or it is something else.
    """
    try:
        content = json.loads(path.read_bytes())
        version = content["sidecar_version"]
        if version != FORMAT_VERSION:
            raise SidecarError(f"{path}: a sidecar of version {version}, not {FORMAT_VERSION}")
        sidecar = Sidecar(
            source=Path(content["input"]),
            input_sha256=str(content["input_sha256"]),
            target=Path(content["output"]),
            pixels_sha256=str(content["pixels_sha256"]),
            entry=content,
            runtime=dict(content["runtime"]),
        )
        # Whoever goes on with it may count on these.
        _ = (sidecar.options, sidecar.per_call, sidecar.weights)
        _ = [step["tool"] for step in content["steps"]]
    except OSError as error:
        raise SidecarError(f"{path}: cannot be read ({one_line(error)})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SidecarError(
            f"{path}: not a sidecar; toolchain restore --sidecar makes them"
        ) from error
    return sidecar


def input_checksum(source: Path) -> str:
    """SHA-256 of a photo's file.

    Raises:
        PhotoError: It cannot be read.
    """
    try:
        return sha256_of(source)
    except OSError as error:
        raise PhotoError(f"{source}: cannot be read ({one_line(error)})") from error
