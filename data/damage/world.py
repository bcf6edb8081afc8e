"""The world of damage: what happens to photos as people have them, in families with names.

A family is a distribution over degradations: one kind of damage at any strength, or one life that a
photo may have, from the camera to the file that somebody saved for the third time. The *world*
draws from all of them. The classes of the paper are among them, as they are.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from restoration_toolchain.data.damage.blur import Blur, Defocus, MotionBlur
from restoration_toolchain.data.damage.camera import Camera, typical_camera
from restoration_toolchain.data.damage.degradation import Degradation
from restoration_toolchain.data.damage.jpeg import Jpeg, Subsampling
from restoration_toolchain.data.damage.noise import ChromaNoise, FilmGrain, Noise, PhotonNoise
from restoration_toolchain.data.damage.resampling import Resize
from restoration_toolchain.data.damage.step import NUM_LEVELS, Step
from restoration_toolchain.data.damage.webp import Webp
from restoration_toolchain.data.scaling import KERNELS, SOFT_KERNELS, Kernel

Steps = tuple[Step, ...]
Life = Callable[[np.random.Generator], Steps]

CLEAN_SHARE: Final = 0.12
"""Share of photos in the world that nothing happened to."""

WEAK_SHOT: Final = (1e-4, 3e-3)
"""Photon noise of a camera on a good day (`camera.typical_camera`): mostly 1 to 7 grey levels."""
NIGHT_SHOT: Final = (1e-3, 1.2e-2)
"""The same, indoors and at night."""


def _quality(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def _jpeg(rng: np.random.Generator, low: int, high: int) -> Jpeg:
    """JPEG of some quality, on a grid of its own: two in five with all of the colour."""
    kept: tuple[Subsampling, ...] = ("4:2:0", "4:2:0", "4:2:2", "4:4:4", "4:4:4")
    top, left = (int(offset) for offset in rng.integers(16, size=2))
    return Jpeg(_quality(rng, low, high), kept[rng.integers(len(kept))], top, left)


def _kernel(rng: np.random.Generator) -> Kernel:
    return KERNELS[rng.integers(len(KERNELS))]


def _smooth_kernel(rng: np.random.Generator) -> Kernel:
    return SOFT_KERNELS[rng.integers(len(SOFT_KERNELS))]


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _shot(rng: np.random.Generator, shots: tuple[float, float]) -> Camera:
    """A photo by a camera that does more than sRGB asks for: contrast, and less noise."""
    camera = typical_camera(_log_uniform(rng, *shots))
    smoothing = float(rng.uniform(0.3, 1.3)) if rng.random() < 0.5 else 0.0
    return Camera(
        shot=camera.shot,
        read=camera.read,
        red_gain=float(rng.uniform(1.2, 2.4)),
        blue_gain=float(rng.uniform(1.2, 2.4)),
        contrast=float(rng.uniform(1.0, 1.6)),
        smoothing=smoothing,
    )


def _factor(rng: np.random.Generator) -> float:
    """How many times larger a photo was made: 1.2 to 4, the most common ones more often."""
    return float(
        rng.choice([1.5, 2.0, 2.0, 3.0, 4.0]) if rng.random() < 0.3 else rng.uniform(1.2, 4.0)
    )


def _small(rng: np.random.Generator, factor: float) -> Resize:
    return Resize(1.0 / factor, _smooth_kernel(rng))


def _weak_camera(rng: np.random.Generator) -> Steps:
    return _shot(rng, WEAK_SHOT), _jpeg(rng, 88, 99)


def _enlarged(rng: np.random.Generator) -> Steps:
    return _small(rng, _factor(rng)), Resize(1.0, _kernel(rng))


def _jpeg_enlarged(rng: np.random.Generator) -> Steps:
    return _small(rng, _factor(rng)), _jpeg(rng, 30, 95), Resize(1.0, _smooth_kernel(rng))


def _jpeg_reduced(rng: np.random.Generator) -> Steps:
    larger = Resize(float(rng.uniform(1.15, 2.5)), "bicubic")
    return larger, _jpeg(rng, 15, 80), Resize(1.0, _smooth_kernel(rng))


def _saved(rng: np.random.Generator) -> Steps:
    return (_jpeg(rng, 10, 95),)


def _saved_again(rng: np.random.Generator) -> Steps:
    steps: list[Step] = [_jpeg(rng, 20, 95), _jpeg(rng, 20, 95)]
    if rng.random() < 0.3:
        steps.append(Webp(_quality(rng, 40, 95)) if rng.random() < 0.5 else _jpeg(rng, 50, 95))
    return tuple(steps)


def _end(rng: np.random.Generator) -> Steps:
    """What follows an optical fault: a little noise, and a file."""
    noise = _shot(rng, WEAK_SHOT) if rng.random() < 0.5 else Noise(float(rng.uniform(0.0, 5.0)))
    return noise, _jpeg(rng, 70, 98)


def _shaken(rng: np.random.Generator) -> Steps:
    return MotionBlur.drawn(int(rng.integers(1, NUM_LEVELS + 1)), rng), *_end(rng)


def _unfocused(rng: np.random.Generator) -> Steps:
    return Defocus.drawn(int(rng.integers(1, NUM_LEVELS + 1)), rng), *_end(rng)


def _night(rng: np.random.Generator) -> Steps:
    shot = _shot(rng, NIGHT_SHOT)
    chroma = ChromaNoise.drawn(int(rng.integers(1, 6)), rng)
    return (shot, chroma, _jpeg(rng, 75, 96)) if rng.random() < 0.5 else (shot, _jpeg(rng, 75, 96))


def _edited(rng: np.random.Generator) -> Steps:
    """Taken, saved, turned or cropped to another size, and saved again."""
    steps: list[Step] = []
    if rng.random() < 0.5:
        steps.append(Blur(float(rng.uniform(0.3, 1.2))))
    steps += [_shot(rng, WEAK_SHOT), _jpeg(rng, 85, 98)]
    steps += [Resize(float(rng.uniform(0.75, 1.4)), _smooth_kernel(rng))]
    steps += [Resize(1.0, _smooth_kernel(rng)), _jpeg(rng, 75, 96)]
    return tuple(steps)


def _messenger(rng: np.random.Generator) -> Steps:
    """Taken by a phone, made smaller on the way, and compressed."""
    larger = Resize(float(rng.uniform(1.2, 2.0)), "bicubic")
    steps: list[Step] = [larger, _shot(rng, NIGHT_SHOT), _jpeg(rng, 85, 96)]
    steps += [Resize(1.0, _smooth_kernel(rng)), _jpeg(rng, 40, 85)]
    return tuple(steps)


def _screen_capture(rng: np.random.Generator) -> Steps:
    """A compressed photo as a screen showed it, larger than it is."""
    factor = float(rng.uniform(1.1, 2.5))
    steps: list[Step] = [_small(rng, factor), _jpeg(rng, 40, 92)]
    steps.append(Resize(1.0, "bilinear" if rng.random() < 0.5 else "bicubic"))
    if rng.random() < 0.5:
        steps.append(_jpeg(rng, 70, 95))
    return tuple(steps)


def _old_print(rng: np.random.Generator) -> Steps:
    """An old photo that was scanned: soft, grainy, and compressed."""
    soft = Blur(float(rng.uniform(0.4, 1.8)))
    grain = FilmGrain.drawn(int(rng.integers(1, NUM_LEVELS + 1)), rng)
    return soft, grain, _jpeg(rng, 60, 96)


def _dim(rng: np.random.Generator) -> Steps:
    """Little light: photons counted, blur by a hand, and a file."""
    shake = MotionBlur.drawn(int(rng.integers(1, 4)), rng)
    return shake, PhotonNoise.drawn(int(rng.integers(1, 7)), rng), _jpeg(rng, 60, 96)


KINDS: Final = (
    *("blur", "anisotropic-blur", "motion-blur", "defocus"),
    *("noise", "photon-noise", "film-grain", "chroma-noise"),
    *("jpeg", "webp"),
)
"""Families of one kind of damage alone, at any strength: its level of that name."""

PAPER: Final = ("mild", "moderate", "severe", "light", "camera")
"""Families that are levels already."""

LIVES: Final[dict[str, Life]] = {
    "weak-camera": _weak_camera,
    "night": _night,
    "enlarged": _enlarged,
    "jpeg-enlarged": _jpeg_enlarged,
    "jpeg-reduced": _jpeg_reduced,
    "saved": _saved,
    "saved-again": _saved_again,
    "shaken": _shaken,
    "unfocused": _unfocused,
    "dim": _dim,
    "old-print": _old_print,
    "edited": _edited,
    "messenger": _messenger,
    "screen-capture": _screen_capture,
}
"""Lives of photos: what happens to them, in order; each is a family, and a level."""

FAMILIES: Final[tuple[str, ...]] = (*KINDS, *PAPER, *LIVES)
"""Names of all families of damage in the world. Each is a level; *clean* comes beside them."""


def life(name: str) -> Callable[[np.random.Generator], Degradation]:
    """The distribution of one of `LIVES`."""
    draw = LIVES[name]
    return lambda rng: Degradation(draw(rng))
