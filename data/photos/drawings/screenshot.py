"""Screenshots: windows, dialogs, editors, charts, pages, tables and lists."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.photos.drawings.canvas import (
    BLACK,
    WHITE,
    Box,
    Colour,
    between,
    brightness,
    chance,
    coloured,
    cut,
    disc,
    fill,
    panel,
    pick,
    plain,
    random_blob,
    random_colour,
    random_palette,
    random_polygon,
    rounded_box,
    smooth_field,
    stretched,
    trace,
    whole,
)
from restoration_toolchain.data.photos.drawings.lettering import (
    Face,
    random_code,
    random_face,
    random_number,
    random_text,
    random_word,
    write,
)

_TRAFFIC_LIGHTS: Final[tuple[Colour, ...]] = ((255, 95, 86), (255, 189, 46), (39, 201, 63))
_EXTRA: Final = 60  # pixels that a screen is larger than the part of it that is shown


@dataclass(frozen=True)
class Theme:
    """Colours, letters and measures of a user interface.

    Args:
        back: Colour of the window.
        raised: Colour of bars, buttons and cards.
        line: Colour of borders.
        ink: Colour of text.
        faint: Colour of less important text.
        accents: Colours of what stands out.
        face: Letters of text.
        small: Letters of labels.
        radius: Radius of corners in pixels.
    """

    back: Colour
    raised: Colour
    line: Colour
    ink: Colour
    faint: Colour
    accents: tuple[Colour, ...]
    face: Face
    small: Face
    radius: int

    @property
    def pitch(self) -> int:
        """Height of a line of text in pixels."""
        return self.face.height


_Draw = Callable[[ByteImage, Box, Theme, np.random.Generator], None]


def draw_screenshot(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Draw a part of a screen, RGB uint8 of shape (height, width, 3)."""
    theme = random_theme(rng)
    extra = _EXTRA if chance(rng, 0.7) else 0
    screen = plain(height + extra, width + extra, theme.back)
    whole_screen = (0, 0, width + extra, height + extra)
    if chance(rng, 0.35):
        _desktop(screen, whole_screen, theme, rng)
    else:
        _split(screen, whole_screen, theme, rng, 1 if min(height, width) < 200 else 2)
    if chance(rng, 0.15):
        _pointer(screen, rng)
    return cut(screen, height, width, rng)


def random_theme(rng: np.random.Generator) -> Theme:
    """Draw a theme: light, dark or coloured; flat or with borders."""
    way = rng.random()
    if way < 0.55:
        tint = rng.integers(-4, 4, 3)
        base = whole(rng, 236, 255)
        steps = (0, -whole(rng, 4, 25), -whole(rng, 30, 90))
        ink = whole(rng, 0, 70)
    elif way < 0.9:
        tint = rng.integers(-3, 10, 3)
        base = whole(rng, 8, 50)
        steps = (0, whole(rng, 6, 25), whole(rng, 25, 60))
        ink = whole(rng, 180, 255)
    else:
        tint, base = np.array(random_colour(rng)) // 2, 60
        steps = (0, whole(rng, -40, 40), whole(rng, -60, 60))
        ink = 255
    back, raised, line = (_clipped(base + step + tint) for step in steps)
    if way >= 0.9 and brightness(back) > 120:
        ink = 0
    size = whole(rng, 9, 18)
    face = random_face(rng, size, is_screen=True)
    small = random_face(rng, max(size - 3, 8), is_screen=True)
    middle = round(0.6 * ink + 0.4 * brightness(back))
    return Theme(
        *(back, raised, line, (ink, ink, ink), (middle, middle, middle)),
        accents=tuple(random_palette(rng, 6)),
        face=face,
        small=small,
        radius=pick(rng, (0, 0, 0, 3, 4, 6, 8, 12)),
    )


def _clipped(colour: npt.NDArray[np.int64]) -> Colour:
    red, green, blue = (int(part) for part in np.clip(colour, 0, 255))
    return red, green, blue


def _inner(box: Box, by: int) -> Box:
    return box[0] + by, box[1] + by, box[2] - by, box[3] - by


def _write(
    screen: ByteImage, text: str, box: Box, top: int, face: Face, colour: Colour, left: int = 0
) -> int:
    """Write a line into a box, cut off at its right side; return where it ends."""
    start = box[0] + left
    part = screen[: max(box[3], 0), : max(box[2], 0)]
    if top < box[1] or start >= part.shape[1] or top >= part.shape[0]:
        return start
    return write(part, text, start, top, face, colour)


def _split(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator, depth: int) -> None:
    """Divide a box in two, with a border between them or none, down to parts with a content."""
    left, top, right, bottom = box
    if right - left < 12 or bottom - top < 12:
        return
    if depth == 0 or max(right - left, bottom - top) < 90 or chance(rng, 0.35):
        pick(rng, _CONTENTS)(screen, box, theme, rng)
        return
    share = pick(rng, (0.2, 0.3, 0.5, 0.7))
    if right - left > bottom - top:
        middle = left + round((right - left) * share)
        parts = (left, top, middle, bottom), (middle + 1, top, right, bottom)
        border = (middle, top, middle + 1, bottom)
    else:
        middle = top + round((bottom - top) * share)
        parts = (left, top, right, middle), (left, middle + 1, right, bottom)
        border = (left, middle, right, middle + 1)
    for part in parts:
        if chance(rng, 0.3):
            panel(screen, part, theme.raised)
        _split(screen, part, theme, rng, depth - 1)
    panel(screen, border, theme.line)


def _desktop(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    """A desktop with one to three windows, which may lie over each other."""
    height, width = screen.shape[:2]
    way = rng.random()
    if way < 0.4:
        screen[:] = random_colour(rng)
    elif way < 0.7:
        ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, 1)
        screen[:] = coloured(ramp, random_palette(rng, 2))
    else:
        _picture(screen, box, theme, rng)
    if chance(rng, 0.4):
        for y in range(6, height, 56):
            _icon(screen, (8, y, 8 + 32, y + 32), theme, rng)
            write(screen, random_word(rng), 6, y + 34, theme.small, theme.ink)
    for _ in range(whole(rng, 1, 3)):
        left, top = whole(rng, -20, width // 2), whole(rng, -20, height // 2)
        wide, high = whole(rng, 60, width), whole(rng, 50, height)
        frame = (left, top, left + wide, top + high)
        _window(screen, frame, theme, rng)
    if chance(rng, 0.4):
        bar = (0, height - whole(rng, 24, 40), width, height)
        panel(screen, bar, theme.raised, border=theme.line)
        for x in range(4, width, 34):
            _icon(screen, (x, bar[1] + 4, x + bar[3] - bar[1] - 8, bar[3] - 4), theme, rng)


def _window(screen: ByteImage, frame: Box, theme: Theme, rng: np.random.Generator) -> None:
    """A window with a title, buttons to close it, perhaps a shadow and a menu, and a content."""
    left, top, right, bottom = frame
    if chance(rng, 0.5):
        for i in range(6, 0, -2):  # a shadow of three steps
            y0, y1, x0, x1 = max(top + i, 0), bottom + i, max(left - i // 2, 0), right + i
            part = screen[y0:y1, x0:x1]
            part[:] = part - part // 12
    panel(screen, frame, theme.back, border=theme.line, radius=theme.radius)
    bar = pick(rng, (theme.raised, theme.raised, theme.accents[0], theme.back))
    high = theme.pitch + whole(rng, 4, 12)
    panel(screen, (left + 1, top + 1, right - 1, top + high), bar, radius=theme.radius)
    ink = WHITE if brightness(bar) < 110 else BLACK
    is_round = chance(rng, 0.5)
    start, middle = 62 if is_round else whole(rng, 6, 30), top + high // 2
    inside = frame if is_round else (left, top, right - 68, bottom)
    _write(screen, random_text(rng, 3), inside, middle - theme.pitch // 2, theme.face, ink, start)
    _title_buttons(screen, (left, right), middle, ink, theme.accents if is_round else None, rng)
    panel(screen, (left, top + high, right, top + high + 1), theme.line)
    body = _inner((left, top + high, right, bottom), 2)
    if chance(rng, 0.4):
        x = 4
        for _ in range(5):
            x = (
                _write(screen, random_word(rng), body, body[1] + 2, theme.small, theme.ink, x)
                - body[0]
                + 10
            )
        body = (body[0], body[1] + theme.pitch + 6, body[2], body[3])
        panel(screen, (left, body[1] - 1, right, body[1]), theme.line)
    _split(screen, body, theme, rng, 1)


def _title_buttons(
    screen: ByteImage,
    sides: tuple[int, int],
    middle: int,
    ink: Colour,
    colours: tuple[Colour, ...] | None,
    rng: np.random.Generator,
) -> None:
    """Three round buttons at the left, or the signs for smaller, larger and closed at the right."""
    if colours is not None:
        for i, colour in enumerate(pick(rng, (_TRAFFIC_LIGHTS, _TRAFFIC_LIGHTS, colours[:3]))):
            disc(screen, sides[0] + 12 + 16 * i, middle, 5, colour)
        return
    close, large, small = (sides[1] - 14 - 20 * i for i in range(3))
    cross = np.array(((close - 4.0, middle - 4), (close + 4, middle + 4)))
    trace(screen, cross, ink)
    trace(screen, np.stack([cross[:, 0], cross[::-1, 1]], 1), ink)
    panel(screen, (large - 4, middle - 4, large + 5, middle + 5), None, border=ink)
    panel(screen, (small - 4, middle, small + 5, middle + 1), ink)


def _paragraph(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    """Lines of text with a heading and links."""
    left, top, right, bottom = _inner(box, whole(rng, 2, 10))
    if chance(rng, 0.5):
        large = random_face(rng, theme.face.size + whole(rng, 4, 14), is_screen=True)
        _write(screen, random_text(rng, 4), (left, top, right, bottom), top, large, theme.ink)
        top += large.height + 4
    pitch = theme.pitch + whole(rng, 0, 6)
    for y in range(top, bottom - pitch, pitch):
        if chance(rng, 0.12):
            continue
        words = max((right - left) // (theme.face.size * 3) - whole(rng, 0, 1), 1)
        ink = theme.accents[1] if chance(rng, 0.1) else theme.ink
        end = _write(
            screen, random_text(rng, words), (left, top, right, bottom), y, theme.face, ink
        )
        if ink == theme.accents[1]:
            panel(screen, (left, y + pitch - 3, min(end, right), y + pitch - 2), ink)


def _code(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    """A program in an editor or a terminal: numbered lines, coloured words, a marked line."""
    left, top, right, bottom = box
    colours = (theme.ink, *theme.accents[:4], theme.faint)
    face, is_numbered, depth = theme.face, chance(rng, 0.7), 0
    if chance(rng, 0.4):
        face = Face("bitmap", 11)
    pitch = face.height + whole(rng, 0, 5)
    marked, gutter = whole(rng, 0, 12), 4 * face.size if is_numbered else 4
    if is_numbered and chance(rng, 0.5):
        panel(screen, (left, top, left + gutter - 4, bottom), theme.raised)
    for row, y in enumerate(range(top + 2, bottom - pitch // 2, pitch)):
        if row == marked:
            panel(screen, (left + gutter - 4, y, right, y + pitch), theme.raised, border=theme.line)
        if is_numbered:
            _write(screen, str(row + 7), box, y, face, theme.faint, 4)
        depth = min(max(depth + whole(rng, -1, 1), 0), 4)
        x = gutter + depth * 2 * face.size
        if chance(rng, 0.1):
            continue
        for part, colour in random_code(rng, whole(rng, 1, 6)):
            x = _write(screen, part, box, y, face, colours[colour], x) - left
            if left + x > right:
                break


def _controls(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    """Buttons, fields, boxes to tick, switches, sliders, bars of progress."""
    left, top, right, bottom = _inner(box, 6)
    high = theme.pitch + 8
    for y in range(top, bottom - high, high + whole(rng, 4, 12)):
        x = left
        while x < right - 20:
            end = x + whole(rng, 40, 110)
            pick(rng, _CONTROLS)(screen, (x, y, min(end, right), y + high), theme, rng)
            x = end + 8


def _button(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    colour = pick(rng, (theme.raised, theme.accents[0], None))
    panel(screen, box, colour, border=pick(rng, (theme.line, colour)), radius=theme.radius)
    ink = theme.ink if colour is not theme.accents[0] else (
        WHITE if brightness(theme.accents[0]) < 140 else BLACK)  # fmt: skip
    _write(screen, random_word(rng), _inner(box, 2), box[1] + 4, theme.face, ink, 6)
    if colour == theme.raised and theme.radius == 0 and chance(rng, 0.5):  # raised edges of old
        panel(screen, (box[0], box[1], box[2], box[1] + 1), WHITE)
        panel(screen, (box[0], box[1], box[0] + 1, box[3]), WHITE)
        panel(screen, (box[0], box[3] - 1, box[2], box[3]), BLACK)


def _field(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    paper = WHITE if brightness(theme.back) > 128 else theme.raised
    panel(screen, box, paper, border=theme.line, radius=theme.radius)
    _write(screen, random_text(rng, 2), _inner(box, 2), box[1] + 4, theme.face, theme.faint, 4)


def _tick(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    left, top, _, bottom = box
    side, middle = 11, (top + bottom) // 2
    square = (left, middle - side // 2, left + side, middle - side // 2 + side)
    is_round, is_on = chance(rng, 0.3), chance(rng, 0.6)
    panel(screen, square, theme.accents[0] if is_on else None, border=theme.line,
          radius=side / 2 if is_round else theme.radius // 2)  # fmt: skip
    if is_on and not is_round:
        mark = np.array(((2, 5), (4, 8), (9, 2))) + square[:2]
        trace(screen, mark, WHITE, smooth=True)
    _write(screen, random_word(rng), box, top + 4, theme.face, theme.ink, side + 5)


def _slider(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    left, top, right, bottom = box
    middle, at = (top + bottom) // 2, whole(rng, left, right)
    high = pick(rng, (1, 2, 4, 7))
    panel(
        screen,
        (left, middle - high, right, middle + high),
        theme.raised,
        border=theme.line,
        radius=high,
    )
    panel(screen, (left, middle - high, at, middle + high), theme.accents[0], radius=high)
    if chance(rng, 0.6):
        disc(screen, at, middle, 6, theme.accents[0])
        disc(screen, at, middle, 4, WHITE)


def _icon(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    """A small sign: a letter, a shape, or shapes over each other, on a tile or none."""
    left, top, right, bottom = box
    side = min(right - left, bottom - top)
    if side < 6:
        return
    x, y = (left + right) / 2, (top + bottom) / 2
    if chance(rng, 0.6):
        panel(screen, box, pick(rng, theme.accents), radius=pick(rng, (0, side / 5, side / 2)))
    colour = pick(rng, (*theme.accents, WHITE, theme.ink))
    way = whole(rng, 0, 4)
    if way == 0:
        write(
            screen,
            random_word(rng)[:1].upper(),
            round(x - side / 4),
            round(y - side / 2),
            theme.face,
            colour,
        )
    elif way == 1:
        fill(screen, random_polygon(rng, x, y, side * 0.4), colour)
    elif way == 2:
        for i in range(3):
            row = round(y - side / 4 + i * side / 4)
            panel(
                screen,
                (round(x - side / 3), row, round(x + side / 3), row + max(side // 12, 1)),
                colour,
            )
    elif way == 3:
        disc(screen, x, y, side * 0.35, colour)
        disc(screen, x, y, side * between(rng, 0.1, 0.3), pick(rng, theme.accents))
    else:
        fill(screen, random_blob(rng, x, y, side * 0.4, 0.5), colour)


def _icons(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    """Icons in a grid, with names or none: tool bars, folders, telephones."""
    left, top, right, bottom = _inner(box, 3)
    side = whole(rng, 12, 44)
    is_named = chance(rng, 0.5)
    step = side + whole(rng, 3, 16)
    for y in range(top, bottom - side, step + (theme.pitch if is_named else 0)):
        for x in range(left, right - side, step):
            _icon(screen, (x, y, x + side, y + side), theme, rng)
            if is_named:
                name = random_word(rng)[: max(side // 6, 3)]
                _write(screen, name, (x, y, right, bottom), y + side, theme.small, theme.ink)


def _list(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    """Rows with an icon, a name and a number; one is chosen. Files, settings, messages, menus."""
    left, top, right, bottom = box
    high = theme.pitch + whole(rng, 0, 16)
    chosen, has_lines, has_icons = whole(rng, 0, 8), chance(rng, 0.4), chance(rng, 0.6)
    for row, y in enumerate(range(top, bottom - high + 4, high)):
        line, ink = (left, y, right, y + high), theme.ink
        if row == chosen:
            panel(screen, _inner(line, pick(rng, (0, 2))), theme.accents[0], radius=theme.radius)
            ink = WHITE if brightness(theme.accents[0]) < 140 else BLACK
        if has_lines:
            panel(screen, (left, y, right, y + 1), theme.line)
        inset = 6
        if has_icons:
            _icon(screen, (left + 3, y + 2, left + high - 1, y + high - 2), theme, rng)
            inset = high + 4
        middle = y + (high - theme.pitch) // 2
        _write(screen, random_text(rng, whole(rng, 1, 3)), line, middle, theme.face, ink, inset)
        if chance(rng, 0.4):
            _write(
                screen,
                random_number(rng),
                line,
                middle,
                theme.small,
                theme.faint,
                (right - left) * 3 // 4,
            )


def _sheet(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    """Cells of a spreadsheet or a table of data."""
    left, top, right, bottom = box
    high, wide = theme.small.height + whole(rng, 0, 6), whole(rng, 30, 80)
    for row, y in enumerate(range(top, bottom - 2, high)):
        for column, x in enumerate(range(left, right - 2, wide)):
            cell = (x, y, min(x + wide + 1, right), min(y + high + 1, bottom))
            is_head = row == 0 or column == 0
            colour = theme.raised if is_head else None
            if chance(rng, 0.04):
                colour = pick(rng, theme.accents)
            panel(screen, cell, colour, border=theme.line)
            if chance(rng, 0.7):
                text = random_word(rng) if is_head or chance(rng, 0.2) else random_number(rng)
                _write(screen, text, _inner(cell, 1), y + 1, theme.small, theme.ink, 2)


def _chat(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    """Messages in bubbles to the left and right."""
    left, top, right, bottom = _inner(box, 4)
    y, pitch = top, theme.pitch
    while y < bottom - pitch - 8:
        lines = whole(rng, 1, 3)
        wide = whole(rng, (right - left) * 2 // 5, (right - left) * 4 // 5)
        is_mine = chance(rng, 0.5)
        x = right - wide if is_mine else left
        colour = theme.accents[0] if is_mine else theme.raised
        bubble = (x, y, x + wide, min(y + lines * pitch + 8, bottom))
        panel(screen, bubble, colour, radius=theme.radius + 4)
        ink = WHITE if brightness(colour) < 128 else BLACK
        for i in range(lines):
            words = max(wide // (theme.face.size * 3), 1)
            _write(
                screen,
                random_text(rng, words),
                _inner(bubble, 4),
                y + 4 + i * pitch,
                theme.face,
                ink,
                2,
            )
        y = bubble[3] + whole(rng, 3, 12)


def _cards(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    """Cards with a picture, a name and a price: shops, news, galleries."""
    left, top, right, bottom = box
    gap, wide = whole(rng, 3, 12), whole(rng, 50, 120)
    high = round(wide * between(rng, 0.8, 1.4))
    for y in range(top + gap, bottom - 20, high + gap):
        for x in range(left + gap, right - 20, wide + gap):
            card = (x, y, min(x + wide, right - 2), min(y + high, bottom - 2))
            panel(screen, card, theme.raised, border=theme.line, radius=theme.radius)
            middle = y + (card[3] - y) * 3 // 5
            _picture(screen, (x + 1, y + 1, card[2] - 1, middle), theme, rng)
            _write(screen, random_text(rng, 3), card, middle + 2, theme.face, theme.ink, 4)
            _write(
                screen,
                random_number(rng),
                card,
                middle + theme.pitch + 2,
                theme.small,
                theme.faint,
                4,
            )


def _picture(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    """What stands for a picture: smooth noise, hills below a sky, or flat shapes."""
    left, top, right, bottom = (max(side, 0) for side in box)
    part = screen[top:bottom, left:right]
    high, wide = part.shape[:2]
    if high < 4 or wide < 4:
        return
    way = rng.random()
    if way < 0.4:
        part[:] = coloured(
            smooth_field(high, wide, rng, max(high, wide) / 3), random_palette(rng, 4)
        )
    elif way < 0.7:
        ramp = np.linspace(0, 1, high, dtype=np.float32)[:, None].repeat(wide, 1)
        part[:] = coloured(ramp, random_palette(rng, 2))
        for i in range(3):
            x = np.linspace(0, wide, 24)
            waves = np.sin(x / wide * between(rng, 3, 12) + between(rng, 0, 6))
            y = high * (0.4 + 0.2 * i) + waves * high * 0.1
            hill = np.concatenate([np.stack([x, y], 1), ((wide, high), (0, high))])
            fill(part, hill, random_colour(rng))
    else:
        panel(screen, (left, top, right, bottom), random_colour(rng))
        for _ in range(3):
            centre = between(rng, 0, wide), between(rng, 0, high)
            fill(part, random_blob(rng, *centre, high * between(rng, 0.1, 0.5)), random_colour(rng))


def _chart(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    """A chart: lines, bars, points, a pie or a map of heat, with axes, grid and key."""
    left, top, right, bottom = box
    plot = (
        left + whole(rng, 10, 34),
        top + whole(rng, 6, 24),
        right - 8,
        bottom - whole(rng, 8, 24),
    )
    wide, high = plot[2] - plot[0], plot[3] - plot[1]
    if wide < 16 or high < 16:
        return
    _write(screen, random_text(rng, 3), box, top + 2, theme.small, theme.ink, (right - left) // 3)
    columns, rows = whole(rng, 3, 10), whole(rng, 3, 8)
    if chance(rng, 0.6):
        for i in range(rows + 1):
            y = plot[1] + high * i // rows
            panel(screen, (plot[0], y, plot[2], y + 1), theme.line)
            _write(screen, f"{(rows - i) * 5}", box, y - 6, theme.small, theme.faint, 2)
    if chance(rng, 0.4):
        for i in range(columns + 1):
            x = plot[0] + wide * i // columns
            panel(screen, (x, plot[1], x + 1, plot[3]), theme.line)
    pick(rng, (_lines, _lines, _bars, _points, _pie, _heat))(screen, plot, theme, rng)
    panel(screen, (plot[0], plot[1], plot[0] + 1, plot[3]), theme.ink)
    panel(screen, (plot[0], plot[3], plot[2], plot[3] + 1), theme.ink)
    for i in range(columns):
        x = wide * i // columns + plot[0] - left
        _write(screen, f"{i}", box, plot[3] + 2, theme.small, theme.faint, x)
    if chance(rng, 0.4):
        for i, colour in enumerate(theme.accents[:3]):
            y, x = plot[1] + 4 + 12 * i, plot[2] - min(60, wide // 2)
            panel(screen, (x, y + 2, x + 10, y + 10), colour)
            _write(
                screen,
                random_word(rng),
                (x, y - 4, right, bottom),
                y - 2,
                theme.small,
                theme.ink,
                14,
            )


def _lines(screen: ByteImage, plot: Box, theme: Theme, rng: np.random.Generator) -> None:
    count = whole(rng, 6, 60)
    smooth, wide = chance(rng, 0.8), whole(rng, 1, 3)
    x = np.linspace(plot[0], plot[2], count)
    for colour in theme.accents[: whole(rng, 1, 5)]:
        values = stretched(rng.normal(0, 1, count).cumsum()) * between(rng, 0.3, 1)
        y = plot[3] - values * (plot[3] - plot[1])
        curve = np.stack([x, y], 1)
        if chance(rng, 0.15):
            fill(screen, np.concatenate([curve, ((plot[2], plot[3]), (plot[0], plot[3]))]), colour)
        trace(screen, curve, colour, wide, smooth=smooth)
        if chance(rng, 0.3):
            for px, py in curve:
                disc(screen, px, py, wide + 1, colour, smooth=smooth)


def _bars(screen: ByteImage, plot: Box, theme: Theme, rng: np.random.Generator) -> None:
    count = whole(rng, 4, 30)
    step = (plot[2] - plot[0]) / count
    many = chance(rng, 0.4)
    border = theme.ink if chance(rng, 0.2) else None
    for i, share in enumerate(rng.random(count)):
        x = plot[0] + round(i * step)
        box = (
            x,
            plot[3] - round(share * (plot[3] - plot[1])),
            x + max(round(step * 0.8), 1),
            plot[3],
        )
        panel(screen, box, theme.accents[i % 6 if many else 0], border=border)


def _points(screen: ByteImage, plot: Box, theme: Theme, rng: np.random.Generator) -> None:
    radius, smooth = between(rng, 0.8, 4), chance(rng, 0.8)
    size = np.array((plot[2] - plot[0], plot[3] - plot[1]))
    for colour in theme.accents[: whole(rng, 1, 3)]:
        middle, wide = rng.uniform(0.2, 0.8, 2), between(rng, 0.05, 0.25)
        for place in np.clip(rng.normal(middle, wide, (whole(rng, 10, 60), 2)), 0, 1) * size:
            disc(screen, plot[0] + place[0], plot[1] + place[1], radius, colour, smooth=smooth)


def _pie(screen: ByteImage, plot: Box, theme: Theme, rng: np.random.Generator) -> None:
    x, y = (plot[0] + plot[2]) / 2, (plot[1] + plot[3]) / 2
    radius = min(plot[2] - plot[0], plot[3] - plot[1]) / 2
    edges = np.sort(rng.uniform(0, 2 * math.pi, whole(rng, 2, 6)))
    for i, (start, stop) in enumerate(
        zip(edges, [*edges[1:], edges[0] + 2 * math.pi], strict=True)
    ):
        angles = np.linspace(start, stop, 20)
        arc = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
        fill(screen, np.concatenate([arc, [(x, y)]]), theme.accents[i])
    if chance(rng, 0.4):
        disc(screen, x, y, radius * between(rng, 0.4, 0.7), theme.back)


def _heat(screen: ByteImage, plot: Box, theme: Theme, rng: np.random.Generator) -> None:
    rows, columns = whole(rng, 3, 16), whole(rng, 3, 16)
    field = rng.random((rows, columns), dtype=np.float32)
    size = (plot[2] - plot[0], plot[3] - plot[1])
    cells = cv2.resize(coloured(field, theme.accents[:3]), size, interpolation=cv2.INTER_NEAREST)
    part = screen[max(plot[1], 0) : plot[3], max(plot[0], 0) : plot[2]]
    part[:] = np.asarray(cells)[: part.shape[0], : part.shape[1]]


def _pointer(screen: ByteImage, rng: np.random.Generator) -> None:
    """The arrow of a mouse."""
    place = rng.random(2) * (screen.shape[1], screen.shape[0])
    arrow = np.array(((0, 0), (0, 16), (4, 12), (7, 18), (9, 17), (6, 11), (11, 11))) + place
    fill(screen, arrow, BLACK)
    trace(screen, arrow, WHITE, closed=True)


def _outlined(screen: ByteImage, box: Box, theme: Theme, rng: np.random.Generator) -> None:
    """Nothing but flat boxes within boxes: frames, empty areas, placeholders."""
    panel(screen, box, pick(rng, (theme.back, theme.raised)))
    for _ in range(whole(rng, 1, 6)):
        x = sorted((whole(rng, box[0], box[2]), whole(rng, box[0], box[2])))
        y = sorted((whole(rng, box[1], box[3]), whole(rng, box[1], box[3])))
        inner = (x[0], y[0], x[1] + 2, y[1] + 2)
        if chance(rng, 0.3):
            trace(screen, rounded_box(inner, theme.radius), theme.accents[0], closed=True)
        else:
            colour = pick(rng, (None, theme.raised, theme.accents[0]))
            panel(screen, inner, colour, border=theme.line, radius=theme.radius)


_CONTROLS: Final[tuple[_Draw, ...]] = (_button, _button, _field, _tick, _slider)
_CONTENTS: Final[tuple[_Draw, ...]] = (
    *(_paragraph, _paragraph, _code, _code, _controls, _controls, _icons, _list, _list),
    *(_sheet, _chat, _cards, _chart, _chart, _chart, _outlined),
)
