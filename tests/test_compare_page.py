"""compare.html in a real browser: sorted, pictures opened, links followed; safe whatever the names, and whole alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cvlab.compare import Request, compare
from cvlab.console import Console
from tests.browser_fixture import (
    DESKTOP,
    IN_A_BROWSER,
    LONG_NAME,
    PERSIAN,
    PHONE,
    SCRIPT,
    check_widths,
    column,
    opened,
    resize,
    section,
    started,
)
from tests.compare_fixture import ids_of, table_of, write_run

CLASSES = (SCRIPT, PERSIAN, "a|b*c_d", LONG_NAME)
MODELS = {"vgg": 2.5, SCRIPT.replace("/", ""): 1.5, PERSIAN: 0.2}
LAPTOP = (1280, 800)
ACCURACY = 2

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of three models with hostile names of models, classes, files and settings."""
    parent = tmp_path_factory.mktemp("runs")
    ids = [LONG_NAME, *ids_of(119)]
    runs = [
        write_run(
            parent / name / "20250102-030405",
            table_of(skill, seed, samples=120, names=CLASSES, ids=ids),
            train={"note": f"{SCRIPT}|`{name}`"},
            expected=[{"metric": "test.accuracy", "value": 0.5, "source": f"{SCRIPT} & {PERSIAN}"}],
        )
        for seed, (name, skill) in enumerate(MODELS.items())
    ]
    out = parent / "comparison"
    return compare(Request([run.path for run in runs], out, "test", None, False), Console()) / "compare.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with started(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def page(page_file: Path, chromium: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    with opened(chromium, page_file) as driver:
        yield driver


def test_the_leaderboard_is_sorted_by_a_click(page: webdriver.Chrome) -> None:
    table = section(page, "leaderboard").find_element(By.TAG_NAME, "table")
    assert column(table, 0) == ["A", "B", "C"]
    assert column(table, 1) == [*MODELS]
    heading = table.find_elements(By.CSS_SELECTOR, "thead th")[ACCURACY]
    heading.find_element(By.TAG_NAME, "button").click()
    assert heading.get_dom_attribute("aria-sort") == "ascending"
    assert column(table, 0) == ["C", "B", "A"]
    values = [float(text.split()[0]) for text in column(table, ACCURACY)]
    assert values == sorted(values)


def test_a_picture_opens_large(page: webdriver.Chrome) -> None:
    figure = section(page, "curves").find_element(By.TAG_NAME, "figure")
    dialog = page.find_element(By.TAG_NAME, "dialog")
    figure.find_element(By.TAG_NAME, "button").click()
    assert dialog.is_displayed()
    assert dialog.find_element(By.TAG_NAME, "p").text == "ROC curves, one class against the rest (test)"
    assert int(str(dialog.find_element(By.TAG_NAME, "img").get_property("naturalWidth"))) > 500
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()


def test_every_metric_is_linked_to_its_definition(page: webdriver.Chrome) -> None:
    broken = """
        return [...document.querySelectorAll("a[href]")].map((link) => link.getAttribute("href"))
            .filter((href) => !href.startsWith("#") || !document.getElementById(href.slice(1)))"""
    assert page.execute_script(broken) == []
    unlinked = """
        return [...document.querySelectorAll("main table")].flatMap((table) => {
            const place = [...(table.tHead?.rows[0].cells ?? [])].findIndex((cell) => cell.textContent === "metric");
            return place < 0 ? [] : [...table.tBodies[0].rows].map((row) => row.cells[place])
                .filter((cell) => !cell.querySelector("a")).map((cell) => cell.textContent);
        })"""
    assert page.execute_script(unlinked) == []
    for anchor, text in (("leaderboard", "balanced accuracy"), ("all-metrics", "macro F1")):
        link = section(page, anchor).find_element(By.LINK_TEXT, text)
        link.click()
        target = page.find_element(By.CSS_SELECTOR, ":target")
        assert target.find_element(By.TAG_NAME, "h3").text == text
        assert "Range: " in target.text


def test_names_are_shown_as_they_are_and_nothing_of_them_runs(page: webdriver.Chrome) -> None:
    text = str(page.find_element(By.TAG_NAME, "main").get_property("textContent"))
    assert all(name in text for name in (*CLASSES, *MODELS))
    assert f"{SCRIPT}|`vgg`" in text
    assert len(page.find_elements(By.TAG_NAME, "script")) == 1
    # An alert would make every command fail.
    assert page.title == f"Comparison: {', '.join(MODELS)}"


@pytest.mark.parametrize("size", [DESKTOP, LAPTOP, PHONE])
def test_nothing_is_wider_than_the_window(page: webdriver.Chrome, size: tuple[int, int]) -> None:
    resize(page, size)
    check_widths(page, size)
