"""Damaged configurations: either they load, or they are refused in plain words; a misspelt key never passes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvlab.config_file import load_experiment
from cvlab.errors import ConfigError
from cvlab.yaml_file import read_document
from tests.config_fixture import VALID
from tests.faults.mutated_configs import WORDS_OF_OTHERS, Mapping, check_damaged, holders, text_of, tree


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("fuzz") / "c.yaml"
    path.write_text(VALID)
    return tree(read_document(path).value)


def outcome(path: Path, text: str) -> list[str] | None:
    """The problems of a configuration; None if it loads. Anything but a ConfigError fails the test."""
    path.write_text(text, encoding="utf-8")
    try:
        load_experiment(path)
    except ConfigError as error:
        return error.problems
    return None


def all_keys(value: Any) -> list[tuple[int, int, str]]:
    return [
        (i, j, key)
        for i, holder in enumerate(holders(value))
        if isinstance(holder, Mapping)
        for j, (key, _) in enumerate(holder)
    ]


def test_the_writer_of_this_test_loses_nothing(tmp_path: Path, valid: Any) -> None:
    assert outcome(tmp_path / "c.yaml", text_of(valid)) is None


@pytest.mark.slow
def test_every_key_in_every_spelling_but_its_own_is_refused(tmp_path: Path, valid: Any) -> None:
    keys = all_keys(valid)
    assert len(keys) > 50
    for i, j, key in keys:
        for spelling in (key + "x", key[:-1], key.upper(), f" {key}"):
            damaged = copy.deepcopy(valid)
            holder = list(holders(damaged))[i]
            holder[j] = (spelling, holder[j][1])
            problems = outcome(tmp_path / "c.yaml", text_of(damaged))
            assert problems, f"{spelling!r} for {key!r} was accepted"
            assert key == "name" or any(spelling in problem for problem in problems)


_JUNK = st.sampled_from(
    [None, True, False, 0, 1, -1, 3, 2.5, 1e-3, 10**30, 1e300, "", "x", "8", "all", "adam", "\x1b[31m", "a.b", "\u00e9",
     [], [1], ["x", None], Mapping(), Mapping([("name", "sgd")]), Mapping([("name", None)]), Mapping([("", 1)]),
     Mapping([("name", ["x"])]), [Mapping([("name", "HorizontalFlip")])], [[1, 2], [3]], float("inf"), float("nan")]
).map(copy.deepcopy)  # fmt: skip
_NAMES = st.sampled_from(
    [
        "name",
        "data",
        "stages",
        "optimizer",
        "epochs",
        "sgd",
        "0",
        "",
        "a.b",
        "extends",
        "None",
        "p",
        "schedule",
        "train",
    ]
) | st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=8)
_CHANGES = st.sampled_from(["drop", "rename", "duplicate", "retype", "insert"])


def _change(holder: Any, kind: str, draw: Any) -> None:
    place = draw(st.integers(0, len(holder) - 1))
    pairs = isinstance(holder, Mapping)
    if kind == "drop":
        del holder[place]
    elif kind == "rename" and pairs:
        holder[place] = (draw(_NAMES), holder[place][1])
    elif kind == "duplicate":
        holder.insert(place, copy.deepcopy(holder[place]))
    elif kind == "retype":
        holder[place] = (holder[place][0], draw(_JUNK)) if pairs else draw(_JUNK)
    elif kind == "insert":
        holder.insert(place, (draw(_NAMES), draw(_JUNK)) if pairs else draw(_JUNK))


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_configurations_load_or_are_refused_in_plain_words(tmp_path: Path, valid: Any, data: Any) -> None:
    damaged = copy.deepcopy(valid)
    for kind in data.draw(st.lists(_CHANGES, min_size=1, max_size=4)):
        found = list(holders(damaged))
        if found:
            _change(data.draw(st.sampled_from(found)), kind, data.draw)
    path = tmp_path / "c.yaml"
    problems = outcome(path, text_of(damaged))
    if problems is None:
        return
    assert problems
    assert len(set(problems)) == len(problems)
    for problem in problems:
        assert problem.startswith(str(path)), problem
        assert problem.isprintable(), problem
        assert not any(word in problem for word in WORDS_OF_OTHERS), problem


_PARTS = st.sampled_from(
    ["stages", "0", "1", "2", "-1", "data", "root", "train", "optimizer", "name", "augment", "x", ""]
)
_TEXTS = st.sampled_from(
    ["", "3", "x", "null", "[]", "{}", "[{}]", "{name: sgd}", "1e-3", "{", "[1, x", "'", "- a", "&a"]
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.builds(lambda key, text: f"{'.'.join(key)}={text}", st.lists(_PARTS, max_size=4), _TEXTS)))
def test_any_overrides_are_taken_or_refused(tmp_path: Path, words: list[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(VALID)
    problems = ["command line: none"]
    try:
        load_experiment(path, words)
    except ConfigError as error:
        problems = error.problems
    assert problems
    for problem in problems:
        assert problem.startswith((str(path), "command line: ")), problem
        assert not any(word in problem for word in WORDS_OF_OTHERS), problem


@pytest.mark.slow
def test_damaged_shipped_configurations(tmp_path: Path) -> None:
    outcomes, faults = check_damaged(tmp_path, count=150, seed=7)
    assert not faults, faults[0]
    assert min(outcomes["loaded"], outcomes["with an unknown key"], outcomes["with a key twice"]) > 5


@pytest.mark.parametrize("name", ["x" * 300, "no\x1b[31m.yaml", "a\0b", "\u202egpj"])
def test_extending_what_is_no_name_of_a_file(tmp_path: Path, name: str) -> None:
    written = text_of(Mapping([("extends", name)]))
    (problem,) = outcome(tmp_path / "c.yaml", written) or ["loaded"]
    assert "extends: expected" in problem
    assert problem.isprintable()


def test_what_is_received_is_shown_printable(tmp_path: Path) -> None:
    problems = outcome(tmp_path / "c.yaml", VALID.replace("image_size:", 'sample: "\\u202Egpj"\n  image_size:'))
    assert problems is not None
    assert "data.sample: expected one of 'emotion', 'chest', 'covid', received '\\u202egpj'" in problems[0]


@pytest.mark.filterwarnings("default")
def test_a_value_that_overflows_in_a_transform_is_refused_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    bright = "{name: RandomBrightnessContrast, brightness_limit: [1e300, 1e300]}"
    problems = outcome(tmp_path / "c.yaml", VALID.replace("{name: HorizontalFlip, p: 0.5}", bright))
    assert problems is not None
    assert not recwarn.list
