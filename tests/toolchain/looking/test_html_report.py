"""Properties of the report: one HTML file, complete, that loads nothing."""

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from restoration_toolchain.data.images import FloatImage, to_float, to_uint8
from restoration_toolchain.toolchain.looking.html_report import render_report
from restoration_toolchain.toolchain.looking.pictures import detail_box, map_picture, picture
from tests.toolchain import conftest

VOID = {"meta", "img", "input", "br", "link", "hr"}
NASTY = "<script>alert('x')</script>&\"quotes\" \N{CAMERA} {{ 7 * 7 }}.png"


class Page(HTMLParser):
    """Reads a page, and fails where a tag is not closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]

    def with_class(self, name: str) -> list[str]:
        return [
            tag for tag, attributes in self.tags if name in (attributes.get("class") or "").split()
        ]


def photo(height: int = 40, width: int = 48) -> FloatImage:
    return to_float(conftest.random_samples(height, width))


def pixels(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def report(make_restorer: conftest.MakeRestorer, *tools: str, name: str = "photo.png") -> str:
    restoration = make_restorer(*tools).restore(photo(), gt=photo(), keep_frames=True)
    return render_report(restoration, name=name, gt=photo(), caption="degraded by nothing at all")


def test_it_tells_every_step_with_all_values_and_marks_the_chosen_ones(
    make_restorer: conftest.MakeRestorer,
) -> None:
    restoration = make_restorer(*conftest.SEQUENCE).restore(photo(), gt=photo(), keep_frames=True)
    page = Page(render_report(restoration, name="photo.png", gt=photo()))
    for step in restoration.steps:
        for name, value in step.action_values.items():
            assert name in page.text
            assert f"{value:+.2f}".replace("-", "\N{MINUS SIGN}") in page.text
        assert step.score is not None
        assert f"PSNR {step.score.psnr:.2f} dB" in page.text
    assert page.text.count("(chosen)") == len(restoration.steps) == 3
    assert len(page.with_class("bar")) == sum(len(s.action_values) for s in restoration.steps)
    assert "treats noise 25-37.5 (sigma /255)" in page.text
    assert "Stopped: the agent expects no tool to help" in page.text
    assert "Ground truth" in page.text
    made_by = restoration.provenance
    for checksum in (made_by.agent_checksum, *made_by.tool_checksums.values(), made_by.version):
        assert checksum in page.text


def test_it_loads_nothing(make_restorer: conftest.MakeRestorer) -> None:
    text = report(make_restorer, *conftest.SEQUENCE)
    page = Page(text)
    assert page.all("link") == page.all("script") == page.all("iframe") == []
    addresses = [a[k] for _, a in page.tags for k in ("src", "href", "srcset", "data") if k in a]
    assert addresses
    assert all(address.startswith("data:image/") for address in addresses if address)
    assert "url(" not in text
    assert "@import" not in text
    assert "//" not in re.sub(r"data:image/\w+;base64,[\w+/=]+", "", text)
    (policy,) = (a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_any_name_and_caption_is_shown_as_it_is(make_restorer: conftest.MakeRestorer) -> None:
    page = Page(report(make_restorer, conftest.SEQUENCE[0], name=NASTY))
    assert page.all("script") == []
    assert NASTY in page.text
    assert "degraded by nothing at all" in page.text


def test_every_image_has_an_alternative_and_every_slider_a_label(
    make_restorer: conftest.MakeRestorer,
) -> None:
    page = Page(report(make_restorer, *conftest.SEQUENCE))
    images, sliders = page.all("img"), page.all("input")
    assert all(image["alt"] for image in images)
    assert len({image["alt"] for image in images}) == len(images)
    assert [slider["type"] for slider in sliders] == ["range"] * 3  # the whole, and each tool
    assert all(slider["aria-label"] for slider in sliders)
    assert page.all("html")[0]["lang"] == "en"


def test_the_pictures_of_a_small_photo_are_exact(make_restorer: conftest.MakeRestorer) -> None:
    restoration = make_restorer(*conftest.SEQUENCE).restore(photo(), keep_frames=True)
    page = Page(render_report(restoration, name="photo.png"))
    after, before = (np.asarray(pixels(str(image["src"]))) for image in page.all("img")[:2])
    np.testing.assert_array_equal(before, conftest.random_samples(40, 48))
    np.testing.assert_array_equal(after, to_uint8(restoration.image))
    assert "smaller than it is" not in page.text
    assert "pixel for pixel" not in page.text


def test_a_large_photo_is_scaled_down_which_is_said_and_has_a_detail(
    make_restorer: conftest.MakeRestorer,
) -> None:
    restoration = make_restorer().restore(photo(60, 2000), keep_frames=True)
    page = Page(render_report(restoration, name="photo.png"))
    assert "Shown smaller than it is" in page.text
    assert "2000 x 60 pixels" in page.text
    whole, _, detail, *_ = (pixels(str(image["src"])) for image in page.all("img"))
    assert whole.size == (1600, 48)
    assert detail.size == (960, 60)


def test_the_detail_is_where_most_has_changed() -> None:
    before = np.full((300, 500, 3), 0.5, np.float32)
    after = before.copy()
    after[180:220, 320:380] += 0.2
    after[:8, :8] -= 0.5  # stronger, but little of it
    left, top = detail_box(before, after, 160, 96)
    assert left <= 320 < 380 <= left + 160
    assert top <= 180 < 220 <= top + 96
    assert detail_box(before, after, 500, 300) == (0, 0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 700), (1700, 3), (17, 1900)])
def test_any_shape_of_photo_fits(
    make_restorer: conftest.MakeRestorer, height: int, width: int
) -> None:
    restoration = make_restorer(conftest.SEQUENCE[1]).restore(
        photo(height, width), keep_frames=True
    )
    page = Page(render_report(restoration, name="photo.png"))
    assert f"{width} x {height} pixels" in page.text


def test_the_colour_profile_goes_along_if_it_is_one_for_rgb() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    shown = pixels(picture(to_uint8(photo()), max_side=100, icc=profile).uri)
    assert shown.info["icc_profile"] == profile
    gray = profile[:16] + b"GRAY" + profile[20:]
    assert "icc_profile" not in pixels(picture(to_uint8(photo()), max_side=100, icc=gray).uri).info


def test_risk_and_colour_drift_are_told_where_they_are_known(
    make_restorer: conftest.MakeRestorer,
) -> None:
    restoration = make_restorer(*conftest.SEQUENCE).restore(photo(), keep_frames=True)
    unknown = [dataclasses.replace(s, risk=None, colour_drift=None) for s in restoration.steps]
    known = [dataclasses.replace(s, risk=0.034, colour_drift=1.26) for s in restoration.steps]
    texts = [
        Page(
            render_report(dataclasses.replace(restoration, steps=tuple(steps)), name="photo.png")
        ).text
        for steps in (unknown, known)
    ]
    assert "Risk" not in texts[0]
    assert "moved" not in texts[0]
    assert f"Risk that {conftest.SEQUENCE[0]} makes it worse: 3%." in texts[1]
    assert "Risk that the best tool makes it worse: 3%." in texts[1]
    assert texts[1].count("moved by at most 1.3 of 255 grey levels") == len(conftest.SEQUENCE)


def test_that_a_larger_value_was_passed_over_is_explained(
    make_restorer: conftest.MakeRestorer,
) -> None:
    restoration = make_restorer(*conftest.SEQUENCE).restore(photo(), keep_frames=True)
    first, *others = restoration.steps
    values = {**first.action_values, "deblur_3": 9.0}
    risky = dataclasses.replace(first, action_values=values, risk=0.03)
    told = dataclasses.replace(restoration, steps=(risky, *others))
    says = "A runner-up with a larger value than the tool that ran risks more"
    assert says in Page(render_report(told, name="photo.png")).text
    assert "runner-up" not in Page(render_report(restoration, name="photo.png")).text


def test_what_was_done_by_hand_in_part_and_per_region_is_told(
    make_restorer: conftest.MakeRestorer,
) -> None:
    restorer = make_restorer(*conftest.SEQUENCE)
    by_hand = restorer.restore(
        photo(), keep_frames=True, strength=0.5, forced=["deblock_1", "stop"]
    )
    text = Page(render_report(by_hand, name="photo.png")).text
    assert "Chosen by hand deblock_1, stop" in text
    assert "Stopped by hand." in text
    assert "Strength 50%" in text
    assert "Gain that the agent expected" not in text
    page = Page(
        render_report(
            restorer.restore(photo(100, 130), keep_frames=True, regions=True), name="photo.png"
        )
    )
    maps = [str(image["alt"]) for image in page.all("img") if "map" in str(image["alt"])]
    assert maps[0] == f"Decision map: {conftest.SEQUENCE[0]} 100%"
    assert "Decided per region" in page.text


def test_a_map_colours_the_cells_of_tools_and_leaves_the_rest_gray() -> None:
    image = np.full((64, 96, 3), 0.5, np.float32)
    actions = np.array([[0, 0, 2], [2, 1, 1]])
    shown = map_picture(image, actions, cell=32, n_tools=2, max_side=200)
    colours = np.asarray(pixels(shown.uri))
    first, second, rest = colours[5, 5], colours[40, 40], colours[5, 90]
    assert len({tuple(colour) for colour in (first, second, rest)}) == 3
    assert (rest == rest[0]).all()
    assert (colours[:32, :64] == first).all()
    assert (colours[32:, 32:] == second).all()
    assert (colours[32:, :32] == rest).all()


def test_without_frames_there_is_nothing_to_tell(make_restorer: conftest.MakeRestorer) -> None:
    with pytest.raises(ValueError, match="keep_frames=True"):
        render_report(make_restorer().restore(photo()), name="photo.png")


def test_the_command_writes_it_for_a_name_that_ends_in_html(
    run_cli: conftest.RunCli, make_photo: conftest.MakePhoto, tmp_path: Path
) -> None:
    clean, target = (
        make_photo("a <b>&amp; \N{CAMERA}\n.png", 70, 70),
        tmp_path / "new" / "report.html",
    )
    result = run_cli("inspect", clean, "--degrade", "moderate", "-o", target)
    assert result.exit_code == 0, result.output
    assert str(target) in result.stdout
    page = Page(target.read_text("utf-8"))
    assert "a <b>&amp; \N{CAMERA} .png" in page.text
    assert "The photo was degraded by blur of sigma" in page.text
    assert "PSNR" in page.text


def test_a_name_that_is_no_text_is_no_obstacle(
    run_cli: conftest.RunCli, make_photo: conftest.MakePhoto, tmp_path: Path
) -> None:
    source, target = make_photo("photo.png"), tmp_path / "report.html"
    odd = source.rename(tmp_path / "caf\udce9.png")
    result = run_cli("inspect", odd, "-o", target)
    assert result.exit_code == 0, result.output
    assert "caf?.png" in Page(target.read_text("utf-8")).text


def test_an_existing_report_is_kept_unless_told_otherwise(
    run_cli: conftest.RunCli, make_photo: conftest.MakePhoto, tmp_path: Path
) -> None:
    source, target = make_photo("photo.png"), tmp_path / "report.html"
    target.write_text("precious")
    before = conftest.snapshot(tmp_path)
    conftest.assert_one_line(run_cli("inspect", source, "-o", target), 2, "pass --overwrite")
    assert conftest.snapshot(tmp_path) == before
    assert run_cli("inspect", source, "-o", target, "--overwrite").exit_code == 0
    assert "precious" not in target.read_text("utf-8")
