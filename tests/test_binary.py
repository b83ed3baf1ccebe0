"""The binary table against scikit-learn and hand formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st

from cvlab.metrics.binary import Counts, at_threshold, binary_metrics, over_thresholds

SAMPLES = st.lists(st.tuples(st.booleans(), st.integers(0, 10)), min_size=1, max_size=40)


def arrays(samples: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Truth, and scores in tenths: many of them equal, and some equal to the threshold."""
    positive, tenths = zip(*samples, strict=True)
    return np.array(positive), np.array(tenths) / 10


def values(cells: dict[str, Any]) -> dict[str, float | None]:
    return {name: cell["value"] for name, cell in cells.items()}


@pytest.mark.slow
@given(SAMPLES, st.integers(1, 9))
def test_every_figure_equals_scikit_learn(samples: list[tuple[bool, int]], tenths: int) -> None:
    positive, score = arrays(samples)
    called = score >= tenths / 10
    found = values(binary_metrics(positive, score, threshold=tenths / 10))
    tn, fp, fn, tp = sk.confusion_matrix(positive, called, labels=[False, True]).ravel().tolist()
    assert [found[name] for name in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp]
    expected = {
        "accuracy": sk.accuracy_score(positive, called),
        "prevalence": positive.mean(),
        "sensitivity": sk.recall_score(positive, called) if tp + fn else None,
        "specificity": sk.recall_score(~positive, ~called) if tn + fp else None,
        "ppv": sk.precision_score(positive, called) if tp + fp else None,
        "npv": sk.precision_score(~positive, ~called) if tn + fn else None,
        "f1": sk.f1_score(positive, called) if tp + fp + fn else None,
        "average_precision": sk.average_precision_score(positive, score) if tp + fn else None,
    }
    both = bool(positive.any() and not positive.all())
    expected["roc_auc"] = sk.roc_auc_score(positive, score) if both else None
    expected["balanced_accuracy"] = sk.balanced_accuracy_score(positive, called) if both else None
    sure = both and 0 < called.sum() < len(called)
    expected["mcc"] = sk.matthews_corrcoef(positive, called) if sure else None
    for name, value in expected.items():
        assert found[name] == (None if value is None else pytest.approx(float(value), abs=1e-9)), name


@given(SAMPLES, st.integers(1, 9))
def test_likelihood_ratios_equal_their_formulas(samples: list[tuple[bool, int]], tenths: int) -> None:
    positive, score = arrays(samples)
    cells = binary_metrics(positive, score, threshold=tenths / 10)
    found = values(cells)
    sensitivity, specificity = found["sensitivity"], found["specificity"]
    if sensitivity is None or specificity is None:
        assert found["positive_likelihood_ratio"] is found["negative_likelihood_ratio"] is None
        return
    for name, above, below in (
        ("positive_likelihood_ratio", sensitivity, 1 - specificity),
        ("negative_likelihood_ratio", 1 - sensitivity, specificity),
    ):
        if below > 1e-12:
            assert found[name] == pytest.approx(above / below, abs=1e-9)
        else:
            assert found[name] is None
            assert cells[name]["reason"].startswith("infinite: ") is (above > 1e-12)


def test_a_published_table() -> None:
    """318 normal and 856 pneumonia films: precision .995, recall .855, F1 .920, accuracy .891."""
    cells = values(at_threshold(Counts(tp=732, fp=4, fn=124, tn=314)))
    assert round(cells["ppv"] or 0, 3) == 0.995
    assert round(cells["sensitivity"] or 0, 3) == 0.855
    assert round(cells["f1"] or 0, 2) == 0.92
    assert round(cells["accuracy"] or 0, 3) == 0.891
    assert cells["positive_likelihood_ratio"] == pytest.approx((732 / 856) / (4 / 318), abs=1e-9)
    assert cells["negative_likelihood_ratio"] == pytest.approx((124 / 856) / (314 / 318), abs=1e-9)
    ratios = sk.class_likelihood_ratios(
        np.repeat([1, 1, 0, 0], [732, 124, 4, 314]), np.repeat([1, 0, 1, 0], [732, 124, 4, 314])
    )
    assert [cells["positive_likelihood_ratio"], cells["negative_likelihood_ratio"]] == pytest.approx(ratios, abs=1e-9)
    assert cells["mcc"] == pytest.approx((732 * 314 - 4 * 124) / math.sqrt(736 * 856 * 318 * 438), abs=1e-9)


def test_a_score_at_the_threshold_is_positive() -> None:
    positive, score = np.array([True, False]), np.array([0.5, np.nextafter(0.5, 0)])
    assert Counts.at(positive, score, 0.5) == Counts(tp=1, fp=0, fn=0, tn=1)


@pytest.mark.parametrize(
    ("counts", "reasons"),
    [
        (Counts(0, 2, 0, 3), {"sensitivity": "no sample is positive", "mcc": "no sample is positive",
                              "balanced_accuracy": "no sample is positive",
                              "positive_likelihood_ratio": "no sample is positive"}),
        (Counts(2, 0, 3, 0), {"specificity": "no sample is negative", "balanced_accuracy": "no sample is negative",
                              "negative_likelihood_ratio": "no sample is negative"}),
        (Counts(0, 0, 3, 4), {"ppv": "none is predicted positive", "mcc": "none is predicted positive",
                              "positive_likelihood_ratio": "none is predicted positive"}),
        (Counts(3, 4, 0, 0), {"npv": "every sample is predicted positive", "mcc": "every sample is predicted positive",
                              "negative_likelihood_ratio": "every sample is predicted positive"}),
        (Counts(3, 0, 1, 4), {"positive_likelihood_ratio": "infinite: no false positive"}),
        (Counts(3, 4, 1, 0), {"negative_likelihood_ratio": "infinite: no true negative"}),
        (Counts(0, 0, 0, 4), {"f1": "no sample is positive and none is predicted positive"}),
    ],
)  # fmt: skip
def test_what_is_undefined_says_why(counts: Counts, reasons: dict[str, str]) -> None:
    cells = at_threshold(counts)
    for name, reason in reasons.items():
        assert cells[name] == {"value": None, "reason": reason}, name
    assert all(cell["value"] is None or math.isfinite(cell["value"]) for cell in cells.values())


def test_no_count_overflows() -> None:
    many = 10**7
    assert at_threshold(Counts(many, many, many, many))["mcc"]["value"] == 0


def test_the_table_over_thresholds_is_the_binary_table_at_each() -> None:
    rng = np.random.default_rng(0)
    positive, score = rng.random(200) < 0.3, rng.random(200)
    found = over_thresholds(positive, score, [0.25, 0.5])
    assert [*found] == [0.25, 0.5]
    for threshold, cells in found.items():
        whole = binary_metrics(positive, score, threshold=threshold)
        assert cells == {name: whole[name] for name in cells}


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        binary_metrics(np.zeros(0, dtype=bool), np.zeros(0), threshold=0.5)
