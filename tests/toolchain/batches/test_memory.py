"""Properties of the limit on memory and of arrays on disk."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restoration_toolchain.toolchain.batches.batch import plan_batch, restore_batch
from restoration_toolchain.toolchain.batches.memory import (
    TILE_PIXEL_BYTES,
    MemoryBudget,
    MemoryLimitError,
    parse_size,
    photo_bytes,
    readable_size,
    resident_bytes,
    tile_pixels_within,
)
from restoration_toolchain.toolchain.photos.arrays import IN_MEMORY, SLACK_BYTES, Scratch
from restoration_toolchain.toolchain.photos.read import read_header, read_photo
from restoration_toolchain.toolchain.photos.write import write_photo
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings
from tests.toolchain import conftest

HAS_STATUS = Path("/proc/self/statm").is_file()
LINUX = pytest.mark.skipif(not HAS_STATUS, reason="the system does not tell what is resident")


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("2G", 2 << 30),
        ("1.5g", 3 << 29),
        ("800MB", 800 << 20),
        ("64 K", 1 << 16),
        ("1GiB", 1 << 30),
    ],
)
def test_sizes_are_read(text: str, n_bytes: int) -> None:
    assert parse_size(text) == n_bytes
    assert parse_size(readable_size(n_bytes)) >= n_bytes


@pytest.mark.parametrize("text", ["", "2", "G", "-1G", "2T", "1,5G", "two"])
def test_what_is_no_size_is_one_line(
    run_cli: conftest.RunCli, make_photo: conftest.MakePhoto, tmp_path: Path, text: str
) -> None:
    with pytest.raises(MemoryLimitError, match="is no size"):
        parse_size(text)
    command = ("restore", make_photo("a.png"), "-o", tmp_path / "b.png", f"--max-memory={text}")
    conftest.assert_one_line(run_cli(*command), 2, "is no size")


def test_a_limit_below_the_program_itself_is_refused_with_one_that_is_not() -> None:
    with pytest.raises(MemoryLimitError, match="at least") as error:
        tile_pixels_within(10 << 20, 1 << 20)
    enough = parse_size(str(error.value).split()[-1])
    assert tile_pixels_within(enough + (1 << 20), 1 << 20) > 0


def test_less_memory_means_smaller_tiles() -> None:
    now = resident_bytes()
    sizes = [tile_pixels_within(now + (free << 20), 1 << 20) for free in (400, 800, 8000)]
    assert sizes[0] < sizes[1] <= sizes[2] == 1 << 20
    assert sizes[0] * TILE_PIXEL_BYTES <= (400 << 20) / 3


def test_room_that_is_taken_is_waited_for() -> None:
    budget = MemoryBudget(resident_bytes() + SLACK_BYTES + (100 << 20), 0)
    assert budget.fits(60 << 20)
    assert not budget.fits(1 << 40)
    budget.reserve(60 << 20)
    entered = threading.Event()

    def second() -> None:
        budget.reserve(60 << 20)
        entered.set()

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    assert not entered.wait(0.3)
    budget.release(60 << 20)
    assert entered.wait(20)


def test_waiting_for_room_ends_with_the_batch() -> None:
    budget = MemoryBudget(resident_bytes(), 0)
    budget.reserve(1 << 40, should_end=lambda: True)


@LINUX
def test_who_goes_through_in_bands_needs_no_watch(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    array = scratch.empty(4000, 4000)  # 192 MB
    before = resident_bytes()
    most = 0
    for rows in scratch.bands(len(array)):
        array[rows] = 0.5
        most = max(most, resident_bytes())
    assert most - before < array.nbytes // 4
    assert [array[rows].mean() for rows in scratch.bands(4000, 1500)] == [0.5] * 3


@LINUX
def test_arrays_on_disk_keep_their_values_and_little_memory(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    before = resident_bytes()
    with scratch.watched():
        array = scratch.empty(4000, 4000)  # 192 MB
        for row in range(4000):
            array[row] = row
        assert array[::7, 5, 1].tolist() == list(range(0, 4000, 7))
        scratch.give_back()
        assert resident_bytes() - before < array.nbytes // 2
        assert float(array[3999].sum()) == 3999.0 * 4000 * 3
    assert os.listdir(tmp_path) == []
    del array
    gc.collect()
    assert len(scratch._maps) == 0


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("sequence", [(), conftest.SEQUENCE])
def test_a_photo_on_disk_is_restored_to_the_same_bits(
    make_restorer: conftest.MakeRestorer, tmp_path: Path, sequence: tuple[str, ...], strength: float
) -> None:
    source = tmp_path / "photo.png"
    Image.fromarray(conftest.random_samples(300, 70, 4)).save(source)
    restorer, scratch = make_restorer(*sequence, strength=strength), Scratch(tmp_path)
    expected = restorer.restore(read_photo(source).rgb).image
    with scratch.watched():
        photo = read_photo(source, arrays=scratch)
        restored = restorer.restore(photo.rgb, arrays=scratch).image
        assert np.array_equal(restored, expected)
        assert not np.may_share_memory(restored, photo.rgb)
        write_photo(tmp_path / "a.png", photo.with_rgb(restored))
    write_photo(tmp_path / "b.png", read_photo(source).with_rgb(expected))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_photo_that_fits_in_no_way_fails_alone_and_says_what_it_takes(
    make_restorer: conftest.MakeRestorer, make_photo: conftest.MakePhoto, tmp_path: Path
) -> None:
    make_photo("in/a.png", 12, 12)
    Image.new("1", (12_000, 10_000)).save(tmp_path / "in/b.png")
    make_photo("in/c.png", 12, 12)
    plan = plan_batch([tmp_path / "in"], tmp_path / "out")
    restorer = make_restorer(*conftest.SEQUENCE, max_tile_pixels=10_000)
    limit = resident_bytes() + (150 << 20)
    outcomes = list(restore_batch(restorer, plan, max_memory=limit))
    errors = [outcome.error for outcome in outcomes]
    assert errors[0] is errors[2] is None
    assert errors[1] is not None
    assert "do not fit into --max-memory" in errors[1]
    assert parse_size(errors[1].split()[-1]) > limit


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_the_header_tells_what_will_be_decoded(make_photo: conftest.MakePhoto, name: str) -> None:
    header = read_header(make_photo(name, 40, 48))
    assert header is not None
    assert (header.width, header.height, header.channels) == (48, 40, 3)
    assert not header.is_deep
    needs = photo_bytes(header, "PNG", RestoreSettings())
    assert needs.on_disk is not None
    assert needs.on_disk < needs.whole
    larger = photo_bytes(header, "PNG", RestoreSettings(scale=4))
    assert larger.on_disk is larger.in_strips is None
    assert larger.whole > needs.whole


def test_ordinary_arrays_have_the_layout_of_those_on_disk(tmp_path: Path) -> None:
    first, second = IN_MEMORY.empty(3, 5), Scratch(tmp_path).empty(3, 5)
    assert (first.shape, first.dtype, first.strides) == (second.shape, second.dtype, second.strides)


@pytest.mark.slow
@pytest.mark.timeout(900)
@LINUX
def test_the_limit_holds_and_changes_no_pixel(
    make_photo: conftest.MakePhoto, tmp_path: Path, toolbox_folder: Path, idle_agent_folder: Path
) -> None:
    def run(code: str, *arguments: object) -> float:
        finished = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        return float(finished.stdout)

    base = run(
        "import benchmarks.memory\n"
        "from restoration_toolchain.toolchain.batches.memory import resident_bytes\n"
        "print(resident_bytes() / 2**20)"
    )
    restore = (
        "import sys; from benchmarks.memory import peak_mib\n"
        "from restoration_toolchain.toolchain.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "finally: print(peak_mib())"
    )
    source = make_photo("photo.jpg", 3000, 4000)
    peaks, tight = {}, round(base) + 330
    for limit in (tight, 8000):
        peaks[limit] = run(
            restore,
            *("restore", source, "-o", tmp_path / f"{limit}.jpg", "--max-memory", f"{limit}M"),
            *("--toolbox", toolbox_folder, "--agent", idle_agent_folder, "--device", "cpu"),
            *("--precision", "fp32", "--max-tile-pixels", 60_000, "--quiet"),
        )
    assert peaks[tight] < tight
    assert peaks[8000] > peaks[tight] + 100  # the photo itself, which is on disk otherwise
    assert (tmp_path / f"{tight}.jpg").read_bytes() == (tmp_path / "8000.jpg").read_bytes()
