from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from cvlab.metrics.calibration import CALIBRATION
from cvlab.metrics.classification import (
    ClassificationPredictions,
    classification_metrics,
    classification_text,
    monitored,
)

TOLERANCE = 1e-9


def made(
    targets: list[int], scores: NDArray[np.float64], names: tuple[str, ...] | None = None
) -> ClassificationPredictions:
    ids = np.array([f"s{i}" for i in range(len(targets))], dtype=object)
    return ClassificationPredictions(
        sample_id=ids,
        group=ids,
        target=np.array(targets, dtype=np.int64),
        predicted=scores.argmax(axis=1).astype(np.int64),
        scores=scores,
        class_names=names or tuple(f"c{i}" for i in range(scores.shape[1])),
    )


@st.composite
def predictions(draw: st.DrawFn) -> ClassificationPredictions:
    """Small tables with ties, absent classes, one sample and zero scores all likely."""
    classes = draw(st.integers(2, 5))
    samples = draw(st.integers(1, 12))
    target = draw(st.lists(st.integers(0, classes - 1), min_size=samples, max_size=samples))
    row = st.lists(st.integers(0, 4), min_size=classes, max_size=classes).filter(any)
    raw = np.array(draw(st.lists(row, min_size=samples, max_size=samples)), dtype=np.float64)
    return made(target, raw / raw.sum(axis=1, keepdims=True))


def hand_auc(is_class: NDArray[np.bool_], score: NDArray[np.float64]) -> float | None:
    """Mann-Whitney: the share of pairs (positive, negative) in the right order, ties count half."""
    pairs = score[is_class][:, None] - score[~is_class][None, :]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean()) if pairs.size else None


def hand_average_precision(is_class: NDArray[np.bool_], score: NDArray[np.float64]) -> float | None:
    """Sum over the thresholds of (recall step) * precision."""
    if not is_class.any():
        return None
    total, before = 0.0, 0.0
    for threshold in sorted(set(score.tolist()), reverse=True):
        above = score >= threshold
        recall = (is_class & above).sum() / is_class.sum()
        total += float((recall - before) * (is_class & above).sum() / above.sum())
        before = recall
    return total


def hand_metrics(p: ClassificationPredictions, top_k: int) -> dict[str, float | None]:
    """Every headline metric by loops and formulas, without scikit-learn and without the code under test."""
    n, k = p.scores.shape
    matrix = np.zeros((k, k))
    for truth, guess in zip(p.target, p.predicted, strict=True):
        matrix[truth, guess] += 1
    right, truths, guesses = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    recall = [right[i] / truths[i] if truths[i] else None for i in range(k)]
    precision = [right[i] / guesses[i] if guesses[i] else None for i in range(k)]
    f1 = [2 * right[i] / (truths[i] + guesses[i]) if truths[i] + guesses[i] else None for i in range(k)]
    specificity = [
        (n - truths[i] - guesses[i] + right[i]) / (n - truths[i]) if truths[i] < n else None for i in range(k)
    ]
    auc = [hand_auc(p.target == i, p.scores[:, i]) for i in range(k)]
    precision_area = [hand_average_precision(p.target == i, p.scores[:, i]) for i in range(k)]
    by_chance = float((truths * guesses).sum()) / n**2
    accuracy = float(right.sum()) / n
    mcc_part = math.sqrt((n**2 - float((guesses**2).sum())) * (n**2 - float((truths**2).sum())))
    top = 0
    for row, truth in zip(p.scores, p.target, strict=True):
        better = sum(1 for i in range(k) if row[i] > row[truth] or (row[i] == row[truth] and i < truth))
        top += better < top_k
    expected: dict[str, float | None] = {
        "loss": -sum(math.log(max(p.scores[i, p.target[i]], 1e-7)) for i in range(n)) / n,
        "accuracy": accuracy,
        "balanced_accuracy": mean_defined(recall),
        "cohen_kappa": (accuracy - by_chance) / (1 - by_chance) if by_chance < 1 else None,
        "mcc": (n * float(right.sum()) - float((truths * guesses).sum())) / mcc_part if mcc_part else None,
        f"top_{top_k}_accuracy": top / n if top_k < k else None,
        "macro_specificity": mean_defined(specificity),
        "macro_roc_auc": mean_defined(auc),
        "macro_average_precision": mean_defined(precision_area),
    }
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        zeros = [value or 0.0 for value in values]
        expected[f"macro_{name}"] = sum(zeros) / k
        expected[f"weighted_{name}"] = sum(z * t for z, t in zip(zeros, truths, strict=True)) / n
    return expected


def mean_defined(values: list[Any]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(sum(defined) / len(defined)) if defined else None


def assert_cell(cell: dict[str, Any], expected: float | None, name: str) -> None:
    if expected is None:
        assert cell["value"] is None, name
        assert cell["reason"], name
    else:
        assert cell["value"] == pytest.approx(expected, rel=0, abs=TOLERANCE), name
        assert "reason" not in cell


@settings(max_examples=50, deadline=None)
@given(p=predictions(), top_k=st.integers(1, 4))
def test_every_headline_metric_equals_the_hand_formula(p: ClassificationPredictions, top_k: int) -> None:
    metrics = classification_metrics(p, top_k=top_k)
    expected = hand_metrics(p, top_k)
    assert set(expected) == set(metrics) - {"per_class", "confusion_matrix", "samples", *CALIBRATION}
    for name, value in expected.items():
        assert_cell(metrics[name], value, name)
    assert metrics["samples"] == len(p.target)
    json.dumps(metrics, allow_nan=False)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40, deadline=None)
@given(p=predictions())
def test_per_class_values_and_means_equal_scikit_learn(p: ClassificationPredictions) -> None:
    labels = list(range(len(p.class_names)))
    metrics = classification_metrics(p)
    by_class = sk.precision_recall_fscore_support(p.target, p.predicted, labels=labels, zero_division=np.nan)
    for column, name in enumerate(("precision", "recall", "f1")):
        for index, value in enumerate(by_class[column]):
            cell = metrics["per_class"][p.class_names[index]][name]
            assert_cell(cell, None if np.isnan(value) else value, name)
        for average in ("macro", "weighted"):
            whole = sk.precision_recall_fscore_support(
                p.target, p.predicted, labels=labels, average=average, zero_division=0
            )
            assert_cell(metrics[f"{average}_{name}"], whole[column], f"{average}_{name}")
    for index, (negatives_right, false_positive) in enumerate(
        sk.multilabel_confusion_matrix(p.target, p.predicted, labels=labels)[:, 0]
    ):
        whole_negatives = negatives_right + false_positive
        expected = negatives_right / whole_negatives if whole_negatives else None
        assert_cell(metrics["per_class"][p.class_names[index]]["specificity"], expected, "specificity")
    assert [metrics["per_class"][name]["support"]["value"] for name in p.class_names] == list(by_class[3])
    assert_cell(metrics["balanced_accuracy"], sk.balanced_accuracy_score(p.target, p.predicted), "balanced")


def test_macro_auc_equals_scikit_learn_one_versus_rest() -> None:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(6), size=200)
    p = made([*range(6), *rng.integers(0, 6, 194)], scores)
    metrics = classification_metrics(p)
    expected = sk.roc_auc_score(p.target, p.scores, multi_class="ovr", average="macro")
    assert metrics["macro_roc_auc"] == {"value": pytest.approx(expected, rel=0, abs=TOLERANCE)}
    one_hot = np.eye(6)[p.target]
    expected = sk.average_precision_score(one_hot, p.scores, average="macro")
    assert metrics["macro_average_precision"]["value"] == pytest.approx(expected, rel=0, abs=TOLERANCE)
    assert metrics["loss"]["value"] == pytest.approx(sk.log_loss(p.target, p.scores), rel=0, abs=TOLERANCE)
    assert metrics["top_3_accuracy"]["value"] == sk.top_k_accuracy_score(p.target, p.scores, k=3)


@settings(max_examples=40, deadline=None)
@given(p=predictions())
def test_what_training_monitors_are_the_same_numbers(p: ClassificationPredictions) -> None:
    metrics = classification_metrics(p)
    values = monitored(p.target, p.scores)
    assert list(values) == ["loss", "accuracy", "balanced_accuracy"]
    for name, value in values.items():
        assert value == pytest.approx(metrics[name]["value"], rel=0, abs=TOLERANCE)


def test_scores_that_are_no_numbers_make_a_loss_that_is_none() -> None:
    values = monitored(np.array([0, 1]), np.array([[np.nan, np.nan], [0.2, 0.8]]))
    assert math.isnan(values["loss"])


def test_confusion_matrix_has_the_truth_in_rows() -> None:
    scores = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    assert classification_metrics(made([0, 0, 1, 1], scores))["confusion_matrix"] == [[0, 2], [1, 1]]


def test_two_classes_with_half_and_half_scores_predict_the_first() -> None:
    metrics = classification_metrics(made([0, 1], np.full((2, 2), 0.5)), top_k=1)
    assert metrics["accuracy"] == {"value": 0.5}
    assert metrics["top_1_accuracy"] == {"value": 0.5}
    assert metrics["macro_roc_auc"] == {"value": 0.5}
    assert metrics["per_class"]["c1"]["precision"] == {"value": None, "reason": "never predicted"}
    assert metrics["macro_precision"]["value"] == 0.25
    assert metrics["macro_precision"]["note"] == "precision is undefined for c1 and counts as 0"
    assert metrics["mcc"]["value"] is None


def test_one_class_only_leaves_undefined_what_is_undefined() -> None:
    metrics = classification_metrics(made([1, 1], np.array([[0.2, 0.8], [0.0, 1.0]])))
    assert metrics["accuracy"] == {"value": 1.0}
    for name in ("cohen_kappa", "mcc", "macro_roc_auc", "top_3_accuracy"):
        assert metrics[name]["value"] is None
        assert metrics[name]["reason"]
    assert metrics["per_class"]["c1"]["specificity"]["reason"] == "every sample is of this class"
    assert metrics["per_class"]["c0"]["recall"]["reason"] == "no sample is of this class"
    assert metrics["balanced_accuracy"]["note"].endswith("without c0")


def test_a_zero_score_of_the_truth_counts_as_1e_7() -> None:
    assert classification_metrics(made([0], np.array([[0.0, 1.0]])))["loss"]["value"] == -math.log(1e-7)


def test_no_sample_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        classification_metrics(made([], np.empty((0, 2))))


def test_text_lists_every_class_and_names_the_undefined_values() -> None:
    scores = np.array([[0.8, 0.1, 0.1, 0.0], [0.7, 0.2, 0.1, 0.0], [0.1, 0.1, 0.8, 0.0]])
    text = classification_text(made([0, 1, 0], scores, names=("a", "b\nb", "c", "d")))
    head, _, line = text.strip().rpartition("\n")
    assert [row.split()[0] for row in head.splitlines() if row.strip()][1:5] == ["a", "b\\nb", "c", "d"]
    assert line == (
        "Undefined, shown as 0.000: precision (never predicted) of b\\nb, d; "
        "recall (no sample) of c, d; f1 (neither) of d."
    )
    defined = classification_text(made([0, 1], np.eye(2)))
    assert defined.endswith("Every value is defined.\n")
