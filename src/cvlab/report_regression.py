"""The part of a report that fits a regression: its tables, figures and findings."""

from __future__ import annotations

from typing import Any

import numpy as np

from cvlab.document import Block, Paragraph, Table
from cvlab.errors import counted
from cvlab.metrics.regression import AVERAGED, MSE, RegressionPredictions, read_predictions, regression_metrics
from cvlab.plots_regression import (
    PLANE,
    SQUARE,
    WIDE,
    affect_plane,
    file_stem,
    prediction_over_truth,
    residuals_over_truth,
)
from cvlab.reading_regression import read_cautions, read_curves, read_fit
from cvlab.reading_stages import SPLITS, decimals
from cvlab.report_gallery import gallery_section
from cvlab.report_intervals import about_intervals, brackets, interval_cautions, with_stored_intervals
from cvlab.report_parts import (
    Figure,
    changes_by_stage,
    draw_curves,
    draw_figures,
    picture_blocks,
    read_after,
    read_splits,
    shown_of,
)
from cvlab.report_record import RunRecord, TaskReport, TaskSummary
from cvlab.report_text import md, number
from cvlab.report_uncertainty import uncertainty_section
from cvlab.text import printable

Metrics = dict[str, Any]
Cell = dict[str, Any]

LABELS = {"rmse": "RMSE", "mae": "MAE", "corr": "CORR", "sagr": "SAGR", "ccc": "CCC", "r2": "R²"}
EXPLAINED = (
    "CORR is Pearson's correlation, SAGR the share of samples whose sign is right, CCC the concordance of Lin 1989, "
    "R² the coefficient of determination (0 for always saying the mean)."
)
HEADLINE = ("rmse", "mae", "corr", "ccc", "r2")
CHANGES = ("rmse", "mae", "corr", "ccc")
CURVES = {"loss": "loss", "rmse": "RMSE", "ccc": "CCC"}
AFFECT = ("valence", "arousal")


def build(record: RunRecord) -> TaskReport:
    """Draws the figures into the run folder and returns tables, findings and pictures.

    Raises:
        RunFolderError: There are predictions neither of test nor of val, or a table is damaged.
    """
    predictions = read_splits(record, read_predictions)
    loss = record.task.get("loss", MSE)
    computed = {split: regression_metrics(table, loss=loss) for split, table in predictions.items()}
    metrics = with_stored_intervals(record, computed)
    shown = shown_of(predictions)
    p = predictions[shown]
    drawn = draw_figures(record, [*_plane(p, shown), *_of_targets(p, metrics[shown], shown)], split=shown)
    return TaskReport(
        sections={
            "Results": [
                *_results(metrics, shown, loss=loss["name"]),
                *about_intervals(record, metrics, {"loss": "loss", **LABELS}),
            ],
            f"Results by target ({shown})": [_per_target(metrics[shown])],
            "Error of the best weights": [_errors(metrics)],
            "Before and after each stage": _changes(record),
            f"Predictions and truth ({shown})": picture_blocks(drawn),
            "Predictions to look at": gallery_section(record),
            "Uncertainty by dropout injection": uncertainty_section(record),
        },
        curves=draw_curves(record, CURVES),
        findings=read_curves(record.history_of_task, metrics),
        summary=TaskSummary(
            headline=_headline(metrics),
            baseline=f"Always saying the mean of the truth would reach R² 0, and CORR and CCC 0.{brackets(metrics)}",
            fit=read_fit(metrics),
            cautions=[*read_cautions(record.history_of_task, metrics), *interval_cautions(metrics)],
        ),
    )


def stage_results(record: RunRecord, stage: str) -> list[Block]:
    """Returns what an earlier stage came to, before the run went on with another task; draws its curves."""
    loss = record.tasks[stage].get("loss", MSE)
    tables = read_after(record, stage, read_predictions)
    computed = {split: regression_metrics(table, loss=loss) for split, table in tables.items()}
    metrics = with_stored_intervals(record, computed, moment=f"{stage}-after")
    results = _results(metrics, shown_of(metrics), loss=loss["name"]) if metrics else []
    return [*results, *picture_blocks(draw_curves(record, CURVES, stage=stage))]


def _number(cell: Cell) -> str:
    return number(cell, decimals)


def _held_out(metrics: dict[str, Metrics]) -> list[str]:
    return [split for split in metrics if split not in ("train", "train-augmented")]


def _headline(metrics: dict[str, Metrics]) -> Table:
    splits = _held_out(metrics)
    rows = [[LABELS[name], *(_number(metrics[split][name]) for split in splits)] for name in HEADLINE]
    samples = ["samples", *(f"{metrics[split]['samples']:,}" for split in splits)]
    return Table(["metric", *map(md, splits)], [*rows, samples])


def _results(metrics: dict[str, Metrics], shown: str, *, loss: str) -> list[Block]:
    splits = _held_out(metrics)
    labels = {"loss": f"loss ({loss})", **LABELS}
    rows = [[label, *(_number(metrics[split][name]) for split in splits)] for name, label in labels.items()]
    samples = ["samples", *(f"{metrics[split]['samples']:,}" for split in splits)]
    targets = metrics[shown]["per_target"]
    means = f"Means over {counted(len(targets), 'target')}: {md(', '.join(targets))}. " if len(targets) > 1 else ""
    missing = "There is no test split: targets and figures below are those of **val**."
    return [
        *([Paragraph(missing)] if "test" not in metrics else []),
        Table(["metric", *map(md, splits)], [*rows, samples]),
        Paragraph(f"{means}{EXPLAINED}"),
    ]


def _per_target(metrics: Metrics) -> Table:
    rows = []
    for name, cells in metrics["per_target"].items():
        spreads = [f"{_plain(cells[f'{of}_mean'])} ± {_plain(cells[f'{of}_std'])}" for of in ("truth", "predicted")]
        error = cells["rmse_standard_error"]["value"]
        rmse = _number(cells["rmse"]) + ("" if error is None or "low" in cells["rmse"] else f" ± {decimals(error)}")
        rows.append([md(name), rmse, *(_number(cells[metric]) for metric in AVERAGED if metric != "rmse"), *spreads])
    others = [label for metric, label in LABELS.items() if metric != "rmse"]
    spread = "" if all("low" in cells["rmse"] for cells in metrics["per_target"].values()) else " ± standard error"
    return Table(["target", f"RMSE{spread}", *others, "truth (mean ± sd)", "prediction (mean ± sd)"], rows)


def _plain(cell: Cell) -> str:
    """The value alone."""
    return _number({key: cell[key] for key in ("value", "reason") if key in cell})


def _errors(metrics: dict[str, Metrics]) -> Table:
    rows = [
        [md(SPLITS.get(split, split)), _number(values["rmse"]), _number(values["ccc"]), f"{values['samples']:,}"]
        for split, values in metrics.items()
    ]
    return Table(["images", "RMSE", "CCC", "samples"], rows)


def _changes(record: RunRecord) -> list[Block]:
    def cells(before: RegressionPredictions, after: RegressionPredictions) -> list[str]:
        metrics = [regression_metrics(p) for p in (before, after)]
        return [_change(*(of[name] for of in metrics)) for name in CHANGES]

    rows = changes_by_stage(record, read_predictions, cells, same=lambda p: p.target_names, named="samples and targets")
    return [Table(["stage", "split", *(LABELS[metric] for metric in CHANGES)], rows, text_columns=2)] if rows else []


def _change(before: Cell, after: Cell) -> str:
    shown = f"{_number(before)} → {_number(after)}"
    if before["value"] is None or after["value"] is None:
        return shown
    return f"{shown} ({decimals(after['value'] - before['value'], sign='+')})"


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
        Figure(
            "valence_arousal",
            "valence and arousal",
            PLANE,
            lambda ax: affect_plane(truth, predicted, split=split, ax=ax),
            "The plane of valence (across) and arousal (up): the truth of each sample and what was predicted.",
        )
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
        Figure(
            f"prediction_{stem}",
            f"{md(name)}, prediction over truth",
            SQUARE,
            lambda ax: prediction_over_truth(truth, predicted, name=name, facts=facts, split=split, ax=ax),
            f"Scatter plot of the prediction of {printable(name)} over its truth, with the line of equality: {facts}.",
        ),
        Figure(
            f"residuals_{stem}",
            f"{md(name)}, residuals",
            WIDE,
            lambda ax: residuals_over_truth(truth, predicted, name=name, split=split, ax=ax),
            f"Prediction less truth of {printable(name)}, over the truth.",
        ),
    ]


def _short(cell: Cell) -> str:
    return "undefined" if cell["value"] is None else decimals(cell["value"])
