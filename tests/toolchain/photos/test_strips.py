"""Properties of photos that are read and written row by row: the same as at once, or one line."""

import dataclasses
import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from restoration_toolchain.toolchain.batches.batch import PlannedPhoto, restore_batch
from restoration_toolchain.toolchain.batches.memory import MemoryBudget, photo_bytes
from restoration_toolchain.toolchain.errors import PhotoError
from restoration_toolchain.toolchain.photos import strips as photo_strips
from restoration_toolchain.toolchain.photos.arrays import Scratch
from restoration_toolchain.toolchain.photos.read import Photo, PhotoHeader, read_header, read_photo
from restoration_toolchain.toolchain.photos.write import write_photo
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings
from tests.toolchain.conftest import SEQUENCE, MakeRestorer, random_samples
from tests.toolchain.photos.conftest import SRGB, assert_same_pixels, exif_block, photo_of

pytest.importorskip("pyvips", reason="the extra huge is not installed")

HEIGHT, WIDTH = 601, 67  # several bands, and no whole blocks of a JPEG
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="1" a="\xc3\xa9"/>'
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def smooth_samples(channels: int) -> npt.NDArray[np.uint8]:
    """A picture that JPEG changes little: colour rises from corner to corner, with some noise."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [60 + x + y / 8, 200 - y / 4, 90 + x * y / 600][:channels]
    noise = random_samples(HEIGHT, WIDTH, channels) / 8
    return np.asarray(np.stack(planes, axis=2) + noise - 16).clip(0, 255).astype(np.uint8)


def image_of(samples: npt.NDArray[Any]) -> Image.Image:
    return Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)


def assert_same_photo(first: Photo, second: Photo) -> None:
    assert_same_pixels(first, second)
    for name in ("source", "exif", "icc", "xmp", "notes"):
        assert getattr(first, name) == getattr(second, name), name


def in_strips(path: Path) -> bool:
    header = read_header(path)
    assert header is not None
    return header.in_strips


def assert_read_alike(path: Path, folder: Path) -> Photo:
    """The photo, which is the same either way."""
    assert in_strips(path)
    whole = read_photo(path)
    assert_same_photo(read_photo(path, arrays=Scratch(folder), in_strips=True), whole)
    return whole


# Reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_all_that_a_photo_says_is_read_and_it_is_turned_once(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    path = tmp_path / f"a{suffix}"
    options: dict[str, Any] = {"icc_profile": SRGB, "exif": exif_block(orientation)}
    if suffix == ".png":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options["pnginfo"] = text
    elif suffix == ".jpg":
        options["xmp"] = XMP
    image_of(smooth_samples(3)).save(path, **options)
    photo = assert_read_alike(path, tmp_path)
    assert photo.rgb.shape[:2] == ((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))
    assert photo.exif is not None
    assert photo.icc == SRGB


@pytest.mark.parametrize("options", [
    {}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 30}, {"quality": 100},
    {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1},
    {"keep_rgb": True, "subsampling": 0},
])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_has_the_same_samples(
    tmp_path: Path, channels: int, options: dict[str, Any]
) -> None:
    image_of(smooth_samples(channels)).save(tmp_path / "a.jpg", **options)
    assert_read_alike(tmp_path / "a.jpg", tmp_path)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (17, 3000)])
def test_narrow_photos_have_the_same_samples(tmp_path: Path, size: tuple[int, int]) -> None:
    for suffix in (".jpg", ".png", ".tif"):
        image_of(random_samples(*size)).save(tmp_path / f"a{suffix}")
        assert_read_alike(tmp_path / f"a{suffix}", tmp_path)


def test_of_a_jpeg_with_a_second_image_the_first_is_read(tmp_path: Path) -> None:
    second = image_of(random_samples(30, 40))
    path = tmp_path / "a.jpg"
    image_of(smooth_samples(3)).save(path, "MPO", save_all=True, append_images=[second])
    assert_read_alike(path, tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_lossless_photos_have_the_same_samples(
    tmp_path: Path, suffix: str, dtype: Any, channels: int
) -> None:
    samples = random_samples(HEIGHT, WIDTH, channels, dtype)
    path = tmp_path / f"a{suffix}"
    write_photo(path, photo_of(samples, exif=exif_block(), xmp=XMP))
    if suffix == ".tif" and dtype == np.uint16 and channels == 2:  # Pillow does not open it
        assert read_header(path) is None
        return
    assert_read_alike(path, tmp_path)


@pytest.mark.parametrize("options", [
    {}, {"compression": "zlib", "predictor": True}, {"rowsperstrip": HEIGHT}, {"rowsperstrip": 1},
    {"tile": (64, 32)}, {"byteorder": ">"}, {"bigtiff": True},
])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("orientation", [1, 6])
def test_tiffs_of_other_programs_have_the_same_samples(
    tmp_path: Path, dtype: Any, orientation: int, options: dict[str, Any]
) -> None:
    samples = random_samples(HEIGHT, WIDTH, 3, dtype)
    turned = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(
        tmp_path / "a.tif", samples, photometric="rgb", metadata=None, extratags=turned, **options
    )
    assert_read_alike(tmp_path / "a.tif", tmp_path)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", None])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_compression_of_a_tiff_has_the_same_samples(
    tmp_path: Path, channels: int, compression: str | None
) -> None:
    image = image_of(random_samples(HEIGHT, WIDTH, channels))
    image.save(tmp_path / "a.tif", compression=compression)
    assert_read_alike(tmp_path / "a.tif", tmp_path)


def test_of_several_pages_the_first_is_read_and_that_is_said(tmp_path: Path) -> None:
    pages = [image_of(random_samples(HEIGHT, WIDTH)), Image.new("RGB", (9, 9))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    photo = assert_read_alike(tmp_path / "a.tif", tmp_path)
    assert ["only the first of 2 pages" in note for note in photo.notes] == [True]


def test_what_a_png_says_behind_its_pixels_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image_of(smooth_samples(3)).save(path)
    content, end = path.read_bytes(), photo_strips.png_chunk(b"IEND", b"")
    exif = photo_strips.png_chunk(b"eXIf", exif_block(6).removeprefix(b"Exif\x00\x00"))
    path.write_bytes(content.removesuffix(end) + exif + end)
    assert assert_read_alike(path, tmp_path).rgb.shape == (WIDTH, HEIGHT, 3)


UNFIT: dict[str, Callable[[Path], None]] = {
    "palette.png": lambda path: image_of(smooth_samples(3)).quantize(16).save(path),
    "bit.png": lambda path: Image.new("1", (9, 9), 1).save(path),
    "key.png": lambda path: image_of(smooth_samples(3)).save(path, transparency=(1, 2, 3)),
    "cmyk.jpg": lambda path: Image.new("CMYK", (9, 9), (0, 255, 255, 0)).save(path),
    "cmyk.tif": lambda path: Image.new("CMYK", (9, 9), (0, 255, 255, 0)).save(path),
    "jpeg.tif": lambda path: image_of(smooth_samples(3)).save(path, compression="jpeg"),
    "white.tif": lambda path: tifffile.imwrite(
        path, random_samples(9, 9, 1)[:, :, 0], photometric="miniswhite"
    ),
    "planes.tif": lambda path: tifffile.imwrite(
        path, random_samples(3, 9, 9), photometric="rgb", planarconfig="separate"
    ),
    "premultiplied.tif": lambda path: tifffile.imwrite(
        path, random_samples(9, 9, 4), photometric="rgb", extrasamples=["assocalpha"]
    ),
    "a.webp": lambda path: image_of(smooth_samples(3)).save(path),
    "a.bmp": lambda path: image_of(smooth_samples(3)).save(path),
}


@pytest.mark.parametrize("name", UNFIT)
def test_other_kinds_are_decoded_at_once_even_if_strips_are_asked_for(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    UNFIT[name](path)
    assert not in_strips(path)
    assert_same_photo(read_photo(path, in_strips=True), read_photo(path))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_damaged_photo_is_one_line(tmp_path: Path, suffix: str) -> None:
    image_of(random_samples(HEIGHT, WIDTH)).save(tmp_path / f"a{suffix}")
    content = (tmp_path / f"a{suffix}").read_bytes()
    path = tmp_path / f"b{suffix}"
    for kept in (0.3, 0.7, 0.95):
        path.write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(PhotoError) as error:
            read_photo(path, in_strips=True)
        assert "\n" not in str(error.value)
    rng = np.random.default_rng(0)
    for _ in range(20):
        damaged = bytearray(content)
        damaged[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        assert "\n" not in what_is_said(path)


def what_is_said(path: Path) -> str:
    """Of a file that cannot be read; of a photo nothing."""
    try:
        read_photo(path, in_strips=True)
    except PhotoError as error:
        return str(error)
    return ""


# Writing ----------------------------------------------------------------------------------------


def write_in_strips(path: Path, photo: Photo) -> tuple[str, ...]:
    photo = dataclasses.replace(photo, arrays=Scratch(path.parent), in_strips=True)
    return write_photo(path, photo)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_lossless_results_are_the_same(
    tmp_path: Path, suffix: str, dtype: Any, channels: int
) -> None:
    icc = None if channels <= 2 else SRGB
    samples = random_samples(HEIGHT, WIDTH, channels, dtype)
    photo = photo_of(samples, exif=exif_block(), icc=icc, xmp=XMP)
    strips, whole = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    assert write_in_strips(strips, photo) == write_photo(whole, photo)
    first, second = read_photo(strips), read_photo(whole)
    assert_same_photo(first.with_rgb(second.rgb), dataclasses.replace(second, source=strips))
    assert np.array_equal(first.rgb, photo.rgb)
    if suffix == ".tif" or dtype == np.uint16:  # one encoder for both
        assert strips.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("icc", [None, SRGB, SRGB + bytes(150_000)], ids=["none", "srgb", "long"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_has_the_same_pixels_and_says_the_same(
    tmp_path: Path, channels: int, icc: bytes | None
) -> None:
    about = {"exif": exif_block(), "icc": icc if channels == 3 else None, "xmp": XMP}
    photo = photo_of(smooth_samples(channels), **about)
    strips, whole = tmp_path / "a.jpg", tmp_path / "b.jpg"
    write_in_strips(strips, photo)
    write_photo(whole, photo)
    again = read_photo(strips)
    assert_same_photo(again, dataclasses.replace(read_photo(whole), source=strips))
    assert (again.exif, again.icc, again.xmp) == (photo.exif, photo.icc, photo.xmp)
    assert strips.stat().st_size < 1.1 * whole.stat().st_size


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(photo_strips._Receiver, "_take", full)
    photo = photo_of(smooth_samples(3))
    with pytest.raises(PhotoError, match="No space left on device") as error:
        write_in_strips(tmp_path / "a.jpg", photo)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file_format", "is_deep", "file_bytes"),
    [("JPEG", False, 130_000_000), ("PNG", True, 900_000_000), ("TIFF", True, 1_200_000_000)],
)
def test_200_megapixels_take_less_than_is_free_within_1g(
    file_format: str, is_deep: bool, file_bytes: int
) -> None:
    header = PhotoHeader(
        width=16_330, height=12_247, file_format=file_format, channels=3, is_deep=is_deep,
        is_progressive=False, file_bytes=file_bytes, in_strips=True,
    )  # fmt: skip
    needs = photo_bytes(header, file_format, RestoreSettings())
    assert needs.in_strips is not None
    assert needs.in_strips < 400 << 20  # what the program and tiles leave of 1 GiB


# In a batch -------------------------------------------------------------------------------------


def plan_with_room_for_strips_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> PlannedPhoto:
    monkeypatch.setattr("restoration_toolchain.toolchain.batches.memory._STRIPS_BYTES", 0)
    monkeypatch.setattr("restoration_toolchain.toolchain.batches.memory.ROWS_KEPT", 16)
    source = tmp_path / f"in{suffix}"
    image_of(smooth_samples(3)).save(source, exif=exif_block(6))
    header = read_header(source)
    assert header is not None
    file_format = {".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF"}[suffix]
    needs = photo_bytes(header, file_format, RestoreSettings())
    assert needs.in_strips is not None
    assert needs.on_disk is not None
    assert needs.in_strips < needs.on_disk
    room = needs.in_strips
    monkeypatch.setattr(MemoryBudget, "fits", lambda self, n_bytes: n_bytes <= room)
    return PlannedPhoto(source, tmp_path / f"out/a{suffix}", Path(f"a{suffix}"))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_photo_that_cannot_be_decoded_at_once_is_restored_to_the_same(
    tmp_path: Path, make_restorer: MakeRestorer, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    restorer = make_restorer(*SEQUENCE)
    planned = plan_with_room_for_strips_only(tmp_path, monkeypatch, suffix)
    expected = PlannedPhoto(planned.source, tmp_path / f"b{suffix}", planned.relative)
    (ordinary,) = restore_batch(restorer, [expected])
    read = photo_strips.StripRows.__getitem__
    n_read = []

    def counted(self: photo_strips.StripRows, part: slice) -> Any:
        n_read.append(part)
        return read(self, part)

    monkeypatch.setattr(photo_strips.StripRows, "__getitem__", counted)
    (outcome,) = restore_batch(
        restorer, [planned], max_memory=1 << 40, steps_folder=tmp_path / "steps"
    )
    assert outcome.error is ordinary.error is None
    assert n_read
    first, second = read_photo(planned.target), read_photo(expected.target)
    assert_same_photo(first, dataclasses.replace(second, source=planned.target))
    assert len(list((tmp_path / "steps").glob("*/*.png"))) == 1 + len(SEQUENCE)
    assert sorted(path.name for path in planned.target.parent.iterdir()) == [planned.target.name]


def test_without_the_package_the_line_says_how_to_install_it(
    tmp_path: Path, make_restorer: MakeRestorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan_with_room_for_strips_only(tmp_path, monkeypatch, ".jpg")
    monkeypatch.setitem(sys.modules, "pyvips", None)
    (outcome,) = restore_batch(make_restorer(*SEQUENCE), [planned], max_memory=1 << 40)
    assert outcome.error is not None
    assert "do not fit into --max-memory" in outcome.error
    assert "pip install 'restoration-toolchain[huge]'" in outcome.error
    assert "\n" not in outcome.error
    with pytest.raises(PhotoError, match="pip install 'restoration-toolchain"):
        read_photo(planned.source, in_strips=True)
