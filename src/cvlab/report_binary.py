"""The part of a classification's report that is about one class against the rest, at the operating point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvlab.document import Block, Paragraph, Table
from cvlab.errors import RunFolderError, counted
from cvlab.metrics.binary import Counts, binary_metrics, over_thresholds
from cvlab.metrics.classification_table import ClassificationPredictions
from cvlab.metrics.operating_point import OperatingPoint, threshold_text
from cvlab.plots_binary import SIZE, Scored, precision_recall_with_point, roc_with_point
from cvlab.report_parts import Figure
from cvlab.report_record import RunRecord
from cvlab.report_text import code, md, number
from cvlab.run_folder import read_json

Cell = dict[str, Any]
Predictions = dict[str, ClassificationPredictions]

LABELS = {
    "sensitivity": "sensitivity (recall)",
    "specificity": "specificity",
    "ppv": "positive predictive value (precision)",
    "npv": "negative predictive value",
    "positive_likelihood_ratio": "positive likelihood ratio",
    "negative_likelihood_ratio": "negative likelihood ratio",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "prevalence": "prevalence (share of positives)",
}
OVER_THRESHOLDS = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "mcc": "MCC",
}
RULES = {
    "youden": "the largest sensitivity + specificity - 1",
    "f1": "the largest F1",
    "sensitivity": "the largest threshold that reaches this sensitivity",
    "specificity": "the smallest threshold that reaches this specificity",
}
BINARY = "binary"  # its key in metrics.json
NO_RESULTS = ("train", "train-augmented")


def read_point(record: RunRecord, predictions: Predictions) -> OperatingPoint | None:
    """Returns the operating point of a run; None where it has none.

    Raises:
        RunFolderError: The file is damaged, or does not belong to the predictions.
    """
    path = record.run.operating_point
    if not path.is_file():
        return None
    point = OperatingPoint.among(read_json(path))
    if point is None:
        return None
    for split, p in predictions.items():
        counts = Counts.at(*point.of(p), point.threshold)
        if split == point.split and any(point.values[name]["value"] != count for name, count in vars(counts).items()):
            raise RunFolderError(
                f"{path}: was chosen from other predictions than {record.run.predictions(split)} holds. "
                f"Run `cvlab evaluate {record.run.path}` again."
            )
    return point


def binary_cells(point: OperatingPoint | None, p: ClassificationPredictions) -> dict[str, Mapping[str, Cell]]:
    """Returns the binary table of some predictions under its key in metrics.json; nothing without a point."""
    return {} if point is None else {BINARY: _scored(p, point).cells}


def binary_sections(
    record: RunRecord,
    point: OperatingPoint | None,
    predictions: Predictions,
    metrics: Mapping[str, Mapping[str, Any]],
    shown: str,
) -> dict[str, list[Block]]:
    """Returns the sections on the operating point.

    Args:
        record: The run.
        point: Its operating point.
        predictions: The tables by split.
        metrics: Their metrics by split, with what `binary_cells` gives.
        shown: The split that the report is about.
    """
    if point is None:
        missing = len(predictions[shown].class_names) == 2
        hint = f"There is no operating point yet; {code(f'cvlab evaluate {record.run.path}')} chooses it on validation."
        return {"At the operating point": [Paragraph(hint)] if missing else []}
    cells = {split: metrics[split][BINARY] for split in predictions if split not in NO_RESULTS}
    rows = [[label, *(_number(of_split[name]) for of_split in cells.values())] for name, label in LABELS.items()]
    names = predictions[shown].class_names
    rest = next(name for name in names if name != point.positive_class) if len(names) == 2 else "another class"
    return {
        "At the operating point": [
            Paragraph(_sentence(point)),
            _two_by_two(cells[shown], point.positive_class, rest, shown),
            Table(["metric", *map(md, cells)], rows),
        ],
        f"Over thresholds ({shown})": [_thresholds(_scored(predictions[shown], point), point.threshold)],
    }


def binary_headline(
    point: OperatingPoint | None, metrics: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, str]]:
    """Returns what the operating point adds to the summary: label, then the value by split; nothing without one."""
    if point is None:
        return {}
    at = f"{md(point.positive_class)} at threshold {threshold_text(point.threshold)}"
    return {
        f"{name} for {at}": {split: _number(found[BINARY][name]) for split, found in metrics.items()}
        for name in ("sensitivity", "specificity")
    }


def _sentence(point: OperatingPoint) -> str:
    threshold = threshold_text(point.threshold)
    said = (
        f"**{md(point.positive_class)}** is predicted where its score is at least **{threshold}**; the other sections "
        "go by the highest score instead."
    )
    if not point.is_chosen:
        return f"{said} The configuration gives this threshold (`evaluate.threshold`); it was not fitted to any data."
    kind = next(iter(point.rule)) if isinstance(point.rule, dict) else str(point.rule)
    return (
        f"{said} This threshold was chosen on {counted(point.samples, 'sample')} of **{md(point.split)}** "
        f"by the rule {code(point.rule_text)} ({RULES[kind]}) and applied unchanged to all others."
    )


def _two_by_two(cells: Mapping[str, Cell], positive: str, rest: str, split: str) -> Table:
    tp, fp, fn, tn = (cells[name]["value"] for name in ("tp", "fp", "fn", "tn"))
    head = [f"{md(split)}: {counted(tp + fp + fn + tn, 'image')}", f"predicted {md(positive)}", f"predicted {md(rest)}"]
    rows = [
        [f"truth {md(positive)}", f"{tp:,} found (true positives)", f"{fn:,} missed (false negatives)"],
        [f"truth {md(rest)}", f"{fp:,} false alarms (false positives)", f"{tn:,} cleared (true negatives)"],
    ]
    return Table(head, rows, text_columns=3)


def _thresholds(scored: Scored, chosen: float) -> Table:
    """The table over thresholds; the chosen one is bold."""
    shown = {step / 20: f"{step / 20:.2f}" for step in range(1, 20)} | {chosen: threshold_text(chosen)}
    rows = []
    for threshold, cells in over_thresholds(scored.positive, scored.score, sorted(shown)).items():
        called = cells["tp"]["value"] + cells["fp"]["value"]
        row = [shown[threshold], *(_short(cells[name]) for name in OVER_THRESHOLDS), f"{called:,}"]
        rows.append([f"**{text}**" for text in row] if threshold == chosen else row)
    return Table(["threshold", *OVER_THRESHOLDS.values(), "predicted positive"], rows)


def _number(cell: Cell) -> str:
    infinite = cell["value"] is None and cell["reason"].startswith("infinite: ")
    return f"infinite ({md(cell['reason'].removeprefix('infinite: '))})" if infinite else number(cell)


def _short(cell: Cell) -> str:
    return "undefined" if cell["value"] is None else f"{cell['value']:.3f}"


def binary_figures(point: OperatingPoint | None, predictions: Predictions, shown: str) -> list[Figure]:
    """Returns the figures of the operating point; none without one.

    Of two classes they take the place of the curves of each class against the rest: these would show all twice.
    """
    if point is None:
        return []
    splits = [split for split in dict.fromkeys((shown, point.split)) if split in predictions]
    scored = {split: _scored(predictions[split], point) for split in splits}
    settings: dict[str, Any] = {
        "threshold": threshold_text(point.threshold),
        "positive_class": point.positive_class,
    }
    suffix = "" if len(predictions[shown].class_names) == 2 else "_operating_point"
    return [
        Figure(
            f"roc{suffix}",
            "ROC curve with the operating point",
            SIZE,
            lambda ax: roc_with_point(scored, **settings, ax=ax),
            "ROC curve: sensitivity over the rate of false alarms, with the operating point marked on it.",
        ),
        Figure(
            f"precision_recall{suffix}",
            "precision-recall curve with the operating point",
            SIZE,
            lambda ax: precision_recall_with_point(scored, **settings, ax=ax),
            "Precision over recall, with the operating point marked on the curve.",
        ),
    ]


def _scored(p: ClassificationPredictions, point: OperatingPoint) -> Scored:
    positive, score = point.of(p)
    return Scored(positive, score, binary_metrics(positive, score, threshold=point.threshold))
