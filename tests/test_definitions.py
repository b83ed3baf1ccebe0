"""Every number that is reported has a definition, and docs/metrics.md is made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvlab.config import EvaluateConfig
from cvlab.data.source import Labels
from cvlab.definitions import GROUPS, NO_METRICS, find, metric_names, metrics_document, path_of
from cvlab.definitions_uncertainty import UNCERTAINTY_CLASSES, UNCERTAINTY_MASKS, UNCERTAINTY_NUMBERS
from cvlab.metrics.uncertainty_metrics import uncertainty_metrics
from cvlab.tasks import classification, regression, segmentation
from tests.regression_run_fixture import fake_regression_run
from tests.run_fixture import fake_run
from tests.segmentation_run_fixture import fake_segmentation_run
from tests.test_metrics_uncertainty import class_table, mask_table, regression_table

DOCUMENT = Path(__file__).parent.parent / "docs" / "metrics.md"
EVALUATE = EvaluateConfig(temperature=True)


def tables(folder: Path) -> dict[str, dict[str, Any]]:
    """What `metrics.json` holds of a run of each task, by the name of the task."""
    classes = classification.build(classification.Config(), Labels(("no", "a.b"), (), ()))
    run = fake_run(folder, names=("no", "a.b"), samples=300, stages=("train",))
    point = classes.operating_point(run.predictions("val"), EVALUATE)
    numbers = regression.build(regression.Config(), Labels((), ("valence", "arousal"), ()))
    masks = segmentation.build(segmentation.Config(), Labels((), (), ("tumour",)))
    regression_run = fake_regression_run(folder, samples=200, stages=("train",))
    mask_run = fake_segmentation_run(folder, stages=("train",))
    return {
        "classification": classes.metrics(run.predictions("test"), EVALUATE, point),
        "regression": numbers.metrics(regression_run.predictions("test"), EvaluateConfig()),
        "segmentation": masks.metrics(mask_run.predictions("test"), EvaluateConfig()),
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return tables(tmp_path_factory.mktemp("runs"))


def paths(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys that lead to each cell, and to each number that stands without one."""
    if not isinstance(value, dict) or "value" in value:
        yield above
        return
    for key, inner in value.items():
        yield from paths(inner, (*above, key))


@pytest.mark.parametrize("task", ["classification", "regression", "segmentation"])
def test_every_key_of_the_metrics_has_a_definition(found: dict[str, dict[str, Any]], task: str) -> None:
    keys = [*paths(found[task])]
    assert len(keys) > 20
    for path in keys:
        definition = find(task, path)
        assert definition is not None, path
        if task != "classification" or path[0] != "top_3_accuracy":
            assert definition[1].key == path[-1]


@pytest.mark.parametrize("task", ["classification", "regression", "segmentation"])
def test_every_name_leads_to_a_cell_and_every_cell_has_a_name(found: dict[str, dict[str, Any]], task: str) -> None:
    named = {"classification": ["no", "a.b"], "regression": ["valence", "arousal"], "segmentation": ["0.50", "0.95"]}
    names = {name for one in named[task] for name in metric_names(task, top_k=3, named=one)}
    cells = {path for path in paths(found[task]) if path[0] != "by_group" and path[-1] not in NO_METRICS}
    if task == "segmentation":
        cells = {path for path in cells if path[0] != "over_thresholds" or path[1] in named[task]}
        # Over thresholds and of predicting nothing there is less than at the threshold.
        names = {name for name in names if path_of(name)[0] not in ("over_thresholds", "predict_nothing")} | {
            ".".join(path) for path in cells
        }
    assert {path_of(name) for name in names} == cells


@pytest.mark.parametrize(
    ("table", "group"),
    [
        (class_table, UNCERTAINTY_CLASSES),
        (regression_table, UNCERTAINTY_NUMBERS),
        (mask_table, UNCERTAINTY_MASKS),
    ],
)
def test_every_key_of_the_uncertainties_has_a_definition(table: Any, group: Any) -> None:
    metrics = uncertainty_metrics(table())
    keys = {path[-1] for path in paths(metrics)}
    assert keys == {definition.key for definition in group.definitions}


def test_the_document_is_made_of_the_definitions() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == metrics_document(), (
        "docs/metrics.md is out of date: python -m cvlab.definitions > docs/metrics.md"
    )


def test_definitions_are_whole_and_their_anchors_are_unique() -> None:
    anchors = []
    for group in GROUPS:
        for definition in group.definitions:
            anchors.append(group.anchor(definition))
            texts = (definition.key, definition.label, definition.formula, definition.range, definition.misleads)
            assert all(text.strip() == text and text for text in texts), definition
            assert not definition.formula.endswith("."), definition
            assert definition.misleads.endswith("."), definition
    assert len(anchors) == len({*anchors})
    assert all(re.fullmatch(r"[a-z0-9-]+", anchor) for anchor in anchors)
    assert all(f'<a id="{anchor}"></a>' in DOCUMENT.read_text(encoding="utf-8") for anchor in anchors)


def test_names_of_classes_may_hold_dots() -> None:
    assert path_of("per_class.a.b.recall") == ("per_class", "a.b", "recall")
    assert path_of("binary.f1") == ("binary", "f1")
    assert path_of("accuracy") == ("accuracy",)
    assert path_of("per_class.recall") == ("per_class", "recall")
    for nothing in (("accuracy", "x"), ("per_class", "recall"), ("nothing",), ("binary", "nothing")):
        assert find("classification", nothing) is None
    assert find("detection", ("accuracy",)) is None
