"""The contract of every format: what survives a round trip, what is said to be lost, and damage."""

import io
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from restoration_toolchain.toolchain.errors import PhotoError
from restoration_toolchain.toolchain.photos.paths import WRITABLE_FORMATS
from restoration_toolchain.toolchain.photos.read import Photo, read_photo
from restoration_toolchain.toolchain.photos.write import write_photo
from tests.toolchain.photos.conftest import MAKE, ORIENTATION, SRGB, exif_block, photo_of

pytest.importorskip("pillow_heif", reason="the extra heif is not installed")

HEIGHT, WIDTH = 48, 64
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    b'tiff:Orientation="%d" tiff:Make="Caf\xc3\xa9"/></rdf:RDF></x:xmpmeta>'
)


@dataclass(frozen=True)
class Contract:
    """What a format holds."""

    lossless: bool = False
    gray: bool = True
    gray_alpha: bool = True
    alpha: bool = False
    deep: bool = False
    metadata: bool = True


CONTRACTS = {
    ".png": Contract(lossless=True, alpha=True, deep=True),
    ".tif": Contract(lossless=True, alpha=True, deep=True),
    ".jpg": Contract(),
    ".webp": Contract(gray=False, gray_alpha=False, alpha=True),
    ".bmp": Contract(lossless=True, metadata=False),
    ".avif": Contract(gray=False, gray_alpha=False, alpha=True),
    ".heic": Contract(gray_alpha=False, alpha=True),
}


def smooth(channels: int, dtype: Any) -> npt.NDArray[Any]:
    """A picture that a lossy codec keeps closely, brighter towards one corner."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / WIDTH
    planes = [0.2 + 0.6 * x, 0.2 + 0.6 * y, 0.7 - 0.3 * x, 0.3 + 0.5 * x * y][-channels:]
    return np.rint(np.stack(planes, axis=2) * np.iinfo(dtype).max).astype(dtype)


def make(channels: int, dtype: Any, *, metadata: bool) -> Photo:
    about = {"exif": exif_block(), "icc": None if channels <= 2 else SRGB, "xmp": XMP % 1}
    return photo_of(smooth(channels, dtype), **(about if metadata else {}))


def make_of(exif: bytes | None) -> str | None:
    if exif is None:
        return None
    parsed = Image.Exif()
    parsed.load(exif)
    assert parsed[ORIENTATION] == 1
    return str(parsed[MAKE])


def test_every_format_has_a_contract() -> None:
    of = {WRITABLE_FORMATS[suffix] for suffix in CONTRACTS}
    assert of == set(WRITABLE_FORMATS.values())


@pytest.mark.parametrize("metadata", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", CONTRACTS)
def test_what_a_format_holds_survives_and_the_rest_is_said(
    tmp_path: Path, suffix: str, channels: int, dtype: Any, metadata: bool
) -> None:
    contract, path = CONTRACTS[suffix], tmp_path / f"a{suffix}"
    photo = make(channels, dtype, metadata=metadata)
    notes = write_photo(path, photo)
    again = read_photo(path)

    loses_depth = photo.bit_depth == 16 and not contract.deep
    loses_alpha = photo.alpha is not None and not contract.alpha
    loses_metadata = metadata and not contract.metadata
    assert len(notes) == loses_depth + loses_alpha + loses_metadata
    assert again.notes == ()

    assert again.rgb.shape == photo.rgb.shape
    stays_gray = contract.gray if again.alpha is None else contract.gray_alpha
    assert again.is_gray == (photo.is_gray and stays_gray)
    if photo.is_gray:  # of whatever kind the file is, no colour comes into it
        assert np.abs(np.diff(again.rgb, axis=2)).max() < 3 / 255
    assert again.bit_depth == (16 if photo.bit_depth == 16 and contract.deep else 8)
    if contract.lossless and not loses_depth:
        assert np.array_equal(again.rgb, photo.rgb)
    assert np.abs(again.rgb - photo.rgb).max() < (0.51 if contract.lossless else 6) / 255
    if loses_alpha:
        assert again.alpha is None
    elif photo.alpha is not None:
        assert again.alpha is not None
        peaks = [np.iinfo(alpha.dtype).max for alpha in (photo.alpha, again.alpha)]
        difference = photo.alpha / peaks[0] - again.alpha / peaks[1]
        assert np.abs(difference).max() < (0.51 if contract.lossless else 3) / 255

    kept = metadata and contract.metadata
    assert make_of(again.exif) == ("A camera" if kept else None)
    assert again.icc == (photo.icc if kept else None)
    assert again.xmp == (photo.xmp if kept else None)


# Files of other programs ------------------------------------------------------------------------

OTHERS = [suffix for suffix, contract in CONTRACTS.items() if contract.metadata]
LOSSLESS = {".webp": {"lossless": True}, ".jpg": {"quality": 100}, ".avif": {"quality": 100}}


def stored_on_its_side() -> Image.Image:
    """What a camera held sideways stores (orientation 6): upright, the left half is bright."""
    upright = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    upright[:, : WIDTH // 2] = 255
    return Image.fromarray(np.ascontiguousarray(np.rot90(upright, 1)))


@pytest.mark.parametrize(
    ("suffix", "where"),
    # Of PNG, which got EXIF late, programs take the orientation from XMP as well.
    [*((suffix, "exif") for suffix in OTHERS), (".png", "xmp")],
)
def test_a_photo_on_its_side_is_turned_once_whoever_says_so(
    tmp_path: Path, suffix: str, where: str
) -> None:
    path = tmp_path / f"a{suffix}"
    options: dict[str, Any] = {"exif": exif_block(6)}
    if where == "xmp":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", (XMP % 6).decode())
        options = {"pnginfo": text}
    stored_on_its_side().save(path, **options, **LOSSLESS.get(suffix, {}))
    photo = read_photo(path)
    for _ in range(2):
        assert photo.rgb.shape == (HEIGHT, WIDTH, 3)
        assert photo.rgb[:, : WIDTH // 2 - 8].min() > 0.9
        assert photo.rgb[:, WIDTH // 2 + 8 :].max() < 0.1
        path = path.with_name(f"again_{path.name}")
        write_photo(path, photo)
        photo = read_photo(path)


def test_the_orientation_in_xmp_becomes_that_of_the_result(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    stored_on_its_side().save(path, exif=exif_block(6), xmp=XMP % 6)
    assert read_photo(path).xmp == XMP % 1


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
@pytest.mark.parametrize("icc", [None, SRGB])
def test_cmyk_is_converted_and_that_is_said(tmp_path: Path, suffix: str, icc: bytes | None) -> None:
    path = tmp_path / f"a{suffix}"
    options: dict[str, Any] = {"icc_profile": icc} if icc else {}
    Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0)).save(path, **options)
    photo = read_photo(path)
    assert photo.icc is None
    assert ["CMYK was converted" in note for note in photo.notes] == [True]
    assert photo.rgb[5, 5] == pytest.approx([1, 0, 0], abs=0.03)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_palettes_keep_their_colours(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray(smooth(3, np.uint8)).quantize(32)
    image.save(tmp_path / f"a{suffix}")
    photo = read_photo(tmp_path / f"a{suffix}")
    assert np.array_equal(photo.rgb, np.asarray(image.convert("RGB")) / np.float32(255))
    assert not photo.is_gray


def test_more_than_8_bits_of_heic_are_said_to_be_lost(tmp_path: Path) -> None:
    import pillow_heif

    samples = smooth(3, np.uint16)
    heif = pillow_heif.from_bytes("RGB;16", (WIDTH, HEIGHT), samples.tobytes())
    heif.save(tmp_path / "a.heic", quality=95)
    photo = read_photo(tmp_path / "a.heic")
    assert photo.bit_depth == 8
    assert "bits a channel were read as 8" in photo.notes[0]


@pytest.mark.parametrize("action", ["read", "write"])
def test_without_its_package_heic_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    path = tmp_path / "a.heic"
    photo = make(3, np.uint8, metadata=False)
    if action == "read":
        write_photo(path, photo)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match=r"pip install 'restoration-toolchain\[heif\]'") as error:
        read_photo(path) if action == "read" else write_photo(path, photo)
    assert "\n" not in str(error.value)
    assert path.exists() == (action == "read")


# Damage -----------------------------------------------------------------------------------------


def whole_file(suffix: str, kind: str) -> bytes:
    """A small file of a format, with metadata, as others or we would write it."""
    stream = io.BytesIO()
    options: dict[str, Any] = {"exif": exif_block(6), "icc_profile": SRGB}
    if suffix in (".bmp", ".gif"):
        options = {}
    image = Image.fromarray(smooth(4 if "alpha" in kind else 3, np.uint8))
    if kind == "palette":
        image = image.quantize(16)
    if kind == "progressive":
        options["progressive"] = True
    pillow_format = "GIF" if suffix == ".gif" else WRITABLE_FORMATS[suffix]
    image.save(stream, pillow_format, **options)
    return stream.getvalue()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("damage", ["cut", "flipped"])
@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".png", "rgb"), (".png", "alpha"), (".png", "palette"), (".png", "deep"),
        (".tif", "rgb"), (".tif", "deep"), (".tif", "deep gray alpha"),
        (".jpg", "rgb"), (".jpg", "progressive"),
        (".webp", "rgb"), (".webp", "alpha"), (".bmp", "rgb"), (".bmp", "palette"),
        (".gif", "rgb"), (".avif", "alpha"), (".heic", "rgb"),
    ],
)  # fmt: skip
def test_damaged_files_are_a_photo_or_a_photo_error(
    tmp_path: Path, suffix: str, kind: str, damage: str
) -> None:
    path = tmp_path / f"a{suffix}"
    if "deep" in kind:
        write_photo(path, make(2 if "gray" in kind else 3, np.uint16, metadata=True))
        content = path.read_bytes()
    else:
        content = whole_file(suffix, kind)
    rng = np.random.default_rng(len(content))
    messages = []
    for _ in range(40):
        damaged = bytearray(content)
        if damage == "cut":
            damaged = damaged[: int(rng.integers(1, len(content)))]
        else:
            # Mostly near the beginning, where the structure is.
            reach = len(content) if rng.random() < 0.5 else min(600, len(content))
            for place in rng.integers(0, reach, rng.integers(1, 9)):
                damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            photo = read_photo(path, max_pixels=1_000_000)
        except PhotoError as error:
            messages.append(str(error))
        else:
            assert photo.rgb.dtype == np.float32
            assert np.isfinite(photo.rgb).all()
    assert damage == "flipped" or messages
    assert all(line.startswith(str(path)) and "\n" not in line for line in messages)


def test_reading_a_good_photo_warns_of_nothing(tmp_path: Path) -> None:
    for suffix in CONTRACTS:
        write_photo(tmp_path / f"a{suffix}", make(3, np.uint8, metadata=True))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read_photo(tmp_path / f"a{suffix}")
