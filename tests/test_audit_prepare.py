"""What is found in the files of a pool: near-duplicates, persons, odd files, what tells the class; and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from cvlab.data.image_folder import Config, load
from cvlab.data.split import split_samples
from cvlab.errors import DataError
from tests.picture_fixture import brighter, half, picture, save
from tests.pool_fixture import audited, pool, refused, roots, run, split_folders, write

# Left out of `scripts/test fast`.
pytestmark = pytest.mark.slow

LARGE = {"image_size": (64, 64)}


def pictures(root: Path, *sizes: int, first: int = 0, folders: tuple[str, ...] = ("a", "b")) -> Path:
    """Writes `root/<folder>/<number>x.png`, smooth pictures that are near to no other."""
    number = first
    for folder, size in zip(folders, sizes, strict=True):
        for _ in range(size):
            save(picture(number, 64), root / folder / f"{number}x.png")
            number += 1
    return root


def test_near_duplicates_stay_together_and_are_said(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 20, 20)
    save(brighter(half(picture(3, 64))), root / "a/copy.jpg", quality=80)
    save(picture(4, 64), root / "a/again.jpg", quality=60)
    save(half(picture(25, 64)), root / "b/small.png")
    sets = [
        ("set/a/3x.png", "set/a/copy.jpg"),
        ("set/a/4x.png", "set/a/again.jpg"),
        ("set/b/25x.png", "set/b/small.png"),
    ]
    for seed in range(6):
        (stage,) = run(tmp_path, roots(root, **LARGE), seed=seed).stages
        split_of = dict(zip(stage.samples.table.sample_id, stage.samples.table.split, strict=True))
        assert all(split_of[one] == split_of[two] for one, two in sets)
    assert {frozenset(pair[1:]) for pair in stage.audit.near} == {*map(frozenset, sets)}
    (note,) = [note for note in stage.notes if "near-duplicates" in note]
    assert note.startswith("3 pairs of near-duplicates, which a split never parts (nearest: set/")
    splits = set()
    for seed in range(6):
        (stage,) = run(tmp_path, roots(root, **LARGE, near_duplicate_distance=None), seed=seed).stages
        split_of = dict(zip(stage.samples.table.sample_id, stage.samples.table.split, strict=True))
        splits |= {split_of[one] == split_of[two] for one, two in sets}
        assert (stage.audit.near, stage.audit.distance) == ([], None)
    assert False in splits


def test_images_of_a_few_pixels_are_not_compared(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 12, 12)
    save(half(picture(3, 64)), root / "a/copy.png")
    for size, distance, pairs in (((15, 64), None, 0), ((16, 16), 16, 1)):
        (stage,) = run(tmp_path, roots(root, image_size=size)).stages
        assert (stage.audit.distance, len(stage.audit.near)) == (distance, pairs)


def test_the_gate_names_near_duplicates_between_folders(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for place, (split, size) in enumerate((("train", 4), ("val", 2), ("test", 3))):
        pictures(root / split, size, size, first=100 * place)
    save(half(picture(2, 64)), root / "test/a/copy.jpg", quality=80)
    settings = roots(root, **LARGE)
    text = refused(tmp_path, settings)
    assert "near-duplicate stands in train of stage 'stage0' and in test of stage 'stage0'" in text
    assert "set/train/a/2x.png, set/test/a/copy.jpg" in text
    assert "lower `data.near_duplicate_distance`" in text
    assert run(tmp_path, {**settings, "near_duplicate_distance": None}).leaks == []
    assert len(run(tmp_path, {**settings, "allow_leakage": True}).leaks) == 1


def test_near_duplicates_between_stages_pass_only_where_the_later_one_does_not_look(tmp_path: Path) -> None:
    one = pictures(tmp_path / "one", 10, 10)
    two = tmp_path / "two"
    for place, (split, size) in enumerate((("train", 4), ("val", 2), ("test", 3))):
        pictures(two / split, size, size, first=100 * (place + 1))
    for number in range(10):
        save(picture(number, 64), two / "test/a" / f"copy{number}.jpg", quality=80)
    first, second = roots(one, **LARGE), roots(two, image_size=(48, 80))
    text = refused(tmp_path, first, second)
    assert "near-duplicate stands in train of stage 'stage0' and in test of stage 'stage1'" in text
    assert run(tmp_path, first, {**second, "near_duplicate_distance": None}).leaks == []
    assert run(tmp_path, second, first).leaks == []


def test_one_picture_in_two_classes_is_warned_of(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 12, 12)
    save(half(picture(3, 64)), root / "b/other.jpg", quality=80)
    (stage,) = run(tmp_path, roots(root, **LARGE)).stages
    (warning,) = stage.warnings
    assert warning.startswith("Near-duplicates in several classes: 1 pair: set/a/3x.png ~ set/b/other.jpg, ")


def test_names_that_look_like_persons_are_warned_of_where_no_groups_are_given(tmp_path: Path) -> None:
    root = pool(tmp_path / "set", {"a": 40, "b": 40}, person=4)
    (stage,) = run(tmp_path, roots(root)).stages
    (warning,) = stage.warnings
    table = stage.samples.table
    persons: dict[str, set[str]] = {}
    for path, split in zip(table.path, table.split, strict=True):
        persons.setdefault(Path(path).stem[:4], set()).add(split)
    torn = sorted(name for name, splits in persons.items() if len(splits) > 1)
    assert [text.partition(":")[0] for text in stage.audit.persons] == torn
    assert warning.startswith(
        f"{len(torn)} names of files, their numbers left out, stand in several splits: {torn[0]}:"
    )
    pattern = warning.rpartition("group_pattern=")[2].strip("'")
    (stage,) = run(tmp_path, roots(root, split={"group_pattern": pattern})).stages
    assert (stage.audit.persons, stage.warnings) == ([], [])
    assert len({*stage.samples.table.group}) == 20


def test_what_is_odd_about_files_is_said(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 12, 12)
    save(picture(50, 64), root / "a/wrong.jpg", format="PNG")
    save(Image.new("L", (1, 1), 200), root / "b/dot.png")
    (stage,) = run(tmp_path, roots(root, **LARGE)).stages
    assert stage.notes == [
        f"1 file is of another format than the ending says (first: {root}/a/wrong.jpg is PNG).",
        "1 image is nearly of one colour (first: set/b/dot.png).",
    ]
    assert stage.warnings == [f"1 image is enlarged more than 64 times in area (first: {root}/b/dot.png: 1 x 1)."]
    assert stage.audit.smallest == "1 x 1: set/b/dot.png"


def test_what_tells_the_class_without_the_picture_is_warned_of(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 30, folders=("a",))
    for number in range(40):
        save(picture(100 + number, 64).convert("L"), root / "b" / f"{number}x.png")
    (stage,) = run(tmp_path, roots(root, **LARGE)).stages
    (warning,) = stage.warnings
    assert warning.startswith("How files are named or stored tells the class")
    assert "mode tells a, AUC 1.00 ('L' in 0% of it, in 100% of the rest)" in warning


def test_an_audit_goes_on_where_a_training_stops(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "set", train=4, test=3)
    write(root / "test/a/copy.png", 0)
    (root / "train/b/text.jpg").write_text("no image")
    data, stops = audited(tmp_path, roots(root, split={"group_pattern": "^patient"}))
    for stop, part in zip(stops, ("fits none of 16", "1 image of 16", "no validation samples", "1 leak"), strict=True):
        assert part in stop
    (stage,) = data.stages
    assert stage.audit.unreadable == [f"{root}/train/b/text.jpg: is no JPEG, PNG, BMP, GIF, WebP or TIFF image"]
    assert stage.samples.table.counts("class") == {"train": {"a": 4, "b": 4}, "test": {"a": 4, "b": 3}}
    assert [str(leak).partition(" stands")[0] for leak in data.leaks] == ["identical file"]
    pool_data, stops = audited(tmp_path, roots(pool(tmp_path / "pool", {"a": 9, "b": 2})))
    (stop,) = stops
    assert "'b' has 2 groups" in stop
    assert {*pool_data.stages[0].samples.table.split} == {""}


def test_an_audit_of_good_data_finds_what_a_training_finds(tmp_path: Path) -> None:
    settings = roots(pool(tmp_path / "set", {"a": 12, "b": 12}))
    data, stops = audited(tmp_path, settings)
    assert stops == []
    one, two = data.stages[0].samples.table, run(tmp_path, settings).stages[0].samples.table
    assert one.fingerprint() == two.fingerprint()


def test_an_audit_of_nothing_readable_ends(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "1.png").touch()
    with pytest.raises(DataError, match="none is left of a, b"):
        audited(tmp_path, roots(tmp_path / "set"))


def test_folders_as_shipped_are_merged_and_split_anew_by_whole_numbers(tmp_path: Path) -> None:
    """Sizes of the public set of paediatric X-rays: train, val and test as they come, `int(n * 0.6)` of each class."""
    shipped = {"train": (1341, 3875), "val": (8, 8), "test": (234, 390)}
    for split, sizes in shipped.items():
        for name, size in zip(("NORMAL", "PNEUMONIA"), sizes, strict=True):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(size):
                (tmp_path / split / name / f"{split}{number}.jpeg").touch()
    source = load(Config.model_validate(roots(*(tmp_path / split for split in shipped))))
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    assert source.table.split.tolist() == [""] * 5856
    for seed in (0, 1):
        table = split_samples(source.table, fractions, strata=source.strata, seed=seed, near={})
        assert table.counts("class") == {
            "train": {"NORMAL": 949, "PNEUMONIA": 2563},
            "val": {"NORMAL": 316, "PNEUMONIA": 854},
            "test": {"NORMAL": 318, "PNEUMONIA": 856},
        }
        mixed = {split: {name.split("/")[0] for name in table.sample_id[table.split == split]} for split in fractions}
        assert mixed == {split: {*shipped} for split in fractions}
