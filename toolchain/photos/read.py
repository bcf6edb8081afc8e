"""Read a photo from a file: upright, as float RGB, with what the file says about it."""

import contextlib
import dataclasses
import io
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

from restoration_toolchain.data.images import FloatImage
from restoration_toolchain.data.scaling import upsampled
from restoration_toolchain.toolchain.errors import PhotoError, PhotoTooLargeError, one_line
from restoration_toolchain.toolchain.photos.arrays import IN_MEMORY, Arrays
from restoration_toolchain.toolchain.photos.codecs import (
    CODEC_ERRORS,
    XMP_KEYWORD,
    Metadata,
    SampleRows,
    Samples,
    decode_16_bit,
    open_gray_alpha_tiff,
    register_heif,
    upright_exif,
    upright_xmp,
)
from restoration_toolchain.toolchain.photos.paths import READABLE_SUFFIXES, WRITABLE_FORMATS
from restoration_toolchain.toolchain.photos.strips import StripRows, can_read, png_without_pixels

DEFAULT_MAX_PIXELS = 200_000_000
_PILLOW_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
_N_CHANNELS = {"1": 1, "L": 1, "I;16": 1, "LA": 2, "RGB": 3, "YCbCr": 3}
_ORIENTATION = 274
_PREMULTIPLIED = 1  # TIFF: colours already multiplied with alpha

_pillow_limit = threading.Lock()


@dataclass(frozen=True, slots=True)
class PhotoHeader:
    """What a file says of its photo before any pixel is decoded.

    Attributes:
        width: Width as stored, in pixels.
        height: Height as stored, in pixels.
        file_format: Format, as Pillow names it.
        channels: Number of channels, alpha included; four for a palette.
        is_deep: Whether it has 16 bits a channel.
        is_progressive: Whether it is a JPEG whose decoder must hold all of its coefficients.
        file_bytes: Size of the file.
        in_strips: Whether it can be decoded from the top, row by row (`toolchain.photos.strips`).
    """

    width: int
    height: int
    file_format: str
    channels: int
    is_deep: bool
    is_progressive: bool
    file_bytes: int
    in_strips: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Photo(Metadata):
    """An upright photo and what its file said about it.

    Attributes:
        rgb: Colours, shape (H, W, 3), float32, range [0, 1]; all three are equal in a gray photo.
        alpha: Opacity, shape (H, W), uint8 or uint16 at full range; None for an opaque photo.
        is_gray: Whether the file stores one colour channel.
        bit_depth: Bits per channel.
        source: The file the photo was read from.
        notes: One sentence for each thing that reading had to change or leave out.
        arrays: Maker of ``rgb``.
        in_strips: Whether it is written row by row, too, in formats that allow it.
    """

    rgb: FloatImage
    alpha: Samples | None = None
    is_gray: bool = False
    bit_depth: Literal[8, 16] = 8
    source: Path | None = None
    notes: tuple[str, ...] = ()
    arrays: Arrays = IN_MEMORY
    in_strips: bool = False

    def with_rgb(self, rgb: FloatImage) -> "Photo":
        """Return this photo with other colours, shape (H, W, 3), float32, range [0, 1].

        If they are larger, each side by the same whole factor, transparency is enlarged as well.
        """
        alpha, scale = self.alpha, rgb.shape[0] // self.rgb.shape[0]
        if alpha is not None and scale > 1:
            peak = np.iinfo(alpha.dtype).max
            channels = np.repeat(alpha[..., None], 3, axis=2).astype(np.float32) / np.float32(peak)
            alpha = np.rint(upsampled(channels, scale)[..., 0] * peak).astype(alpha.dtype)
        return dataclasses.replace(self, rgb=rgb, alpha=alpha)


def read_header(path: Path) -> PhotoHeader | None:
    """Read what is known of a photo before it is decoded; None for a file of no usual format.

    Raises:
        PhotoError: The file is missing or unreadable.
    """
    _check_readable(path)
    try:
        with _open(path) as image:
            return PhotoHeader(
                *image.size,
                file_format=str(image.format),
                channels=_N_CHANNELS.get(image.mode, 4),
                is_deep=_is_16_bit(image, path),
                is_progressive="progressive" in image.info,
                file_bytes=path.stat().st_size,
                in_strips=can_read(image, path),
            )
    except (*CODEC_ERRORS, PhotoError):  # what is wrong, reading the photo will say
        return None


def read_photo(
    path: Path | str,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    scale: int = 1,
    arrays: Arrays = IN_MEMORY,
    in_strips: bool = False,
) -> Photo:
    """Read a PNG, JPEG, WebP, BMP, TIFF, GIF, AVIF or HEIC file, turned upright.

    Of an animation or a file of several pages the first image is read. Palette and 1-bit images
    become gray or RGB; CMYK becomes sRGB, through its colour profile where it has one.

    Args:
        path: Path of the file.
        max_pixels: Limit on the pixels of the photo, checked before any is decoded.
        scale: Factor that the photo will be enlarged by; the limit holds for the enlarged one.
        arrays: Maker of the array that the colours go to.
        in_strips: Whether to decode it row by row where that is possible, to the same samples.
            `write_photo` then encodes it row by row. Both need the extra ``huge``.

    Raises:
        PhotoError: The file is missing, unreadable, damaged, too large or not such an image.
    """
    path = Path(path)
    _check_readable(path)
    photo: Photo | None
    try:
        with _open(path) as image:
            _check_size(path, *image.size, max_pixels, scale)
            read = _read_in_strips if in_strips and can_read(image, path) else _read_opened
            photo = read(image, path, arrays)
    except UnidentifiedImageError as error:
        photo = _read_gray_alpha_tiff(path, max_pixels, scale, arrays)
        if photo is None:
            raise PhotoError(f"{path}: not an image, or a damaged one") from error
    except PermissionError as error:
        raise PhotoError(f"{path}: no permission to read it") from error
    except MemoryError as error:
        raise PhotoError(f"{path}: not enough memory to read it") from error
    except ImportError as error:
        raise PhotoError(f"{path}: cannot be read row by row, because {error}") from error
    except CODEC_ERRORS as error:
        raise PhotoError(f"{path}: damaged or truncated image ({one_line(error)})") from error
    return dataclasses.replace(photo, in_strips=in_strips)


def _check_readable(path: Path) -> None:
    try:
        if path.is_dir():
            raise PhotoError(f"{path}: is a folder, not a photo")
        if not path.exists():
            raise PhotoError(f"{path}: no such file")
        if not path.is_file():
            raise PhotoError(f"{path}: not a regular file")
        if path.suffix.lower() not in READABLE_SUFFIXES:
            known = " ".join(READABLE_SUFFIXES)
            raise PhotoError(f"{path}: unsupported file type; photos end in {known}")
        if _is_heif(path):
            register_heif()
        if path.stat().st_size == 0:
            raise PhotoError(f"{path}: the file is empty")
    except ImportError as error:
        raise PhotoError(f"{path}: unsupported file type, because {error}") from error
    except OSError as error:
        raise PhotoError(f"{path}: cannot be read ({one_line(error)})") from error


def _is_heif(path: Path) -> bool:
    return WRITABLE_FORMATS.get(path.suffix.lower()) == "HEIF"


@contextlib.contextmanager
def _without_pillow_limit() -> Iterator[None]:
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """Read the header, with our limit on the size instead of Pillow's global one.

    Its warnings of odd tags are kept off the screen; for what it cannot read, it raises.
    """
    formats = (*_PILLOW_FORMATS, "HEIF") if _is_heif(path) else _PILLOW_FORMATS
    with warnings.catch_warnings(action="ignore"):
        with _without_pillow_limit():
            image = Image.open(path, formats=formats)
        with image:
            yield image


def _check_size(path: Path, width: int, height: int, max_pixels: int, scale: int) -> None:
    if width * height * scale**2 > max_pixels:
        enlarged = f" enlarged by {scale}" if scale > 1 else ""
        raise PhotoTooLargeError(
            f"{path}: {width} x {height} pixels{enlarged} is more than the limit of "
            f"{max_pixels / 1e6:g} megapixels; scale the photo down, or cut it into parts"
        )


def _read_opened(image: Any, path: Path, arrays: Arrays) -> Photo:
    notes, icc, deep = _notes(image, path), image.info.get("icc_profile"), _is_16_bit(image, path)
    image.load()  # finds damage that OpenCV passes over, and EXIF data behind the pixels
    orientation, about = _described(image, path, notes)
    rows: SampleRows
    if deep:
        rows = _read_16_bit(image, path)
        if image.format == "TIFF":  # OpenCV has turned it already
            orientation = 1
    else:
        if image.mode == "CMYK":
            image, icc = _cmyk_to_srgb(image, icc), None
            about["notes"] += (f"{path}: CMYK was converted to sRGB",)
        rows = _ImageRows(_plain(image))
    return _photo(rows, orientation, arrays, icc=icc, **about)


def _read_in_strips(image: Any, path: Path, arrays: Arrays) -> Photo:
    """The same photo as `_read_opened` reads, with little of it in memory at any time."""
    described = png_without_pixels(path) if image.format == "PNG" else image
    orientation, about = _described(described, path, _notes(image, path))
    icc = image.info.get("icc_profile")
    return _photo(StripRows(path), orientation, arrays, icc=icc, **about)


def _notes(image: Any, path: Path) -> list[str]:
    """Say what the samples of a file will lack."""
    notes = []
    if image.format in ("PNG", "WEBP", "GIF", "TIFF") and getattr(image, "n_frames", 1) > 1:
        kind = "page" if image.format == "TIFF" else "frame"
        notes.append(f"{path}: only the first of {image.n_frames} {kind}s was read")
    bits = _bits_beyond_8(image, path)
    if bits:
        notes.append(f"{path}: its {bits} bits a channel were read as 8")
    return notes


def _described(image: Any, path: Path, notes: list[str]) -> tuple[int, dict[str, Any]]:
    """Orientation, and what else to tell `_photo`, with one more note if EXIF data is lost."""
    orientation = image.getexif().get(_ORIENTATION, 1)
    exif, lost = _kept_exif(image.getexif, path)
    xmp = image.info.get("xmp") or image.info.get(XMP_KEYWORD)
    if isinstance(xmp, str):
        xmp = xmp.encode(errors="replace")
    kept = upright_xmp(xmp) if xmp else None
    return orientation, {"source": path, "exif": exif, "xmp": kept, "notes": (*notes, *lost)}


def _kept_exif(read: Callable[[], Image.Exif], path: Path) -> tuple[bytes | None, tuple[str, ...]]:
    """What is kept of EXIF data, and a note if it cannot be read."""
    try:
        return upright_exif(read()), ()
    except CODEC_ERRORS:
        return None, (f"{path}: its EXIF data is damaged and was left out",)


def _exif_of_tiff(content: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(content)  # what is called EXIF is a TIFF without pixels
    return exif


class _ImageRows:
    """The samples of an 8-bit image of Pillow."""

    dtype = np.dtype(np.uint8)

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self.shape = image.height, image.width, len(image.getbands())

    def __getitem__(self, rows: slice) -> Samples:
        box = (0, rows.start, self._image.width, rows.stop)
        with _without_pillow_limit():  # it is asked here too
            samples = np.asarray(self._image.crop(box))
        return samples.reshape(*samples.shape[:2], -1)


def _photo(stored: SampleRows, orientation: int, arrays: Arrays, **about: Any) -> Photo:
    """Scale samples to [0, 1], split off alpha and turn everything upright, band by band."""
    height, width, channels = stored.shape
    n_colours, is_turned = 1 if channels <= 2 else 3, orientation in (5, 6, 7, 8)
    sides = (width, height) if is_turned else (height, width)
    n_columns = 64 if is_turned else width  # they become rows of an array that may lie on disk
    rgb = arrays.empty(*sides)
    alpha = np.empty(sides, stored.dtype) if channels in (2, 4) else None
    peak = np.float32(np.iinfo(stored.dtype).max)
    stored_rgb = _as_stored(rgb, orientation)
    stored_alpha = None if alpha is None else _as_stored(alpha, orientation)
    for part in arrays.bands(height):
        samples = stored[part]
        for left in range(0, width, n_columns):
            columns = slice(left, left + n_columns)
            colours = samples[:, columns, :n_colours]
            np.divide(colours, peak, out=stored_rgb[part, columns], dtype=np.float32)
        if stored_alpha is not None:
            stored_alpha[part] = samples[:, :, -1]
    return Photo(
        rgb=rgb,
        alpha=alpha,
        is_gray=n_colours == 1,
        bit_depth=16 if stored.dtype == np.uint16 else 8,
        arrays=arrays,
        **about,
    )


def _as_stored(upright: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """A view of an upright array as its file has it; what is written to it comes out upright."""
    if orientation in (3, 4, 7, 8):
        upright = upright[::-1]
    if orientation in (2, 3, 6, 7):
        upright = upright[:, ::-1]
    return upright.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else upright


def _is_16_bit(image: Any, path: Path) -> bool:
    """Whether the file stores 16 bits a channel; for colour, Pillow's mode does not tell."""
    if image.mode in ("I", "F"):
        raise PhotoError(f"{path}: 32-bit samples are not supported; convert it to 16 bits")
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24:] == b"\x10"
    if image.format == "TIFF" and image.mode != "CMYK":
        premultiplied = _PREMULTIPLIED in image.tag_v2.get(338, ())
        return max(image.tag_v2.get(258, (8,))) == 16 and not premultiplied
    return False


def _bits_beyond_8(image: Any, path: Path) -> int:
    """Bits a channel of an AVIF or HEIC that has more than the 8 that Pillow gives, else 0."""
    if image.format == "HEIF":
        bits = int(image.info.get("bit_depth", 8))
        return bits if bits > 8 else 0
    if image.format != "AVIF":
        return 0
    with path.open("rb") as file:
        head = file.read(1 << 16)
    place = head.find(b"av1C")  # its third byte has a flag for more than 8 bits, and for 12
    flags = head[place + 6] if 0 <= place < len(head) - 6 else 0
    return 0 if not flags & 0x40 else 12 if flags & 0x20 else 10


def _read_16_bit(image: Any, path: Path) -> Samples:
    content = path.read_bytes()
    gray = image.mode in ("L", "LA") or image.mode.startswith("I;16")
    if image.format == "PNG":  # Pillow opens 16-bit gray with alpha as RGBA
        gray = content[25] in (0, 4)
    alpha = image.mode in ("LA", "RGBA")
    key = image.info.get("transparency")  # the one colour that a PNG declares transparent
    samples = decode_16_bit(content, gray=gray, alpha=alpha)
    if key is not None:
        transparent = (samples == np.asarray(key, np.uint16)).all(axis=2, keepdims=True)
        opacity = np.where(transparent, np.uint16(0), np.uint16(65535))
        samples = np.concatenate([samples, opacity], axis=2)
    return samples


def _plain(image: Image.Image) -> Image.Image:
    """Any 8-bit image with one sample per channel: gray stays gray, a transparent colour alpha."""
    if image.mode == "1":
        image = image.convert("L")
    colours = "L" if image.mode in ("L", "LA", "La") else "RGB"
    alpha = image.has_transparency_data or image.mode == "La"
    mode = colours + "A" if alpha else colours
    if image.mode == mode:  # converting would copy
        return image
    plain = image.convert(mode)
    if image.mode in ("P", "PA"):
        red, green, blue, *opacity = plain.split()
        if red.tobytes() == green.tobytes() == blue.tobytes():
            return Image.merge("LA", (red, *opacity)) if opacity else red
    return plain


def _cmyk_to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    if icc:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            profile, srgb = ImageCms.getOpenProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
            if converted is not None:
                return converted
    return image.convert("RGB")


def _read_gray_alpha_tiff(path: Path, max_pixels: int, scale: int, arrays: Arrays) -> Photo | None:
    content = path.read_bytes() if path.suffix.lower() in (".tif", ".tiff") else b""
    page = open_gray_alpha_tiff(content) if content else None
    if page is None:
        return None
    try:
        _check_size(path, page.shape[1], page.shape[0], max_pixels, scale)
        samples = page.asarray().astype(np.uint16, copy=False).reshape(page.shape)
        orientation = int(page.tags.valueof(274, default=1))
        icc, xmp = page.tags.valueof(34675), page.tags.valueof(700)
        with warnings.catch_warnings(action="ignore"):
            exif, lost = _kept_exif(lambda: _exif_of_tiff(content), path)
        kept = upright_xmp(xmp) if isinstance(xmp, bytes) else None
        about = {"source": path, "exif": exif, "icc": icc, "xmp": kept, "notes": lost}
        return _photo(samples, orientation, arrays, **about)
    except CODEC_ERRORS as error:
        raise PhotoError(f"{path}: damaged or truncated image ({one_line(error)})") from error
