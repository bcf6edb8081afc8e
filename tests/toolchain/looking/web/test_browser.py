"""The page and the report in a real browser: skipped where none is installed."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from benchmarks.browser import headless_chromium, missing_programs, screenshot
from restoration_toolchain.toolchain.restoring.load import load
from tests.toolchain.conftest import NAMES, SEQUENCE, RunCli, free_port, random_samples

pytest.importorskip("selenium", reason="the browser test needs selenium")
pytest.importorskip("gradio", reason="the page needs the extra web")
if missing_programs():
    pytest.skip(f"not installed: {', '.join(missing_programs())}", allow_module_level=True)

from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.interaction import POINTER_TOUCH
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.remote.webelement import WebElement

from restoration_toolchain.toolchain.looking.web import page
from restoration_toolchain.toolchain.looking.web.examples import make_examples
from restoration_toolchain.toolchain.looking.web.page import (
    build_page,
    launch,
    prepare_environment,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory, toolbox_folder: Path, agent_folder: Path
) -> Iterator[str]:
    """Of a page that accepts photos of up to half a megapixel."""
    folder = tmp_path_factory.mktemp("web")
    restorer = load(agent_folder, toolbox_folder, device="cpu", precision="fp32")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE"):
            patch.setenv(name, "")
        prepare_environment(folder)
        examples = make_examples(folder / "examples")
        blocks = build_page(restorer, examples, folder, max_pixels=500_000)
        yield launch(blocks, port=free_port(), max_pixels=500_000)
        blocks.close(verbose=False)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    with headless_chromium(tmp_path) as driver:
        yield driver


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "my photo.png"
    Image.fromarray(random_samples(120, 160)).save(path)
    return path


def wait(ready: Callable[[], Any], seconds: float = 120.0) -> Any:
    """What ``ready`` returns as soon as it is true."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := ready():
                return found
        except Exception:  # an element that is being replaced
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def find(browser: Chrome, selector: str) -> WebElement:
    return wait(lambda: browser.find_element("css selector", selector))


def sequence(browser: Chrome) -> list[str]:
    return [item.text for item in browser.find_elements("css selector", "#summary .sequence li")]


def upload(browser: Chrome, path: Path) -> None:
    find(browser, "#upload input[type=file]").send_keys(str(path))


def cut(browser: Chrome) -> float:
    """Where the divider is, in percent."""
    style = "return getComputedStyle(document.querySelector('.compare')).getPropertyValue('--cut')"
    return float(browser.execute_script(style))


def requests(browser: Chrome) -> list[str]:
    """Every address that was asked for, but pictures inside a page and the browser's own."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        url
        for event in events
        if event["method"] == "Network.requestWillBeSent"
        and not (url := event["params"]["request"]["url"]).startswith(("data:", "blob:", "chrome:"))
    ]


def move_divider(browser: Chrome) -> None:
    """Check that it follows the mouse, the keyboard and a finger."""
    slider = find(browser, ".compare input")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    frame = find(browser, ".compare")
    width = frame.size["width"]
    ActionChains(browser).move_to_element(frame).click_and_hold().move_by_offset(
        -width // 4, 0
    ).release().perform()
    assert cut(browser) == pytest.approx(25.0, abs=2.0)
    before = cut(browser)
    slider.send_keys(Keys.ARROW_RIGHT * 3)
    assert cut(browser) == pytest.approx(before + 3.0)
    finger = ActionBuilder(browser, mouse=PointerInput(POINTER_TOUCH, "finger"))
    finger.pointer_action.move_to(frame, round(cut(browser) / 100 * width - width / 2), 0)
    finger.pointer_action.pointer_down().move_to(frame, width // 4, 0).pointer_up()
    finger.perform()
    assert cut(browser) == pytest.approx(75.0, abs=4.0)


def is_drawn(picture: bytes) -> bool:
    return float(np.asarray(Image.open(io.BytesIO(picture)).convert("L")).std()) > 10.0


def test_a_photo_is_uploaded_looked_at_changed_by_hand_and_downloaded(
    browser: Chrome, address: str, photo: Path, run_cli: RunCli, tmp_path: Path
) -> None:
    browser.get(address)
    upload(browser, photo)
    wait(lambda: sequence(browser) == ["input", *SEQUENCE, "stop"])
    assert find(browser, "#summary h1").text == photo.name
    move_divider(browser)

    # Step through the images.
    assert find(browser, "#step h3").text == "Input"
    labels = wait(lambda: browser.find_elements("css selector", "#steps label"))
    assert [label.text for label in labels] == ["Input", "1. denoise_3", "2. deblur_1"]
    labels[1].click()
    wait(lambda: find(browser, "#step h3").text == "1. denoise_3")
    rows = browser.find_elements("css selector", "#step .values tbody tr")
    assert len(rows) == len(NAMES) + 1
    chosen = browser.find_elements("css selector", "#step .values .chosen th")
    assert [row.text.split()[0] for row in chosen] == [SEQUENCE[1]]

    # The download is what the command makes of the same photo.
    target = tmp_path / "by-command.png"
    assert run_cli("restore", photo, "-o", target).exit_code == 0
    assert download(browser, tmp_path) == target.read_bytes()

    # Another action on the second image; the agent goes on from there.
    find(browser, "#action input").click()
    options = wait(lambda: browser.find_elements("css selector", "[role=option]"))
    next(option for option in options if option.text.startswith("deblock_2")).click()
    find(browser, "#go").click()
    wait(lambda: sequence(browser)[:3] == ["input", SEQUENCE[0], "deblock_2"])
    assert download(browser, tmp_path) != target.read_bytes()

    # Per region there is a map, and no single action to choose.
    find(browser, "#regions input").click()
    find(browser, "#step .map img")
    wait(lambda: not browser.find_elements("css selector", "#action"))

    # Strength, without a mouse: 0 gives the photo back.
    number = find(browser, "#strength input[type=number]")
    number.send_keys(Keys.CONTROL + "a")
    number.send_keys("0" + Keys.TAB)
    wait(lambda: "Strength" in find(browser, "#summary").text)
    result = Image.open(io.BytesIO(download(browser, tmp_path)))
    np.testing.assert_array_equal(np.asarray(result), np.asarray(Image.open(photo)))

    assert is_drawn(screenshot(browser))
    assert {urlsplit(url).hostname for url in requests(browser)} == {"127.0.0.1"}


def download(browser: Chrome, folder: Path) -> bytes:
    """Press the button, and take away the file that comes."""
    find(browser, "#download").click()
    path = folder / "downloads" / "my photo-restored.png"
    wait(path.exists)
    content = path.read_bytes()
    path.unlink()
    return content


def test_an_example_is_scored_and_fits_on_a_phone(address: str, tmp_path: Path) -> None:
    with headless_chromium(tmp_path, width=390, height=844, dark=True) as browser:
        browser.get(address)
        wait(lambda: len(browser.find_elements("css selector", "#examples .thumbnail-item")) == 5)
        find(browser, "#examples .thumbnail-item").click()
        wait(lambda: sequence(browser) == ["input", *SEQUENCE, "stop"])
        assert "PSNR" in find(browser, "#summary").text
        labels = browser.find_elements("css selector", "#steps label")
        assert labels[-1].text == "Ground truth"
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide == 390
        assert is_drawn(screenshot(browser))


def test_what_is_no_photo_or_too_large_gets_a_message_and_the_page_goes_on(
    browser: Chrome, address: str, photo: Path, tmp_path: Path
) -> None:
    words, heavy, wide = (tmp_path / name for name in ("words.png", "heavy.png", "wide.png"))
    words.write_text("these are words")
    heavy.write_bytes(bytes(5_000_000))
    Image.new("RGB", (1000, 600)).save(wide)
    for path, says in (
        (words, "words.png: not an image"),
        (wide, "wide.png: 1000 x 600 pixels is more than the limit of 0.5 megapixels"),
        (heavy, "maximum allowed size"),
    ):
        browser.get(address)
        upload(browser, path)
        wait(lambda says=says: says in find(browser, "body").text)
        assert "Traceback" not in find(browser, "body").text
    browser.get(address)
    upload(browser, photo)
    wait(lambda: sequence(browser) == ["input", *SEQUENCE, "stop"])


def test_a_tab_closed_half_way_leaves_the_page_to_others(
    browser: Chrome, address: str, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, tab_closed = threading.Event(), threading.Event()
    show = page.show

    def held(*arguments: Any, **options: Any) -> Any:
        begun.set()
        assert tab_closed.wait(60.0)
        return show(*arguments, **options)

    monkeypatch.setattr(page, "show", held)
    browser.get(address)
    upload(browser, photo)
    assert begun.wait(60.0)
    (first,) = browser.window_handles
    browser.switch_to.new_window("tab")
    other = browser.current_window_handle
    browser.switch_to.window(first)
    browser.close()
    browser.switch_to.window(other)
    browser.get(address)
    upload(browser, photo)  # waits for its turn
    tab_closed.set()
    wait(lambda: sequence(browser) == ["input", *SEQUENCE, "stop"])


def test_the_report_works_from_a_file_and_asks_for_nothing(
    browser: Chrome, photo: Path, run_cli: RunCli, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    assert run_cli("inspect", photo, "-o", report).exit_code == 0
    browser.get(report.as_uri())
    move_divider(browser)
    assert is_drawn(screenshot(browser))
    assert requests(browser) == [report.as_uri()]
    assert browser.get_log("browser") == []
