"""Make the pictures of docs/page.md again: ``python -m benchmarks.screenshots``."""

import io
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer
from PIL import Image

from benchmarks.browser import headless_chromium, missing_programs, screenshot
from restoration_toolchain.toolchain.looking.inspection import inspect_photo
from restoration_toolchain.toolchain.looking.web.examples import make_examples
from restoration_toolchain.toolchain.looking.web.page import build_page, launch, prepare_environment
from restoration_toolchain.toolchain.looking.web.session import DEFAULT_MAX_PIXELS
from restoration_toolchain.toolchain.photos.read import read_photo
from restoration_toolchain.toolchain.restoring.load import load

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
_MAX_BYTES: Final = 300_000
_PATIENCE: Final = 120.0  # seconds


def main() -> None:
    """Start the page, visit it with a browser as a user would, and write what is to be seen."""
    if missing := missing_programs():
        sys.exit(f"not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        prepare_environment(folder)
        restorer = load(device="cpu")
        examples = make_examples(folder / "examples")
        page = build_page(restorer, examples, folder, DEFAULT_MAX_PIXELS)
        address = launch(page, port=7999, max_pixels=DEFAULT_MAX_PIXELS)
        report = folder / "report.html"
        photo, gt = read_photo(examples[0].lq), read_photo(examples[0].gt)
        inspection = inspect_photo(restorer, photo, gt=gt)
        report.write_text(inspection.report(examples[0].lq.name), "utf-8")

        with headless_chromium(folder / "desktop", width=1280) as browser:
            browser.get(address)
            _restore_example(browser, 0)
            _write("page", screenshot(browser, max_height=1700))
        with headless_chromium(folder / "phone", width=390, height=844, dark=True) as browser:
            browser.get(address)
            _wait(browser, "#regions input").click()
            _restore_example(browser, 4)
            browser.find_elements("css selector", "#steps label")[1].click()
            time.sleep(2.0)
            _write("page-phone", screenshot(browser))
        with headless_chromium(folder / "report", width=1280) as browser:
            browser.get(report.as_uri())
            _write("report", screenshot(browser, max_height=1700))
        page.close(verbose=False)


def _restore_example(browser: "Chrome", number: int) -> None:
    _wait(browser, "#examples .thumbnail-item", number)
    time.sleep(1.0)
    browser.find_elements("css selector", "#examples .thumbnail-item")[number].click()
    _wait(browser, "#comparison .compare")
    time.sleep(2.0)  # what appears does so gradually


def _wait(browser: "Chrome", selector: str, number: int = 0) -> "WebElement":
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.wait import WebDriverWait

    wait = WebDriverWait(browser, _PATIENCE, ignored_exceptions=(WebDriverException, IndexError))
    return wait.until(lambda _: browser.find_elements("css selector", selector)[number])


def _write(name: str, png: bytes) -> None:
    """Write WebP of the highest quality that leaves it small."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for quality in (90, 80, 70, 60, 50):
        stream = io.BytesIO()
        image.save(stream, "WEBP", quality=quality, method=6)
        if len(stream.getvalue()) <= _MAX_BYTES:
            break
    (IMAGES / f"{name}.webp").write_bytes(stream.getvalue())


if __name__ == "__main__":
    typer.run(main)
