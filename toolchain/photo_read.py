"""Read a photo from a file: upright, as float RGB, with what the file says about it."""

import contextlib
import dataclasses
import io
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from data.images import FloatImage
from data.scaling import upsampled
from toolchain.errors import PhotoError, one_line
from toolchain.photo_codecs import (
    CODEC_ERRORS,
    Samples,
    decode_16_bit,
    open_gray_alpha_tiff,
    upright_exif,
)
from toolchain.photo_paths import READABLE_SUFFIXES

DEFAULT_MAX_PIXELS = 200_000_000
_PILLOW_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_PREMULTIPLIED = 1  # TIFF: colours already multiplied with alpha

_pillow_limit = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Photo:
    """An upright photo and what its file said about it.

    Attributes:
        rgb: Shape (H, W, 3), float32, range [0, 1]; a gray photo has three equal channels.
        alpha: Shape (H, W), uint8 or uint16 at full range; None when the photo is opaque.
        is_gray: The file stores one colour channel.
        bit_depth: Bits per channel.
        source: The file the photo was read from.
        exif: EXIF block with the orientation set to 1.
        icc: Colour profile.
        notes: One sentence for each thing that reading had to change or leave out.
    """

    rgb: FloatImage
    alpha: Samples | None = None
    is_gray: bool = False
    bit_depth: Literal[8, 16] = 8
    source: Path | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    notes: tuple[str, ...] = ()

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


def read_photo(path: Path | str, *, max_pixels: int = DEFAULT_MAX_PIXELS, scale: int = 1) -> Photo:
    """Read a PNG, JPEG, WebP, BMP, TIFF or GIF file, turned upright.

    Of an animation or a file of several pages the first image is read. Palette and 1-bit images
    become gray or RGB; CMYK becomes sRGB, through its colour profile where it has one.

    Args:
        path: The file.
        max_pixels: Larger photos are refused by their header, before any pixel is decoded.
        scale: By how much the photo will be enlarged; the limit is on what comes of it.

    Raises:
        PhotoError: The file is missing, unreadable, damaged, too large or not such an image.
    """
    path = Path(path)
    _check_readable(path)
    try:
        with _without_remarks(), _open(path) as image:
            _check_size(path, *image.size, max_pixels, scale)
            return _read_opened(image, path)
    except UnidentifiedImageError as error:
        photo = _read_gray_alpha_tiff(path, max_pixels, scale)
        if photo is None:
            raise PhotoError(f"{path}: not an image, or a damaged one") from error
        return photo
    except PermissionError as error:
        raise PhotoError(f"{path}: no permission to read it") from error
    except MemoryError as error:
        raise PhotoError(f"{path}: not enough memory to read it") from error
    except CODEC_ERRORS as error:
        raise PhotoError(f"{path}: damaged or truncated image ({one_line(error)})") from error


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
        if path.stat().st_size == 0:
            raise PhotoError(f"{path}: the file is empty")
    except OSError as error:
        raise PhotoError(f"{path}: cannot be read ({one_line(error)})") from error


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Keep Pillow's warnings of odd tags off the screen: what it cannot read, it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """Read the header, with our limit on the size instead of Pillow's global one."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path, formats=_PILLOW_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with image:
        yield image


def _check_size(path: Path, width: int, height: int, max_pixels: int, scale: int) -> None:
    if width * height * scale**2 > max_pixels:
        enlarged = f" enlarged by {scale}" if scale > 1 else ""
        raise PhotoError(
            f"{path}: {width} x {height} pixels{enlarged} is more than the limit of "
            f"{max_pixels / 1e6:g} megapixels; scale the photo down or raise the limit"
        )


def _read_opened(image: Any, path: Path) -> Photo:
    notes = []
    if image.format in ("PNG", "WEBP", "GIF", "TIFF") and getattr(image, "n_frames", 1) > 1:
        kind = "page" if image.format == "TIFF" else "frame"
        notes.append(f"{path}: only the first of {image.n_frames} {kind}s was read")
    icc = image.info.get("icc_profile")
    deep = _is_16_bit(image, path)
    image.load()  # finds damage that OpenCV passes over, and EXIF data behind the pixels
    if deep:
        samples = _read_16_bit(image, path)
    else:
        upright = ImageOps.exif_transpose(image)
        if image.mode == "CMYK":
            upright, icc = _cmyk_to_srgb(upright, icc), None
            notes.append(f"{path}: CMYK was converted to sRGB")
        samples = _samples_of(upright)
    try:
        exif = upright_exif(image.getexif())
    except CODEC_ERRORS:
        exif = None
        notes.append(f"{path}: its EXIF data is damaged and was left out")
    return _photo(samples, source=path, exif=exif, icc=icc, notes=tuple(notes))


def _photo(samples: Samples, **about: Any) -> Photo:
    """Scale samples to [0, 1] and split off alpha."""
    channels = samples.shape[2]
    n_colours = 1 if channels <= 2 else 3
    peak = np.float32(np.iinfo(samples.dtype).max)
    rgb = np.empty((*samples.shape[:2], 3), np.float32)
    np.divide(samples[:, :, :n_colours], peak, out=rgb, dtype=np.float32)
    return Photo(
        rgb=rgb,
        alpha=np.ascontiguousarray(samples[:, :, -1]) if channels in (2, 4) else None,
        is_gray=n_colours == 1,
        bit_depth=16 if samples.dtype == np.uint16 else 8,
        **about,
    )


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
    if image.format == "TIFF":  # OpenCV has turned it already
        return samples
    return _turn_upright(samples, image.getexif().get(0x0112, 1))


def _turn_upright(samples: Samples, orientation: int) -> Samples:
    if orientation in (5, 6, 7, 8):
        samples = samples.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return np.ascontiguousarray(samples)


def _samples_of(image: Image.Image) -> Samples:
    """Turn any 8-bit Pillow image into samples: gray stays gray, a transparent colour alpha."""
    if image.mode == "1":
        image = image.convert("L")
    colours = "L" if image.mode in ("L", "LA", "La") else "RGB"
    alpha = image.has_transparency_data or image.mode == "La"
    pixels = np.asarray(image.convert(colours + "A" if alpha else colours))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if image.mode in ("P", "PA") and (pixels[:, :, :1] == pixels[:, :, 1:3]).all():
        return np.concatenate([pixels[:, :, :1], pixels[:, :, 3:]], axis=2)
    return pixels


def _cmyk_to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    if icc:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            profile, srgb = ImageCms.getOpenProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
            if converted is not None:
                return converted
    return image.convert("RGB")


def _read_gray_alpha_tiff(path: Path, max_pixels: int, scale: int) -> Photo | None:
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    page = open_gray_alpha_tiff(path.read_bytes())
    if page is None:
        return None
    try:
        _check_size(path, page.shape[1], page.shape[0], max_pixels, scale)
        samples = page.asarray().astype(np.uint16, copy=False).reshape(page.shape)
        orientation = page.tags.valueof(274, default=1)
        samples = _turn_upright(samples, int(orientation))
        return _photo(samples, source=path, icc=page.tags.valueof(34675))
    except CODEC_ERRORS as error:
        raise PhotoError(f"{path}: damaged or truncated image ({one_line(error)})") from error
