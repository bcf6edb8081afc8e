"""A headless Chromium, for the test of the page and for the pictures of the documentation."""

import base64
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PROGRAMS: Final = ("chromium", "chromedriver")
"""What must be on the path (Debian: ``apt-get install chromium chromium-driver``)."""

_QUIET: Final = (
    "--headless",
    "--no-sandbox",  # it would not start as root, as in most containers
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def missing_programs() -> list[str]:
    """Names of the programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextlib.contextmanager
def headless_chromium(
    folder: Path, *, width: int = 1280, height: int = 900, dark: bool = False
) -> "Iterator[Chrome]":
    """Open a browser that logs its requests, and close it in the end.

    Args:
        folder: Directory of the profile; downloads go to ``downloads`` in it.
        width: Width of the window in pixels; below 600 it is a phone's.
        height: Height of the window in pixels.
        dark: Whether the user prefers dark pages.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (*_QUIET, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))
    )
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        downloads = {"behavior": "allow", "downloadPath": str(folder / "downloads")}
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", downloads)
        yield driver
    finally:
        driver.quit()


def screenshot(driver: "Chrome", *, max_height: int = 8000) -> bytes:
    """Take a picture of the whole page, as PNG, its upper ``max_height`` pixels at most."""
    width, height = driver.execute_script(
        "return [innerWidth, document.documentElement.scrollHeight]"
    )
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, max_height), "scale": 1}
    shot = driver.execute_cdp_cmd(
        "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
    )
    return base64.b64decode(shot["data"])
