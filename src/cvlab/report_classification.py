"""The part of a report that fits a classification: its tables, figures and findings."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from cvlab.document import Block, Bullets, Code, Paragraph, Table
from cvlab.metrics.calibration import CALIBRATION
from cvlab.metrics.classification import (
    ClassificationPredictions,
    classification_metrics,
    classification_text,
    read_predictions,
)
from cvlab.metrics.intervals import INTERVALS
from cvlab.metrics.temperature import CALIBRATED
from cvlab.plots_classification import (
    bars_size,
    class_bars,
    confusion_matrix,
    curves_size,
    matrix_size,
    precision_recall_curves,
    roc_curves,
)
from cvlab.reading import read_cautions, read_curves, read_fit
from cvlab.reading_stages import SPLITS
from cvlab.report_binary import (
    BINARY,
    binary_cells,
    binary_figures,
    binary_headline,
    binary_sections,
    read_point,
)
from cvlab.report_calibration import calibrated_of, calibration_section, read_temperature
from cvlab.report_gallery import gallery_section
from cvlab.report_intervals import about_intervals, brackets, interval_cautions, with_stored_intervals
from cvlab.report_parts import (
    Figure,
    changes_by_stage,
    draw_curves,
    draw_named,
    picture_blocks,
    read_after,
    read_splits,
    shown_of,
)
from cvlab.report_record import RunRecord, TaskReport, TaskSummary
from cvlab.report_text import change, md, number
from cvlab.report_uncertainty import uncertainty_section

Metrics = dict[str, Any]

LABELS = {
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "macro_roc_auc": "macro ROC AUC",
    "cohen_kappa": "Cohen's kappa",
    "mcc": "Matthews correlation",
}
CURVES = {"loss": "loss", "accuracy": "accuracy"}
HEADLINE = ("accuracy", "balanced_accuracy", "macro_f1", "macro_roc_auc")
NOT_METRICS = ("per_class", "confusion_matrix", "samples", BINARY, CALIBRATED, INTERVALS, *CALIBRATION)
CHANGES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_roc_auc", "cohen_kappa")
PER_CLASS = {
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "support": "samples",
}


def build(record: RunRecord) -> TaskReport:
    """Draws the figures into the run folder and returns tables, findings and pictures.

    Raises:
        RunFolderError: There are predictions neither of test nor of val, or a table is damaged.
    """
    predictions = read_splits(record, read_predictions)
    point = read_point(record, predictions)
    temperature = read_temperature(record, predictions)
    computed = {
        split: _metrics(record, table) | binary_cells(point, table) | calibrated_of(temperature, table)
        for split, table in predictions.items()
    }
    metrics = with_stored_intervals(record, computed)
    shown = shown_of(predictions)
    # Those of the operating point take the place of others of the same name.
    figures = {
        figure.stem: figure
        for figure in (*_figures(predictions[shown], metrics[shown], shown), *binary_figures(point, predictions, shown))
    }
    drawn = partial(draw_named, record, figures, split=shown)
    return TaskReport(
        sections={
            "Results": [*_results(metrics, shown), *about_intervals(record, metrics, _labels(metrics[shown]))],
            f"Results by class ({shown})": [
                _per_class(metrics[shown]),
                *drawn("f1_by_class"),
                Code(classification_text(predictions[shown]), "text"),
            ],
            "Accuracy of the best weights": [_accuracies(metrics)],
            "Before and after each stage": _changes(record),
            f"ROC ({shown})": drawn("roc", "roc_operating_point"),
            f"Precision and recall ({shown})": drawn("precision_recall", "precision_recall_operating_point"),
            f"Confusion matrix ({shown})": drawn("confusion_counts", "confusion_rates"),
            **binary_sections(record, point, predictions, metrics, shown),
            "Calibration": calibration_section(
                record,
                predictions,
                metrics,
                shown,
                temperature=temperature,
                positive=point.positive_class if point else None,
            ),
            "Predictions to look at": gallery_section(record),
            "Uncertainty by dropout injection": uncertainty_section(record),
        },
        curves=draw_curves(record, CURVES),
        findings=read_curves(record.history_of_task, metrics),
        summary=TaskSummary(
            headline=_headline(metrics, binary_headline(point, metrics)),
            baseline=f"{_baseline(metrics[shown], shown)}{brackets(metrics)}",
            fit=read_fit(metrics),
            cautions=[*read_cautions(record.history_of_task, metrics), *interval_cautions(metrics)],
        ),
    )


def stage_results(record: RunRecord, stage: str) -> list[Block]:
    """Returns what an earlier stage came to, before the run went on with another task; draws its curves."""
    tables = read_after(record, stage, read_predictions)
    computed = {split: _metrics(record, table) for split, table in tables.items()}
    metrics = with_stored_intervals(record, computed, moment=f"{stage}-after")
    results = _results(metrics, shown_of(metrics)) if metrics else []
    return [*results, *picture_blocks(draw_curves(record, CURVES, stage=stage))]


def _metrics(record: RunRecord, p: ClassificationPredictions) -> Metrics:
    return classification_metrics(p, top_k=int((record.config.get("evaluate") or {}).get("top_k", 3)))


def _label(metric: str) -> str:
    return LABELS.get(metric, metric.replace("_", " "))


def _labels(metrics: Metrics) -> dict[str, str]:
    return {name: _label(name) for name in metrics if name not in NOT_METRICS}


def _held_out(metrics: dict[str, Metrics]) -> list[str]:
    return [split for split in metrics if split not in ("train", "train-augmented")]


def _headline(metrics: dict[str, Metrics], at_point: dict[str, dict[str, str]]) -> Table:
    """The metrics of the summary; `at_point` are rows that the operating point adds."""
    splits = _held_out(metrics)
    rows = [[_label(name), *(number(metrics[split][name]) for split in splits)] for name in HEADLINE]
    rows += [[label, *(cells[split] for split in splits)] for label, cells in at_point.items()]
    samples = ["samples", *(f"{metrics[split]['samples']:,}" for split in splits)]
    return Table(["metric", *map(md, splits)], [*rows, samples])


def _baseline(metrics: Metrics, split: str) -> str:
    supports = {name: cells["support"]["value"] for name, cells in metrics["per_class"].items()}
    largest = max(supports, key=lambda name: supports[name])
    present = sum(support > 0 for support in supports.values())
    return (
        f"Always naming the largest class (**{md(largest)}**) would reach accuracy "
        f"{supports[largest] / metrics['samples']:.3f} on {md(split)}, and balanced accuracy {1 / present:.3f}."
    )


def _results(metrics: dict[str, Metrics], shown: str) -> list[Block]:
    splits = _held_out(metrics)
    labels = _labels(metrics[shown])
    rows = [[label, *(number(metrics[split][name]) for split in splits)] for name, label in labels.items()]
    samples = ["samples", *(f"{metrics[split]['samples']:,}" for split in splits)]
    notes = [
        f"{split}, {label}: {note}."
        for split in splits
        for name, label in labels.items()
        if (note := metrics[split][name].get("note"))
    ]
    missing = "There is no test split: classes and figures below are those of **val**."
    return [
        *([Paragraph(missing)] if shown != "test" else []),
        Table(["metric", *map(md, splits)], [*rows, samples]),
        *([Bullets(notes)] if notes else []),
    ]


def _per_class(metrics: Metrics) -> Table:
    rows = [
        [md(name), *(number(cells[metric]) for metric in PER_CLASS)] for name, cells in metrics["per_class"].items()
    ]
    return Table(["class", *PER_CLASS.values()], rows)


def _accuracies(metrics: dict[str, Metrics]) -> Table:
    rows = [
        [
            md(SPLITS.get(split, split)),
            number(values["accuracy"]),
            number(values["balanced_accuracy"]),
            f"{values['samples']:,}",
        ]
        for split, values in metrics.items()
    ]
    return Table(["images", "accuracy", "balanced accuracy", "samples"], rows)


def _changes(record: RunRecord) -> list[Block]:
    def cells(before: ClassificationPredictions, after: ClassificationPredictions) -> list[str]:
        metrics = [classification_metrics(p) for p in (before, after)]
        return [change(*(of[name] for of in metrics)) for name in CHANGES]

    rows = changes_by_stage(record, read_predictions, cells, same=lambda p: p.class_names, named="samples and classes")
    return [Table(["stage", "split", *map(_label, CHANGES)], rows, text_columns=2)] if rows else []


def _figures(p: ClassificationPredictions, metrics: Metrics, split: str) -> list[Figure]:
    names = p.class_names
    counts = np.array(metrics["confusion_matrix"], dtype=np.int64)
    cells = metrics["per_class"].values()
    f1 = [cell["f1"]["value"] for cell in cells]
    support = [cell["support"]["value"] for cell in cells]
    curves, matrix, bars = curves_size(names), matrix_size(len(names)), bars_size(len(names))
    return [
        Figure(
            "roc",
            "ROC curves",
            curves,
            lambda ax: roc_curves(p.target, p.scores, names, split=split, ax=ax),
            "ROC curves, each class against the rest: true over false positive rate; the areas stand in the legend.",
        ),
        Figure(
            "precision_recall",
            "precision-recall curves",
            curves,
            lambda ax: precision_recall_curves(p.target, p.scores, names, split=split, ax=ax),
            "Precision over recall, each class against the rest; average precision and chance stand in the legend.",
        ),
        Figure(
            "confusion_counts",
            "confusion matrix, counts",
            matrix,
            lambda ax: confusion_matrix(counts, names, rates=False, split=split, ax=ax),
            "Table of colours: the truth by row, what was predicted by column, with the number of samples.",
        ),
        Figure(
            "confusion_rates",
            "confusion matrix, share of the true class",
            matrix,
            lambda ax: confusion_matrix(counts, names, rates=True, split=split, ax=ax),
            "Table of colours: the truth by row, what was predicted by column, with the share of the row.",
        ),
        Figure(
            "f1_by_class",
            "F1 by class",
            bars,
            lambda ax: class_bars(f1, support, names, label="F1", split=split, ax=ax),
            "A bar for the F1 of each class, the best at the top, with its number of samples.",
        ),
    ]
