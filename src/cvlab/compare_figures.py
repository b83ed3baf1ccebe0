"""The figures of a comparison, drawn into its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cvlab.compare_entrants import Entrant, Result
from cvlab.compare_task import Metric, Show
from cvlab.compare_tests import Pair
from cvlab.compare_words import ACCURACY, evidence
from cvlab.document import Picture
from cvlab.errors import counted
from cvlab.metrics.classification_table import ClassificationPredictions
from cvlab.metrics.segmentation_table import SegmentationPredictions
from cvlab.plots import new_figure, new_panels, plain, save_figure
from cvlab.plots_classification import confusion_matrix, matrix_size
from cvlab.plots_compare import (
    LONGEST_MODEL,
    Bar,
    Scores,
    curves_of_models,
    dice_of_units,
    differences,
    differences_size,
    model_legend,
    panel_columns,
    precision_recall_of_models,
    roc_of_models,
    units_size,
)
from cvlab.report_text import md

DIFFERENCES = "differences"
MOST_PANELS = 12
MOST_MATRICES = 9
MOST_BARS = 28
PANEL = (3.9, 4.0)
CURVE = (5.6, 3.9)
MATRICES_WIDTH = 22.0


@dataclass(frozen=True)
class Drawer:
    """Draws the figures of a comparison.

    Attributes:
        folder: Where `plots/` is.
        entrants: The models, the best first.
        split: What the samples are called.
        synthetic: Whether to mark the figures as made from synthetic sample data.
        show: How a value is written.
    """

    folder: Path
    entrants: Sequence[Entrant]
    split: str
    synthetic: bool
    show: Show

    @property
    def names(self) -> list[str]:
        """What the models are called in legends."""
        return [f"{entrant.letter}  {entrant.title}" for entrant in self.entrants]

    def learning_curves(self, labels: Mapping[str, str]) -> list[Picture]:
        """Draws what was watched on validation, a panel for each key of an epoch that some run has."""
        histories = [[record.history_of_task for record in entrant.records] for entrant in self.entrants]
        epochs = [epoch for runs in histories for run in runs for epoch in run]
        shown = {key: label for key, label in labels.items() if any(epoch.get(key) is not None for epoch in epochs)}
        if not shown:
            return []
        figure, axes = new_panels(len(shown), len(shown), *CURVE, synthetic=self.synthetic)
        for (key, label), ax in zip(shown.items(), axes, strict=True):
            models = [[[epoch.get(key) for epoch in run] for run in runs] for runs in histories]
            curves_of_models(models, label=label, ax=ax)
        model_legend(self.names, figure)
        what = " and ".join(shown.values())
        return [
            self._saved(
                figure, "learning_curves", f"{what} on validation by epoch", self._alt(f"Line charts of {what}")
            )
        ]

    def differences(self, pairs: Sequence[Pair], metric: Metric) -> list[Picture]:
        """Draws the difference of every pair in the metric that ranks the models."""
        scale = 100 if metric.path == ACCURACY else 1
        found = [(pair, pair.comparisons[0]) for pair in pairs[:MOST_BARS]]
        bars = [
            Bar(
                f"{pair.first.letter} - {pair.second.letter}",
                scale * one.difference,
                None if one.low is None else scale * one.low,
                None if one.high is None else scale * one.high,
                evidence(one),
            )
            for pair, one in found
            if one.difference is not None
        ]
        if not bars:
            return []
        unit = ", points" if scale == 100 else ""
        label = f"{metric.label}{unit} (above 0: the first is higher)"
        alt = f"A point and an interval for each of {counted(len(bars), 'pair')}, beside a line at 0."
        figure, ax = new_figure(*differences_size(len(bars)), synthetic=self.synthetic)
        differences(bars, label=label, ax=ax)
        model_legend(self.names, figure, coloured=False)
        return [self._saved(figure, DIFFERENCES, f"differences in {md(metric.label)}; grey: no evidence of one", alt)]

    def of_classes(self, positive: str | None) -> list[Picture]:
        """Draws ROC and precision-recall curves of classes, and the confusion matrices."""
        table: ClassificationPredictions = self.entrants[0].results[0].table
        names = table.class_names
        support = np.bincount(table.target, minlength=len(names))
        shown = [*range(len(names))]
        if len(names) == 2:
            shown = [names.index(positive) if positive in names else 1]
        elif len(names) > MOST_PANELS:
            shown = sorted(np.argsort(-support, kind="stable")[:MOST_PANELS].tolist())
        some = f", the {MOST_PANELS} largest of {len(names)} classes" if len(names) > MOST_PANELS else ""
        roc = self._panels("roc", "roc_auc", shown, f"ROC curves, one class against the rest{some}")
        caption = f"precision-recall curves{some}; dotted: chance"
        return [*roc, *self._panels("precision_recall", "average_precision", shown, caption), *self._matrices(names)]

    def _panels(self, stem: str, metric: str, classes: Sequence[int], caption: str) -> list[Picture]:
        names = self.entrants[0].results[0].table.class_names
        draw = roc_of_models if metric == "roc_auc" else precision_recall_of_models
        figure, axes = new_panels(len(classes), panel_columns(len(classes)), *PANEL, synthetic=self.synthetic)
        for index, ax in zip(classes, axes, strict=True):
            models = [[_scores(result, index) for result in entrant.results] for entrant in self.entrants]
            values = [entrant.value(("per_class", names[index], metric)) for entrant in self.entrants]
            areas = [self._area(*pair) for pair in zip(self.entrants, values, strict=True)]
            draw(models, areas, title=names[index], ax=ax)
        model_legend(self.names, figure)
        alt = self._alt(f"Curves of {counted(len(classes), 'class', 'classes')}, a panel each, with the areas above")
        return [self._saved(figure, stem, f"{caption} ({md(self.split)})", alt)]

    def _area(self, entrant: Entrant, value: float | None) -> str:
        return f"{entrant.letter} {'undefined' if value is None else self.show(value)}"

    def _matrices(self, class_names: Sequence[str]) -> list[Picture]:
        shown = self.entrants[:MOST_MATRICES]
        width, height = matrix_size(len(class_names))
        columns = max(1, min(len(shown), int(MATRICES_WIDTH // width)))
        figure, axes = new_panels(len(shown), columns, width, height, synthetic=self.synthetic)
        for entrant, ax in zip(shown, axes, strict=True):
            counts = sum(_confusion(result) for result in entrant.results)
            confusion_matrix(
                np.asarray(counts), class_names, rates=True, split=self.split, ax=ax, title=_titled(entrant)
            )
        some = f", the first {MOST_MATRICES} models" if len(self.entrants) > MOST_MATRICES else ""
        caption = f"confusion matrices, share of the true class{some} ({md(self.split)})"
        alt = f"{counted(len(shown), 'matrix', 'matrices')} side by side: rows are the truth, columns the predictions."
        return [self._saved(figure, "confusion", caption, alt)]

    def of_masks(self, *, grouped: bool) -> list[Picture]:
        """Draws the Dice of each group, or of each image where there are no groups."""
        units, models = _dice(self.entrants, grouped=grouped)
        if not units:
            return []
        figure, ax = new_figure(*units_size(len(units)), synthetic=self.synthetic)
        unit = "group" if grouped else "image"
        dice_of_units(units, models, label=f"Dice of each {unit} ({self.split})", ax=ax)
        model_legend(self.names, figure)
        caption = f"Dice of each of {counted(len(units), unit)} ({md(self.split)})"
        return [self._saved(figure, "dice", caption, self._alt(f"A row for each {unit}, with points"))]

    def _alt(self, what: str) -> str:
        return f"{what}, for each of {counted(len(self.entrants), 'model')} in a colour of its own."

    def _saved(self, figure: Figure, stem: str, caption: str, alt: str) -> Picture:
        path = self.folder / "plots" / f"{stem}.png"
        save_figure(figure, path)
        return Picture(f"plots/{stem}.png", caption, alt)


def _titled(entrant: Entrant) -> str:
    return plain(f"{entrant.letter}  {entrant.title}", longest=LONGEST_MODEL)


def _scores(result: Result, index: int) -> Scores:
    table: ClassificationPredictions = result.table
    return Scores(table.target == index, table.scores[:, index])


def _confusion(result: Result) -> NDArray[np.int64]:
    table: ClassificationPredictions = result.table
    classes = len(table.class_names)
    codes = np.bincount(table.target * classes + table.predicted, minlength=classes * classes)
    return codes.reshape(classes, classes)


def _dice(entrants: Sequence[Entrant], *, grouped: bool) -> tuple[list[str], list[NDArray[np.float64]]]:
    """The units that all results share, and the Dice of each for each model, the mean over its runs."""
    found = []
    for entrant in entrants:
        runs = [_dice_of(result.table, grouped=grouped) for result in entrant.results]
        shared = set.intersection(*({*run} for run in runs))
        found.append({name: float(np.mean([run[name] for run in runs])) for name in shared})
    units = sorted(set.intersection(*({*model} for model in found)))
    return units, [np.array([model[name] for name in units]) for model in found]


def _dice_of(table: SegmentationPredictions, *, grouped: bool) -> dict[str, float]:
    names, counts = table.counts.by_group(table.group) if grouped else (table.sample_id.tolist(), table.counts)
    return dict(zip(names, counts.dice().tolist(), strict=True))
