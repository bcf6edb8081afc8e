"""The inspection picture: every image on the way, and what the agent thought of each."""

import math
from collections.abc import Callable
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from restoration_toolchain.data.images import FloatImage, to_uint8
from restoration_toolchain.toolchain.looking.pictures import scaled_down
from restoration_toolchain.toolchain.looking.story import Scene, scenes, value_axis
from restoration_toolchain.toolchain.restoring.photo_quality import rounded
from restoration_toolchain.toolchain.restoring.restoration import Restoration, Step

_Colour = tuple[int, int, int]
_Places = Callable[[float], int]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# A neutral light gray: a colour beside a photo changes how the photo's colours look.
_BACKGROUND: Final[_Colour] = (243, 243, 243)
_INK: Final[_Colour] = (32, 32, 32)
_FAINT: Final[_Colour] = (115, 115, 115)
_FRAME: Final[_Colour] = (205, 205, 205)
_BAR: Final[_Colour] = (178, 182, 188)
_CHOSEN: Final[_Colour] = (28, 99, 173)

_PANEL: Final = 378  # pixels, width of a column: six times an agent's view
_MAX_ASPECT: Final = 1.4  # tallest photo area over its width
_MARGIN: Final = 32
_GAP: Final = 28
_TITLE_SIZE, _TEXT_SIZE, _SMALL_SIZE = 24, 17, 14  # pixels
_BAR_PITCH: Final = 21
_VALUE_WIDTH: Final = 52


def draw_sheet(
    restoration: Restoration, *, gt: FloatImage | None = None, caption: str = ""
) -> Image.Image:
    """Draw the input, the image after every tool, and what the agent expected at each of them.

    Below an image stand the values that the agent gave to the actions, as bars in dB. The chosen
    one is highlighted, and the next image is its result.

    Args:
        restoration: Restoration made with ``keep_frames=True``.
        gt: The clean photo, shape (H, W, 3), float32, range [0, 1]; drawn last.
        caption: Remark on the input, such as how it was degraded.

    Raises:
        ValueError: The restoration has no frames.
    """
    columns = scenes(restoration, gt)
    photos = [_fitted(column.image) for column in columns]
    photo_height = max(photo.height for photo in photos)
    n_bars = max(len(step.action_values) for step in restoration.steps)

    top = _MARGIN + _TITLE_SIZE + 12 + (_TEXT_SIZE + 10) * bool(caption) + 12
    n_lines = 2 + (restoration.score is not None) + (restoration.quality is not None)
    bars_top = top + photo_height + n_lines * (_TEXT_SIZE + 8) + 56
    width = 2 * _MARGIN + len(columns) * _PANEL + (len(columns) - 1) * _GAP
    sheet = Image.new("RGB", (width, bars_top + n_bars * _BAR_PITCH + _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _draw_heading(draw, restoration, caption)
    place = _places(restoration)
    for index, (column, photo) in enumerate(zip(columns, photos, strict=True)):
        left = _MARGIN + index * (_PANEL + _GAP)
        _draw_photo(sheet, photo, left, top, photo_height)
        _draw_captions(draw, column, left, top + photo_height + 14)
        if column.decision is not None:
            unit = restoration.provenance.unit
            _draw_values(draw, column.decision, left, bars_top, place, unit)
        else:
            _draw_wrapped(draw, column.note, left, bars_top - 30)
    return sheet


def _fitted(image: FloatImage) -> Image.Image:
    """Fill the column: shrink large photos smoothly, enlarge small ones to visible pixels."""
    photo = Image.fromarray(to_uint8(image))
    factor = min(_PANEL / photo.width, _PANEL * _MAX_ASPECT / photo.height)
    if factor >= 1.0:
        whole = math.floor(factor)  # all pixels of one size
        return photo.resize((photo.width * whole, photo.height * whole), Image.Resampling.NEAREST)
    return scaled_down(photo, factor)


def _draw_heading(draw: ImageDraw.ImageDraw, restoration: Restoration, caption: str) -> None:
    sequence = " > ".join(restoration.sequence) or "left as it is"
    draw.text((_MARGIN, _MARGIN), sequence, _INK, _font(_TITLE_SIZE))
    if caption:
        place = (_MARGIN, _MARGIN + _TITLE_SIZE + 12)
        draw.text(place, caption, _FAINT, _font(_TEXT_SIZE))


def _draw_photo(sheet: Image.Image, photo: Image.Image, left: int, top: int, height: int) -> None:
    y = top + height - photo.height  # down to the captions, should heights differ
    frame = (left - 1, y - 1, left + photo.width, y + photo.height)
    ImageDraw.Draw(sheet).rectangle(frame, outline=_FRAME)
    sheet.paste(photo, (left, y))


def _draw_captions(draw: ImageDraw.ImageDraw, column: Scene, left: int, top: int) -> None:
    draw.text((left, top), column.title, _INK, _font(_TEXT_SIZE + 2))
    top += _TEXT_SIZE + 9
    draw.text((left, top), column.subtitle, _FAINT, _font(_TEXT_SIZE))
    if column.score is not None:
        top += _TEXT_SIZE + 8
        ssim = "" if column.score.ssim is None else f"   SSIM {column.score.ssim:.3f}"
        score = f"PSNR {column.score.psnr:.2f} dB{ssim}"
        draw.text((left, top), score, _INK, _font(_TEXT_SIZE))
    if column.quality is not None:
        top += _TEXT_SIZE + 8
        draw.text((left, top), rounded(column.quality), _INK, _font(_TEXT_SIZE))


def _places(restoration: Restoration) -> _Places:
    """From a value to its place in every column, in pixels: right of the longest name."""
    axis, font = value_axis(restoration.steps), _font(_SMALL_SIZE)
    names = max(font.getlength(name) for step in restoration.steps for name in step.action_values)
    start = min(round(names) + 12, _PANEL // 2)
    return lambda value: start + round(axis.share(value) * (_PANEL - start - _VALUE_WIDTH))


def _draw_values(
    draw: ImageDraw.ImageDraw, step: Step, left: int, top: int, place: _Places, unit: str
) -> None:
    title = "what the agent expects of each action" + (f", in {unit}" if unit else "")
    draw.text((left, top - 30), title, _FAINT, _font(_SMALL_SIZE))
    font, zero = _font(_SMALL_SIZE), left + place(0.0)
    for row, (name, value) in enumerate(step.action_values.items()):
        is_chosen, y = name == step.tool, top + row * _BAR_PITCH
        middle, ink = y + _BAR_PITCH // 2, _CHOSEN if is_chosen else _INK
        draw.text((left, middle), name, ink, font, anchor="lm")
        start, stop = sorted((zero, left + place(value)))
        bar = (start, y + 4, max(stop, start + 1), y + _BAR_PITCH - 4)
        draw.rectangle(bar, fill=_CHOSEN if is_chosen else _BAR)
        draw.text((left + _PANEL, middle), f"{value:+.2f}", ink, font, anchor="rm")
    bottom = top + len(step.action_values) * _BAR_PITCH
    draw.line((zero, top, zero, bottom), fill=_FAINT)


def _draw_wrapped(draw: ImageDraw.ImageDraw, text: str, left: int, top: int) -> None:
    font, line = _font(_TEXT_SIZE), ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if draw.textlength(longer, font) > _PANEL:
            draw.text((left, top), line, _FAINT, font)
            top, longer = top + _TEXT_SIZE + 7, word
        line = longer
    draw.text((left, top), line, _FAINT, font)


def _font(size: int) -> _Font:
    """Load Pillow's own font, which is always there."""
    return ImageFont.load_default(size)
