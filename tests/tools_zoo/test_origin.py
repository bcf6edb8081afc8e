"""What a manifest says of the data behind weights, and of their licence."""

import json
from pathlib import Path
from typing import Any

import pytest

from restoration_toolchain.data.patches.store import PatchStore, StoreConfig, prepare_store
from restoration_toolchain.data.photos.public_sets import PUBLIC_SETS
from restoration_toolchain.tools_zoo.origin import Origin, joined, origin_of, origin_of_store
from restoration_toolchain.tools_zoo.storage import (
    MANIFEST,
    WEIGHTS_FOLDER,
    load_toolbox,
    read_origin,
    save_toolbox,
    shipped_toolboxes,
    toolbox_folder,
)
from restoration_toolchain.tools_zoo.toolbox import Toolbox

BSDS500 = origin_of(["bsds500-train", "bsds500-test"])


def test_weights_learnt_from_a_public_set_have_its_terms() -> None:
    published = PUBLIC_SETS["bsds500"]
    assert BSDS500.license == "LicenseRef-BSDS500-research"
    assert BSDS500.data == "BSDS500 (train, test)"
    assert BSDS500.data_license == published.licence
    assert BSDS500.data_sha256 == published.sha256
    assert origin_of(["bsds500"]).data == "BSDS500"
    both = origin_of(["bsds500-train", "div2k-train"])
    assert both.license == "LicenseRef-BSDS500-research AND LicenseRef-DIV2K-research"
    assert both.data == "BSDS500 (train); DIV2K (train)"


@pytest.mark.parametrize("sources", [[], ["embedded"], ["photos/"], ["bsds500", "photos/"]])
def test_of_other_photos_nothing_is_known(sources: list[str]) -> None:
    assert origin_of(sources) == Origin()


def test_origins_are_joined_and_what_is_said_twice_is_said_once() -> None:
    assert joined([BSDS500, BSDS500]) == BSDS500
    assert joined([BSDS500, Origin()]).license == "LicenseRef-BSDS500-research AND unknown"
    div2k = origin_of(["div2k-train", "div2k-valid"])
    assert joined([div2k, div2k]) == div2k
    assert joined([]) == Origin()


def test_a_store_names_the_sets_that_it_was_made_of(photos: Any, tmp_path: Path) -> None:
    for name, sources in (("known", ("bsds500-train", "bsds500-test")), ("unknown", ())):
        config = StoreConfig(stride=33, scales=(1.0,), seed=3)
        prepare_store(tmp_path / name, photos[:4], config, sources=sources)
        with PatchStore(tmp_path / name) as store:
            assert store.attrs["sources"] == list(sources)
    assert origin_of_store(tmp_path / "known") == BSDS500
    assert origin_of_store(tmp_path / "unknown") == Origin()


def test_a_manifest_keeps_the_origin_and_older_ones_are_read(
    tiny_toolbox: Toolbox, tmp_path: Path
) -> None:
    save_toolbox(tiny_toolbox, tmp_path, origin=BSDS500)
    assert read_origin(tmp_path) == BSDS500
    save_toolbox(tiny_toolbox, tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert read_origin(tmp_path) == Origin()
    for key in Origin().to_dict():
        assert manifest.pop(key) == "unknown"
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    assert load_toolbox(tmp_path).names == tiny_toolbox.names
    assert read_origin(tmp_path) == Origin()


@pytest.mark.parametrize("name", shipped_toolboxes())
def test_what_ships_says_what_it_was_learnt_from(name: str) -> None:
    assert read_origin(toolbox_folder(name)) == BSDS500
    says = (WEIGHTS_FOLDER / "WEIGHTS_LICENSE").read_text()
    assert says.startswith(BSDS500.license)
    assert BSDS500.data_sha256 in says
