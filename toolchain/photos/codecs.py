"""Samples in and out of files where Pillow cannot: 16 bits a channel, and TIFF with metadata.

A *sample array* has shape (H, W, C), uint8 or uint16, full range, with C = 1 (gray), 2 (gray and
alpha), 3 (RGB) or 4 (RGB and alpha).
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

if TYPE_CHECKING:
    import tifffile

Samples: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]


class SampleRows(Protocol):
    """A sample array, or another thing whose slices of rows are sample arrays."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or uint16."""

    def __getitem__(self, rows: slice, /) -> Samples:
        """A band of rows (h, W, C)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metadata:
    """What a file says about its photo.

    Attributes:
        exif: EXIF block that starts with `EXIF_PREFIX`, with the orientation set to 1.
        icc: Colour profile.
        xmp: XMP packet with the orientation set to 1.
    """

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None


EXIF_PREFIX = b"Exif\x00\x00"
XMP_KEYWORD = "XML:com.adobe.xmp"
"""Keyword of the text chunk of a PNG that holds XMP."""

# What Pillow and tifffile raise on damaged content, depending on the format and the damage.
CODEC_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, EOFError,
    AttributeError, NotImplementedError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip

_BAND_BYTES = 1 << 22  # rows are filtered and compressed in bands of about this size
_PNG_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}

# What describes the photo rather than its old file; everything else in the first directory of a
# TIFF (sizes, offsets, compression) would be wrong for the new one.
_KEPT_EXIF_TAGS = frozenset(
    {270, 271, 272, 282, 283, 296, 305, 306, 315, 33432, 0x4746, 0x4749}
    | set(range(0x9C9B, 0x9CA0))
    | {int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo)}
)
_EXIF_PIXEL_SIZE = (0xA002, 0xA003)  # may be those of the photo before it was turned upright
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)\d+")


def register_heif() -> None:
    """Let Pillow read and write HEIC files, with the package of the extra ``heif``.

    Raises:
        ImportError: It is not installed; the message says how to install it.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise ImportError(
            "pillow-heif is missing: pip install 'restoration-toolchain[heif]'"
        ) from error
    pillow_heif.register_heif_opener()  # again does no harm


def decode_16_bit(content: bytes, *, gray: bool, alpha: bool) -> Samples:
    """Decode a 16-bit PNG or TIFF with OpenCV, the only place that sees BGR.

    OpenCV turns a TIFF upright by its orientation tag, and leaves a PNG as stored.

    Args:
        content: The whole file.
        gray: The file stores one colour channel (OpenCV may still deliver three equal ones).
        alpha: The file stores an alpha channel.

    Raises:
        ValueError: OpenCV cannot decode the file at this depth.
    """
    import cv2  # takes as long as Pillow, and most photos have 8 bits

    try:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError("the 16-bit samples cannot be decoded") from error
    if decoded is None or decoded.dtype != np.uint16:
        raise ValueError("the 16-bit samples cannot be decoded")
    bgr: npt.NDArray[np.uint16] = decoded.astype(np.uint16, copy=False)
    if bgr.ndim == 2:
        bgr = bgr[:, :, None]
    colour = bgr[:, :, :1] if gray else bgr[:, :, 2::-1]
    if colour.shape[2] != (1 if gray else 3) or (alpha and bgr.shape[2] != 4):
        raise ValueError("the 16-bit samples cannot be decoded")
    return np.concatenate([colour, bgr[:, :, 3:]], axis=2) if alpha else colour


def open_gray_alpha_tiff(content: bytes) -> "tifffile.TiffPage | None":
    """Return the first page if it is 16-bit gray with alpha, which neither Pillow nor OpenCV read.

    Nothing is decoded yet; `shape` of the page is (H, W, 2).
    """
    import tifffile  # as above: for few photos

    try:
        page = tifffile.TiffFile(io.BytesIO(content)).pages[0]
    except CODEC_ERRORS:
        return None
    if not isinstance(page, tifffile.TiffPage) or page.dtype != np.uint16:
        return None
    return page if page.samplesperpixel == 2 and page.shape[2:] == (2,) else None


def write_png(file: BinaryIO, samples: SampleRows, about: Metadata) -> None:
    """Encode a sample array of either depth as PNG; only the rows in work are in memory."""
    height, width, channels = samples.shape
    bits, colour_type = samples.dtype.itemsize * 8, _PNG_COLOUR_TYPE[channels]
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    file.write(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header))
    if about.icc:
        file.write(png_chunk(b"iCCP", b"ICC profile\x00\x00" + zlib.compress(about.icc)))
    if about.exif:
        file.write(png_chunk(b"eXIf", about.exif.removeprefix(EXIF_PREFIX)))
    if about.xmp:
        file.write(png_chunk(b"iTXt", XMP_KEYWORD.encode() + bytes(5) + about.xmp))
    for part in _png_pixels(samples):
        file.write(png_chunk(b"IDAT", part))
    file.write(png_chunk(b"IEND", b""))


def write_tiff(file: BinaryIO, samples: SampleRows, about: Metadata) -> None:
    """Encode a sample array of either depth as a deflate-compressed little-endian TIFF.

    Only the rows in work are in memory. EXIF entries join the image's directory. The file must be
    empty, and able to seek.
    """
    sizes = [0] * -(-samples.shape[0] // _rows_per_band(samples))
    file.write(_tiff_directory(samples, sizes, about))  # as long as the true one
    for number, rows in enumerate(bands(samples)):
        strip = _tiff_strip(rows)
        sizes[number] = len(strip)
        file.write(strip)
    file.seek(0)
    file.write(_tiff_directory(samples, sizes, about))


LOSSLESS_ENCODERS = {"PNG": write_png, "TIFF": write_tiff}
"""Encoders of both depths, by format as Pillow names it."""


def upright_exif(exif: Image.Exif) -> bytes | None:
    """Serialise what EXIF says about the photo, with orientation 1 and without its thumbnail.

    A thumbnail would still show the photo as its file had it.

    Returns:
        The block, starting with `EXIF_PREFIX`, or None when there is nothing to keep.
    """
    kept = Image.Exif()
    for tag in _KEPT_EXIF_TAGS & set(exif):
        kept[tag] = exif[tag]
    for pointer in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        entries = dict(exif.get_ifd(pointer))
        if entries:
            kept[pointer] = {t: v for t, v in entries.items() if t not in _EXIF_PIXEL_SIZE}
        elif pointer in kept:
            del kept[pointer]
    if not len(kept):
        return None
    kept[ExifTags.Base.Orientation] = 1
    return kept.tobytes()


def upright_xmp(xmp: bytes) -> bytes:
    """The same XMP packet, with orientation 1 where it has one."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def _tiff_directory(samples: SampleRows, sizes: list[int], about: Metadata) -> bytes:
    """Everything before the strips, which have these sizes in bytes."""
    height, width, channels = samples.shape
    directory: Any = ImageFileDirectory_v2()
    exif = Image.Exif()
    exif.load(about.exif or b"")
    for tag in exif:
        nested = tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
        directory[tag] = dict(exif.get_ifd(tag)) if nested else exif[tag]
    directory[256], directory[257] = width, height
    directory[258] = (samples.dtype.itemsize * 8,) * channels
    directory[259] = 8  # deflate
    directory[262] = 1 if channels <= 2 else 2  # black is zero, RGB
    directory[277] = channels
    directory[278] = _rows_per_band(samples)
    directory.tagtype[273] = directory.tagtype[279] = 4  # LONG; Pillow adds the start of the pixels
    directory[273] = tuple(int(offset) for offset in np.cumsum([0, *sizes[:-1]]))
    directory[279] = tuple(sizes)
    directory[317] = 2  # horizontal differences: photos compress far better
    if channels in (2, 4):
        directory[338] = 2  # alpha that the colours are not multiplied with
    if about.icc:
        directory.tagtype[34675] = 7
        directory[34675] = about.icc
    if about.xmp:
        directory.tagtype[700] = 1
        directory[700] = about.xmp
    stream = io.BytesIO()
    directory.save(stream)
    return stream.getvalue()


def _rows_per_band(samples: SampleRows) -> int:
    height, width, channels = samples.shape
    return max(1, min(height, _BAND_BYTES // (width * channels * samples.dtype.itemsize)))


def bands(samples: SampleRows) -> Iterator[Samples]:
    """Go through a sample array from the top, some rows at a time."""
    rows = _rows_per_band(samples)
    for top in range(0, samples.shape[0], rows):
        yield samples[top : top + rows]


def _tiff_strip(rows: Samples) -> bytes:
    differences = rows.astype(rows.dtype.newbyteorder("<"))
    differences[:, 1:] = rows[:, 1:] - rows[:, :-1]  # wraps around, as TIFF wants
    return zlib.compress(differences.tobytes())


def _png_pixels(samples: SampleRows) -> Iterator[bytes]:
    """Compress rows, each stored as the difference to the pixel on the left (PNG filter 1)."""
    compressor = zlib.compressobj()
    dtype = samples.dtype.newbyteorder(">")
    pixel_bytes = samples.shape[2] * dtype.itemsize
    for rows in bands(samples):
        raw = np.ascontiguousarray(rows, dtype=dtype).view(np.uint8).reshape(len(rows), -1)
        filtered = np.ones((len(rows), raw.shape[1] + 1), np.uint8)
        filtered[:, 1:] = raw
        filtered[:, 1 + pixel_bytes :] -= raw[:, :-pixel_bytes]
        yield compressor.compress(filtered.tobytes())
    yield compressor.flush()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG, with its length and checksum."""
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)
