"""Properties of batches, sidecars, ``--resume`` and ``toolchain replay``."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restoration_toolchain.toolchain.batches.batch import plan_batch, restore_batch
from restoration_toolchain.toolchain.batches.folder_lock import locked_folder
from restoration_toolchain.toolchain.batches.pipeline import Pipeline
from restoration_toolchain.toolchain.batches.sidecar import (
    Sidecar,
    read_sidecar,
    sidecar_path,
    write_sidecar,
)
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings
from tests.toolchain.conftest import (
    SEQUENCE,
    MakePhoto,
    MakeRestorer,
    RunCli,
    assert_one_line,
    random_samples,
    snapshot,
    write_bad_photo,
)

NEVER = threading.Event()


@pytest.fixture
def restored(run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path) -> Path:
    """A result with its sidecar, made from ``photo.png``."""
    target = tmp_path / "out" / "restored.png"
    result = run_cli("restore", make_photo("photo.png"), "-o", target, "--sidecar")
    assert result.exit_code == 0, result.output
    return target


# Sidecars and replay ----------------------------------------------------------------------------


def test_a_sidecar_names_all_that_a_result_depends_on(
    restored: Path, toolbox_folder: Path, agent_folder: Path
) -> None:
    entry = json.loads(sidecar_path(restored).read_text())
    assert entry["options"].keys() == RestoreSettings().to_dict().keys()
    assert entry["options"]["toolbox"] == str(toolbox_folder)
    assert entry["options"]["agent"] == str(agent_folder)
    assert entry["options"]["precision"] == "fp32"
    assert entry["sequence"] == list(SEQUENCE)
    assert set(SEQUENCE) <= entry["toolbox"]["sha256"].keys()
    assert len(entry["input_sha256"]) == len(entry["pixels_sha256"]) == 64
    assert entry["runtime"].keys() >= {"torch", "threads", "python"}


def test_a_replay_has_the_same_effort(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    target = tmp_path / "restored.png"
    words = ("restore", make_photo("photo.png"), "-o", target, "--sidecar")
    assert run_cli(*words, "--effort", 9).exit_code == 0  # more than any tool promises
    entry = json.loads(sidecar_path(target).read_text())
    assert (entry["effort"], entry["options"]["effort"], entry["sequence"]) == (9.0, 9.0, [])
    assert "bit-identical (left as it is)" in run_cli("replay", sidecar_path(target)).stdout
    assert "skipped" in run_cli(*words, "--effort", "9.0", "--resume").stderr
    refused = run_cli(*words, "--effort", "hihg", "--overwrite")
    assert_one_line(refused, 2, "no effort 'hihg'; did you mean 'high'?")
    other = run_cli(*words, "--effort", "high", "--resume", "--overwrite")
    assert other.exit_code == 0
    assert json.loads(sidecar_path(target).read_text())["sequence"] == list(SEQUENCE)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("options", [(), ("--max-steps", 1, "--strength", 0.5), ("--regions",)])
def test_a_replay_has_the_same_pixels(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path, suffix: str, options: tuple[object, ...]
) -> None:
    target, again = tmp_path / f"restored{suffix}", tmp_path / f"again{suffix}"
    source = make_photo("photo.png", 70, 90)
    assert run_cli("restore", source, "-o", target, "--sidecar", *options).exit_code == 0
    result = run_cli("replay", sidecar_path(target), "-o", again)
    assert result.exit_code == 0, result.output
    assert "bit-identical" in result.stdout
    assert again.read_bytes() == target.read_bytes()


def test_other_pixels_are_reported_with_status_1(run_cli: RunCli, restored: Path) -> None:
    path = sidecar_path(restored)
    entry = json.loads(path.read_text())
    entry["runtime"]["torch"] = "0.1"
    entry["pixels_sha256"] = "0" * 64
    path.write_text(json.dumps(entry))
    result = run_cli("replay", path)
    assert_one_line(result, 1, "the pixels are not those recorded")
    assert "torch was 0.1" in result.stderr


def test_a_changed_missing_or_moved_photo_is_noticed(
    run_cli: RunCli, restored: Path, tmp_path: Path
) -> None:
    source, moved = tmp_path / "photo.png", tmp_path / "moved.png"
    source.rename(moved)
    path = sidecar_path(restored)
    assert_one_line(run_cli("replay", path), 2, "say where with --input")
    assert run_cli("replay", path, "--input", moved).exit_code == 0
    Image.fromarray(random_samples(8, 8)).save(source)
    assert_one_line(run_cli("replay", path), 2, "its content differs")


def test_changed_weights_are_named(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path, restored: Path
) -> None:
    path = sidecar_path(restored)
    entry = json.loads(path.read_text())
    entry["toolbox"]["sha256"]["deblur_1"] = "0" * 64
    path.write_text(json.dumps(entry))
    assert_one_line(run_cli("replay", path), 2, "deblur_1 has other weights")
    entry["agent"]["sha256"] = "0" * 64
    path.write_text(json.dumps(entry))
    assert_one_line(run_cli("replay", path), 2, "deblur_1, the agent have other weights")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("words", "not a sidecar"),
        ("[]", "not a sidecar"),
        ('{"sidecar_version": 1}', "not a sidecar"),
        ('{"sidecar_version": 9}', "version 9"),
    ],
)
def test_something_else_than_a_sidecar_is_one_line(
    run_cli: RunCli, tmp_path: Path, content: str, says: str
) -> None:
    (tmp_path / "a.json").write_text(content)
    assert_one_line(run_cli("replay", tmp_path / "a.json"), 2, says)
    assert_one_line(run_cli("replay", tmp_path / "none.json"), 2, "cannot be read")


@pytest.mark.parametrize(
    ("options", "strength", "says"),
    [
        ({"sharpness": 3}, 1.0, "does not know sharpness"),
        ({"max_steps": None}, 1.0, "max_steps must be a whole number"),
        ({"max_steps": "3"}, 1.0, "max_steps must be a whole number"),
        ({}, "x", "strength must be a number"),
    ],
)
def test_an_option_that_this_version_cannot_take_is_named(
    run_cli: RunCli, restored: Path, options: dict[str, object], strength: object, says: str
) -> None:
    path = sidecar_path(restored)
    entry = json.loads(path.read_text())
    changed = {**entry, "options": {**entry["options"], **options}, "strength": strength}
    path.write_text(json.dumps(changed))
    assert_one_line(run_cli("replay", path), 2, says)


def test_a_sidecar_is_not_written_over_another_file(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    source, target = make_photo("photo.png"), tmp_path / "out.png"
    sidecar_path(target).write_text("{}")
    before = snapshot(tmp_path)
    result = run_cli("restore", source, "-o", target, "--sidecar")
    assert_one_line(result, 1, "pass --overwrite")
    assert snapshot(tmp_path) == before


# Resuming ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sidecar", [(), ("--sidecar",)])
def test_resuming_does_what_is_missing_and_nothing_else(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path, sidecar: tuple[str, ...]
) -> None:
    for name in "abc":
        make_photo(f"in/{name}.png", 12, 12)
    command = ("restore", tmp_path / "in", "-o", tmp_path / "out", "--resume", *sidecar)
    assert run_cli(*command).exit_code == 0
    (tmp_path / "out" / "b.png").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    result = run_cli(*command)
    assert result.exit_code == 0, result.output
    assert "1 photos restored, 2 skipped: done before" in result.stderr
    assert "b.png" in result.stdout
    assert "a.png" not in result.stdout
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items())


@pytest.mark.parametrize("sidecar", [(), ("--sidecar",)])
def test_a_photo_that_changed_is_noticed_even_under_its_old_date(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path, sidecar: tuple[str, ...]
) -> None:
    source = make_photo("in/a.png", 12, 12)
    make_photo("in/b.png", 12, 12)
    command = ("restore", tmp_path / "in", "-o", tmp_path / "out", "--resume", *sidecar)
    assert run_cli(*command).exit_code == 0
    date = source.stat()
    time.sleep(0.02)  # file systems count time in ticks
    Image.fromarray(random_samples(12, 12) // 2).save(source)
    os.utime(source, ns=(date.st_atime_ns, date.st_mtime_ns))
    result = run_cli(*command)
    assert result.exit_code == 1
    assert "pass --overwrite as well" in result.stderr
    replaced = run_cli(*command, "--overwrite")
    assert replaced.exit_code == 0
    assert "1 photos restored, 1 skipped" in replaced.stderr


def test_with_sidecars_a_result_of_other_options_is_not_taken(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    command = ("restore", make_photo("a.png", 12, 12), "-o", tmp_path / "out", "--sidecar")
    assert run_cli(*command).exit_code == 0
    other = run_cli(*command, "--resume", "--max-steps", 1)
    assert_one_line(other, 1, "was made with another max_steps")
    rounding_only = run_cli(*command, "--resume", "--max-tile-pixels", 5000)
    assert rounding_only.exit_code == 0
    assert "1 skipped" in rounding_only.stderr


# What happens while a batch runs ----------------------------------------------------------------


def test_photos_that_vanish_or_change_fail_alone(
    make_restorer: MakeRestorer, make_photo: MakePhoto, tmp_path: Path
) -> None:
    for name in "abcde":
        make_photo(f"in/{name}.png", 12, 12)
    plan = plan_batch([tmp_path / "in"], tmp_path / "out")
    (tmp_path / "in/b.png").unlink()
    (tmp_path / "in/c.png").rename(tmp_path / "in/other.png")
    write_bad_photo(tmp_path / "in/d.png", "text")
    outcomes = list(restore_batch(make_restorer(*SEQUENCE), plan))
    assert [outcome.photo.source.stem for outcome in outcomes] == list("abcde")
    errors = [outcome.error or "" for outcome in outcomes]
    assert [bool(error) for error in errors] == [False, True, True, True, False]
    assert "no such file" in errors[1]
    assert sorted(os.listdir(tmp_path / "out")) == ["a.png", "e.png"]


def test_when_asked_to_stop_the_photo_in_work_is_finished_and_no_other_begun(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcd":
        make_photo(f"in/{name}.png", 12, 12)
    restore = Restorer.restore

    def interrupted(self: Restorer, image: np.ndarray, **options: object) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)  # for the main thread to take the signal
        return restore(self, image, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Restorer, "restore", interrupted)
    command = ("restore", tmp_path / "in", "-o", tmp_path / "out")
    result = run_cli(*command, "--trace", tmp_path / "trace.json")
    assert result.exit_code == 130
    assert "with 3 of 4 photos to go; the same command with --resume goes on" in result.stderr
    assert os.listdir(tmp_path / "out") == ["a.png"]
    assert len(json.loads((tmp_path / "trace.json").read_text())) == 1
    monkeypatch.setattr(Restorer, "restore", restore)
    assert run_cli(*command, "--resume").exit_code == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["a.png", "b.png", "c.png", "d.png"]


@pytest.mark.slow
def test_a_second_ctrl_c_ends_the_program_at_once_and_leaves_nothing_half_written(
    make_photo: MakePhoto, tmp_path: Path, toolbox_folder: Path, agent_folder: Path
) -> None:
    for index in range(8):
        make_photo(f"in/{index}.png", 400, 400)
    command = [
        "restore", tmp_path / "in", "-o", tmp_path / "out", "--device", "cpu",
        "--toolbox", toolbox_folder, "--agent", agent_folder, "--precision", "fp32",
    ]  # fmt: skip
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "restoration_toolchain",
            *map(str, command),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    while not (tmp_path / "out" / "0.png").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "Ctrl-C again" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    errors = process.stderr.read()
    assert process.wait() == 130, errors
    assert "Traceback" not in errors
    assert all(path.suffix == ".png" for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["a b.png", "photo 😀.png", "line\nbreak.png", "tab\t.png"])
def test_odd_names_are_restored_and_shown_in_one_line(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path, name: str
) -> None:
    make_photo(f"in/{name}", 12, 12)
    result = run_cli("restore", tmp_path / "in", "-o", tmp_path / "out", "--sidecar")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1
    assert sorted(os.listdir(tmp_path / "out")) == sorted([name, f"{name}.json"])
    assert run_cli("replay", tmp_path / "out" / f"{name}.json").exit_code == 0
    (tmp_path / "in" / name).write_text("words")
    failed = run_cli("restore", tmp_path / "in", "-o", tmp_path / "out2")
    assert_one_line(failed, 1, "not an image")


def test_a_name_that_is_no_unicode_is_restored(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    good, odd = make_photo("in/a.png", 12, 12), os.fsencode(tmp_path / "in") + b"/\xff.png"
    try:
        shutil.copyfile(os.fsencode(good), odd)
    except OSError:
        pytest.skip("the file system takes only Unicode")
    result = run_cli("restore", tmp_path / "in", "-o", tmp_path / "out", "--sidecar")
    assert result.exit_code == 0, result.output
    assert sorted(os.listdir(os.fsencode(tmp_path / "out")))[-1] == b"\xff.png.json"


def test_links_that_lead_in_a_circle_fail_alone(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    make_photo("in/a.png", 12, 12)
    (tmp_path / "in" / "b.png").symlink_to("c.png")
    (tmp_path / "in" / "c.png").symlink_to("b.png")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "in")
    result = run_cli("restore", tmp_path / "in", "-o", tmp_path / "out", "--sidecar", "--resume")
    assert result.exit_code == 1
    assert result.stderr.startswith("2 of 3 photos failed:")
    assert sorted(os.listdir(tmp_path / "out")) == ["a.png", "a.png.json"]


def test_a_read_only_source_folder_is_left_alone(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    make_photo("in/a.png", 12, 12)
    (tmp_path / "in").chmod(0o555)
    before = snapshot(tmp_path / "in")
    result = run_cli("restore", tmp_path / "in", "-o", tmp_path / "out", "--sidecar")
    (tmp_path / "in").chmod(0o755)
    assert result.exit_code == 0, result.output
    assert snapshot(tmp_path / "in") == before


def test_two_runs_do_not_write_into_one_folder(
    run_cli: RunCli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    source, out = make_photo("a.png", 12, 12), tmp_path / "new" / "out"
    with locked_folder(out):
        assert_one_line(run_cli("restore", source, "-o", out), 2, "another run writes into this")
        assert run_cli("restore", source, "-o", tmp_path / "other").exit_code == 0
    assert not (tmp_path / "new").exists()
    assert run_cli("restore", source, "-o", out).exit_code == 0


def test_a_batch_that_makes_nothing_leaves_no_folder(
    run_cli: RunCli, tmp_path: Path, make_photo: MakePhoto
) -> None:
    (tmp_path / "in").mkdir()
    write_bad_photo(tmp_path / "in/a.png", "text")
    assert run_cli("restore", tmp_path / "in", "-o", tmp_path / "x" / "out").exit_code == 1
    assert not (tmp_path / "x").exists()


# The pipeline -----------------------------------------------------------------------------------


def pipeline(
    load: Callable[[int], int] = lambda item: item,
    work: Callable[[int], int] = lambda item: item,
    save: Callable[[int], int] = lambda item: item,
    stop: threading.Event = NEVER,
) -> Iterator[int]:
    stages = Pipeline(load=load, work=work, save=save, recover=lambda item, _: -item, stop=stop)
    return stages.run(range(1, 9))


@pytest.mark.parametrize("stage", ["load", "work", "save"])
def test_results_keep_their_order_and_errors_their_place(stage: str) -> None:
    def failing(item: int) -> int:
        if item == 3:
            raise ValueError
        return item

    assert list(pipeline(**{stage: failing})) == [1, 2, -3, 4, 5, 6, 7, 8]  # type: ignore[arg-type]


def test_three_items_are_in_memory_at_most_and_all_stages_overlap() -> None:
    lock, alive, most = threading.Lock(), 0, 0
    together = threading.Barrier(3, timeout=20)  # breaks unless three stages run at one time

    def load_item(item: int) -> int:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        if item == 4:
            together.wait()
        return item

    def work(item: int) -> int:
        if item == 3:
            together.wait()
        return item

    def save(item: int) -> int:
        nonlocal alive
        if item == 2:
            together.wait()
        with lock:
            alive -= 1
        return item

    assert list(pipeline(load_item, work, save)) == list(range(1, 9))
    assert most <= 3


def test_what_is_no_error_of_a_photo_ends_everything() -> None:
    def interrupted(item: int) -> int:
        if item == 2:
            raise KeyboardInterrupt
        return item

    with pytest.raises(KeyboardInterrupt):
        list(pipeline(work=interrupted))


def test_a_sidecar_comes_back_as_it_was(restored: Path, tmp_path: Path) -> None:
    sidecar = read_sidecar(sidecar_path(restored))
    moved = tmp_path / "moved.png"
    write_sidecar(
        Sidecar(sidecar.source, sidecar.input_sha256, moved, sidecar.pixels_sha256,
                sidecar.entry, sidecar.runtime)
    )  # fmt: skip
    again = read_sidecar(sidecar_path(moved))
    assert (again.options, again.per_call) == (sidecar.options, sidecar.per_call)
    assert (again.input_sha256, again.target) == (sidecar.input_sha256, moved)
