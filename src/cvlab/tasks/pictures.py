"""Which samples of a table of predictions are worth looking at, and what stands above their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cvlab.metrics.classification_table import ClassificationPredictions
from cvlab.metrics.operating_point import OperatingPoint, margins, threshold_text
from cvlab.metrics.regression_table import RegressionPredictions

# What a title shows of the name of a predicted class, so that the score behind it is never cut off.
LONGEST_NAME = 16


@dataclass(frozen=True)
class Gallery:
    """Samples that are worth looking at together.

    Attributes:
        name: Of the picture's file, without ending.
        title: What the samples have in common.
        rows: Their rows in the table of predictions, the most telling first.
    """

    name: str
    title: str
    rows: np.ndarray


@dataclass(frozen=True)
class Pictures:
    """What can be shown of the samples of a table of predictions.

    Attributes:
        sample_id: (n,) ids.
        titles: A short title for the picture of each sample: truth and prediction, perhaps on several lines.
        note: What stands in the titles.
        galleries: Which samples to look at.
        explained: What heat maps explain of each sample: (n, outputs) float32, weights in a sum over the outputs of
            the network before their activation; None where heat maps say nothing.
        explained_names: What that is, n names; empty without heat maps.
    """

    sample_id: np.ndarray
    titles: Sequence[str]
    note: str
    galleries: Sequence[Gallery]
    explained: np.ndarray | None = None
    explained_names: Sequence[str] = ()


def of_classes(p: ClassificationPredictions, point: OperatingPoint | None, *, one_output: bool) -> Pictures:
    """Shows the most confident right and wrong predictions and, of two classes, those nearest the threshold.

    Two classes are predicted by the threshold of the operating point, and confidence is the distance from it in
    shares of the way to 0 or 1. Of more classes the one with the highest score is predicted, and confidence is its
    score. Heat maps explain the logit of the predicted class.

    Args:
        p: The predictions.
        point: The operating point, if there is one.
        one_output: Whether the network has one output, of the second of two classes (a sigmoid).
    """
    predicted, score, confidence = p.predicted, p.scores.max(axis=1), p.scores.max(axis=1)
    note, near = "score of the predicted class", []
    if point is not None and len(p.class_names) == 2:
        _, score = point.of(p)
        positive = p.class_names.index(point.positive_class)
        predicted = np.where(score >= point.threshold, positive, 1 - positive)
        confidence = np.abs(margins(score, point.threshold))
        note = f"score of {_cut(point.positive_class)}, threshold {threshold_text(point.threshold)}"
        near = [_ordered("near_threshold", "Nearest the threshold", np.abs(score - point.threshold))]
    order = np.argsort(-confidence, kind="stable")
    right = (predicted == p.target)[order]
    galleries = [
        Gallery("confident_right", "Most confident right", order[right]),
        Gallery("confident_wrong", "Most confident wrong", order[~right]),
        *near,
    ]
    names = [p.class_names[index] for index in predicted]
    truths = [p.class_names[index] for index in p.target]
    titles = [_class_title(*sample) for sample in zip(truths, names, score, strict=True)]
    one_hot = np.eye(len(p.class_names), dtype=np.float32)[predicted]
    # The logit of the first class of a sigmoid is the negative of that of the second.
    explained = one_hot[:, 1:] - one_hot[:, :1] if one_output else one_hot
    return Pictures(p.sample_id, titles, note, galleries, explained, names)


def _class_title(truth: str, predicted: str, score: float) -> str:
    return f"{truth}\n" + (f"{score:.3f}" if predicted == truth else f"→ {_cut(predicted)} {score:.3f}")


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def of_numbers(p: RegressionPredictions, titles: Sequence[str]) -> Pictures:
    """Shows the largest errors: of the mean over the targets of |error| in standard deviations of the truth."""
    spread = p.target.std(axis=0)
    errors = np.abs(p.predicted - p.target) / np.where(spread > 0, spread, 1.0)
    worst = _ordered("worst_errors", "Largest errors", -errors.mean(axis=1))
    return Pictures(p.sample_id, titles, "truth → prediction", [worst])


def _ordered(name: str, title: str, key: np.ndarray) -> Gallery:
    return Gallery(name, title, np.argsort(key, kind="stable"))
