"""CSV tables of images: classes, numbers, boxes, splits and groups; and every row that cannot be used."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cvlab.config_file import experiment_yaml, load_experiment
from cvlab.data import csv_rows
from cvlab.data.csv_table import Config, load, other_data, write_sample
from cvlab.data.source import SYNTHETIC_MARK, Labels, LoadedSource
from cvlab.errors import DataError

BY_NAME = {"image": "path", "label": "emotion"}
AFFECT = {"image": "path", "label": "emotion", "numbers": ["valence", "arousal"]}


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def table(path: Path, *lines: str, images: bool = True) -> Path:
    """Writes a table, and the images that it names in its first column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if images:
        with path.open(newline="", encoding="utf-8") as file:
            put(path.parent, *(cells[0] for cells in csv.reader(file) if cells and cells[0].endswith(".jpg")))
    return path


def config(files: Any, columns: dict[str, Any] | None = None, **settings: Any) -> Config:
    return Config.model_validate({"table": files, "columns": columns or BY_NAME, **settings})


def loaded(files: Any, columns: dict[str, Any] | None = None, **settings: Any) -> LoadedSource:
    return load(config(files, columns, **settings))


def message(files: Any, columns: dict[str, Any] | None = None, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        loaded(files, columns, **settings)
    text = str(caught.value)
    text.encode("utf-8")
    return text


def targets(found: LoadedSource, name: str = "class") -> dict[str, str]:
    return dict(zip(found.table.sample_id, found.table.targets[name], strict=True))


def test_classes_and_numbers_by_name(tmp_path: Path) -> None:
    file = table(
        tmp_path / "set/faces.csv",
        "path,emotion,valence,arousal,note",
        'b/2.jpg,sad,-0.50,.1,"two',
        'lines, quoted"',
        "a/1.jpg, happy ,1e-1,+0,",
    )
    found = loaded(file, AFFECT)
    assert found.labels == Labels(class_names=("happy", "sad"), numbers=("valence", "arousal"))
    assert found.table.sample_id.tolist() == ["set/a/1.jpg", "set/b/2.jpg"]
    assert found.table.path.tolist() == [str(tmp_path / "set/a/1.jpg"), str(tmp_path / "set/b/2.jpg")]
    assert {name: column.tolist() for name, column in found.table.targets.items()} == {
        "class": ["happy", "sad"],
        "valence": ["0.1", "-0.5"],
        "arousal": ["0.0", "0.1"],
    }
    assert found.table.group.tolist() == found.table.sample_id.tolist()
    assert (set(found.table.split), set(found.table.box)) == ({""}, {""})
    assert found.places == {"set/b/2.jpg": "faces.csv:2", "set/a/1.jpg": "faces.csv:4"}
    assert (found.origin, found.synthetic, found.unmatched_groups, found.notes) == (str(file), False, None, [])


def test_numbers_alone_have_no_classes(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", "path,Age (years)", "1.jpg,30", "2.jpg,31.50")
    found = loaded(file, {"image": "path", "numbers": {"age": "Age (years)"}})
    assert (found.labels, found.strata) == (Labels(numbers=("age",)), None)
    assert list(found.table.targets) == ["age"]
    assert found.table.targets["age"].tolist() == ["30.0", "31.5"]


@pytest.mark.parametrize("header", ["auto", False])
def test_columns_by_number_without_a_header(tmp_path: Path, header: Any) -> None:
    file = table(tmp_path / "t.csv", "1.jpg,0.5,sad", "2.jpg,0.25,happy")
    found = loaded(file, {"image": 0, "label": 2, "numbers": {"valence": 1}}, header=header)
    assert [*targets(found).values()] == ["sad", "happy"]
    assert [*targets(found, "valence").values()] == ["0.5", "0.25"]


def test_the_header_of_each_file_is_judged_alone(tmp_path: Path) -> None:
    first = table(tmp_path / "training.csv", "path,emotion", "1.jpg,sad", "2.jpg,happy")
    second = table(tmp_path / "validation.csv", "3.JPG,sad", "4.jpg,happy")
    put(tmp_path, "3.JPG")
    found = loaded({"train": first, "val": second}, {"image": 0, "label": 1})
    assert found.table.split.tolist() == ["train", "train", "val", "val"]
    assert [*found.places.values()] == ["training.csv:2", "training.csv:3", "validation.csv:1", "validation.csv:2"]


def test_a_first_row_of_data_is_never_lost_as_a_header(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", "1.jpg,sad", "2.jpg,happy")
    by_number = {"image": 0, "label": 1}
    assert "t.csv:1: expected a header, received a row of data" in message(file, by_number, header=True)
    odd = table(tmp_path / "odd.csv", "1.raw,sad", "2.raw,happy")
    put(tmp_path, "1.raw", "2.raw")
    assert len(loaded(odd, by_number).table) == 2
    assert "A file without a header needs columns given by their numbers" in message(file, BY_NAME)


def test_ids_without_an_ending(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", "7,sad", "8,happy")
    put(tmp_path / "images", "7.jpg", "8.jpg")
    by_number, root = {"image": 0, "label": 1}, tmp_path / "images"
    found = loaded(file, by_number, header=False, suffix=".jpg", root=root)
    assert targets(found) == {"images/7.jpg": "sad", "images/8.jpg": "happy"}
    with pytest.raises(ValidationError, match="expected `header` to be true or false"):
        config(file, by_number, suffix=".jpg")
    assert "expected a header" in message(file, by_number, header=True, suffix=".jpg", root=root)


CODES = ("path,code", "1.jpg,0", "2.jpg, 1", "3.jpg,2.0", "4.jpg,+10", "5.jpg,9", "6.jpg,9.0", "7.jpg,x")
BY_CODE = {"image": "path", "label": "code"}


def test_codes_get_names_in_the_order_of_the_mapping(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", *CODES)
    found = loaded(file, BY_CODE, classes={"10": "c", "2": "a", "0": "b", "1.0": "b"})
    assert found.labels.class_names == ("c", "a", "b")
    assert [*targets(found).values()] == ["b", "b", "a", "c"]
    assert found.notes == ["t.csv: 3 rows left out, since data.classes does not name their class: 9 (2), x (1)."]


def test_cells_are_chosen_by_a_list_or_all_taken(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", *CODES)
    assert loaded(file, BY_CODE, classes=[9, "x", 0]).labels.class_names == ("9", "x", "0")
    found = loaded(file, BY_CODE)
    assert found.labels.class_names == ("0", "1", "2", "9", "10", "x")
    assert [*targets(found).values()] == ["0", "1", "2", "10", "9", "9", "x"]


def test_many_unnamed_classes_are_cut_short(tmp_path: Path) -> None:
    rows = [f"{i}.jpg,{i}" for i in range(2000)]
    file = table(tmp_path / "t.csv", "path,code", *rows)
    (note,) = loaded(file, BY_CODE, classes=[3, 5]).notes
    assert note.startswith("t.csv: 1,998 rows left out")
    assert note.endswith("10 (1), 11 (1) and 1,988 more.")
    assert 'expected a column of classes, found 2,000 different values ("0", "1", "2", ...)' in message(file, BY_CODE)


def test_classes_that_cannot_be_learned_are_refused(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", *CODES)
    assert 'every class needs rows; there are none of d (cell "3"), e (cell "4").' in message(
        file, BY_CODE, classes={"0": "a", "1": "b", "3": "d", "4": "e"}
    )
    train = table(tmp_path / "a.csv", "path,code", "1.jpg,0", "2.jpg,1")
    val = table(tmp_path / "b.csv", "path,code", "3.jpg,2")
    assert "every class needs training rows; there are none of 2." in message({"train": train, "val": val}, BY_CODE)
    one = table(tmp_path / "one.csv", *CODES[:2])
    assert "expected at least 2 classes, found only 0." in message(one, BY_CODE)
    spelt = table(tmp_path / "spelt.csv", "path,code", "1.jpg,Happy", "2.jpg,happy")
    assert '"Happy" and "happy" would be two classes' in message(spelt, BY_CODE)
    table(spelt, "path,code", "1.jpg,Happy", "2.jpg,happy", "3.jpg,sad")
    merged = loaded(spelt, BY_CODE, classes={"Happy": "happy", "happy": "happy", "sad": "sad"})
    assert merged.labels.class_names == ("happy", "sad")


def test_numbers_that_stand_for_none_are_left_out(tmp_path: Path) -> None:
    file = table(
        tmp_path / "t.csv",
        "path,valence,arousal",
        "1.jpg,-2,-2.0",
        "2.jpg,0.5,-2",
        "3.jpg,0.5,0.25",
        "none.png,-2,0",
    )
    columns = {"image": "path", "numbers": ["valence", "arousal"]}
    found = loaded(file, columns, missing=[-2])
    assert found.table.sample_id.tolist() == [f"{tmp_path.name}/3.jpg"]
    assert found.notes == [
        "t.csv: 3 rows left out, since they have no number (data.missing): valence (2), arousal (2)."
    ]
    assert "no rows are left" in message(file, columns, missing=[-2, 0.5])


def test_boxes_make_several_samples_of_a_photo_and_one_group(tmp_path: Path) -> None:
    lines = ("path,emotion,x,y,w,h", "a/1.jpg,sad,0,0,10,20", "a/1.jpg,happy,10.5,0,10,20", "2.jpg,sad,3,4,5,6")
    file = table(tmp_path / "set/t.csv", *lines)
    columns = BY_NAME | {"box": ("x", "y", "w", "h")}
    found = loaded(file, columns)
    ids = ["set/2.jpg#3,4,5,6", "set/a/1.jpg#0,0,10,20", "set/a/1.jpg#10,0,11,20"]
    assert found.table.sample_id.tolist() == ids
    assert found.table.box.tolist() == [name.split("#")[1] for name in ids]
    assert found.table.group.tolist() == ["set/2.jpg", "set/a/1.jpg", "set/a/1.jpg"]
    assert found.places[ids[2]] == "t.csv:3"


def test_a_box_by_its_corners(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", "path,emotion,l,t,r,b", "1.jpg,sad,1,2,5,9", "2.jpg,happy,0.2,0,3.5,3")
    found = loaded(file, BY_NAME | {"box": ("l", "t", "r", "b")}, box_format="xyxy")
    assert found.table.box.tolist() == ["1,2,4,7", "0,0,4,3"]


@pytest.mark.parametrize("kind", ["column", "files"])
def test_splits_by_column_or_by_file(tmp_path: Path, kind: str) -> None:
    rows = {"train": ["1.jpg,sad", "2.jpg,happy"], "val": ["3.jpg,sad"], "test": ["4.jpg,happy"]}
    if kind == "column":
        lines = [f"{row},{'Valid' if split == 'val' else split}" for split, part in rows.items() for row in part]
        found = loaded(table(tmp_path / "t.csv", "path,emotion,fold", *lines), BY_NAME | {"split": "fold"})
    else:
        files = {split: table(tmp_path / f"{split}.csv", "path,emotion", *part) for split, part in rows.items()}
        found = loaded(files)
    assert found.table.split.tolist() == ["train", "train", "val", "test"]


def test_several_files_are_one_pool_and_named_apart(tmp_path: Path) -> None:
    one = table(tmp_path / "t.csv", "path,emotion", "1.jpg,sad")
    two = table(tmp_path / "more/t.csv", "emotion,path", "happy,2.jpg", images=False)
    put(tmp_path, "2.jpg")
    found = loaded([one, two])
    assert set(found.table.split) == {""}
    assert [*found.places.values()] == [f"{one}:2", f"{two}:2"]
    assert found.origin == f"{one}, {two}"


def test_groups_come_from_a_column_or_the_name(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", "path,emotion,who", "Ann_1.jpg,sad,p1", "Ann_2.jpg,happy, p1 ", "x.jpg,sad,p2")
    found = loaded(file, BY_NAME | {"group": "who"})
    assert (found.table.group.tolist(), found.unmatched_groups) == (["p1", "p1", "p2"], None)
    found = loaded(file, split={"group_pattern": r"(.+)_\d+$"})
    assert found.table.group.tolist() == ["Ann", "Ann", f"{tmp_path.name}/x.jpg"]
    assert found.unmatched_groups == 1


BAD = (
    "path,emotion,valence,fold,who,x,y,w,h",
    "1.jpg,sad,0.1,train,p1,0,0,5,5",
    "2.jpg,happy,0.1,val,p1,0,0,5,5",
    "3.jpg,happy,abc,val,p1,0,0,5,5",
    "4.jpg,happy,0.1,dev,p1,0,0,5,5",
    "5.jpg,happy,0.1,val,,0,0,5,5",
    "6.jpg,happy,0.1,val,p1,0,0,0,5",
    "7.jpg,happy,0.1,val,p1,0,0,wide,5",
    "none.png,happy,0.1,val,p1,0,0,5,5",
    ",happy,0.1,val,p1,0,0,5,5",
    "8.jpg,,0.1,val,p1,0,0,5,5",
    "../9.jpg,happy,0.1,val,p1,0,0,5,5",
    "9.jpg,happy",
    "9.jpg,happy,0.1,val,p1,0,0,5,5,",
    r"a\9.jpg,happy,0.1,val,p1,0,0,5,5",
    "1.jpg,sad,0.10,train,p1,0,0,5,5.0",
)
ALL_COLUMNS = {
    "image": "path",
    "label": "emotion",
    "numbers": ["valence"],
    "split": "fold",
    "group": "who",
    "box": ("x", "y", "w", "h"),
}


def test_bad_rows_are_listed_with_their_lines(tmp_path: Path) -> None:
    file = table(tmp_path / "faces.csv", *BAD, images=False)
    put(tmp_path, *(f"{i}.jpg" for i in range(1, 9)))
    assert message(file, ALL_COLUMNS).splitlines() == [
        "13 rows cannot be used:",
        '  faces.csv:4: column valence: expected a number, received "abc"',
        '  faces.csv:5: column fold: expected train, val (or valid, validation) or test, received "dev"',
        "  faces.csv:6: column who: is empty",
        "  faces.csv:7: expected a box of at least one pixel, received 0 x 5 pixels (0, 0, 0, 5)",
        '  faces.csv:8: column w: expected a number, received "wide"',
        f"  faces.csv:9: column path: there is no file {tmp_path}/none.png",
        "  faces.csv:10: column path: is empty",
        "  faces.csv:11: column emotion: is empty",
        "  faces.csv:12: column path: expected a path below data.root, without '..', received \"../9.jpg\"",
        "  faces.csv:13: expected 9 cells as in the first line, received 2",
        "  faces.csv:14: expected 9 cells as in the first line, received 10",
        rf"  faces.csv:15: column path: there is no file {tmp_path}/a\9.jpg; write '/' between folders",
        "  faces.csv:16: names 1.jpg with the box 0,0,5,5 again, as faces.csv:2 does",
        "Correct them, or leave them out with `data.on_bad_row=skip`.",
    ]


def test_bad_rows_may_be_left_out_and_are_counted(tmp_path: Path) -> None:
    file = table(tmp_path / "faces.csv", *BAD, images=False)
    put(tmp_path, *(f"{i}.jpg" for i in range(1, 9)))
    columns = ALL_COLUMNS | {"label": None}
    found = loaded(file, columns, on_bad_row="skip")
    assert [name.split("/")[1].split("#")[0] for name in found.table.sample_id] == ["1.jpg", "2.jpg", "8.jpg"]
    (note,) = found.notes
    assert note.startswith("12 bad rows left out (data.on_bad_row: skip): faces.csv:4: column valence: expected")
    assert note.endswith('(0, 0, 0, 5); faces.csv:8: column w: expected a number, received "wide"; and 7 more.')


def test_where_all_rows_are_bad_there_is_nothing_to_skip(tmp_path: Path) -> None:
    rows = [f"{i}.png,sad" for i in range(30)]
    text = message(table(tmp_path / "t.csv", "path,emotion", *rows), on_bad_row="skip").splitlines()
    assert text[0] == "30 rows cannot be used:"
    assert text[-2:] == ["  and 10 more", "Correct them."]
    assert "there is a header, but no row" in message(table(tmp_path / "header.csv", "path,emotion"))
    assert "header.csv: the file is empty" in message(table(tmp_path / "header.csv"))


REPEATED = (
    "path,emotion,valence",
    "1.jpg,happy,0.5",
    "2.jpg,sad,-0.5",
    "./1.jpg,sad,0.25",
    "2.jpg,sad,-0.50",
    "3.jpg,happy,0.5",
    "1.jpg,happy,0.5",
)


def test_an_image_named_twice_is_refused(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", *REPEATED)
    columns = BY_NAME | {"numbers": ["valence"]}
    assert message(file, columns).splitlines()[1:-1] == [
        "  t.csv:4: names 1.jpg as t.csv:2 does, with other values (class: sad, there happy; valence: 0.25, there 0.5)",
        "  t.csv:5: names 2.jpg again, as t.csv:3 does",
        "  t.csv:7: names 1.jpg again, as t.csv:2 does",
    ]
    more = table(tmp_path / "u.csv", "path,emotion", "3.jpg,happy")
    val = {"train": table(tmp_path / "s.csv", "path,emotion", "3.jpg,happy", "2.jpg,sad"), "val": more}
    assert "u.csv:2: names 3.jpg as s.csv:2 does, with other values (split: val, there train)" in message(val)


def test_of_contradicting_rows_none_is_kept(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", *REPEATED)
    found = loaded(file, BY_NAME | {"numbers": ["valence"]}, on_bad_row="skip")
    assert [name.split("/")[1] for name in found.table.sample_id] == ["2.jpg", "3.jpg"]
    assert found.notes[0].startswith("4 bad rows left out")


def test_only_so_many_bad_rows_are_kept_in_memory(tmp_path: Path) -> None:
    bad = csv_rows.BadRows()
    for i in range(1000):
        bad.add(f"t.csv:{i}", "x")
    assert (bad.count, len(bad.first)) == (1000, 20)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", "path,emotion", "1.jpg,sad", "2.jpg,happy")
    assert "none.csv: there is no such file" in message(tmp_path / "x/none.csv")
    assert f"{tmp_path}: expected a CSV file, received a folder" in message(tmp_path)
    assert "data.root: " in message(file, root=tmp_path / "none")
    assert "there is no column 'emotions'; did you mean 'emotion'?" in message(
        file, {"image": "path", "label": "emotions"}
    )


def test_drawn_data_is_known_by_its_mark(tmp_path: Path) -> None:
    file = table(tmp_path / "drawn/t.csv", "path,emotion", "1.jpg,sad", "2.jpg,happy")
    assert not loaded(file).synthetic
    (tmp_path / "drawn" / SYNTHETIC_MARK).touch()
    assert loaded(file).synthetic
    above = table(tmp_path / "drawn/u.csv", "path,emotion", "drawn/1.jpg,sad", "drawn/2.jpg,happy", images=False)
    assert loaded(above, root=tmp_path).synthetic


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"columns": {"image": "path"}}, "expected `label`, `numbers` or both"),
        ({"columns": {"image": "path", "label": "path"}}, "received 'path' twice"),
        ({"columns": BY_NAME | {"numbers": ["class"]}}, "and not 'class'"),
        ({"columns": BY_NAME | {"numbers": [3]}}, "a mapping such as {valence: 7, arousal: 8}"),
        ({"columns": BY_NAME | {"image": -1}}, "its number counted from 0"),
        ({"columns": BY_NAME | {"image": True}}, "its number counted from 0"),
        ({"header": False}, "expected columns by number"),
        ({"header": "yes"}, "expected true, false or 'auto'"),
        ({"delimiter": "ab"}, "expected one character"),
        ({"delimiter": '"'}, "expected one character"),
        ({"table": []}, "expected a CSV file, a list of them, or a mapping"),
        ({"table": {"val": "a.csv"}}, "expected a CSV file, a list of them, or a mapping"),
        ({"table": {"train": "a.csv", "val": "./a.csv"}}, "expected every file once"),
        ({"classes": {"0": "a", " 0.0": "b"}}, "expected every cell once"),
        ({"classes": {"0": "a", "1": "a"}}, "expected at least 2 classes"),
        ({"classes": {"0": "A", "1": "a"}}, "expected one spelling for each class"),
        ({"columns": {"image": "p", "numbers": ["v"]}, "classes": ["a", "b"]}, "expected `columns.label`"),
        ({"missing": [-2]}, "expected `columns.numbers`"),
        ({"box_format": "xyxy"}, "expected `columns.box`"),
        ({"columns": BY_NAME | {"split": "s"}, "table": {"train": Path("a.csv")}}, "or `columns.split`, not both"),
        ({"columns": BY_NAME | {"split": "s"}, "split": {"train": 0.8, "val": 0.2}}, "no `split.train`"),
        ({"table": {"train": Path("a.csv")}, "split": {"train": 0.8, "test": 0.2}}, "expected `train` and `val` above"),
        ({"columns": BY_NAME | {"group": "s"}, "split": {"group_pattern": "x"}}, "or `split.group_pattern`, not both"),
        ({"sample": "affects"}, "received 'affects'; did you mean 'affect'?"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"table": Path("t.csv"), "columns": BY_NAME, **settings})
    assert said in str(caught.value)


EXPERIMENT = """\
name: demo
task: {name: classification}
data:
  name: csv_table
  table: {train: a/training.csv, val: a/validation.csv}
  columns:
    {image: subDirectory_filePath, label: expression, numbers: [valence], box: [face_x, face_y, 3, face_height]}
  classes: {1: happy, 0: neutral, 2: sad}
  delimiter: "\\t"
  missing: [-2]
model: {name: vggnet}
stages: [{name: train, epochs: 1, learning_rate: 1e-3}]
"""


def test_settings_survive_the_way_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(EXPERIMENT, encoding="utf-8")
    experiment = load_experiment(tmp_path / "c.yaml")
    (tmp_path / "resolved.yaml").write_text(experiment_yaml(experiment), encoding="utf-8")
    again = load_experiment(tmp_path / "resolved.yaml")
    assert again == experiment
    assert isinstance(again.data, Config)
    assert [*(again.data.classes or ())] == ["1", "0", "2"]
    assert again.data.columns.box == ("face_x", "face_y", 3, "face_height")
    assert again.data.columns.numbers == {"valence": "valence"}


def test_other_data_are_all_rows_of_another_table(tmp_path: Path) -> None:
    lines = ("path,emotion,fold", "1.jpg,sad,train", "2.jpg,happy,val")
    home = table(tmp_path / "a/t.csv", *lines, images=False)
    put(tmp_path / "a/images", "1.jpg", "2.jpg")
    used = config(home, BY_NAME | {"split": "fold"}, root=tmp_path / "a/images", classes=["sad", "happy"])
    other = table(tmp_path / "b/u.csv", "path,emotion", "3.jpg,sad", images=False)
    put(tmp_path / "b/images", "3.jpg")
    found = load(other_data(used, other))
    assert found.table.path.tolist() == [str(tmp_path / "b/images/3.jpg")]
    assert found.labels.class_names == ("sad", "happy")
    beside = table(tmp_path / "c/u.csv", "path,emotion", "2.jpg,happy", images=False)
    assert load(other_data(used, beside)).table.path.tolist() == [str(tmp_path / "a/images/2.jpg")]
    plain = other_data(config(home), table(tmp_path / "d/t.csv", "path,emotion", "4.jpg,happy"))
    assert load(plain).labels.class_names == ("happy",)
    with pytest.raises(DataError, match="expected a CSV file with the columns of the run's tables, received a folder"):
        other_data(used, tmp_path)


@pytest.mark.slow
def test_sample_sets_keep_what_a_configuration_asks_for(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"sample": "affect", "image_size": (16, 24), "header": True, "delimiter": ";"}
    both = config(Path("/p/a.csv"), AFFECT, on_bad_row="skip", **settings)
    ages = config(Path("/p/b.csv"), {"image": 0, "numbers": {"age": 3}}, suffix=".jpg", **settings)
    label = config(Path("/p/a.csv"), BY_NAME | {"group": "who"}, **settings)
    changed = write_sample([both, ages, label], tmp_path, small=True)
    assert [Config.model_validate_json(each.model_dump_json()) for each in changed] == changed
    assert [each.image_size for each in changed] == [(16, 24)] * 3
    assert changed[0].on_bad_row == "skip"
    first, second, third = (load(each) for each in changed)
    assert [found.synthetic for found in (first, second, third)] == [True] * 3
    assert first.labels.numbers == ("valence", "arousal")
    assert first.labels.class_names[:2] == ("neutral", "happy")
    assert second.labels == Labels(numbers=("age",))
    assert third.labels == Labels(class_names=first.labels.class_names)
    assert first.table.sample_id.tolist() == third.table.sample_id.tolist()
    assert not set(first.table.group) & set(second.table.group)
    assert first.unmatched_groups == second.unmatched_groups == 0
    assert len(set(first.table.group)) == 50
    three = config(Path("/p/a.csv"), {"image": "i", "numbers": ["a", "b", "c"]}, **settings)
    with pytest.raises(DataError, match="has the numbers valence, arousal only"):
        write_sample([three], tmp_path, small=True)
    with pytest.raises(DataError, match="--sample"):
        write_sample([config(Path("/p/a.csv"))], tmp_path, small=True)


def test_empty_cells_may_stand_for_no_number(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", "path,valence", "a.jpg,0.5", "b.jpg,", "c.jpg, ", "d.jpg,-2")
    columns = {"image": "path", "numbers": ["valence"]}
    assert "expected a number, received" in message(file, columns)
    found = loaded(file, columns, missing=["", -2])
    assert targets(found, "valence") == {f"{tmp_path.name}/a.jpg": "0.5"}
    assert "3 rows left out, since they have no number" in found.notes[0]
    with pytest.raises(ValidationError, match="expected a list of numbers"):
        config(file, columns, missing=["none"])


def test_another_table_finds_its_images_beside_it_or_beside_the_first(tmp_path: Path) -> None:
    first = config(table(tmp_path / "one/t.csv", "path,emotion", "a.jpg,x", "b.jpg,y"))
    beside_first = table(tmp_path / "one/else/o.csv", "path,emotion", "a.jpg,x", images=False)
    assert load(other_data(first, beside_first)).table.path.tolist() == [str(tmp_path / "one/a.jpg")]
    beside_it = table(tmp_path / "two/o.csv", "path,emotion", "a.jpg,x")
    assert load(other_data(first, beside_it)).table.path.tolist() == [str(tmp_path / "two/a.jpg")]
