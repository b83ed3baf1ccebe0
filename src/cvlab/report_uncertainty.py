"""The part of a report that is about uncertainty: what dropout injection found, from the files of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes

from cvlab.document import Block, Bullets, Paragraph, Picture, Pictures, Table
from cvlab.errors import RunFolderError, counted
from cvlab.metrics.classification import read_predictions as read_classes
from cvlab.metrics.regression import read_predictions as read_numbers
from cvlab.metrics.regression import regression_metrics
from cvlab.metrics.segmentation import read_predictions as read_masks
from cvlab.metrics.uncertainty import INJECTION, LEVELS, entropy, observed_coverage, risk_coverage, risk_coverage_area
from cvlab.metrics.uncertainty_metrics import class_risk, dice_cells, mask_risk, score_cells, uncertainty_metrics
from cvlab.metrics.uncertainty_table import ClassUncertainty, MaskUncertainty, RegressionUncertainty, UncertaintyTable
from cvlab.plots_regression import file_stem
from cvlab.plots_uncertainty import (
    SQUARE,
    WIDE,
    Curve,
    coverage_of_intervals,
    entropy_of_right_and_wrong,
    risk_coverage_curves,
)
from cvlab.reading_stages import decimals
from cvlab.report_parts import Figure, Predictions, Read, draw_figures
from cvlab.report_record import RunRecord
from cvlab.report_text import code, md, number
from cvlab.run_folder import Json, read_json

Cell = dict[str, Any]
Plain = TypeVar("Plain", bound=Predictions)

SPLITS = ("val", "test")
INJECTED, TRAINED = "dropout injected", "as trained"
CHOSEN = ("layers", "samples", "rule", "injected", "split", "rate")
FITTED = {"regression": {"scale"}, "segmentation": {"threshold"}}
MOST_LAYERS = 6
CLASS_LABELS = {
    "accuracy": "accuracy",
    "nll": "negative log-likelihood",
    "ece": "expected calibration error (ECE)",
    "entropy": "mean predictive entropy (nats)",
    "mutual_information": "mean mutual information (nats)",
    "aurc": "area under risk over coverage (AURC)",
}
NUMBER_LABELS = {
    "rmse": "RMSE",
    "deviation": "mean standard deviation",
    "nll": "NLL",
    "calibration_error": "calibration error",
    "aurc": "AURC",
}
MASK_LABELS = {
    "dice_all": "Dice, mean over all images",
    "dice_nonempty": "Dice, mean over images with a true mask",
    "dice_pooled": "Dice, pooled over all pixels",
    **{name: label for name, label in CLASS_LABELS.items() if name != "accuracy"},
}
ABOUT_CLASSES = (
    "Entropy is that of the mean scores, mutual information how much the passes disagree. ECE has 15 bins of the "
    "highest score (of two classes: of that of the second). For AURC the samples are kept from the least entropy on, "
    "and the risk is the share of wrong ones."
)
ABOUT_NUMBERS = (
    "RMSE is that of the network as trained, then of the mean of the passes. NLL is 0.5 ln s² + 0.5 (y - m)² / s², the "
    "calibration error the mean difference between expected and observed coverage of Gaussian intervals at the levels "
    "0, 0.1, ... 1. For AURC the samples are kept from the least variance on, and the risk is the mean absolute error."
)
ABOUT_MASKS = (
    "A pixel is predicted where the mean of the passes is at least **{threshold:g}** (`evaluate.threshold`, applied to "
    "these means). NLL, ECE (15 bins of the probability), entropy and mutual information are over all pixels, "
    "most of them background. For both AURC the images are kept from the least mean entropy of the passes on, and the "
    "risk is 1 - Dice of an image: an order that says nothing has 1 - the mean Dice over all images."
)


def uncertainty_section(record: RunRecord) -> list[Block]:
    """Draws the figures on uncertainty and returns the section's blocks; none without dropout injection.

    Raises:
        RunFolderError: A table is damaged, or speaks of other samples than the predictions.
    """
    if not (record.config.get("evaluate") or {}).get(INJECTION):
        return []
    chosen = _chosen(record)
    paths = _tables(record)
    if chosen is None or (chosen["rate"] is not None and not paths):
        missing = f"There are no uncertainties yet; {code(f'cvlab evaluate {record.run.path}')} finds them."
        return [Paragraph(missing)]
    if chosen["rate"] is None:
        return [Paragraph(f"There are no uncertainties: {md(chosen['reason'])}."), *_grid(chosen)]
    parts = {"classification": _of_classes, "regression": _of_numbers}
    part = parts.get(str(record.task["name"]), _of_masks)
    return [Paragraph(_sentence(chosen)), *part(record, paths, chosen), *_grid(chosen)]


def _chosen(record: RunRecord) -> Json | None:
    path = record.run.operating_point
    stored = read_json(path) if path.is_file() else {}
    chosen: Json | None = stored.get(INJECTION) if isinstance(stored, dict) else None
    needed = {*CHOSEN, "reason" if chosen and chosen.get("rate") is None else "rate"}
    if chosen and chosen.get("rate") is not None:
        needed |= FITTED.get(str(record.task.get("name")), set())
    if chosen is not None and not needed <= {*chosen}:
        raise RunFolderError(
            f"{path}: '{INJECTION}' is damaged: expected {', '.join(sorted(needed))}. "
            f"`cvlab evaluate {record.run.path}` writes the file anew."
        )
    return chosen


def _tables(record: RunRecord) -> dict[str, Path]:
    """The tables of uncertainties: validation, test, and other data."""
    found = {path.stem: path for path in sorted(record.run.uncertainty("test").parent.glob("[!.]*.csv"))}
    return {name: found[name] for name in sorted(found, key=lambda name: (name not in SPLITS, name == "test", name))}


def _shown(paths: Mapping[str, Path]) -> str:
    return next(split for split in ("test", "val", *paths) if split in paths)


def _sentence(chosen: Json) -> str:
    layers = chosen["injected"]
    more = f" and {len(layers) - MOST_LAYERS} more" if len(layers) > MOST_LAYERS else ""
    named = ", ".join(map(code, layers[:MOST_LAYERS]))
    where = f"in front of {counted(len(layers), 'layer')} of the trained network ({named}{more})"
    how = "given by the configuration"
    if chosen["rule"] == "auto":
        how = f"the lowest negative log-likelihood on **{md(chosen['split'])}**"
    return (
        f"Dropout was injected {where}, and each image predicted {chosen['samples']} times (Ledda, Fumera & Roli "
        f"2023). The rate is **{chosen['rate']:g}**, {how}. All other sections are about the network as it was trained."
    )


def _grid(chosen: Json) -> list[Block]:
    """The negative log-likelihood at each rate that was tried; the chosen one is bold."""
    rows = []
    for tried in chosen.get("nll", []):
        # The rates differ by little: three decimals would make them equal.
        row = [f"{tried['rate']:g}", number(tried) if tried["value"] is None else f"{tried['value']:#.4g}"]
        rows.append([f"**{text}**" for text in row] if tried["rate"] == chosen["rate"] else row)
    return [Table(["rate", f"negative log-likelihood ({md(chosen['split'])})"], rows)] if rows else []


def _number(cell: Cell) -> str:
    return number(cell) if cell["value"] is None else decimals(cell["value"])


def _notes(metrics: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    notes = [f"{where}, AURC: {note}." for where, cells in metrics.items() if (note := cells["aurc"].get("note"))]
    return [Bullets(notes)] if notes else []


def _of_classes(record: RunRecord, paths: Mapping[str, Path], chosen: Json) -> list[Block]:
    found = {split: ClassUncertainty.read(path) for split, path in paths.items()}
    plain = _plain(record, found, read_classes)
    columns: dict[str, dict[str, Any]] = {}
    for split, one in found.items():
        columns[f"{split}, {TRAINED}"] = score_cells(plain[split].target, plain[split].scores)
        columns[f"{split}, {INJECTED}"] = uncertainty_metrics(one)
    shown = _shown(paths)
    one, scores = found[shown], plain[shown].scores
    curves = {
        INJECTED: risk_coverage(class_risk(one.target, one.mean), one.entropy),
        TRAINED: risk_coverage(class_risk(one.target, scores), entropy(scores)),
    }
    right = class_risk(one.target, one.mean) == 0
    count = len(one.class_names)
    figures = [
        Figure("risk_coverage", "Risk over coverage", WIDE, _risk_figure(curves, "share of wrong predictions", shown)),
        Figure(
            "entropy_right_wrong",
            "Entropy of right and wrong predictions",
            WIDE,
            lambda ax: entropy_of_right_and_wrong(one.entropy, right, classes=count, split=shown, ax=ax),
        ),
    ]
    return [
        Table(["metric", *map(md, columns)], _rows_of(columns, CLASS_LABELS)),
        Paragraph(ABOUT_CLASSES),
        *_notes(columns),
        Pictures(draw_figures(record, figures, split=md(shown))),
    ]


def _of_numbers(record: RunRecord, paths: Mapping[str, Path], chosen: Json) -> list[Block]:
    found = {split: RegressionUncertainty.read(path) for split, path in paths.items()}
    plain = _plain(record, found, read_numbers)
    rows, noted = [], {}
    for split, one in found.items():
        trained = regression_metrics(plain[split])["per_target"]
        for name, cells in uncertainty_metrics(one)["per_target"].items():
            values = [trained[name]["rmse"], *(cells[metric] for metric in NUMBER_LABELS)]
            rows.append([md(split), md(name), *map(_number, values)])
            noted[f"{split}, {name}"] = cells
    shown = _shown(paths)
    figures = [
        figure for index in range(len(found[shown].target_names)) for figure in _target(found, shown, index, chosen)
    ]
    return [
        Table(["images", "target", f"RMSE {TRAINED}", *NUMBER_LABELS.values()], rows, text_columns=2),
        Paragraph(ABOUT_NUMBERS),
        Paragraph(_scales(chosen)),
        *_notes(noted),
        Pictures(draw_figures(record, figures, split=md(shown))),
    ]


def _scales(chosen: Json) -> str:
    """By what the variances are multiplied."""
    shown = [
        f"of {md(name)} by {decimals(cell['value'])}"
        if cell["value"] is not None
        else f"of {md(name)} by nothing: the factor is undefined ({md(cell['reason'])})"
        for name, cell in chosen["scale"].items()
    ]
    factor = f"mean of (y - m)² / s² on **{md(chosen['split'])}**"
    return f"Variances are multiplied by the {factor}: {'; '.join(shown)}."


def _target(found: Mapping[str, RegressionUncertainty], split: str, index: int, chosen: Json) -> list[Figure]:
    one = found[split]
    name, stem = one.target_names[index], file_stem(index + 1, one.target_names[index])
    target, mean, variance = (values[:, index] for values in (one.target, one.mean, one.variance))
    curves = {INJECTED: risk_coverage(np.abs(mean - target), variance)}
    figures = [
        Figure(
            f"risk_coverage_{stem}",
            f"{md(name)}, error over coverage",
            WIDE,
            _risk_figure(curves, "mean absolute error", split, title=f"{name}: error over coverage"),
        )
    ]
    if (variance > 0).all():
        scale = chosen["scale"][name]["value"]
        observed = {"scaled variance" if scale else "variance": observed_coverage(target, mean, variance)}
        if scale:
            observed["variance of the passes"] = observed_coverage(target, mean, variance / scale)
        figures.append(
            Figure(
                f"interval_coverage_{stem}",
                f"{md(name)}, coverage of the intervals",
                SQUARE,
                lambda ax: coverage_of_intervals(LEVELS, observed, name=name, split=split, ax=ax),
            )
        )
    return figures


def _of_masks(record: RunRecord, paths: Mapping[str, Path], chosen: Json) -> list[Block]:
    found = {split: MaskUncertainty.read(path) for split, path in paths.items()}
    plain = _plain(record, found, read_masks)
    columns: dict[str, dict[str, Any]] = {}
    for split, one in found.items():
        area = risk_coverage_area(1 - plain[split].counts.dice(), one.entropy)
        columns[f"{split}, {TRAINED}"] = {**dice_cells(plain[split].counts), "aurc": area}
        columns[f"{split}, {INJECTED}"] = uncertainty_metrics(one)
    shown = _shown(paths)
    risks = {INJECTED: mask_risk(found[shown]), TRAINED: 1 - plain[shown].counts.dice()}
    curves = {name: risk_coverage(risk, found[shown].entropy) for name, risk in risks.items()}
    figures = [Figure("risk_coverage", "Risk over coverage", WIDE, _risk_figure(curves, "mean of 1 - Dice", shown))]
    file = record.run.uncertain_masks
    maps = [Picture(f"{file.parent.name}/{file.name}", f"Most uncertain masks ({md(shown)})")] if file.is_file() else []
    return [
        Table(["metric", *map(md, columns)], _rows_of(columns, MASK_LABELS)),
        Paragraph(ABOUT_MASKS.format(threshold=chosen["threshold"])),
        *_notes(columns),
        Pictures([*draw_figures(record, figures, split=md(shown)), *maps]),
    ]


def _rows_of(columns: Mapping[str, Mapping[str, Cell]], labels: Mapping[str, str]) -> list[list[str]]:
    return [
        [label, *(_number(cells[name]) if name in cells else "" for cells in columns.values())]
        for name, label in labels.items()
    ]


def _risk_figure(
    curves: Mapping[str, Curve], risk: str, split: str, *, title: str = "Risk over coverage"
) -> Callable[[Axes], Axes]:
    return lambda ax: risk_coverage_curves(curves, risk=risk, title=title, split=split, ax=ax)


def _plain(record: RunRecord, found: Mapping[str, UncertaintyTable], read: Read[Plain]) -> dict[str, Plain]:
    """Reads what the network as trained predicted for the same samples."""
    plain = {split: read(record.run.predictions(split)) for split in found}
    for split, one in found.items():
        if not np.array_equal(one.sample_id, plain[split].sample_id):
            raise RunFolderError(
                f"{record.run.uncertainty(split)}: holds other samples than {record.run.predictions(split)}. "
                f"Run `cvlab evaluate {record.run.path}` again."
            )
    return plain
