"""Levels: named distributions over degradations, which a generator draws from."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from restoration_toolchain.data.damage.blur import Blur
from restoration_toolchain.data.damage.camera import typical_camera
from restoration_toolchain.data.damage.degradation import MIXTURE, Degradation, mixture
from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.noise import Noise
from restoration_toolchain.data.damage.resampling import Resize
from restoration_toolchain.data.damage.step import NUM_LEVELS, Step
from restoration_toolchain.data.damage.steps import STEP_KINDS, graded_kinds
from restoration_toolchain.data.damage.world import CLEAN_SHARE, FAMILIES, LIVES, life
from restoration_toolchain.data.errors import ScaleError, ToolchainError, UnknownNameError
from restoration_toolchain.data.scaling import SMOOTH_KERNELS, Kernel, check_scale

Sampler = Callable[[np.random.Generator], Degradation]
"""A distribution over degradations: draws one with the generator it is given."""

SEVERITY: Final = {"mild": (9, 11), "moderate": (12, 17), "severe": (18, 20)}
"""Smallest and largest severity of each class; that of levels (b, n, j) is b + n + j - 2."""

LIGHT_LEVELS: Final[Mapping[type[Step], int]] = {Blur: 6, Noise: 2, Jpeg: 2}
"""Highest strength level of each kind in *light*, what most photos have and the three classes lack:
blur up to 3 pixels, noise up to 10 grey levels, JPEG of quality 60 or more."""

CAMERA_SHOT: Final = (5e-4, 2e-2)
"""Range of the photon noise of *camera*, see `camera.Camera`; from weakest on a good day to a
little beyond the strongest of `data.damage.camera.CAMERAS`."""
CAMERA_JPEG_QUALITY: Final = 85  # the lowest


def level_triples(level: str) -> tuple[tuple[int, ...], ...]:
    """All (blur, noise, JPEG) level triples of a class: 163 mild, 434 moderate, 163 severe.

    The class *all* is the union of the three; a name of none is an UnknownNameError.
    """
    if level == "all":
        return tuple(triple for name in SEVERITY for triple in level_triples(name))
    if level not in SEVERITY:
        raise UnknownNameError("level", level, (*SEVERITY, "all"))
    low, high = SEVERITY[level]
    triples = itertools.product(range(1, NUM_LEVELS + 1), repeat=3)
    return tuple(triple for triple in triples if low <= sum(triple) - 2 <= high)


def _mixed(level: str) -> Sampler:
    """Draw a level triple uniformly from a class, then each strength uniformly within its level."""
    rows = np.array(level_triples(level))

    def draw(rng: np.random.Generator) -> Degradation:
        triple = rows[rng.integers(len(rows))]
        drawn = (kind.drawn(k, rng) for kind, k in zip(MIXTURE, triple, strict=True))
        return Degradation(tuple(drawn))

    return draw


def _some(counts: Sequence[int], highest: Mapping[type[Step], int]) -> Sampler:
    """Draw so many of some kinds, then the strength of each uniformly up to its highest level."""
    choices = [kinds for count in counts for kinds in itertools.combinations(highest, count)]

    def draw(rng: np.random.Generator) -> Degradation:
        kinds = choices[rng.integers(len(choices))]
        drawn = (kind.drawn(int(rng.integers(1, highest[kind] + 1)), rng) for kind in kinds)
        return Degradation(tuple(drawn))

    return draw


def _camera(rng: np.random.Generator) -> Degradation:
    """Draw the noise of a camera, up to that of a phone at night, and JPEG as cameras write it."""
    shot = math.exp(rng.uniform(math.log(CAMERA_SHOT[0]), math.log(CAMERA_SHOT[1])))
    quality = int(rng.integers(CAMERA_JPEG_QUALITY, 101))
    return Degradation((typical_camera(shot), Jpeg(quality)))


def _slight(rng: np.random.Generator) -> Degradation:
    """Draw a little blur, noise and JPEG: what restoration leaves behind."""
    return mixture(rng.uniform(0.0, 1.5), rng.uniform(0.0, 5.0), int(rng.integers(80, 101)))


def _real(rng: np.random.Generator, scale: int) -> Degradation:
    """Draw damage of second order: damaged, resized, and damaged once more on the way to its size.

    Source:
        Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic
        Data", ICCV Workshops 2021. The ranges are those of its released options. Its Poisson and
        grey noise, its other kernels of blur and its sinc filter are left out.
    """
    blur, rest = Blur(rng.uniform(0.2, 3.0)), _noise_and_jpeg(rng, 30.0)
    blur_again = (Blur(rng.uniform(0.2, 1.5)),) if rng.random() < 0.8 else ()
    rest_again = _noise_and_jpeg(rng, 25.0)
    smaller = Resize(1.0 / scale, _kernel(rng))
    middle = rng.uniform(1.0, 1.5) if rng.random() < 0.2 else rng.uniform(0.3, 1.0)
    resized = Resize(middle, _kernel(rng))
    return Degradation((blur, resized, *rest, *blur_again, smaller, *rest_again))


def _noise_and_jpeg(rng: np.random.Generator, highest: float) -> tuple[Step, Step]:
    return Noise(rng.uniform(1.0, highest)), Jpeg(int(rng.integers(30, 96)))


def _kernel(rng: np.random.Generator) -> Kernel:
    return SMOOTH_KERNELS[rng.integers(len(SMOOTH_KERNELS))]


_ANY: Final = dict.fromkeys(MIXTURE, NUM_LEVELS)

LEVELS: Final[dict[str, Sampler]] = {
    **{level: _mixed(level) for level in (*SEVERITY, "all")},
    "light": _some((1, 2, 3), LIGHT_LEVELS),
    "double": _some((2,), _ANY),
    "single": _some((1,), _ANY),
    "camera": _camera,
    "clean": lambda rng: Degradation(),
    **{name: life(name) for name in LIVES},
    "world": lambda rng: _world(rng),
}
"""Every distribution at any scale; *light* is slight damage, *double* lacks one of the three kinds,
*single* two, *clean* is no damage at all, lives are those of `data.damage.world`, and *world* draws
from all of its families."""

SCALED_LEVELS: Final = (*LEVELS, "slight", "real")
"""Every distribution of photos that are made smaller: *slight* is what restoration leaves behind,
*real* a second order of damage."""

MIXED_LEVELS: Final = (*SEVERITY, "all", "light", "double")
"""Distributions over mixtures of blur, noise and JPEG."""

TRAINING_LEVELS: Final = (*SEVERITY, "light", "double", "single")
"""What tools are trained on in their chains; agents also meet clean patches."""


def _world(rng: np.random.Generator) -> Degradation:
    """Draw a family, each alike often, and from that; some photos are clean."""
    if rng.random() < CLEAN_SHARE:
        return Degradation()
    return sampler(FAMILIES[rng.integers(len(FAMILIES))])(rng)


def check_level(level: str, scale: int = 1) -> None:
    """Refuse what is no level at a scale; each of `graded_kinds`, alone, is one by its name too.

    Raises:
        UnknownNameError: There is no such level.
        ScaleError: It is one of photos that are made smaller, and the scale is 1.
        ToolchainError: A registered kind of damage has the name of another level.
    """
    kinds = [kind.name for kind in graded_kinds()]
    if level in SCALED_LEVELS and level in kinds:
        raise ToolchainError(f"{level!r} is a level already; give the kind of damage another name")
    if level in SCALED_LEVELS and level not in LEVELS and scale == 1:
        raise ScaleError(f"the level {level!r} makes photos smaller, too: it needs a larger scale")
    known = (*(LEVELS if scale == 1 else SCALED_LEVELS), *kinds)
    if level not in known:
        raise UnknownNameError("level", level, known)


def sampler(*levels: str, scale: int = 1) -> Sampler:
    """Look up a distribution by its name; of several, each is drawn alike often.

    Args:
        levels: Names of the distributions, at least one; `check_level` refuses unknown ones.
        scale: Side of the clean image over side of the degraded one. Above 1, the kernel that makes
            photos smaller is drawn from `data.scaling.SMOOTH_KERNELS`.
    """
    check_scale(scale)
    draws = [_sampler(level, scale) for level in levels]
    return lambda rng: draws[rng.integers(len(draws))](rng)


def _sampler(level: str, scale: int) -> Sampler:
    check_level(level, scale)
    if level == "real":
        return functools.partial(_real, scale=scale)
    draw = _slight if level == "slight" else LEVELS.get(level)
    if draw is None:
        draw = _some((1,), {STEP_KINDS[level]: NUM_LEVELS})
    return draw if scale == 1 else lambda rng: draw(rng).shrunk(scale, _kernel(rng))
