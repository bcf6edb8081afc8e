"""The catalogue of damage.

A new kind is a subclass of `Step` that stands in `STEPS`, or that `register` adds from elsewhere.
Levels, stores, tools, agents and reports follow from the class.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Final

from restoration_toolchain.data.damage.blur import AnisotropicBlur, Blur, Defocus, MotionBlur
from restoration_toolchain.data.damage.camera import Camera
from restoration_toolchain.data.damage.jpeg import Jpeg
from restoration_toolchain.data.damage.noise import ChromaNoise, FilmGrain, Noise, PhotonNoise
from restoration_toolchain.data.damage.noise_model import NoiseModel
from restoration_toolchain.data.damage.resampling import Resize
from restoration_toolchain.data.damage.step import Step
from restoration_toolchain.data.damage.webp import Webp
from restoration_toolchain.data.errors import ToolchainError, UnknownNameError, one_line

STEPS: Final[tuple[type[Step], ...]] = (
    *(Blur, AnisotropicBlur, MotionBlur, Defocus),
    Resize,
    *(Camera, NoiseModel, PhotonNoise, FilmGrain, ChromaNoise, Noise),
    *(Jpeg, Webp),
)
"""The kinds of damage that ship, in the order in which they happen to a photo."""

STEP_KINDS: Final[dict[str, type[Step]]] = {kind.name: kind for kind in STEPS}
"""Every kind of damage that is known, by name."""


def register(kind: type[Step]) -> None:
    """Make a further kind of damage known.

    Raises:
        ToolchainError: Another kind has its name, or the class lacks a part.
    """
    if inspect.isabstract(kind) or not (hasattr(kind, "name") and hasattr(kind, "words")):
        raise ToolchainError(f"the damage {kind.__name__} needs a name, words and what applies it")
    if STEP_KINDS.setdefault(kind.name, kind) is not kind:
        raise ToolchainError(f"there is a kind of damage called {kind.name!r} already")


def graded_kinds() -> tuple[type[Step], ...]:
    """The kinds with strength levels: all but another size and noise of a camera."""
    return tuple(kind for kind in STEP_KINDS.values() if kind.edges)


def read_step(entry: Mapping[str, Any]) -> Step:
    """Read the fields and the ``name`` of a step (`Degradation.to_dict`).

    Raises:
        UnknownNameError: There is no such kind of damage.
        ToolchainError: There are no fields, or one is missing, unknown or out of range.
    """
    try:
        values = dict(entry)
        name = values.pop("name", "")
        if name not in STEP_KINDS:
            raise UnknownNameError("kind of damage", name, STEP_KINDS)
        return STEP_KINDS[name].from_dict(values)
    except ToolchainError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ToolchainError(f"no step can be read from {entry}: {one_line(error)}") from None
