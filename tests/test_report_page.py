"""report.html in a real browser: it can be used, stays safe whatever the names, and asks for nothing."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cvlab.document import Document, Section, Table
from cvlab.document_html import to_html
from cvlab.report import write_report
from cvlab.report_text import md
from cvlab.run_folder import RunFolder, read_json, write_json
from tests.browser_fixture import (
    DESKTOP,
    IN_A_BROWSER,
    LONG_NAME,
    PERSIAN,
    PHONE,
    SCRIPT,
    check_widths,
    column,
    log,
    opened,
    requests,
    resize,
    section,
    started,
)
from tests.run_fixture import fake_run

NAMES = (SCRIPT, PERSIAN, '"><img src=x onerror=alert(2)>', "calm", "sad", "glad")

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with hostile names of classes, and a leak and a warning about a file of 200 characters."""
    assert len(LONG_NAME.removeprefix("faces/")) > 190
    run = fake_run(tmp_path_factory.mktemp("runs"), names=NAMES, samples=300, stages=("train",), leaks=(LONG_NAME,))
    data = read_json(run.data)
    data["stages"][0]["warnings"] = [f"{LONG_NAME} and {PERSIAN} (7) are {SCRIPT}"]
    write_json(run.data, data)
    write_report(run)
    return run


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with started(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def page(run: RunFolder, chromium: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    with opened(chromium, run.report_page) as driver:
        yield driver


def test_a_table_is_sorted_by_a_click_and_by_the_keyboard(page: webdriver.Chrome) -> None:
    table = section(page, "results-by-class-test").find_element(By.TAG_NAME, "table")
    before, recalls = column(table, 0), column(table, 2)
    assert before == list(NAMES)
    heading = table.find_elements(By.CSS_SELECTOR, "thead th")[2]
    assert heading.get_dom_attribute("aria-sort") is None

    heading.find_element(By.TAG_NAME, "button").click()
    assert heading.get_dom_attribute("aria-sort") == "ascending"
    numbers = [float(text) for text in column(table, 2)]
    assert numbers == sorted(numbers)
    assert len({*numbers}) > 3

    heading.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert heading.get_dom_attribute("aria-sort") == "descending"
    assert column(table, 2) == [f"{number:.3f}" for number in sorted(numbers, reverse=True)]
    assert dict(zip(column(table, 0), column(table, 2), strict=True)) == dict(zip(before, recalls, strict=True))

    names = table.find_elements(By.CSS_SELECTOR, "thead th")[0]
    names.find_element(By.TAG_NAME, "button").click()
    assert heading.get_dom_attribute("aria-sort") is None
    assert column(table, 0)[-4:] == ["calm", "glad", "sad", PERSIAN]


def test_sums_stay_last_however_a_table_is_sorted(page: webdriver.Chrome) -> None:
    table = section(page, "samples").find_element(By.TAG_NAME, "table")
    table.find_elements(By.CSS_SELECTOR, "thead button")[-1].click()
    totals = [int(text) for text in column(table, 4)]
    assert totals == sorted(totals)
    assert table.find_element(By.CSS_SELECTOR, "tfoot td:last-child").text == str(sum(totals))


def test_a_picture_opens_large_and_closes_by_escape(page: webdriver.Chrome) -> None:
    figure = section(page, "confusion-matrix-test").find_element(By.TAG_NAME, "figure")
    button, dialog = figure.find_element(By.TAG_NAME, "button"), page.find_element(By.TAG_NAME, "dialog")
    small = figure.find_element(By.TAG_NAME, "img")
    assert int(str(small.get_property("naturalWidth"))) > 500
    assert not dialog.is_displayed()
    button.click()
    assert dialog.is_displayed()
    large = dialog.find_element(By.TAG_NAME, "img")
    assert large.size["height"] >= small.size["height"]
    assert large.get_dom_attribute("alt") == small.get_dom_attribute("alt")
    assert dialog.find_element(By.TAG_NAME, "p").text == "confusion matrix, counts (test)"
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    assert page.switch_to.active_element == button
    button.send_keys(Keys.ENTER)
    dialog.find_element(By.TAG_NAME, "button").click()
    assert not dialog.is_displayed()


def test_names_are_shown_as_they_are_and_nothing_of_them_runs(page: webdriver.Chrome) -> None:
    text = str(page.find_element(By.TAG_NAME, "main").get_property("textContent"))
    assert all(name in text for name in (*NAMES, LONG_NAME))
    assert len(page.find_elements(By.TAG_NAME, "script")) == 1
    assert page.find_elements(By.CSS_SELECTOR, "[onerror], [onclick], [style*='url']") == []
    # An alert would make every command fail.
    assert page.title == "vgg_emotion_tune 20250102-030405"


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_nothing_is_wider_than_the_window(page: webdriver.Chrome, size: tuple[int, int]) -> None:
    resize(page, size)
    check_widths(page, size)
    contents = page.find_element(By.CSS_SELECTOR, "nav details")
    assert (contents.get_dom_attribute("open") is not None) == (size == DESKTOP)


def test_a_table_of_100_classes_and_long_names(chromium: webdriver.Chrome, tmp_path: Path) -> None:
    values = [f"{number % 7 / 7:.3f} (0.000 to 1.000)" for number in range(99)]
    rows = [[md(f"{SCRIPT} {number:02d}"), *[value] * 6] for number, value in enumerate(values)]
    rows.append([md(LONG_NAME), *["undefined (no sample is of this class)"] * 6])
    table = Table(["class", "precision", "recall", "specificity", "F1", "ROC AUC", "average precision"], rows)
    path = tmp_path / "page.html"
    path.write_text(to_html(Document("100 classes", [], [Section("All", [table])]), tmp_path), encoding="utf-8")
    for size in (DESKTOP, PHONE):
        resize(chromium, size)
        chromium.get(path.as_uri())
        check_widths(chromium, size)
    shown = chromium.find_element(By.TAG_NAME, "table")
    window, heading = (shown.find_element(By.XPATH, ".."), shown.find_elements(By.CSS_SELECTOR, "thead button")[1])
    assert window.size["height"] < 600
    for last in (values[6], values[0]):
        heading.click()
        assert column(shown, 1)[-2] == last
        assert column(shown, 0)[-1] == LONG_NAME
    assert log(chromium, "browser") == []


def test_it_is_dark_where_the_reader_likes_it_so_and_prints_on_white(page: webdriver.Chrome) -> None:
    def luminance(of: str) -> float:
        colour = page.execute_script(f"return getComputedStyle(document.body).{of}")
        return sum(map(float, colour.removeprefix("rgb(").rstrip(")").split(","))) / 3 / 255

    def emulate(**media: Any) -> None:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    emulate(features=[{"name": "prefers-color-scheme", "value": "light"}])
    assert luminance("backgroundColor") > 0.9 > 0.3 > luminance("color")
    emulate(features=dark)
    assert luminance("backgroundColor") < 0.2 < 0.8 < luminance("color")
    emulate(media="print", features=dark)
    assert luminance("backgroundColor") == 1
    assert not page.find_element(By.TAG_NAME, "nav").is_displayed()
    window = section(page, "results-by-class-test").find_element(By.CLASS_NAME, "window")
    assert window.get_property("scrollHeight") == window.get_property("clientHeight")
    emulate(media="", features=[])
    assert b64decode(page.execute_cdp_cmd("Page.printToPDF", {})["data"]).startswith(b"%PDF")


def test_the_policy_forbids_what_is_not_in_the_page(chromium: webdriver.Chrome, run: RunFolder) -> None:
    chromium.get(run.report_page.as_uri())
    requests(chromium)
    forbidden = """
        const done = arguments[0], found = new Set();
        addEventListener("securitypolicyviolation", (event) => {
          found.add(event.effectiveDirective);
          if (found.size === 4) done([...found].sort());
        });
        new Image().src = "http://127.0.0.1:9/a.png";
        fetch("http://127.0.0.1:9/").catch(() => 0);
        for (const [tag, text] of [["script", "window.ran = true"], ["style", "body { color: red }"]]) {
          const element = document.createElement(tag);
          element.textContent = text;
          document.body.append(element);
        }"""
    directives = ["connect-src", "img-src", "script-src-elem", "style-src-elem"]
    assert chromium.execute_async_script(forbidden) == directives
    assert chromium.execute_script("return window.ran") is None
    assert requests(chromium) == set()
    assert {entry["level"] for entry in log(chromium, "browser")} == {"SEVERE"}


def test_the_page_is_of_a_fair_size(run: RunFolder) -> None:
    pictures = sum(path.stat().st_size for folder in (run.plots, run.pictures) for path in Path(folder).iterdir())
    assert run.report_page.stat().st_size < pictures
