"""Letters: typefaces that are always there or invented, and words to write with them."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.photos.drawings.canvas import (
    Colour,
    Mask,
    Points,
    between,
    chance,
    pick,
    spline,
    stamp,
    whole,
)

_LINE_HEIGHT: Final = 1.4  # of faces without one of their own, in sizes
_BASELINE: Final = 1.05
_BITMAP_SIZE: Final = 11  # pixels, of Pillow's font of pixels

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_VOCABULARY_TEXT: Final = """
    the of and a to in is you that it he was for on are as with his they I at be this have from or
    one had by word but not what all were we when your can said there use an each which she do how
    their if will up other about out many then them these so some her would make like him into
    time has look two more write go see number no way could people my than first water been call
    who oil its now find long down day did get come made may part over new sound take only little
    work know place year live me back give most very after thing our just name good sentence man
    think say great where help through much before line right too mean old any same tell boy
    follow came want show also around form three small set put end does another well large must
    big even such because turn here why ask went men read need land different home us move try
    kind hand picture again change off play spell air away animal house point page letter mother
    answer found study still learn should world government quickly jumped nicht und der die das
    von avec pour dans une les est para como pero todo sono della tanto molto
"""
_VOCABULARY: Final = tuple(_VOCABULARY_TEXT.split())
_KEYWORDS_TEXT: Final = """
    def class return if else for while import from in not and None True self const let var
    function int float void static public new try catch struct fn match use SELECT WHERE
"""
_KEYWORDS: Final = tuple(_KEYWORDS_TEXT.split())
_MARKS: Final = (*",.;:!?", *([""] * 9))


@dataclass(frozen=True)
class Face:
    """A typeface in one size.

    Args:
        family: Where its shapes come from: outline, strokes, bitmap or invented.
        size: Height of a line of letters in pixels, about.
        weight: Width in pixels that is added to each stroke.
        slant: Lean to the right, in widths per height.
        stretch: Width in the face's own widths.
        is_smooth: Edges are anti-aliased.
        is_subpixel: Each colour channel has its own third of a pixel, as on flat screens.
        variant: Number of the face of OpenCV, for strokes.
        glyphs: Cover of each letter, for invented ones.
    """

    family: str
    size: int
    weight: float = 0.0
    slant: float = 0.0
    stretch: float = 1.0
    is_smooth: bool = True
    is_subpixel: bool = False
    variant: int = 0
    glyphs: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict, repr=False)

    def mask(self, text: str) -> Mask:
        """Write a line: its cover, as high for every text."""
        if self.family == "outline" and self.is_subpixel:
            return self._shaped(text, 3)
        return self._shaped(text, 1)

    @property
    def height(self) -> int:
        """Height of a line in pixels."""
        return int(self.mask("x").shape[0])

    def width(self, text: str) -> int:
        """Width of a line in pixels."""
        return int(self.mask(text).shape[1])

    def _shaped(self, text: str, parts: int) -> Mask:
        cover = self._plain(text, parts)
        if self.stretch != 1:
            size = (max(round(cover.shape[1] * self.stretch), 1), cover.shape[0])
            cover = np.asarray(cv2.resize(cover, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        if self.slant:
            height, width = cover.shape
            lean = self.slant * parts
            matrix = np.array([[1, -lean, lean * height * 0.8], [0, 1, 0]])
            size = (width + math.ceil(abs(lean) * height), height)
            cover = np.asarray(cv2.warpAffine(cover, matrix, size), np.uint8)
        if parts == 3:
            soft = cv2.blur(cover, (3, 1))
            columns = soft.shape[1] // 3
            return np.asarray(soft[:, : columns * 3].reshape(-1, columns, 3), np.uint8)
        if not self.is_smooth:
            cover = np.where(cover > 110, 255, 0).astype(np.uint8)
        return cover[..., None]

    def _plain(self, text: str, parts: int) -> npt.NDArray[np.uint8]:
        if self.family == "outline":
            return _outlines(text, self.size, self.weight, parts)
        if self.family == "strokes":
            return _strokes(text, self)
        if self.family == "bitmap":
            return _bitmap(text, max(round(self.size / _BITMAP_SIZE), 1))
        gap = np.zeros(
            (next(iter(self.glyphs.values())).shape[0], max(self.size // 3, 2)), np.uint8
        )
        row = [self.glyphs.get(letter.lower(), gap) for letter in text]
        return np.hstack(row) if row else gap


@functools.lru_cache(maxsize=128)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, laid out by Pillow itself: libraries for that differ between machines."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)


@functools.lru_cache(maxsize=1)
def _bitmap_font() -> ImageFont.ImageFont:
    return ImageFont.load_default_imagefont()


@functools.lru_cache(maxsize=4096)
def _outline(
    letter: str, size: int, weight: float, parts: int
) -> tuple[npt.NDArray[np.uint8], float, int]:
    """A letter of Pillow's font, the way to the next one, and the columns left of its start."""
    font, bold = _font(size * parts), weight * parts
    ascent, descent = font.getmetrics()
    step, margin = font.getlength(letter), math.ceil(bold) + size * parts // 4
    image = Image.new("L", (math.ceil(step) + 2 * margin, ascent + descent))
    ImageDraw.Draw(image).text((margin, 0), letter, 255, font, stroke_width=bold)
    return np.asarray(image), step, margin


def _outlines(text: str, size: int, weight: float, parts: int) -> npt.NDArray[np.uint8]:
    """Write with Pillow's font, ``parts`` times wider than high; letters are drawn once."""
    letters = [_outline(letter, size, weight, parts) for letter in text or " "]
    first, start = letters[0], math.ceil(weight * parts)
    at, ends = float(first[2]), [first[2]]
    for _, step, _ in letters:
        at += step
        ends.append(round(at))
    line = np.zeros((first[0].shape[0], ends[-1] + first[2]), np.uint8)
    for (cover, _, margin), end in zip(letters, ends[:-1], strict=True):
        part = line[:, end - margin : end - margin + cover.shape[1]]
        np.maximum(part, cover[:, : part.shape[1]], out=part)
    line = line[:, first[2] - start : ends[-1] + start + 1]
    if parts == 1:
        return line
    size_on_page = (line.shape[1], max(line.shape[0] // parts, 1))
    return np.asarray(cv2.resize(line, size_on_page, interpolation=cv2.INTER_AREA), np.uint8)


def _strokes(text: str, face: Face) -> npt.NDArray[np.uint8]:
    """Write with a font of OpenCV."""
    text = text.encode("ascii", "replace").decode()
    scale, wide = face.size / 26, max(round(1 + face.weight), 1)
    (width, _), _ = cv2.getTextSize(text, face.variant, scale, wide)
    cover = np.zeros((round(_LINE_HEIGHT * face.size), width + wide + 1), np.uint8)
    place = (0, round(_BASELINE * face.size))
    cv2.putText(cover, text, place, face.variant, scale, 255, wide, cv2.LINE_AA)
    return cover


def _bitmap(text: str, factor: int) -> npt.NDArray[np.uint8]:
    """Write with Pillow's font of pixels, each ``factor`` pixels wide."""
    font = _bitmap_font()
    text = text.encode("ascii", "replace").decode() or " "
    width, height = (math.ceil(edge) for edge in font.getbbox(text)[2:])
    image = Image.new("1", (max(width, 1), max(height, 1)))
    ImageDraw.Draw(image).text((0, 0), text, 1, font)
    cover = np.asarray(image, np.uint8) * np.uint8(255)
    return cover.repeat(factor, 0).repeat(factor, 1)


def random_face(rng: np.random.Generator, size: int, *, is_screen: bool = False) -> Face:
    """Draw a typeface.

    Args:
        rng: Source of every draw.
        size: Height of letters in pixels.
        is_screen: Only faces that programs show, upright and mostly smooth.
    """
    family = rng.random()
    is_smooth = chance(rng, 0.9 if is_screen else 0.75)
    if family < 0.12 and size <= 30:
        return Face("bitmap", size)
    if family < (0.3 if is_screen else 0.35):
        weight = pick(rng, (0, 0, 0.06 * size)) if size > 12 else 0
        return Face("strokes", size, weight, is_smooth=is_smooth, variant=whole(rng, 0, 7))
    if family < (0.34 if is_screen else 0.52):
        return Face("invented", size, is_smooth=is_smooth, glyphs=_invented(rng, size))
    face = Face("outline", size, is_smooth=is_smooth)
    if size >= 12 and chance(rng, 0.35):  # smaller bold letters would run together
        face = replace(face, weight=max(round(size * between(rng, 0.015, 0.055) * 2), 1) / 2)
    if chance(rng, 0.3):
        face = replace(face, stretch=between(rng, 0.7, 1.3))
    if chance(rng, 0.05 if is_screen else 0.25):
        face = replace(face, slant=between(rng, 0.1, 0.35))
    if is_smooth and chance(rng, 0.35 if is_screen else 0.1):
        face = replace(face, is_subpixel=True)
    return face


def _invented(rng: np.random.Generator, size: int) -> dict[str, npt.NDArray[np.uint8]]:
    """Invent a script: letters of stems, bars, bowls and serifs, or dense ones in squares."""
    is_dense = chance(rng, 0.35)
    style = _Style(
        stem=between(rng, 0.06, 0.16) * (0.6 if is_dense else 1),
        bar=between(rng, 0.04, 0.12) * (0.7 if is_dense else 1),
        serif=pick(rng, (0.0, between(rng, 0.05, 0.12))),
        slant=pick(rng, (0.0, 0.0, between(rng, 0.1, 0.3))),
        width=between(rng, 0.35, 0.65),
    )
    draw = _dense_letter if is_dense else _letter
    marks = {mark: _reduced(_mark(mark, style), size) for mark in ".,-"}
    letters = {letter: _reduced(draw(rng, style), size) for letter in _LETTERS + "0123456789"}
    return letters | marks


@dataclass(frozen=True)
class _Style:
    """Measures of an invented script, in sizes."""

    stem: float
    bar: float
    serif: float
    slant: float
    width: float


_UNIT: Final = 64  # pixels that a size has while an invented letter is drawn


def _blank(width: float) -> npt.NDArray[np.uint8]:
    return np.zeros((round(_LINE_HEIGHT * _UNIT), round((width + 0.3) * _UNIT)), np.uint8)


def _segment(
    cover: npt.NDArray[np.uint8],
    start: tuple[float, float],
    stop: tuple[float, float],
    wide: float,
    slant: float = 0,
) -> None:
    """Draw a stroke; places are in sizes from the letter's left end of the baseline, y upwards."""
    ends = [
        (round((0.12 + x + slant * y) * _UNIT), round((_BASELINE - y) * _UNIT))
        for x, y in (start, stop)
    ]
    cv2.line(cover, ends[0], ends[1], 255, max(round(wide * _UNIT), 1))


def _letter(rng: np.random.Generator, style: _Style) -> npt.NDArray[np.uint8]:
    width = style.width * pick(rng, (0.25, 0.8, 1.0, 1.0, 1.4))
    cover = _blank(width)
    levels = (0.0, 0.25, 0.5, 0.75)
    for x in (0.0, width) if chance(rng, 0.5) else (pick(rng, (0.0, width, width / 2)),):
        low = pick(rng, (0.0, 0.0, 0.0, -0.25))
        high = pick(rng, (0.5, 0.5, 0.75))
        _segment(cover, (x, low), (x, high), style.stem, style.slant)
        for y in (low, high):
            reach = style.serif + style.stem / 2
            if style.serif:
                _segment(cover, (x - reach, y), (x + reach, y), style.bar, style.slant)
    for _ in range(whole(rng, 0, 2)):
        y = pick(rng, levels[:3])
        _segment(cover, (0, y), (width, y), style.bar, style.slant)
    if chance(rng, 0.5):  # a bowl
        y, high = 0.25, pick(rng, (0.25, 0.25, 0.12))
        centre = (round((0.12 + width / 2 + style.slant * y) * _UNIT), round(0.8 * _UNIT))
        axes = (max(round(width / 2 * _UNIT), 1), round(high * _UNIT))
        start = pick(rng, (0, 0, 40, 180, 90))
        wide = max(round(style.stem * _UNIT), 1)
        cv2.ellipse(cover, centre, axes, 0, start, start + pick(rng, (360, 280, 180)), 255, wide)
    if chance(rng, 0.2):
        _segment(cover, (0, pick(rng, levels)), (width, pick(rng, levels)), style.stem, style.slant)
    return cover


def _dense_letter(rng: np.random.Generator, style: _Style) -> npt.NDArray[np.uint8]:
    cover = _blank(0.8)
    for _ in range(whole(rng, 2, 4)):
        y, x = whole(rng, 0, 5) * 0.17 - 0.1, whole(rng, 0, 2) * 0.2
        _segment(cover, (x, y), (x + pick(rng, (0.3, 0.4, 0.8)), y), style.bar)
    for _ in range(whole(rng, 1, 3)):
        x, y = whole(rng, 0, 4) * 0.2, whole(rng, 0, 3) * 0.17 - 0.1
        _segment(cover, (x, y), (x, y + pick(rng, (0.3, 0.5, 0.85))), style.stem)
    for _ in range(whole(rng, 0, 2)):
        x, y = between(rng, 0.1, 0.7), between(rng, 0.1, 0.7)
        lean = pick(rng, (-0.3, 0.3))
        _segment(cover, (x, y), (x + lean, y - 0.35), style.stem)
    return cover


def _mark(mark: str, style: _Style) -> npt.NDArray[np.uint8]:
    cover = _blank(style.stem)
    if mark == "-":
        _segment(cover, (0, 0.25), (0.2, 0.25), style.bar)
    else:
        _segment(cover, (0, 0), (0, -0.1 if mark == "," else 0), style.stem * 1.2)
    return cover


def _reduced(cover: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    height, width = (max(round(side * size / _UNIT), 1) for side in cover.shape)
    small = cv2.resize(cover, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(np.minimum(small.astype(np.uint16) * 5 // 4, 255), np.uint8)


def random_word(rng: np.random.Generator) -> str:
    """Draw a word: known or of random letters, or a number; in small, capital or mixed letters."""
    way = rng.random()
    if way < 0.65:
        word = pick(rng, _VOCABULARY)
    elif way < 0.85:
        word = "".join(_LETTERS[i] for i in rng.integers(0, 26, whole(rng, 2, 11)))
    else:
        word = random_number(rng)
    case = rng.random()
    if case < 0.12:
        word = word.capitalize()
    elif case < 0.16:
        word = word.upper()
    return word


def random_number(rng: np.random.Generator) -> str:
    """Draw a number as it is written: a price, a date, a share, a time."""
    a, b, c = (int(n) for n in rng.integers(0, [10000, 100, 60]))
    date = f"2{a % 1000:03d}-{c % 12 + 1:02d}-{b % 28 + 1:02d}"
    amounts = (f"{a}", f"{a}.{b:02d}", f"{a:,}.{b:02d}", f"${a}.{b:02d}", f"-{b}.{c}")
    forms = (*amounts, date, f"{b}%", f"{c}:{b % 60:02d}")
    return pick(rng, forms)


def random_text(rng: np.random.Generator, count: int) -> str:
    """Draw some words with marks between them."""
    return " ".join(random_word(rng) + pick(rng, _MARKS) for _ in range(count))


def random_code(rng: np.random.Generator, count: int) -> list[tuple[str, int]]:
    """Draw the parts of a line of a program, each with the number of its colour, 0 to 4."""
    parts: list[tuple[str, int]] = []
    for _ in range(count):
        way = whole(rng, 0, 5)
        if way == 0:
            parts.append((pick(rng, _KEYWORDS) + " ", 1))
        elif way == 1:
            parts.append((f'"{random_word(rng)}"', 2))
        elif way == 2:
            parts.append((str(whole(rng, 0, 999)), 3))
        elif way == 3:
            parts.append(
                (pick(rng, (" = ", "(", "): ", " + ", ", ", ".", " {", "[i] ", " => ")), 0)
            )
        else:
            parts.append((f"{pick(rng, _VOCABULARY)}_{pick(rng, _VOCABULARY)}", pick(rng, (0, 4))))
    if chance(rng, 0.1):
        parts.append(("  # " + random_text(rng, 4), 5))
    return parts


def write(picture: ByteImage, text: str, left: int, top: int, face: Face, colour: Colour) -> int:
    """Write a line and return the place where it ends, in pixels from the left."""
    if not text or not -face.size * 3 < top < picture.shape[0] or left >= picture.shape[1]:
        return left
    cover = face.mask(text)
    stamp(picture, cover, left, top, colour)
    return left + int(cover.shape[1])


def handwriting(rng: np.random.Generator, x: float, y: float, size: float, count: int) -> Points:
    """Draw a word by hand: loops and arches along a line, ``count`` letters wide, one stroke."""
    controls = [(x, y)]
    pitch = size * between(rng, 0.35, 0.6)
    lean = between(rng, 0, 0.4)
    for _ in range(count):
        high = size * pick(rng, (0.5, 0.5, 0.5, 1.0))
        low = size * pick(rng, (0, 0, 0, 0, 0.45))
        back = pitch * between(rng, 0, 0.6)
        controls += [
            (x + pitch * 0.5 + lean * high, y - high * between(rng, 0.8, 1)),
            (x + pitch * 0.5 - back + lean * high * 0.5, y - high * 0.5),
            (x + pitch * 0.6 - lean * low, y + low),
        ]
        x += pitch * between(rng, 0.8, 1.2)
    return spline(np.array(controls), 6)
