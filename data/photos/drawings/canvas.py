"""What all drawings share: chance, colours, smooth fields, ink, curves and polygons."""

import colorsys
import math
from collections.abc import Sequence
from typing import Final, TypeAlias, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.images import ByteImage

Colour: TypeAlias = tuple[int, int, int]
"""RGB, each in [0, 255]."""

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; right and bottom are just outside."""

Mask: TypeAlias = npt.NDArray[np.uint8]
"""Cover of ink, shape (H, W, 1), or (H, W, 3) for one of its own in each channel; 255 is all."""

Field: TypeAlias = npt.NDArray[np.float32]
"""Values of shape (H, W), float32, range [0, 1]."""

Points: TypeAlias = npt.NDArray[np.float64]
"""Corners or places along a curve, shape (N, 2), x and y in pixels."""

BLACK: Final[Colour] = (0, 0, 0)
WHITE: Final[Colour] = (255, 255, 255)

_SUBPIXEL_BITS: Final = 4
_LEAST_CONTRAST: Final = 90  # between ink and paper, in grey levels
_T = TypeVar("_T")


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Draw True with a probability."""
    return bool(rng.random() < probability)


def pick(rng: np.random.Generator, options: Sequence[_T]) -> _T:
    """Draw one of some options, all alike."""
    return options[int(rng.integers(len(options)))]


def whole(rng: np.random.Generator, low: float, high: float) -> int:
    """Draw an integer from ``low`` to ``high``, both included; ``low`` where they are crossed."""
    return int(rng.integers(int(low), max(int(high), int(low)) + 1))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number uniformly."""
    return float(rng.uniform(low, high))


def small_or_large(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a positive number whose logarithm is uniform."""
    return math.exp(between(rng, math.log(low), math.log(high)))


def brightness(colour: Colour) -> float:
    """Luma of a colour, in [0, 255]."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def random_colour(rng: np.random.Generator) -> Colour:
    """Draw a colour: gray, pale, dark, full or any."""
    if chance(rng, 0.15):
        return (gray := whole(rng, 0, 255), gray, gray)
    saturation = pick(rng, ((0.05, 0.3), (0.3, 0.8), (0.8, 1.0)))
    value = pick(rng, ((0.1, 0.4), (0.4, 0.8), (0.8, 1.0), (1.0, 1.0)))
    parts = colorsys.hsv_to_rgb(rng.random(), between(rng, *saturation), between(rng, *value))
    red, green, blue = (round(255 * part) for part in parts)
    return red, green, blue


def random_palette(rng: np.random.Generator, count: int) -> list[Colour]:
    """Draw colours that go together: shades of one, neighbours, grays or any."""
    scheme = pick(rng, ("any", "any", "shades", "neighbours", "grays"))
    if scheme == "any":
        return [random_colour(rng) for _ in range(count)]
    if scheme == "grays":
        return [(gray, gray, gray) for gray in map(int, rng.integers(0, 256, count))]
    hue, spread = rng.random(), 0.02 if scheme == "shades" else 0.15
    low, high = sorted((rng.random(), rng.random()))
    colours: list[Colour] = []
    for _ in range(count):
        at = (hue + between(rng, -spread, spread)) % 1
        parts = colorsys.hsv_to_rgb(at, between(rng, low, high), between(rng, 0.1, 1))
        red, green, blue = (round(255 * part) for part in parts)
        colours.append((red, green, blue))
    return colours


def ink_and_paper(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Draw two colours that can be told apart: mostly dark on light, or the other way, or hues."""
    way = rng.random()
    if way < 0.2:
        return BLACK, WHITE
    if way < 0.45:
        dark, light = whole(rng, 0, 60), whole(rng, 215, 255)
        warm = whole(rng, 0, 25) if chance(rng, 0.5) else 0
        return (dark, dark, dark), (light, max(light - warm // 3, 0), max(light - warm, 0))
    if way < 0.6:
        dark, light = whole(rng, 0, 50), whole(rng, 170, 255)
        tint = whole(rng, 0, 20)
        return (light, light, light), (dark, min(dark + tint // 2, 255), dark + tint)
    paper = random_colour(rng)
    for _ in range(8):
        ink = random_colour(rng)
        if abs(brightness(ink) - brightness(paper)) >= _LEAST_CONTRAST:
            return ink, paper
    return (BLACK if brightness(paper) > 127 else WHITE), paper


def plain(height: int, width: int, colour: Colour) -> ByteImage:
    """Make a picture of one colour."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = colour
    return picture


def grid(height: int, width: int) -> tuple[Field, Field]:
    """Row and column of each pixel, float32 of shape (height, width)."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return y, x


def smooth_field(height: int, width: int, rng: np.random.Generator, cell: float) -> Field:
    """Make smooth noise that fills [0, 1], with hills about ``cell`` pixels wide."""
    rows, columns = (max(math.ceil(side / cell), 1) + 3 for side in (height, width))
    coarse = rng.random((rows, columns), dtype=np.float32)
    size = (max(round(columns * cell), width), max(round(rows * cell), height))
    field = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    top, left = (field.shape[0] - height) // 2, (field.shape[1] - width) // 2
    return stretched(np.asarray(field[top : top + height, left : left + width], np.float32))


def stretched(field: npt.NDArray[np.floating]) -> Field:
    """Stretch values so that they fill [0, 1]."""
    low, high = float(field.min()), float(field.max())
    return np.asarray((field - low) / max(high - low, 1e-6), np.float32)


def coloured(field: Field, stops: Sequence[Colour]) -> ByteImage:
    """Turn values into colours, linearly between evenly placed stops."""
    places = np.linspace(0, 1, len(stops))
    table = np.stack(
        [np.interp(np.linspace(0, 1, 1024), places, [s[c] for s in stops]) for c in range(3)], 1
    )
    steps = (np.clip(field, 0, 1) * 1023).astype(np.int32)
    return np.asarray(np.rint(table), np.uint8)[steps]


def blend(picture: ByteImage, cover: Mask, colour: Colour | ByteImage) -> None:
    """Lay a colour, or another picture, over a picture of the same size where there is ink."""
    cover = cover.reshape(*picture.shape[:2], -1)
    if cover.shape[2] == 3:
        share = cover.astype(np.float32) / 255
        over = np.asarray(colour, np.float32)
        picture[:] = np.rint(picture + (over - picture) * share).astype(np.uint8)
        return
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(cover[..., 0]))
    if width == 0:
        return
    rows, columns = slice(top, top + height), slice(left, left + width)
    weight = cover[rows, columns, 0].astype(np.float32)
    part = np.ascontiguousarray(picture[rows, columns])
    over_part = np.empty_like(part)
    over_part[:] = colour if isinstance(colour, tuple) else colour[rows, columns]
    picture[rows, columns] = cv2.blendLinear(over_part, part, weight, 255 - weight)


def stamp(picture: ByteImage, cover: Mask, left: int, top: int, colour: Colour) -> None:
    """Lay ink over a place of a picture; what lies outside is cut off."""
    height, width = picture.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + cover.shape[1], width), min(top + cover.shape[0], height)
    if x0 < x1 and y0 < y1:
        blend(picture[y0:y1, x0:x1], cover[y0 - top : y1 - top, x0 - left : x1 - left], colour)


def fill(picture: ByteImage, points: Points, colour: Colour, *, smooth: bool = True) -> None:
    """Fill a polygon."""
    if len(points) >= 3:
        kind = cv2.LINE_AA if smooth else cv2.LINE_8
        cv2.fillPoly(picture, [_fixed(points)], colour, kind, _SUBPIXEL_BITS)


def trace(
    picture: ByteImage,
    points: Points,
    colour: Colour,
    thickness: int = 1,
    *,
    smooth: bool = True,
    closed: bool = False,
) -> None:
    """Draw a line along places."""
    kind = cv2.LINE_AA if smooth else cv2.LINE_8
    cv2.polylines(picture, [_fixed(points)], closed, colour, thickness, kind, _SUBPIXEL_BITS)


def rounded_box(box: Box, radius: float) -> Points:
    """Corners of a box whose corners are round."""
    left, top, right, bottom = box
    radius = max(min(radius, (right - left - 1) / 2, (bottom - top - 1) / 2), 0)
    angles = np.linspace(0, math.pi / 2, 6)
    arc = np.stack([np.cos(angles), np.sin(angles)], 1) * radius
    turns = (
        (right - 1 - radius, bottom - 1 - radius, arc),
        (left + radius, bottom - 1 - radius, (arc * (-1, 1))[::-1]),
        (left + radius, top + radius, -arc),
        (right - 1 - radius, top + radius, (arc * (1, -1))[::-1]),
    )
    return np.concatenate([np.array((x, y)) + part for x, y, part in turns])


def panel(
    picture: ByteImage,
    box: Box,
    colour: Colour | None,
    *,
    border: Colour | None = None,
    radius: float = 0,
    thickness: int = 1,
) -> None:
    """Draw a box, filled, with a border or both; its corners may be round."""
    left, top, right, bottom = box
    if right - left < 1 or bottom - top < 1:
        return
    if radius < 1:
        corners = (left, top), (right - 1, bottom - 1)
        if colour is not None:
            cv2.rectangle(picture, *corners, colour, cv2.FILLED)
        if border is not None:
            cv2.rectangle(picture, *corners, border, thickness)
        return
    outline = rounded_box(box, radius)
    if colour is not None:
        fill(picture, outline, colour)
    if border is not None:
        trace(picture, outline, border, thickness, closed=True)


def disc(
    picture: ByteImage, x: float, y: float, radius: float, colour: Colour, *, smooth: bool = True
) -> None:
    """Draw a filled circle."""
    centre = (round(x * 16), round(y * 16))
    kind = cv2.LINE_AA if smooth else cv2.LINE_8
    cv2.circle(picture, centre, max(round(radius * 16), 1), colour, cv2.FILLED, kind, 4)


def spline(controls: Points, steps: int = 10, *, closed: bool = False) -> Points:
    """A smooth curve through places (Catmull-Rom), ``steps`` points from each to the next."""
    if closed:
        padded = np.concatenate([controls[-1:], controls, controls[:2]])
    else:
        padded = np.concatenate([controls[:1], controls, controls[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    linear, square, cube = p2 - p0, 2 * p0 - 5 * p1 + 4 * p2 - p3, -p0 + 3 * p1 - 3 * p2 + p3
    curve = (2 * p1 + linear * t + square * t**2 + cube * t**3) / 2
    return np.asarray(curve.reshape(-1, 2), np.float64)


def random_curve(rng: np.random.Generator, height: int, width: int) -> Points:
    """Draw a curve that wanders over a picture and a little beyond."""
    count = whole(rng, 3, 8)
    size = np.array((width, height))
    if chance(rng, 0.5):  # a walk, and otherwise anywhere
        steps = rng.normal(0, 0.2, (count, 2)).cumsum(0)
        return spline((rng.random(2) + steps) * size)
    return spline(rng.uniform(-0.1, 1.1, (count, 2)) * size)


def random_blob(
    rng: np.random.Generator, x: float, y: float, radius: float, roughness: float = 0.3
) -> Points:
    """Draw a closed outline about a place: round, lumpy or, where rough, a star of bays."""
    angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    reach = np.ones_like(angles)
    for k in range(2, 7):
        reach += roughness / k * rng.normal() * np.cos(k * angles + between(rng, 0, 2 * math.pi))
    reach = np.maximum(reach, 0.15) * radius
    squash = between(rng, 0.5, 1)
    return np.stack([x + reach * np.cos(angles), y + squash * reach * np.sin(angles)], 1)


def random_polygon(rng: np.random.Generator, x: float, y: float, radius: float) -> Points:
    """Draw a polygon of 3 to 8 corners about a place: regular or not."""
    count = whole(rng, 3, 8)
    angles = np.arange(count) * 2 * math.pi / count + between(rng, 0, 2 * math.pi)
    if chance(rng, 0.6):
        angles = np.sort(rng.uniform(0, 2 * math.pi, count))
    reach = radius * (rng.uniform(0.4, 1, count) if chance(rng, 0.5) else np.ones(count))
    return np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], 1)


class Ink:
    """One colour of ink that lines of any width are drawn with, and then laid over a picture.

    Args:
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
        smooth: Edges are anti-aliased; without, each pixel is ink or none.
    """

    def __init__(self, height: int, width: int, *, smooth: bool = True) -> None:
        self._scale = 2 if smooth else 1
        self._kind = cv2.LINE_AA if smooth else cv2.LINE_8
        self._size = (width, height)
        self._cover = np.zeros((height * self._scale, width * self._scale), np.uint8)

    def line(self, points: Points, thickness: float, *, closed: bool = False) -> None:
        """Draw a line of one width, in pixels."""
        wide = max(round(thickness * self._scale), 1)
        cv2.polylines(self._cover, [self._places(points)], closed, 255, wide, self._kind, 4)

    def brush(self, points: Points, thicknesses: npt.NDArray[np.floating]) -> None:
        """Draw a line whose width in pixels changes from point to point."""
        places = np.rint(points * self._scale).astype(np.int64).clip(-30000, 30000).tolist()
        wide = np.maximum(np.rint(thicknesses * self._scale), 1).astype(int).tolist()
        for start, stop, width in zip(places[:-1], places[1:], wide[:-1], strict=True):
            cv2.line(self._cover, start, stop, 255, width, self._kind)

    def area(self, points: Points) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self._cover, [self._places(points)], 255, self._kind, 4)

    def keep(self, points: Points) -> None:
        """Wipe what was drawn outside of a polygon."""
        inside = np.zeros_like(self._cover)
        cv2.fillPoly(inside, [self._places(points)], 255, self._kind, 4)
        self._cover = np.minimum(self._cover, inside)

    def cover(self) -> Mask:
        """What was drawn, shape (H, W, 1)."""
        if self._scale == 1:
            return self._cover[..., None].copy()
        small = cv2.resize(self._cover, self._size, interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8)[..., None]

    def onto(self, picture: ByteImage, colour: Colour) -> None:
        """Lay what was drawn over a picture."""
        blend(picture, self.cover(), colour)

    def _places(self, points: Points) -> npt.NDArray[np.int32]:
        return _fixed(points * self._scale + (self._scale - 1) / 2)


def rotated(picture: ByteImage, degrees: float, background: Colour, zoom: float = 1) -> ByteImage:
    """Turn a picture about its middle; what comes in from outside has the background's colour."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, zoom)
    turned = cv2.warpAffine(
        picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderValue=background
    )
    return np.asarray(turned, np.uint8)


def resized(picture: ByteImage, height: int, width: int, interpolation: int) -> ByteImage:
    """Resample a picture to another size with one of OpenCV's ways."""
    return np.asarray(cv2.resize(picture, (width, height), interpolation=interpolation), np.uint8)


def cut(picture: ByteImage, height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Cut a random part out of a picture that is at least as large."""
    top, left = whole(rng, 0, picture.shape[0] - height), whole(rng, 0, picture.shape[1] - width)
    return picture[top : top + height, left : left + width].copy()


def _fixed(points: Points) -> npt.NDArray[np.int32]:
    """Pixels to OpenCV's fixed point; far places are pulled in, since it has 16 bits for them."""
    near = points.clip(-8000, 8000)
    return np.asarray(np.rint(near * 2**_SUBPIXEL_BITS), np.int32)
