from __future__ import annotations

import pytest

from cvlab.report_text import change, code, md, number


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
    assert code("a|b") == r"`a\|b`"
    assert code("") == "(empty)"


def test_numbers() -> None:
    assert number({"value": 0.12345}) == "0.123"
    assert number({"value": 1234}) == "1,234"
    assert number({"value": None, "reason": "a|b"}) == r"undefined (a\|b)"
    assert change({"value": 0.5}, {"value": 0.25}) == "0.500 → 0.250 (-0.250)"
    assert change({"value": None, "reason": "x"}, {"value": 0.25}) == "undefined (x) → 0.250"
