"""Folders of images: both layouts, several roots, and everything that people put into folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cvlab.data.image_folder import Config, load, write_sample
from cvlab.data.source import SYNTHETIC_MARK, LoadedSource, find_groups
from cvlab.errors import DataError


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def config(*roots: Path, **settings: Any) -> Config:
    split = {"group_pattern": settings.pop("group_pattern", None)}
    return Config.model_validate({"root": list(roots), "split": split, **settings})


def loaded(*roots: Path, **settings: Any) -> LoadedSource:
    return load(config(*roots, **settings))


def message(*roots: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        loaded(*roots, **settings)
    text = str(caught.value)
    text.encode("utf-8")
    return text


def test_class_folders(tmp_path: Path) -> None:
    found = loaded(put(tmp_path / "set", "dog/2.JPG", "dog/1.jpeg", "cat/1.png", "cat/.hidden.png", ".git/x.png"))
    assert found.labels.class_names == ("cat", "dog")
    assert found.table.sample_id.tolist() == ["set/cat/1.png", "set/dog/1.jpeg", "set/dog/2.JPG"]
    assert found.table.targets["class"].tolist() == ["cat", "dog", "dog"]
    assert found.table.path.tolist() == [str(tmp_path / name) for name in found.table.sample_id]
    assert found.table.group.tolist() == found.table.sample_id.tolist()
    assert set(found.table.split) == {""}
    assert (found.unmatched_groups, found.notes, found.synthetic) == (None, [], False)


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_split_folders(tmp_path: Path, validation: str) -> None:
    names = [f"{split}/{label}/1.png" for split in ("train", validation, "test") for label in ("a", "b")]
    found = loaded(put(tmp_path / "set", *names))
    assert dict(zip(found.table.sample_id, found.table.split, strict=True)) == {
        f"set/{name}": {validation: "val"}.get(name.split("/")[0], name.split("/")[0]) for name in names
    }


def test_a_class_that_only_training_has_is_noted(tmp_path: Path) -> None:
    found = loaded(put(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "test/b/1.png"))
    assert found.labels.class_names == ("a", "b")
    assert found.notes == [f"{tmp_path}/test: has no folder for a.", f"{tmp_path}/val: has no folder for b."]


def test_a_class_that_training_lacks_is_refused(tmp_path: Path) -> None:
    text = message(put(tmp_path, "train/a/1.png", "train/b/1.png", "test/c/1.png", "test/a/1.png"))
    assert "every class needs training images" in text
    assert text.endswith("\n  train/c")


def test_two_validation_folders_are_refused(tmp_path: Path) -> None:
    assert "found train, val, valid" in message(put(tmp_path, "train/a/1.png", "val/a/1.png", "valid/a/1.png"))


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert loaded(put(tmp_path, "bus/1.png", "train/1.png")).labels.class_names == ("bus", "train")


@pytest.mark.parametrize("folders", [("Train", "Test"), ("val", "test"), ("train", "test", "__MACOSX")])
def test_folders_that_are_no_classes_say_which_layouts_there_are(tmp_path: Path, folders: tuple[str, ...]) -> None:
    put(tmp_path, *(f"{folder}/{label}/1.png" for folder in folders for label in "ab"))
    text = message(tmp_path)
    assert "found only folders (a, b)" in text
    assert "root/<split>/<class>/*" in text


def test_several_roots_become_one_pool(tmp_path: Path) -> None:
    one, two = put(tmp_path / "x/train", "a/1.png", "b/1.png"), put(tmp_path / "x/test", "a/1.png")
    found = loaded(one, two)
    assert found.table.sample_id.tolist() == ["test/a/1.png", "train/a/1.png", "train/b/1.png"]
    assert set(found.table.split) == {""}
    assert found.notes == [f"{two}: has no folder for b."]
    assert loaded(two, one).table.sample_id.tolist() == found.table.sample_id.tolist()


def test_roots_of_one_name_with_one_file_name_collide(tmp_path: Path) -> None:
    one, two = put(tmp_path / "x/set", "a/1.png", "b/1.png"), put(tmp_path / "y/set", "a/1.png", "a/2.png")
    text = message(one, two)
    assert f"set/a/1.png: {one}/a/1.png and {two}/a/1.png" in text
    assert "2.png" not in text


def test_roots_of_two_layouts_are_refused(tmp_path: Path) -> None:
    one, two = put(tmp_path / "x", "train/a/1.png", "train/b/1.png"), put(tmp_path / "y", "a/1.png", "b/1.png")
    assert "one layout" in message(one, two)


def test_two_spellings_of_a_class_are_refused_unless_one_is_named(tmp_path: Path) -> None:
    one, two = put(tmp_path / "x", "Happy/1.png", "sad/1.png"), put(tmp_path / "y", "happy/1.png", "sad/1.png")
    assert "'Happy' and 'happy'" in message(one, two)
    assert "would be two classes" in message(put(tmp_path / "z", "caf\u00e9/1.png", "cafe\u0301/1.png"))
    assert loaded(one, two, classes=["happy", "sad"]).labels.class_names == ("happy", "sad")


def test_given_classes_set_the_order_and_the_choice(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png", "c/1.png")
    found = loaded(tmp_path, classes=["c", "a"])
    assert found.labels.class_names == ("c", "a")
    assert sorted(set(found.table.targets["class"])) == ["a", "c"]
    assert found.notes == ["Class folders left out, since `data.classes` does not name them: b."]
    assert "there is no folder 'aa'" in message(tmp_path, classes=["aa", "b"])


def test_missing_empty_and_single(tmp_path: Path) -> None:
    assert f"{tmp_path}/none: there is no such folder" in message(tmp_path / "none")
    assert "there is no such folder" in message(put(tmp_path, "file.png") / "file.png")
    assert "expected one folder a class in it, found none" in message(tmp_path)
    put(tmp_path, "a/1.png")
    assert "expected at least 2 class folders, found 1 (a)" in message(tmp_path)
    (tmp_path / "b").mkdir()
    assert f"{tmp_path}/b: expected images (.bmp" in message(tmp_path)
    put(tmp_path, "b/notes.txt")
    assert "found none. " in message(tmp_path)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/scan.dcm", "a/notes.txt", "a/patient/2.png", "b/1.png", "stray.jpg", "README.md")
    assert loaded(tmp_path).notes == [
        f"{tmp_path}: 1 image outside the class folders left out (first: stray.jpg).",
        f"{tmp_path}/a: 1 folder in it left out (first: patient).",
        f"{tmp_path}/a: 2 files left out as no image (first: notes.txt).",
    ]


def test_links_are_followed_and_dead_ones_are_errors(tmp_path: Path) -> None:
    put(tmp_path / "store", "cats/1.png", "2.png")
    put(tmp_path / "set", "dog/1.png")
    (tmp_path / "set/cat").symlink_to(tmp_path / "store/cats")
    (tmp_path / "set/dog/2.png").symlink_to(tmp_path / "store/2.png")
    assert loaded(tmp_path / "set").table.sample_id.tolist() == ["set/cat/1.png", "set/dog/1.png", "set/dog/2.png"]
    (tmp_path / "set/emu").symlink_to(tmp_path / "store/nowhere")
    assert "set/emu: is a link to something that is not there" in message(tmp_path / "set")


def test_odd_names_are_kept_as_they_are(tmp_path: Path) -> None:
    names = [
        "a b.png",
        "a.b.c.png",
        "[1](2).png",
        "x,y.png",
        "q\"q'.png",
        "n\nl.png",
        "r\rl.png",
        "ö-日本.png",
        "#.png",
    ]
    put(tmp_path, *(f"a/{name}" for name in names), "b/1.png")
    found = loaded(tmp_path)
    assert {Path(path).name for path in found.table.path} == {*names, "1.png"}
    assert all(Path(path).is_file() for path in found.table.path)


def test_a_name_that_is_no_text_is_an_error_that_can_be_printed(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png")
    undecodable = os.fsdecode(b"caf\xe9")
    try:
        put(tmp_path, f"a/{undecodable}.txt")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    loaded(tmp_path).notes[0].encode("utf-8")
    put(tmp_path, f"a/{undecodable}.png")
    assert r"caf\udce9.png" in message(tmp_path)
    (tmp_path / undecodable).mkdir()
    assert r"caf\udce9: expected images" in message(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "groups", "unmatched"),
    [
        (None, ["r/a/Ann_Lee_01.png", "r/a/Ann_Lee_02.png", "r/b/scan.v2.png"], None),
        (r"(.+)_\d+$", ["Ann_Lee", "Ann_Lee", "r/b/scan.v2.png"], 1),
        (r"^[A-Z][a-z]+", ["Ann", "Ann", "r/b/scan.v2.png"], 1),
        (r"(Ann)|scan", ["Ann", "Ann", "scan"], 0),
        (r"\.(v\d)", ["r/a/Ann_Lee_01.png", "r/a/Ann_Lee_02.png", "v2"], 2),
        (r"^(.*?)_", ["Ann", "Ann", "r/b/scan.v2.png"], 1),
        (r"x*", ["r/a/Ann_Lee_01.png", "r/a/Ann_Lee_02.png", "r/b/scan.v2.png"], 3),
        (r"png", ["r/a/Ann_Lee_01.png", "r/a/Ann_Lee_02.png", "r/b/scan.v2.png"], 3),
    ],
)
def test_groups_come_from_the_stem(pattern: str | None, groups: list[str], unmatched: int | None) -> None:
    ids = ["r/a/Ann_Lee_01.png", "r/a/Ann_Lee_02.png", "r/b/scan.v2.png"]
    assert find_groups(ids, pattern) == (groups, unmatched)


def test_drawn_data_is_known_by_its_mark(tmp_path: Path) -> None:
    put(tmp_path, "x/train/a/1.png", "x/train/b/1.png", "y/a/1.png", "y/b/1.png")
    (tmp_path / "x" / SYNTHETIC_MARK).touch()
    assert loaded(tmp_path / "x/train").synthetic
    assert loaded(tmp_path / "x").synthetic
    assert not loaded(tmp_path / "y").synthetic
    assert loaded(tmp_path / "y", tmp_path / "x/train").synthetic


@pytest.mark.slow
def test_sample_sets_of_different_roots_are_different_and_never_mixed_up(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"sample": "emotion", "image_size": (16, 24)}
    one, two = config(Path("/p/train"), **settings), config(Path("/q/train"), **settings)
    first, second, again = write_sample([one, two, one], tmp_path, small=True)
    assert first == again
    persons = [set(load(changed).table.group) for changed in (first, second)]
    assert len(persons[0]) == 50
    assert not persons[0] & persons[1]
    assert [Path(root).name for changed in (first, second) for root in changed.root] == ["train", "train"]
    (alone,) = write_sample([two], tmp_path, small=True)
    assert alone.root == first.root
    with pytest.raises(DataError, match="--sample"):
        write_sample([config(Path("/p/train"))], tmp_path, small=True)
