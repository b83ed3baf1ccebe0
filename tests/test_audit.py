"""The gate: everything that crosses a border is found, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvlab.data.audit import find_collisions, find_leaks
from cvlab.data.samples import SPLITS, SampleTable, new_table, text_column

Row = tuple[str, str, str, str]  # id, split, group, content


def table(stage: str, *rows: Row) -> SampleTable:
    ids, splits, groups, contents = (list(column) for column in zip(*sorted(rows), strict=True))
    made = new_table(ids, [Path("/data", name) for name in ids], groups, {"class": ["a"] * len(ids)}, split=splits)
    return made.with_columns(stage=text_column([stage] * len(ids)), content=text_column(contents))


def found(stages: list[SampleTable], before: list[SampleTable] | None = None) -> list[tuple[str, str]]:
    return [(leak.kind, leak.name) for leak in find_leaks(stages, before=before or [])]


CLEAN = table("one", ("r/1", "train", "A", "x1"), ("r/2", "val", "B", "x2"), ("r/3", "test", "C", "x3"))


@pytest.mark.parametrize(("first", "second"), [("train", "val"), ("train", "test"), ("val", "test")])
def test_groups_and_identical_files_between_splits(first: str, second: str) -> None:
    by_group = table("s", ("r/1", first, "A", "x"), ("r/2", second, "A", "y"))
    by_file = table("s", ("r/1", first, "A", "x"), ("r/2", second, "B", "x"))
    assert found([by_group]) == [("group", "A")]
    assert found([by_file]) == [("identical file", "x")]
    assert found([CLEAN]) == []
    (leak,) = find_leaks([by_group])
    assert str(leak) == f"group 'A' stands in {first} of stage 's' and in {second} of stage 's': r/1, r/2"


def test_one_finding_for_the_same_samples_and_few_names_of_many() -> None:
    rows: list[Row] = [(f"r/{i}", "train", "A", "x") for i in range(6)]
    (leak,) = find_leaks([table("s", *rows, ("r/9", "test", "A", "x"))])
    assert leak.kind == "group"
    assert str(leak).endswith(": r/0, r/1, r/2, r/3 and 3 more")


def test_the_same_data_and_split_in_two_stages_is_no_leak() -> None:
    again = CLEAN.with_columns(stage=text_column(["two"] * 3))
    assert found([CLEAN, again]) == []
    assert find_collisions([CLEAN, again]) == []


@pytest.mark.parametrize("earlier", SPLITS)
@pytest.mark.parametrize("later", SPLITS)
def test_what_may_follow_what_across_stages(earlier: str, later: str) -> None:
    one, two = table("one", ("r/1", earlier, "A", "x")), table("two", ("r/1", later, "A", "x"))
    leaks = (earlier, later) in {("train", "val"), ("train", "test"), ("val", "test")}
    assert found([one, two]) == ([("sample", "r/1")] if leaks else [])
    assert found([two], before=[one]) == found([one, two])
    if leaks:
        (within,), (before,) = find_leaks([one, two]), find_leaks([two], before=[one])
        assert (within.seen_in, within.again_in, within.stage) == (
            f"{earlier} of stage 'one'",
            f"{later} of stage 'two'",
            "two",
        )
        assert before.seen_in == f"{earlier} of stage 'one' of an earlier run"


def test_stages_that_do_not_follow_each_other_are_compared_too() -> None:
    last = table("three", ("q/1", "test", "A", "z"))
    middle = table("two", ("p/1", "train", "P", "p"))
    assert [leak.stage for leak in find_leaks([CLEAN, middle, last])] == ["three"]


def test_one_id_for_other_content_is_said_to_be_that() -> None:
    other = table("two", ("r/1", "test", "Z", "other"))
    (leak,) = find_leaks([CLEAN, other])
    assert leak.kind == "id"
    assert str(leak).endswith("r/1 (the files differ; unrelated folders need different names)")
    moved = other.with_columns(path=text_column(["/elsewhere/1"]))
    assert find_collisions([CLEAN, moved]) == ["r/1: /data/r/1 and /elsewhere/1"]
    assert find_collisions([CLEAN]) == []


def test_an_empty_group_or_content_is_unknown_and_not_common() -> None:
    assert found([table("s", ("r/1", "train", "", ""), ("r/2", "test", "", ""))]) == []


def test_near_duplicates_between_splits_and_stages() -> None:
    one = table("one", ("r/1", "train", "A", "x1"), ("r/2", "val", "B", "x2"), ("r/3", "test", "C", "x3"))
    near = {"x1": {"x3": 4}, "x3": {"x1": 4}}
    (leak,) = find_leaks([one], near=[near])
    assert (leak.kind, leak.stage) == ("near-duplicate", "one")
    assert str(leak) == "near-duplicate stands in train of stage 'one' and in test of stage 'one': r/1, r/3"
    two = table("two", ("q/1", "train", "D", "y1"), ("q/2", "val", "E", "y2"), ("q/3", "test", "F", "y3"))
    across = {"x1": {"y2": 9}, "y2": {"x1": 9}, "x3": {"y1": 1}, "y1": {"x3": 1}}
    # What was tested on may be trained on later; what was trained on must not be judged by.
    assert [leak.samples for leak in find_leaks([one, two], near=[{}, across])] == [("r/1", "q/2")]
    assert find_leaks([one, two], near=[across, {}]) == []


def test_one_finding_for_each_picture_that_is_judged_by_and_none_within_a_group() -> None:
    rows: list[Row] = [(f"r/{i}", "train", f"g{i}", f"x{i}") for i in range(3)]
    near = {"y": {"x0": 1, "x2": 3}, "z": {"x1": 2}}
    stage = table("s", *rows, ("r/8", "test", "h", "y"), ("r/9", "test", "g1", "z"))
    kinds = [(leak.kind, leak.samples) for leak in find_leaks([stage], near=[near])]
    assert kinds == [("group", ("r/1", "r/9")), ("near-duplicate", ("r/0", "r/2", "r/8"))]


def test_copies_of_a_near_duplicate_are_named_with_it() -> None:
    stage = table("s", ("r/1", "train", "a", "x"), ("r/2", "train", "b", "x"), ("r/3", "test", "c", "y"))
    (leak,) = find_leaks([stage], near=[{"y": {"x": 0}, "x": {"y": 0}}])
    assert leak.samples == ("r/1", "r/2", "r/3")


rows = st.lists(
    st.tuples(st.integers(0, 99), st.sampled_from(SPLITS), st.sampled_from("ABCDEFG"), st.integers(0, 20)),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[0],
)


@given(rows, rows)
def test_a_leak_is_found_exactly_where_a_pair_of_samples_has_something_in_common(
    one: list[tuple[int, str, str, int]], two: list[tuple[int, str, str, int]]
) -> None:
    first, second = (
        table(stage, *((f"r/{i:02}", split, group, f"x{content}") for i, split, group, content in part))
        for stage, part in (("one", one), ("two", two))
    )
    stages = [first, second]
    pairs = [(a, b) for j in range(2) for i in range(j + 1) for a in _rows(stages[i]) for b in _rows(stages[j])]
    crossing = {("train", "val"), ("train", "test"), ("val", "test")}
    expected = any((a[1], b[1]) in crossing and any(a[k] == b[k] for k in (0, 2, 3)) for a, b in pairs)
    assert bool(find_leaks(stages)) == expected


def _rows(samples: SampleTable) -> list[tuple[str, ...]]:
    columns = (samples.sample_id, samples.split, samples.group, samples.content)
    return [tuple(map(str, row)) for row in np.array(columns, dtype=object).T]
