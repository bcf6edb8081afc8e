"""Pixel art: sprites, tile maps, skies of dither and letters, enlarged by whole factors."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.photos.drawings.canvas import (
    BLACK,
    WHITE,
    Colour,
    between,
    chance,
    cut,
    disc,
    panel,
    pick,
    plain,
    random_blob,
    random_colour,
    random_palette,
    smooth_field,
    stretched,
    whole,
)
from restoration_toolchain.data.photos.drawings.canvas import fill as fill_polygon
from restoration_toolchain.data.photos.drawings.lettering import Face, random_text, write
from restoration_toolchain.data.photos.drawings.screentone import bayer

_Numbers = npt.NDArray[np.int64]
"""Number of the colour of each pixel in a palette, shape (H, W); -1 lets what is behind through."""

_LARGEST_FACTOR: Final = 8


def draw_pixel_art(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Draw a picture of large pixels, RGB uint8 of shape (height, width, 3)."""
    factor = pick(rng, (1, 2, 2, 3, 3, 4, 4, 5, 6, 7, _LARGEST_FACTOR))
    rows, columns = -(-height // factor) + 1, -(-width // factor) + 1
    small = pick(rng, _SCENES)(rows, columns, rng)
    large = small.repeat(factor, 0).repeat(factor, 1)
    if factor > 2 and chance(rng, 0.06):  # the grid of an editor
        large[::factor] = large[:, ::factor] = random_colour(rng)
    return cut(large, height, width, rng)


def sprite(side: int, rng: np.random.Generator) -> _Numbers:
    """Draw a figure: grown from noise, mostly symmetric, shaded and outlined; numbers 0 to 4."""
    half = (side + 1) // 2 if chance(rng, 0.8) else side
    y, x = np.mgrid[:side, :half]
    middle = (side - 1) / 2
    away = np.hypot((x - middle) / between(rng, 0.7, 1.2), (y - middle) / between(rng, 0.8, 1.2))
    body = rng.random((side, half)) < np.clip(1.25 - away / middle, 0, 1)
    for _ in range(whole(rng, 0, 3)):
        body = _neighbours(body) + body >= 5
    cell = 1 if chance(rng, 0.4) else 3
    patches = smooth_field(side, half, rng, cell)
    light = stretched((x + y) / (2 * side) + between(rng, 0, 1.5) * patches)
    shades = whole(rng, 1, 4)
    numbers = np.where(body, 1 + np.minimum((light * shades).astype(np.int64), shades - 1), -1)
    if half < side:
        numbers = np.hstack([numbers, numbers[:, : side - half][:, ::-1]])
    if chance(rng, 0.7):
        solid = numbers >= 0
        numbers[(_neighbours(solid) > 0) & ~solid] = 0
    if chance(rng, 0.4) and side >= 8:
        eye = whole(rng, side // 4, side // 2)
        for column in (side // 2 - side // 6 - 1, side // 2 + side // 6):
            numbers[eye, column] = 0
    return numbers


def _neighbours(solid: npt.NDArray[np.bool_]) -> _Numbers:
    """How many of the eight neighbours of each pixel are solid."""
    padded = np.pad(solid.astype(np.int64), 1)
    rows, columns = solid.shape
    total = np.zeros((rows, columns), np.int64)
    for dy in range(3):
        for dx in range(3):
            total += padded[dy : dy + rows, dx : dx + columns]
    return total - solid


def _place(
    picture: ByteImage, numbers: _Numbers, left: int, top: int, palette: list[Colour]
) -> None:
    """Lay numbers over a picture in their colours; what lies outside is cut off."""
    numbers = numbers[max(-top, 0) :, max(-left, 0) :]
    part = picture[
        max(top, 0) : max(top, 0) + numbers.shape[0], max(left, 0) : max(left, 0) + numbers.shape[1]
    ]
    numbers = numbers[: part.shape[0], : part.shape[1]]
    solid = numbers >= 0
    part[solid] = np.array(palette, np.uint8)[numbers[solid] % len(palette)]


def _sky(picture: ByteImage, rng: np.random.Generator) -> None:
    """Fill a picture with bands or with a ramp dithered between few colours."""
    rows, columns = picture.shape[:2]
    colours = random_palette(rng, whole(rng, 2, 6))
    way = rng.random()
    if way < 0.3:
        picture[:] = colours[0]
        return
    ramp = np.linspace(0, 1, rows, dtype=np.float32)[:, None].repeat(columns, 1)
    if chance(rng, 0.3):
        ramp = smooth_field(rows, columns, rng, max(rows, columns) / 3)
    ramp = ramp * np.float32(len(colours) - 1)
    if way < 0.7:
        cell = bayer(pick(rng, (1, 2, 3)))
        ramp = (
            ramp
            + np.tile(cell, (rows // len(cell) + 1, columns // len(cell) + 1))[:rows, :columns]
            - 0.5
        )
    numbers = np.clip(np.rint(ramp), 0, len(colours) - 1).astype(np.int64)
    picture[:] = np.array(colours, np.uint8)[numbers]


def _sprites(rows: int, columns: int, rng: np.random.Generator) -> ByteImage:
    """Sprites in a grid or anywhere, over a plain ground or a sky."""
    picture = plain(rows, columns, pick(rng, (BLACK, WHITE, random_colour(rng))))
    if chance(rng, 0.4):
        _sky(picture, rng)
    side = whole(rng, 8, pick(rng, (12, 16, 24, 48)))
    figures = [sprite(side, rng) for _ in range(whole(rng, 1, 4))]
    palettes = [_palette(rng) for _ in figures]
    if chance(rng, 0.5):
        step = side + whole(rng, 0, 6)
        places = [(x, y) for y in range(0, rows, step) for x in range(0, columns, step)]
    else:
        count = min(rows * columns // side**2 + 1, 40)
        places = [(whole(rng, -4, columns), whole(rng, -4, rows)) for _ in range(count)]
    for x, y in places:
        which = whole(rng, 0, len(figures) - 1)
        _place(picture, figures[which], x, y, palettes[which])
    return picture


def _palette(rng: np.random.Generator) -> list[Colour]:
    """Colours of a sprite: its outline, and shades of one colour or of several."""
    outline = BLACK if chance(rng, 0.6) else random_colour(rng)
    if chance(rng, 0.5):
        base = np.array(random_colour(rng))
        shades = [
            np.clip(base * factor, 0, 255).astype(int).tolist() for factor in (1.3, 1, 0.7, 0.45)
        ]
        return [outline, *((red, green, blue) for red, green, blue in shades)]
    return [outline, *random_palette(rng, 4)]


def _tiles(rows: int, columns: int, rng: np.random.Generator) -> ByteImage:
    """A map of tiles seen from above: grass, water, bricks, paths, with figures on it."""
    side = pick(rng, (8, 8, 12, 16, 16, 24))
    tiles = [_tile(side, rng) for _ in range(whole(rng, 2, 6))]
    down, across = -(-rows // side), -(-columns // side)
    field = smooth_field(down, across, rng, pick(rng, (1, 2, 4)))
    which = np.minimum((field * len(tiles)).astype(int), len(tiles) - 1)
    laid = np.stack(tiles)[which].transpose(0, 2, 1, 3, 4).reshape(down * side, across * side, 3)
    picture: ByteImage = np.array(laid[:rows, :columns], np.uint8)
    for _ in range(whole(rng, 0, 8)):
        place = (whole(rng, 0, across) * side, whole(rng, 0, down) * side)
        _place(picture, sprite(side, rng), *place, _palette(rng))
    return picture


def _tile(side: int, rng: np.random.Generator) -> ByteImage:
    """A texture that repeats: bricks, specks, waves, checks, or flat with a lighter edge."""
    colours = random_palette(rng, 4)
    y, x = np.mgrid[:side, :side]
    way = whole(rng, 0, 5)
    numbers = np.zeros((side, side), np.int64)
    if way == 0:
        high, wide = side // 4, side // 2
        numbers[(y % high == 0) | ((x + (y // high % 2) * wide // 2) % wide == 0)] = 1
    elif way == 1:
        numbers = (rng.random((side, side)) < between(rng, 0.03, 0.3)) * whole(rng, 1, 3)
    elif way == 2:
        numbers = ((y + np.rint(1.5 * np.sin(x * 6.3 / side)).astype(int)) % (side // 2) == 0) * 1
    elif way == 3:
        numbers = (x // (side // 4) + y // (side // 4)) % 2
    elif way == 4:
        numbers[(x == 0) | (y == 0)] = 1
        numbers[(x == side - 1) | (y == side - 1)] = 2
    else:
        numbers = rng.integers(0, 4, (side // 4, side // 4)).repeat(4, 0).repeat(4, 1)
    return np.asarray(np.array(colours, np.uint8)[numbers])


def _landscape(rows: int, columns: int, rng: np.random.Generator) -> ByteImage:
    """A sky with a sun, hills in steps, a ground of tiles, figures on it, and a score."""
    picture = plain(rows, columns, BLACK)
    _sky(picture, rng)
    x = np.arange(columns)
    if chance(rng, 0.5):
        disc(
            picture,
            between(rng, 0, columns),
            between(rng, 0, rows / 2),
            rows / 8,
            random_colour(rng),
            smooth=False,
        )
    for layer in range(whole(rng, 1, 4)):
        hills = smooth_field(1, columns, rng, between(rng, 4, columns / 2 + 5))[0]
        top = rows * (0.3 + 0.15 * layer) + hills * rows * 0.3
        under = np.arange(rows)[:, None] >= top[None, :]
        picture[under] = random_colour(rng)
        if chance(rng, 0.5):
            edge = under & (np.arange(rows)[:, None] < top[None, :] + whole(rng, 1, 3))
            picture[edge] = random_colour(rng)
    side = pick(rng, (8, 12, 16))
    ground = rows - side * whole(rng, 0, 2)
    for left in x[::side]:
        if ground < rows and chance(rng, 0.9):
            part = picture[ground : ground + side, left : left + side]
            part[:] = _tile(side, rng)[: part.shape[0], : part.shape[1]]
        if chance(rng, 0.15):
            _place(picture, sprite(side, rng), int(left), ground - side, _palette(rng))
    if chance(rng, 0.4):
        write(picture, random_text(rng, 2), 2, 1, Face("bitmap", 11), pick(rng, (WHITE, BLACK)))
    return picture


def _shapes(rows: int, columns: int, rng: np.random.Generator) -> ByteImage:
    """Shapes with stepped edges, as a paint program draws them; some of them dithered."""
    picture = plain(rows, columns, random_colour(rng))
    if chance(rng, 0.3):
        _sky(picture, rng)
    colours = random_palette(rng, 8)
    for _ in range(whole(rng, 2, 12)):
        x, y = between(rng, 0, columns), between(rng, 0, rows)
        radius = between(rng, 2, max(min(rows, columns) * 0.5, 3))
        before = picture.copy()
        if chance(rng, 0.4):
            disc(picture, x, y, radius, pick(rng, colours), smooth=False)
        elif chance(rng, 0.5):
            fill_polygon(picture, random_blob(rng, x, y, radius), pick(rng, colours), smooth=False)
        else:
            box = (round(x - radius), round(y - radius), round(x + radius), round(y + radius / 2))
            panel(picture, box, pick(rng, colours), border=pick(rng, (None, BLACK)))
        if chance(rng, 0.25):  # every second pixel only
            kept = np.indices((rows, columns)).sum(0) % 2 == 0
            picture[kept] = before[kept]
    return picture


def _words(rows: int, columns: int, rng: np.random.Generator) -> ByteImage:
    """Words in a font of pixels in a framed box, as games talk."""
    picture = plain(rows, columns, random_colour(rng))
    _sky(picture, rng)
    box = (2, rows // 3, columns - 2, rows - 2)
    ink, paper = pick(rng, ((WHITE, BLACK), (WHITE, (16, 24, 120)), (BLACK, WHITE)))
    panel(picture, box, paper, border=ink)
    face = Face("bitmap", 11)
    for y in range(box[1] + 2, rows - 8, 12):
        write(picture, random_text(rng, 5), 6, y, face, ink)
    _place(picture, sprite(whole(rng, 8, 16), rng), columns // 3, 2, _palette(rng))
    return picture


_Scene = Callable[[int, int, np.random.Generator], ByteImage]
_SCENES: Final[tuple[_Scene, ...]] = (
    *(_sprites, _sprites, _sprites, _tiles, _tiles, _landscape, _landscape, _shapes, _words),
)
