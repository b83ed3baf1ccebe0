"""A look at data: tables whole, some of the files read, and nothing told that a training would not find too."""

from __future__ import annotations

from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvlab.config import Experiment
from cvlab.console import Console
from cvlab.data import fingerprint, glance
from cvlab.data.glance import Glance, look_at, undecoded_bytes
from cvlab.data.prepare import load_sources, prepare
from cvlab.data.samples import CLASS, SampleTable
from tests.mask_fixture import experiment_of, write_slices
from tests.pool_fixture import experiment_of as experiment_with
from tests.pool_fixture import pool, roots, write

# Left out of `scripts/test fast`.
pytestmark = pytest.mark.slow

CONSOLE = Console(StringIO())


def experiment_on(root: Path, tmp_path: Path, **settings: Any) -> Experiment:
    return experiment_with(tmp_path, (roots(root, **settings),), seed=3)


def look(experiment: Experiment, *, before: list[SampleTable] | None = None) -> tuple[Glance, list[str]]:
    stops: list[str] = []
    return look_at(experiment, load_sources(experiment), CONSOLE, stops, before=before or []), stops


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """More images than are read: 280 in two classes, the smaller of 20."""
    return pool(tmp_path / "large", {"often": 260, "rare": 20})


def test_a_small_set_is_read_whole_as_a_training_reads_it(tmp_path: Path) -> None:
    experiment = experiment_on(pool(tmp_path / "small", {"a": 20, "b": 20}), tmp_path)
    found, stops = look(experiment)
    assert (stops, found.is_whole, found.read) == ([], True, [40])
    expected = prepare(experiment, load_sources(experiment), CONSOLE).stages[0].samples
    assert found.data is not None
    assert found.data.stages[0].samples.table.fingerprint() == expected.table.fingerprint()


def test_of_a_large_set_the_table_is_whole_and_a_part_is_read(tmp_path: Path, large: Path) -> None:
    experiment = experiment_on(large, tmp_path)
    found, stops = look(experiment)
    assert (stops, found.is_whole, found.read) == ([], False, [glance.FILES])
    # Without copies and near-duplicates, the split is that of the training.
    expected = prepare(experiment, load_sources(experiment), CONSOLE).stages[0].samples.table
    assert dict(zip(found.tables[0].sample_id, found.tables[0].split, strict=True)) == dict(
        zip(expected.sample_id, expected.split, strict=True)
    )
    assert found.data is not None
    read = found.data.stages[0].samples.table
    assert Counter(read.split) == {"train": 156, "val": 28, "test": 16}
    assert all({"often", "rare"} <= {*read.of_split(split).targets[CLASS]} for split in ("train", "val", "test"))
    again = look(experiment)[0].data
    assert again is not None
    assert again.stages[0].samples.table.fingerprint() == read.fingerprint()


def test_a_batch_is_always_read(tmp_path: Path, large: Path) -> None:
    experiment = experiment_on(large, tmp_path)
    stage = experiment.stages[0].model_copy(update={"batch_size": 210})
    found, _ = look(experiment.model_copy(update={"stages": [stage]}))
    assert found.data is not None
    assert len(found.data.stages[0].samples.table.of_split("train")) >= 210


def test_files_that_are_read_and_no_images_are_named(tmp_path: Path, large: Path) -> None:
    for path in sorted((large / "rare").iterdir()):
        path.write_text("no image")
    found, stops = look(experiment_on(large, tmp_path))
    assert found.data is None
    assert len(stops) == 2
    assert "20 images of 200 cannot be used" in stops[0]
    assert "data.on_unreadable=skip" in stops[0]
    assert "none is left of rare" in stops[1]


def test_a_class_without_enough_groups_does_not_hide_unreadable_files(tmp_path: Path, large: Path) -> None:
    for path in sorted((large / "rare").iterdir())[2:]:
        path.unlink()
    for path in sorted((large / "often").iterdir()):
        path.write_text("no image")
    _, stops = look(experiment_on(large, tmp_path))
    assert any("every class needs at least 3 groups" in stop for stop in stops)
    assert any("cannot be used" in stop for stop in stops)


def test_the_gate_sees_all_groups_though_few_files_are_read(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for place, (split, count) in enumerate({"train": 120, "val": 3, "test": 3}.items()):
        pool(root / split, {"a": count, "b": count}, first=1000 * place)
    write(root / "train/a/person7_1.png", 9001)
    write(root / "test/a/person7_2.png", 9002)
    experiment = experiment_on(root, tmp_path, split={"group_pattern": "^(person\\d+)"})
    found, stops = look(experiment)
    assert found.read[0] < len(found.tables[0])
    (stop,) = stops
    assert "The gate stops this run: 1 leak" in stop
    assert "group 'person7'" in stop


def test_samples_of_an_earlier_run_are_known_by_their_ids(tmp_path: Path, large: Path) -> None:
    experiment = experiment_on(large, tmp_path)
    before = prepare(experiment, load_sources(experiment), CONSOLE).stages[0].samples.table
    moved = before.with_columns(split=np.array(["train"] * len(before), dtype=object))
    _, stops = look(experiment, before=[moved])
    (stop,) = stops
    assert "sample stands in train of stage" in stop
    assert "the files differ" not in stop


def test_masks_of_a_large_set(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, "lgg_mri", root=write_slices(tmp_path / "kaggle_3m", patients=40))
    found, stops = look(experiment)
    assert (stops, found.read) == ([], [glance.FILES])
    assert found.data is not None
    samples = found.data.stages[0].samples
    assert samples.masks is not None
    assert {*samples.table.targets[CLASS]} == {"no tumour", "tumour"}
    assert len({*found.tables[0].of_split("val").group} & {*found.tables[0].of_split("train").group}) == 0


@pytest.mark.parametrize("masks", [False, True])
def test_what_is_decoded_needs_no_room(tmp_path: Path, masks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Files of this moment are not remembered; those of a data set are older.
    monkeypatch.setattr(fingerprint, "SETTLED_NANOSECONDS", -1)
    settings: dict[str, Any] = {"image_size": (16, 16)}
    if masks:
        root = write_slices(tmp_path / "m", patients=3, slices=4)
        experiment = experiment_of(tmp_path, "lgg_mri", root=root, **settings)
    else:
        experiment = experiment_on(pool(tmp_path / "p", {"a": 6, "b": 6}), tmp_path, **settings)
    (source,), stage = load_sources(experiment), experiment.stages[0]
    pixels = 16 * 16 * (3 + masks)
    assert undecoded_bytes(source, stage) == 12 * (pixels + 200 * (1 + masks)) + 128 * (1 + masks)
    prepare(experiment, [source], CONSOLE)
    assert undecoded_bytes(source, stage) == 0
    other_size = stage.model_copy(update={"data": stage.data.model_copy(update={"image_size": (17, 16)})})
    assert undecoded_bytes(source, other_size) > 12 * pixels
