"""Fingerprints of what the program does: ``python -m tests.fingerprints --check``.

A fixed table of commands is run in this process, on photos that scikit-image brings along, and
everything they write is boiled down: pixels, weights and patches to a checksum and a few robust
figures, decisions and scores to themselves. Where processor and versions are those of the record,
everything has to be equal to the last bit. Elsewhere arithmetic rounds in other ways: checksums are
passed over then, and figures may differ a little.
"""

import argparse
import hashlib
import json
import platform
import random
import re
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import h5py
import numpy as np
import numpy.typing as npt
import skimage.data
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from restoration_toolchain.toolchain.cli import app

RECORD: Final = Path(__file__).with_suffix(".json")
"""What the program did when it was last recorded."""

Array = npt.NDArray[Any]
Finding = dict[str, Any]
"""What a case did, plain data; what stands under `CHECKSUM` is true of one processor only."""

CHECKSUM: Final = "sha256"
ABSOLUTE: Final = 0.02
RELATIVE: Final = 0.005
"""By how much figures may differ on another processor."""
OF_NORM: Final = 0.05
"""By how much sums may, in which large parts cancel: a share of the norm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One or more commands whose outcome is compared.

    Attributes:
        name: How it is called in the record, and how others refer to its folder.
        commands: Command lines without the program's name. ``{out}`` is the folder of the case,
            ``{photo}`` a photo by its name in `make_photos`, and ``{case}`` the folder of another
            case, which runs first.
        says: Whether what was printed counts as well, see `figures_in`.
        quick: Whether it is one of the few that the tests run.
        needs_bf16: Whether it is left out on processors that do not compute in bfloat16.
    """

    name: str
    commands: tuple[str, ...]
    says: bool = False
    quick: bool = False
    needs_bf16: bool = False


ALWAYS: Final = {
    "restore": "--device cpu --precision fp32 --quiet",
    "inspect": "--device cpu --precision fp32",
    "evaluate": "--device cpu --json {out}/scores.json",
    "data prepare": "--offline",
    "train tools": "--device cpu --precision fp32 --set num_workers=0",
    "train chains": "--device cpu --precision fp32 --set num_workers=0",
    "train agent": "--device cpu --set precision=fp32",
    "train joint": "--device cpu --set precision=fp32",
    "fit": "--device cpu --set precision=fp32",
    "extend": "--device cpu",
    "calibrate": "--device cpu",
}
"""Options that every command of a kind begins with; what follows wins over them."""

TRACE: Final = "-o {out} --trace {out}/trace.json"
TOOL: Final = (
    "--set batch_size=4 --set eval_every=2 --set eval_patches=8 --total-patches 16 --seed 1"
)
ENLARGER: Final = (
    "--set batch_size=2 --set eval_every=2 --set eval_patches=4 --total-patches 8 --seed 1"
)
AGENT: Final = (
    "--total-timesteps 96 --set n_envs=8 --set eval_every=48 --set eval_pairs=16 "
    "--set batch_size=8 --seed 1"
)
DRQN: Final = AGENT + " --set learning_starts=16 --set gradient_steps=4"
PLAYERS: Final = "--players stop,random,fixed,greedy-oracle,agent"

CASES: Final = (
    # Restoring: what is chosen, and what comes out.
    Case(name="noisy", commands=("restore {noisy} " + TRACE,), quick=True),
    Case(name="blurred", commands=("restore {blurred} " + TRACE,), quick=True),
    Case(name="compressed", commands=("restore {compressed} " + TRACE,)),
    Case(name="mixed", commands=("restore {mixed} " + TRACE,)),
    Case(name="clean", commands=("restore {clean} " + TRACE,)),
    Case(name="classic-noisy", commands=("restore {noisy} --toolbox classic " + TRACE,)),
    Case(name="classic-blurred", commands=("restore {blurred} --toolbox classic " + TRACE,)),
    Case(name="classic-compressed", commands=("restore {compressed} --toolbox classic " + TRACE,)),
    Case(name="gray", commands=("restore {gray} " + TRACE,), quick=True),
    Case(name="alpha", commands=("restore {alpha} " + TRACE,)),
    Case(name="deep", commands=("restore {deep} " + TRACE,), quick=True),
    Case(name="jpeg", commands=("restore {jpeg} " + TRACE,)),
    Case(name="regions", commands=("restore {patchy} --regions " + TRACE,)),
    Case(
        name="regions-classic",
        commands=("restore {patchy} --regions --toolbox classic " + TRACE,),
    ),
    Case(name="strength", commands=("restore {mixed} --strength 0.5 " + TRACE,)),
    Case(name="max-risk", commands=("restore {mixed} {noisy} --max-risk 0.1 " + TRACE,)),
    Case(name="max-steps", commands=("restore {mixed} --max-steps 1 " + TRACE,)),
    Case(name="tiles", commands=("restore {large} --max-tile-pixels 80000 " + TRACE,)),
    Case(
        name="tiles-regions",
        commands=("restore {large} --regions --max-tile-pixels 80000 " + TRACE,),
    ),
    Case(name="max-memory", commands=("restore {mixed} --max-memory 64G " + TRACE,)),
    Case(name="bf16", commands=("restore {mixed} --precision bf16 " + TRACE,), needs_bf16=True),
    Case(name="save-steps", commands=("restore {mixed} -o {out} --save-steps {out}/steps",)),
    Case(name="scale-2", commands=("restore {small} --scale 2 " + TRACE,)),
    Case(name="scale-4", commands=("restore {small} --scale 4 " + TRACE,)),
    Case(
        name="scale-4-texture",
        commands=("restore {small} {small-noisy} --scale 4 --prefer texture " + TRACE,),
    ),
    Case(
        name="scale-4-prior",
        commands=("restore {small} --scale 4 --prefer texture --prior 3 " + TRACE,),
    ),
    Case(
        name="scale-4-steps",
        commands=("restore {small} --scale 4 --prefer texture --steps 2 " + TRACE,),
    ),
    Case(
        name="replay",
        commands=(
            "restore {mixed} -o {out} --sidecar",
            "replay {out}/mixed.png.json -o {out}/again.png",
        ),
        says=True,
    ),
    Case(
        name="inspect",
        commands=("inspect {clean} --degrade moderate --seed 3",),
        says=True,
    ),
    Case(
        name="inspect-scale-4",
        commands=("inspect {clean} --degrade slight --seed 3 --scale 4",),
        says=True,
    ),
    # Listing and measuring.
    Case(name="tools", commands=("tools", "tools --toolbox classic"), says=True, quick=True),
    Case(
        name="tools-enlarging",
        commands=("tools --toolbox generative", "tools --toolbox generative-x2"),
        says=True,
    ),
    Case(
        name="moderate",
        commands=("evaluate embedded --level moderate --count 8 --seed 1 " + PLAYERS,),
    ),
    Case(
        name="camera",
        commands=("evaluate embedded --level camera --count 8 --seed 1 " + PLAYERS,),
    ),
    Case(
        name="light",
        commands=("evaluate embedded --level light --count 8 --seed 1 " + PLAYERS,),
    ),
    Case(
        name="classic-severe",
        commands=("evaluate embedded --toolbox classic --level severe --count 8 " + PLAYERS,),
    ),
    Case(
        name="oracle",
        commands=(
            "evaluate embedded --toolbox classic --level mild --count 2 --players oracle,agent "
            "--max-steps 2",
        ),
    ),
    Case(
        name="real-sr",
        commands=("evaluate embedded --scale 4 --level slight --level real --count 2",),
    ),
    Case(
        name="real-sr-x2",
        commands=("evaluate embedded --scale 2 --level slight --count 2",),
    ),
    Case(
        name="real-sr-steps",
        commands=(
            "evaluate embedded --scale 4 --level real --count 2 --players sr-alone --steps 2 "
            "--prior 3",
        ),
    ),
    # Patches to train on.
    Case(
        name="store",
        commands=(
            "data prepare embedded -o {out}/store.h5 --max-patches 24 --holdout 0.4 --seed 4",
        ),
        quick=True,
    ),
    Case(
        name="store-of-large-patches",
        commands=(
            "data prepare embedded -o {out}/store.h5 --patch-size 96 --stride 64 --scales 1,2/3 "
            "--max-patches 12 --holdout 0.4 --level severe --single-fraction 0.25 --seed 4",
        ),
    ),
    # Training tools.
    Case(
        name="train-tools",
        commands=("train tools denoise_1 --store {store}/store.h5 --run {out} " + TOOL,),
        says=True,
        quick=True,
    ),
    Case(
        name="train-efficient",
        commands=(
            "train tools generalist_s deblur_e1 --config efficient --store {store}/store.h5 "
            "--run {out} " + TOOL,
        ),
        says=True,
    ),
    Case(
        name="train-baselines",
        commands=(
            "train tools vdsr_s --config baselines --store {store}/store.h5 --run {out} " + TOOL,
        ),
        says=True,
    ),
    Case(
        name="train-chains",
        commands=(
            "train chains --store {store}/store.h5 --toolbox classic --run {out} "
            """--set 'stages=[["denoise_2: noise 25","deblock_2"],["deblur_2"]]' """
            "--set own=0.25 --set detour=0.25 " + TOOL,
        ),
    ),
    Case(
        name="train-sr-psnr",
        commands=(
            "train tools sr-psnr --store {store-of-large-patches}/store.h5 --run {out} " + ENLARGER,
        ),
        says=True,
    ),
    Case(
        name="train-sr-x2",
        commands=(
            "train tools --config generative-x2 --store {store-of-large-patches}/store.h5 "
            "--run {out} " + ENLARGER,
        ),
        says=True,
    ),
    Case(
        name="train-sr-sft",
        commands=(
            "train tools sr-sft --config generative --store {store-of-large-patches}/store.h5 "
            "--run {out} --init {train-sr-psnr}/toolbox --set warm_steps=1 --set prior_patches=64 "
            + ENLARGER,
        ),
        says=True,
    ),
    Case(
        name="train-sr-ssl",
        commands=(
            "train tools sr-ssl --config generative --store {store-of-large-patches}/store.h5 "
            "--run {out} --init {train-sr-psnr}/toolbox " + ENLARGER,
        ),
        says=True,
    ),
    Case(
        name="train-sr-sfd",
        commands=(
            "train tools sr-sfd --config generative --store {store-of-large-patches}/store.h5 "
            "--run {out} --init {train-sr-psnr}/toolbox " + ENLARGER,
        ),
        says=True,
    ),
    Case(
        name="train-sr-vpd",
        commands=(
            "train tools sr-vpd --config generative --store {store-of-large-patches}/store.h5 "
            "--run {out} --init {train-sr-psnr}/toolbox --set teacher_patches=8 " + ENLARGER,
        ),
        says=True,
    ),
    # Training agents.
    Case(
        name="train-drqn",
        commands=(
            "train agent --algo drqn --store {store}/store.h5 --toolbox classic --run {out} "
            "--set pretrain_patches=32 --set pristine_patches=32 " + DRQN,
        ),
    ),
    Case(
        name="train-drqn-paper",
        commands=(
            "train agent --algo drqn --store {store}/store.h5 --toolbox classic --run {out} "
            "--set encoder=rl_restore --set full_backup=false --set gamma=0.99 "
            "--set optimizer=adam --set levels=[] " + DRQN,
        ),
    ),
    Case(
        name="train-drqn-chains",
        commands=(
            "train agent --algo drqn --store {store}/store.h5 --toolbox classic --run {out} "
            """--set 'rollout_chains=[["denoise_2","deblur_2"],["deblock_2","deblur_2"]]' """
            "--set gamma=1.0 --set default_chain=true --set ranking=0.5 " + DRQN,
        ),
    ),
    Case(
        name="train-drqn-real-sr",
        commands=(
            "train agent --algo drqn --store embedded --run {out} "
            """--set task=real-sr --set 'levels=["slight","real"]' """
            "--set init_encoder=efficient-paper " + DRQN + " --set eval_pairs=4",
        ),
    ),
    Case(
        name="train-ppo",
        commands=(
            "train agent --algo ppo --store {store}/store.h5 --toolbox classic --run {out} "
            "--set n_steps=6 " + AGENT,
        ),
    ),
    # Both together, and what else changes tools and agents.
    Case(
        name="train-joint",
        commands=(
            "train joint --store {store}/store.h5 --toolbox efficient --run {out} --rounds 1 "
            "--seed 1 --set tools.total_patches=16 --set tools.batch_size=4 "
            "--set tools.own_patches=1 --set agent.total_timesteps=64 "
            "--set eval_pairs=8 --set tolerance=1e9 "
            "--set 'agent={ n_envs = 8, learning_starts = 16, gradient_steps = 2, "
            "pristine_patches = 32 }'",
        ),
    ),
    Case(
        name="average",
        commands=(
            "train average efficient {train-joint}/round-1-tools/bundle efficient -o {out}/toolbox",
        ),
    ),
    Case(
        name="calibrate",
        commands=(
            "train average classic -o {out}/toolbox",
            "calibrate --store {store}/store.h5 --toolbox {out}/toolbox --count 32 --seed 1",
        ),
        says=True,
    ),
    Case(
        name="fit",
        commands=(
            "fit {series} --name mine -o {out}/mine --run {out}/run --keep-anyway --seed 1 "
            "--set total_steps=4 --set eval_every=2 --set batch_size=1 --set patch_size=40",
        ),
        says=True,
    ),
    Case(
        name="fit-sdap",
        commands=(
            "fit {series} --method sdap --name mine -o {out}/mine --run {out}/run --keep-anyway "
            "--seed 1 --set total_steps=2 --set eval_every=1 --set batch_size=1 "
            "--set patch_size=40 --set distill=0",
        ),
        says=True,
    ),
    Case(
        name="add-tool",
        commands=("restore {series}/0.png --add-tool {fit}/mine " + TRACE,),
    ),
    Case(
        name="extend",
        commands=(
            "extend classic --add-tool {fit}/mine -o {out}/toolbox --store {store}/store.h5 "
            "--run {out}/run --total-timesteps 64 --seed 1",
        ),
        says=True,
    ),
)


def make_photos(folder: Path) -> dict[str, Path]:
    """Write the photos that the cases work on, and folders of them, by name."""
    astronaut, coffee, chelsea = (
        getattr(skimage.data, name)() for name in ("astronaut", "coffee", "chelsea")
    )
    face, cup, cat = astronaut[20:180, 130:330], coffee[60:220, 180:380], chelsea[40:200, 90:290]
    noisy, blurred = damaged(face, noise=20.0), damaged(cup, blur=2.0)
    patchy = np.concatenate([noisy[:, :100], damaged(face, blur=2.5)[:, 100:]], axis=1)
    alpha = np.linspace(0, 255, 200).round().astype(np.uint8) + np.zeros((160, 1), np.uint8)
    images = {
        "noisy.png": noisy,
        "blurred.png": blurred,
        "compressed.png": damaged(cat, jpeg=12),
        "mixed.png": damaged(cup, blur=1.5, noise=12.0, jpeg=45, seed=1),
        "clean.png": cat,
        "gray.png": cv2.cvtColor(damaged(cat, noise=25.0, seed=2), cv2.COLOR_RGB2GRAY),
        "alpha.png": np.dstack([damaged(cat, blur=1.0, noise=15.0, seed=3), alpha]),
        "deep.png": damaged(cup, blur=1.5, noise=8.0, seed=4).astype(np.uint16) * 257 + 64,
        "jpeg.jpg": damaged(face, noise=10.0, seed=5),
        "patchy.png": patchy,
        "large.png": damaged(astronaut[:320, :400], blur=1.2, noise=9.0, jpeg=50, seed=7),
        "small.png": cv2.resize(coffee[60:252, 180:420], (60, 48), interpolation=cv2.INTER_AREA),
        "small-noisy.png": damaged(cat[40:88, 60:120], noise=10.0, jpeg=60, seed=6),
    }
    for i, clean in enumerate((astronaut[:128, :128], coffee[:128, -128:], chelsea[:128, -128:])):
        images[f"series/{i}.png"] = damaged(clean, noise=18.0, seed=10 + i)
    (folder / "series").mkdir(parents=True)
    for name, image in images.items():
        if image.ndim == 3:
            order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
            image = cv2.cvtColor(image, order)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 30] if name.endswith(".jpg") else []
        cv2.imwrite(str(folder / name), image, quality)
    photos = {name.partition(".")[0]: folder / name for name in images if "/" not in name}
    return {**photos, "series": folder / "series"}


def damaged(
    clean: Array, *, blur: float = 0.0, noise: float = 0.0, jpeg: int = 0, seed: int = 0
) -> Array:
    """Damage an RGB uint8 photo, in whole grey levels: every processor makes the same of it."""
    image = clean
    if blur:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    if noise:
        drawn = np.random.default_rng(seed).normal(0.0, noise, image.shape)
        image = np.clip(image + drawn.round(), 0, 255).astype(np.uint8)
    if jpeg:
        order = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        _, stream = cv2.imencode(".jpg", order, [cv2.IMWRITE_JPEG_QUALITY, jpeg])
        decoded = cv2.imdecode(stream, cv2.IMREAD_COLOR)
        assert decoded is not None
        image = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return np.asarray(image, np.uint8)


@dataclass(slots=True)
class Lab:
    """Runs cases below a folder, each once, and those before it that its commands refer to.

    Args:
        folder: An empty one.
        app: The program.
    """

    folder: Path
    app: typer.Typer
    findings: dict[str, Finding] = field(default_factory=dict, init=False)
    _photos: dict[str, Path] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make the photos."""
        self._photos = make_photos(self.folder / "photos")

    def finding(self, case: Case) -> Finding:
        """What a case does.

        Raises:
            RuntimeError: One of its commands failed.
        """
        if case.name not in self.findings:
            out = self.folder / "cases" / case.name
            lines = [self._words(command, out) for command in case.commands]
            out.mkdir(parents=True)
            _seed_everything()
            said = " ".join(self._run(words) for words in lines)
            finding = dict(look_into(out))
            if case.says:
                finding["said"] = figures_in(said)
            self.findings[case.name] = finding
        return self.findings[case.name]

    def _words(self, command: str, out: Path) -> list[str]:
        kind = next((kind for kind in ALWAYS if command.startswith(f"{kind} ")), "")
        if kind:
            command = f"{kind} {ALWAYS[kind]} {command.removeprefix(kind)}"

        def place(match: re.Match[str]) -> str:
            name = match[1]
            if name == "out":
                return str(out)
            if name not in self._photos:
                self.finding(next(case for case in CASES if case.name == name))
                return str(out.with_name(name))
            return str(self._photos[name])

        return [re.sub(r"\{([a-z0-9-]+)\}", place, word) for word in shlex.split(command)]

    def _run(self, words: Sequence[str]) -> str:
        home = {"RESTORATION_TOOLCHAIN_HOME": str(self.folder / "home"), "COLUMNS": "200"}
        result = CliRunner().invoke(self.app, words, env=home)
        if result.exit_code != 0:
            why = "".join(traceback.format_exception(result.exception)[-4:])
            raise RuntimeError(f"{shlex.join(words)}: {result.output.strip()}\n{why}")
        return result.stdout


def _seed_everything() -> None:
    """Leave nothing to what ran before, should a command draw without a seed of its own."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the state of others is what it is about
    torch.manual_seed(0)


def look_into(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the place and the fingerprint of everything comparable that was written."""
    weights: dict[str, list[Path]] = {}
    for path in filter(Path.is_file, sorted(folder.rglob("*"))):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".safetensors":
            weights.setdefault(path.parent.relative_to(folder).as_posix(), []).append(path)
        elif path.suffix in _LOOKS:
            yield name, _LOOKS[path.suffix](path)
        elif path.name in _JSON_LOOKS:
            yield name, _JSON_LOOKS[path.name](path.read_text())
    for name, paths in weights.items():
        yield f"weights in {name}", look_at_weights(paths)


def look_at_image(path: Path) -> Finding:
    """Checksum of the samples, and means of blocks in 8-bit grey levels."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    grid = image.astype(np.float64) * (255 / (255 if image.dtype == np.uint8 else 65535))
    rows = [np.array_split(row, 4, axis=1) for row in np.array_split(grid, 4, axis=0)]
    means = [[round(float(block.mean()), 2) for block in row] for row in rows]
    return {**_array_facts(image), "means": means}


def look_at_weights(paths: Sequence[Path]) -> Finding:
    """Checksum of all tensors, whatever they are called, with their norm and sum."""
    arrays = [tensor.float().numpy() for path in paths for tensor in load_file(path).values()]
    arrays.sort(key=lambda array: _array_facts(array)[CHECKSUM])
    checksums = "".join(_array_facts(array)[CHECKSUM] for array in arrays)
    every = np.concatenate([array.ravel().astype(np.float64) for array in arrays])
    return {
        CHECKSUM: hashlib.sha256(checksums.encode()).hexdigest(),
        "tensors": len(arrays),
        "numbers": every.size,
        "norm": _significant(float(np.linalg.norm(every))),
        "sum": _significant(float(every.sum())),
    }


def look_at_store(path: Path) -> Finding:
    """Checksum and mean of every array of numbers of a patch store."""
    with h5py.File(path, "r") as file:
        arrays = {name: np.asarray(file[name]) for name in file if file[name].dtype != object}
    return {
        name: {**_array_facts(array), "mean": _significant(float(array.mean(dtype=np.float64)))}
        for name, array in arrays.items()
    }


def look_at_trace(text: str) -> list[Finding]:
    """The decisions of each photo, and how all actions were valued."""
    kept = ("sequence", "enlarged_by", "width", "height", "unfamiliarity")
    of_step = ("action", "action_values", "risk", "clean_probability", "colour_drift")
    return [
        _rounded(
            {name: entry[name] for name in kept}
            | {"steps": [{n: step.get(n) for n in (*of_step, "region_actions")}
                         for step in entry["steps"]]}
        )
        for entry in json.loads(text)
    ]  # fmt: skip


def look_at_scores(text: str) -> Any:
    """Figures of players, and the tools that are said of them."""
    rows = json.loads(text)
    return _rounded([{**row, "note": figures_in(row["note"])} for row in rows])


def look_at_metrics(text: str) -> Any:
    """Figures of the last validation."""
    if not text:
        return None
    last = json.loads(text.splitlines()[-1])
    return _rounded({name: value for name, value in last.items() if "second" not in name})


_LOOKS: Final[dict[str, Callable[[Path], Any]]] = {
    ".png": look_at_image,
    ".jpg": look_at_image,
    ".h5": look_at_store,
}
_JSON_LOOKS: Final[dict[str, Callable[[str], Any]]] = {
    "trace.json": look_at_trace,
    "scores.json": look_at_scores,
    "metrics.jsonl": look_at_metrics,
}


def figures_in(text: str) -> str:
    """Figures, and names of tools, in what was printed; without times and paths."""
    timeless = re.sub(r"\b\d+(\.\d+)? (ms|s|min)\b", "", text)
    words = (word.strip("(),;:%") for word in timeless.split())
    return " ".join(w for w in words if re.search(r"\d|^sr-", w) and "/" not in w)


def _array_facts(array: Array) -> Finding:
    samples = np.ascontiguousarray(array)
    kind = f"{samples.dtype.str} {samples.shape}"
    digest = hashlib.sha256(kind.encode() + samples.tobytes()).hexdigest()
    return {"kind": kind, CHECKSUM: digest}


def _significant(value: float) -> float:
    return float(f"{value:.5g}")


def _rounded(value: Any) -> Any:
    """The same plain data with three decimals."""
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 3) + 0.0 if isinstance(value, float) else value


def machine() -> dict[str, str]:
    """What rounding depends on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    facts = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    known = [facts.get(key, "") for key in ("model name", "model", "stepping", "cache size")]
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    return {
        "processor": " ".join(filter(None, known)) or platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "flags": " ".join(sorted(flags & {"avx2", "avx512f", "avx512_bf16", "amx_bf16"})),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }


def differences(recorded: Any, found: Any, *, exactly: bool) -> list[str]:
    """Say what differs between two findings.

    Args:
        recorded: Finding of the record.
        found: Finding of today.
        exactly: Every bit counts; otherwise checksums do not, and figures count roughly.
    """
    before, now = dict(_leaves(recorded)), dict(_leaves(found))
    lines = []
    for name in [*before, *(name for name in now if name not in before)]:
        if name not in before or name not in now:
            lines.append(f"{name} is {'new' if name in now else 'missing'}")
        elif before[name] != now[name] and (exactly or not _alike(name, before, now)):
            lines.append(f"{name}: {before[name]} -> {now[name]}")
    return lines


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    items: Any = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    elif isinstance(value, str) and name.endswith(("said", "note")):
        items = enumerate(float(word) if _is_number(word) else word for word in value.split())
    else:
        yield name, value
    for key, item in items:
        yield from _leaves(item, f"{name} / {key}" if name else str(key))


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d+)?", word) is not None


def _alike(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    place, _, key = name.rpartition(" / ")
    if key == CHECKSUM:
        return True
    old, new = before[name], now[name]
    if not (isinstance(old, float) and isinstance(new, float)):
        return bool(old == new)
    if key == "sum":
        return bool(abs(old - new) <= ABSOLUTE + OF_NORM * before[f"{place} / norm"])
    return abs(old - new) <= ABSOLUTE + RELATIVE * max(abs(old), abs(new))


def chosen_cases(pattern: str = "", *, quick: bool = False) -> list[Case]:
    """Cases by a regular expression in their names, that can run here."""
    has_bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return [
        case
        for case in CASES
        if re.search(pattern, case.name)
        and (case.quick or not quick)
        and (has_bf16 or not case.needs_bf16)
    ]


def check(lab: Lab, cases: Sequence[Case], record: Mapping[str, Any]) -> bool:
    """Print a line for each case; whether all are what they were.

    Args:
        lab: Where they run.
        cases: What to run.
        record: See `recorded`.
    """
    here = record["machine"] == machine()
    if not here:
        print("recorded on another processor or with other versions: small differences are allowed")
    good = True
    for case in cases:
        start = time.perf_counter()
        try:
            found = json.loads(json.dumps(lab.finding(case)))
        except RuntimeError as error:
            verdict, is_good = f"DIFFERENT: it fails: {error}", False
        else:
            verdict, is_good = _verdict(record["cases"].get(case.name), found, here)
        took = time.perf_counter() - start
        good &= is_good
        print(f"{case.name:24}{took:6.1f} s  {verdict}", flush=True)
    return good


def _verdict(recorded: Any, found: Any, here: bool) -> tuple[str, bool]:
    if recorded is None:
        return "DIFFERENT: not recorded", False
    exact = differences(recorded, found, exactly=True)
    if not exact:
        return "equal", True
    if rough := differences(recorded, found, exactly=False):
        shown = [*rough[:5], *([f"and {len(rough) - 5} more"] if len(rough) > 5 else [])]
        return "\n    ".join(["DIFFERENT:", *shown]), False
    return f"bits differ, but decisions and figures are equal: {exact[0]}", not here


def recorded(lab: Lab, cases: Sequence[Case]) -> dict[str, Any]:
    """Run cases, and keep what they do with the machine that they ran on."""
    findings = {}
    for case in cases:
        start = time.perf_counter()
        findings[case.name] = lab.finding(case)
        print(f"{case.name:24}{time.perf_counter() - start:6.1f} s", flush=True)
    return {"machine": machine(), "cases": findings}


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A record some of whose cases are new ones.

    Raises:
        ValueError: The others were recorded on another machine.
    """
    if old["machine"] != new["machine"]:
        raise ValueError("the record is of another machine: record all cases")
    cases = {**old["cases"], **new["cases"]}
    order = [case.name for case in CASES if case.name in cases]
    return {"machine": new["machine"], "cases": {name: cases[name] for name in order}}


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record with a line for each case."""
    lines = [f"{json.dumps(name)}: {json.dumps(case)}" for name, case in record["cases"].items()]
    head = json.dumps(record["machine"], indent=1)
    body = ",\n".join(lines)
    path.write_text(f'{{"machine": {head},\n"cases": {{\n{body}\n}}}}\n')


def main(arguments: Sequence[str] | None = None) -> int:
    """Record, check or list; the exit status."""
    parser = argparse.ArgumentParser(description="Fingerprints of what the program does.")
    action = parser.add_mutually_exclusive_group(required=True)
    file: dict[str, Any] = {"type": Path, "nargs": "?", "const": RECORD, "metavar": "FILE"}
    action.add_argument("--check", **file, help="compare with a record")
    action.add_argument("--record", **file, help="write a record")
    action.add_argument("--list", action="store_true", help="name the cases")
    parser.add_argument("--only", default="", metavar="PATTERN", help="cases with such names")
    parser.add_argument("--quick", action="store_true", help="only the few that tests run")
    options = parser.parse_args(arguments)
    cases = chosen_cases(options.only, quick=options.quick)
    if options.list:
        for case in cases:
            print(f"{case.name:24}{'; '.join(case.commands)}")
        return 0
    n_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            lab = Lab(Path(folder), app)
            if options.record is not None:
                record = recorded(lab, cases)
                if len(cases) < len(CASES) and options.record.is_file():
                    record = merged(json.loads(options.record.read_text()), record)
                write_record(options.record, record)
                return 0
            return 0 if check(lab, cases, json.loads(options.check.read_text())) else 1
    finally:
        torch.set_num_threads(n_threads[0])
        cv2.setNumThreads(n_threads[1])


if __name__ == "__main__":
    sys.exit(main())
