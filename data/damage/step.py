"""What a kind of damage is: one small class, which applies, draws, describes and stores itself."""

import dataclasses
import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np

from restoration_toolchain.data.images import FloatImage

NUM_LEVELS: Final = 10
"""Strength levels of a kind; level ``i``, from 1, lies between edges ``i - 1`` and ``i``."""


@dataclass(frozen=True, slots=True, eq=False)
class Step(ABC):
    """One thing that happens to a photo; the first field of a subclass is its strength."""

    name: ClassVar[str]
    """Stable id: in files, in rules, and as the level that draws this kind alone."""
    words: ClassVar[str]
    """What it does, with a place for the strength: ``blur of sigma {:.2g} px``."""
    unit: ClassVar[str] = ""
    """Unit of the strength, for tables."""
    edges: ClassVar[tuple[float, ...]] = ()
    """Edges of the `NUM_LEVELS` strength levels, weakest first; empty if there are none."""
    without: ClassVar[float | None] = 0.0
    """Strength that a photo without this step has; None if no number stands for that."""
    looks_around: ClassVar[bool] = False
    """Whether a pixel depends on its neighbours, so that a patch needs its surroundings."""
    has_grid: ClassVar[bool] = False
    """Whether what JPEG did is part of the step, so that no place in its grid is drawn."""

    @abstractmethod
    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Damage a copy of an image.

        Args:
            image: RGB, shape (H, W, 3), float32, range [0, 1].
            rng: Source of everything random; NumPy's global state is not touched.

        Returns:
            Same dtype and range, not rounded.
        """

    def apply_within(
        self, image: FloatImage, rng: np.random.Generator, clean_size: tuple[int, int]
    ) -> FloatImage:
        """Damage a copy of an image; ``clean_size`` is the (height, width) of the clean one."""
        return self.apply(image, rng)

    @property
    def strength(self) -> float:
        """How strong it is, in `unit`."""
        strength: float = getattr(self, dataclasses.fields(self)[0].name)
        return strength

    @property
    def scale(self) -> float | None:
        """Side of the clean image over side of the result; None if the size stays."""
        return None

    @property
    def level(self) -> int:
        """Strength level, 1 to `NUM_LEVELS`; a strength on an edge counts as the weaker one."""
        sign = 1.0 if self.edges[0] < self.edges[-1] else -1.0
        place = np.searchsorted([sign * edge for edge in self.edges], sign * self.strength)
        return min(max(int(place), 1), NUM_LEVELS)

    @property
    def grade(self) -> float:
        """Place of the strength between the first edge, 0, and the last one, 1."""
        return (self.edges[0] - self.strength) / (self.edges[0] - self.edges[-1])

    def describe(self) -> str:
        """What it does, in words and with units."""
        return self.words.format(self.strength)

    @classmethod
    def is_as_strong(cls, strength: float, other: float) -> bool:
        """Whether a strength is no weaker than another one."""
        return strength >= other if cls.edges[0] < cls.edges[-1] else strength <= other

    @classmethod
    def of_strength(cls, strength: float) -> Self:
        """A step of this strength, in `unit`."""
        return cls(strength)  # type: ignore[call-arg]

    @classmethod
    def drawn_strength(cls, level: int, rng: np.random.Generator) -> float:
        """Draw a strength uniformly within a level, 1 to `NUM_LEVELS`."""
        low, high = sorted(cls.edges[level - 1 : level + 1])
        return float(rng.uniform(low, high))

    @classmethod
    def drawn(cls, level: int, rng: np.random.Generator) -> Self:
        """Draw a step whose strength lies within a level, 1 to `NUM_LEVELS`."""
        return cls.of_strength(cls.drawn_strength(level, rng))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` reads it."""
        values = dataclasses.asdict(self)
        return {k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**entry)


def check_range(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    """Refuse a parameter of a step that is not finite, or that lies outside its range.

    Raises:
        ValueError: It is or does, or is no number; the message has its name, its range and its
            value.
    """
    if is_number(value) and math.isfinite(value) and low <= value <= high:
        return
    if high < math.inf:
        raise ValueError(f"{name} must lie in {low:g} to {high:g}, got {value}")
    least = "" if low == -math.inf else " and not negative"
    raise ValueError(f"{name} must be finite{least}, got {value}")


def check_whole(name: str, value: float, low: int, high: int) -> int:
    """A parameter of a step that is whole, as an int.

    Raises:
        ValueError: It is no whole number, or lies outside its range.
    """
    if not is_number(value) or not low <= value <= high or value != int(value):
        raise ValueError(f"{name} must lie in {low} to {high} and be whole, got {value}")
    return int(value)


def is_number(value: object) -> bool:
    """Whether something is a number; truth values are none, nor are numbers in words."""
    return isinstance(value, numbers.Real | np.number) and not isinstance(value, bool)
