from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from restoration_toolchain.data.damage.noise_model import KNOTS, RADIUS, NoiseModel
from restoration_toolchain.data.errors import ChecksumError, ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo.own_tools import (
    HOME_VARIABLE,
    NoFittedToolError,
    OwnTool,
    check_new_name,
    default_home,
    load_own_tool,
    own_tool_folder,
    own_tool_names,
    save_own_tool,
)
from restoration_toolchain.tools_zoo.storage import (
    TakenError,
    ToolboxError,
    load_toolbox,
    save_toolbox,
)
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import DuplicateToolError, Toolbox


def noise(sigma: float = 12.0, *, spread: bool = False) -> NoiseModel:
    side = 2 * RADIUS + 1
    kernel = np.zeros((3, 3, side, side), np.float32)
    kernel[range(3), range(3), RADIUS, RADIUS] = 1.0
    if spread:  # each pixel shares its noise with one of its neighbours on either side
        kernel[range(3), range(3), RADIUS, RADIUS - 1] = 1.0
        kernel[range(3), range(3), RADIUS - 1, RADIUS] = 1.0
        kernel[range(3), range(3), RADIUS - 1, RADIUS - 1] = 1.0
        kernel /= 2.0
    levels = np.ones((3, KNOTS), np.float32)
    return NoiseModel(sigma / 255.0 * levels, levels / levels.sum(), kernel)


def tool(name: str = "mine") -> Tool:
    torch.manual_seed(0)
    return Tool(ToolSpec(name, "noise", (10.0, 14.0), "small")).requires_grad_(False).eval()


def save(home: Path, name: str = "mine", **options: bool) -> OwnTool:
    folder = own_tool_folder(name, home)
    return save_own_tool(tool(name), noise(), 3.5, folder, notes={"method": "ams"}, **options)


def test_a_tool_comes_back_with_its_weights_its_noise_and_its_notes(tmp_path: Path) -> None:
    saved = save(tmp_path)
    loaded = load_own_tool("mine", tmp_path)
    for name, value in tool().state_dict().items():
        assert torch.equal(loaded.tool.state_dict()[name], value)
    assert loaded.tool.spec == tool().spec
    assert loaded.sha256 == saved.sha256
    assert (loaded.gain, loaded.notes) == (3.5, {"method": "ams"})
    for field in ("deviation", "share", "kernel"):
        assert np.array_equal(getattr(loaded.noise, field), getattr(noise(), field))


def test_a_fitted_tool_is_an_ordinary_toolbox_of_one(tmp_path: Path) -> None:
    save(tmp_path)
    assert load_toolbox(own_tool_folder("mine", tmp_path)).names == ("mine",)


def test_a_tool_is_loaded_from_any_folder_too(tmp_path: Path) -> None:
    save_own_tool(tool(), noise(), 1.0, tmp_path / "elsewhere", notes={})
    assert load_own_tool(tmp_path / "elsewhere", tmp_path / "home").name == "mine"


def test_a_mistyped_name_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(NoFittedToolError, match="none is in") as caught:
        load_own_tool("mine", tmp_path)
    assert caught.value.tool == "mine"
    save(tmp_path)
    with pytest.raises(UnknownNameError, match="no fitted tool 'mien'; did you mean 'mine'"):
        load_own_tool("mien", tmp_path)


def test_a_taken_name_is_replaced_only_when_asked(tmp_path: Path) -> None:
    save(tmp_path)
    with pytest.raises(TakenError, match="exists already"):
        save(tmp_path)
    save(tmp_path, overwrite=True)
    assert own_tool_names(tmp_path) == ("mine",)
    assert [path.name for path in (tmp_path / "tools").iterdir()] == ["mine"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dear.jpg").write_bytes(b"x")
    for target in (tmp_path / "photos", tmp_path / "photos" / "dear.jpg"):
        with pytest.raises(ToolboxError, match="is not replaced"):
            save_own_tool(tool(), noise(), 1.0, target, notes={}, overwrite=True)
    assert (tmp_path / "photos" / "dear.jpg").read_bytes() == b"x"


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_interrupted_save_leaves_things_as_they_were(
    overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if overwrite:
        save(tmp_path)
    before = sorted(tmp_path.rglob("*.*"))

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("restoration_toolchain.tools_zoo.own_tools.save_toolbox", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, overwrite=overwrite)
    assert sorted(tmp_path.rglob("*.*")) == before


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    save(tmp_path)
    weights = own_tool_folder("mine", tmp_path) / "mine.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(ChecksumError, match="damaged"):
        load_own_tool("mine", tmp_path)


def test_another_toolbox_is_no_fitted_tool(tmp_path: Path) -> None:
    save_toolbox(Toolbox("other", [tool()]), tmp_path / "other")
    with pytest.raises(ToolboxError, match="holds no fitted tool"):
        load_own_tool(tmp_path / "other", tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden", "with space", "x" * 65])
def test_a_name_must_do_for_a_file(name: str) -> None:
    with pytest.raises(ToolchainError, match="cannot name a tool"):
        check_new_name(name)


@pytest.mark.parametrize("name", ["stop", "denoise_e1", "denoise_3"])
def test_names_of_shipped_actions_are_taken(name: str) -> None:
    with pytest.raises(DuplicateToolError, match="choose another"):
        check_new_name(name)


def test_the_environment_moves_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.delenv(HOME_VARIABLE)
    assert "restoration-toolchain" in str(default_home())


def test_a_tool_suits_the_noise_it_was_fitted_to_and_no_other(tmp_path: Path) -> None:
    own = save(tmp_path)
    assert not own.unfitting(noise(12.0))
    assert not own.unfitting(noise(20.0))
    assert "0.3 times as strong" in own.unfitting(noise(4.0))
    assert "4.0 times as strong" in own.unfitting(noise(48.0))
    assert "share 0.5 of their noise" in own.unfitting(noise(12.0, spread=True))


def test_texture_alone_is_no_reason_to_use_a_tool_nor_to_say_that_the_noise_differs(
    tmp_path: Path,
) -> None:
    own = save(tmp_path)
    unsure = replace(noise(48.0), sureness=0.1)
    assert own.unfitting(unsure) == "its noise cannot be told from its texture"
    assert "0.3 times as strong" in own.unfitting(replace(noise(4.0), sureness=0.1))
    assert not own.unfitting(replace(noise(14.0, spread=True), sureness=0.1))
