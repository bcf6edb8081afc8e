"""``python -m benchmarks.self_supervised PHOTOS``: fitting to noisy photos, beside what needs none.

Clean photos go through the camera simulator. Denoisers are fitted to the noisy ones alone; the
clean ones only measure. All figures are PSNR in dB against the photo without noise.
"""

import argparse
import functools
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import torch
from rich.console import Console

from benchmarks.bm3d import denoised_by_bm3d
from benchmarks.crops import middle, save_crops
from benchmarks.machine import machine_facts
from benchmarks.report import Report, Row
from restoration_toolchain.data.damage.camera import CAMERAS, Camera, photograph, typical_camera
from restoration_toolchain.data.damage.noise_model import NoiseModel, estimate_noise
from restoration_toolchain.data.images import FloatImage, to_float, to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.toolchain.learning.camera_fit import (
    NOTHING,
    Fitted,
    NoisyPhotos,
    cut_off,
    fit_to_photos,
    judged_crops,
)
from restoration_toolchain.tools_zoo.fitting.distillation import shipped_denoisers
from restoration_toolchain.tools_zoo.fitting.fit import FitConfig
from restoration_toolchain.tools_zoo.fitting.sure import denoised
from restoration_toolchain.tools_zoo.storage import load_toolbox
from restoration_toolchain.tools_zoo.training.run_folder import config_from_dict

NLM_STRENGTHS: Final = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 14.0, 20.0)
BM3D_FACTORS: Final = (1.0, 1.5, 2.0)
"""Strengths of BM3D, as multiples of the measured noise."""
BM3D_SEARCHED: Final = 2
"""Photos on which BM3D's strength is searched: it is slow."""

SHEET_ROWS: Final = 6
SHEET_SIDE: Final = 200
"""Pixels of a crop."""

ABLATIONS: Final[dict[str, dict[str, Any]]] = {
    "ams": {"method": "ams"},
    "ams, train_stride 2": {"method": "ams", "train_stride": 2, "cycle": 4},
    "ams, train_stride 3": {"method": "ams", "train_stride": 3},
    "ams, random masks": {"method": "ams", "masks": "random"},
    "ams, as published": {"method": "ams", "distill": 0.0},
    "sdap": {"method": "sdap"},
    "sdap, one pair in place of a cycle": {"method": "sdap", "cycle": 2},
    "sdap, as published": {"method": "sdap", "distill": 0.0},
}
"""Changes to the default settings; *as published* is without distillation."""

Denoise = Callable[[FloatImage], FloatImage]


class Pair(NamedTuple):
    """A photo of the simulated camera, and the same without noise."""

    noisy: FloatImage
    clean: FloatImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is measured.

    Attributes:
        photos: Folder of clean photos.
        cameras: Cameras as `camera_of` reads them.
        methods: Names of ways to fit.
        evaluated: Photos that are measured on, spread evenly; all are fitted to.
        steps: Optimiser steps of a fit: unlike a time, they give the same result on any machine.
        bm3d: Whether to run BM3D (extra ``bench``).
        changes: Settings of the fits.
        learn: Folder of the clean photos that are fitted to, if not those that are measured on.
        learnt: Photos of that folder, drawn at random; 0 are all.
        single: Fit to the first of the evaluated photos alone that is not all texture, and measure
            on it.
        sheet: Also draw crops of the first photos behind the last camera, a .jpg.
    """

    photos: Path
    cameras: tuple[str, ...]
    methods: tuple[str, ...]
    evaluated: int
    steps: int
    bm3d: bool
    changes: Mapping[str, Any]
    learn: Path | None = None
    learnt: int = 0
    single: bool = False
    sheet: Path | None = None


def run(options: Options) -> tuple[Report, Report]:
    """Measure every method on the photos of every camera, and the judge on what they make."""
    clean = [to_float(photo) for _, photo in open_source(str(options.photos))]
    rows: list[Row] = []
    judged: list[Row] = []
    for camera in options.cameras:
        measured, verdicts = _rows(camera, clean, options)
        rows += measured
        judged += verdicts
    count = "one" if options.single else str(len(clean))
    if options.learn is not None:
        count = f"{options.learnt or 'all'} of {options.learn}; none"
    report = Report(
        title="Fitted to one noisy photo" if options.single else "Fitted to noisy photos",
        method=(
            f"{count} of {len(clean)} photos fitted to, {options.steps} optimiser steps; measured "
            f"on {1 if options.single else options.evaluated}. The strength of NLM and BM3D is "
            "what the clean photos pick."
        ),
        rows=tuple(rows),
    )
    return report, _judgements(judged)


def ablate(options: Options) -> tuple[Report, Report]:
    """Measure what each ingredient is worth, and the judge on all of them."""
    clean = [to_float(photo) for _, photo in open_source(str(options.photos))]
    camera = options.cameras[0]
    pairs = _photograph(clean, camera)
    rows: list[Row] = []
    judged: list[Row] = []
    for name, changes in ABLATIONS.items():
        fitted, seconds = _fit(pairs, options, {**options.changes, **changes})
        judged.append(_judged(camera, name, fitted, pairs))
        rows.append(
            _row(camera, name, as_denoise(fitted.tool), _evaluated(pairs, options), seconds)
        )
    report = Report(
        title="Ablations", method=f"{options.steps} optimiser steps each.", rows=tuple(rows)
    )
    return report, _judgements(judged)


def _judgements(rows: Sequence[Row]) -> Report:
    return Report(
        title="The judge",
        method="What it estimates without clean photos, and what is true of the same crops.",
        rows=tuple(rows),
    )


def _judged(camera: str, method: str, fitted: Fitted, pairs: Sequence[Pair]) -> Row:
    """What the judge said of a fitted tool and of the best of the others, beside the truth."""
    noisy, clean = (judged_crops([cut_off(pair[side])[1] for pair in pairs]) for side in (0, 1))
    crops = [Pair(*pair) for pair in zip(noisy, clean, strict=True)]
    gains, rival = fitted.verdict.gains, fitted.verdict.rival
    other = as_denoise(load_toolbox()[rival]) if rival != NOTHING else lambda image: image
    own = as_denoise(fitted.tool)
    return {
        "camera": camera,
        "method": method,
        "estimated": f"{gains[fitted.tool.spec.name]:+.2f}",
        "true": f"{_gain(own, crops):+.2f}",
        "best other": rival,
        "its estimated": f"{gains[rival]:+.2f}",
        "its true": f"{_gain(other, crops):+.2f}",
        "kept": "yes" if fitted.verdict.accepted else "no",
    }


def _gain(denoise: Denoise, pairs: Sequence[Pair]) -> float:
    """Gain in PSNR by the mean squared error of all pairs together, in dB."""
    after = sum(float(np.square(denoise(pair.noisy) - pair.clean).mean()) for pair in pairs)
    before = sum(float(np.square(pair.noisy - pair.clean).mean()) for pair in pairs)
    return -10.0 * math.log10(after / before)


def _rows(
    camera: str, clean: Sequence[FloatImage], options: Options
) -> tuple[list[Row], list[Row]]:
    """PSNR of everything at one camera, and what the judge said of the fits."""
    pairs = _photograph(clean, camera)
    measured = _evaluated(pairs, options)
    shown: dict[str, tuple[Denoise, float]] = {"noisy": (lambda image: image, 0.0)}
    for tool in shipped_denoisers():
        shown[tool.spec.name] = (as_denoise(tool), 0.0)
    nlm = [functools.partial(_nlm, strength=strength) for strength in NLM_STRENGTHS]
    shown["non-local means"] = (_best(nlm, measured), 0.0)
    if options.bm3d:
        noise = estimate_noise([pair.noisy for pair in measured])
        sigmas = [factor * noise.sigma for factor in BM3D_FACTORS]
        bm3d = [functools.partial(denoised_by_bm3d, sigma=sigma) for sigma in sigmas]
        shown["BM3D"] = (_best(bm3d, measured[:BM3D_SEARCHED]), 0.0)
    learnt = measured if options.single else pairs
    if options.learn is not None:
        learnt = _learnt(camera, options)
    judged = []
    for method in options.methods:
        fitted, seconds = _fit(learnt, options, {**options.changes, "method": method})
        shown[method] = (as_denoise(fitted.tool), seconds)
        judged.append(_judged(camera, method, fitted, learnt))
    rows = [
        _row(camera, name, denoise, measured, seconds) for name, (denoise, seconds) in shown.items()
    ]
    if options.sheet is not None:
        _draw(options.sheet, {name: denoise for name, (denoise, _) in shown.items()}, measured)
    return rows, judged


def _draw(path: Path, denoisers: Mapping[str, Denoise], pairs: Sequence[Pair]) -> None:
    rows = []
    for pair in pairs[:SHEET_ROWS]:
        noisy, clean = (middle(photo, SHEET_SIDE) for photo in pair)
        rows.append([*(denoise(noisy) for denoise in denoisers.values()), clean])
    save_crops(path, [*denoisers, "clean"], rows, zoom=1)


def _row(camera: str, name: str, denoise: Denoise, pairs: Sequence[Pair], seconds: float) -> Row:
    reached = float(np.mean([psnr(denoise(pair.noisy), pair.clean) for pair in pairs]))
    return {"camera": camera, "method": name, "PSNR dB": f"{reached:.2f}", "fit s": seconds}


def camera_of(text: str) -> Camera:
    """A camera by its name in `CAMERAS`, or by its shot noise and JPEG quality: ``8e-4:90``."""
    if text in CAMERAS:
        return CAMERAS[text]
    shot, _, quality = text.partition(":")
    return typical_camera(float(shot), int(quality) if quality else None)


def _learnt(camera: str, options: Options) -> list[Pair]:
    """Photos to fit to that are not those measured on."""
    clean = [to_float(photo) for _, photo in open_source(str(options.learn))]
    count = min(options.learnt or len(clean), len(clean))
    chosen = np.random.default_rng(0).choice(len(clean), count, replace=False)
    return _photograph([clean[index] for index in chosen], camera)


def _photograph(clean: Sequence[FloatImage], camera: str) -> list[Pair]:
    rngs = (np.random.default_rng((0, index)) for index in range(len(clean)))
    taken_by = camera_of(camera)
    return [Pair(*photograph(c, taken_by, rng)) for c, rng in zip(clean, rngs, strict=True)]


def _evaluated(pairs: Sequence[Pair], options: Options) -> list[Pair]:
    count = min(options.evaluated, len(pairs))
    spread = [pairs[index * len(pairs) // count] for index in range(count)]
    if not options.single:
        return spread
    return [next((pair for pair in spread if not _is_textured(pair.noisy)), spread[0])]


def _is_textured(photo: FloatImage) -> bool:
    """Whether ``toolchain fit`` would refuse a photo because its noise cannot be told."""
    return not estimate_noise([photo]).is_sure


def _best(denoisers: Sequence[Denoise], pairs: Sequence[Pair]) -> Denoise:
    """The one that the clean photos pick."""
    return max(denoisers, key=lambda d: np.mean([psnr(d(p.noisy), p.clean) for p in pairs]))


def as_denoise(tool: torch.nn.Module) -> Denoise:
    """Run a tool on a whole photo, RGB (H, W, 3) float32, and clip what comes to [0, 1]."""
    return lambda image: denoised(tool, image)


def _nlm(image: FloatImage, strength: float) -> FloatImage:
    bgr = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)
    smooth = cv2.fastNlMeansDenoisingColored(bgr, None, strength, strength, 7, 21)
    return to_float(np.asarray(cv2.cvtColor(smooth, cv2.COLOR_BGR2RGB), np.uint8))


def _fit(
    pairs: Sequence[Pair], options: Options, changes: Mapping[str, Any]
) -> tuple[Fitted, float]:
    values = {"total_steps": options.steps, "device": "cpu", **changes}
    noisy = tuple(pair.noisy for pair in pairs)
    photos = NoisyPhotos(noisy, tuple(map(str, range(len(noisy)))))
    start = time.process_time()
    fitted = fit_for_once(photos, estimate_noise(noisy), values)
    Console().print(changes, fitted.verdict.sentence(), highlight=False, soft_wrap=True)
    return fitted, time.process_time() - start


def fit_for_once(photos: NoisyPhotos, noise: NoiseModel, values: Mapping[str, Any]) -> Fitted:
    """Fit a tool with these values of `FitConfig`, and keep no run folder."""
    config = config_from_dict(FitConfig, values)
    with tempfile.TemporaryDirectory() as folder:
        return fit_to_photos(photos, noise, config, Path(folder) / "run", name="fitted")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark on a folder of clean photos."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.self_supervised")
    parser.add_argument("photos", type=Path, help="folder of clean photos")
    parser.add_argument("--cameras", type=_names, default="low,middle,high")
    parser.add_argument("--methods", type=_names, default="ams,sdap")
    parser.add_argument("--evaluated", type=int, default=10, help="photos to measure on")
    parser.add_argument("--steps", type=int, default=3000, help="optimiser steps of a fit")
    parser.add_argument("--learn", type=Path, help="folder of other clean photos to fit to")
    parser.add_argument("--learnt", type=int, default=0, help="photos of that folder; 0 are all")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of a fit")
    parser.add_argument("--no-bm3d", dest="bm3d", action="store_false")
    parser.add_argument("--single", action="store_true", help="fit to one photo alone")
    parser.add_argument("--ablate", action="store_true", help="ablations, at the first camera")
    parser.add_argument("--sheet", type=Path, help="also draw crops of the first photos, a .jpg")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parsed = vars(parser.parse_args(arguments))
    path, measure = parsed.pop("json"), ablate if parsed.pop("ablate") else run
    settings = (setting.partition("=") for setting in parsed.pop("set"))
    options = Options(**parsed, changes={key: json.loads(value) for key, _, value in settings})
    report, judgements = measure(options)
    for one in (report, judgements) if judgements.rows else (report,):
        Console().print(one.to_table())
        print(one.to_markdown())
    if path is not None:
        told = {k: v.name if isinstance(v, Path) else v for k, v in asdict(options).items()}
        facts = {"machine": machine_facts(), "options": told, **report.to_dict()}
        facts["judge"] = judgements.rows
        path.write_text(json.dumps(facts, indent=2) + "\n")


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


if __name__ == "__main__":
    main()
