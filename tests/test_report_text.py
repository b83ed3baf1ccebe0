from __future__ import annotations

from html import escape

import pytest
from markdown_it import MarkdownIt

from cvlab.report_text import cell, change, code, md, number


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b`c`<d>", r"a\|b\`c\`\<d\>"),
        ("snake_case _x_", r"snake_case \_x\_"),
        ("two\nlines\t", r"two\\nlines\\t"),
        (r"back\slash & [x](y)", r"back\\slash \& \[x\](y)"),
        (None, "None"),
    ],
)
def test_md(text: object, escaped: str) -> None:
    assert md(text) == escaped


def test_code_survives_back_quotes() -> None:
    assert code("a") == "`a`"
    assert code("`a``") == "``` `a`` ```"
    assert code("a|b") == "`a|b`"
    assert code("") == "(empty)"


TEXTS = ["a|b", "`|`", r"\|", r"C:\a|b", "``a|``b`", "||", "|`", r"\`|`", "`a` | `b`", "\\"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_pipe_is_shown_as_it_is_in_tables_and_outside(text: str) -> None:
    github = MarkdownIt("commonmark").enable("table")
    for written, shown in ((md(text), escape(text)), (code(text), f"<code>{escape(text)}</code>")):
        assert github.render(written) == f"<p>{shown}</p>\n"
        table = github.render(f"| head | b |\n| --- | --- |\n| {cell(written)} | next |\n")
        assert f"<td>{shown}</td>\n<td>next</td>" in table


def test_numbers() -> None:
    assert number({"value": 0.12345}) == "0.123"
    assert number({"value": 1234}) == "1,234"
    assert number({"value": -0.0004, "low": -0.001, "high": 0.0}) == "0.000 (-0.001 to 0.000)"
    assert number({"value": None, "reason": "a|b"}) == r"undefined (a\|b)"
    assert change({"value": 0.5}, {"value": 0.25}) == "0.500 → 0.250 (-0.250)"
    assert change({"value": None, "reason": "x"}, {"value": 0.25}) == "undefined (x) → 0.250"
