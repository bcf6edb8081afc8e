"""Properties of profiles: what they say of tools, and when they are no longer true."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from restoration_toolchain.tools_zoo.own_tools import save_own_tool
from restoration_toolchain.tools_zoo.profile import (
    PROFILE,
    FamilyGains,
    NoProfileError,
    OtherToolsError,
    ProfileError,
    ToolProfile,
    check_names,
    find_profile,
    read_profile,
    treatment,
    treats,
    write_profile,
)
from restoration_toolchain.tools_zoo.storage import (
    check_replaceable,
    load_toolbox,
    measured_checksums,
    read_manifest,
    save_toolbox,
)
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from tests.tools_zoo.conftest import white_noise

CHECKSUMS = {"a": "1", "b": "2", "c": "3"}


def profile_of(checksums: dict[str, str] = CHECKSUMS, **gains: tuple[float, ...]) -> ToolProfile:
    """A profile with the gains of the tools on each family."""
    families = {
        name: FamilyGains(4, 25.0, dict(zip(checksums, values, strict=True)))
        for name, values in gains.items()
    }
    return ToolProfile(checksums, families, "photos", 128, 0, 50.0)


@pytest.fixture
def folder(tiny_toolbox: Toolbox, tmp_path: Path) -> Path:
    """A toolbox with a profile of its tools."""
    path = tmp_path / "toolbox"
    save_toolbox(tiny_toolbox, path)
    profile = profile_of(load_toolbox(path).checksums, night=(0.0, 2.0, 1.0))
    write_profile(profile, path)
    return path


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = profile_of(night=(0.5, -0.25, 1.0), clean=(-1.0, 0.0, -2.0))
    written = dataclasses.replace(written, own={"a": written.families["night"]})
    write_profile(written, tmp_path)
    assert read_profile(tmp_path, CHECKSUMS) == written
    assert find_profile(tmp_path, CHECKSUMS) == written


def test_a_tool_treats_what_no_other_gains_more_on_strongest_first() -> None:
    profile = profile_of(
        weak=(0.3, 1.0, 0.0),
        night=(2.0, 1.0, 1.95),
        shaken=(3.0, 1.0, 2.8),
        dim=(0.09, 0.08, 0.0),
        clean=(0.0, -1.0, -1.0),
    )
    assert treats(profile, "a") == ("shaken", "night")
    assert treats(profile, "b") == ("weak",)
    assert treats(profile, "c") == ("night",)
    assert treats(profile, "unmeasured") == ()


def test_a_tool_is_named_after_three_families_at_most() -> None:
    gains = {f"family{k}": (float(k), 0.0, 0.0) for k in range(1, 6)}
    assert treats(profile_of(**gains), "a") == ("family5", "family4", "family3")


def test_what_a_tool_treats_is_measured_or_else_what_it_was_trained_for() -> None:
    profile = profile_of(night=(2.0, 1.0, 0.0))
    assert treatment(ToolSpec("a", "noise", (0.0, 5.0)), profile) == "night"
    assert treatment(ToolSpec("b", "noise", (0.0, 5.0)), profile) == "noise 0-5 (sigma /255)"
    assert treatment(ToolSpec("a", "noise", (0.0, 5.0))) == "noise 0-5 (sigma /255)"
    assert treatment(ToolSpec("b", "noise", families=("dim", "night")), profile) == "dim, night"


def test_a_name_is_true_if_no_tool_is_better_at_what_it_was_trained_for() -> None:
    own = {
        "a": FamilyGains(4, 25.0, {"a": 2.0, "b": 2.05, "c": 0.0}),
        "b": FamilyGains(4, 25.0, {"a": 1.0, "b": 1.05, "c": 3.0}),
    }
    true, untrue = check_names(dataclasses.replace(profile_of(night=(0.0, 0.0, 9.0)), own=own))
    assert true.is_true  # nearly the best
    assert (true.tool, true.best, true.gain) == ("a", "b", 2.0)
    assert not untrue.is_true
    assert (untrue.tool, untrue.best, untrue.best_gain) == ("b", "c", 3.0)


def edit(change: Callable[[dict[str, Any]], None], folder: Path) -> None:
    entries = json.loads((folder / PROFILE).read_text())
    change(entries)
    (folder / PROFILE).write_text(json.dumps(entries))


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (lambda f: (f / PROFILE).unlink(), NoProfileError, "has no profile"),
        (lambda f: (f / PROFILE).write_text("{ no"), ProfileError, "cannot be read"),
        (lambda f: (f / PROFILE).write_bytes(b"\xff\x80"), ProfileError, "cannot be read"),
        (lambda f: (f / PROFILE).write_text("[]"), ProfileError, "it is no profile"),
        (lambda f: edit(lambda p: p.update(format_version=2), f), ProfileError, "version 2"),
        (lambda f: edit(lambda p: p["families"]["night"]["gains"].clear(), f), ProfileError, "no"),
        (lambda f: edit(lambda p: p.pop("side"), f), ProfileError, "side"),
    ],
)  # fmt: skip
def test_a_damaged_profile_is_one_line_and_no_hindrance(
    folder: Path, damage: Callable[[Path], None], error: type[Exception], says: str
) -> None:
    damage(folder)
    checksums = measured_checksums(read_manifest(folder))
    with pytest.raises(error, match=says) as caught:
        read_profile(folder, checksums)
    assert "\n" not in str(caught.value)
    assert load_toolbox(folder).profile is None


def test_a_loaded_toolbox_has_its_profile(folder: Path) -> None:
    profile = load_toolbox(folder).profile
    assert profile is not None
    assert treats(profile, "denoise_1") == ("night",)


def test_a_profile_of_other_weights_is_said_to_be_out_of_date(folder: Path) -> None:
    edit(lambda entries: entries["checksums"].update(denoise_1="0" * 64), folder)
    with pytest.raises(OtherToolsError, match="out of date"):
        read_profile(folder, measured_checksums(read_manifest(folder)))
    assert load_toolbox(folder).profile is None


def test_tools_that_enlarge_are_not_missed_in_a_profile(tmp_path: Path) -> None:
    enlarger = ToolSpec("larger", "sr", (2.0, 2.0), "sr_x2", 2)
    toolbox = Toolbox("both", [Tool(ToolSpec("a", "noise", network="small")), Tool(enlarger)])
    save_toolbox(toolbox, tmp_path)
    write_profile(profile_of({"a": load_toolbox(tmp_path).checksums["a"]}, night=(1.0,)), tmp_path)
    loaded = load_toolbox(tmp_path)
    assert treatment(loaded["a"].spec, loaded.profile) == "night"
    assert treatment(loaded["larger"].spec, loaded.profile) == "sr x2 (times)"


def test_saving_the_same_tools_keeps_their_profile_and_saving_others_deletes_it(
    folder: Path,
) -> None:
    save_toolbox(load_toolbox(folder), folder)
    assert load_toolbox(folder).profile is not None
    fewer = Toolbox("fewer", list(load_toolbox(folder))[:2])
    save_toolbox(fewer, folder)
    assert not (folder / PROFILE).exists()


def test_a_folder_with_a_profile_is_a_toolbox_and_replaced_as_one(folder: Path) -> None:
    check_replaceable(folder, overwrite=True)
    tool = Tool(ToolSpec("mine", "noise", network="small"))
    save_own_tool(tool, white_noise(20.0), 1.0, folder, notes={}, overwrite=True)
    assert not (folder / PROFILE).exists()
