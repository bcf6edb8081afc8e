"""Line art: curves of ink, hatching, polygons, maps, diagrams and cartoons."""

import itertools
import math
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.photos.drawings.canvas import (
    BLACK,
    WHITE,
    Colour,
    Field,
    Ink,
    Points,
    between,
    chance,
    cut,
    disc,
    fill,
    ink_and_paper,
    panel,
    pick,
    plain,
    random_blob,
    random_colour,
    random_curve,
    random_palette,
    random_polygon,
    rounded_box,
    small_or_large,
    smooth_field,
    spline,
    trace,
    whole,
)
from restoration_toolchain.data.photos.drawings.lettering import random_face, random_text, write

_EXTRA: Final = 32  # pixels that a drawing is larger than the part of it that is shown


def draw_line_art(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Draw a picture of lines, RGB uint8 of shape (height, width, 3)."""
    extra = _EXTRA if chance(rng, 0.5) else 0
    return cut(inked(height + extra, width + extra, rng), height, width, rng)


def inked(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Draw lines that end at the borders of the picture, where they fit."""
    ink, paper = (BLACK, WHITE) if chance(rng, 0.4) else ink_and_paper(rng)
    picture = plain(height, width, paper)
    smooth = chance(rng, 0.75)
    kinds = [pick(rng, _SCENES) for _ in range(pick(rng, (1, 1, 2)))]
    for kind in kinds:
        kind(picture, ink, smooth, rng)
    return picture


def _pen(rng: np.random.Generator) -> float:
    return small_or_large(rng, 0.6, 6)


def _swell(points: Points, pen: float, rng: np.random.Generator) -> Field:
    """Widths of a stroke that begins and ends thin, or swells along its way."""
    t = np.linspace(0, 1, len(points))
    if chance(rng, 0.5):
        shape = np.sin(math.pi * t) ** between(rng, 0.4, 1.5)
    else:
        shape = 0.6 + 0.4 * np.sin(between(rng, 3, 20) * t + between(rng, 0, 6))
    return np.asarray(np.maximum(pen * shape, 0.3), np.float32)


def _strokes(picture: ByteImage, ink: Colour, smooth: bool, rng: np.random.Generator) -> None:
    """Free curves of a pen or a brush."""
    height, width = picture.shape[:2]
    drawn, pen = Ink(height, width, smooth=smooth), _pen(rng)
    is_brush = chance(rng, 0.6)
    for _ in range(whole(rng, 2, 14)):
        curve = random_curve(rng, height, width)
        if is_brush:
            drawn.brush(curve, _swell(curve, pen * between(rng, 0.5, 2), rng))
        else:
            drawn.line(curve, pen)
    drawn.onto(picture, ink)


def _hatched(picture: ByteImage, ink: Colour, smooth: bool, rng: np.random.Generator) -> None:
    """Shapes shaded by parallel lines, crossed or single, and outlined or not."""
    height, width = picture.shape[:2]
    side = max(height, width)
    for _ in range(whole(rng, 1, 5)):
        drawn, pitch = Ink(height, width, smooth=smooth), small_or_large(rng, 2.5, 12)
        place = between(rng, 0, width), between(rng, 0, height)
        shape = pick(rng, (random_blob, random_polygon))(
            rng, *place, side * between(rng, 0.15, 0.6)
        )
        pen, wobble = min(_pen(rng), pitch * 0.6), pick(rng, (0, 0, pitch * 0.15))
        for angle in rng.uniform(0, math.pi, pick(rng, (1, 1, 2, 3))):
            along = np.array((math.cos(angle), math.sin(angle)))
            across = np.array((-along[1], along[0]))
            for offset in np.arange(-side, side, pitch):
                ends = np.array(place) + across * (offset + wobble * rng.normal())
                drawn.line(np.stack([ends - along * side * 1.5, ends + along * side * 1.5]), pen)
        drawn.keep(shape)
        if chance(rng, 0.7):
            drawn.line(shape, _pen(rng), closed=True)
        if chance(rng, 0.25):
            fill(picture, shape, random_colour(rng), smooth=smooth)
        drawn.onto(picture, ink)


def _cartoon(picture: ByteImage, ink: Colour, smooth: bool, rng: np.random.Generator) -> None:
    """Flat shapes with thick outlines, one over another, with eyes and shadows."""
    height, width = picture.shape[:2]
    side, pen = min(height, width), small_or_large(rng, 1, 6)
    colours = random_palette(rng, 6)
    if chance(rng, 0.5):
        picture[:] = pick(rng, colours)
    rough = between(rng, 0.05, 0.6)
    for _ in range(whole(rng, 3, 14)):
        x, y = between(rng, 0, width), between(rng, 0, height)
        radius = side * small_or_large(rng, 0.06, 0.5)
        shape = (
            random_polygon(rng, x, y, radius)
            if chance(rng, 0.2)
            else random_blob(rng, x, y, radius, rough)
        )
        fill(picture, shape, pick(rng, colours), smooth=smooth)
        if chance(rng, 0.4):  # a shadow with a hard edge
            shade = Ink(height, width, smooth=smooth)
            shade.area(shape + radius * 0.25)
            shade.keep(shape)
            shade.onto(picture, pick(rng, colours))
        if chance(rng, 0.4):
            drawn = Ink(height, width, smooth=smooth)
            around = np.concatenate([shape, shape[:1]])
            drawn.brush(around, _swell(around, pen, rng) + pen / 2)
            drawn.onto(picture, ink)
        elif chance(rng, 0.85):
            trace(picture, shape, ink, round(pen), smooth=smooth, closed=True)
        if radius > 12 and chance(rng, 0.4):
            for dx in (-0.3, 0.3):
                disc(
                    picture, x + dx * radius, y - 0.1 * radius, radius * 0.18, WHITE, smooth=smooth
                )
                disc(
                    picture, x + dx * radius, y - 0.1 * radius, radius * 0.08, BLACK, smooth=smooth
                )


def _mesh(picture: ByteImage, ink: Colour, smooth: bool, rng: np.random.Generator) -> None:
    """A plane divided into triangles or cells, coloured or not: stained glass, low polygons."""
    height, width = picture.shape[:2]
    division = cv2.Subdiv2D((-64, -64, width + 128, height + 128))
    places = rng.uniform(-0.2, 1.2, (whole(rng, 8, 90), 2)) * (width, height)
    division.insert(
        places.clip(-60, max(height, width)).clip(None, (width + 60, height + 60)).tolist()
    )
    if chance(rng, 0.5):
        cells = [np.array(cell, np.float64) for cell in division.getVoronoiFacetList([])[0]]
    else:
        cells = [np.array(row, np.float64).reshape(3, 2) for row in division.getTriangleList()]
    colours = random_palette(rng, 5) if chance(rng, 0.6) else []
    pen = pick(rng, (0, 1, 1, 2, whole(rng, 2, 6))) if colours else whole(rng, 1, 4)
    for cell in cells:
        if colours:
            fill(picture, cell, pick(rng, colours), smooth=smooth)
    for cell in cells:
        if pen:
            trace(picture, cell, ink, pen, smooth=smooth, closed=True)


def _map(picture: ByteImage, ink: Colour, smooth: bool, rng: np.random.Generator) -> None:
    """Contour lines, seas and lands in flat colours, roads and names."""
    height, width = picture.shape[:2]
    field = smooth_field(height, width, rng, max(height, width) / between(rng, 1.5, 6))
    levels = np.linspace(0.1, 0.9, whole(rng, 2, 10))
    colours = random_palette(rng, len(levels)) if chance(rng, 0.6) else None
    shapes = [
        cv2.findContours((field > level).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
        for level in levels
    ]
    kind = cv2.LINE_AA if smooth else cv2.LINE_8
    every = whole(rng, 2, 6)
    for i, contours in enumerate(shapes):
        if colours:
            picture[field > levels[i]] = colours[i]
        drawn = [smoothed for c in contours if len(smoothed := _rounder(c)) > 2]
        if not colours or chance(rng, 0.7):
            wide = 2 if i % every == 0 and chance(rng, 0.7) else 1
            cv2.polylines(picture, drawn, True, ink, wide, kind, 4)
    for _ in range(whole(rng, 0, 4)):
        road = random_curve(rng, height, width)
        wide = whole(rng, 3, 8)
        trace(picture, road, ink, wide, smooth=smooth)
        trace(picture, road, pick(rng, (WHITE, random_colour(rng))), wide - 2, smooth=smooth)
    face = random_face(rng, whole(rng, 8, 16))
    for _ in range(whole(rng, 0, 5)):
        write(picture, random_text(rng, 1), whole(rng, 0, width), whole(rng, 0, height), face, ink)


def _rounder(contour: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """A contour from pixel to pixel without its steps, in sixteenths of a pixel."""
    points = contour[:, 0].astype(np.float64)
    if len(points) < 8:
        return np.zeros((0, 2), np.int32)
    mean = sum(np.roll(points, k, axis=0) for k in range(-3, 4)) / 7
    return np.rint(mean * 16).astype(np.int32)


def _diagram(picture: ByteImage, ink: Colour, smooth: bool, rng: np.random.Generator) -> None:
    """Boxes and circles with words in them, joined by arrows; perhaps on squared paper."""
    height, width = picture.shape[:2]
    face, pen = random_face(rng, whole(rng, 8, 18)), whole(rng, 1, 3)
    if chance(rng, 0.25):
        rule, step = random_colour(rng), whole(rng, 6, 24)
        picture[::step] = rule
        picture[:, ::step] = rule
    places: list[tuple[int, int]] = []
    for y in range(whole(rng, 0, 40), height, whole(rng, 48, 90)):
        for x in range(whole(rng, 0, 60), width, whole(rng, 70, 130)):
            places.append((x, y))
    for start, stop in itertools.pairwise(places):
        if chance(rng, 0.7):
            _arrow(picture, np.array(start, float), np.array(stop, float), ink, pen, smooth, rng)
    colours = [pick(rng, (WHITE, random_colour(rng))) for _ in range(3)]
    for x, y in places:
        high, wide = whole(rng, 10, 18), whole(rng, 20, 40)
        way, colour = whole(rng, 0, 3), pick(rng, colours)
        if way == 0:
            shape: Points = np.array(
                ((x - wide, y), (x, y - high), (x + wide, y), (x, y + high)), float
            )
        else:
            radius = (0, high, 5)[way - 1]
            shape = rounded_box((x - wide, y - high, x + wide, y + high), radius)
        fill(picture, shape, colour, smooth=smooth)
        trace(picture, shape, ink, pen, smooth=smooth, closed=True)
        line = random_text(rng, 1)
        write(picture, line, x - face.width(line) // 2, y - face.size // 2 - 2, face, ink)


def _arrow(
    picture: ByteImage,
    start: Points,
    stop: Points,
    ink: Colour,
    pen: int,
    smooth: bool,
    rng: np.random.Generator,
) -> None:
    """An arrow: straight, bent at a right angle, or curved."""
    bend = np.array((stop[0], start[1]))
    way = whole(rng, 0, 2)
    path = np.stack([start, stop]) if way == 0 else np.stack([start, bend, stop])
    if way == 2:
        path = np.concatenate([spline(path), [stop]])
    trace(picture, path, ink, pen, smooth=smooth)
    step = path[-1] - path[-2]
    step = step / max(float(np.hypot(*step)), 1e-6) * (4 + 2 * pen)
    tip = (path[-1] + path[-2]) / 2
    side = np.array((-step[1], step[0])) * 0.5
    fill(picture, np.stack([tip, tip - step + side, tip - step - side]), ink, smooth=smooth)


def _technical(picture: ByteImage, ink: Colour, smooth: bool, rng: np.random.Generator) -> None:
    """Straight lines, circles, arcs and measures: plans, circuits, constructions."""
    height, width = picture.shape[:2]
    kind, face = cv2.LINE_AA if smooth else cv2.LINE_8, random_face(rng, whole(rng, 8, 14))
    pen = pick(rng, (1, 1, 2))
    step = whole(rng, 8, 40)
    for _ in range(whole(rng, 8, 40)):
        x, y = (whole(rng, 0, side // step + 1) * step for side in (width, height))
        way = whole(rng, 0, 6)
        if way < 3:
            dx, dy = pick(rng, ((1, 0), (0, 1), (1, 1), (1, -1)))
            reach = whole(rng, 1, 6) * step
            cv2.line(picture, (x, y), (x + dx * reach, y + dy * reach), ink, pen, kind)
        elif way == 3:
            cv2.circle(picture, (x, y), max(whole(rng, 1, 4) * step // 2, 2), ink, pen, kind)
        elif way == 4:
            axes = (whole(rng, 1, 4) * step, whole(rng, 1, 4) * step)
            turn = 90 * whole(rng, 0, 3)
            cv2.ellipse(picture, (x, y), axes, turn, 0, 90, ink, pen, kind)
        elif way == 5:
            panel(picture, (x, y, x + step * 2, y + step), None, border=ink, thickness=pen)
        else:
            write(picture, random_text(rng, 1), x, y, face, ink)
    if chance(rng, 0.3):
        for x in range(0, width, 8):  # a dashed axis
            panel(picture, (x, height // 2, x + 5, height // 2 + 1), ink)


def _rosette(picture: ByteImage, ink: Colour, smooth: bool, rng: np.random.Generator) -> None:
    """Curves repeated about a centre: mandalas, spirographs, guilloches, rays."""
    height, width = picture.shape[:2]
    drawn = Ink(height, width, smooth=smooth)
    centre = np.array((width * between(rng, 0.2, 0.8), height * between(rng, 0.2, 0.8)))
    pen, reach = min(_pen(rng), 3), max(height, width) * between(rng, 0.3, 0.8)
    way = rng.random()
    if way < 0.35:
        a, b = whole(rng, 3, 20), between(rng, 0.1, 0.9)
        t = np.linspace(0, 2 * math.pi * whole(rng, 1, 6), 900)
        ray = reach * (1 - b + b * np.cos(a * t / whole(rng, 1, 5)))
        drawn.line(np.stack([ray * np.cos(t), ray * np.sin(t)], 1) + centre, pen)
    elif way < 0.55:
        for angle in np.linspace(0, 2 * math.pi, whole(rng, 8, 60), endpoint=False):
            beam = np.array((math.cos(angle), math.sin(angle))) * reach
            spoke = np.stack([centre + beam * between(rng, 0.1, 0.5), centre + beam])
            drawn.brush(np.linspace(spoke[0], spoke[1], 12), np.linspace(pen * 2, 0.4, 12))
    else:
        petals = whole(rng, 3, 16)
        curves = [spline(rng.normal(0, 0.4, (whole(rng, 3, 6), 2)) * reach, 6) for _ in range(3)]
        for angle in np.arange(petals) * 2 * math.pi / petals:
            turn = np.array(
                ((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle)))
            )
            for curve in curves:
                drawn.line(curve @ turn + centre, pen)
    drawn.onto(picture, ink)


def _comic(picture: ByteImage, ink: Colour, smooth: bool, rng: np.random.Generator) -> None:
    """Framed pictures with figures, lines of speed and words in balloons."""
    height, width = picture.shape[:2]
    gap, pen = whole(rng, 4, 12), whole(rng, 1, 4)
    middle = whole(rng, width // 3, width * 2 // 3)
    face = random_face(rng, whole(rng, 8, 16))
    for left, right in ((gap, middle), (middle + gap, width - gap)):
        frame = (left, gap, right, height - gap)
        part = picture[gap : height - gap, left:right]
        if min(part.shape[:2]) < 16:
            continue
        pick(rng, (_cartoon, _strokes, _hatched, _rosette))(part, ink, smooth, rng)
        panel(picture, frame, None, border=ink, thickness=pen)
        if chance(rng, 0.7):
            words = random_text(rng, 2)
            wide = min(face.width(words) // 2 + 10, (right - left) // 2)
            x, y = (left + right) // 2, gap + whole(rng, 14, 40)
            balloon = random_blob(rng, x, y, wide, 0.05)
            tail = np.array(((x - 6, y + 6), (x + 6, y + 6), (x + whole(rng, -20, 20), y + 40.0)))
            for colour, grown in ((ink, 1 + 2 * pen / wide), (WHITE, 1.0)):
                fill(picture, (balloon - (x, y)) * grown + (x, y), colour, smooth=smooth)
                fill(picture, tail + ((0, 0) if grown == 1 else (1, 1)), colour, smooth=smooth)
            write(picture, words, x - wide + 8, y - face.size // 2 - 2, face, BLACK)


_Scene = Callable[[ByteImage, Colour, bool, np.random.Generator], None]
_SCENES: Final[tuple[_Scene, ...]] = (
    *(_strokes, _strokes, _hatched, _hatched, _cartoon, _cartoon),
    *(_mesh, _map, _diagram, _technical, _rosette, _comic),
)
