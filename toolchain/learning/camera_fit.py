"""Fit a denoiser to a user's own noisy photos, and judge it before it is kept."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from restoration_toolchain.data.damage.noise_model import NoiseModel, estimate_noise
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import FloatImage
from restoration_toolchain.toolchain.errors import PhotoError
from restoration_toolchain.toolchain.photos.paths import PhotoJob
from restoration_toolchain.toolchain.photos.read import read_photo
from restoration_toolchain.tools_zoo.fitting.distillation import shipped_denoisers
from restoration_toolchain.tools_zoo.fitting.fit import FitConfig, fit_tool
from restoration_toolchain.tools_zoo.fitting.sure import Denoise, better_than_all, estimate_risk
from restoration_toolchain.tools_zoo.own_tools import OwnTool, save_own_tool
from restoration_toolchain.tools_zoo.tool import Tool

MAX_PHOTOS: Final = 100
MAX_PIXELS: Final = 24_000_000
"""Most pixels of all photos together; of larger ones the middle is used."""

MIN_SIDE: Final = 96
"""Pixels; a smaller photo leaves nothing to learn from once its held-out strip is cut off."""

JUDGED: Final = 0.15
"""Share of the longer side of each photo that is kept for the judge."""
MIN_STRIP: Final = 48  # pixels
MAX_CROP: Final = 256  # pixels
MAX_CROPS: Final = 16

CLEAN: Final = 1.3
"""Standard deviation in 8-bit grey levels that clean photos have, of JPEG and of their own."""
DISAGREEMENT: Final = 2.5
"""Photos of one camera differ by less: none whose noise is sure is this much noisier than all."""
COLOUR_GAP: Final = 0.3
"""Most that the correlation between neighbours differs among photos of one camera."""

FLATTERY: Final = 0.5
"""dB by which a fitted tool has to be estimated better than a shipped one. It learnt from the noise
model that it is judged by, so leads come out 0.4 to 1.0 dB too large (docs/fitting.md)."""

NOTHING: Final = "doing nothing"
"""How the alternative without any denoiser is called."""


class NothingToLearnError(ToolchainError):
    """The photos are clean, or are not of one camera."""


@dataclass(frozen=True, slots=True, eq=False)
class NoisyPhotos:
    """Photos to learn from.

    Attributes:
        images: RGB, each (H, W, 3), float32, [0, 1].
        names: Names of their files.
        notes: One sentence for each photo that was left out.
    """

    images: tuple[FloatImage, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge says of a fitted tool.

    Attributes:
        name: Name of the tool.
        gains: Estimated PSNR gains in dB on held-out crops, by tool and best first: of the fitted
            tool, of the shipped denoisers, and of `NOTHING`.
        accepted: Whether the fitted tool is better than each of the others, beyond chance and by
            more than `FLATTERY`.
        num_crops: Held-out crops.
    """

    name: str
    gains: Mapping[str, float]
    accepted: bool
    num_crops: int

    @property
    def rival(self) -> str:
        """The best of the others."""
        return next(name for name in self.gains if name != self.name)

    def sentence(self) -> str:
        """The verdict in plain words."""
        own, other = self.gains[self.name], self.gains[self.rival]
        on = f"on held-out parts of your photos: {own:+.2f} dB against {other:+.2f} dB"
        if self.accepted:
            return f"{self.name} is estimated to be better than {self.rival} {on}"
        if other < own < other + FLATTERY:
            return (
                f"{self.name} is not better than {self.rival} by the {FLATTERY:g} dB "
                f"that estimates may flatter it by, {on}"
            )
        if self.rival == NOTHING:
            return f"{self.name} is not better than leaving the photos as they are, {on}"
        return f"{self.name} is not better than the shipped {self.rival}, {on}"


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A tool that was fitted, not yet saved.

    Attributes:
        tool: The tool, on the CPU, frozen.
        noise: Noise of the photos.
        verdict: Verdict of the judge.
        config: Settings of the fit.
    """

    tool: Tool
    noise: NoiseModel
    verdict: Verdict
    config: FitConfig

    def save(self, folder: Path, *, overwrite: bool = False) -> OwnTool:
        """Write the tool with its noise model and the judge's figures.

        Raises:
            ToolboxError: The folder exists already, or holds something else than a tool.
            OSError: It cannot be written.
        """
        verdict = self.verdict
        facts: dict[str, Any] = {
            "fit": dataclasses.asdict(self.config),
            "estimated_gains": dict(verdict.gains),
            "accepted": verdict.accepted,
        }
        return save_own_tool(
            self.tool,
            self.noise,
            verdict.gains[verdict.name],
            folder,
            notes=facts,
            overwrite=overwrite,
        )


def read_noisy_photos(jobs: Sequence[PhotoJob]) -> NoisyPhotos:
    """Read the photos to learn from: at most `MAX_PHOTOS` and `MAX_PIXELS`, spread evenly.

    A photo found in a folder that cannot be read, is too small or has gone meanwhile is left out
    with a note; one that was named is an error.

    Args:
        jobs: From `photos.paths.list_photos`.

    Raises:
        PhotoError: A named photo cannot be read or is too small, or no photo is left.
    """
    chosen = np.unique(np.linspace(0, len(jobs) - 1, MAX_PHOTOS).round().astype(int))
    images, names, notes = [], [], []
    for job in (jobs[index] for index in chosen):
        try:
            image = read_photo(job.source).rgb
            height, width = image.shape[:2]
            if min(height, width) < MIN_SIDE:
                raise PhotoError(
                    f"{job.source}: {width} x {height} pixels are too few to learn from; "
                    f"{MIN_SIDE} x {MIN_SIDE} are needed"
                )
        except PhotoError as error:
            if not job.in_folder:
                raise
            notes.append(f"left out: {error}")
            continue
        images.append(_middle(image, MAX_PIXELS // len(chosen)))
        names.append(str(job.source))
    if not images:
        raise PhotoError(f"no photo to learn from; {notes[0]}")
    return NoisyPhotos(tuple(images), tuple(names), tuple(notes))


def measure_noise(photos: NoisyPhotos, *, allow_mixed: bool = False) -> NoiseModel:
    """Measure the noise that the photos have in common.

    Args:
        photos: To learn from.
        allow_mixed: Do not ask whether they have the same noise, and noise that can be told from
            texture.

    Raises:
        NothingToLearnError: They have hardly any noise, or so different noise that they are not
            of one camera at one setting, or noise that may as well be texture.
    """
    noise = estimate_noise(photos.images)
    if not allow_mixed:
        _check_one_camera(photos, noise)
    if noise.sigma < CLEAN:
        raise NothingToLearnError(
            f"nothing to learn: the photos are clean (noise of {noise.sigma:.1f} of 255 grey "
            "levels)"
        )
    if not allow_mixed:
        _check_sure(photos, noise)
    return noise


def fit_to_photos(
    photos: NoisyPhotos, noise: NoiseModel, config: FitConfig, run_path: Path, **options: Any
) -> Fitted:
    """Fit a tool to photos, and compare it with the shipped denoisers.

    Args:
        photos: Noisy photos; a strip of each is kept for the judge.
        noise: Noise of the photos.
        config: Settings of the fit.
        run_path: Run folder; Ctrl-C leaves a checkpoint there that ``resume`` goes on from.
        **options: ``name`` of the tool, ``resume`` and ``on_step`` of `fit_tool`.

    Raises:
        ToolchainError: A photo is too small, the run folder does not fit, or the loss stops being
            a number.
    """
    rests, strips = zip(*map(cut_off, photos.images), strict=True)
    tool = fit_tool(rests, config, run_path, noise=noise, **options)
    return Fitted(tool, noise, judge(tool, judged_crops(strips), noise), config)


def judge(tool: Tool, crops: Sequence[FloatImage], noise: NoiseModel) -> Verdict:
    """Compare a tool with the denoisers of the default toolbox, without any clean photo.

    Args:
        tool: The fitted tool.
        crops: Noisy RGB (H, W, 3), float32, [0, 1], that it did not learn from.
        noise: Noise of the photos.
    """
    denoisers: dict[str, Denoise] = {NOTHING: lambda image: image}
    denoisers |= {shipped.spec.name: shipped for shipped in shipped_denoisers()}
    others = {name: estimate_risk(run, crops, noise) for name, run in denoisers.items()}
    own = estimate_risk(tool, crops, noise)
    gains = {name: risk.gain for name, risk in {tool.spec.name: own, **others}.items()}
    ranked = dict(sorted(gains.items(), key=lambda item: -item[1]))
    best_other = max(risk.gain for risk in others.values())
    accepted = better_than_all(own, others) and own.gain >= best_other + FLATTERY
    return Verdict(tool.spec.name, ranked, accepted, len(crops))


def cut_off(image: FloatImage) -> tuple[FloatImage, FloatImage]:
    """Divide a photo into what is learnt from, and a strip for the judge.

    Args:
        image: RGB (H, W, 3), no side below `MIN_SIDE`.
    """
    if image.shape[0] < image.shape[1]:
        rest, strip = cut_off(image.transpose(1, 0, 2))
        return rest.transpose(1, 0, 2), strip.transpose(1, 0, 2)
    rows = max(MIN_STRIP, int(JUDGED * image.shape[0]))
    return image[rows:], image[:rows]


def judged_crops(strips: Sequence[FloatImage]) -> list[FloatImage]:
    """Cut strips into crops that are about square, and take some from all over."""
    crops = [crop for strip in strips for crop in _squares(strip)]
    chosen = np.unique(np.linspace(0, len(crops) - 1, MAX_CROPS).round().astype(int))
    return [np.ascontiguousarray(crops[index]) for index in chosen]


def _squares(strip: FloatImage) -> list[FloatImage]:
    side = min(*strip.shape[:2], MAX_CROP)
    rows, columns = (length // side for length in strip.shape[:2])
    return [
        strip[i * side : (i + 1) * side, j * side : (j + 1) * side]
        for i in range(rows)
        for j in range(columns)
    ]


def _middle(image: FloatImage, max_pixels: int) -> FloatImage:
    shrink = math.sqrt(max_pixels / (image.shape[0] * image.shape[1]))
    if shrink >= 1.0:
        return image
    sides = [max(MIN_SIDE, int(shrink * length)) for length in image.shape[:2]]
    top, left = ((length - side) // 2 for length, side in zip(image.shape, sides, strict=False))
    return image[top : top + sides[0], left : left + sides[1]].copy()  # lets the rest go


def _check_sure(photos: NoisyPhotos, noise: NoiseModel) -> None:
    if noise.is_sure:
        return
    one = len(photos.images) == 1
    raise NothingToLearnError(
        f"{'the photo has' if one else 'the photos have'} noise of at most {noise.sigma:.1f} grey "
        f"levels, which may as well be texture that a tool would learn to take away; give more "
        "photos of the same camera, or add --mixed to try anyway"
    )


def _check_one_camera(photos: NoisyPhotos, noise: NoiseModel) -> None:
    """Compare the photos whose noise is sure: of the others nothing is known."""
    models = [estimate_noise([image]) for image in photos.images]
    sure = [index for index, model in enumerate(models) if model.is_sure]
    if len(sure) < 2:
        return
    # Clean photos differ, too, and are all the same to a tool.
    is_clean = noise.sigma < CLEAN
    ratios = np.array([models[index].strength_beside(noise) for index in sure])
    ratios *= noise.sigma / CLEAN if is_clean else 1.0
    colours = np.array([models[index].neighbour_correlation for index in sure])
    gap = 0.0 if is_clean else float(np.ptp(np.quantile(colours, [0.1, 0.9], method="nearest")))
    if ratios.max() < DISAGREEMENT and gap < COLOUR_GAP:
        return
    differing = ratios if gap < COLOUR_GAP else colours
    ends = [int(differing.argmin()), int(differing.argmax())]
    (least, most), (low, high) = ([sure[end] for end in ends], colours[ends])
    raise NothingToLearnError(
        "the photos do not have the same noise, so one tool cannot fit them: "
        f"{Path(photos.names[least]).name} has noise of {models[least].sigma:.0f} and "
        f"{Path(photos.names[most]).name} of {models[most].sigma:.0f} grey levels, with a "
        f"correlation between neighbours of {low:.1f} and {high:.1f}; give the "
        "photos of one camera at one ISO setting, or add --mixed"
    )
