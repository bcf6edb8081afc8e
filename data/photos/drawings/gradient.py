"""Gradients: linear, radial, about a point, of many stops, in bands, and smooth noise."""

import math
from typing import Final

import cv2
import numpy as np

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
    grid,
    pick,
    random_blob,
    random_colour,
    random_palette,
    random_polygon,
    rounded_box,
    smooth_field,
    stretched,
    whole,
)

_WAYS: Final = (
    *("linear", "linear", "linear", "linear", "radial", "radial", "radial", "corners", "corners"),
    *("about", "diamond", "noise", "noise", "waves", "mesh", "wheel", "reflected"),
)


def draw_gradient(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Draw smooth changes of colour, RGB uint8 of shape (height, width, 3)."""
    picture = _gradient(height, width, rng)
    if chance(rng, 0.35):  # shapes that have gradients of their own, as icons and slides do
        for _ in range(whole(rng, 1, 6)):
            _shape(picture, rng)
    return picture


def _shape(picture: ByteImage, rng: np.random.Generator) -> None:
    height, width = picture.shape[:2]
    radius = max(height, width) * between(rng, 0.08, 0.45)
    x, y = between(rng, 0, width), between(rng, 0, height)
    way = whole(rng, 0, 2)
    if way == 0:
        outline = random_blob(rng, x, y, radius, pick(rng, (0, 0.3)))
    elif way == 1:
        outline = random_polygon(rng, x, y, radius)
    else:
        box = (round(x - radius), round(y - radius / 2), round(x + radius), round(y + radius / 2))
        outline = rounded_box(box, between(rng, 0, radius / 2))
    area = Ink(height, width, smooth=chance(rng, 0.85))
    area.area(outline)
    cover = area.cover()[..., 0]
    if chance(rng, 0.3):  # a soft edge: a shadow or a glow
        side = 2 * round(radius / 6) + 3
        cover = np.asarray(cv2.blur(cv2.blur(cover, (side, side)), (side, side)), np.uint8)
    cover = np.asarray(cover * between(rng, 0.4, 1), np.uint8)
    blend(picture, cover, _gradient(height, width, rng))


def _gradient(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    way = pick(rng, _WAYS)
    if way == "corners":
        return _corners(height, width, rng, 2)
    if way == "mesh":
        return _corners(height, width, rng, whole(rng, 3, 5))
    if way == "wheel":
        return _wheel(height, width, rng)
    field = _field(way, height, width, rng)
    if chance(rng, 0.25):
        field = field ** np.float32(between(rng, 0.4, 2.5))
    elif chance(rng, 0.2):
        field = np.asarray(field * field * (3 - 2 * field), np.float32)
    if chance(rng, 0.25):  # bands
        levels = whole(rng, 3, 40)
        field = np.asarray(np.floor(field * levels).clip(0, levels - 1) / (levels - 1), np.float32)
    return _exact(field, _stops(rng))


def _stops(rng: np.random.Generator) -> list[Colour]:
    way = rng.random()
    if way < 0.1:
        return [BLACK, WHITE]
    if way < 0.35:  # two neighbours: steps of one level many pixels wide
        first = random_colour(rng)
        red, green, blue = (int(np.clip(part + whole(rng, -40, 40), 0, 255)) for part in first)
        return [first, (red, green, blue)]
    return random_palette(rng, pick(rng, (2, 2, 2, 3, 3, 4, 6, 8)))


def _exact(field: Field, stops: list[Colour]) -> ByteImage:
    """Colours of values, rounded where they end: to nearest, or down as many programs do."""
    if len(stops) > 2:
        return coloured(field, stops)
    first, last = (np.array(stop, np.float32) for stop in stops)
    return np.rint(first + (last - first) * field[..., None]).astype(np.uint8)


def _field(way: str, height: int, width: int, rng: np.random.Generator) -> Field:
    y, x = grid(height, width)
    angle = pick(rng, (0, math.pi / 2, between(rng, 0, 2 * math.pi)))
    centre = between(rng, -0.2, 1.2) * width, between(rng, -0.2, 1.2) * height
    u = (x - centre[0]) * math.cos(angle) + (y - centre[1]) * math.sin(angle)
    v = (y - centre[1]) * math.cos(angle) - (x - centre[0]) * math.sin(angle)
    squash = pick(rng, (1, 1, between(rng, 0.3, 1)))
    if way == "linear":
        field = u
    elif way == "reflected":
        field = np.abs(u)
    elif way == "radial":
        field = np.hypot(u, v / squash)
        if chance(rng, 0.4):
            field = np.minimum(field, max(height, width) * between(rng, 0.3, 0.8))
    elif way == "about":
        field = np.arctan2(v, u)
    elif way == "diamond":
        field = (
            np.abs(u) + np.abs(v) / squash if chance(rng, 0.5) else np.maximum(np.abs(u), np.abs(v))
        )
    elif way == "waves":
        scale = 2 * math.pi / (max(height, width) * between(rng, 0.15, 1))
        field = np.sin(u * scale) + squash * np.sin(v * scale * between(rng, 0.3, 1.5))
    else:
        field = smooth_field(height, width, rng, max(height, width) * between(rng, 0.15, 0.8))
        if chance(rng, 0.4):
            field = field + 0.4 * smooth_field(height, width, rng, max(height, width) * 0.12)
    return stretched(np.asarray(field, np.float32))


def _corners(height: int, width: int, rng: np.random.Generator, count: int) -> ByteImage:
    """Colours at the nodes of a grid, and everything between them."""
    nodes = np.array(random_palette(rng, count * count), np.float32).reshape(count, count, 3)
    way = cv2.INTER_LINEAR if count == 2 else cv2.INTER_CUBIC
    y = np.linspace(0, count - 1, height, dtype=np.float32)[:, None].repeat(width, 1)
    x = np.linspace(0, count - 1, width, dtype=np.float32)[None].repeat(height, 0)
    large = cv2.resize(nodes, (64 * count, 64 * count), interpolation=way)
    mixed = cv2.remap(
        large, x * 64 + 32, y * 64 + 32, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(np.rint(np.clip(mixed, 0, 255)), np.uint8)


def _wheel(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Every hue, around a centre or along one side, in all saturations or brightnesses."""
    y, x = grid(height, width)
    if chance(rng, 0.5):
        dx, dy = x - width * between(rng, 0.3, 0.7), y - height * between(rng, 0.3, 0.7)
        hue = np.degrees(np.arctan2(dy, dx)) + 180
        other = np.minimum(np.hypot(dx, dy) / (max(height, width) / 2), 1)
    else:
        hue, other = x / width * 360, y / height
    full = np.ones_like(other)
    hsv = np.stack([hue % 360, other, full] if chance(rng, 0.5) else [hue % 360, full, other], -1)
    rgb = cv2.cvtColor(hsv.astype(np.float32), cv2.COLOR_HSV2RGB)
    picture = np.rint(rgb * 255).astype(np.uint8)
    if chance(rng, 0.3):
        outside = other >= 1
        picture[outside] = random_colour(rng)
    return picture
