"""The noise of a camera, measured on its noisy photos alone: how strong, and how correlated.

Self-supervised denoisers have no clean photo to be compared with. A model of the noise stands in:
Monte-Carlo SURE judges a denoiser with noise drawn from it, and noise like that of a user's camera
can be put on clean photos.

The noise is measured on blocks that are flat but for it. Blocks of least variance would be those
whose noise happens to be weak, so blocks are chosen by their coarse structure alone, 4 x 4 means,
which holds little of the noise. What a photo without flat places at some brightness gives there is
recognised by its share of coarse structure and weighs little against what its neighbours give.

Sources:
    Liu et al., "Noise Estimation from a Single Image", CVPR 2006 (noise level as a function of
    brightness). Ramani et al., "Monte-Carlo SURE", IEEE Trans. Image Processing 2008.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
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

BLOCK: Final = 16  # pixels, the side of a block
CELL: Final = 4  # pixels, the side of the means that coarse structure is measured on
STRIDE: Final = 8  # pixels between the corners of neighbouring blocks
MAX_BLOCKS: Final = 20_000  # per photo; a larger photo is sampled more thinly
MIN_BLOCKS: Final = 64  # in all photos together: one of 72 x 72 pixels

BINS: Final = 16
"""Bins of equal width over brightness, the mean of the channels; each has its own flat blocks."""
FLATTER: Final = 0.03
"""Share of a bin's blocks that are flat for sure; of all photos together `POOL_FLATTER`."""
POOL_FLATTER: Final = 0.1
SLACK: Final = 1.7
"""How much more coarse structure the other flat blocks may have: the range that noise alone has.

The flattest blocks alone would not do: their noise is the one with the weakest low frequencies.
"""
QUIET: Final = 0.02
"""Share of a bin's blocks that are its quietest ones, in `excess_over_quietest`."""
MIN_CHOSEN: Final = 12  # blocks of a bin; with fewer it does not count
MAX_CHOSEN: Final = 256  # blocks of a bin and a photo
MAX_POOLED: Final = 1024  # blocks of a bin
MAX_CLIPPED: Final = 0.02
"""Share of a block's values within 1 grey level of 0 or 255: where noise is cut off."""

KNOTS: Final = 17
"""Levels from 0 to 1 at which the standard deviation is stored; in between it is linear."""
LEVEL_WIDTH: Final = 0.06
"""Standard deviation of the smoothing of noise over levels."""
DISTRUST: Final = 10
"""A bin with q times the share of coarse structure that noise alone has weighs q ** -10."""

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
    """

    name = "measured-noise"
    words = "measured noise of sigma {:.2g} / 255"
    has_grid = True

    deviation: Array
    share: Array
    kernel: Array

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

        What a single photo has of texture adds to its noise: of one camera's photos some come out
        twice as noisy as all together, and none below 0.9.
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
        return {name: _to_list(getattr(self, name)) for name in names}

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
        except (KeyError, TypeError, ValueError) as error:
            raise ToolchainError(f"no noise model ({error}); measure the noise again") from None
        for name, array in arrays.items():
            if array.shape != shapes[name] or not np.isfinite(array).all():
                raise ToolchainError(f"no noise model ({name} is damaged); measure the noise again")
        return cls(**arrays)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Blocks of photos: N of them.

    Attributes:
        residual: Each channel less its plane, (N, 3, BLOCK * BLOCK) float32.
        level: Mean of each channel, (N, 3).
        coarse: Variance of noise that would give the coarse structure seen, if it were white,
            summed over channels; (N,).
    """

    residual: Array
    level: Array
    coarse: Array

    def __len__(self) -> int:
        return len(self.level)

    @property
    def variance(self) -> Array:
        """Variance of the residual of each channel, (N, 3); a plane takes 3 degrees of freedom."""
        freedom = np.float32(BLOCK * BLOCK - 3)
        return np.asarray(np.square(self.residual).sum(axis=2) / freedom)

    def take(self, rows: npt.NDArray[Any] | slice) -> "_Blocks":
        return _Blocks(self.residual[rows], self.level[rows], self.coarse[rows])


class _Pool:
    """The flat blocks of all photos so far, by bin; its memory does not grow with their number."""

    def __init__(self) -> None:
        self.bins, self.seen = [_no_blocks()] * BINS, 0

    def add(self, blocks: _Blocks) -> None:
        index = _bin(blocks)
        flat = [_thin(_flat(blocks.take(index == b), FLATTER), MAX_CHOSEN) for b in range(BINS)]
        self.bins = [_thin(part, MAX_POOLED) for part in _join_each(self.bins, flat)]
        self.seen += len(blocks)


def estimate_noise(photos: Iterable[FloatImage]) -> NoiseModel:
    """Measure the noise that photos of one camera, at one setting, have in common.

    From the five photos of scikit-image together, white noise of 5, 15 and 30 grey levels is found
    within 4 %; from each alone within 11 %. The noise of `damage.camera` is found within 10 % at
    most levels from 0.1 to 0.9, within 20 % at all, its correlation between neighbours within 0.06.
    What clean photos have of texture passes for noise of 1.3 grey levels, of about 3 in one alone.

    Errors of JPEG that come from the content, at coloured edges for instance, do not count as
    noise: flat blocks have none.

    Args:
        photos: RGB, each of shape (H, W, 3), float32, range [0, 1]; read once.

    Raises:
        ToolchainError: There are no photos, or they are too small.
        ImageFormatError: A photo is not float32 RGB.
    """
    clear, clipped = _Pool(), _Pool()
    counts = np.zeros((3, KNOTS))
    for photo in photos:
        check_float_image(photo)
        counts += _count_levels(photo)
        blocks, is_clipped = _cut(photo)
        clear.add(blocks.take(~is_clipped))
        clipped.add(blocks.take(is_clipped))
    if not counts.any():
        raise ToolchainError("no photos to measure the noise of; give at least one")
    if clear.seen + clipped.seen < MIN_BLOCKS:
        raise ToolchainError("too few pixels to measure noise; give a photo of 80 x 80 or more")
    # Clipped noise is weaker than it was; it counts where there is no other.
    bins = clear.bins if clear.seen >= MIN_BLOCKS else _join_each(clear.bins, clipped.bins)
    chosen = [part for part in bins if len(part) >= MIN_CHOSEN] or [_join(bins)]
    chosen = [_flat(part, POOL_FLATTER) for part in chosen]
    trust = _trust(chosen)
    deviation = _deviation(chosen, trust)
    spectrum = _spectrum(chosen, trust, deviation)
    restored = _restore_plane(spectrum)
    return NoiseModel(
        deviation=deviation / _kept(spectrum, restored),
        share=(counts / counts.sum()).astype(np.float32),
        kernel=_kernel(restored),
    )


def excess_over_quietest(photos: Iterable[FloatImage], noise: NoiseModel) -> float:
    """How far measured noise lies above that of the quietest blocks, whatever their structure.

    The quietest `QUIET` of the blocks of equal brightness have noise that is weak by chance, by a
    tenth or so. Where a photo has no flat place, texture passed for noise, and they have much less.

    Args:
        photos: RGB, each (H, W, 3), float32, [0, 1]; read once.
        noise: Measured on them.

    Returns:
        The ratio of standard deviations, a mean over blocks. Of single photos of simulated cameras
        it is 1.1 to 1.2 where the noise was measured within 10 %, and more where texture passed
        for up to a third of it.
    """
    parts = []
    for photo in photos:
        blocks, is_clipped = _cut(photo)
        clear = blocks.take(~is_clipped) if not is_clipped.all() else blocks
        expected = look_up(noise.deviation, clear.level)
        likely = np.maximum(np.square(expected).mean(axis=1), TINY)
        parts.append(np.stack([_bin(clear), np.sqrt(clear.variance.mean(axis=1) / likely)]))
    index, ratio = np.concatenate(parts, axis=1)
    bins = [own for b in range(BINS) if len(own := ratio[index == b]) >= MIN_CHOSEN]
    excess = [1.0 / max(float(np.quantile(own, QUIET)), TINY) for own in bins]
    return float(np.average(excess, weights=list(map(len, bins)))) if bins else 1.0


def flat_blocks(photos: Sequence[FloatImage]) -> list[npt.NDArray[np.intp]]:
    """Find where photos of one camera are flat, so that what is seen there is noise.

    Args:
        photos: Noisy RGB, each of shape (H, W, 3), float32, range [0, 1].

    Returns:
        The numbers of each photo's flat blocks, for `block_residuals`; none where noise is cut
        off at black or white.
    """
    cut = [_cut(photo) for photo in photos]
    blocks = _join([blocks for blocks, _ in cut])
    photo = np.repeat(np.arange(len(cut)), [len(blocks) for blocks, _ in cut])
    number = np.concatenate([np.arange(len(blocks)) for blocks, _ in cut])
    clear = ~np.concatenate([is_clipped for _, is_clipped in cut])
    bins = np.where(clear, _bin(blocks), -1)
    flat = [np.flatnonzero(bins == b) for b in range(BINS)]
    flat = [rows[_flat_rows(blocks.coarse[rows], POOL_FLATTER)] for rows in flat if len(rows)]
    chosen = np.concatenate([np.zeros(0, np.intp), *flat])
    return [np.sort(number[chosen[photo[chosen] == index]]) for index in range(len(cut))]


def block_residuals(photo: FloatImage, numbers: npt.NDArray[np.intp]) -> Array:
    """What planes leave of some of a photo's blocks.

    Args:
        photo: RGB, shape (H, W, 3), float32.
        numbers: Numbers of N blocks, from `flat_blocks` of a photo of the same size.

    Returns:
        Shape (N, 3, BLOCK * BLOCK), float32.
    """
    if len(numbers) == 0:  # the photo may be smaller than a block
        return _no_blocks().residual
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


def _no_blocks() -> _Blocks:
    nothing = np.zeros((0, 3, BLOCK * BLOCK), np.float32)
    return _Blocks(nothing, nothing[:, :, 0], nothing[:, 0, 0])


def _cut(photo: FloatImage) -> tuple[_Blocks, npt.NDArray[np.bool_]]:
    """The N blocks of a photo, and which of them are clipped: (N,)."""
    if min(photo.shape[:2]) < BLOCK:
        return _no_blocks(), np.zeros(0, np.bool_)
    values = _block_values(photo)
    at_an_end = (values < 1.5 / 255.0) | (values > 253.5 / 255.0)
    residual = _without_plane(values)
    cells = BLOCK // CELL
    means = residual.reshape(-1, 3, cells, CELL, cells, CELL).mean(axis=(3, 5))
    scale = np.float32(CELL**2 / (cells**2 - len(_plane_basis())))
    coarse = np.square(means).sum(axis=(1, 2, 3)) * scale
    is_clipped = at_an_end.mean(axis=2).max(axis=1) > MAX_CLIPPED
    return _Blocks(residual, values.mean(axis=2), coarse), is_clipped


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


def _bin(blocks: _Blocks) -> npt.NDArray[np.intp]:
    """The bin of brightness of each block, (N,)."""
    return np.asarray(np.clip(blocks.level.mean(axis=1) * BINS, 0, BINS - 1), np.intp)


def _join(parts: Iterable[_Blocks]) -> _Blocks:
    residuals, levels, coarses = zip(*((p.residual, p.level, p.coarse) for p in parts), strict=True)
    return _Blocks(np.concatenate(residuals), np.concatenate(levels), np.concatenate(coarses))


def _join_each(some: Iterable[_Blocks], others: Iterable[_Blocks]) -> list[_Blocks]:
    return [_join(pair) for pair in zip(some, others, strict=True)]


def _thin(blocks: _Blocks, most: int) -> _Blocks:
    """Every n-th block, so that there are no more than ``most``."""
    return blocks.take(slice(None, None, max(1, math.ceil(len(blocks) / most))))


def _flat(blocks: _Blocks, share: float) -> _Blocks:
    return blocks.take(_flat_rows(blocks.coarse, share))


def _flat_rows(coarse: Array, share: float) -> npt.NDArray[np.intp]:
    """Blocks with hardly more coarse structure than the flattest ``share`` of them, sorted."""
    rows = np.argsort(coarse, kind="stable")
    if len(rows) <= MIN_CHOSEN:
        return rows
    limit = SLACK * coarse[rows[max(MIN_CHOSEN, int(share * len(rows)))]]
    return np.asarray(rows[coarse[rows] <= limit])


def _trust(bins: Sequence[_Blocks]) -> Array:
    """How much each bin can be relied on, 0 to 1: whether its blocks hold noise and nothing else.

    The share of coarse structure in the variance is the same for noise of any strength, and larger
    for what is in a photo.
    """
    total = [np.maximum(part.variance.sum(axis=1), TINY) for part in bins]
    structure = [np.median(part.coarse / t) for part, t in zip(bins, total, strict=True)]
    ratio = np.maximum(structure, TINY) / max(float(np.quantile(structure, 0.2)), TINY)
    return (np.maximum(ratio, 1.0) ** -DISTRUST).astype(np.float32)


def _deviation(bins: Sequence[_Blocks], trust: Array) -> Array:
    """The standard deviation of each channel at each knot, (3, KNOTS), smoothed over levels."""
    levels = np.stack([np.median(part.level, axis=0) for part in bins])
    variances = np.stack([np.median(part.variance, axis=0) for part in bins])
    squared = ((np.linspace(0.0, 1.0, KNOTS)[:, None, None] - levels) / LEVEL_WIDTH) ** 2
    # Far bins count where no near one can be relied on.
    near = np.exp(-squared / 2) + 1e-3 * np.exp(-squared / 32) + 1e-9
    weights = near * trust[:, None]
    smooth = (weights * variances).sum(axis=1) / weights.sum(axis=1)
    return np.asarray(np.sqrt(smooth.T), np.float32)


def _spectrum(
    bins: Sequence[_Blocks], trust: Array, deviation: Array
) -> npt.NDArray[np.complex128]:
    """Mean periodogram of noise of variance 1, (BLOCK, BLOCK, 3, 3), less what planes took.

    It tells how channels correlate at each frequency; frequency 0 comes first.
    """
    total = np.zeros((BLOCK, BLOCK, 3, 3), np.complex128)
    for part, weight in zip(bins, trust, strict=True):
        scale = np.maximum(look_up(deviation, part.level), TINY)
        noise = (part.residual / scale[..., None]).reshape(-1, 3, BLOCK, BLOCK)
        waves = np.fft.fft2(noise) / BLOCK
        total += weight * np.einsum("nihw,njhw->hwij", waves, waves.conj())
    total /= sum(weight * len(part) for part, weight in zip(bins, trust, strict=True))
    return total


def _restore_plane(spectrum: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """Put back what the plane took: all of frequency 0, and some of those beside it."""
    taken = np.abs(np.fft.fft2(_plane_basis().reshape(3, BLOCK, BLOCK)) / BLOCK) ** 2
    taken[:, 0, 0] = 0.0
    restored: npt.NDArray[np.complex128] = spectrum / (1.0 - taken.sum(axis=0))[..., None, None]
    restored[0, 0] = (restored[0, 1] + restored[1, 0]).real / 2
    return restored


def _kept(spectrum: npt.NDArray[np.complex128], restored: npt.NDArray[np.complex128]) -> Array:
    """Deviation that the plane left by the true one, (3, 1); 1 for white noise.

    White noise loses 3 of 256 degrees of freedom, which `_Blocks.variance` allows for. Correlated
    noise has more of its variance at low frequencies and loses more.
    """
    left, whole = (np.einsum("hwcc->c", s).real for s in (spectrum, restored))
    share = np.maximum(left, TINY) / np.maximum(whole, TINY) * BLOCK**2 / (BLOCK**2 - 3)
    return np.asarray(np.sqrt(share)[:, None], np.float32)


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
