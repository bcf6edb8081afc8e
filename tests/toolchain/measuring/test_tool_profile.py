"""Properties of the measurement of a profile, and of its command."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import ByteImage
from restoration_toolchain.data.patches.world_crops import CLEAN
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.toolchain.measuring import tool_profile
from restoration_toolchain.toolchain.measuring.profile_plot import draw_profile
from restoration_toolchain.toolchain.measuring.tool_profile import measure_profile
from restoration_toolchain.tools_zoo.profile import (
    PROFILE,
    ToolProfile,
    read_profile,
    write_profile,
)
from restoration_toolchain.tools_zoo.storage import load_toolbox, save_toolbox
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from tests.toolchain.conftest import RunCli

FAMILIES = ("blur", "noise", CLEAN)


class Darken(torch.nn.Module):
    """Makes everything black."""

    halo = 0

    def forward(self, lq: Tensor) -> Tensor:
        return torch.zeros_like(lq)


class Nothing(torch.nn.Module):
    """Leaves everything as it is."""

    halo = 0

    def forward(self, lq: Tensor) -> Tensor:
        return lq.clone()


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_profile, "PROFILED", FAMILIES)


@pytest.fixture(scope="module")
def photos() -> list[ByteImage]:
    return [photo for _, photo in open_source("embedded")][:2]


def two_tools() -> Toolbox:
    tools = [
        Tool(ToolSpec("nothing", "noise", families=("noise",)), Nothing()),
        Tool(ToolSpec("darken", "blur", families=("blur",)), Darken()),
    ]
    return Toolbox("two", tools, {"nothing": "1", "darken": "2"})


def measured(photos: list[ByteImage], seed: int = 0) -> ToolProfile:
    return measure_profile(two_tools(), photos, source="some", count=3, side=64, seed=seed)


def test_gains_are_what_tools_do_to_the_crops_of_a_family(photos: list[ByteImage]) -> None:
    profile = measured(photos)
    assert dict(profile.checksums) == {"nothing": "1", "darken": "2"}
    assert tuple(profile.families) == FAMILIES
    for family in profile.families.values():
        assert family.count == 3
        assert family.gains["nothing"] == 0.0
        assert family.best == "nothing"
    assert tuple(profile.own) == ("nothing", "darken")  # what each of them is for
    assert profile.own["darken"].gains["darken"] < profile.own["darken"].gains["nothing"] == 0.0
    clean = profile.families[CLEAN]
    assert clean.psnr == 50.0  # undamaged, and capped
    assert -50.0 < clean.gains["darken"] < -30.0
    assert 10.0 < profile.families["noise"].psnr < 50.0


def test_a_profile_depends_on_its_seed_alone(photos: list[ByteImage]) -> None:
    assert measured(photos) == measured(photos)
    assert measured(photos, seed=1).families["noise"] != measured(photos).families["noise"]


def test_a_toolbox_that_only_enlarges_has_no_profile(photos: list[ByteImage]) -> None:
    tool = Tool(ToolSpec("larger", "sr", (2.0, 2.0), "sr_x2", 2))
    with pytest.raises(ToolchainError, match="all tools of large enlarge"):
        measure_profile(Toolbox("large", [tool], {"larger": "1"}), photos, source="some")


def test_a_tool_for_some_of_a_family_is_measured_on_those(photos: list[ByteImage]) -> None:
    tools = [
        Tool(ToolSpec(name, "noise", families=("noise",), psnr=psnr), Nothing())
        for name, psnr in (("noise", (30.0, 45.0)), ("strong", (0.0, 20.0)))
    ]  # the first has the name of a family
    toolbox = Toolbox("two", tools, {"noise": "1", "strong": "2"})
    profile = measure_profile(toolbox, photos, source="some", count=3, side=64)
    assert profile.own["noise"].psnr > profile.own["strong"].psnr + 5.0
    assert profile.families["noise"].psnr < 30.0


def test_a_picture_of_a_profile_is_drawn(photos: list[ByteImage]) -> None:
    pytest.importorskip("matplotlib")
    assert draw_profile(measured(photos)).startswith(b"\x89PNG")


def test_a_profile_is_measured_kept_shown_and_used(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    spec = ToolSpec("denoise", "noise", network="small", families=("noise",))
    box = tmp_path / "box"
    save_toolbox(Toolbox("one", [Tool(spec)]), box)
    missing = run_cli("tools", "--toolbox", box, "--profile")
    assert missing.exit_code == 2
    assert "--measure-profile PHOTOS" in " ".join(missing.stderr.split())
    words = ("--measure-profile", "embedded", "--count", 1, "--device", "cpu")
    done = run_cli("tools", "--toolbox", box, *words)
    assert done.exit_code == 0, done.output
    profile = read_profile(box, load_toolbox(box).checksums)
    assert profile.photos == "embedded"
    assert profile.families["noise"].count == 1
    shown = run_cli("tools", "--toolbox", box, "--profile")
    assert shown.exit_code == 0, shown.output
    assert f"{profile.families['noise'].gains['denoise']:+.2f}*" in shown.stdout
    assert "1 of 1 tools are the best" in shown.stdout
    again = run_cli("tools", "--toolbox", box, *words)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    listed = run_cli("tools", "--toolbox", box).stdout
    assert "treats" in listed
    assert "licence of the weights: unknown" in listed


def test_a_profile_of_other_weights_is_said_to_be_out_of_date_in_the_list(
    run_cli: RunCli, tmp_path: Path
) -> None:
    box = tmp_path / "box"
    spec = ToolSpec("denoise", "noise", network="small")
    save_toolbox(Toolbox("one", [Tool(spec)]), box)
    entries = ToolProfile({"denoise": "0" * 64}, {}, "some", 128, 0, 50.0)
    write_profile(entries, box)
    assert "out of date" in " ".join(run_cli("tools", "--toolbox", box).stdout.split())
    assert run_cli("tools", "--toolbox", box, "--profile").exit_code == 2
    assert (box / PROFILE).exists()
