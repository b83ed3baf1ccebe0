"""The part of a report that fits a classification: its tables, figures and findings."""

from __future__ import annotations

from typing import Any

import numpy as np

from cvlab.errors import RunFolderError
from cvlab.metrics.classification import (
    ClassificationPredictions,
    classification_metrics,
    classification_text,
    read_predictions,
)
from cvlab.plots import learning_curves, new_figure, save_figure
from cvlab.plots_classification import (
    bars_size,
    class_bars,
    confusion_matrix,
    curves_size,
    matrix_size,
    precision_recall_curves,
    roc_curves,
)
from cvlab.reading import SPLITS, read_curves
from cvlab.report_binary import Figure, binary_figures, binary_sections, gallery_section, read_point
from cvlab.report_record import Picture, RunRecord, TaskReport
from cvlab.report_text import block, change, md, number, table
from cvlab.report_uncertainty import uncertainty_section
from cvlab.run_folder import Json

Metrics = dict[str, Any]

LABELS = {
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "macro_roc_auc": "macro ROC AUC",
    "cohen_kappa": "Cohen's kappa",
    "mcc": "Matthews correlation",
}
NO_HEADLINE = ("per_class", "confusion_matrix", "samples")
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
    predictions = _read_splits(record)
    metrics = {split: classification_metrics(table, top_k=_top_k(record)) for split, table in predictions.items()}
    shown = "test" if "test" in predictions else "val"
    point = read_point(record, predictions)
    binary = binary_figures(point, predictions, shown)
    return TaskReport(
        sections={
            "Results": _results(metrics, shown),
            f"Results by class ({shown})": [
                _per_class(metrics[shown]),
                block(classification_text(predictions[shown]), "text"),
            ],
            **binary_sections(record, point, predictions, shown),
            "Before and after each stage": _changes(record),
            "Accuracy of the best weights": [_accuracies(metrics)],
            "Predictions to look at": gallery_section(record),
            "Uncertainty by dropout injection": uncertainty_section(record),
        },
        findings=read_curves(record.history_of_task, metrics),
        pictures=_curves(record, record.history_of_task)
        + _draw(record, predictions[shown], metrics[shown], shown, binary),
    )


def stage_results(record: RunRecord, stage: str) -> list[str]:
    """Returns what an earlier stage came to, before the run went on with another task; draws its curves."""
    paths = {split: record.run.predictions(split, moment=f"{stage}-after") for split in ("val", "test")}
    found = {split: read_predictions(path) for split, path in paths.items() if path.is_file()}
    metrics = {split: classification_metrics(table, top_k=_top_k(record)) for split, table in found.items()}
    history = [epoch for epoch in record.history if epoch["stage"] == stage]
    curves = [f"![{picture.caption}]({picture.path})" for picture in _curves(record, history, prefix=f"{stage}_")]
    return [*(_results(metrics, [*metrics][-1]) if metrics else []), *curves]


def _read_splits(record: RunRecord) -> dict[str, ClassificationPredictions]:
    paths = {split: record.run.predictions(split) for split in SPLITS}
    # Beside the run's own splits stands what `cvlab evaluate --data` added.
    added = {path.stem: path for path in sorted(paths["test"].parent.glob("[!.]*.csv")) if path.stem not in paths}
    found = {split: read_predictions(path) for split, path in {**paths, **added}.items() if path.is_file()}
    if "val" not in found and "test" not in found:
        raise RunFolderError(
            f"{paths['test']}: there are no predictions of test or val. Run `cvlab evaluate {record.run.path}` first."
        )
    return found


def _top_k(record: RunRecord) -> int:
    return int((record.config.get("evaluate") or {}).get("top_k", 3))


def _label(metric: str) -> str:
    return LABELS.get(metric, metric.replace("_", " "))


def _results(metrics: dict[str, Metrics], shown: str) -> list[str]:
    splits = [split for split in metrics if split not in ("train", "train-augmented")]
    names = [name for name in metrics[shown] if name not in NO_HEADLINE]
    rows = [[_label(name), *(number(metrics[split][name]) for split in splits)] for name in names]
    samples = ["samples", *(f"{metrics[split]['samples']:,}" for split in splits)]
    notes = [
        f"- {md(split)}, {_label(name)}: {md(note)}."
        for split in splits
        for name in names
        if (note := metrics[split][name].get("note"))
    ]
    blocks = [table(["metric", *map(md, splits)], [*rows, samples]), "\n".join(notes)]
    if shown != "test":
        blocks.insert(0, "There is no test split: classes and figures below are those of **val**.")
    return [part for part in blocks if part]


def _per_class(metrics: Metrics) -> str:
    rows = [
        [md(name), *(number(cells[metric]) for metric in PER_CLASS)] for name, cells in metrics["per_class"].items()
    ]
    return table(["class", *PER_CLASS.values()], rows)


def _accuracies(metrics: dict[str, Metrics]) -> str:
    rows = [
        [
            md(SPLITS.get(split, split)),
            number(values["accuracy"]),
            number(values["balanced_accuracy"]),
            f"{values['samples']:,}",
        ]
        for split, values in metrics.items()
    ]
    return table(["images", "accuracy", "balanced accuracy", "samples"], rows)


def _changes(record: RunRecord) -> list[str]:
    if len(record.stages_of_task) < 2:
        return []
    rows = []
    for stage in record.stages_of_task:
        for split in ("val", "test"):
            moments = _moments(record, stage, split)
            if moments is not None:
                cells = [change(moments[0][metric], moments[1][metric]) for metric in CHANGES]
                rows.append([md(stage), split, *cells])
    return [table(["stage", "split", *map(_label, CHANGES)], rows, text_columns=2)] if rows else []


def _moments(record: RunRecord, stage: str, split: str) -> tuple[Metrics, Metrics] | None:
    paths = [record.run.predictions(split, moment=f"{stage}-{moment}") for moment in ("before", "after")]
    if not all(path.is_file() for path in paths):
        return None
    before, after = map(read_predictions, paths)
    same_samples = np.array_equal(np.sort(before.sample_id), np.sort(after.sample_id))
    if not same_samples or before.class_names != after.class_names:
        raise RunFolderError(
            f"{paths[1]}: expected the same samples and classes as in {paths[0]}, or the two cannot be compared. "
            f"Run `cvlab evaluate {record.run.path}` again."
        )
    return classification_metrics(before), classification_metrics(after)


def _curves(record: RunRecord, history: list[Json], *, prefix: str = "") -> list[Picture]:
    if not history:
        return []
    stages = [str(epoch["stage"]) for epoch in history]
    best = [bool(epoch.get("best")) for epoch in history]
    pictures = []
    for metric in ("loss", "accuracy"):
        train, val = ([epoch.get(key) for epoch in history] for key in (metric, f"val_{metric}"))
        figure, ax = new_figure(9.0, 4.4, synthetic=record.synthetic)
        learning_curves(train, val, stages, best, label=metric, ax=ax)
        name = f"{prefix}curve_{metric}.png"
        save_figure(figure, record.run.plots / name)
        pictures.append(Picture(f"plots/{name}", f"{metric} by epoch"))
    return pictures


def _draw(
    record: RunRecord, p: ClassificationPredictions, metrics: Metrics, split: str, binary: dict[str, Figure]
) -> list[Picture]:
    names = p.class_names
    counts = np.array(metrics["confusion_matrix"], dtype=np.int64)
    cells = metrics["per_class"].values()
    f1 = [cell["f1"]["value"] for cell in cells]
    support = [cell["support"]["value"] for cell in cells]
    curves, matrix, bars = curves_size(names), matrix_size(len(names)), bars_size(len(names))
    figures: dict[str, Figure] = {
        "roc": ("ROC curves", curves, lambda ax: roc_curves(p.target, p.scores, names, split=split, ax=ax)),
        "precision_recall": (
            "precision-recall curves",
            curves,
            lambda ax: precision_recall_curves(p.target, p.scores, names, split=split, ax=ax),
        ),
        "confusion_counts": (
            "confusion matrix, counts",
            matrix,
            lambda ax: confusion_matrix(counts, names, rates=False, split=split, ax=ax),
        ),
        "confusion_rates": (
            "confusion matrix, share of the true class",
            matrix,
            lambda ax: confusion_matrix(counts, names, rates=True, split=split, ax=ax),
        ),
        "f1_by_class": ("F1 by class", bars, lambda ax: class_bars(f1, support, names, label="F1", split=split, ax=ax)),
    }
    figures |= binary
    for name, (_, size, draw) in figures.items():
        figure, ax = new_figure(*size, synthetic=record.synthetic)
        draw(ax)
        save_figure(figure, record.run.plots / f"{name}.png")
    return [Picture(f"plots/{name}.png", f"{caption} ({split})") for name, (caption, _, _) in figures.items()]
