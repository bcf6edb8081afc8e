"""Screens: tones made of dots, lines and dither, in one colour or in four, as they are printed."""

import math
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.photos.drawings.canvas import (
    BLACK,
    WHITE,
    Colour,
    Field,
    Ink,
    between,
    blend,
    chance,
    coloured,
    cut,
    fill,
    grid,
    ink_and_paper,
    pick,
    plain,
    random_blob,
    random_colour,
    random_curve,
    random_palette,
    resized,
    small_or_large,
    smooth_field,
    whole,
)
from restoration_toolchain.data.photos.drawings.line_art import inked

_CMYK_ANGLES: Final = (15.0, 75.0, 0.0, 45.0)  # degrees, of cyan, magenta, yellow and black
_INKS: Final[tuple[Colour, ...]] = ((0, 174, 239), (236, 0, 140), (255, 242, 0), (35, 31, 32))


def draw_screentone(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Draw a picture of screened tones, RGB uint8 of shape (height, width, 3)."""
    way = rng.random()
    if way < 0.6:
        return pick(rng, _PRINTS)(height, width, rng)
    scale = between(rng, 1.1, 1.8) if way < 0.8 else between(rng, 0.5, 0.9)
    size = max(round(height * scale), 16), max(round(width * scale), 16)
    print_ = pick(rng, _PRINTS)(*size, rng)
    ways = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC) if scale > 1 else (
        cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC)  # fmt: skip
    return resized(print_, height, width, pick(rng, ways))


def _tone(height: int, width: int, rng: np.random.Generator) -> Field:
    """Darkness to be printed: flat, a ramp, hills, a few flat shapes or a ball."""
    way = rng.random()
    y, x = grid(height, width)
    if way < 0.2:
        return np.full((height, width), between(rng, 0.08, 0.85), np.float32)
    if way < 0.45:
        angle = between(rng, 0, 2 * math.pi)
        ramp = x / width * math.cos(angle) + y / height * math.sin(angle)
        ramp = (ramp - ramp.min()) / (ramp.max() - ramp.min())
        return np.asarray(between(rng, 0, 0.3) + between(rng, 0.4, 0.9) * ramp, np.float32)
    if way < 0.7:
        return smooth_field(height, width, rng, max(height, width) / between(rng, 1, 5))
    if way < 0.85:
        steps = np.zeros((height, width, 3), np.uint8)
        for _ in range(whole(rng, 2, 8)):
            gray = whole(rng, 0, 240)
            radius = max(height, width) * between(rng, 0.1, 0.5)
            place = between(rng, 0, width), between(rng, 0, height)
            fill(steps, random_blob(rng, *place, radius), (gray, gray, gray))
        return np.asarray(steps[..., 0], np.float32) / np.float32(255)
    away = np.hypot(x - width * rng.random(), y - height * rng.random())
    return np.asarray(
        1 - np.minimum(away / (max(height, width) * between(rng, 0.4, 1)), 1), np.float32
    )


def _screen(height: int, width: int, pitch: float, degrees: float, kind: str) -> Field:
    """Threshold of each pixel, [0, 1]: where the tone is darker, there is ink."""
    angle = math.radians(degrees)
    y, x = grid(height, width)
    u = (x * math.cos(angle) + y * math.sin(angle)) * np.float32(2 * math.pi / pitch)
    if kind == "line":
        return np.asarray((1 + np.cos(u)) / 2, np.float32)
    v = (y * math.cos(angle) - x * math.sin(angle)) * np.float32(2 * math.pi / pitch)
    if kind == "cross":
        return np.asarray(np.minimum(1 + np.cos(u), 1 + np.cos(v)) / 2, np.float32)
    if kind == "diamond":
        return np.asarray((np.abs(_saw(u)) + np.abs(_saw(v))) / 2, np.float32)
    if kind == "square":
        return np.asarray(np.maximum(np.abs(_saw(u)), np.abs(_saw(v))) ** 2, np.float32)
    if kind == "ring":
        away = np.hypot(x - width / 2, y - height / 2) * np.float32(2 * math.pi / pitch)
        return np.asarray((1 + np.cos(away)) / 2, np.float32)
    if kind == "wave":
        return np.asarray((1 + np.cos(u + 2 * np.sin(v / 5))) / 2, np.float32)
    if kind == "round":
        return np.asarray(np.minimum(np.hypot(_saw(u), _saw(v)) ** 2 * 0.785, 1), np.float32)
    return np.asarray((2 + np.cos(u) + np.cos(v)) / 4, np.float32)


def _saw(phase: Field) -> Field:
    """Distance from the middle of a cell, [-1, 1]."""
    turns = phase / np.float32(2 * math.pi)
    return np.asarray(2 * (turns - np.floor(turns)) - 1, np.float32)


_KINDS: Final = (
    "dot",
    "dot",
    "dot",
    "round",
    "round",
    "line",
    "cross",
    "diamond",
    "square",
    "ring",
    "wave",
)


def _inked(tone: Field, threshold: Field, pitch: float, softness: float) -> npt.NDArray[np.uint8]:
    """Cover of ink: hard where ``softness`` is 0, and else with edges so many pixels wide."""
    if softness == 0:
        return np.where(tone > threshold, 255, 0).astype(np.uint8)
    steep = pitch / (3.0 * softness)
    return np.asarray(np.clip((tone - threshold) * steep + 0.5, 0, 1) * 255, np.uint8)


def _pitch(rng: np.random.Generator) -> float:
    pitch = small_or_large(rng, 3, 12)
    return float(round(pitch)) if chance(rng, 0.4) else pitch


def _angle(rng: np.random.Generator) -> float:
    return pick(rng, (45.0, 45.0, 0.0, 30.0, 60.0, between(rng, 0, 90)))


def _halftone(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """One tone in one ink."""
    ink, paper = (BLACK, WHITE) if chance(rng, 0.4) else ink_and_paper(rng)
    pitch, picture = _pitch(rng), plain(height, width, paper)
    threshold = _screen(height, width, pitch, _angle(rng), pick(rng, _KINDS))
    softness = pick(rng, (0, 1, 1, between(rng, 0.7, 2)))
    blend(picture, _inked(_tone(height, width, rng), threshold, pitch, softness), ink)
    return picture


def _manga(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Shapes filled with screens of their own, outlined and drawn over in black."""
    picture = plain(height, width, WHITE if chance(rng, 0.8) else ink_and_paper(rng)[1])
    softness, pitch = pick(rng, (0, 1)), _pitch(rng)
    drawn = Ink(height, width, smooth=softness > 0)
    pen = small_or_large(rng, 0.8, 4)
    for _ in range(whole(rng, 2, 7)):
        radius = max(height, width) * between(rng, 0.15, 0.6)
        outline = random_blob(rng, between(rng, 0, width), between(rng, 0, height), radius)
        area = Ink(height, width, smooth=softness > 0)
        area.area(outline)
        inside = area.cover()
        blend(picture, inside, WHITE)
        if chance(rng, 0.75):
            pitch = _pitch(rng) if chance(rng, 0.4) else pitch
            threshold = _screen(height, width, pitch, _angle(rng), pick(rng, _KINDS))
            tone = _tone(height, width, rng) * np.float32(between(rng, 0.4, 1))
            screened = _inked(tone, threshold, pitch, softness)
            blend(picture, np.minimum(screened, inside[..., 0]), BLACK)
        elif chance(rng, 0.4):
            blend(picture, inside, BLACK)
        if chance(rng, 0.8):
            drawn.line(outline, pen, closed=True)
    for _ in range(whole(rng, 0, 6)):
        curve = random_curve(rng, height, width)
        drawn.brush(curve, np.sin(np.linspace(0, math.pi, len(curve))) * pen * 1.5)
    drawn.onto(picture, BLACK)
    return picture


def _over_lines(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """A screened tone under line art."""
    lines, pitch = inked(height, width, rng), _pitch(rng)
    threshold = _screen(height, width, pitch, _angle(rng), pick(rng, _KINDS))
    tone = _tone(height, width, rng) * np.float32(0.6)
    screened = _inked(tone, threshold, pitch, pick(rng, (0, 1)))
    shade = plain(height, width, WHITE)
    blend(shade, screened, BLACK if chance(rng, 0.6) else random_colour(rng))
    return np.minimum(lines, shade)


def _four_inks(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """A coloured picture printed in cyan, magenta, yellow and black, each at an angle."""
    colour = _coloured_tone(height, width, rng).astype(np.float32) / 255
    pitch, softness, kind = (
        small_or_large(rng, 3, 9),
        pick(rng, (0, 1, 1.5)),
        pick(rng, ("dot", "round", "line")),
    )
    cmy = 1 - colour
    black = cmy.min(axis=2) * np.float32(between(rng, 0, 1))
    parts = [(cmy[..., i] - black) / np.maximum(1 - black, 1e-3) for i in range(3)]
    used = (0, 1, 2, 3) if chance(rng, 0.75) else pick(rng, ((0, 1), (1, 3), (0, 2), (1, 2, 3)))
    paper = (
        WHITE
        if chance(rng, 0.6)
        else (whole(rng, 225, 250), whole(rng, 220, 240), whole(rng, 190, 225))
    )
    page = np.asarray(plain(height, width, paper), np.float32)
    turn = between(rng, 0, 90)
    for i in used:
        threshold = _screen(height, width, pitch, _CMYK_ANGLES[i] + turn, kind)
        tone = np.asarray([*parts, black][i], np.float32)
        share = _inked(tone, threshold, pitch, softness)[..., None].astype(np.float32) / 255
        page *= 1 - share * (1 - np.array(_INKS[i], np.float32) / 255)
    return np.rint(page).astype(np.uint8)


def _coloured_tone(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    if chance(rng, 0.3):
        return inked(height, width, rng)
    return coloured(_tone(height, width, rng), random_palette(rng, whole(rng, 2, 4)))


def bayer(order: int) -> Field:
    """Thresholds of ordered dither, shape (2**order, 2**order), range (0, 1)."""
    matrix = np.zeros((1, 1))
    for _ in range(order):
        rows = [[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]]
        matrix = np.block(rows)
    return np.asarray((matrix + 0.5) / matrix.size, np.float32)


def _ordered(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Ordered dither of few levels, between two colours or in each channel, in pixels of 1 to 3."""
    factor, levels = pick(rng, (1, 1, 1, 2, 3)), pick(rng, (1, 1, 1, 2, 3, 5))
    rows, columns = -(-height // factor), -(-width // factor)
    cell = bayer(pick(rng, (1, 2, 2, 3)))
    repeats = (-(-rows // len(cell)), -(-columns // len(cell)))
    threshold = np.tile(cell, repeats)[:rows, :columns]
    if chance(rng, 0.6):
        tone = np.floor(_tone(rows, columns, rng) * levels + threshold) / levels
        small = coloured(np.asarray(tone, np.float32), ink_and_paper(rng))
    else:
        parts = _coloured_tone(rows, columns, rng).astype(np.float32) / 255
        parts = np.floor(parts * levels + threshold[..., None]) / levels
        small = np.asarray(np.clip(parts, 0, 1) * 255, np.uint8)
    return small.repeat(factor, 0).repeat(factor, 1)[:height, :width].copy()


def _diffused(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Error diffusion: to two colours, or to a small palette."""
    factor = pick(rng, (1, 1, 1, 2, 3))
    rows, columns = -(-height // factor), -(-width // factor)
    if chance(rng, 0.6):
        gray = np.asarray(np.clip(_tone(rows, columns, rng), 0, 1) * 255, np.uint8)
        two = np.asarray(Image.fromarray(gray).convert("1"), np.uint8)
        small = np.array(ink_and_paper(rng), np.uint8)[two]
    else:
        palette = Image.new("P", (1, 1))
        entries = [*random_palette(rng, whole(rng, 2, 6)), BLACK, WHITE]
        palette.putpalette([part for entry in entries for part in entry])
        picture = Image.fromarray(_coloured_tone(rows, columns, rng))
        small = np.asarray(
            picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")
        )
    return small.repeat(factor, 0).repeat(factor, 1)[:height, :width].copy()


def _grain(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Stipple: tones of dots that lie at random."""
    ink, paper = ink_and_paper(rng)
    picture = plain(height + 8, width + 8, paper)
    tone, radius = _tone(height + 8, width + 8, rng), between(rng, 0.6, 2.2)
    count = min(round(height * width / (6 * radius**2)), 4000)
    places = rng.random((count, 2)) * (width + 8, height + 8)
    kind = cv2.LINE_AA if chance(rng, 0.6) else cv2.LINE_8
    keep = rng.random(count) < tone[places[:, 1].astype(int), places[:, 0].astype(int)]
    for x, y in np.rint(places[keep] * 16).astype(int).tolist():
        cv2.circle(picture, (x, y), round(radius * 16), ink, cv2.FILLED, kind, 4)
    return cut(picture, height, width, rng)


_Print = Callable[[int, int, np.random.Generator], ByteImage]
_PRINTS: Final[tuple[_Print, ...]] = (
    *(_halftone, _halftone, _halftone, _manga, _manga, _manga, _over_lines),
    *(_four_inks, _four_inks, _ordered, _diffused, _grain),
)
