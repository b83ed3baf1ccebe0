"""CSV files read record by record, and the cells of tables: what is accepted, what is refused, and in which line."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvlab.data import csv_file
from cvlab.data.csv_cells import BadRow, box_text, class_cell, natural, number_cell, path_cell, split_cell, text_cell
from cvlab.data.csv_file import Record, find_columns, read_records
from cvlab.errors import DataError


def written(folder: Path, content: bytes | str) -> Path:
    path = folder / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def records(folder: Path, content: bytes | str, delimiter: str = ",") -> list[Record]:
    return list(read_records(written(folder, content), delimiter=delimiter))


def refusal(folder: Path, content: bytes | str) -> str:
    with pytest.raises(DataError) as caught:
        records(folder, content)
    return str(caught.value)


# What files may hold: everything but NUL, and halves of characters.
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\ufeff"), max_size=8)


@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=6),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
)
def test_what_was_written_is_read_with_its_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], delimiter: str, end: str, bom: bool
) -> None:
    texts = []
    for row in rows:
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter, lineterminator=end).writerow(row)
        texts.append(out.getvalue())
    lines = [1 + "".join(texts[:i]).count("\n") for i in range(len(texts))]
    content = ("\ufeff" if bom else "") + "".join(texts)
    found = records(tmp_path_factory.mktemp("csv"), content, delimiter)
    assert [record.cells for record in found] == rows
    assert [record.line for record in found] == lines


def test_empty_lines_count_as_lines_and_not_as_records(tmp_path: Path) -> None:
    assert records(tmp_path, "a,b\n\n\r\nc,d\r\re,f") == [(1, ["a", "b"]), (4, ["c", "d"]), (6, ["e", "f"])]
    assert records(tmp_path, "") == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b\nc,\0\n", ":2: expected text, received a NUL character"),
        (b"a,b\n\nc,caf\xe9\n", ":3: expected text in UTF-8"),
        ("a,b\n".encode("utf-16"), ":1: expected text in UTF-8"),
        (b"a,b\nc,\xc3", ":2: expected text in UTF-8"),
        (b"a,b\n" * 30000 + b"\xff", ":30001: expected text in UTF-8"),
        (b'a,b\nc,"d\ne,f\n', ":2: the row that begins here is no CSV"),
        (b'a,b\nc,"d"e\n', ":2: the row that begins here is no CSV"),
        (b"a,b\nc," + b"x" * 200_000 + b"\n", ":2: the row that begins here is no CSV (field larger than field limit"),
        (b"a,b\n" + b"x," * 500_001 + b"\n", ":2: expected at most 1,000,000 characters a line"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    before = csv.field_size_limit()
    assert f"t.csv{said}" in refusal(tmp_path, content)
    assert csv.field_size_limit() == before


def test_a_field_of_a_hundred_thousand_characters_is_read(tmp_path: Path) -> None:
    assert records(tmp_path, "a," + "x" * 100_000)[0].cells[1] == "x" * 100_000


def test_only_files_of_a_reasonable_size_are_opened(tmp_path: Path) -> None:
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(2_000_000_000)
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere")
    for name, said in (
        ("large.csv", "expected a table of at most 1,000,000,000 bytes, received 2,000,000,000"),
        ("pipe.csv", "expected a CSV file, received something else"),
        (".", "expected a CSV file, received a folder"),
        ("link.csv", "there is no such file"),
        ("none.csv", "there is no such file"),
    ):
        with pytest.raises(DataError, match=re.escape(said)):
            next(read_records(tmp_path / name, delimiter=","))


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "MAX_ROWS", 3)
    assert len(records(tmp_path, "a\nb\nc\n")) == 3
    assert ":4: expected at most 3 rows" in refusal(tmp_path, "a\nb\nc\nd\n")


def columns_said(cells: list[str], **wanted: str | int) -> str:
    with pytest.raises(DataError) as caught:
        find_columns(Path("t.csv"), Record(1, cells), wanted)
    return str(caught.value)


def test_columns_are_found_by_name_and_by_number() -> None:
    first = Record(1, [" image ", "x", "x", "class"])
    assert find_columns(Path("t.csv"), first, {"image": "image", "label": 3, "group": 2}) == {
        "image": 0,
        "label": 3,
        "group": 2,
    }


def test_columns_that_are_not_there_are_named_with_what_there_is() -> None:
    text = columns_said(["path", "x", "x", "emotion"], image=4, label="emotoin", group="x")
    assert text.splitlines() == [
        "t.csv:1: the columns do not fit:",
        "  data.columns.image: there is no column 4",
        "  data.columns.label: there is no column 'emotoin'; did you mean 'emotion'?",
        "  data.columns.group: the column 'x' stands 2 times in the header",
        'The first line has 4 cells, counted from 0: "path", "x", "x", "emotion". A file without a header needs '
        "columns given by their numbers.",
    ]
    assert 'divided by ";"? Then set data.delimiter' in columns_said(["path;emotion"], image="path")
    assert r'divided by "\t"? Then set data.delimiter' in columns_said(["path\temotion"], image="path")
    assert columns_said(["x" * 900] * 900, image="y").count("x") < 5000


@given(st.integers(-(10**12), 10**12))
def test_a_whole_number_has_one_spelling(number: int) -> None:
    spellings = [f"{number}", f" {number} ", f"{number}.0", f"{number}.", f"{number:+d}", f"{number}.000\t"]
    assert {class_cell(text) for text in spellings} == {str(number)}


@pytest.mark.parametrize("text", ["happy", "1.5", "007", "1e3", "x1", "", "-", "1 000", "٣"])
def test_other_classes_stay_as_they_are(text: str) -> None:
    assert class_cell(f" {text} ") == text
    assert class_cell("-0") == class_cell("-0.0") == "0"


def test_classes_sort_by_value_and_by_name() -> None:
    assert sorted(["10", "b", "9", "-1", "a", "9" * 5000], key=natural)[:5] == ["-1", "9", "10", "9" * 5000, "a"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_exactly(value: float) -> None:
    assert number_cell(f" {value!r} ") == value
    assert float(repr(number_cell(repr(value)))) == value
    assert math.copysign(1, number_cell("-0.0")) == 1


@pytest.mark.parametrize(
    "cell", ["", " ", "abc", "nan", "inf", "-inf", "1e999", "1_000", "0,5", "٣", "0x10", "1 2", "."]
)
def test_what_is_no_number_is_refused(cell: str) -> None:
    with pytest.raises(BadRow, match=re.escape(f'expected a number, received "{cell}"')):
        number_cell(cell)


PIXEL = st.decimals(0, 5000, places=3)
SIDE = st.decimals(1, 5000, places=3)


@given(left=PIXEL, top=PIXEL, width=SIDE, height=SIDE)
def test_a_box_is_the_whole_pixels_that_hold_it(left: Decimal, top: Decimal, width: Decimal, height: Decimal) -> None:
    text = box_text([float(value) for value in (left, top, width, height)], corners=False)
    x, y = math.floor(left), math.floor(top)
    assert text == f"{x},{y},{math.ceil(left + width) - x},{math.ceil(top + height) - y}"
    corners = [float(value) for value in (left, top, left + width, top + height)]
    assert box_text(corners, corners=True) == text


@pytest.mark.parametrize(
    ("values", "corners", "said"),
    [
        ([-1, 0, 5, 5], False, "begins in the image, received left -1, top 0"),
        ([0, -0.5, 5, 5], True, "begins in the image, received left 0, top -0.5"),
        ([3, 3, 0, 5], False, "at least one pixel, received 0 x 5 pixels (3, 3, 0, 5)"),
        ([3, 3, 5, 0.5], False, "at least one pixel, received 5 x 0.5 pixels"),
        ([3, 3, 2, 9], True, "at least one pixel, received -1 x 6 pixels"),
        ([0, 0, 1e300, 1], False, "expected a box in pixels"),
    ],
)
def test_impossible_boxes_are_refused(values: list[float], corners: bool, said: str) -> None:
    with pytest.raises(BadRow, match=re.escape(said)):
        box_text(values, corners=corners)


def test_one_file_has_one_path() -> None:
    assert {path_cell(cell, suffix=".jpg") for cell in ("a/b", " a/b ", "./a//b", "a/./b")} == {"a/b.jpg"}
    assert path_cell("n..jpg", suffix="") == "n..jpg"
    for cell in ("/a.jpg", "../a.jpg", "a/../../b.jpg", "a/..", r"C:\a.jpg", "c:/a.jpg", r"\\server\a.jpg", "//a"):
        with pytest.raises(BadRow, match=r"below data\.root"):
            path_cell(cell, suffix="")


def test_splits_and_texts() -> None:
    cells = ("train", "val", "valid", "validation", " Test ")
    assert [split_cell(cell) for cell in cells] == ["train", "val", "val", "val", "test"]
    for cell in ("", "training", "0"):
        with pytest.raises(BadRow, match="expected train, val"):
            split_cell(cell)
    assert text_cell(" a b ") == "a b"
    with pytest.raises(BadRow, match="is empty"):
        text_cell(" ")
