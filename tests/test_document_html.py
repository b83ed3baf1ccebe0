from __future__ import annotations

import io
import re
import tomllib
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cvlab.document import (
    Alert,
    Block,
    Bullets,
    Code,
    Document,
    Paragraph,
    Picture,
    Pictures,
    Quote,
    Section,
    Table,
)
from cvlab.document_html import anchors, to_html
from cvlab.document_inline import html_of, isolated, plain_of
from cvlab.document_pictures import page_image
from cvlab.document_tables import number_of, page_table
from cvlab.errors import RunFolderError
from cvlab.report_text import code, md
from cvlab.text import printable

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"' onload=alert(3) {{ 7 * 7 }} </style>"
PERSIAN = "خشمگین و غمگین"


class Page(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def document(tmp_path: Path) -> Document:
    """Every kind of block, each with a text that would be a script."""
    Image.new("RGB", (60, 40), "teal").save(tmp_path / "a.png", dpi=(200, 200))
    name = md(HOSTILE)
    blocks: list[Block] = [
        Paragraph(f"{name} **{name}** {code(HOSTILE)}"),
        Quote(name),
        Table(["", ""], [[name, code(HOSTILE)]], text_columns=2),
        Table([name, "a"], [[name, name], [PERSIAN, "0.462 (0.437 to 0.487)"]], foot=[[name, "1"]]),
        Bullets([HOSTILE, PERSIAN]),
        Code(HOSTILE, "yaml"),
        Alert(HOSTILE, [HOSTILE]),
        Pictures([Picture("a.png", name, HOSTILE), Picture("a.png", name)]),
    ]
    return Document(name, blocks, [Section(name, blocks), Section("two", blocks, level=3), Section("two", [])])


def test_whatever_a_text_holds_stays_text(document: Document, tmp_path: Path) -> None:
    page = Page(to_html(document, tmp_path))
    expected = {"script": 1, "style": 1, "title": 1, "h1": 1, "h2": 2, "h3": 1, "iframe": 0}
    assert {tag: len(page.all(tag)) for tag in expected} == expected
    assert not any(name.startswith("on") or name == "style" for _, found in page.elements for name in found)
    in_the_blocks, around_them = 3 * 16, 4
    assert "".join(page.text).count(HOSTILE) == in_the_blocks + around_them


def test_a_page_loads_nothing_and_allows_only_its_own_style_and_script(document: Document, tmp_path: Path) -> None:
    text = to_html(document, tmp_path)
    page = Page(text)
    links = [str(found[name]) for _, found in page.elements for name in ("src", "href") if name in found]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"url\(|@import|https?:", text.replace(HOSTILE, ""))
    (policy,) = [tag["content"] for tag in page.all("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in str(policy).split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        content = text.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        assert rules[rule] == f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"


def test_a_page_can_be_read_aloud(document: Document, tmp_path: Path) -> None:
    page = Page(to_html(document, tmp_path))
    assert page.all("html") == [{"lang": "en"}]
    assert all(picture["alt"] for picture in page.all("img")[:-1])
    assert {str(head.get("scope")) for head in page.all("th")} == {"col", "row"}
    named = [found["id"] for _, found in page.elements if "id" in found]
    assert len(named) == len({*named})
    targets = {str(link["href"])[1:] for link in page.all("a")}
    assert targets <= {*named}
    assert {"content", "two-1"} <= targets


def test_the_same_document_gives_the_same_page(document: Document, tmp_path: Path) -> None:
    assert to_html(document, tmp_path) == to_html(document, tmp_path)


def test_anchors_are_those_of_markdown_viewers_and_all_different() -> None:
    sections = [
        Section(name, []) for name in ("At the operating point", r"Over thresholds (a\_b)", "x", "x", "x-1", "!")
    ]
    sections.append(Section("y", [], anchor="own"))
    expected = ["at-the-operating-point", "over-thresholds-a_b", "x", "x-1", "x-1-1", "section", "own"]
    assert anchors(sections) == expected


@settings(max_examples=50)
@given(st.text())
def test_escaped_text_comes_out_as_it_is(text: str) -> None:
    for shown in (html_of(md(text)), html_of(f"**{md(text) or 'x'}**"), isolated(printable(text))):
        page = Page(shown)
        assert {tag for tag, _ in page.elements} <= {"bdi", "strong"}
    assert "".join(Page(html_of(md(text))).text) == printable(text).strip() == plain_of(md(text))


@settings(max_examples=50)
@given(st.text(min_size=1))
def test_code_comes_out_as_it_is(text: str) -> None:
    page = Page(html_of(code(text)))
    expected = printable(text) if printable(text).strip() else "(empty)"
    assert {tag for tag, _ in page.elements} <= {"bdi", "code"}
    # Markdown takes one space off each side of code that begins and ends with one.
    assert "".join(page.text) in {expected, expected[1:-1]}


def test_names_that_run_from_the_right_keep_to_themselves() -> None:
    assert isolated(f"{PERSIAN} (2), شاد (3)") == f"<bdi>{PERSIAN}</bdi> (2), <bdi>شاد</bdi> (3)"
    assert isolated("a_b <c>") == "a_b &lt;c&gt;"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.462 (0.437 to 0.487)", 0.462),
        ("1,234", 1234),
        ("-0.030", -0.03),
        ("+0.5", 0.5),
        ("12.5%", 12.5),
        ("1e-05", 1e-5),
        ("0.409 → 0.914 (+0.504)", 0.409),
        ("0.12 ± 0.03", 0.12),
        ("< 0.001", 0.001),
        ("14.3 MB", 14.3e6),
        ("4 s", 4),
        ("1 min 32 s", 92),
        ("2 h 10 min", 7800),
        ("infinite (no false positive)", float("inf")),
        ("undefined (no sample)", None),
        ("-", None),
        ("", None),
        ("3x", None),
        ("v1", None),
    ],
)
def test_cells_are_sorted_by_the_number_that_they_begin_with(text: str, number: float | None) -> None:
    assert number_of(text) == number


def test_tables_know_numbers_from_words() -> None:
    rows = [["0.05", "0.9 (0.8 to 1.0)"], ["**0.10**", "**0.8**"], ["7 dwarfs", "undefined (there are no samples)"]]
    shown = page_table(Table(["threshold", "sensitivity"], rows))
    assert [name for name, _ in shown.head] == ["threshold", "sensitivity"]
    assert [[cell.value for cell in row] for row in shown.rows] == [["0.05", "0.9"], ["0.1", "0.8"], ["", ""]]
    assert [row[1].look for row in shown.rows] == ["number", "number", "reason"]
    assert shown.rows[0][1].content == "<span>0.9</span> <small>(0.8 to 1.0)</small>"
    assert shown.rows[1][1].content == "<strong>0.8</strong>"
    assert page_table(Table(["", ""], [["a", "b"]], text_columns=2)).head == []


def decoded(source: str) -> Image.Image:
    return Image.open(io.BytesIO(b64decode(source.removeprefix("data:image/webp;base64,"))))


def test_drawings_keep_every_pixel_and_photographs_become_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    drawing = np.full((80, 120, 3), 255, np.uint8)
    drawing[20:40] = (0xB3, 0x26, 0x1E)
    noise = rng.integers(0, 256, (300, 400, 3))
    for name, pixels in (("drawing", drawing), ("photograph", noise.astype(np.uint8))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png", dpi=(200, 200))
    shown = page_image(tmp_path / "drawing.png")
    np.testing.assert_array_equal(np.asarray(decoded(shown.source).convert("RGB")), drawing)
    assert (shown.width, shown.height) == (60, 40)
    small = page_image(tmp_path / "photograph.png")
    assert decoded(small.source).size == (400, 300)
    assert len(small.source) < (tmp_path / "photograph.png").stat().st_size


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    document = Document("t", [Pictures([Picture("a.png", "a")])], [])
    with pytest.raises(RunFolderError, match=r"a\.png: cannot be read as a picture"):
        to_html(document, tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(RunFolderError, match=r"a\.png: cannot be read as a picture"):
        to_html(document, tmp_path)


def test_every_file_of_the_package_that_is_no_module_is_installed() -> None:
    root = Path(__file__).parent.parent
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["cvlab"]
    package = root / "src" / "cvlab"
    others = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert {path.name for path in others} >= {"document.html", "document.css", "document.js", "py.typed"}
    assert others == {path for pattern in patterns for path in package.glob(pattern)}
