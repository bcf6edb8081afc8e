"""Properties of downloads, against a server on this machine that misbehaves on request."""

import dataclasses
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from restoration_toolchain.data.errors import ChecksumError, DownloadError, OfflineError
from restoration_toolchain.data.photos import public_sets
from restoration_toolchain.data.photos.download import ATTEMPTS, CHUNK_BYTES, extract, fetch
from restoration_toolchain.data.photos.public_sets import PublicSet
from restoration_toolchain.data.photos.sources import open_source

CONTENT = np.random.default_rng(0).bytes(3 * CHUNK_BYTES // 2)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """What the server does, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    supports_range: bool = True
    status: int = 200
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which the connection of the first, second, ... request is dropped."""
    ranges: list[str | None] = field(default_factory=list)


def handler_of(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            site.ranges.append(wanted)
            if site.status != 200:
                self.send_error(site.status)
                return
            start = int(wanted[6:-1]) if wanted and site.supports_range else 0
            if start >= len(site.content):
                self.send_error(416)
                return
            body = site.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: site.cut_after.pop(0)] if site.cut_after else body)

        def log_message(self, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(site))
    site.url = f"http://127.0.0.1:{server.server_port}/set.zip"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "cache" / "set.zip"


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def leave_part(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(content)


def test_a_whole_file_arrives_and_progress_ends_at_its_size(site, target):
    seen: list[tuple[int, int | None]] = []
    fetch(site.url, SHA256, target, progress=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert len(seen) > 1


def test_a_file_that_is_there_is_not_fetched_again(site, target):
    fetch(site.url, SHA256, target)
    fetch(site.url, SHA256, target)
    fetch(site.url, SHA256, target, offline=True)
    assert len(site.ranges) == 1


def test_an_interrupted_download_goes_on_where_it_stopped(site, target):
    leave_part(target, CONTENT[:1000])
    first: list[int] = []
    fetch(site.url, SHA256, target, progress=lambda done, total: first.append(done))
    assert target.read_bytes() == CONTENT
    assert site.ranges == ["bytes=1000-"]
    assert first[0] > 1000


def test_a_server_without_range_starts_over(site, target):
    site.supports_range = False
    leave_part(target, b"x" * 1000)
    fetch(site.url, SHA256, target)
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_complete_is_not_asked_for_again(site, target):
    leave_part(target, CONTENT)
    fetch(site.url, SHA256, target, size=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert site.ranges == []


def test_a_part_longer_than_the_file_is_thrown_away(site, target):
    leave_part(target, CONTENT + b"more")
    fetch(site.url, SHA256, target, pause=0)
    assert target.read_bytes() == CONTENT


def test_a_transfer_that_breaks_off_once_is_taken_up_again(site, target):
    site.cut_after = [70_000]
    fetch(site.url, SHA256, target, pause=0)
    assert target.read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=70000-"]


def test_a_transfer_that_keeps_breaking_off_is_given_up_and_its_beginning_kept(site, target):
    site.cut_after = [10_000] * ATTEMPTS
    with pytest.raises(DownloadError, match="breaking off"):
        fetch(site.url, SHA256, target, pause=0)
    assert len(site.ranges) == ATTEMPTS
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[: 10_000 * ATTEMPTS]
    fetch(site.url, SHA256, target)
    assert target.read_bytes() == CONTENT


def test_a_corrupted_file_is_refused_and_removed(site, target):
    site.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(ChecksumError, match="checksum"):
        fetch(site.url, SHA256, target)
    assert list(target.parent.iterdir()) == []


def test_a_file_of_another_size_is_refused_before_it_is_fetched(site, target):
    with pytest.raises(ChecksumError, match="bytes instead of"):
        fetch(site.url, SHA256, target, size=len(CONTENT) + 1)
    assert list(target.parent.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_not_used_and_not_overwritten(site, target):
    target.parent.mkdir()
    target.write_bytes(b"damaged")
    with pytest.raises(ChecksumError, match="delete it"):
        fetch(site.url, SHA256, target)
    assert target.read_bytes() == b"damaged"


def test_offline_asks_nobody_and_says_what_to_do(site, target):
    with pytest.raises(OfflineError, match="network is off") as error:
        fetch(site.url, SHA256, target, offline=True)
    assert "\n" not in str(error.value)
    assert site.ranges == []
    assert not target.parent.exists()


def test_a_missing_file_on_the_server_is_not_tried_again(site, target):
    site.status = 404
    with pytest.raises(DownloadError, match="404"):
        fetch(site.url, SHA256, target, pause=0)
    assert len(site.ranges) == 1


def test_a_server_in_trouble_is_tried_again(site, target):
    site.status = 503
    with pytest.raises(DownloadError, match="503"):
        fetch(site.url, SHA256, target, pause=0)
    assert len(site.ranges) == ATTEMPTS


def test_a_server_that_is_not_there_is_one_clear_line(target):
    with pytest.raises(DownloadError, match="cannot reach 127.0.0.1:9") as error:
        fetch("http://127.0.0.1:9/set.zip", SHA256, target, pause=0)
    assert "\n" not in str(error.value)


def test_a_cache_that_cannot_be_made_is_one_clear_line(site, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="cannot write"):
        fetch(site.url, SHA256, tmp_path / "file" / "set.zip")


def pack(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as packed:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                packed.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("suffix", ["zip", "tgz", "tar.gz"])
def test_an_archive_unpacks_to_the_files_it_holds(tmp_path, suffix):
    files = {"a.txt": b"one", "deep/er/b.txt": b"two"}
    extract(pack(tmp_path / f"set.{suffix}", files), tmp_path / "set")
    found = {
        path.relative_to(tmp_path / "set").as_posix(): path.read_bytes()
        for path in (tmp_path / "set").rglob("*")
        if path.is_file()
    }
    assert found == files


@pytest.mark.parametrize("suffix", ["zip", "tgz"])
@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "..\\out.txt"])
def test_an_archive_cannot_write_outside_its_folder(tmp_path, suffix, name):
    archive = pack(tmp_path / f"set.{suffix}", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(DownloadError, match="leads out of its folder"):
        extract(archive, tmp_path / "sub" / "set")
    assert list((tmp_path / "sub").iterdir()) == []
    assert not any("out.txt" in path.name for path in tmp_path.rglob("*"))


def test_links_in_an_archive_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "set.tgz", "w:gz") as packed:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/"
        packed.addfile(link)
        packed.addfile(tarfile.TarInfo("plain"), io.BytesIO())
    extract(tmp_path / "set.tgz", tmp_path / "set")
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["plain"]


@pytest.mark.parametrize("suffix", ["zip", "tgz"])
def test_a_damaged_archive_leaves_nothing_behind(tmp_path, suffix):
    archive = pack(tmp_path / f"set.{suffix}", {"a": CONTENT[:5000], "b": CONTENT[:5000]})
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(DownloadError, match="cannot unpack"):
        extract(archive, tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_a_public_set_is_fetched_once_unpacked_and_its_archive_removed(site, tmp_path, monkeypatch):
    import cv2

    coded = cv2.imencode(".png", np.full((8, 8, 3), 200, np.uint8))[1].tobytes()
    site.content = pack(tmp_path / "made.zip", {"inside/a.png": coded}).read_bytes()
    entry = PublicSet(
        url=site.url,
        sha256=hashlib.sha256(site.content).hexdigest(),
        size=len(site.content),
        subfolder="inside",
        licence="none",
        title="Tiny",
        weights_license="LicenseRef-tiny",
    )
    monkeypatch.setattr(public_sets, "PUBLIC_SETS", {"tiny": entry})
    monkeypatch.setattr("restoration_toolchain.data.photos.sources.PUBLIC_SETS", {"tiny": entry})
    cache = tmp_path / "cache"
    for _ in range(2):
        ((name, photo),) = open_source("tiny", cache_dir=cache)
        assert name == "a.png"
        assert photo.shape == (8, 8, 3)
    assert len(site.ranges) == 1
    assert [path.name for path in cache.iterdir()] == ["set"]


def table_of(path: Path, images: list[dict[str, bytes | str] | None]) -> Path:
    """A table of photos as the Hugging Face Hub has them."""
    import pyarrow
    import pyarrow.parquet

    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {"image": pyarrow.array(images, kind), "tags": ["some, words"] * len(images)}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def coded(suffix: str, value: int) -> bytes:
    import cv2

    return cv2.imencode(suffix, np.full((8, 8, 3), value, np.uint8))[1].tobytes()


def test_a_table_unpacks_to_its_photos_some_of_which_are_for_validation(tmp_path):
    images = [{"bytes": coded(".jpg", value), "path": "a"} for value in range(60)]
    images[7] = {"bytes": coded(".png", 7), "path": None}
    images[8], images[9] = None, {"bytes": b"no photo", "path": "b"}
    extract(table_of(tmp_path / "set.parquet", images), tmp_path / "set")
    train, val = (
        sorted(p.name for p in (tmp_path / "set" / n).iterdir()) for n in ("train", "val")
    )
    assert val == ["00000.jpg", "00020.jpg", "00040.jpg"]
    left_out = {"00007.jpg", "00008.jpg", "00009.jpg"}
    numbered = {f"{number:05d}.jpg" for number in range(60)} - {*val} - left_out
    assert train == sorted(numbered | {"00007.png"})
    assert (tmp_path / "set" / "train" / "00007.png").read_bytes() == coded(".png", 7)


def test_a_damaged_table_and_one_without_images_leave_nothing_behind(tmp_path):
    import pyarrow
    import pyarrow.parquet

    whole = table_of(tmp_path / "set.parquet", [{"bytes": coded(".jpg", 1), "path": "a"}])
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(DownloadError, match="cannot unpack"):
        extract(whole, tmp_path / "set")
    pyarrow.parquet.write_table(pyarrow.table({"words": ["a"]}), whole)
    with pytest.raises(DownloadError, match="cannot unpack"):
        extract(whole, tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == [whole.name]


def test_a_set_in_a_table_is_fetched_once_for_both_of_its_parts(site, tmp_path, monkeypatch):
    images = [{"bytes": coded(".png", value), "path": "a"} for value in range(3)]
    site.content = table_of(tmp_path / "made.parquet", images).read_bytes()
    whole = dataclasses.replace(
        public_sets.PUBLIC_SETS["stockimages-cc0"],
        url=site.url,
        sha256=hashlib.sha256(site.content).hexdigest(),
    )
    entries = {"free": whole, "free-val": dataclasses.replace(whole, subfolder="val")}
    monkeypatch.setattr(public_sets, "PUBLIC_SETS", entries)
    monkeypatch.setattr("restoration_toolchain.data.photos.sources.PUBLIC_SETS", entries)
    cache = tmp_path / "cache"
    site.cut_after = [100]  # and goes on
    assert [name for name, _ in open_source("free", cache_dir=cache)] == ["00001.png", "00002.png"]
    assert [name for name, _ in open_source("free-val", cache_dir=cache)] == ["00000.png"]
    assert site.ranges == [None, "bytes=100-"]
    assert [path.name for path in cache.iterdir()] == ["stockimages-cc0"]


def test_what_reads_a_table_is_asked_for_before_the_table_is_fetched(site, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DownloadError, match=r"restoration-toolchain\[parquet\]"):
        public_sets.fetch_public_set("stockimages-cc0", cache_dir=tmp_path)
    assert site.ranges == []


def test_checksums_and_sizes_of_public_sets_are_well_formed():
    for entry in public_sets.PUBLIC_SETS.values():
        assert len(bytes.fromhex(entry.sha256)) == 32
        assert entry.size > 1_000_000
        assert entry.url.startswith("https://")
        assert entry.licence.endswith(".")
