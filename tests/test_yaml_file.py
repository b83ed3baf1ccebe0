"""Strict YAML: scalars, places, what is refused, and writing that reads back to the same values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvlab.errors import ConfigError
from cvlab.problems import Place, dotted_key, shown
from cvlab.yaml_file import MAX_BYTES, parse_value, read_document, to_yaml


def read(tmp_path: Path, text: str | bytes) -> Any:
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return read_document(path, shown="c.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("5.", 5.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("007", 7),
        ("-3", -3),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("# nothing", None),
        # YAML 1.1 reads these as booleans, a time, numbers and a date.
        ("on", "on"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("2024-01-01", "2024-01-01"),
        ("1e", "1e"),
        ("1e-3x", "1e-3x"),
        ("'1e-3'", "1e-3"),
        ("[1, [a, {b: 2}]]", [1, ["a", {"b": 2}]]),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
    ],
)
def test_scalars(text: str, value: object) -> None:
    received = parse_value(text, origin="test")
    assert received == value
    assert type(received) is type(value)


def test_not_a_number_is_a_float() -> None:
    assert math.isnan(parse_value(".nan", origin="test"))


def test_places_are_the_lines_of_keys_and_items(tmp_path: Path) -> None:
    document = read(tmp_path, "# a comment\na:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n1: one\n")
    assert document.value == {"a": {"b": 1, "c": ["x", {"d": 2}]}, "1": "one"}
    lines = {dotted_key(key): place for key, place in document.places.items() if key}
    assert lines == {
        key: Place("c.yaml", line)
        for key, line in {"a": 2, "a.b": 3, "a.c": 4, "a.c.0": 5, "a.c.1": 6, "a.c.1.d": 6, "1": 7}.items()
    }
    assert document.problems == []


def test_duplicate_keys_at_every_depth(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 1\nb:\n  c: 1\n  c: 2\na: 3\nd: [{e: 1, e: 1}]\n")
    assert document.value == {"a": 1, "b": {"c": 1}, "d": [{"e": 1}]}
    assert [str(problem) for problem in document.problems] == [
        "c.yaml:4: b.c: duplicate key, already given in line 3; keep one of the two.",
        "c.yaml:5: a: duplicate key, already given in line 1; keep one of the two.",
        "c.yaml:6: d.0.e: duplicate key, already given in line 6; keep one of the two.",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: !!python/name:os.system x", "c.yaml:1: a: expected a plain value, received the tag"),
        ("a: !own {b: 1}", "c.yaml:1: a: expected a plain value, received the tag '!own'."),
        ("a: !!int x", "c.yaml:1: a: expected a value that '!!int' fits, received 'x'."),
        ("a: " + "9" * 5000, "c.yaml:1: a: expected a value that '!!int' fits, received '999"),
        ("a: 1\n? [b]\n: 2", "c.yaml:2: expected a plain key, received a list or mapping."),
        ('a: "\\ud800"', "c.yaml:1: a: expected Unicode text, received '\\ud800'."),
        ('a: "\\0"', "c.yaml:1: a: expected Unicode text, received '\\x00'."),
        ('"\\0": 1', "c.yaml:1: '\\x00': expected a key of Unicode characters, received others."),
    ],
)
def test_values_that_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = read(tmp_path, text).problems
    assert str(found).startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "c.yaml: the file is empty; expected keys such as `name:`, `data:` and `model:`."),
        ("# a comment\n", "c.yaml: the file is empty; expected keys such as `name:`, `data:` and `model:`."),
        ("\n- a\n", "c.yaml:2: expected a mapping (`key: value` lines), received a list."),
        ("null", "c.yaml:1: expected a mapping (`key: value` lines), received a single value."),
        ("a: 1\n\tb: 2\n", "c.yaml:2: expected spaces, received a tab."),
        ("a: 1\n---\nb: 2\n", "c.yaml:2: expected one document, received several ('---'); keep one."),
        ("a: [1\nb: 2\n", "c.yaml:2: expected ',' or ']', received ':', in what starts in line 1."),
        ("a: 'b\n", "c.yaml:2: expected the closing quote, received the end of the text."),
        ("a: b: c\n", "c.yaml:1: expected one `key: value` a line, received a second ':'; check the indentation, "
         "or put text that holds ':' in quotes."),
        ("a:\n  b: 1\n c: 2\n", "c.yaml:3: expected the indentation of the lines above, received another."),
        ("a: *b", "c.yaml:1: found undefined alias 'b'."),
        ("a: @b", "c.yaml:1: expected a value, received a character with a meaning in YAML; put the text in quotes."),
        ("a: 1\nb: \x07", "c.yaml:2: expected printable text, received the character '\\x07'."),
        ("a: &x\n  - *x", "c.yaml:1: a.0: expected plain values, received an alias that contains itself."),
        (b"a: 1\nb: \xff", "c.yaml:2: expected text in UTF-8, received other bytes."),
        ("a: " + "b" * MAX_BYTES, "c.yaml: expected a configuration of at most 250,000 bytes, received more."),
        ("a: " + "[" * 60 + "]" * 60,
         "c.yaml:1: a.0.0: expected at most 20,000 values, 50 levels deep, received more."),
        pytest.param("a: " + "[" * 5000, "c.yaml: expected at most 50 levels, received more.", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_text_that_is_refused(tmp_path: Path, text: str | bytes, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert caught.value.problems == [problem]


def test_aliases_cannot_grow_without_bound(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(ConfigError, match="at most 20,000 values"):
        read(tmp_path, "\n".join(lines))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, problem in [(tmp_path / "no.yaml", "there is no such file"), (tmp_path, "received a folder")]:
        with pytest.raises(ConfigError) as caught:
            read_document(path)
        assert problem in caught.value.problems[0]
        assert caught.value.problems[0].startswith(f"{path}: ")


def test_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffa: 1\r\nb: [x]\r\n").value == {"a": 1, "b": ["x"]}


def test_errors_on_the_command_line_have_no_line_number() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_value("{a: 1, a: 2, b: !x y}", origin="command line", key=("train",))
    assert caught.value.problems == [
        "command line: train.a: duplicate key, already given before; keep one of the two.",
        "command line: train.b: expected a plain value, received the tag '!x'.",
    ]


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_TRICKY = st.sampled_from(
    ["", "~", "on", "No", "1e-3", "1_0", "0x1f", "0o7", "010", "12:30", "=", "<<", "- a", "a: b", "#", "2024-01-01",
     "!t", "&a", "*a", "'", '"', "\n", "\t", " x ", "null\n", "a\n\n b", "\u2028", "\x85", "\ufeff", "?", "{", ".inf"]
)  # fmt: skip
_SCALARS = st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | _TEXT | _TRICKY
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT | _TRICKY, inner, max_size=4),
    max_leaves=20,
)


def _types(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _types(item) for key, item in value.items()}
    return [_types(item) for item in value] if isinstance(value, list) else type(value)


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.dictionaries(_TEXT | _TRICKY, _VALUES, max_size=5))
def test_written_yaml_reads_back_the_same_here_and_in_yaml_1_1(tmp_path: Path, value: dict[str, Any]) -> None:
    text = to_yaml(value)
    document = read(tmp_path, text)
    assert document.problems == []
    for received in (document.value, yaml.safe_load(text)):
        assert received == value
        assert _types(received) == _types(value)


@settings(max_examples=300)
@given(text=st.text() | st.text(alphabet="ab:-?[]{}&*!|>'\"%@`#,\n\t 01.e~<", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    problems = ["here: none"]
    try:
        parse_value(text, origin="here")
    except ConfigError as error:
        problems = error.problems
    assert problems
    assert all(problem.startswith("here: ") and "\n" not in problem for problem in problems)


def test_shared_values_are_written_in_full() -> None:
    shared = [{"a": 1}]
    assert yaml.safe_load(to_yaml({"x": shared, "y": shared})) == {"x": shared, "y": shared}
    assert "&" not in to_yaml({"x": shared, "y": shared})


def test_received_values_are_shown_as_in_yaml() -> None:
    assert shown({"a": [1, 0.001, True, None, "x"], "b c": {}}) == "{a: [1, 0.001, true, null, 'x'], 'b c': {}}"
    assert [shown(x) for x in (math.inf, -math.inf, math.nan)] == [".inf", "-.inf", ".nan"]
    assert shown("x" * 200) == "'" + "x" * 76 + "..."
    assert dotted_key(("a", 0, "b.c", "", "d\n")) == "a.0.'b.c'.''.'d\\n'"
