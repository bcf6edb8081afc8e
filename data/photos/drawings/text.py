"""Pages of text: paragraphs, tables, posters, sheets of letters, receipts, handwriting."""

import itertools
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.photos.drawings.canvas import (
    Colour,
    Ink,
    between,
    chance,
    coloured,
    cut,
    ink_and_paper,
    panel,
    pick,
    plain,
    random_colour,
    resized,
    rotated,
    small_or_large,
    smooth_field,
    stamp,
    whole,
)
from restoration_toolchain.data.photos.drawings.lettering import (
    Face,
    handwriting,
    random_face,
    random_number,
    random_text,
    random_word,
    write,
)

_Page = Callable[[ByteImage, Colour, np.random.Generator], None]
_MARGIN_BESIDE: Final = 24  # pixels that a page is larger than the part of it that is shown


def draw_text(height: int, width: int, rng: np.random.Generator) -> ByteImage:
    """Draw a page of text, RGB uint8 of shape (height, width, 3)."""
    ink, paper = ink_and_paper(rng)
    finish = rng.random()
    scale = between(rng, 1.2, 2) if finish < 0.12 else 1.0
    extra = _MARGIN_BESIDE if chance(rng, 0.6) else 0
    page = plain(round((height + extra) * scale), round((width + extra) * scale), paper)
    if chance(rng, 0.08):
        _shade(page, paper, rng)
    pick(rng, _PAGES)(page, ink, rng)
    if 0.12 <= finish < 0.32:
        page = rotated(page, rng.normal(0, 3), paper, between(rng, 0.95, 1.1))
    elif 0.32 <= finish < 0.36:
        page = np.ascontiguousarray(np.rot90(page))
    elif 0.36 <= finish < 0.46:
        page = _two_levels(page)
    if scale > 1:
        page = resized(page, height + extra, width + extra, cv2.INTER_AREA)
    if page.shape[0] < height or page.shape[1] < width:
        page = resized(page, height, width, cv2.INTER_AREA)
    return cut(page, height, width, rng)


def _shade(page: ByteImage, paper: Colour, rng: np.random.Generator) -> None:
    """Let the paper's colour change slowly, as in a coloured box or a slide."""
    field = smooth_field(page.shape[0], page.shape[1], rng, max(page.shape) / 2)
    other = tuple(int(np.clip(part + whole(rng, -25, 25), 0, 255)) for part in paper)
    page[:] = coloured(field, [paper, (other[0], other[1], other[2])])


def _two_levels(page: ByteImage) -> ByteImage:
    """Black and white only, as fax and scanned documents are."""
    gray = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY)
    middle = (int(gray.min()) + int(gray.max())) / 2
    return np.repeat(np.where(gray > middle, 255, 0).astype(np.uint8)[..., None], 3, axis=2)


def _size(rng: np.random.Generator, largest: float = 40) -> int:
    return round(small_or_large(rng, 8, largest))


def _column(
    page: ByteImage,
    left: int,
    top: int,
    width: int,
    face: Face,
    ink: Colour,
    rng: np.random.Generator,
) -> None:
    """Fill a column with lines, ragged or in block, in paragraphs."""
    pitch = max(round(face.height * between(rng, 0.85, 1.5)), 4)
    per_line = max(round(width / (face.size * 2.4)), 1)
    share_short, colours = between(rng, 0, 0.25), [ink]
    if chance(rng, 0.15):
        colours += [random_colour(rng), ink, ink]
    is_block = chance(rng, 0.4)
    while top < page.shape[0]:
        line = face.mask(random_text(rng, per_line + whole(rng, 0, 1)))
        is_last = chance(rng, share_short)
        if is_last:
            line = line[:, : whole(rng, 1, line.shape[1])]
        elif is_block and 0.7 < line.shape[1] / width < 1.4 and face.is_smooth:
            resampled = cv2.resize(line, (width, line.shape[0]), interpolation=cv2.INTER_LINEAR)
            line = np.asarray(resampled, np.uint8).reshape(*line.shape[:1], width, -1)
        stamp(page, line[:, :width], left, top, pick(rng, colours))
        top += pitch + (pitch // 2 if is_last and chance(rng, 0.5) else 0)


def _paragraphs(page: ByteImage, ink: Colour, rng: np.random.Generator) -> None:
    """One to three columns, with a heading or none."""
    height, width = page.shape[:2]
    face = random_face(rng, _size(rng, pick(rng, (14, 24, 40))))
    top = whole(rng, -face.size, face.size * 2)
    if chance(rng, 0.35):
        large = random_face(rng, min(_size(rng, 48) + face.size, 60))
        write(page, random_text(rng, 4), whole(rng, -10, 20), top, large, ink)
        top += large.height + whole(rng, 0, 8)
    columns = whole(rng, 1, max(min(width // (face.size * 8), 3), 1))
    gap = whole(rng, 4, 24)
    each = max((width - gap * (columns + 1)) // columns, 16)
    shift = pick(rng, (0, 0, whole(rng, -each // 3, gap)))
    for i in range(columns):
        _column(page, gap + shift + i * (each + gap), top, each, face, ink, rng)
        if i and chance(rng, 0.3):
            x = gap // 2 + shift + i * (each + gap)
            panel(page, (x, top, x + 1, height), ink)


def _table(page: ByteImage, ink: Colour, rng: np.random.Generator) -> None:
    """Numbers and words in rows and columns, ruled or shaded: lists, invoices, timetables."""
    height, width = page.shape[:2]
    face = random_face(rng, _size(rng, 20))
    pitch = face.height + whole(rng, 0, 10)
    rule = ink if chance(rng, 0.5) else random_colour(rng)
    edges = [whole(rng, -20, 20)]
    while edges[-1] < width:
        edges.append(edges[-1] + max(round(face.size * between(rng, 2.5, 9)), 12))
    top, ruled, striped = whole(rng, -pitch, pitch), rng.random(), chance(rng, 0.3)
    stripe = random_colour(rng) if striped else None
    is_number = [chance(rng, 0.6) for _ in edges]
    for row, y in enumerate(range(top, height, pitch)):
        if stripe and row % 2:
            paper = page[max(y, 0) : y + pitch]
            paper[:] = (paper.astype(np.float32) * 0.85 + np.array(stripe) * 0.15).astype(np.uint8)
        for column, (left, right) in enumerate(itertools.pairwise(edges)):
            if chance(rng, 0.08):
                continue
            cell = random_number(rng) if is_number[column] else random_text(rng, whole(rng, 1, 3))
            line = face.mask(cell)[:, : right - left - 5]
            start = right - 3 - line.shape[1] if is_number[column] else left + 3
            stamp(page, line, start, y, ink)
        if ruled < 0.6:
            panel(page, (0, y - 1, width, y), rule)
    if ruled < 0.35:
        for x in edges:
            panel(page, (x, 0, x + 1, height), rule)


def _poster(page: ByteImage, ink: Colour, rng: np.random.Generator) -> None:
    """Few words of many sizes and colours, anywhere or one below another."""
    height, width = page.shape[:2]
    top = whole(rng, -10, 10)
    colours = [ink, ink, *(random_colour(rng) for _ in range(whole(rng, 0, 3)))]
    while top < height:
        face = random_face(rng, round(small_or_large(rng, 12, max(height / 3, 40))))
        line = face.mask(random_text(rng, whole(rng, 1, 4)))
        left = pick(rng, (4, (width - line.shape[1]) // 2, whole(rng, -20, width // 2)))
        if chance(rng, 0.15):
            box = (left - 4, top, left + line.shape[1] + 4, top + line.shape[0])
            panel(page, box, random_colour(rng), radius=whole(rng, 0, 8))
        write(page, random_text(rng, whole(rng, 1, 3)), left, top, face, pick(rng, colours))
        top += max(round(line.shape[0] * between(rng, 0.7, 1.3)), 6)


def _scattered(page: ByteImage, ink: Colour, rng: np.random.Generator) -> None:
    """Words and numbers without order, as labels and watermarks are."""
    height, width = page.shape[:2]
    faces = [random_face(rng, _size(rng)) for _ in range(2)]
    count = min(round(height * width / (16 * faces[0].size ** 2)) + 2, 60)
    for _ in range(count):
        left, top = whole(rng, -30, width), whole(rng, -10, height)
        write(page, random_word(rng), left, top, pick(rng, faces), ink)


def _letters(page: ByteImage, ink: Colour, rng: np.random.Generator) -> None:
    """Single letters and digits in a grid: charts, puzzles, keyboards, eye tests."""
    height, width = page.shape[:2]
    face = random_face(rng, _size(rng))
    pitch = round(face.size * between(rng, 1.1, 2.2))
    symbols = pick(rng, ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789",
                         "aAbBcCdDeEfF0123456789", "01", "EFPTOZLD"))  # fmt: skip
    rule = ink if chance(rng, 0.3) else None
    for y in range(whole(rng, -pitch, 0), height, pitch):
        for x in range(whole(rng, -4, 4), width, pitch):
            panel(page, (x - 2, y, x + pitch - 1, y + pitch + 1), None, border=rule)
            write(page, pick(rng, symbols), x + pitch // 6, y, face, ink)


def _bullets(page: ByteImage, ink: Colour, rng: np.random.Generator) -> None:
    """A list: bullets, numbers or boxes to tick, indented."""
    height, width = page.shape[:2]
    face = random_face(rng, _size(rng, 28))
    pitch = round(face.height * between(rng, 1, 1.6))
    kind, colour = pick(rng, ("dot", "box", "number", "dash")), pick(rng, (ink, random_colour(rng)))
    for row, y in enumerate(range(whole(rng, 0, 10), height, pitch)):
        x = 6 + whole(rng, 0, 2) * face.size
        side = max(face.size // 2, 3)
        middle = y + face.height // 2
        box = (x, middle - side // 2, x + side, middle - side // 2 + side)
        if kind == "number":
            write(page, f"{row + 1}.", x - 4, y, face, colour)
        elif kind == "dash":
            panel(page, (x, middle, x + side, middle + 1), colour)
        else:
            radius = side if kind == "dot" else 0
            panel(page, box, colour if kind == "dot" else None, border=colour, radius=radius)
        words = max(round(width / (face.size * 3)), 1)
        write(page, random_text(rng, whole(rng, 1, words)), x + face.size * 2, y, face, ink)


def _by_hand(page: ByteImage, ink: Colour, rng: np.random.Generator) -> None:
    """Handwriting, on ruled or squared paper or on none."""
    height, width = page.shape[:2]
    size = small_or_large(rng, 9, 36)
    pitch = round(size * between(rng, 1.3, 2.2))
    paper = rng.random()
    rule = random_colour(rng)
    top = whole(rng, 0, pitch)
    if paper < 0.45:
        for y in range(top, height, pitch if paper < 0.3 else max(pitch // 2, 5)):
            panel(page, (0, y, width, y + 1), rule)
    if 0.3 <= paper < 0.45:
        for x in range(0, width, max(pitch // 2, 5)):
            panel(page, (x, 0, x + 1, height), rule)
    written = Ink(height, width, smooth=chance(rng, 0.85))
    pen, swells = size * between(rng, 0.04, 0.12), chance(rng, 0.4)
    for y in range(top, height + pitch, pitch):
        at = between(rng, -20, 20)
        while at < width:
            curve = handwriting(rng, at, y - 1, size * 0.8, whole(rng, 2, 8))
            if swells:
                steep = np.abs(np.gradient(curve[:, 1])) / (size / 8)
                written.brush(curve, pen * np.clip(0.5 + steep, 0.5, 2))
            else:
                written.line(curve, max(pen, 0.8))
            at = float(curve[-1, 0]) + size * between(rng, 0.4, 0.9)
    written.onto(page, ink)


_PAGES: Final[tuple[_Page, ...]] = (
    *(_paragraphs, _paragraphs, _paragraphs, _paragraphs),
    *(_table, _table, _poster, _poster, _scattered, _letters, _bullets, _by_hand),
)
