"""A real browser for the pages of reports and comparisons: opened, measured, and asked what it asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SCRIPT, PERSIAN = "<script>alert(1)</script>", "خشمگین و غمگین"
LONG_NAME = f"faces/{'a_very_long_name-' * 11}{'x' * 3}.jpg"
DESKTOP, PHONE = (1300, 850), (390, 780)

IN_A_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no chromium with its chromedriver"),
]


@contextmanager
def started(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser that keeps what it writes in the folder `profile`."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    driver.get("about:blank")
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def opened(driver: webdriver.Chrome, file: Path) -> Iterator[webdriver.Chrome]:
    """A page at the size of a desktop; at the end nothing was complained of and nothing asked for."""
    resize(driver, DESKTOP)
    requests(driver)
    driver.get(file.as_uri())
    yield driver
    assert log(driver, "browser") == []
    assert requests(driver) == {file.as_uri()}


def resize(driver: webdriver.Chrome, size: tuple[int, int]) -> None:
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 2, "mobile": size == PHONE}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def requests(driver: webdriver.Chrome) -> set[str]:
    """What left the page since this was last looked at; what it carries in itself, or its policy stopped, did not."""
    messages = [json.loads(entry["message"])["message"] for entry in log(driver, "performance")]
    asked, stopped = {}, set()
    for message in messages:
        parameters = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            asked[parameters["requestId"]] = str(parameters["request"]["url"])
        elif message["method"] == "Network.loadingFailed" and parameters.get("blockedReason") == "csp":
            stopped.add(parameters["requestId"])
    return {url for key, url in asked.items() if key not in stopped and not url.startswith(("data:", "chrome"))}


def log(driver: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    return list(driver.execute("getLog", {"type": kind})["value"])


def section(driver: webdriver.Chrome, anchor: str) -> WebElement:
    return driver.find_element(By.ID, anchor)


def column(table: WebElement, place: int) -> list[str]:
    cells = "return [...arguments[0].tBodies[0].rows].map((row) => row.cells[arguments[1]].textContent)"
    return list(table.parent.execute_script(cells, table, place))


def check_widths(page: webdriver.Chrome, size: tuple[int, int]) -> None:
    assert page.execute_script("return document.documentElement.scrollWidth") <= size[0]
    too_wide = """
        return [...document.querySelectorAll("main p, main li, figure, h1, h2, .window, pre")]
            .filter((element) => element.getBoundingClientRect().right > innerWidth + 1).length"""
    assert page.execute_script(too_wide) == 0
