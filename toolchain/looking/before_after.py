"""A sheet of many small pictures: clean, as it came, and restored, with a line about each."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.toolchain.looking.pictures import scaled_down

SIDE: Final = 126
"""Longest side of a picture on the sheet, in pixels."""

_HEADS: Final = ("clean", "as it came", "restored")
_ACROSS: Final = 2  # entries beside each other
_GAP, _MARGIN, _BETWEEN = 4, 16, 24  # pixels
_TEXT: Final = 13  # pixels
_BACKGROUND: Final = (243, 243, 243)
_INK: Final = (32, 32, 32)
_FAINT: Final = (115, 115, 115)


class BeforeAfter(NamedTuple):
    """One entry of the sheet.

    Attributes:
        title: What it shows; written above.
        caption: What came of it; written below.
        clean: Clean picture, RGB uint8 (H, W, 3).
        before: Picture as it came, likewise.
        after: Restored picture, likewise.
    """

    title: str
    caption: str
    clean: ByteImage
    before: ByteImage
    after: ByteImage


def draw_before_after(entries: Sequence[BeforeAfter]) -> Image.Image:
    """Draw all entries, two beside each other; smaller pictures keep their size."""
    line = _TEXT + 5
    width = 3 * SIDE + 2 * _GAP
    height = SIDE + 2 * line + _BETWEEN
    rows = -(-len(entries) // _ACROSS)
    sheet = Image.new(
        "RGB",
        (2 * _MARGIN + _ACROSS * width + (_ACROSS - 1) * _BETWEEN, 2 * _MARGIN + rows * height),
        _BACKGROUND,
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    for number, entry in enumerate(entries):
        row, column = divmod(number, _ACROSS)
        left, top = _MARGIN + column * (width + _BETWEEN), _MARGIN + row * height
        heads = f"   ({', '.join(_HEADS)})" if number == 0 else ""
        draw.text((left, top), _fitting(draw, entry.title + heads, font, width), _INK, font)
        for place, picture in enumerate((entry.clean, entry.before, entry.after)):
            sheet.paste(_small(picture), (left + place * (SIDE + _GAP), top + line))
        caption = _fitting(draw, entry.caption, font, width)
        draw.text((left, top + line + SIDE + 3), caption, _FAINT, font)
    return sheet


def _small(picture: ByteImage) -> Image.Image:
    photo = Image.fromarray(picture)
    factor = SIDE / max(photo.size)
    return photo if factor >= 1.0 else scaled_down(photo, factor)


def _fitting(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> str:
    """The text, with its end left out where it is too long."""
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(f"{text}...", font) > width:
        text = text[:-1]
    return f"{text.rstrip()}..."
