"""Properties of ``toolchain restore``."""

import errno
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from restoration_toolchain.toolchain.restoring.restorer import Restorer
from tests.toolchain.conftest import (
    BAD_PHOTOS,
    SEQUENCE,
    MakePhoto,
    MakeRestorer,
    RunCli,
    assert_one_line,
    random_samples,
    snapshot,
    write_bad_photo,
)


def pixels(path: Path) -> np.ndarray:
    decoded = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    return decoded


def test_one_photo_goes_to_the_named_file(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path, make_restorer: MakeRestorer
) -> None:
    source, target = make_photo("photo.png"), tmp_path / "new" / "restored.png"
    result = run_cli("restore", source, "-o", target)
    assert result.exit_code == 0, result.output
    expected = make_restorer(*SEQUENCE).restore(random_samples(40, 48)).image
    assert np.array_equal(np.asarray(Image.open(target)), np.rint(expected * 255))
    assert ", ".join(SEQUENCE) in result.stdout


def test_a_folder_is_restored_to_the_same_relative_names(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    for name in ("a.png", "deep/b.png", "deep/er/c.jpg"):
        make_photo(f"in/{name}", 24, 30)
    (tmp_path / "in" / "notes.txt").write_text("not a photo")
    result = run_cli("restore", tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    assert written == {"a.png", "deep/b.png", "deep/er/c.jpg"}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 101), (64, 33)])
def test_an_agent_that_stops_at_once_keeps_every_bit(
    run_cli: RunCli,
    tmp_path: Path,
    idle_agent_folder: Path,
    channels: int,
    dtype: type,
    height: int,
    width: int,
) -> None:
    source, target = tmp_path / "photo.png", tmp_path / "out.png"
    cv2.imwrite(str(source), random_samples(height, width, channels, dtype))
    result = run_cli("restore", source, "-o", target, "--agent", idle_agent_folder)
    assert result.exit_code == 0, result.output
    before, after = pixels(source), pixels(target)
    assert before.dtype == after.dtype == dtype
    assert np.array_equal(before, after)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (4, "RGBA")])
def test_tools_leave_gray_gray_and_alpha_as_it_was(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path, channels: int, mode: str
) -> None:
    source, target = make_photo("photo.png", channels=channels), tmp_path / "out.png"
    assert run_cli("restore", source, "-o", target).exit_code == 0
    before, after = Image.open(source), Image.open(target)
    assert after.mode == mode
    assert not np.array_equal(np.asarray(before), np.asarray(after))
    if mode == "RGBA":
        assert np.array_equal(np.asarray(before)[:, :, 3], np.asarray(after)[:, :, 3])


def test_a_photo_that_lies_on_its_side_is_restored_upright(run_cli: RunCli, tmp_path: Path) -> None:
    source, target = tmp_path / "photo.jpg", tmp_path / "out.png"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(random_samples(20, 50)).save(source, exif=exif)
    assert run_cli("restore", source, "-o", target).exit_code == 0
    assert Image.open(target).size == (20, 50)
    assert Image.open(target).getexif().get(274, 1) == 1


def test_small_tiles_change_nothing_that_can_be_seen(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    source = make_photo("photo.png", 70, 90)
    whole, tiled = tmp_path / "whole.png", tmp_path / "tiled.png"
    assert run_cli("restore", source, "-o", whole).exit_code == 0
    assert run_cli("restore", source, "-o", tiled, "--max-tile-pixels", 1600).exit_code == 0
    difference = pixels(whole).astype(int) - pixels(tiled).astype(int)
    assert np.abs(difference).max() <= 1  # a rounding border


def test_the_trace_lists_every_photo_and_every_failure(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    good = make_photo("in/a.png", 20, 30)
    bad = write_bad_photo(tmp_path / "in" / "b.png", "text")
    trace = tmp_path / "sub" / "trace.json"
    result = run_cli("restore", tmp_path / "in", "-o", tmp_path / "out", "--trace", trace)
    assert result.exit_code == 1
    first, second = json.loads(trace.read_text())
    assert (first["input"], second["input"]) == (str(good), str(bad))
    assert first["sequence"] == list(SEQUENCE)
    assert (first["width"], first["height"]) == (30, 20)
    assert "not an image" in second["error"]


def test_the_steps_begin_with_the_input_and_end_with_the_result(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    source = make_photo("photo.png")
    result = run_cli(
        "restore", source, "-o", tmp_path / "out.png", "--save-steps", tmp_path / "steps"
    )
    assert result.exit_code == 0, result.output
    steps = sorted((tmp_path / "steps" / "photo.png").iterdir())
    names = ["00_input.png", *(f"{i:02d}_{tool}.png" for i, tool in enumerate(SEQUENCE, 1))]
    assert [path.name for path in steps] == names
    assert np.array_equal(pixels(steps[0]), pixels(source))
    assert np.array_equal(pixels(steps[-1]), pixels(tmp_path / "out.png"))


def test_steps_of_an_earlier_run_are_neither_replaced_nor_restored(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    make_photo("in/a.png", 12, 12)
    arguments = ("restore", tmp_path / "in", "-o", tmp_path / "in/out")
    steps = ("--save-steps", tmp_path / "in/steps")
    assert run_cli(*arguments, *steps).exit_code == 0
    before = snapshot(tmp_path)
    assert_one_line(run_cli(*arguments, *steps), 1, "exists already")
    assert snapshot(tmp_path) == before
    assert run_cli(*arguments, *steps, "--overwrite").exit_code == 0
    assert set(snapshot(tmp_path)) == set(before)


def test_a_result_is_replaced_only_when_asked_for(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    source, target = make_photo("photo.png"), make_photo("out.png", 5, 5)
    before = snapshot(tmp_path)
    assert_one_line(run_cli("restore", source, "-o", target), 1, "pass --overwrite")
    assert snapshot(tmp_path) == before
    assert run_cli("restore", source, "-o", target, "--overwrite").exit_code == 0
    assert Image.open(target).size == (48, 40)


def test_no_input_is_ever_replaced(run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path) -> None:
    make_photo("a/sub/photo.png")
    other = make_photo("b/sub/photo.png", 9, 9)
    before = snapshot(tmp_path)
    onto_itself = run_cli("restore", other, "-o", other, "--overwrite")
    assert_one_line(onto_itself, 1, "is an input photo")
    onto_another = run_cli(
        "restore", tmp_path / "a", tmp_path / "b/sub", "-o", tmp_path / "b", "--overwrite"
    )
    assert onto_another.exit_code == 1
    assert "is an input photo" in onto_another.stderr
    assert before.items() <= snapshot(tmp_path).items()


@pytest.mark.parametrize("kind", BAD_PHOTOS)
def test_a_bad_photo_is_one_line_and_leaves_no_trace(
    run_cli: RunCli, tmp_path: Path, kind: str
) -> None:
    name, says = BAD_PHOTOS[kind]
    source = write_bad_photo(tmp_path / name, kind)
    before = snapshot(tmp_path)
    assert_one_line(run_cli("restore", source, "-o", tmp_path / "out"), 1, says)
    assert snapshot(tmp_path) == before


def test_the_photos_beside_a_bad_one_are_done_and_the_bad_one_is_listed(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    make_photo("in/a.png", 12, 12)
    make_photo("in/c.png", 12, 12)
    write_bad_photo(tmp_path / "in/b.png", "empty")
    result = run_cli("restore", tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]
    heading, *lines = result.stderr.strip().splitlines()
    assert heading == "1 of 3 photos failed:"
    assert lines == [f"  {tmp_path / 'in/b.png'}: the file is empty"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("missing.png", "-o", "out"), "no such file or folder"),
        (("empty", "-o", "out"), "no photos in this folder"),
        (("notes.txt", "-o", "out"), "unsupported file type"),
        (("photo.png", "-o", "notes.txt"), "is a file, not a folder"),
        (("photo.png", "-o", "notes.txt/out"), "is not a folder"),
        (("photo.png", "photo2.png", "-o", "one.png"), "names one file"),
        (("photo.png", "-o", "out", "--agent", "clasic"), "did you mean 'classic'?"),
        (("photo.png", "-o", "out", "--toolbox", "clasic"), "did you mean 'classic'?"),
        (("photo.png", "-o", "out", "--device", "gpu"), "no device 'gpu'"),
        (("photo.png", "-o", "out", "--precision", "bf61"), "did you mean 'bf16'?"),
        (("photo.png", "-o", "out", "--max-tile-pixels", "9"), "max_tile_pixels must be"),
        (("photo.png", "-o", "out", "--trace", "trace.png"), "ends in .json"),
        (("photo.png", "-o", "out", "--trace", "old.json"), "pass --overwrite"),
    ],
)
def test_wrong_usage_is_one_line_with_status_2_and_nothing_is_done(
    run_cli: RunCli,
    make_photo: MakePhoto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    make_photo("photo.png")
    make_photo("photo2.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "old.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    assert_one_line(run_cli("restore", *arguments), 2, says)
    assert snapshot(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_one_line(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    source = make_photo("photo.png")
    (tmp_path / "locked").mkdir(mode=0o555)
    result = run_cli("restore", source, "-o", tmp_path / "locked" / "out")
    assert_one_line(result, 2, "no permission")


def test_damaged_weights_are_one_line(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path, toolbox_folder: Path
) -> None:
    copy = tmp_path / "toolbox"
    copy.mkdir()
    for path in toolbox_folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    weights = copy / "deblur_3.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    source = make_photo("photo.png")
    result = run_cli("restore", source, "-o", tmp_path / "out", "--toolbox", copy)
    assert_one_line(result, 2, "checksum does not match")
    assert not (tmp_path / "out").exists()


def test_an_agent_of_another_shape_is_one_line(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path, agent_folder: Path
) -> None:
    copy = tmp_path / "agent"
    copy.mkdir()
    config = json.loads((agent_folder / "config.json").read_text())
    config["tools"] = dict(list(config["tools"].items())[:5])
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "model.safetensors").write_bytes((agent_folder / "model.safetensors").read_bytes())
    result = run_cli("restore", make_photo("photo.png"), "-o", tmp_path / "out", "--agent", copy)
    assert_one_line(result, 2, "weights of another shape")


@pytest.mark.parametrize("what", ["result", "trace"])
def test_a_full_disk_is_one_line_and_nothing_is_half_written(
    run_cli: RunCli,
    make_photo: MakePhoto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    source, out, trace = make_photo("photo.png"), tmp_path / "out.png", tmp_path / "trace.json"
    n_writes = 0

    def sync(descriptor: int) -> None:
        nonlocal n_writes
        n_writes += 1
        if n_writes == ("result", "trace").index(what) + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("restoration_toolchain.data.atomic.os.fsync", sync)
    result = run_cli("restore", source, "-o", out, "--trace", trace)
    assert_one_line(result, 1, "No space left on device")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"photo.png", "trace.json" if what == "result" else "out.png"}


def test_interrupting_is_one_line(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Restorer, "restore", interrupt)
    result = run_cli("restore", make_photo("photo.png"), "-o", tmp_path / "out.png")
    assert_one_line(result, 130, "interrupted")
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "a.png: not enough memory"),
        (KeyError("surprise"), "a.png: KeyError: 'surprise'"),
    ],
)
def test_a_photo_on_which_the_work_fails_fails_alone(
    run_cli: RunCli,
    make_photo: MakePhoto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    says: str,
) -> None:
    make_photo("in/a.png", 10, 10)
    make_photo("in/b.png", 20, 20)
    restore = Restorer.restore

    def failing(self: Restorer, image: np.ndarray, **options: object) -> object:
        if len(image) == 10:
            raise error
        return restore(self, image, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Restorer, "restore", failing)
    result = run_cli("restore", tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert says in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]


def test_quiet_prints_nothing(run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path) -> None:
    result = run_cli("restore", make_photo("photo.png"), "-o", tmp_path / "out", "--quiet")
    assert result.exit_code == 0
    assert result.output == ""


def test_what_a_format_cannot_hold_is_noted(run_cli: RunCli, tmp_path: Path) -> None:
    source = tmp_path / "deep.png"
    cv2.imwrite(str(source), random_samples(9, 9, 3, np.uint16))
    result = run_cli("restore", source, "-o", tmp_path / "out.jpg")
    assert result.exit_code == 0
    assert "note: JPEG holds 8 bits a channel, not 16" in result.stderr
