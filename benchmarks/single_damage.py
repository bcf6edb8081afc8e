"""``python -m benchmarks.single_damage PHOTOS``: photos with one kind of damage, of known strength.

Beside what a user gets stands the tool of the toolbox that gains most on all of these photos, which
says whether tools or decisions are missing; and for noise of cameras, OpenCV's non-local means at
the best of three strengths, picked with the clean photo in sight.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console

from benchmarks.report import Report, Row
from restoration_toolchain.agents.outcomes.record import PSNR_CAP
from restoration_toolchain.data.damage.blur import Blur, Defocus, MotionBlur
from restoration_toolchain.data.damage.camera import typical_camera
from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.damage.noise import ChromaNoise, FilmGrain, Noise
from restoration_toolchain.data.damage.resampling import Resize
from restoration_toolchain.data.damage.step import Step
from restoration_toolchain.data.damage.webp import Webp
from restoration_toolchain.data.images import ByteImage, to_float, to_uint8
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.toolchain.measuring.suite.world.results import HARM
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.toolchain.restoring.restoration import STOP
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.tools_zoo.catalog import DEFAULT_TOOLBOX

Drawn = Callable[[np.random.Generator], Degradation]


def _of(*steps: Step) -> Drawn:
    return lambda rng: Degradation(steps)


_ENLARGED: Final = Resize(1.0, "bicubic")

DAMAGES: Final[dict[str, Drawn]] = {
    "nothing": _of(),
    "Gaussian blur, sigma 1.6": _of(Blur(1.6)),
    "motion blur, 9 px, noise 2": _of(MotionBlur(9, 30), Noise(2)),
    "motion blur, 15 px, noise 3, JPEG 80": _of(MotionBlur(15, 70), Noise(3), Jpeg(80)),
    "defocus, 3 px, JPEG 85": _of(Defocus(3), Jpeg(85)),
    "defocus, 5 px, JPEG 85": _of(Defocus(5), Jpeg(85)),
    "enlarged twice": _of(Resize(0.5, "area"), _ENLARGED),
    "JPEG 50, enlarged twice": _of(Resize(0.5, "area"), Jpeg(50), _ENLARGED),
    "JPEG 30, reduced to 70 %": _of(Resize(1.0 / 0.7), Jpeg(30), Resize(1.0, "area")),
    "film grain 10": _of(FilmGrain(10)),
    "noise 15": _of(Noise(15)),
    "noise 25": _of(Noise(25)),
    "noise 50": _of(Noise(50)),
    "WebP 20": _of(Webp(20)),
    "JPEG 20": _of(Jpeg(20)),
    "JPEG 40": _of(Jpeg(40)),
    "JPEG 75": _of(Jpeg(75)),
    "colour noise 8": _of(ChromaNoise(8, 2)),
    "camera, JPEG 95": _of(typical_camera(4e-4), Jpeg(95)),
    "weak camera": sampler("weak-camera"),
    "night": sampler("night"),
    "messenger": sampler("messenger"),
}

STRENGTHS: Final = (2, 3, 5)
"""Strengths of non-local means, for luminance and colour alike."""


def run(restorer: Restorer, photos: Sequence[ByteImage]) -> Report:
    """Measure every kind of `DAMAGES`."""
    return Report(
        title="One kind of damage on photos",
        method=(
            f"Mean PSNR in dB of {len(photos)} photos, {PSNR_CAP:.0f} at most; *worse* lose more "
            f"than {HARM} dB. The best tool is the one that gains most on all photos of a line."
        ),
        rows=tuple(_row(restorer, photos, name, drawn) for name, drawn in DAMAGES.items()),
    )


def _row(restorer: Restorer, photos: Sequence[ByteImage], name: str, drawn: Drawn) -> Row:
    lq = []
    for index, photo in enumerate(photos):
        rng = np.random.default_rng(index)
        lq.append(to_uint8(drawn(rng).apply(to_float(photo), rng)))
    restored = [restorer.restore(image) for image in lq]
    before = _psnr(lq, photos)
    after = _psnr([to_uint8(one.image) for one in restored], photos)
    chosen = Counter(", ".join(one.sequence) or "nothing" for one in restored)
    alone = _alone(restorer, lq, photos)
    best = max(alone, key=alone.__getitem__)
    is_camera = "camera" in name
    return {
        "damage": name,
        "input": f"{before.mean():.2f}",
        "restored": f"{after.mean():.2f}",
        "gain": f"{(after - before).mean():+.2f}",
        "worse": f"{100 * (before - after > HARM).mean():.0f} %",
        "largest loss": f"{max((before - after).max(), 0.0):.2f}",
        "best tool": f"{best} {alone[best] - before.mean():+.2f}",
        "non-local means": f"{non_local_means(lq, photos):.2f}" if is_camera else "",
        "chosen": "; ".join(f"{chain} ({count})" for chain, count in chosen.most_common(3)),
    }


def _psnr(images: Sequence[ByteImage], clean: Sequence[ByteImage]) -> npt.NDArray[np.float64]:
    pairs = zip(images, clean, strict=True)
    return np.array([min(psnr(one, gt, data_range=255), PSNR_CAP) for one, gt in pairs])


def _alone(
    restorer: Restorer, lq: Sequence[ByteImage], clean: Sequence[ByteImage]
) -> dict[str, float]:
    """Mean PSNR after each tool alone, rounded to 8 bits as what a user gets is."""
    reached = {}
    for name in restorer.toolbox.names:
        restored = [restorer.restore(image, forced=(name, STOP)).image for image in lq]
        reached[name] = float(_psnr([to_uint8(image) for image in restored], clean).mean())
    return reached


def non_local_means(lq: Sequence[ByteImage], clean: Sequence[ByteImage]) -> float:
    """Mean PSNR after OpenCV's non-local means, for each image of the best of `STRENGTHS`."""
    found = []
    for image, gt in zip(lq, clean, strict=True):
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)  # it tells brightness from colour
        tried = [cv2.fastNlMeansDenoisingColored(bgr, None, h, h, 7, 21) for h in STRENGTHS]
        restored = [np.asarray(cv2.cvtColor(one, cv2.COLOR_BGR2RGB), np.uint8) for one in tried]
        found.append(_psnr(restored, [gt] * len(restored)).max())
    return float(np.mean(found))


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no positive number")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.single_damage")
    parser.add_argument("photos", type=Path, help="clean photos: a folder, or a set's name")
    parser.add_argument("--count", type=_positive, default=12, help="photos, spread over the set")
    parser.add_argument("--side", type=_positive, default=320, help="largest side that is kept")
    parser.add_argument("--toolbox", default=DEFAULT_TOOLBOX)
    parser.add_argument("--agent")
    parser.add_argument("--precision", default="auto")
    parsed = parser.parse_args(arguments)
    photos = [photo for _, photo in open_source(str(parsed.photos))]
    photos = photos[:: max(1, len(photos) // parsed.count)][: parsed.count]
    photos = [np.ascontiguousarray(photo[: parsed.side, : parsed.side]) for photo in photos]
    report = run(load(parsed.agent, parsed.toolbox, precision=parsed.precision), photos)
    Console().print(report.to_table())
    print(report.to_markdown())


if __name__ == "__main__":
    main()
