"""The part of a report that fits a regression: its tables, figures and findings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from cvlab.errors import RunFolderError, counted
from cvlab.metrics.regression import AVERAGED, MSE, RegressionPredictions, read_predictions, regression_metrics
from cvlab.plots import learning_curves, new_figure, save_figure
from cvlab.plots_regression import (
    PLANE,
    SQUARE,
    WIDE,
    affect_plane,
    file_stem,
    prediction_over_truth,
    residuals_over_truth,
)
from cvlab.reading_regression import read_curves
from cvlab.reading_stages import SPLITS, decimals
from cvlab.report_record import Picture, RunRecord, TaskReport
from cvlab.report_text import md, number, table
from cvlab.report_uncertainty import uncertainty_section
from cvlab.run_folder import Json

Metrics = dict[str, Any]
Cell = dict[str, Any]
Figure = tuple[str, str, tuple[float, float], Callable[[Axes], Axes]]

LABELS = {"rmse": "RMSE", "mae": "MAE", "corr": "CORR", "sagr": "SAGR", "ccc": "CCC", "r2": "R²"}
EXPLAINED = (
    "CORR is Pearson's correlation, SAGR the share of samples whose sign is right, CCC the concordance of Lin 1989, "
    "R² the coefficient of determination (0 for always saying the mean)."
)
CHANGES = ("rmse", "mae", "corr", "ccc")
CURVES = {"loss": "loss", "rmse": "RMSE", "ccc": "CCC"}
AFFECT = ("valence", "arousal")


def build(record: RunRecord) -> TaskReport:
    """Draws the figures into the run folder and returns tables, findings and pictures.

    Raises:
        RunFolderError: There are predictions neither of test nor of val, or a table is damaged.
    """
    predictions = _read_splits(record)
    loss = record.task.get("loss", MSE)
    metrics = {split: regression_metrics(table, loss=loss) for split, table in predictions.items()}
    shown = "test" if "test" in predictions else "val"
    history = record.history_of_task
    return TaskReport(
        sections={
            "Results": _results(metrics, shown, loss=loss["name"]),
            f"Results by target ({shown})": [_per_target(metrics[shown])],
            "Before and after each stage": _changes(record),
            "Error of the best weights": [_errors(metrics)],
            "Uncertainty by dropout injection": uncertainty_section(record),
        },
        findings=read_curves(history, metrics),
        pictures=_curves(record, history) + _draw(record, predictions[shown], metrics[shown], shown),
    )


def stage_results(record: RunRecord, stage: str) -> list[str]:
    """Returns what an earlier stage came to, before the run went on with another task; draws its curves."""
    loss = record.tasks[stage].get("loss", MSE)
    paths = {split: record.run.predictions(split, moment=f"{stage}-after") for split in ("test", "val")}
    found = {split: read_predictions(path) for split, path in paths.items() if path.is_file()}
    metrics = {split: regression_metrics(table, loss=loss) for split, table in found.items()}
    history = [epoch for epoch in record.history if str(epoch["stage"]) == stage]
    curves = [f"![{picture.caption}]({picture.path})" for picture in _curves(record, history, prefix=f"{stage}_")]
    return [*(_results(metrics, next(iter(metrics)), loss=loss["name"]) if metrics else []), *curves]


def _read_splits(record: RunRecord) -> dict[str, RegressionPredictions]:
    paths = {split: record.run.predictions(split) for split in SPLITS}
    # Beside the run's own splits stands what `cvlab evaluate --data` added.
    added = {path.stem: path for path in sorted(paths["test"].parent.glob("[!.]*.csv")) if path.stem not in paths}
    found = {split: read_predictions(path) for split, path in {**paths, **added}.items() if path.is_file()}
    if "val" not in found and "test" not in found:
        raise RunFolderError(
            f"{paths['test']}: there are no predictions of test or val. Run `cvlab evaluate {record.run.path}` first."
        )
    return found


def _number(cell: Cell) -> str:
    return number(cell) if cell["value"] is None else decimals(cell["value"])


def _results(metrics: dict[str, Metrics], shown: str, *, loss: str) -> list[str]:
    splits = [split for split in metrics if split not in ("train", "train-augmented")]
    labels = {"loss": f"loss ({loss})", **LABELS}
    rows = [[label, *(_number(metrics[split][name]) for split in splits)] for name, label in labels.items()]
    samples = ["samples", *(f"{metrics[split]['samples']:,}" for split in splits)]
    targets = metrics[shown]["per_target"]
    means = f"Means over {counted(len(targets), 'target')}: {md(', '.join(targets))}. " if len(targets) > 1 else ""
    blocks = [table(["metric", *map(md, splits)], [*rows, samples]), f"{means}{EXPLAINED}"]
    if "test" not in metrics:
        blocks.insert(0, "There is no test split: targets and figures below are those of **val**.")
    return blocks


def _per_target(metrics: Metrics) -> str:
    rows = []
    for name, cells in metrics["per_target"].items():
        error = cells["rmse_standard_error"]["value"]
        rmse = _number(cells["rmse"]) + ("" if error is None else f" ± {decimals(error)}")
        spreads = [f"{_number(cells[f'{of}_mean'])} ± {_number(cells[f'{of}_std'])}" for of in ("truth", "predicted")]
        rows.append([md(name), rmse, *(_number(cells[metric]) for metric in AVERAGED if metric != "rmse"), *spreads])
    others = [label for metric, label in LABELS.items() if metric != "rmse"]
    return table(["target", "RMSE ± standard error", *others, "truth (mean ± sd)", "prediction (mean ± sd)"], rows)


def _errors(metrics: dict[str, Metrics]) -> str:
    rows = [
        [md(SPLITS.get(split, split)), _number(values["rmse"]), _number(values["ccc"]), f"{values['samples']:,}"]
        for split, values in metrics.items()
    ]
    return table(["images", "RMSE", "CCC", "samples"], rows)


def _changes(record: RunRecord) -> list[str]:
    if len(record.stages_of_task) < 2:
        return []
    rows = []
    for stage in record.stages_of_task:
        for split in ("val", "test"):
            moments = _moments(record, stage, split)
            if moments is not None:
                cells = [_change(moments[0][metric], moments[1][metric]) for metric in CHANGES]
                rows.append([md(stage), split, *cells])
    return [table(["stage", "split", *(LABELS[metric] for metric in CHANGES)], rows, text_columns=2)] if rows else []


def _change(before: Cell, after: Cell) -> str:
    shown = f"{_number(before)} → {_number(after)}"
    if before["value"] is None or after["value"] is None:
        return shown
    return f"{shown} ({decimals(after['value'] - before['value'], sign='+')})"


def _moments(record: RunRecord, stage: str, split: str) -> tuple[Metrics, Metrics] | None:
    paths = [record.run.predictions(split, moment=f"{stage}-{moment}") for moment in ("before", "after")]
    if not all(path.is_file() for path in paths):
        return None
    before, after = map(read_predictions, paths)
    same_samples = np.array_equal(np.sort(before.sample_id), np.sort(after.sample_id))
    if not same_samples or before.target_names != after.target_names:
        raise RunFolderError(
            f"{paths[1]}: expected the same samples and targets as in {paths[0]}, or the two cannot be compared. "
            f"Run `cvlab evaluate {record.run.path}` again."
        )
    return regression_metrics(before), regression_metrics(after)


def _curves(record: RunRecord, history: list[Json], *, prefix: str = "") -> list[Picture]:
    if not history:
        return []
    stages = [str(epoch["stage"]) for epoch in history]
    best = [bool(epoch.get("best")) for epoch in history]
    pictures = []
    for metric, label in CURVES.items():
        train, val = ([epoch.get(key) for epoch in history] for key in (metric, f"val_{metric}"))
        figure, ax = new_figure(9.0, 4.4, synthetic=record.synthetic)
        learning_curves(train, val, stages, best, label=label, ax=ax)
        name = f"{prefix}curve_{metric}.png"
        save_figure(figure, record.run.plots / name)
        pictures.append(Picture(f"plots/{name}", f"{label} by epoch"))
    return pictures


def _draw(record: RunRecord, p: RegressionPredictions, metrics: Metrics, split: str) -> list[Picture]:
    pictures = []
    for stem, caption, size, draw in [*_plane(p, split), *_of_targets(p, metrics, split)]:
        figure, ax = new_figure(*size, synthetic=record.synthetic)
        draw(ax)
        save_figure(figure, record.run.plots / f"{stem}.png")
        pictures.append(Picture(f"plots/{stem}.png", f"{caption} ({split})"))
    return pictures


def _plane(p: RegressionPredictions, split: str) -> list[Figure]:
    """The figure of targets called valence and arousal, if there are any in -1..1."""
    place = {name.casefold(): index for index, name in enumerate(p.target_names)}
    if not all(name in place for name in AFFECT):
        return []
    columns = [place[name] for name in AFFECT]
    truth, predicted = p.target[:, columns], p.predicted[:, columns]
    if np.abs(truth).max() > 1:
        return []
    return [
        ("valence_arousal", "valence and arousal", PLANE, lambda ax: affect_plane(truth, predicted, split=split, ax=ax))
    ]


def _of_targets(p: RegressionPredictions, metrics: Metrics, split: str) -> list[Figure]:
    figures: list[Figure] = []
    for index, name in enumerate(p.target_names):
        figures += _of_target(
            name, file_stem(index + 1, name), p.target[:, index], p.predicted[:, index], metrics, split
        )
    return figures


def _of_target(
    name: str, stem: str, truth: np.ndarray, predicted: np.ndarray, metrics: Metrics, split: str
) -> list[Figure]:
    cells = metrics["per_target"][name]
    values = [f"{LABELS[metric]} {_short(cells[metric])}" for metric in ("rmse", "corr", "ccc")]
    facts = " · ".join([*values, counted(len(truth), "sample")])
    return [
        (
            f"prediction_{stem}",
            f"{md(name)}, prediction over truth",
            SQUARE,
            lambda ax: prediction_over_truth(truth, predicted, name=name, facts=facts, split=split, ax=ax),
        ),
        (
            f"residuals_{stem}",
            f"{md(name)}, residuals",
            WIDE,
            lambda ax: residuals_over_truth(truth, predicted, name=name, split=split, ax=ax),
        ),
    ]


def _short(cell: Cell) -> str:
    return "undefined" if cell["value"] is None else decimals(cell["value"])
