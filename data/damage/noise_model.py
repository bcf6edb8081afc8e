"""The noise of a camera, measured on its noisy photos alone: how strong, and how correlated.

Self-supervised denoisers have no clean photo to be compared with. A model of the noise stands in:
Monte-Carlo SURE judges a denoiser with noise drawn from it, and noise like that of a user's camera
can be put on clean photos.

A photo of grass has no flat place, and what it has of texture would pass for noise. Texture only
ever adds, and differs from place to place and from photo to photo; noise is the same function of
brightness in all photos of a camera. So what counts is the lower edge of what is seen, in three
ways: the quietest blocks of each brightness and photo, a smooth curve below all of these, and, as a
measure of how sure that is, whether blocks crowd at the edge, as they do where noise alone keeps
them from being quieter.

The quietest blocks have noise that is weak by chance, too. So a block is chosen by one half of its
frequencies, and measured by the other.

Sources:
    Liu et al., "Noise Estimation from a Single Image", CVPR 2006 (noise level as a function of
    brightness, as a lower envelope). Pyatykh et al., "Image Noise Level Estimation by Principal
    Component Analysis", IEEE Trans. Image Processing 2013 (blocks of weak texture in place of flat
    ones). Ramani et al., "Monte-Carlo SURE", IEEE Trans. Image Processing 2008.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import cv2
import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.damage.step import Step
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import FloatImage, check_float_image

Array = npt.NDArray[np.float32]

TINY: Final = 1e-8
"""What keeps divisions by a noise of 0 finite."""
NO_POWER: Final = 1e-10
"""Variance on the [0, 1] scale that stands for none at all: 0.003 grey levels."""

BLOCK: Final = 16  # pixels, the side of a block
STRIDE: Final = 8  # pixels between the corners of neighbouring blocks
MAX_BLOCKS: Final = 20_000  # per photo; a larger photo is sampled more thinly
MIN_BLOCKS: Final = 64  # in all photos together: one of 72 x 72 pixels

BINS: Final = 16
"""Bins of equal width over brightness, the mean of the channels; each has its own quiet blocks."""
MIN_BIN: Final = 12  # blocks of a bin of a photo; with fewer it does not count
QUIET: Final = 0.03
"""Share of the blocks of a bin that are quiet for sure."""
SLACK: Final = 1.2
"""How much more power other quiet blocks may have, in the half of the frequencies that chooses."""
ROUNDS: Final = 3
"""Times that blocks are chosen: by white noise, then by the noise found before."""

BAND_EDGES: Final = (1.2, 3.0, 5.0, 8.0, 12.0, 30.0)
"""Edges of bands of the frequencies of a block, as distances from 0 in half periods per block.
Below the first lie the mean and the slopes, which are not noise's alone."""
BANDS: Final = len(BAND_EDGES) - 1
FLOOR: Final = 0.03
"""Least power of a band over the mean of all: what JPEG took altogether says nothing."""

DEGREE: Final = 3  # of the polynomial over levels that the logarithm of the variance is
STIFFNESS: Final = (0.02, 0.08)
"""Weights of the first and second differences of its coefficients, beside 1 for the data."""
ABOVE: Final = 0.02
"""Weight of data above the curve where those below have 0.98: an expectile far down."""
NEAR: Final = 0.1
"""Distance above the curve, in log variance, at which texture is as likely as noise."""
WIDE: Final = 4.0
"""How many times farther away data counts at first, so that the curve is not caught below it."""
FITS: Final = 20
"""Times that either curve is fitted, with weights from the fit before."""

SURE: Final = 0.28
"""Sureness from which noise was told from texture (docs/fitting.md)."""
EDGE: Final = (-0.5, 0.25, 1.0)
"""Log power over that of the noise: of blocks with noise alone, and of what lies above them."""

MAX_SEEN: Final = 2048
"""Quiet blocks that the correlation is measured on."""
MAX_CLIPPED: Final = 0.02
"""Share of a block's values within 1 grey level of 0 or 255: where noise is cut off."""

KNOTS: Final = 17
"""Levels from 0 to 1 at which the standard deviation is stored; in between it is linear."""

RADIUS: Final = 5
"""Pixels that the correlation of noise reaches: 2 for demosaicing, a few more for JPEG's chroma."""


@dataclass(frozen=True, slots=True, eq=False)
class NoiseModel(Step):
    """Zero-mean Gaussian noise whose strength depends on the level, correlated over neighbours.

    Attributes:
        deviation: Standard deviation on the [0, 1] scale, of each channel at `KNOTS` levels of
            that channel: (3, KNOTS) float32.
        share: Frequency of the levels in the photos that were measured; same shape, sums to 1.
        kernel: Filter of white noise: (3, 3, K, K) float32, K = 2 * RADIUS + 1. Channel
            i is the sum over j of white plane j correlated with ``kernel[i, j]``; each channel has
            a variance of 1.
        sureness: How sure it is that this is noise and not texture, 0 to 1: of the blocks of a
            photo with noise of this strength or of a little more, those with this strength, less a
            standard error. Below `SURE` noise is at most as strong as this.
    """

    name = "measured-noise"
    words = "measured noise of sigma {:.2g} / 255"
    has_grid = True

    deviation: Array
    share: Array
    kernel: Array
    sureness: float = 1.0

    @property
    def is_sure(self) -> bool:
        """Whether the noise was told from texture."""
        return self.sureness >= SURE

    @property
    def sigma(self) -> float:
        """Mean standard deviation in the photos that were measured, in 8-bit grey levels."""
        return 255.0 * float((self.share * self.deviation).sum())

    strength = sigma

    def sigma_range(self) -> tuple[float, float]:
        """Least and largest standard deviation among the levels that occur, in 8-bit grey levels.

        Levels that make up less than 1 % of a channel do not count.
        """
        occurring = self.deviation[self.share >= 0.01 / len(self.share)]
        return 255.0 * float(occurring.min()), 255.0 * float(occurring.max())

    @property
    def neighbour_correlation(self) -> float:
        """How much the noise of neighbouring pixels has in common: 0 for white noise.

        Mean over channels and both directions; camera noise has about 0.6.
        """
        k = self.kernel
        across = (k[..., :, 1:] * k[..., :, :-1]).sum(axis=(1, 2, 3))
        down = (k[..., 1:, :] * k[..., :-1, :]).sum(axis=(1, 2, 3))
        return float((across + down).mean()) / 2.0

    def strength_beside(self, other: "NoiseModel") -> float:
        """Strength of this noise over that of another, at the levels of the photos of this one.

        What a single photo has of texture may add to its noise, where that is not sure.
        """
        own, theirs = ((self.share * model.deviation).sum() for model in (self, other))
        return float(own / max(theirs, TINY))

    def deviation_of(self, image: FloatImage) -> FloatImage:
        """The standard deviation of the noise at each pixel, [0, 1]; smooth a noisy image first."""
        return look_up(self.deviation, image)

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Add the noise to a clean photo, and clip."""
        return (image + self.draw(image, rng)).clip(0.0, 1.0)

    def draw(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Draw the noise that a photo of this content would have: to be added, not clipped.

        Args:
            image: RGB, shape (H, W, 3), float32, range [0, 1]; noisy or clean, for it is smoothed
                before its levels are looked up.
            rng: Source of the noise; NumPy's global state is not touched.
        """
        check_float_image(image)
        height, width = image.shape[:2]
        shape = (3, height + 2 * RADIUS, width + 2 * RADIUS)
        white = rng.standard_normal(shape, dtype=np.float32)
        inside = (slice(RADIUS, -RADIUS), slice(RADIUS, -RADIUS))
        noise = np.zeros_like(image)
        for i, j in np.ndindex(3, 3):
            noise[..., i] += cv2.filter2D(white[j], -1, self.kernel[i, j])[inside]
        smooth = cv2.GaussianBlur(image, (0, 0), 2.0, borderType=cv2.BORDER_REPLICATE)
        return noise * self.deviation_of(np.asarray(smooth))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, about 20 kB; `from_dict` reads it."""
        names = ("deviation", "share", "kernel")
        arrays = {name: _to_list(getattr(self, name)) for name in names}
        return {**arrays, "sureness": self.sureness}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ToolchainError: Something is missing, or has another shape, or is no number.
        """
        side = 2 * RADIUS + 1
        shapes = {"deviation": (3, KNOTS), "share": (3, KNOTS), "kernel": (3, 3, side, side)}
        try:
            arrays = {name: np.array(entry[name], np.float32) for name in shapes}
            sureness = float(entry.get("sureness", 1.0))  # what was measured before has none
        except (KeyError, TypeError, ValueError) as error:
            raise ToolchainError(f"no noise model ({error}); measure the noise again") from None
        for name, array in arrays.items():
            if array.shape != shapes[name] or not np.isfinite(array).all():
                raise ToolchainError(f"no noise model ({name} is damaged); measure the noise again")
        return cls(**arrays, sureness=sureness)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """What is known of N blocks of a photo.

    Attributes:
        number: Their numbers among all blocks of the photo, (N,).
        level: Mean of each channel, (N, 3).
        energy: Sum of squares of each channel's frequencies, of either half of them and by bands:
            (N, 3, 2, BANDS).
    """

    number: npt.NDArray[np.intp]
    level: Array
    energy: Array

    def __len__(self) -> int:
        return len(self.number)

    def take(self, rows: npt.NDArray[Any]) -> "_Blocks":
        return _Blocks(self.number[rows], self.level[rows], self.energy[rows])


@dataclass(frozen=True, slots=True)
class _Quiet:
    """The quiet blocks of one brightness in one photo.

    Attributes:
        photo: Number of the photo.
        blocks: Numbers of the blocks.
        level: Their mean level, (3,).
        variance: Their variance, (3,): median over blocks.
        spectrum: Power at either half and each band over the variance, (3, 2, BANDS).
    """

    photo: int
    blocks: npt.NDArray[np.intp]
    level: Array
    variance: Array
    spectrum: Array


@dataclass(frozen=True, slots=True)
class _Found:
    """Noise that was found: a smooth curve below all that was seen.

    Attributes:
        deviation: See `NoiseModel`.
        spectrum: Power at either half and each band over the variance, (3, 2, BANDS).
    """

    deviation: Array
    spectrum: Array

    def ratios(self, blocks: _Blocks) -> Array:
        """Power of blocks over that of the noise, by halves of the frequencies: (N, 2).

        Bands count alike, however few frequencies they have: texture is strongest in the lowest.
        """
        expected = np.maximum(np.square(look_up(self.deviation, blocks.level)), NO_POWER)
        spectrum = np.maximum(self.spectrum, FLOOR * self.spectrum.mean())
        power = blocks.energy / _band_sizes() / spectrum / expected[:, :, None, None]
        return np.asarray(power.mean(axis=(1, 3)))


def estimate_noise(photos: Sequence[FloatImage]) -> NoiseModel:
    """Measure the noise that photos of one camera, at one setting, have in common.

    Of seven photos of BSDS500 together, noise of `damage.camera` of 1.6 to 9 grey levels is found
    7 % too weak to 21 % too strong, white noise of 5 to 30 within 5 %. Of single ones the middle
    one is 30 % too strong at 1.6 levels, 7 % at 9; where it is far more, `is_sure` mostly says so.

    Errors of JPEG that come from the content, at coloured edges for instance, do not count as
    noise: quiet blocks have none.

    Args:
        photos: RGB, each of shape (H, W, 3), float32, range [0, 1].

    Raises:
        ToolchainError: There are no photos, or they are too small.
        ImageFormatError: A photo is not float32 RGB.
    """
    for photo in photos:
        check_float_image(photo)
    if not photos:
        raise ToolchainError("no photos to measure the noise of; give at least one")
    seen = _blocks_of(photos)
    if sum(map(len, seen)) < MIN_BLOCKS:
        raise ToolchainError("too few pixels to measure noise; give a photo of 80 x 80 or more")
    found = _Found(np.ones((3, KNOTS), np.float32), np.ones((3, 2, BANDS), np.float32))
    for _ in range(ROUNDS):
        quiet = [
            part for number, blocks in enumerate(seen) for part in _quiet(number, blocks, found)
        ]
        deviation, excess = _curve_below(quiet)
        trust = np.exp(-np.maximum(excess, 0.0) / NEAR)
        found = _Found(deviation, _mean_spectrum(quiet, trust))
    counts = np.sum([_count_levels(photo) for photo in photos], axis=0)
    spectrum = _restore_plane(_periodogram(photos, quiet, trust, found.deviation))
    return NoiseModel(
        deviation=found.deviation,
        share=(counts / counts.sum()).astype(np.float32),
        kernel=_kernel(spectrum),
        sureness=_sureness(seen, found),
    )


def flat_blocks(photos: Sequence[FloatImage], noise: NoiseModel) -> list[npt.NDArray[np.intp]]:
    """Find where photos of one camera are flat, so that what is seen there is noise.

    Args:
        photos: Noisy RGB, each of shape (H, W, 3), float32, range [0, 1].
        noise: Their noise.

    Returns:
        The numbers of each photo's flat blocks, for `block_residuals`; none where noise is cut
        off at black or white.
    """
    found = _Found(noise.deviation, _band_spectrum(noise.kernel))
    flat = []
    for photo in photos:
        blocks, is_clipped = _cut(photo)
        ratio = found.ratios(blocks).mean(axis=1)
        flat.append(blocks.number[~is_clipped & (ratio < math.exp(EDGE[1]))])
    return flat


def block_residuals(photo: FloatImage, numbers: npt.NDArray[np.intp]) -> Array:
    """What planes leave of some of a photo's blocks.

    Args:
        photo: RGB, shape (H, W, 3), float32.
        numbers: Numbers of N blocks, from `flat_blocks` of a photo of the same size.

    Returns:
        Shape (N, 3, BLOCK * BLOCK), float32.
    """
    if len(numbers) == 0:  # the photo may be smaller than a block
        return np.zeros((0, 3, BLOCK * BLOCK), np.float32)
    return _without_plane(_block_values(photo)[numbers])


def _count_levels(photo: FloatImage) -> npt.NDArray[np.intp]:
    """How many pixels of each channel lie nearest to each knot: (3, KNOTS)."""
    knot = np.rint(photo.clip(0.0, 1.0) * (KNOTS - 1)).astype(np.intp)
    return np.stack([np.bincount(knot[..., c].ravel(), minlength=KNOTS) for c in range(3)])


@functools.cache
def _plane_basis() -> Array:
    """Orthonormal constant and slopes over a block: (3, BLOCK * BLOCK)."""
    across = np.arange(BLOCK, dtype=np.float32) - (BLOCK - 1) / 2
    ramp = np.tile(across, (BLOCK, 1))
    basis = np.stack([np.ones_like(ramp), ramp, ramp.T]).reshape(3, -1)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    return basis


@functools.cache
def _cosines() -> Array:
    """Orthonormal cosines over the side of a block, one a row: (BLOCK, BLOCK)."""
    index = np.arange(BLOCK)
    waves = np.cos(np.pi * (2 * index + 1) * index[:, None] / (2 * BLOCK))
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    return np.asarray(waves, np.float32)


@functools.cache
def _band_masks() -> Array:
    """Which frequencies belong to either half and each band: (BLOCK * BLOCK, 2, BANDS) of 0 and 1.

    The halves are the fields of a chessboard: where one sees texture, so does the other.
    """
    rows, columns = np.indices((BLOCK, BLOCK))
    band = np.digitize(np.hypot(rows, columns), BAND_EDGES) - 1
    half = (rows + columns) % 2
    masks = (half[..., None, None] == np.arange(2)[:, None]) & (
        band[..., None, None] == range(BANDS)
    )
    return np.asarray(masks.reshape(BLOCK * BLOCK, 2, BANDS), np.float32)


@functools.cache
def _band_sizes() -> Array:
    """Frequencies of either half and each band: (2, BANDS)."""
    return np.asarray(_band_masks().sum(axis=0))


def _blocks_of(photos: Sequence[FloatImage]) -> list[_Blocks]:
    """The blocks of each photo that can tell its noise.

    Those with clipped values count where there are too few others: clipped noise is weaker than it
    was. Blocks without any variation are no photo, but a frame or a drawing.
    """
    cut = [_cut(photo) for photo in photos]
    alive = [blocks.energy.sum(axis=(1, 2, 3)) > 0.0 for blocks, _ in cut]
    if not any(rows.any() for rows in alive):
        return [blocks for blocks, _ in cut]
    clear = [a & ~is_clipped for a, (_, is_clipped) in zip(alive, cut, strict=True)]
    enough = sum(int(rows.sum()) for rows in clear) >= MIN_BLOCKS
    chosen = clear if enough else alive
    return [blocks.take(rows) for (blocks, _), rows in zip(cut, chosen, strict=True)]


def _cut(photo: FloatImage) -> tuple[_Blocks, npt.NDArray[np.bool_]]:
    """The N blocks of a photo, and which of them are clipped: (N,)."""
    if min(photo.shape[:2]) < BLOCK:
        nothing = np.zeros((0, 3, 2, BANDS), np.float32)
        return _Blocks(np.zeros(0, np.intp), nothing[..., 0, 0], nothing), np.zeros(0, np.bool_)
    values = _block_values(photo)
    at_an_end = (values < 1.5 / 255.0) | (values > 253.5 / 255.0)
    is_clipped = at_an_end.mean(axis=2).max(axis=1) > MAX_CLIPPED
    level = values.mean(axis=2)
    around = (values - level[..., None]).reshape(-1, 3, BLOCK, BLOCK)
    waves = np.matmul(np.matmul(_cosines(), around), _cosines().T).reshape(-1, BLOCK * BLOCK)
    energy = np.matmul(np.square(waves), _band_masks().reshape(BLOCK * BLOCK, -1))
    return (
        _Blocks(np.arange(len(level)), level, energy.reshape(-1, 3, 2, BANDS)),
        is_clipped,
    )


def _block_values(photo: FloatImage) -> Array:
    """The blocks of a photo, row by row: (N, 3, BLOCK * BLOCK)."""
    corners = (photo.shape[0] - BLOCK + 1) * (photo.shape[1] - BLOCK + 1)
    stride = max(STRIDE, math.ceil(math.sqrt(corners / MAX_BLOCKS)))
    windows = np.lib.stride_tricks.sliding_window_view(photo, (BLOCK, BLOCK), axis=(0, 1))
    return windows[::stride, ::stride].reshape(-1, 3, BLOCK * BLOCK)


def _without_plane(values: Array) -> Array:
    """What a plane leaves of each channel of blocks, (N, 3, BLOCK * BLOCK)."""
    basis = _plane_basis()
    return np.asarray(values - np.matmul(np.matmul(values, basis.T), basis))


def _quiet(photo: int, blocks: _Blocks, found: _Found) -> list[_Quiet]:
    """The quiet blocks of a photo, bin by bin.

    Args:
        photo: Number of the photo.
        blocks: All of its blocks.
        found: Noise as far as it is known.
    """
    ratios = found.ratios(blocks)
    bins = np.clip(blocks.level.mean(axis=1) * BINS, 0, BINS - 1).astype(np.intp)
    groups = [rows for b in range(BINS) if len(rows := np.flatnonzero(bins == b)) >= MIN_BIN]
    if not groups and len(blocks):
        groups = [np.arange(len(blocks))]
    return [_measured(photo, blocks.take(rows), ratios[rows]) for rows in groups]


def _measured(photo: int, blocks: _Blocks, ratios: Array) -> _Quiet:
    """The quiet ones of blocks of one brightness: chosen by a half, measured by the other one."""
    place = min(len(blocks) - 1, max(MIN_BIN // 2, int(QUIET * len(blocks))))
    limits = SLACK * np.sort(ratios, axis=0)[place]
    power = np.zeros((3, 2, BANDS), np.float32)
    total = np.zeros(3, np.float32)
    for half in range(2):
        energy = blocks.energy[ratios[:, 1 - half] <= limits[1 - half], :, half]
        power[:, half] = np.median(energy, axis=0) / _band_sizes()[half]
        total += np.median(energy.sum(axis=2), axis=0)
    # The mean and the slopes were left out: they would have the power of the lowest band.
    left_out = BLOCK * BLOCK - _band_sizes().sum()
    total += left_out * power[:, :, 0].mean(axis=1)
    variance = np.maximum(total / (BLOCK * BLOCK), NO_POWER)
    chosen = blocks.take((ratios <= limits).any(axis=1))
    spectrum = np.asarray(np.maximum(power, NO_POWER) / variance[:, None, None], np.float32)
    return _Quiet(photo, chosen.number, chosen.level.mean(axis=0), variance, spectrum)


def _curve_below(quiet: Sequence[_Quiet]) -> tuple[Array, npt.NDArray[np.float64]]:
    """A smooth curve of noise over levels, below what all quiet blocks have.

    The logarithm of the variance is a polynomial, which starts as an expectile far down. Then all
    that lies below or near it counts, and what lies far above does not: there texture was measured.

    Returns:
        The standard deviation of each channel at each knot, (3, KNOTS), and how far each of the
        quiet blocks lies above the curve, in log variance.
    """
    seen = np.log([part.variance for part in quiet])
    basis = _bernstein(np.stack([part.level for part in quiet]))
    counts = np.sqrt([min(len(part.blocks), 100) for part in quiet])
    counts /= counts.sum()
    stiffness = sum(
        weight * (difference := np.diff(np.eye(DEGREE + 1), order, axis=0)).T @ difference
        for order, weight in enumerate(STIFFNESS, start=1)
    )
    excess = np.zeros(len(quiet))
    for fit in range(2 * FITS):
        if fit < FITS:
            likely = np.where(excess > 0.0, ABOVE, 1.0 - ABOVE)
        else:
            near = NEAR * WIDE ** (2.0 - (fit + 1) / FITS)
            likely = np.exp(-np.square(np.maximum(excess, 0.0) / near) / 2) + TINY
        weights = counts * likely / (counts * likely).sum()
        normal = np.einsum("k,kci,kcj->cij", weights, basis, basis) + stiffness
        right = np.einsum("k,kci,kc->ci", weights, basis, seen)
        curve = np.linalg.solve(normal, right[..., None])[..., 0]
        excess = (seen - np.einsum("kci,ci->kc", basis, curve)).mean(axis=1)
    knots = _bernstein(np.linspace(0.0, 1.0, KNOTS))
    return np.exp(0.5 * curve @ knots.T).astype(np.float32), excess


def _bernstein(level: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Bernstein polynomials at levels from 0 to 1: one more axis, of DEGREE + 1."""
    terms = [
        math.comb(DEGREE, i) * level**i * (1.0 - level) ** (DEGREE - i) for i in range(DEGREE + 1)
    ]
    return np.stack(terms, axis=-1)


def _mean_spectrum(quiet: Sequence[_Quiet], trust: npt.NDArray[Any]) -> Array:
    weights = trust * np.sqrt([min(len(part.blocks), 100) for part in quiet])
    spectra = np.stack([part.spectrum for part in quiet])
    return np.average(spectra, axis=0, weights=weights).astype(np.float32)


def _band_spectrum(kernel: Array) -> Array:
    """Power at either half and each band over the variance, of noise of a kernel: (3, 2, BANDS)."""
    size = 2 * BLOCK
    waves = np.fft.fft2(kernel, s=(size, size))
    covariance = np.fft.ifft2((np.abs(waves) ** 2).sum(axis=1)).real  # (3, size, size), by lags
    response = np.abs(np.fft.fft(_cosines(), size, axis=1)) ** 2
    lags = np.fft.ifft(response, axis=1).real  # how a cosine overlaps with itself, moved
    power = np.einsum("ua,cab,vb->cuv", lags, covariance, lags).reshape(3, -1)
    bands = np.tensordot(power, _band_masks(), axes=1) / _band_sizes()
    return np.asarray(bands, np.float32)


def _sureness(seen: Sequence[_Blocks], found: _Found) -> float:
    """The sureness of the photo that shows the noise best, see `NoiseModel`."""
    counts = np.stack([_count_at_edge(blocks, found) for blocks in seen])
    enough = counts.sum(axis=1) >= MIN_BLOCKS
    counts = counts[enough] if enough.any() else counts.sum(axis=0, keepdims=True)
    total = np.maximum(counts.sum(axis=1), 1)
    share = counts[:, 0] / total
    # Neighbouring blocks overlap, so that a quarter of them are independent.
    error = np.sqrt(share * (1.0 - share) / total) * (BLOCK / STRIDE)
    return max(0.0, float((share - error).max()))


def _count_at_edge(blocks: _Blocks, found: _Found) -> npt.NDArray[np.intp]:
    """How many blocks have noise alone, and how many a little more than that: (2,)."""
    ratios = found.ratios(blocks).mean(axis=1)
    return np.histogram(np.log(np.maximum(ratios, TINY)), EDGE)[0]


def _periodogram(
    photos: Sequence[FloatImage],
    quiet: Sequence[_Quiet],
    trust: npt.NDArray[Any],
    deviation: Array,
) -> npt.NDArray[np.complex128]:
    """Mean periodogram of noise of variance 1, (BLOCK, BLOCK, 3, 3), less what planes took.

    It tells how channels correlate at each frequency; frequency 0 comes first.
    """
    total = np.zeros((BLOCK, BLOCK, 3, 3), np.complex128)
    step = max(1, math.ceil(sum(len(part.blocks) for part in quiet) / MAX_SEEN))
    for number, photo in enumerate(photos):
        own = [
            (part, weight)
            for part, weight in zip(quiet, trust, strict=True)
            if part.photo == number
        ]
        if not own:
            continue
        values = _block_values(photo)
        for part, weight in own:
            blocks = values[part.blocks[::step]]
            scale = np.maximum(look_up(deviation, blocks.mean(axis=2)), TINY)
            noise = (_without_plane(blocks) / scale[..., None]).reshape(-1, 3, BLOCK, BLOCK)
            waves = np.fft.fft2(noise) / BLOCK
            total += weight * np.einsum("nihw,njhw->hwij", waves, waves.conj())
    return total


def _restore_plane(spectrum: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """Put back what the plane took: all of frequency 0, and some of those beside it."""
    taken = np.abs(np.fft.fft2(_plane_basis().reshape(3, BLOCK, BLOCK)) / BLOCK) ** 2
    taken[:, 0, 0] = 0.0
    restored: npt.NDArray[np.complex128] = spectrum / (1.0 - taken.sum(axis=0))[..., None, None]
    restored[0, 0] = (restored[0, 1] + restored[1, 0]).real / 2
    return restored


def _kernel(spectrum: npt.NDArray[np.complex128]) -> Array:
    """The filter that turns white noise into noise of a spectrum, see `NoiseModel`: its root."""
    lags = np.abs(np.fft.fftfreq(BLOCK, 1 / BLOCK))
    # Within a block fewer pairs of pixels are far from each other than near.
    pairs = np.where(lags < BLOCK / 2, BLOCK / (BLOCK - lags), 0.0)
    covariance = np.fft.ifft2(spectrum, axes=(0, 1)) * (pairs[:, None] * pairs)[..., None, None]
    values, vectors = np.linalg.eigh(np.fft.fft2(covariance, axes=(0, 1)))
    # A photo without any noise has white noise of strength 0.
    values = np.sqrt(np.maximum(values, TINY))
    root = (vectors * values[..., None, :]) @ vectors.conj().swapaxes(-1, -2)
    response = np.roll(np.fft.ifft2(root, axes=(0, 1)).real, (RADIUS, RADIUS), axis=(0, 1))
    side = 2 * RADIUS + 1
    # filter2D correlates: it wants the response turned by 180 degrees.
    kernel = response[:side, :side][::-1, ::-1].transpose(2, 3, 0, 1)
    kernel /= np.sqrt((kernel**2).sum(axis=(1, 2, 3), keepdims=True))
    return np.ascontiguousarray(kernel, dtype=np.float32)


def look_up(values: Array, level: Array) -> Array:
    """What is known at `KNOTS` levels from 0 to 1, at any levels: linear in between.

    Args:
        values: Value of each channel at each knot, (3, KNOTS).
        level: Levels to look up, (..., 3); the result has the same shape.
    """
    knots = np.linspace(0.0, 1.0, KNOTS)
    planes = [np.interp(level[..., c], knots, values[c]) for c in range(3)]
    return np.stack(planes, axis=-1).astype(np.float32)


def _to_list(array: Array) -> Any:
    """Nested lists of numbers with the 9 digits that bring back each float32 exactly."""
    return [_to_list(part) for part in array] if array.ndim else float(f"{array:.9g}")
