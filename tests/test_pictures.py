"""Which predictions are shown, in which order, and what stands above them."""

from __future__ import annotations

import numpy as np

from cvlab.config import EvaluateConfig
from cvlab.metrics.classification_table import ClassificationPredictions
from cvlab.metrics.operating_point import choose
from cvlab.metrics.regression_table import RegressionPredictions
from cvlab.tasks.pictures import Pictures, of_classes, of_numbers


def ids(count: int) -> np.ndarray:
    return np.array([f"a/{i}" for i in range(count)], dtype=object)


def classes(target: list[int], scores: list[list[float]], names: tuple[str, ...]) -> ClassificationPredictions:
    table = np.array(scores)
    return ClassificationPredictions(
        ids(len(table)), ids(len(table)), np.array(target), table.argmax(axis=1), table, names
    )


def rows(pictures: Pictures) -> dict[str, list[int]]:
    return {gallery.name: gallery.rows.tolist() for gallery in pictures.galleries}


def test_two_classes_are_judged_at_the_operating_point() -> None:
    yes = [0.1, 0.25, 0.32, 0.9, 0.6, 0.2]
    p = classes([0, 0, 1, 1, 0, 1], [[1 - s, s] for s in yes], ("no", "yes"))
    point = choose(p, EvaluateConfig(threshold=0.2))
    shown = of_classes(p, point, one_output=False)
    # At 0.2 all but the first are `yes`; confidence is (s - 0.2) / 0.8 above it and (0.2 - s) / 0.2 below.
    assert rows(shown) == {
        "confident_right": [3, 0, 2, 5],
        "confident_wrong": [4, 1],
        "near_threshold": [5, 1, 0, 2, 4, 3],
    }
    assert shown.titles[0] == "no\n0.100"
    assert shown.titles[1] == "no\n→ yes 0.250"
    assert shown.note == "score of yes, threshold 0.200"
    assert shown.explained_names == ["no", "yes", "yes", "yes", "yes", "yes"]
    assert shown.explained is not None
    np.testing.assert_array_equal(shown.explained[:2], [[1, 0], [0, 1]])
    one = of_classes(p, point, one_output=True)
    assert one.explained is not None
    np.testing.assert_array_equal(one.explained, [[-1], [1], [1], [1], [1], [1]])


def test_the_first_of_two_classes_may_be_the_positive_one() -> None:
    p = classes([0, 1], [[0.4, 0.6], [0.1, 0.9]], ("bad", "good"))
    point = choose(p, EvaluateConfig(positive_class="bad", threshold=0.3))
    shown = of_classes(p, point, one_output=True)
    assert shown.titles == ["bad\n0.400", "good\n0.100"]
    assert rows(shown)["confident_right"] == [1, 0]
    assert rows(shown)["confident_wrong"] == []
    assert shown.explained is not None
    np.testing.assert_array_equal(shown.explained, [[-1], [1]])


def test_more_classes_are_judged_by_the_highest_score() -> None:
    p = classes([0, 1, 2], [[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]], ("a", "b", "a rather long name"))
    for point in (None, choose(p, EvaluateConfig(positive_class="b", threshold=0.2))):
        shown = of_classes(p, point, one_output=False)
        assert rows(shown) == {"confident_right": [2, 0], "confident_wrong": [1]}
        assert shown.titles == ["a\n0.500", "b\n→ a 0.600", "a rather long name\n0.800"]
    wrong = classes([0], [[0.2, 0.2, 0.6]], p.class_names)
    assert of_classes(wrong, None, one_output=False).titles == ["a\n→ a rather long n… 0.600"]


def test_equal_confidence_keeps_the_order_of_the_table() -> None:
    p = classes([0] * 4, [[1.0, 0.0]] * 4, ("no", "yes"))
    assert rows(of_classes(p, None, one_output=True))["confident_right"] == [0, 1, 2, 3]


def test_the_largest_errors_count_each_target_by_its_spread() -> None:
    target = np.array([[0.0, 0.0], [1.0, 100.0], [2.0, 200.0], [3.0, 300.0]])
    predicted = target + np.array([[0.0, 90.0], [2.0, 0.0], [0.0, 0.0], [0.1, 10.0]])
    p = RegressionPredictions(ids(4), ids(4), target, predicted, ("small", "large"))
    shown = of_numbers(p, ["a", "b", "c", "d"])
    assert rows(shown) == {"worst_errors": [1, 0, 3, 2]}
    assert shown.explained is None
    constant = RegressionPredictions(ids(4), ids(4), np.ones((4, 1)), predicted[:, :1], ("x",))
    assert rows(of_numbers(constant, ["a"] * 4))["worst_errors"] == [3, 1, 0, 2]
