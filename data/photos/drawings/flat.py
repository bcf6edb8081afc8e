"""Flat colours: one, a few large areas, stripes, checks, flags, charts to test screens with."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.photos.drawings.canvas import (
    BLACK,
    WHITE,
    between,
    chance,
    disc,
    fill,
    grid,
    panel,
    pick,
    plain,
    random_blob,
    random_colour,
    random_palette,
    random_polygon,
    rounded_box,
    small_or_large,
    trace,
    whole,
)
from restoration_toolchain.data.photos.drawings.lettering import random_face, random_word, write

_BARS: Final = (
    *((255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0)),
    *((255, 0, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0)),
)


def draw_flat(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Draw few flat areas, RGB uint8 of shape (height, width, 3)."""
    return pick(rng, _SCENES)(height, width, rng)


def _one(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """One colour."""
    gray = whole(rng, 0, 255)
    colours = (BLACK, WHITE, (gray, gray, gray), random_colour(rng), random_colour(rng))
    return plain(height, width, pick(rng, colours))


def _areas(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """A few large shapes over one colour."""
    picture = plain(height, width, random_colour(rng))
    smooth = chance(rng, 0.6)
    for colour in random_palette(rng, whole(rng, 1, 5)):
        x, y = between(rng, 0, width), between(rng, 0, height)
        radius = max(height, width) * between(rng, 0.15, 0.6)
        way = whole(rng, 0, 4)
        if way == 0:
            disc(picture, x, y, radius, colour, smooth=smooth)
        elif way == 1:
            fill(picture, random_polygon(rng, x, y, radius), colour, smooth=smooth)
        elif way == 2:
            fill(picture, random_blob(rng, x, y, radius), colour, smooth=smooth)
        else:
            box = (round(x - radius), round(y - radius), round(x + radius), round(y + radius / 2))
            panel(picture, box, colour, radius=pick(rng, (0, radius / 4)))
    return picture


def _blocks(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """A plane divided into boxes, with lines between them or none: Mondrian, layouts, swatches."""
    picture = plain(height, width, random_colour(rng))
    colours, gap = random_palette(rng, 6), pick(rng, (0, 0, 1, whole(rng, 2, 10)))
    parts = [(0, 0, width, height)]
    for _ in range(whole(rng, 1, 9)):
        left, top, right, bottom = parts.pop(whole(rng, 0, len(parts) - 1))
        if right - left >= bottom - top:
            middle = whole(rng, left + 1, right - 1)
            parts += [(left, top, middle, bottom), (middle, top, right, bottom)]
        else:
            middle = whole(rng, top + 1, bottom - 1)
            parts += [(left, top, right, middle), (left, middle, right, bottom)]
    for left, top, right, bottom in parts:
        panel(picture, (left, top, right - gap, bottom - gap), pick(rng, colours))
    return picture


def _stripes(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Stripes of one or of many widths, at any angle, with stepped edges or smooth ones."""
    colours = random_palette(rng, whole(rng, 2, 5))
    side = height + width
    pitch = small_or_large(rng, 3, max(side / 5, 6))
    is_even = chance(rng, 0.5)
    angle = pick(rng, (0, 0, math.pi / 2, math.pi / 2, math.pi / 4, between(rng, 0, math.pi)))
    picture, smooth = plain(height, width, colours[0]), chance(rng, 0.5)
    if angle in (0, math.pi / 2):
        pitch, smooth = max(round(pitch), 1), False
    along = np.array((math.cos(angle), math.sin(angle)))
    across = np.array((-along[1], along[0]))
    at, i = -float(side), 0
    while at < side:
        step = pitch if is_even else pitch * whole(rng, 1, 4) / 2
        ends = np.array([along * -side, along * side])
        band = np.concatenate([ends + across * at, ends[::-1] + across * (at + step)])
        fill(picture, band, colours[i % len(colours)], smooth=smooth)
        at, i = at + step, i + 1
    return picture


def _checks(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """A board of checks: straight, turned, seen at an angle, or tiles of several colours."""
    colours = np.array(random_palette(rng, pick(rng, (2, 2, 2, 3, 4))), np.uint8)
    y, x = grid(height, width)
    pitch = small_or_large(rng, 1, max(min(height, width) / 2, 4))
    way = rng.random()
    if way < 0.6:
        pitch = max(round(pitch), 1)
    elif way < 0.8:
        angle = between(rng, 0, math.pi)
        x, y = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        pitch = max(pitch, 4)
    else:
        depth = np.float32(1) / (np.float32(0.2) + y / np.float32(height))
        x, y, pitch = (x - np.float32(width / 2)) * depth, depth * np.float32(height), max(pitch, 8)
    numbers = np.floor(x / pitch).astype(int) + np.floor(y / pitch).astype(int)
    return np.asarray(colours[numbers % len(colours)], np.uint8)


def _flag(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """A flag: bands, a cross, a disc, a triangle at the hoist, a star."""
    colours = random_palette(rng, 4) if chance(rng, 0.4) else [
        (206, 17, 38), WHITE, (0, 56, 168), (252, 209, 22)]  # fmt: skip
    order = [colours[i] for i in rng.permutation(4)]
    picture, count, smooth = plain(height, width, order[0]), whole(rng, 1, 4), chance(rng, 0.7)
    is_upright = chance(rng, 0.5)
    for i in range(count):
        band = (width * i // count, 0, width * (i + 1) // count, height) if is_upright else (
            0, height * i // count, width, height * (i + 1) // count)  # fmt: skip
        panel(picture, band, order[i % 3])
    way, side = whole(rng, 0, 4), min(height, width)
    if way == 0:
        disc(picture, width / 2, height / 2, side / 4, order[3], smooth=smooth)
    elif way == 1:
        wide, x = side // 8 + 1, pick(rng, (width // 3, width // 2))
        panel(picture, (x - wide, 0, x + wide, height), order[3])
        panel(picture, (0, height // 2 - wide, width, height // 2 + wide), order[3])
    elif way == 2:
        hoist = np.array(((0, 0), (width * 0.45, height / 2), (0, height)))
        fill(picture, hoist, order[3], smooth=smooth)
    elif way == 3:
        angles = np.arange(10) * math.pi / 5 - math.pi / 2
        reach = np.where(np.arange(10) % 2, side * 0.12, side * 0.3)
        star = np.stack(
            [width / 2 + reach * np.cos(angles), height / 2 + reach * np.sin(angles)], 1
        )
        fill(picture, star, order[3], smooth=smooth)
    return picture


def _chart(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """A chart to test a screen with: bars, steps of gray, a grid, a star of wedges, patches."""
    way = whole(rng, 0, 4)
    if way == 0:
        level = pick(rng, (1.0, 0.75, 0.5))
        bars = (np.array(_BARS) * level).astype(np.uint8)
        return bars[np.arange(width) * len(bars) // width][None].repeat(height, 0)
    if way == 1:
        count = whole(rng, 4, 32)
        steps = np.arange(width) * count // width * 255 // (count - 1)
        gray = steps.astype(np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
        return (
            gray
            if chance(rng, 0.5)
            else np.concatenate([gray[: height // 2], gray[height // 2 :, ::-1]])
        )
    if way == 2:
        ink, paper = pick(rng, ((BLACK, WHITE), (WHITE, BLACK), (WHITE, (128, 128, 128))))
        picture, pitch = plain(height, width, paper), whole(rng, 8, 40)
        picture[pitch // 2 :: pitch] = ink
        picture[:, pitch // 2 :: pitch] = ink
        if chance(rng, 0.5):
            ring = rounded_box((2, 2, width - 2, height - 2), min(height, width) / 2)
            trace(picture, ring, ink, 1, closed=True)
        return picture
    if way == 3:
        picture, count = plain(height, width, WHITE), whole(rng, 4, 24)
        middle, reach = np.array((width / 2, height / 2)), height + width
        for i in range(count):
            angles = np.array((2 * i, 2 * i + 1)) * math.pi / count
            ends = middle + reach * np.stack([np.cos(angles), np.sin(angles)], 1)
            fill(picture, np.stack([middle, *ends]), BLACK, smooth=True)
        return picture
    picture, rows, columns = plain(height, width, BLACK), whole(rng, 2, 6), whole(rng, 2, 6)
    for i in range(rows):
        for j in range(columns):
            box = (width * j // columns + 2, height * i // rows + 2,
                   width * (j + 1) // columns - 1, height * (i + 1) // rows - 1)  # fmt: skip
            panel(picture, box, random_colour(rng))
    return picture


def _sign(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """A sign: one large letter, word or shape on one colour."""
    picture = plain(height, width, random_colour(rng))
    x, y, side = width / 2, height / 2, min(height, width)
    colour = random_colour(rng)
    if chance(rng, 0.5):
        shape = random_polygon(rng, x, y, side * 0.45)
        fill(picture, shape, colour)
        colour = random_colour(rng)
    face = random_face(rng, min(max(side // 2, 12), 80))
    word = random_word(rng)[: whole(rng, 1, 4)]
    write(picture, word, round(x - face.width(word) / 2), round(y - face.size * 0.7), face, colour)
    return picture


_Scene = Callable[[int, int, np.random.Generator], ByteImage]
_SCENES: Final[tuple[_Scene, ...]] = (
    *(_one, _one, _areas, _areas, _blocks, _blocks, _stripes, _stripes, _checks, _flag, _chart),
    _sign,
)
