"""Properties of toolboxes on disk."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from restoration_toolchain.data.errors import ChecksumError, ToolchainError, UnknownNameError
from restoration_toolchain.tools_zoo import storage
from restoration_toolchain.tools_zoo.networks import NETWORKS, build_network
from restoration_toolchain.tools_zoo.recipes.plan import SPECS
from restoration_toolchain.tools_zoo.storage import (
    MANIFEST,
    NotShippedError,
    ToolboxError,
    check_replaceable,
    load_toolbox,
    read_manifest,
    save_toolbox,
    shipped_toolboxes,
)
from restoration_toolchain.tools_zoo.tool import Tool, ToolSpec
from restoration_toolchain.tools_zoo.toolbox import Toolbox

WEIGHTS = "denoise_1.safetensors"


@pytest.fixture
def folder(tiny_toolbox: Toolbox, tmp_path: Path) -> Path:
    path = tmp_path / "toolbox"
    save_toolbox(tiny_toolbox, path, {"denoise_1": {"patches": 7}})
    return path


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    edit(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def vouch_for(folder: Path, content: bytes) -> None:
    """Replace a weight file together with its checksum: damage that only reading can find."""
    (folder / WEIGHTS).write_bytes(content)

    def edit(manifest: dict[str, Any]) -> None:
        manifest["tools"][1]["sha256"] = hashlib.sha256(content).hexdigest()

    edit_manifest(folder, edit)


def test_a_saved_toolbox_loads_as_it_was(tiny_toolbox: Toolbox, folder: Path) -> None:
    loaded = load_toolbox(folder)
    assert loaded.name == tiny_toolbox.name
    assert [tool.spec for tool in loaded] == [tool.spec for tool in tiny_toolbox]
    for before, after in zip(tiny_toolbox, loaded, strict=True):
        for name, value in before.network.state_dict().items():
            assert torch.equal(after.network.state_dict()[name], value)


def test_weights_that_ship_elsewhere_are_not_written_again(tmp_path: Path) -> None:
    shipped = load_toolbox("classic")
    mixed = Toolbox("mixed", [shipped["deblur_1"], Tool(SPECS["deblur_2"]), shipped["deblock_1"]])
    save_toolbox(mixed, tmp_path, shared="classic")
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, "deblur_2.safetensors"}
    loaded = load_toolbox(tmp_path)
    assert [tool.spec for tool in loaded] == [tool.spec for tool in mixed]
    assert loaded.checksums["deblur_1"] == shipped.checksums["deblur_1"]
    images = torch.rand(1, 3, 16, 16)
    for before, after in zip(mixed, loaded, strict=True):
        torch.testing.assert_close(after(images), before(images))


def test_weights_of_16_bits_are_half_as_large_and_loaded_as_32(
    tiny_toolbox: Toolbox, folder: Path, tmp_path: Path
) -> None:
    save_toolbox(tiny_toolbox, tmp_path / "half", half=True)
    sizes = [(path / WEIGHTS).stat().st_size for path in (tmp_path / "half", folder)]
    assert sizes[0] < 0.6 * sizes[1]
    for before, after in zip(tiny_toolbox, load_toolbox(tmp_path / "half"), strict=True):
        for name, value in before.network.state_dict().items():
            loaded = after.network.state_dict()[name]
            assert loaded.dtype == value.dtype
            torch.testing.assert_close(loaded, value, rtol=1e-3, atol=1e-6)


def test_weights_from_a_toolbox_that_does_not_ship_are_an_error(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest["tools"][0].update({"from": "../elsewhere"}))
    with pytest.raises(UnknownNameError, match="elsewhere"):
        load_toolbox(folder)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_toolbox_loads_the_same_without_drawing_weights_first(
    network: str, tmp_path: Path
) -> None:
    scale = getattr(build_network(network), "scale", 1)
    spec = ToolSpec("any", "sr" if scale > 1 else "noise", (4.0, 4.0), network, scale)
    save_toolbox(Toolbox("one", [Tool(spec)]), tmp_path)
    (drawn,), (quick,) = load_toolbox(tmp_path), load_toolbox(tmp_path, draws=False)
    assert not any(parameter.requires_grad for parameter in quick.parameters())
    left, right = drawn.state_dict(), quick.state_dict()
    assert list(left) == list(right)
    for name, value in left.items():
        assert torch.equal(value, right[name])
        assert value.stride() == right[name].stride()
    images = torch.rand(1, 3, 9, 7)
    assert torch.equal(drawn(images), quick(images))


@pytest.mark.parametrize("draws", [True, False])
def test_random_numbers_move_on_only_where_weights_are_drawn(folder: Path, draws: bool) -> None:
    before = torch.get_rng_state()
    load_toolbox(folder, draws=draws)
    assert torch.equal(torch.get_rng_state(), before) is not draws


@pytest.mark.parametrize(
    ("part", "is_replaced"),
    [
        ("agent/config.json", True),
        ("score/score.safetensors", True),
        ("agent/photo.jpg", False),
        ("notes.json", False),
        ("photo.jpg", False),
    ],
)
def test_a_folder_is_replaced_only_if_all_that_it_holds_belongs_to_a_toolbox(
    part: str, is_replaced: bool, folder: Path
) -> None:
    (folder / part).parent.mkdir(exist_ok=True)
    (folder / part).touch()
    expected = contextlib.nullcontext() if is_replaced else pytest.raises(ToolboxError)
    with expected:
        check_replaceable(folder, overwrite=True)


def test_a_loaded_toolbox_is_frozen(folder: Path) -> None:
    loaded = load_toolbox(folder)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_checksums_are_those_of_the_files(folder: Path) -> None:
    for name, checksum in load_toolbox(folder).checksums.items():
        content = (folder / f"{name}.safetensors").read_bytes()
        assert hashlib.sha256(content).hexdigest() == checksum


def test_notes_are_kept_in_the_manifest(folder: Path) -> None:
    notes = {entry["name"]: entry["notes"] for entry in read_manifest(folder)["tools"]}
    assert notes == {"deblur_1": {}, "denoise_1": {"patches": 7}, "deblock_1": {}}


def test_saving_leaves_no_temporary_file(folder: Path) -> None:
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", *[".safetensors"] * 3]


def remove_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def write_text_as_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("{ not JSON")


def write_bytes_as_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"\xff\xfe\x00\x81")


def write_list_as_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("[]")


def drop_checksum(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest["tools"][0].pop("sha256"))


def write_other_version(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest.update(format_version=2))


def name_unknown_network(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest["tools"][0].update(network="huge"))


def add_unknown_key(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest["tools"][0].update(colour="red"))


def remove_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def name_other_shape(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest["tools"][1].update(network="large"))


def flip_byte(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(content))


def truncate_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def truncate_vouched_weights(folder: Path) -> None:
    vouch_for(folder, (folder / WEIGHTS).read_bytes()[:-100])


def empty_vouched_weights(folder: Path) -> None:
    vouch_for(folder, b"")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (remove_manifest, ToolboxError, "no readable manifest.json"),
        (write_text_as_manifest, ToolboxError, "is not a toolbox manifest"),
        (write_bytes_as_manifest, ToolboxError, "is not a toolbox manifest"),
        (write_list_as_manifest, ToolboxError, "is not a toolbox manifest"),
        (drop_checksum, ToolboxError, "is not a toolbox manifest"),
        (write_other_version, ToolboxError, "format version 2"),
        (name_unknown_network, ToolchainError, "no network 'huge'"),
        (add_unknown_key, ToolchainError, "colour"),
        (remove_weights, ToolboxError, "cannot read the weights"),
        (name_other_shape, ToolboxError, "another shape than LargeCnn needs"),
        (flip_byte, ChecksumError, "checksum does not match"),
        (truncate_weights, ChecksumError, "checksum does not match"),
        (truncate_vouched_weights, ToolboxError, "not a safetensors file"),
        (empty_vouched_weights, ToolboxError, "not a safetensors file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_folder_is_refused_in_one_line(
    folder: Path, damage: Callable[[Path], None], error: type[Exception], message: str
) -> None:
    damage(folder)
    with pytest.raises(error, match=message) as caught:
        load_toolbox(folder)
    assert "\n" not in str(caught.value)


def test_a_mistyped_toolbox_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'classic'"):
        load_toolbox("clasic")


def test_a_catalogued_toolbox_without_weights_has_to_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "WEIGHTS_FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert shipped_toolboxes() == ()
    with pytest.raises(NotShippedError, match="do not ship; train it") as caught:
        load_toolbox("baselines")
    assert caught.value.toolbox == "baselines"


def test_a_toolbox_ships_when_its_weights_are_there(
    tiny_toolbox: Toolbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "WEIGHTS_FOLDER", tmp_path)
    save_toolbox(tiny_toolbox, tmp_path / "baselines")
    assert shipped_toolboxes() == ("baselines",)
    assert load_toolbox("baselines").names == tiny_toolbox.names
