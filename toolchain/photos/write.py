"""Write a photo to a file, as faithfully as the format allows."""

import dataclasses
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from restoration_toolchain.data.atomic import file_written_atomically, write_atomically
from restoration_toolchain.data.images import check_float_image
from restoration_toolchain.toolchain.errors import PhotoError, TargetExistsError, one_line
from restoration_toolchain.toolchain.photos.codecs import (
    CODEC_ERRORS,
    LOSSLESS_ENCODERS,
    XMP_KEYWORD,
    Samples,
    bands,
    register_heif,
)
from restoration_toolchain.toolchain.photos.paths import WRITABLE_FORMATS
from restoration_toolchain.toolchain.photos.read import Photo
from restoration_toolchain.toolchain.photos.strips import WRITABLE_IN_STRIPS, write_jpeg

_QUALITY = 95
_MAX_SIDE = {"JPEG": 65_500, "WEBP": 16_383}  # pixels
_ALPHA_FORMATS = ("PNG", "WEBP", "TIFF", "AVIF", "HEIF")
_DEEP_FORMATS = ("PNG", "TIFF")
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_LOSSY_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": _QUALITY, "subsampling": 0},
    "WEBP": {"quality": _QUALITY, "exact": True},
    "AVIF": {"quality": _QUALITY, "subsampling": "4:4:4"},
    "HEIF": {"quality": _QUALITY, "chroma": 444},
}


def check_target(path: Path | str, source: Path | None, *, overwrite: bool = False) -> None:
    """Make sure that a photo may be written to ``path``, before any work is done for it.

    Args:
        path: Path of the photo to write.
        source: The file it was read from, which is never overwritten.
        overwrite: Whether another existing file may be replaced.

    Raises:
        PhotoError: ``path`` is the source or a folder, exists, or has a suffix of no known format.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITABLE_FORMATS:
        known = " ".join(WRITABLE_FORMATS)
        raise PhotoError(
            f"{path}: cannot write {path.suffix or 'files without suffix'}; use {known}"
        )
    if WRITABLE_FORMATS[path.suffix.lower()] == "HEIF":
        try:
            register_heif()
        except ImportError as error:
            raise PhotoError(f"{path}: cannot write {path.suffix}, because {error}") from error
    check_free(path, source, overwrite=overwrite)


def check_free(path: Path, source: Path | None, *, overwrite: bool = False) -> None:
    """Make sure that a file of any kind may be written to ``path``.

    Args:
        path: Path of the file to write.
        source: The photo that it is made from, which is never overwritten.
        overwrite: Whether another existing file may be replaced.

    Raises:
        TargetExistsError: ``path`` exists and must not be replaced.
        PhotoError: ``path`` is the source or a folder.
    """
    try:
        if source is not None and source.exists() and path.exists() and path.samefile(source):
            raise PhotoError(f"{path}: this is the input photo; choose another output")
        if path.is_dir():
            raise PhotoError(f"{path}: is a folder, not a file name")
        if not overwrite and os.path.lexists(path):
            raise TargetExistsError(f"{path}: exists already")
    except OSError as error:
        raise PhotoError(f"cannot write {path}: {one_line(error)}") from error


def write_photo(path: Path | str, photo: Photo, *, overwrite: bool = False) -> tuple[str, ...]:
    """Write ``photo`` in the format of the suffix of ``path``, completely or not at all.

    Gray stays gray, and alpha, 16 bits, EXIF, XMP and colour profile are kept where the format has
    them. Missing folders are made. JPEG, PNG and TIFF are encoded row by row if the photo is
    ``in_strips``.

    Args:
        path: Path of the file to write; never the one that the photo was read from.
        photo: Photo to write. Colours outside [0, 1] are clipped; a gray photo is written as the
            mean of its channels.
        overwrite: Whether an existing file may be replaced.

    Returns:
        One sentence for each thing that the format cannot hold.

    Raises:
        PhotoError: See `check_target`; also when the folder is not writable or the disk is full.
        ImageFormatError: ``photo.rgb`` is not float32 RGB.
    """
    path = Path(path)
    check_target(path, photo.source, overwrite=overwrite)
    check_float_image(photo.rgb)
    file_format = WRITABLE_FORMATS[path.suffix.lower()]
    if max(photo.rgb.shape[:2]) > _MAX_SIDE.get(file_format, 1 << 31):
        limit = _MAX_SIDE[file_format]
        raise PhotoError(f"{path}: {file_format} holds {limit} pixels a side; write .png or .tif")
    photo, notes = _fit_to_format(photo, file_format)
    try:
        if photo.in_strips and file_format in WRITABLE_IN_STRIPS:
            _write_in_strips(path, photo, file_format)
        else:
            content = _encode(photo, file_format)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
    except (*CODEC_ERRORS, ImportError, MemoryError) as error:
        raise PhotoError(f"cannot write {path}: {one_line(error)}") from error
    return notes


def pixels_sha256(photo: Photo, path: Path | str) -> str:
    """SHA-256 of the samples that `write_photo` would store at ``path``, before any compression.

    What is hashed is ``"HEIGHT WIDTH CHANNELS BITS"`` in ASCII and then the samples, row by row,
    channels together, 16-bit ones little-endian.

    Args:
        photo: Photo to write.
        path: Path of the file; its suffix names the format, and so the depth and the channels.
    """
    photo, _ = _fit_to_format(photo, WRITABLE_FORMATS[Path(path).suffix.lower()])
    quantised = _Quantised(photo)
    height, width, channels = quantised.shape
    digest = hashlib.sha256(f"{height} {width} {channels} {photo.bit_depth}".encode())
    for samples in bands(quantised):
        digest.update(samples.astype(samples.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def _fit_to_format(photo: Photo, file_format: str) -> tuple[Photo, tuple[str, ...]]:
    """Leave out what the format, or the kind of image, cannot hold."""
    left_out: dict[str, Any] = {}
    notes = []
    if photo.bit_depth == 16 and file_format not in _DEEP_FORMATS:
        left_out["bit_depth"] = 8
        notes.append(f"{file_format} holds 8 bits a channel, not 16")
    if photo.alpha is not None and file_format not in _ALPHA_FORMATS:
        left_out["alpha"] = None
        notes.append(f"{file_format} holds no alpha channel; it was left out")
    if photo.icc and photo.icc[16:20] != (b"GRAY" if photo.is_gray else b"RGB "):
        left_out["icc"] = None
        notes.append("the colour profile is for another kind of image and was left out")
    if photo.exif and file_format == "JPEG" and len(photo.exif) > 65_533:
        left_out["exif"] = None
        notes.append("the EXIF data is too long for JPEG and was left out")
    if photo.xmp and file_format == "JPEG" and len(photo.xmp) > 65_502:
        left_out["xmp"] = None
        notes.append("the XMP data is too long for JPEG and was left out")
    if file_format == "BMP" and (photo.exif or photo.icc or photo.xmp):
        left_out |= {"exif": None, "icc": None, "xmp": None}
        notes.append("BMP holds no EXIF data, XMP or colour profile")
    return dataclasses.replace(photo, **left_out), tuple(notes)


def _write_in_strips(path: Path, photo: Photo, file_format: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = _Quantised(photo)
    with file_written_atomically(path) as file:
        if file_format == "JPEG":
            write_jpeg(file, samples, photo, quality=_QUALITY, arrays=photo.arrays)
        else:
            LOSSLESS_ENCODERS[file_format](file, samples, photo)


def _encode(photo: Photo, file_format: str) -> memoryview:
    samples, stream = _Quantised(photo), io.BytesIO()
    if file_format == "TIFF" or photo.bit_depth == 16:
        LOSSLESS_ENCODERS[file_format](stream, samples, photo)
        return stream.getbuffer()
    options = {"icc_profile": photo.icc, "exif": photo.exif, **_LOSSY_OPTIONS.get(file_format, {})}
    if file_format == "PNG" and photo.xmp:
        text = PngInfo()
        text.add_itxt(XMP_KEYWORD, photo.xmp.decode(errors="replace"))
        options["pnginfo"] = text
    elif file_format != "BMP":
        options["xmp"] = photo.xmp
    image = samples.to_image()
    image.save(stream, file_format, **{k: v for k, v in options.items() if v is not None})
    return stream.getbuffer()


class _Quantised:
    """Samples (H, W, C) of a photo, rounded where rows are asked for; few are ever in memory."""

    def __init__(self, photo: Photo) -> None:
        self._photo = photo
        self.dtype: np.dtype[Any] = np.dtype(np.uint16 if photo.bit_depth == 16 else np.uint8)
        self._peak = np.float32(np.iinfo(self.dtype).max)
        channels = (1 if photo.is_gray else 3) + (photo.alpha is not None)
        height, width = photo.rgb.shape[:2]
        self.shape = int(height), int(width), channels

    def __getitem__(self, rows: slice) -> Samples:
        rgb, alpha = self._photo.rgb[rows], self._photo.alpha
        samples: Samples = np.empty((*rgb.shape[:2], self.shape[2]), self.dtype)
        colour = rgb.mean(axis=2, keepdims=True) if self._photo.is_gray else rgb
        samples[:, :, : colour.shape[2]] = np.rint(np.clip(colour, 0.0, 1.0) * self._peak)
        if alpha is not None:
            samples[:, :, -1] = _alpha_at(alpha[rows], self.dtype)
        return samples

    def to_image(self) -> Image.Image:
        """The 8-bit samples as a Pillow image."""
        height, width, channels = self.shape
        image, top = Image.new(_MODES[channels], (width, height)), 0
        for samples in bands(self):
            image.paste(Image.fromarray(samples[:, :, 0] if channels == 1 else samples), (0, top))
            top += len(samples)
        return image


def _alpha_at(alpha: Samples, dtype: np.dtype[Any]) -> Samples:
    if alpha.dtype == dtype:
        return alpha
    if dtype == np.uint16:
        return alpha.astype(np.uint16) * np.uint16(257)
    return ((alpha.astype(np.uint32) + 128) // 257).astype(np.uint8)
