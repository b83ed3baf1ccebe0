"""The table of samples: exact on the way to disk and back, and never with a doubtful id."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvlab.data.samples import SampleTable, concatenate, new_table, read_samples, samples_csv, text_column
from cvlab.errors import DataError, RunFolderError
from cvlab.run_folder import write_text

COLUMNS = ("sample_id", "stage", "split", "group", "path", "box", "content")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


def table(ids: list[str], groups: list[str] | None = None, labels: list[str] | None = None) -> SampleTable:
    paths = [Path("/data") / name for name in ids]
    return new_table(ids, paths, groups or ids, {"class": labels or ["a"] * len(ids)})


def assert_equal(one: SampleTable, other: SampleTable) -> None:
    for name in COLUMNS:
        assert getattr(one, name).tolist() == getattr(other, name).tolist()
    assert {k: v.tolist() for k, v in one.targets.items()} == {k: v.tolist() for k, v in other.targets.items()}


def test_rows_are_sorted_whatever_the_order_of_the_files() -> None:
    ids = ["r/b/2.png", "r/a/10.png", "r/a/1.png"]
    assert_equal(table(ids), table(ids[::-1]))
    assert table(ids).sample_id.tolist() == ["r/a/1.png", "r/a/10.png", "r/b/2.png"]
    assert table(ids).path.tolist() == ["/data/r/a/1.png", "/data/r/a/10.png", "/data/r/b/2.png"]


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=6, unique_by=lambda row: row[0]))
def test_csv_gives_back_every_character(rows: list[tuple[str, str, str]]) -> None:
    from tempfile import TemporaryDirectory

    ids, groups, labels = (list(column) for column in zip(*rows, strict=True))
    written = table(ids, groups, labels).with_columns(split=text_column(["val"] * len(ids)))
    with TemporaryDirectory() as folder:
        write_text(Path(folder) / "samples.csv", samples_csv(written))
        assert_equal(read_samples(Path(folder) / "samples.csv"), written)


def test_names_with_every_separator_survive(tmp_path: Path) -> None:
    names = ["a b.png", "a,b.png", 'a"b.png', "a\nb.png", "a\rb.png", "a\r\nb.png", "[1](2).png", "é#ü.png", "'.png"]
    written = table(names)
    write_text(tmp_path / "samples.csv", samples_csv(written))
    assert_equal(read_samples(tmp_path / "samples.csv"), written)
    assert read_samples(tmp_path / "samples.csv").fingerprint() == written.fingerprint()


def test_one_id_for_two_files_is_refused_with_both_paths() -> None:
    with pytest.raises(DataError, match=r"(?s)1 id .*r/a/1\.png: /x/1\.png and /y/1\.png"):
        new_table(["r/a/1.png"] * 2, [Path("/x/1.png"), Path("/y/1.png")], ["g", "g"], {"class": ["a", "a"]})


def test_a_name_that_is_no_text_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"1 path .*UTF-8.*Rename") as caught:
        table(["r/a/caf\udce9.png"])
    str(caught.value).encode("utf-8")
    assert r"caf\udce9.png" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sample_id,stage\na,b\n",
        "sample_id,stage,split,group,path,content,target:class\na,b\n",
        "sample_id,stage,split,group,path,content,class\na,s,val,g,p,c,x\n",
        "sample_id,stage,split,group,path,content,target:x,target:x\na,s,val,g,p,c,x,y\n",
        "sample_id,stage,split,group,path,content,target:x\na,s,Train,g,p,c,x\n",
        'sample_id,stage,split,group,path,content,target:x\n"a,s,val,g,p,c,x' + "y" * 200_000,
        "\0",
    ],
)
def test_a_damaged_file_is_said_to_be_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "samples.csv").write_text(text)
    with pytest.raises(RunFolderError, match=r"samples\.csv"):
        read_samples(tmp_path / "samples.csv")


def test_no_file_and_no_text_are_errors_too(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("é".encode("latin-1"))
    for name in ("none.csv", "latin.csv"):
        with pytest.raises(RunFolderError, match=name):
            read_samples(tmp_path / name)


def test_the_fingerprint_changes_with_all_that_training_depends_on() -> None:
    plain = table(["r/a/1", "r/a/2"])
    seen = {plain.fingerprint()}
    for column in ("sample_id", "split", "group", "content"):
        seen.add(plain.with_columns(**{column: text_column(["x", "y"])}).fingerprint())
    seen.add(table(["r/a/1", "r/a/2"], labels=["a", "b"]).fingerprint())
    assert len(seen) == 6
    assert plain.with_columns(path=text_column(["elsewhere", "too"])).fingerprint() in seen


def test_counts_and_concatenation() -> None:
    one = table(["r/1", "r/2", "r/3"], labels=["a", "a", "b"]).with_columns(
        split=text_column(["train", "train", "val"])
    )
    both = concatenate([one, one.take(np.array([2]))])
    assert one.counts("class") == {"train": {"a": 2}, "val": {"b": 1}}
    assert both.counts("class") == {"train": {"a": 2}, "val": {"b": 2}}
    assert len(both.of_split("test")) == 0


def boxed() -> SampleTable:
    """Two faces of one photo."""
    ids = ["r/a.png#1,2,3,4", "r/a.png#5,2,3,4"]
    made = new_table(ids, [Path("/r/a.png")] * 2, ["r/a.png"] * 2, {"x": ["0.1", "1e-05"]}, box=["1,2,3,4", "5,2,3,4"])
    return made.with_columns(content=text_column(["c0ffee"] * 2))


def test_boxes_tell_the_pixels_of_one_file_apart(tmp_path: Path) -> None:
    made = boxed()
    assert made.pixels == ["c0ffee[1,2,3,4]", "c0ffee[5,2,3,4]"]
    assert made.with_columns(box=text_column(["", ""])).pixels == ["c0ffee"] * 2
    assert made.fingerprint() != made.with_columns(box=text_column(["1,2,3,4", "5,2,3,5"])).fingerprint()
    write_text(tmp_path / "samples.csv", samples_csv(made))
    assert_equal(read_samples(tmp_path / "samples.csv"), made)


def test_tables_with_other_targets_stand_below_each_other() -> None:
    both = concatenate([table(["r/a.png"]), boxed()])
    assert both.targets["class"].tolist() == ["a", "", ""]
    assert both.targets["x"].tolist() == ["", "0.1", "1e-05"]
