"""``python -m benchmarks.generative PHOTOS``: what the tools that make images larger reach.

Photos are made smaller by bicubic and enlarged again, so there is a clean image to compare with.
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from rich.console import Console
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional

from benchmarks.crops import middle, save_crops
from benchmarks.report import Report, Row, median_seconds
from restoration_toolchain.agents.players.play import play
from restoration_toolchain.agents.players.reference import FixedPlayer
from restoration_toolchain.data.damage.degradation import Degradation, mixture
from restoration_toolchain.data.damage.levels import sampler
from restoration_toolchain.data.images import FloatImage, to_float, to_numpy, to_tensor
from restoration_toolchain.data.metrics import batch_psnr, ssim
from restoration_toolchain.data.patches.pairs import ArrayPairs, degrade_windows
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.data.scaling import SCALES
from restoration_toolchain.toolchain.measuring.evaluation import evaluation_patches
from restoration_toolchain.tools_zoo.encoders import SemanticEncoder, load_encoder
from restoration_toolchain.tools_zoo.enlarging.objective import bicubic
from restoration_toolchain.tools_zoo.enlarging.priors import ConstantPrior
from restoration_toolchain.tools_zoo.enlarging.sfd_iqa import IQA_FOLDER, SfdIqa, load_iqa
from restoration_toolchain.tools_zoo.losses.features import feature_distance
from restoration_toolchain.tools_zoo.losses.high_frequency import detail_ratio
from restoration_toolchain.tools_zoo.losses.self_similarity import artefact_distance
from restoration_toolchain.tools_zoo.networks.one_step import STEPS, OneStepNet
from restoration_toolchain.tools_zoo.networks.segmenter import NUM_CATEGORIES
from restoration_toolchain.tools_zoo.networks.sft import SftNet
from restoration_toolchain.tools_zoo.storage import load_toolbox, toolbox_folder

BORDER: Final = 4
"""Pixels at each side that PSNR and SSIM leave out, as is usual at x4."""

SHEET_ROWS: Final = 8
PRIOR_ROWS: Final = 3
SHEET_SIDE: Final = 200  # pixels of a crop
OWN_PRIOR: Final = "its own"

CHAINS: Final = (
    (),
    ("sr-psnr",),
    ("deblock_e4", "deblock_e3"),
    ("deblock_e4", "deblock_e3", "sr-psnr"),
    ("deblock_e4", "deblock_e3", "sr-sft"),
)
CHAIN_LEVELS: Final = ("slight", "mild", "moderate", "real")
CHAIN_PATCHES: Final = 48
CHAIN_SIDE: Final = 160  # pixels, of the clean image

Enlarge = Callable[[Tensor], Tensor]

DAMAGE: Final[dict[str, tuple[Degradation, ...]]] = {
    "blur": tuple(mixture(blur_sigma=1.0 * i) for i in range(6)),
    "noise": tuple(mixture(noise_sigma=10.0 * i) for i in range(6)),
    "JPEG": tuple(mixture(jpeg_quality=q) for q in (None, 80, 60, 40, 20, 10)),
    "all three": tuple(
        mixture(blur_sigma=1.0 * i, noise_sigma=10.0 * i, jpeg_quality=100 - 18 * i)
        for i in range(6)
    ),
}
"""Six levels of growing damage, from (almost) none to the worst that tools are made for."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of a toolbox."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generative", description=__doc__)
    parser.add_argument("photos", help="a folder of clean photos, or the name of a source")
    parser.add_argument("--toolbox", default="generative", help="a shipped one, or a folder")
    parser.add_argument("--controls", help="folder of a toolbox to compare with: sr-gan")
    parser.add_argument("--count", type=int, default=20, help="photos; 0 takes all")
    parser.add_argument("--sheet", type=Path, help="also draw crops of the first photos, a .jpg")
    parser.add_argument("--chains", action="store_true", help="also restore before enlarging")
    parser.add_argument("--priors", type=Path, help="also draw and compare other priors, a .jpg")
    options = parser.parse_args(arguments)
    photos = [to_float(_divisible(photo)) for _, photo in open_source(options.photos)]
    photos = photos[: options.count or None]
    console, encoder = Console(), load_encoder()
    folders = [options.toolbox, *([options.controls] if options.controls else [])]
    if options.priors:
        tools_with_prior = conditioned(folders)
        draw_priors(options.priors, tools_with_prior["sr-sft"], photos[:PRIOR_ROWS])
        for name, network in tools_with_prior.items():
            console.print(compare_priors(name, network, photos).to_table())
    tools = enlargers(folders)
    console.print(compare_tools(tools, photos, encoder).to_table())
    if options.sheet:
        draw_crops(options.sheet, tools, photos[:SHEET_ROWS])
    if options.chains:
        console.print(compare_chains(options.toolbox, options.photos).to_table())
    for name in folders:
        for report in (_steps(name, photos, encoder), _score(name, photos)):
            if report is not None:
                console.print(report.to_table())


def compare_tools(
    tools: dict[str, Enlarge], photos: Sequence[FloatImage], encoder: SemanticEncoder
) -> Report:
    """Every one of `enlargers` on clean photos made smaller."""
    return Report(
        title="Enlarging x4",
        method=(
            f"{len(photos)} photos, made smaller by bicubic on the 8-bit grid; PSNR and SSIM on "
            f"RGB without {BORDER} pixels of border. Feature distance by {encoder.name}; detail is "
            "the energy of high frequencies over the clean photo's; artefacts is the distance of "
            "self-similarity at edges (SSL). The last column counts pixels of the result."
        ),
        rows=tuple(_tool_row(name, tool, photos, encoder) for name, tool in tools.items()),
    )


def compare_chains(folder: str, source: str) -> Report:
    """Fixed chains on images that were damaged as well as made smaller."""
    toolbox = load_toolbox(folder)
    windows = evaluation_patches(open_source(source), CHAIN_PATCHES, 0, patch_size=CHAIN_SIDE)
    rows: list[Row] = []
    for level in CHAIN_LEVELS:
        draw = sampler(level, scale=4)
        pairs = ArrayPairs(*degrade_windows(windows, draw, np.random.default_rng(0)))
        for chain in (chain for chain in CHAINS if set(chain) <= set(toolbox.names)):
            player = FixedPlayer([toolbox.names.index(name) for name in chain], stop=toolbox.stop)
            results = play(player, toolbox, pairs, scale=4)
            after = float(results.psnr[:, -1].mean())
            what = " > ".join(chain) or "bicubic"
            rows.append({"level": level, "chain": what, "PSNR dB": after, "gain dB": results.gain})
    return Report(
        title="Restored, then enlarged x4",
        method=f"{CHAIN_PATCHES} patches; gains are those over bicubic of the input.",
        rows=tuple(rows),
    )


def enlargers(folders: Sequence[str]) -> dict[str, Enlarge]:
    """Every tool of some toolboxes that enlarges x4 by its name, and bicubic before them."""
    tools: dict[str, Enlarge] = {"bicubic": lambda lq: bicubic(lq, 4)}
    for folder in folders:
        tools.update({t.spec.name: t for t in load_toolbox(folder) if t.spec.scale == 4})
    return tools


def draw_crops(path: Path, tools: dict[str, Enlarge], photos: Sequence[FloatImage]) -> None:
    """A row for each photo: its input, what each tool makes of it, and the photo itself."""
    rows = []
    for photo in photos:
        lq, gt = _pair(photo)
        small = functional.interpolate(lq, scale_factor=4.0, mode="nearest")
        rows.append(_crops([small, *(_clipped(tool, lq) for tool in tools.values()), gt]))
    save_crops(path, ["input", *tools, "clean"], rows, zoom=1)


def conditioned(folders: Sequence[str]) -> dict[str, SftNet]:
    """Every network of some toolboxes that has a categorical prior, by the name of its tool."""
    tools = (tool for folder in folders for tool in load_toolbox(folder))
    return {tool.spec.name: tool.network for tool in tools if isinstance(tool.network, SftNet)}


def draw_priors(path: Path, network: SftNet, photos: Sequence[FloatImage]) -> None:
    """A row for each photo: with the network's own prior, and with one category everywhere."""
    rows = [_crops(list(_with_priors(network, _pair(photo)[0]).values())) for photo in photos]
    save_crops(path, [OWN_PRIOR, *map(str, range(NUM_CATEGORIES))], rows, zoom=1)


def compare_priors(name: str, network: SftNet, photos: Sequence[FloatImage]) -> Report:
    """What a tool makes of photos with its own prior, and with one category everywhere."""
    figures: dict[str, list[tuple[float, float, float]]] = {}
    for photo in photos:
        lq, gt = _pair(photo)
        made = _with_priors(network, lq)
        for prior, image in made.items():
            moved = 255.0 * float((image - made[OWN_PRIOR]).abs().mean())
            after = float(batch_psnr(_inner(image), _inner(gt)))
            figures.setdefault(prior, []).append((moved, after, float(detail_ratio(image, gt))))
    columns = ("moves pixels by", "PSNR dB", "detail")
    means = {prior: np.mean(rows, axis=0).tolist() for prior, rows in figures.items()}
    return Report(
        title="Categorical priors",
        method=(
            f"{name} on {len(photos)} photos, with its own prior and with each category "
            "everywhere; how far pixels move from what they are with its own, of 255 levels."
        ),
        rows=tuple(
            {"prior": prior, **dict(zip(columns, row, strict=True))} for prior, row in means.items()
        ),
    )


def _with_priors(network: SftNet, lq: Tensor) -> dict[str, Tensor]:
    priors = {OWN_PRIOR: None, **{f"{i}": ConstantPrior(i) for i in range(NUM_CATEGORIES)}}
    made = {}
    for name, prior in priors.items():
        network.use_prior(prior)
        made[name] = _clipped(network, lq)
    network.use_prior(None)
    return made


def _crops(images: Sequence[Tensor]) -> list[FloatImage]:
    """The middle of each image."""
    return [middle(to_numpy(image)[0], SHEET_SIDE) for image in images]


def _tool_row(
    name: str, tool: Enlarge, photos: Sequence[FloatImage], encoder: SemanticEncoder
) -> Row:
    figures = []
    for photo in photos:
        lq, gt = _pair(photo)
        restored = _clipped(tool, lq)
        inner = (_inner(restored), _inner(gt))
        after = float(batch_psnr(*inner))
        with torch.no_grad():
            figures.append(
                (
                    after,
                    after - float(batch_psnr(_inner(bicubic(lq, 4)), _inner(gt))),
                    ssim(*(to_numpy(images)[0] for images in inner)),
                    float(feature_distance(encoder(restored).maps, encoder(gt).maps)),
                    float(detail_ratio(restored, gt)),
                    float(artefact_distance(restored, gt)),
                )
            )
    lq, gt = _pair(photos[0])
    seconds = median_seconds(lambda: _clipped(tool, lq), 3)
    means = np.mean(figures, axis=0).tolist()
    columns = ("PSNR dB", "gain dB", "SSIM", "feature distance", "detail", "artefacts")
    speed = gt.shape[-1] * gt.shape[-2] / 1e6 / seconds
    return {"tool": name, **dict(zip(columns, means, strict=True)), "MP/s": speed}


def _steps(folder: str, photos: Sequence[FloatImage], encoder: SemanticEncoder) -> Report | None:
    networks = [t.network for t in load_toolbox(folder) if isinstance(t.network, OneStepNet)]
    if not networks:
        return None
    (network,) = networks
    tools: dict[str, Enlarge] = {"student": functools.partial(_in_steps, network, 1)}
    for steps in (2, 4, STEPS):
        tools[f"teacher, {steps} steps"] = functools.partial(_in_steps, network, steps)
    return Report(
        title="One step and several",
        method="sr-vpd, as above.",
        rows=tuple(_tool_row(name, tool, photos, encoder) for name, tool in tools.items()),
    )


def _in_steps(network: OneStepNet, steps: int, lq: Tensor) -> Tensor:
    network.steps = steps
    enlarged: Tensor = network(lq)
    return enlarged


def _score(folder: str, photos: Sequence[FloatImage]) -> Report | None:
    path = toolbox_folder(folder) / IQA_FOLDER
    if not path.is_dir():
        return None
    iqa = load_iqa(path)
    return Report(
        title="SFD-IQA, a score without a reference",
        method=(
            f"Mean score of the photos at six levels of damage, by {iqa.encoder_name}; then the "
            "Spearman correlation of falling score and damage, over all photos at once and as the "
            "mean of the photos' own."
        ),
        rows=tuple(_score_row(name, levels, photos, iqa) for name, levels in DAMAGE.items()),
    )


def _score_row(
    name: str, levels: Sequence[Degradation], photos: Sequence[FloatImage], iqa: SfdIqa
) -> Row:
    rng = np.random.default_rng(0)
    scores = np.array(
        [
            [iqa.score(to_tensor(level.apply(photo, rng)[None])[0]).score for level in levels]
            for photo in photos
        ]
    )
    places = np.broadcast_to(np.arange(len(levels)), scores.shape)
    correlation = float(spearmanr(places.ravel(), -scores.ravel()).statistic)
    own = [float(spearmanr(places[0], -one).statistic) for one in scores]
    means = {f"level {i}": float(mean) for i, mean in enumerate(scores.mean(axis=0))}
    return {"damage": name, **means, "correlation": correlation, "of a photo": float(np.mean(own))}


def _inner(images: Tensor) -> Tensor:
    return images[..., BORDER:-BORDER, BORDER:-BORDER]


def _pair(photo: FloatImage) -> tuple[Tensor, Tensor]:
    small = Degradation().shrunk(4).apply(photo, np.random.default_rng(0))
    return to_tensor(np.rint(255.0 * small)[None].astype(np.uint8)), to_tensor(photo[None])


@torch.inference_mode()
def _clipped(tool: Enlarge, lq: Tensor) -> Tensor:
    return tool(lq).clamp(0.0, 1.0)


def _divisible(photo: np.ndarray) -> np.ndarray:
    largest = max(SCALES)
    height, width = (side // largest * largest for side in photo.shape[:2])
    return photo[:height, :width]


if __name__ == "__main__":
    main()
