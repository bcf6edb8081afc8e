"""Properties of the clean-image sources."""

import itertools
import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restoration_toolchain.data.errors import (
    OfflineError,
    SourceError,
    ToolchainError,
    UnknownNameError,
)
from restoration_toolchain.data.photos.files import read_rgb
from restoration_toolchain.data.photos.public_sets import PUBLIC_SETS
from restoration_toolchain.data.photos.sources import (
    EMBEDDED_PHOTOS,
    CleanSource,
    open_source,
)


def colourful(height: int = 12, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colourful() if pixels is None else pixels).save(path, **options)
    return path


def names(source: CleanSource) -> list[str]:
    return [name for name, _ in source]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_folder_yields_the_photos_of_every_depth_and_format_in_the_order_of_their_names(tmp_path):
    for name in ("b.PNG", "a.bmp", "sub/z.Tiff", "sub/deep/c.webp", "sub/d.jpg", "e.JPEG", "f.tif"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo")
    source = open_source(tmp_path)
    expected = ["a.bmp", "b.PNG", "e.JPEG", "f.tif", "sub/d.jpg", "sub/deep/c.webp", "sub/z.Tiff"]
    assert names(source) == expected
    assert names(source) == expected
    assert len(source) == 7
    assert source.skipped == []


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_a_lossless_photo_arrives_pixel_for_pixel(tmp_path, suffix):
    save(tmp_path / f"a{suffix}")
    (_, photo), *_ = open_source(tmp_path)
    assert photo.dtype == np.uint8
    np.testing.assert_array_equal(photo, colourful())


def test_hidden_files_and_folders_are_ignored(tmp_path):
    for name in ("a.png", ".b.png", ".thumbnails/c.png"):
        save(tmp_path / name)
    assert names(open_source(tmp_path)) == ["a.png"]


def test_a_link_back_up_the_tree_ends_there_and_a_linked_folder_is_read_once(tmp_path):
    save(tmp_path / "elsewhere" / "x.png")
    save(tmp_path / "photos" / "sub" / "a.png")
    (tmp_path / "photos" / "sub" / "up").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "one").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "two").symlink_to(tmp_path / "elsewhere")
    assert names(open_source(tmp_path / "photos")) == ["one/x.png", "sub/a.png"]


def test_unreadable_files_are_skipped_with_a_reason_and_the_others_come(tmp_path):
    save(tmp_path / "b.png")
    save(tmp_path / "z.jpg", colourful(64, 64))
    whole = (tmp_path / "z.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("not a photo")
    (tmp_path / "empty.png").touch()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    source = open_source(tmp_path)
    assert names(source) == ["b.png", "z.jpg"]
    skipped = {file.path.name: file.reason for file in source.skipped}
    assert skipped.keys() == {
        "truncated.jpg",
        "text.png",
        "empty.png",
        "dangling.png",
        "loop.png",
        "float.tif",
    }
    assert skipped["text.png"] == "not an image"
    assert all(reason and "\n" not in reason for reason in skipped.values())
    assert names(source) == ["b.png", "z.jpg"]
    assert len(source.skipped) == 6, "a second pass must not list them twice"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_skipped_without_waiting_for_a_writer(tmp_path):
    save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    source = open_source(tmp_path)
    reader = threading.Thread(target=lambda: names(source), daemon=True)
    reader.start()
    reader.join(timeout=10)
    assert not reader.is_alive()
    assert [file.reason for file in source.skipped] == ["not a regular file"]


def test_a_decompression_bomb_is_skipped(tmp_path, monkeypatch):
    save(tmp_path / "a.png", colourful(4, 4))
    save(tmp_path / "bomb.png", colourful(200, 200))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    source = open_source(tmp_path)
    assert names(source) == ["a.png"]
    assert [file.path.name for file in source.skipped] == ["bomb.png"]


def test_photos_are_read_lazily(tmp_path):
    for name in ("a.png", "b.png"):
        save(tmp_path / name)
    photos = iter(open_source(tmp_path))
    assert next(photos)[0] == "a.png"
    (tmp_path / "b.png").write_text("damaged after the first was read")
    assert list(photos) == []


def test_gray_becomes_three_equal_channels(tmp_path):
    gray = colourful()[..., 0]
    photo = read_rgb(save(tmp_path / "gray.png", gray))
    np.testing.assert_array_equal(photo, np.stack([gray] * 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_gray_is_scaled_to_8_bit(tmp_path, suffix):
    eight = np.arange(256, dtype=np.uint16).reshape(16, 16)
    photo = read_rgb(save(tmp_path / f"a{suffix}", eight * 257))
    np.testing.assert_array_equal(photo[..., 0], eight)
    assert photo.shape == (16, 16, 3)


def test_16_bit_colour_is_scaled_to_8_bit(tmp_path):
    import cv2

    eight = colourful()
    cv2.imwrite(str(tmp_path / "a.png"), eight[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), eight)


def test_transparency_is_dropped_and_the_colours_stay(tmp_path):
    rgba = np.concatenate([colourful(), np.full((12, 16, 1), 7, np.uint8)], axis=2)
    np.testing.assert_array_equal(read_rgb(save(tmp_path / "a.png", rgba)), colourful())


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_a_photo_stands_upright_as_its_exif_says(tmp_path, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_rgb(path), np.rot90(colourful(), turns))


def test_the_embedded_photos_need_no_network_and_are_colourful(no_network):
    photos = dict(open_source("embedded", offline=True))
    assert len(photos) == len(EMBEDDED_PHOTOS) == len(open_source("embedded"))
    for photo in photos.values():
        assert photo.dtype == np.uint8
        assert min(photo.shape[:2]) >= 300
        assert np.ptp(photo.astype(int), axis=2).mean() > 10, "gray, or nearly"
    for one, other in itertools.combinations(photos.values(), 2):
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir()])
def test_a_missing_or_empty_folder_is_one_clear_line(tmp_path, make):
    make(tmp_path / "photos")
    with pytest.raises(SourceError, match="photos") as error:
        open_source(tmp_path / "photos")
    assert "\n" not in str(error.value)


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match="is a file"):
        open_source(str(save(tmp_path / "a.png")))


def test_a_folder_of_damaged_photos_is_an_error_that_names_one(tmp_path):
    (tmp_path / "broken.png").write_text("not a photo")
    with pytest.raises(SourceError, match="broken.png: not an image"):
        list(open_source(tmp_path))


def test_a_mistyped_name_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'embedded'"):
        open_source("embeded")


@pytest.mark.parametrize("path", ["./embeded", "no/such/folder", "~/no-such-folder"])
def test_what_looks_like_a_path_is_not_taken_for_a_name(path):
    with pytest.raises(SourceError, match="no folder"):
        open_source(path)


def test_a_name_wins_over_a_folder_that_a_path_still_reaches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "embedded" / "mine.png")
    assert len(open_source("embedded")) == len(EMBEDDED_PHOTOS)
    assert [name for name, _ in open_source("./embedded")] == ["mine.png"]


@pytest.mark.parametrize("name", PUBLIC_SETS)
def test_a_public_set_that_is_not_in_the_cache_says_so_when_offline(name, tmp_path, no_network):
    with pytest.raises(OfflineError, match="network is off") as error:
        open_source(name, cache_dir=tmp_path, offline=True)
    assert PUBLIC_SETS[name].url in str(error.value)
    assert isinstance(error.value, ToolchainError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", PUBLIC_SETS)
def test_a_public_set_in_the_cache_needs_no_network(name, tmp_path, no_network):
    chosen = PUBLIC_SETS[name]
    save(tmp_path / Path(chosen.file_name).stem / chosen.subfolder / "a.png")
    source = open_source(name, cache_dir=tmp_path, offline=True)
    assert [identifier for identifier, _ in source] == ["a.png"]
