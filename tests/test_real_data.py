"""On real pictures, where `CVLAB_DATA` names them: no person in two splits, and a shipped split that leaks."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from pathlib import Path

import pytest

from cvlab.config import Experiment
from cvlab.config_file import load_experiment
from cvlab.console import Console
from cvlab.data.prepare import PreparedData, load_sources, prepare
from cvlab.errors import DataError

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
