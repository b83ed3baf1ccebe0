from __future__ import annotations

import pytest

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
    block_markdown,
    to_markdown,
)


@pytest.mark.parametrize(
    ("block", "markdown"),
    [
        (Paragraph("a **b**"), "a **b**"),
        (Quote("a"), "> a"),
        (
            Table(["a", "b", "c"], [["1", "2", "3"]], text_columns=2, foot=[["4", "5", "6"]]),
            "| a | b | c |\n| --- | --- | ---: |\n| 1 | 2 | 3 |\n| 4 | 5 | 6 |",
        ),
        (Bullets(["a_b", "<b>\nx", "*"]), "- a_b\n- \\<b\\>\\\\nx\n- \\*"),
        (Code("x\n```\ny\n", "yaml"), "````yaml\nx\n```\ny\n````"),
        (
            Alert("a < b", ["<script>\n"]),
            '<p style="color:red"><b>a &lt; b</b></p>\n<ul style="color:red">\n<li>&lt;script&gt;\\n</li>\n</ul>',
        ),
        (Pictures([Picture("a.png", "one", "seen"), Picture("b.png", "two")]), "![one](a.png)\n\n![two](b.png)"),
    ],
)
def test_every_block_as_markdown(block: Block, markdown: str) -> None:
    assert block_markdown(block) == markdown


def test_a_document_as_markdown() -> None:
    sections = [Section("one", [Paragraph("a"), Paragraph("b")]), Section("two", [Quote("c")], level=3)]
    text = to_markdown(Document("title", [Paragraph("first")], sections))
    assert text == "# title\n\nfirst\n\n## one\n\na\n\nb\n\n### two\n\n> c\n"
