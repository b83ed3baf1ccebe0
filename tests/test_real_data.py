"""On real pictures, where `CVLAB_DATA` names them: no person in two splits, and a shipped split that leaks."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from pathlib import Path

import pytest
from PIL import Image

from cvlab.config import Experiment
from cvlab.config_file import load_experiment
from cvlab.console import Console
from cvlab.data.prepare import PreparedData, audit, load_sources, prepare
from cvlab.data.stage_audit import StageAudit
from cvlab.errors import DataError
from tests.picture_fixture import brighter, half, save

# Left out of `scripts/test fast`.
pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parent.parent / "configs"


def prepared(settings: Experiment) -> PreparedData:
    return prepare(settings, load_sources(settings), Console(io.StringIO()))


def experiment(*overrides: str) -> Experiment:
    return load_experiment(CONFIGS / "vgg_emotion.yaml", [*overrides, "data.image_size=[32, 32]"])


def test_no_person_stands_in_two_splits_of_the_faces(real_data: Path) -> None:
    words = [
        f"data.root={real_data / 'faces'}",
        r"data.split={train: 0.7, val: 0.15, test: 0.15, group_pattern: (.+)_\d+$}",
    ]
    data = prepared(experiment(*words))
    samples = data.stages[0].samples
    assert len(samples.table) == 1658
    splits = defaultdict(set)
    for path, split in zip(samples.table.path, samples.table.split, strict=True):
        if person := re.fullmatch(r"(.+)_\d+", Path(path).stem):
            splits[person[1]].add(split)
    assert len(splits) > 800
    assert all(len(found) == 1 for found in splits.values())
    for name, count in samples.table.counts("class")["train"].items():
        total = sum(split.get(name, 0) for split in samples.table.counts("class").values())
        assert count / total == pytest.approx(0.7, abs=0.07), name
    assert samples.images.shape[1:] == (32, 32, 3)
    assert len(samples.images) == len(set(samples.table.content))


def test_the_shipped_split_of_the_chest_films_is_stopped_by_the_gate(real_data: Path) -> None:
    pattern = r"^(person\d+|(?:NORMAL2-)?IM-\d+)"
    shipped = [f"data.root={real_data / 'chest_xray'}", "data.split.val=0.1", f"data.split.group_pattern={pattern}"]
    with pytest.raises(DataError, match=r"The gate stops this run: 24 leaks"):
        prepared(experiment(*shipped))
    merged = f"data.root=[{real_data / 'chest_xray' / 'train'}, {real_data / 'chest_xray' / 'test'}]"
    data = prepared(experiment(merged, f"data.split.group_pattern={pattern}"))
    assert data.leaks == []
    assert len(data.stages[0].samples.table) == 1160


def pool_of(root: Path, *overrides: str) -> tuple[StageAudit, list[str]]:
    settings, stops = experiment(f"data.root={root}", "data.split={}", *overrides), list[str]()
    data = audit(settings, load_sources(settings, stops=stops), Console(io.StringIO()), stops)
    return data.stages[0].audit, stops


def test_the_source_of_the_covid_films_tells_their_class(real_data: Path) -> None:
    found, stops = pool_of(real_data / "covid", "data.image_size=[128, 128]")
    assert stops == []
    auc = {clue.name: clue.auc["Covid-19"] or 0.0 for clue in found.clues}
    assert auc["file-name prefix"] > 0.99
    assert auc["mode"] > 0.95
    assert auc["format"] > 0.9
    for clue in found.clues:
        assert "Covid-19" in clue.telling, clue.name
        if clue.name != "file size":
            assert [*clue.telling] == ["Covid-19"]
    # One film that was cropped a little and saved again.
    ((bits, one, two),) = found.near
    assert bits <= 16
    assert one.startswith("covid/Covid-19/E63574A7")
    assert two.startswith("covid/Covid-19/F4341CE7")
    assert 5 < len(found.persons) < 30


def test_a_random_split_of_the_faces_shares_persons(real_data: Path) -> None:
    found, stops = pool_of(real_data / "faces")
    assert stops == []
    assert len(found.persons) > 50
    assert any(text.endswith(": 63 files in train and val and test") for text in found.persons)
    assert found.near == []
    assert len(found.misnamed) == 1


def test_identical_chest_films_and_planted_copies_are_found(real_data: Path, tmp_path: Path) -> None:
    found, _ = pool_of(real_data / "chest_xray")
    assert len(found.copies) == 3
    assert found.near == []
    planted: list[str] = []
    for label in ("NORMAL", "PNEUMONIA"):
        for split, size in (("train", 40), ("test", 20)):
            for path in sorted((real_data / "chest_xray" / split / label).iterdir())[:size]:
                link = tmp_path / "films" / split / label / path.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)
        for path in sorted((tmp_path / "films" / "train" / label).iterdir())[:10]:
            image = Image.open(path)
            copy = brighter(half(image)) if len(planted) % 2 else image
            save(copy, tmp_path / "films" / "test" / label / f"copy{len(planted)}.jpeg", quality=60)
            planted.append(f"films/train/{label}/{path.name}")
    found, stops = pool_of(tmp_path / "films", "data.split={val: 0.2}", "data.image_size=[128, 128]")
    assert sorted(next(name for name in pair[1:] if "/train/" in name) for pair in found.near) == sorted(planted)
    (stop,) = stops
    assert "near-duplicate stands in train of stage 'train' and in test of stage 'train'" in stop
