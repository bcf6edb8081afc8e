"""The inspection picture: every image on the way, and what the agent thought of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data.images import FloatImage, to_uint8
from toolchain.restoration import BICUBIC, Restoration, Score, Step, explain_end

_Colour = tuple[int, int, int]
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


@dataclass(frozen=True, slots=True)
class _Column:
    """An image, its captions, and the decision that was taken on seeing it."""

    image: FloatImage
    title: str
    subtitle: str
    score: Score | None
    decision: Step | None = None
    note: str = ""


def draw_sheet(
    restoration: Restoration, *, gt: FloatImage | None = None, caption: str = ""
) -> Image.Image:
    """Draw the input, the image after every tool, and the agent's expectation at each of them.

    Below an image are the action values that the agent saw in it, as bars in dB with the chosen
    action highlighted; the next image is what came of the choice.

    Args:
        restoration: Made with ``keep_frames=True``.
        gt: The clean photo, shape (H, W, 3), float32, range [0, 1]; drawn last.
        caption: What is known about the input, such as how it was degraded.

    Returns:
        An RGB picture.

    Raises:
        ValueError: The restoration has no frames.
    """
    if not restoration.frames:
        raise ValueError("a sheet needs a restoration made with keep_frames=True")
    columns = _columns(restoration, gt)
    photos = [_fitted(column.image) for column in columns]
    photo_height = max(photo.height for photo in photos)
    n_bars = max(len(step.action_values) for step in restoration.steps)

    top = _MARGIN + _TITLE_SIZE + 12 + (_TEXT_SIZE + 10) * bool(caption) + 12
    n_lines = 2 if restoration.score is None else 3
    bars_top = top + photo_height + n_lines * (_TEXT_SIZE + 8) + 56
    width = 2 * _MARGIN + len(columns) * _PANEL + (len(columns) - 1) * _GAP
    sheet = Image.new("RGB", (width, bars_top + n_bars * _BAR_PITCH + _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _draw_heading(draw, restoration, caption)
    scale = _bar_scale(restoration.steps)
    for index, (column, photo) in enumerate(zip(columns, photos, strict=True)):
        left = _MARGIN + index * (_PANEL + _GAP)
        _draw_photo(sheet, photo, left, top, photo_height)
        _draw_captions(draw, column, left, top + photo_height + 14)
        if column.decision is not None:
            unit = restoration.provenance.unit
            _draw_values(draw, column.decision, left, bars_top, scale, unit)
        else:
            _draw_wrapped(draw, column.note, left, bars_top - 30)
    return sheet


def _columns(restoration: Restoration, gt: FloatImage | None) -> list[_Column]:
    """One column per frame; the decision under a frame is the one taken on seeing it."""
    steps = restoration.steps
    tools = [step for step in steps if not step.is_stop]
    titles = ["Input", *(f"{i}. {step.tool}" for i, step in enumerate(tools, start=1))]
    subtitles = ["before any tool", *(f"treats {step.treats}" for step in tools)]
    scores = [restoration.score, *(step.score for step in tools)]
    decisions = [*steps, None][: len(restoration.frames)]
    note = explain_end(restoration)
    columns = [
        _Column(image, title, subtitle, score, decision, "" if decision else note)
        for image, title, subtitle, score, decision in zip(
            restoration.frames, titles, subtitles, scores, decisions, strict=True
        )
    ]
    if restoration.enlarged_by == BICUBIC:
        image, score = restoration.image, restoration.final_score
        columns.append(_Column(image, "Bicubic", "no tool enlarged it", score))
    if gt is not None:
        columns.append(_Column(gt, "Ground truth", "the clean photo", None))
    return columns


def _fitted(image: FloatImage) -> Image.Image:
    """Fill the column: shrink large photos smoothly, enlarge small ones to visible pixels."""
    photo = Image.fromarray(to_uint8(image))
    factor = min(_PANEL / photo.width, _PANEL * _MAX_ASPECT / photo.height)
    if factor >= 1.0:
        whole = math.floor(factor)  # all pixels of one size
        return photo.resize((photo.width * whole, photo.height * whole), Image.Resampling.NEAREST)
    size = (max(1, round(photo.width * factor)), max(1, round(photo.height * factor)))
    return photo.resize(size, Image.Resampling.LANCZOS)


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


def _draw_captions(draw: ImageDraw.ImageDraw, column: _Column, left: int, top: int) -> None:
    draw.text((left, top), column.title, _INK, _font(_TEXT_SIZE + 2))
    top += _TEXT_SIZE + 9
    draw.text((left, top), column.subtitle, _FAINT, _font(_TEXT_SIZE))
    if column.score is not None:
        top += _TEXT_SIZE + 8
        draw.text((left, top), _score_text(column.score), _INK, _font(_TEXT_SIZE))


def _score_text(score: Score) -> str:
    ssim = "" if score.ssim is None else f"   SSIM {score.ssim:.3f}"
    return f"PSNR {score.psnr:.2f} dB{ssim}"


@dataclass(frozen=True, slots=True)
class _BarScale:
    """Where a value lies on the axis that all bars of a sheet share.

    Attributes:
        low: Value at the left end.
        high: Value at the right end.
        left: Where the axis begins, right of the longest name, in pixels.
    """

    low: float
    high: float
    left: int

    def x(self, value: float) -> int:
        """Pixels from the left end of the column; a value off the axis lies at its end."""
        room = _PANEL - self.left - _VALUE_WIDTH
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.left + round(share * room)


def _bar_scale(steps: Sequence[Step]) -> _BarScale:
    """Span all good values, and bad ones only as far: how bad a rejected tool is matters little."""
    values = np.array([value for step in steps for value in step.action_values.values()])
    high = max(float(values.max()), 0.0)
    low = max(min(float(values.min()), 0.0), -max(high, float(np.median(np.abs(values)))))
    names = max(_font(_SMALL_SIZE).getlength(name) for step in steps for name in step.action_values)
    return _BarScale(low, high if high > low else low + 1.0, min(round(names) + 12, _PANEL // 2))


def _draw_values(
    draw: ImageDraw.ImageDraw, step: Step, left: int, top: int, scale: _BarScale, unit: str
) -> None:
    title = "what the agent expects of each action" + (f", in {unit}" if unit else "")
    draw.text((left, top - 30), title, _FAINT, _font(_SMALL_SIZE))
    font, zero = _font(_SMALL_SIZE), left + scale.x(0.0)
    for row, (name, value) in enumerate(step.action_values.items()):
        is_chosen = name == step.tool
        y = top + row * _BAR_PITCH
        middle = y + _BAR_PITCH // 2
        ink = _CHOSEN if is_chosen else _INK
        draw.text((left, middle), name, ink, font, anchor="lm")
        start, stop = sorted((zero, left + scale.x(value)))
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
    """Pillow's own font, which is always there."""
    return ImageFont.load_default(size)
