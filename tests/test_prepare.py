"""From folders to decoded, split and checked samples: what is refused, what is said, what comes out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from cvlab.data.prepare import data_json
from cvlab.data.source import Labels
from cvlab.tasks.classification import Config as Task
from cvlab.tasks.classification import build
from tests.pool_fixture import pool, refused, roots, run, split_folders, write


def test_every_sample_has_its_own_pixels(tmp_path: Path) -> None:
    data = run(tmp_path, roots(pool(tmp_path / "set", {"a": 10, "b": 10})))
    (stage,) = data.stages
    table = stage.samples.table
    assert table.counts("class") == {"train": {"a": 8, "b": 8}, "val": {"a": 1, "b": 1}, "test": {"a": 1, "b": 1}}
    for path, pixels in zip(table.path, stage.samples.pixels(), strict=True):
        image = Image.open(path).resize((6, 8), Image.Resampling.BILINEAR)
        assert np.array_equal(np.asarray(image), pixels)
    for split in stage.samples.splits:
        part = stage.samples.of_split(split)
        whole = np.flatnonzero(table.split == split)
        assert np.array_equal(part.pixels(), stage.samples.pixels()[whole])
        assert part.table.sample_id.tolist() == table.sample_id[whole].tolist()
    assert (data.stages[0].source.labels, data.leaks, data.synthetic) == (Labels(("a", "b")), [], False)
    assert (stage.notes, stage.warnings) == ([], [])
    assert set(table.stage) == {"stage0"}


def test_preparing_again_from_the_cache_gives_the_same(tmp_path: Path) -> None:
    settings = roots(pool(tmp_path / "set", {"a": 9, "b": 9}))
    one, again, other = run(tmp_path, settings), run(tmp_path, settings), run(tmp_path, settings, seed=2)
    tables = [data.stages[0].samples.table for data in (one, again, other)]
    assert tables[0].fingerprint() == tables[1].fingerprint() != tables[2].fingerprint()
    assert np.array_equal(one.stages[0].samples.pixels(), again.stages[0].samples.pixels())


def test_fractions(tmp_path: Path) -> None:
    root = pool(tmp_path / "set", {"a": 20, "b": 20})
    for split, sizes in (
        ({"train": 0.6, "val": 0.2, "test": 0.2}, {"train": 12, "val": 4, "test": 4}),
        ({"train": 0.75, "val": 0.25}, {"train": 15, "val": 5}),
        ({"val": 0.2}, {"train": 16, "val": 4}),
    ):
        (stage,) = run(tmp_path, roots(root, split=split)).stages
        counts = stage.samples.table.counts("class")
        assert counts == {name: {"a": size, "b": size} for name, size in sizes.items()}


def test_unreadable_files_are_refused_or_left_out_by_name(tmp_path: Path) -> None:
    root = pool(tmp_path / "set", {"a": 10, "b": 10})
    (root / "a/text.jpg").write_text("no image")
    (root / "b/empty.png").touch()
    whole = write(tmp_path / "whole.jpg", 5, (64, 64)).read_bytes()
    (root / "b/short.jpg").write_bytes(whole[: len(whole) // 2])
    text = refused(tmp_path, roots(root))
    assert "3 images of 23 cannot be used" in text
    assert f"{root}/a/text.jpg: is no JPEG" in text
    assert f"{root}/b/short.jpg: is damaged or incomplete" in text
    assert "data.on_unreadable=skip" in text
    (stage,) = run(tmp_path, roots(root, on_unreadable="skip")).stages
    assert len(stage.samples.table) == len(stage.samples.pixels()) == 20
    assert stage.samples.table.counts("class")["train"] == {"a": 8, "b": 8}
    (warning,) = stage.warnings
    assert "3 images of 23" in warning
    assert f"{root}/b/empty.png: is empty" in warning


def test_broken_files_of_many_groups_do_not_tie_them_together(tmp_path: Path) -> None:
    root = pool(tmp_path / "set", {"a": 30, "b": 30}, person=2)
    for person in range(30):
        (root / "a" / f"p{person:03d}_999.png").write_text("404 not found")
    settings = roots(root, on_unreadable="skip", split={"group_pattern": "^p[0-9]+"})
    (stage,) = run(tmp_path, settings).stages
    assert stage.samples.table.counts("class")["train"] == {"a": 24, "b": 24}


def test_a_class_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    root = pool(tmp_path / "set", {"a": 5, "b": 5})
    (root / "c").mkdir()
    (root / "c/1.png").touch()
    assert "none is left of c" in refused(tmp_path, roots(root, on_unreadable="skip"))


def test_a_split_too_small_for_a_class_is_refused(tmp_path: Path) -> None:
    assert "'b' has 2 groups" in refused(tmp_path, roots(pool(tmp_path / "set", {"a": 9, "b": 2})))


def test_split_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "set", train=4, valid=2, test=3)
    (stage,) = run(tmp_path, roots(root)).stages
    assert stage.samples.table.counts("class") == {
        split: {"a": size, "b": size} for split, size in (("train", 4), ("val", 2), ("test", 3))
    }
    assert "(data.split.train=null data.split.val=null), or merge the folders and split anew: root: [" in refused(
        tmp_path, roots(root, split={"train": 0.8, "val": 0.2})
    )
    assert "there are validation samples already" in refused(tmp_path, roots(root, split={"val": 0.2}))


def test_validation_is_cut_off_training_only_on_demand(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "set", train=10, test=3)
    assert "there are no validation samples" in refused(tmp_path, roots(root))
    (stage,) = run(tmp_path, roots(root, split={"val": 0.2})).stages
    table = stage.samples.table
    assert table.counts("class") == {
        split: {"a": size, "b": size} for split, size in (("train", 8), ("val", 2), ("test", 3))
    }
    assert all(
        ("/test/" in name) == (split == "test") for name, split in zip(table.sample_id, table.split, strict=True)
    )


def test_a_class_that_a_split_lacks_is_said(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "set", train=3, val=2)
    write(root / "test/a/1.png", 900)
    (stage,) = run(tmp_path, roots(root)).stages
    assert stage.warnings == ["Split 'test' has no image of b; their metrics are undefined there."]


def test_a_group_pattern_that_fits_nothing_is_refused_and_the_share_of_misfits_is_said(tmp_path: Path) -> None:
    root = pool(tmp_path / "set", {"a": 12, "b": 12}, person=2)
    text = refused(tmp_path, roots(root, split={"group_pattern": "^patient"}))
    assert "'^patient' fits none of 24 file names (the first is set/a/p000_000.png)" in text
    write(root / "a/unknown.png", 77)
    (stage,) = run(tmp_path, roots(root, split={"group_pattern": "^p[0-9]+"})).stages
    assert stage.notes[0].startswith("1 of 25 file names (4%) do not fit")
    assert len(set(stage.samples.table.group)) == 13


def test_groups_that_spoil_the_shares_are_named(tmp_path: Path) -> None:
    root = pool(tmp_path / "set", {"b": 40})
    for number in range(100, 130):
        write(root / "a" / f"big_{number}.png", number)
    for number in range(200, 204):
        write(root / "a" / f"q{number}_0.png", number)
    (stage,) = run(tmp_path, roots(root, split={"group_pattern": "(.+)_"})).stages
    (note,) = stage.notes
    assert note.startswith("Groups are never cut, so that these are not split 80% / 10% / 10%: a ")


def test_copies_stay_together_and_are_said(tmp_path: Path) -> None:
    root = pool(tmp_path / "set", {"a": 20, "b": 20})
    for number in range(3):
        write(root / "a" / f"copy{number}.png", 0)
    write(root / "b/wrong.png", 7)
    (stage,) = run(tmp_path, roots(root)).stages
    table = stage.samples.table
    copies = np.isin(table.sample_id, ["set/a/p000_000.png", *(f"set/a/copy{number}.png" for number in range(3))])
    assert len(set(table.split[copies])) == 1
    assert stage.notes == ["4 identical copies of other files (most often: set/a/copy0.png, 4 times)."]
    assert stage.warnings == ["Identical files in several classes: 1 image:\n  set/a/p007_007.png = set/b/wrong.png"]


def test_the_gate_stops_and_may_be_opened(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "set", train=4, val=2, test=3)
    write(root / "test/a/copy.png", 0)
    text = refused(tmp_path, roots(root))
    assert "The gate stops this run: 1 leak" in text
    assert "identical file stands in train of stage 'stage0' and in test of stage 'stage0'" in text
    assert "set/train/a/p000_000.png, set/test/a/copy.png" in text
    data = run(tmp_path, roots(root, allow_leakage=True))
    assert data_json(data, [{}], allow_leakage=True)["leaks"] == [str(data.leaks[0])]


def test_the_gate_sees_groups_between_folders(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "set", train=4, val=2, test=3)
    write(root / "test/b/p001_7.png", 777)
    assert "group 'p001' stands in train" in refused(tmp_path, roots(root, split={"group_pattern": "^p[0-9]+"}))


def test_a_broken_file_on_both_sides_is_no_leak_when_it_is_left_out(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "set", train=4, val=2, test=3)
    (root / "train/a/x.png").touch()
    (root / "test/a/y.png").touch()
    assert run(tmp_path, roots(root, on_unreadable="skip")).leaks == []


def test_leaks_between_stages_pass_only_where_the_later_stage_allows_them(tmp_path: Path) -> None:
    one = pool(tmp_path / "one", {"a": 10, "b": 10})
    two = split_folders(tmp_path / "two", train=4, val=2, test=3)
    for split in ("val", "test"):
        for number in range(10):
            write(two / split / "a" / f"copy{split}{number}.png", number + (5 if split == "test" else 0))
    first, second, within = roots(one), roots(two), roots(two, allow_leakage=True)
    assert "train of stage 'stage0' and in test of stage 'stage1'" in refused(tmp_path, first, second)
    assert "The gate stops" in refused(tmp_path, {**first, "allow_leakage": True}, second)
    assert {leak.stage for leak in run(tmp_path, first, within).leaks} == {"stage1"}


def test_the_same_data_in_two_stages_is_split_alike(tmp_path: Path) -> None:
    settings = roots(pool(tmp_path / "set", {"a": 12, "b": 12}))
    data = run(tmp_path, settings, settings)
    one, two = (stage.samples.table.split.tolist() for stage in data.stages)
    assert (one, data.leaks) == (two, [])


def test_stages_of_other_files_with_equal_ids_are_refused(tmp_path: Path) -> None:
    one = pool(tmp_path / "x/set", {"a": 6, "b": 6})
    two = pool(tmp_path / "y/set", {"a": 6, "b": 6})
    write(two / "a/p000_000.png", 500)
    text = refused(tmp_path, roots(one), roots(two, allow_leakage=True))
    assert "1 id of samples stand for different files in different stages" in text
    assert f"set/a/p000_000.png: {one}/a/p000_000.png and {two}/a/p000_000.png" in text


def test_what_an_earlier_run_trained_on_is_not_judged_by(tmp_path: Path) -> None:
    settings = roots(pool(tmp_path / "set", {"a": 12, "b": 12}))
    earlier = run(tmp_path, settings, seed=1).stages[0].samples.table
    assert run(tmp_path, settings, seed=1, before=(earlier,)).leaks == []
    text = refused(tmp_path, settings, seed=2, before=(earlier,))
    assert "sample stands in train of stage 'stage0' of an earlier run and in" in text


def test_the_record_is_plain_json(tmp_path: Path) -> None:
    data = run(tmp_path, roots(pool(tmp_path / "set", {"a": 9, "b": 9})))
    record = json.loads(
        json.dumps(data_json(data, [{"counts": {"train": {"a": 7}}}], allow_leakage=False), allow_nan=False)
    )
    assert record["stages"][0]["class_names"] == ["a", "b"]
    (stage,) = record["stages"]
    assert (stage["images"], stage["groups"], stage["counts"]) == (18, 18, {"train": {"a": 7}})
    assert stage["fingerprint"] == data.stages[0].samples.table.fingerprint()


def test_balanced_weights_come_from_the_training_split_alone(tmp_path: Path) -> None:
    data = run(
        tmp_path, roots(pool(tmp_path / "set", {"a": 40, "b": 11}), split={"train": 0.5, "val": 0.3, "test": 0.2})
    )
    table = data.stages[0].samples.of_split("train").table
    task = build(Task(class_weights="balanced"), data.stages[0].source.labels)
    assert table.counts("class") == {"train": {"a": 20, "b": 5}}
    assert task.class_weights(table) == {"a": 25 / 40, "b": 25 / 10}
