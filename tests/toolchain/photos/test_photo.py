"""Properties of photos in files: what is kept, what is refused, nothing is half-written."""

import contextlib
import errno
import io
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import ExifTags, Image

import restoration_toolchain.toolchain.photos.write as photo_write
from restoration_toolchain.toolchain.errors import PhotoError
from restoration_toolchain.toolchain.photos.paths import PhotoJob, find_photos, output_path
from restoration_toolchain.toolchain.photos.read import Photo, read_photo
from restoration_toolchain.toolchain.photos.write import check_target, write_photo
from tests.toolchain.photos.conftest import (
    MAKE,
    ORIENTATION,
    SRGB,
    assert_same_pixels,
    photo_of,
)

HEIGHT, WIDTH = 11, 17


def noise(channels: int, dtype: Any, seed: int = 0) -> npt.NDArray[Any]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max + 1, (HEIGHT, WIDTH, channels), dtype=dtype)


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def one_line(error: pytest.ExceptionInfo[PhotoError]) -> str:
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


# What a round trip keeps ------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_untouched_photo_comes_back_exactly(
    tmp_path: Path, suffix: str, dtype: Any, channels: int
) -> None:
    photo = photo_of(noise(channels, dtype))
    assert write_photo(tmp_path / f"a{suffix}", photo) == ()
    assert_same_pixels(read_photo(tmp_path / f"a{suffix}"), photo)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_16_bit_value_survives(tmp_path: Path, suffix: str) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    photo = Photo(rgb=np.repeat(values / np.float32(65535), 3, axis=2), is_gray=True, bit_depth=16)
    write_photo(tmp_path / f"a{suffix}", photo)
    again = read_photo(tmp_path / f"a{suffix}")
    assert np.array_equal(np.rint(again.rgb[:, :, :1] * 65535), values)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_other_programs_read_our_16_bit_colours(tmp_path: Path, suffix: str, channels: int) -> None:
    samples = noise(channels, np.uint16)
    write_photo(tmp_path / f"a{suffix}", photo_of(samples))
    with Image.open(tmp_path / f"a{suffix}") as image:
        eight_bits = np.asarray(image)
    assert eight_bits.shape == samples.shape
    assert np.abs(eight_bits.astype(int) - samples / 257).max() <= 1
    if suffix == ".tif":
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            assert file.pages[0].shape == samples.shape


def test_bmp_keeps_8_bit_colours(tmp_path: Path) -> None:
    for channels in (1, 3):
        photo = photo_of(noise(channels, np.uint8))
        write_photo(tmp_path / "a.bmp", photo, overwrite=True)
        assert_same_pixels(read_photo(tmp_path / "a.bmp"), photo)


@pytest.mark.parametrize(("suffix", "lost"), [(".jpg", 2), (".bmp", 2), (".webp", 1)])
def test_what_a_format_cannot_hold_is_left_out_and_said(
    tmp_path: Path, suffix: str, lost: int
) -> None:
    samples = np.full((HEIGHT, WIDTH, 4), 40000, np.uint16)
    notes = write_photo(tmp_path / f"a{suffix}", photo_of(samples))
    again = read_photo(tmp_path / f"a{suffix}")
    assert len(notes) == lost
    assert again.bit_depth == 8
    assert (again.alpha is None) == (suffix != ".webp")
    assert np.abs(again.rgb - 40000 / 65535).max() < 3 / 255
    if again.alpha is not None:
        assert (again.alpha == round(40000 / 257)).all()


def test_jpeg_is_written_at_quality_95_with_full_colour_resolution(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", photo_of(noise(3, np.uint8)))
    Image.fromarray(noise(3, np.uint8)).save(tmp_path / "b.jpg", quality=95, subsampling=0)
    with Image.open(tmp_path / "a.jpg") as ours, Image.open(tmp_path / "b.jpg") as theirs:
        assert ours.layer == theirs.layer  # type: ignore[attr-defined]
        assert ours.quantization == theirs.quantization  # type: ignore[attr-defined]


def test_a_gray_jpeg_stays_gray(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", photo_of(noise(1, np.uint8)))
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.mode == "L"


def test_colours_outside_the_range_are_clipped(tmp_path: Path) -> None:
    rgb = np.array([[[-0.5, 0.5, 1.5]]], np.float32)
    write_photo(tmp_path / "a.png", Photo(rgb=rgb))
    assert read_photo(tmp_path / "a.png").rgb.ravel() == pytest.approx([0, 128 / 255, 1])


# Modes of other programs ------------------------------------------------------------------------


def test_palette_images_become_rgb_or_gray(tmp_path: Path) -> None:
    palette = Image.fromarray(noise(3, np.uint8)).quantize(16)
    photo = read_photo(save(palette, tmp_path / "a.png"))
    assert not photo.is_gray
    assert np.array_equal(photo.rgb, np.asarray(palette.convert("RGB")) / np.float32(255))
    gray = Image.fromarray(noise(1, np.uint8)[:, :, 0] // 64 * 64).convert("P")
    assert read_photo(save(gray, tmp_path / "b.png")).is_gray


def test_a_transparent_palette_colour_becomes_alpha(tmp_path: Path) -> None:
    palette = Image.fromarray(noise(3, np.uint8)).quantize(4)
    photo = read_photo(save(palette, tmp_path / "a.png", transparency=2))
    assert photo.alpha is not None
    assert np.array_equal(photo.alpha == 0, np.asarray(palette) == 2)


def test_one_bit_images_become_gray(tmp_path: Path) -> None:
    bits = noise(1, np.uint8)[:, :, 0] > 127
    photo = read_photo(save(Image.fromarray(bits), tmp_path / "a.png"))
    assert photo.is_gray
    assert np.array_equal(photo.rgb[:, :, 0], bits)


@pytest.mark.parametrize("with_profile", [False, True])
def test_cmyk_becomes_rgb_without_its_profile(tmp_path: Path, with_profile: bool) -> None:
    image = Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0))
    options = {"icc_profile": SRGB} if with_profile else {}  # a wrong profile must not hurt
    photo = read_photo(save(image, tmp_path / "a.jpg", quality=100, **options))
    assert photo.rgb[5, 5] == pytest.approx([1, 0, 0], abs=0.02)
    assert photo.icc is None
    assert len(photo.notes) == 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_gray_of_pillow_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    gray = noise(1, np.uint16)[:, :, 0]
    photo = read_photo(save(Image.fromarray(gray), tmp_path / f"a{suffix}"))
    assert photo.is_gray
    assert photo.bit_depth == 16
    assert np.array_equal(np.rint(photo.rgb[:, :, 1] * 65535), gray)


def test_a_transparent_16_bit_colour_becomes_alpha(tmp_path: Path) -> None:
    samples = noise(3, np.uint16)
    write_photo(tmp_path / "a.png", photo_of(samples))
    content = (tmp_path / "a.png").read_bytes()
    chunk = png_chunk(b"tRNS", samples[3, 4].astype(">u2").tobytes())
    (tmp_path / "b.png").write_bytes(content[:33] + chunk + content[33:])
    photo = read_photo(tmp_path / "b.png")
    assert photo.alpha is not None
    assert photo.alpha.dtype == np.uint16
    assert np.argwhere(photo.alpha == 0).tolist() == [[3, 4]]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_the_first_frame_of_several_is_read_and_that_is_said(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), c) for c in ("red", "blue")]
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    photo = read_photo(path)
    assert photo.rgb[5, 5] == pytest.approx([1, 0, 0], abs=0.02)
    assert "first of 2" in photo.notes[0]


def test_32_bit_samples_are_refused(tmp_path: Path) -> None:
    path = save(Image.fromarray(np.ones((4, 4), np.float32)), tmp_path / "a.tif")
    with pytest.raises(PhotoError, match="32-bit") as error:
        read_photo(path)
    one_line(error)


# EXIF and colour profiles -----------------------------------------------------------------------


def turned(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """The array as a camera held that way would store it: undone by each viewer (EXIF 2.32)."""
    undo = {1: array, 2: array[:, ::-1], 3: array[::-1, ::-1], 4: array[::-1],
            5: array.swapaxes(0, 1), 6: np.rot90(array, 1), 7: np.rot90(array[::-1, ::-1], 0)
            .swapaxes(0, 1), 8: np.rot90(array, -1)}  # fmt: skip
    return np.ascontiguousarray(undo[orientation])


@pytest.mark.parametrize("kind", ["png8", "png16", "tif8", "tif16", "tif16la", "webp", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright_once(tmp_path: Path, orientation: int, kind: str) -> None:
    channels = 2 if kind.endswith("la") else 3
    dtype = np.uint16 if "16" in kind else np.uint8
    peak = np.iinfo(dtype).max
    upright = np.zeros((48, 32, channels), dtype)
    upright[:16, :16] = peak  # top left
    upright[16:32, :16, 0] = peak // 2
    stored, path = turned(upright, orientation), tmp_path / f"a.{kind[:3].replace('web', 'webp')}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if kind.startswith("tif"):
        tag = [(ORIENTATION, 3, 1, orientation, True)]
        extra: dict[str, Any] = {"extrasamples": ["unassalpha"]} if channels == 2 else {}
        photometric = "minisblack" if channels == 2 else "rgb"
        tifffile.imwrite(path, stored, photometric=photometric, planarconfig="contig",
                         extratags=tag, metadata=None, **extra)  # fmt: skip
    elif kind == "png16":
        write_photo(path, Photo(rgb=(stored / peak).astype(np.float32), bit_depth=16))
        content = path.read_bytes()
        chunk = png_chunk(b"eXIf", exif.tobytes()[6:])
        path.write_bytes(content[:33] + chunk + content[33:])
    else:
        Image.fromarray(stored).save(path, exif=exif.tobytes(), quality=100, lossless=True)
    photo = read_photo(path)
    assert photo.rgb.shape == (48, 32, 3)
    assert np.abs(photo.rgb[:, :, 0] - upright[:, :, 0] / peak).mean() < 0.01
    write_photo(tmp_path / "again.png", photo)
    again = read_photo(tmp_path / "again.png")
    assert_same_pixels(again, photo)


def full_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[MAKE] = "A camera"
    exif[ORIENTATION] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[0x829A] = 0.004  # exposure time, s
    exif.get_ifd(ExifTags.IFD.Exif)[0xA002] = WIDTH
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    return exif


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_exif_and_profile_are_kept_with_orientation_one(
    tmp_path: Path, suffix: str, depth: int
) -> None:
    source = save(Image.fromarray(noise(3, np.uint8)), tmp_path / "source.jpg",
                  exif=full_exif().tobytes(), icc_profile=SRGB)  # fmt: skip
    photo = read_photo(source)
    photo = Photo(rgb=photo.rgb, exif=photo.exif, icc=photo.icc, bit_depth=16 if depth == 16 else 8)
    write_photo(tmp_path / f"a{suffix}", photo)
    again = read_photo(tmp_path / f"a{suffix}")
    assert again.icc == SRGB
    assert again.rgb.shape == (WIDTH, HEIGHT, 3)
    with Image.open(tmp_path / f"a{suffix}") as image:
        image.load()
        exif = image.getexif()
        assert exif[MAKE] == "A camera"
        assert exif.get(ORIENTATION, 1) == 1
        assert exif.get_ifd(ExifTags.IFD.Exif)[0x829A] == pytest.approx(0.004)
        assert 0xA002 not in exif.get_ifd(ExifTags.IFD.Exif)
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
    assert again.exif is not None
    kept = Image.Exif()
    kept.load(again.exif)
    assert kept[ORIENTATION] == 1


def test_a_profile_for_another_kind_of_image_is_left_out(tmp_path: Path) -> None:
    notes = write_photo(tmp_path / "a.png", photo_of(noise(1, np.uint8), icc=SRGB))
    assert len(notes) == 1
    assert read_photo(tmp_path / "a.png").icc is None


# Bad input --------------------------------------------------------------------------------------


def encoded(file_format: str, dtype: Any = np.uint8, channels: int = 3) -> bytes:
    if dtype == np.uint16:
        return photo_write._encode(photo_of(noise(channels, dtype)), file_format)
    stream = io.BytesIO()
    Image.fromarray(noise(3, dtype)).save(stream, file_format)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("text.png", b"this is not a picture\n" * 20, "not an image"),
        ("text.tif", b"this is not a picture\n" * 20, "not an image"),
        ("empty.jpg", b"", "empty"),
        ("cut.jpg", encoded("JPEG")[:-200], "truncated"),
        ("cut.png", encoded("PNG")[:-100], "truncated"),
        ("cut.webp", encoded("WEBP")[:-100], "damaged|not an image"),
        ("cut.bmp", encoded("BMP")[:-100], "truncated"),
        ("cut.tif", encoded("TIFF")[:-100], "damaged|not an image"),
        ("cut16.png", encoded("PNG", np.uint16)[:-300], "truncated"),
        ("cut16.tif", encoded("TIFF", np.uint16)[:-300], "damaged"),
        ("cut16la.tif", encoded("TIFF", np.uint16, 2)[:-300], "damaged|not an image"),
        ("start.png", encoded("PNG")[:20], "not an image|damaged"),
        ("photo.xcf", b"anything", "unsupported"),
        ("photo", b"anything", "unsupported"),
    ],
)
def test_bad_files_get_one_clear_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=says) as error:
        read_photo(path)
    assert one_line(error).startswith(str(path))
    assert path.read_bytes() == content


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_random_damage_gives_no_other_error_and_no_warning(
    tmp_path: Path, file_format: str, channels: int
) -> None:
    rng = np.random.default_rng(channels)
    path = tmp_path / f"a.{file_format.lower()}"
    for _ in range(60):
        content = bytearray(encoded(file_format, np.uint16, channels))
        content[rng.integers(8, 200)] = rng.integers(256)
        path.write_bytes(content)
        with contextlib.suppress(PhotoError):
            read_photo(path, max_pixels=10_000)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="no such file"):
        read_photo(tmp_path / "missing.png")
    with pytest.raises(PhotoError, match="folder"):
        read_photo(tmp_path)


def test_a_file_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(Image.new("RGB", (4, 4)), tmp_path / "a.png")

    def refuse(*_: Any, **__: Any) -> None:  # chmod does not stop the superuser
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(PhotoError, match="permission"):
        read_photo(path)


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    content = bytearray(encoded("PNG"))
    header = b"IHDR" + (100_000).to_bytes(4) * 2 + content[24:29]
    content[8:33] = png_chunk(b"IHDR", header[4:])
    path = tmp_path / "bomb.png"
    path.write_bytes(content)
    with pytest.raises(PhotoError, match="200 megapixels"):
        read_photo(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [2, 3])
def test_the_limit_on_pixels_is_exact(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"a{suffix}"
    write_photo(path, photo_of(noise(channels, np.uint16)))
    assert read_photo(path, max_pixels=HEIGHT * WIDTH).rgb.shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(PhotoError, match="megapixels"):
        read_photo(path, max_pixels=HEIGHT * WIDTH - 1)


def test_pillows_own_limit_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(Image.new("RGB", (40, 40)), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_photo(path).rgb.shape == (40, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


# Writing: all or nothing ------------------------------------------------------------------------

PHOTO = photo_of(noise(3, np.uint8))


def test_missing_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_photo(tmp_path / "new" / "deep" / "a.png", PHOTO)
    assert os.listdir(tmp_path / "new" / "deep") == ["a.png"]


@pytest.mark.parametrize("call", ["os.replace", "os.fsync"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_full_disk_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, exists: bool
) -> None:
    path = tmp_path / "a.png"
    if exists:
        path.write_bytes(b"precious")

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(call, fail)
    with pytest.raises(PhotoError, match="No space left") as error:
        write_photo(path, PHOTO, overwrite=True)
    one_line(error)
    assert os.listdir(tmp_path) == (["a.png"] if exists else [])
    assert not exists or path.read_bytes() == b"precious"


def test_a_failing_encoder_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("the encoder\nfailed")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(PhotoError, match="the encoder failed"):
        write_photo(tmp_path / "new" / "a.png", PHOTO)
    assert os.listdir(tmp_path) == []


def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_photo(tmp_path / "a.png", PHOTO)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PhotoError, match="cannot write") as error:
        write_photo(tmp_path / "file" / "a.png", PHOTO)
    one_line(error)


def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(PhotoError, match="exists"):
        write_photo(path, PHOTO)
    assert path.read_bytes() == b"precious"
    write_photo(path, PHOTO, overwrite=True)
    assert_same_pixels(read_photo(path), PHOTO)


@pytest.mark.parametrize("link", ["none", "symbolic", "hard"])
def test_the_source_is_never_overwritten(tmp_path: Path, link: str) -> None:
    source = save(Image.fromarray(noise(3, np.uint8)), tmp_path / "a.png")
    before = source.read_bytes()
    target = tmp_path / "sub" / ".." / "a.png"
    (tmp_path / "sub").mkdir()
    if link != "none":
        target = tmp_path / "b.png"
        target.symlink_to(source) if link == "symbolic" else target.hardlink_to(source)
    with pytest.raises(PhotoError, match="input photo"):
        write_photo(target, read_photo(source), overwrite=True)
    assert source.read_bytes() == before


@pytest.mark.parametrize("name", ["a.gif", "a.xcf", "a"])
def test_unknown_output_formats_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PhotoError, match="cannot write") as error:
        check_target(tmp_path / name, None)
    one_line(error)


def test_a_side_too_long_for_the_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="16383"):
        write_photo(tmp_path / "a.webp", Photo(rgb=np.zeros((1, 16384, 3), np.float32)))


# Finding photos ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.PNG", "a.jpg", "sub/c.tif", "sub/deep/d.gif", ".hidden.png", ".git/e.png",
                 "notes.txt", "results/a.jpg"):  # fmt: skip
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "photos" / "sub" / "loop").symlink_to(tmp_path / "photos")
    return tmp_path / "photos"


def test_folders_are_searched_in_order_without_hidden_files_and_loops(folder: Path) -> None:
    names = [str(job.relative) for job in find_photos([folder])]
    assert names == ["a.jpg", "b.PNG", "results/a.jpg", "sub/c.tif", "sub/deep/d.png"]


def test_the_folder_of_the_results_is_not_an_input(folder: Path) -> None:
    jobs = find_photos([folder], exclude=folder / "sub" / ".." / "results")
    assert "results/a.jpg" not in {str(job.relative) for job in jobs}
    assert len(find_photos([folder], exclude=folder)) == 5


def test_a_photo_named_twice_counts_once(folder: Path) -> None:
    assert len(find_photos([folder / "a.jpg", folder / "sub" / ".." / "a.jpg"])) == 1


def test_two_results_of_one_name_are_refused(folder: Path) -> None:
    with pytest.raises(PhotoError, match="both be written to") as error:
        find_photos([folder / "a.jpg", folder / "results" / "a.jpg"])
    message = one_line(error)
    assert str(folder / "a.jpg") in message
    assert str(folder / "results" / "a.jpg") in message


def test_missing_unsuitable_and_empty_inputs_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, says in ((tmp_path / "no", "no such"), (folder / "notes.txt", "unsupported"),
                       (tmp_path / "empty", "no photos")):  # fmt: skip
        with pytest.raises(PhotoError, match=says) as error:
            find_photos([folder, path])
        assert str(path) in one_line(error)


def test_results_go_to_the_file_or_below_the_folder(tmp_path: Path) -> None:
    named, found = (
        PhotoJob(Path("x/a.jpg"), Path("a.jpg")),
        PhotoJob(Path("a.jpg"), Path("s/a.jpg"), True),
    )
    out, file = tmp_path / "out", tmp_path / "new.png"
    assert output_path(named, file, n_inputs=1) == file
    assert output_path(named, out, n_inputs=1) == out / "a.jpg"
    assert output_path(found, out, n_inputs=1) == out / "s/a.jpg"
    for job, n_inputs in ((named, 2), (found, 1)):
        with pytest.raises(PhotoError, match="folder"):
            output_path(job, file, n_inputs=n_inputs)
    file.mkdir()
    assert output_path(named, file, n_inputs=1) == file / "a.jpg"
    (tmp_path / "plain").write_text("x")
    with pytest.raises(PhotoError, match="is a file"):
        output_path(named, tmp_path / "plain", n_inputs=2)
