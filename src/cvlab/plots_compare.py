"""Figures of a comparison: the curves of several models in the same axes, and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from cvlab.plots import COLOURS, INK, MOST_DOTTED_EPOCHS, SOFT, plain, prepare
from cvlab.plots_classification import class_styles

LONGEST_MODEL = 48
LONGEST_TITLE = 30
LEGEND_COLUMNS = 3
AREAS_IN_A_ROW = 4
AREA_POINTS = 12
# Beyond so many units the names would not be legible.
MOST_NAMED_UNITS = 60

Values = NDArray[np.float64]


class Scores(NamedTuple):
    """One class told from the others by one run: who is of it (n,), and its score (n,)."""

    positive: NDArray[np.bool_]
    score: Values


class Bar(NamedTuple):
    """A difference to draw: what it is of, and its interval; without one the point stands alone."""

    label: str
    value: float
    low: float | None
    high: float | None
    evidence: bool


def roc_of_models(models: Sequence[Sequence[Scores]], areas: Sequence[str], *, title: str, ax: Axes) -> Axes:
    """Draws the ROC curves of one class, those of a model's runs in one colour.

    Args:
        models: Of each model its runs.
        areas: What to say of each model's area.
        title: What the curves are of.
        ax: Where to draw.
    """
    prepare(ax, plain(title, longest=LONGEST_TITLE), "false positive rate", "true positive rate", pad=_pad(areas))
    ax.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (2, 2)))
    for runs, style in zip(models, class_styles(len(models)), strict=True):
        for positive, score in runs:
            if positive.any() and not positive.all():
                false_rate, true_rate, _ = roc_curve(positive, score)
                ax.plot(false_rate, true_rate, **_of_runs(style, len(runs)))
    return _square(areas, ax)


def precision_recall_of_models(
    models: Sequence[Sequence[Scores]], areas: Sequence[str], *, title: str, ax: Axes
) -> Axes:
    """Draws precision over recall of one class, as `roc_of_models` draws its curves; chance is dotted."""
    prepare(ax, plain(title, longest=LONGEST_TITLE), "recall", "precision", pad=_pad(areas))
    for runs, style in zip(models, class_styles(len(models)), strict=True):
        for positive, score in runs:
            if not positive.any():
                continue
            precision, recall, _ = precision_recall_curve(positive, score)
            # One precision a recall, in steps: the average precision is the area under exactly these.
            steps = np.append(np.diff(recall) < 0, True)
            ax.plot(recall[steps], precision[steps], drawstyle="steps-post", **_of_runs(style, len(runs)))
            ax.axhline(float(positive.mean()), color=SOFT, linewidth=1, linestyle=(0, (2, 2)))
    return _square(areas, ax)


def _of_runs(style: dict[str, Any], runs: int) -> dict[str, Any]:
    return style if runs == 1 else style | {"linewidth": 1.0, "alpha": 0.7}


def _square(areas: Sequence[str], ax: Axes) -> Axes:
    """Makes the axes square and writes the areas above them, each in its model's colour."""
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.02)
    ax.set_box_aspect(1)
    for place, (text, style) in enumerate(zip(areas, class_styles(len(areas)), strict=True)):
        row, column = divmod(place, AREAS_IN_A_ROW)
        height = AREA_POINTS * (_rows(areas) - 1 - row) + 4
        at: dict[str, Any] = {"xy": (column / AREAS_IN_A_ROW, 1), "xycoords": "axes fraction"}
        offset: dict[str, Any] = {"xytext": (0, height), "textcoords": "offset points"}
        ax.annotate(text, **at, **offset, color=style["color"], ha="left", va="bottom", fontsize=8.5)
    return ax


def _pad(areas: Sequence[str]) -> float:
    """The room between the axes and their title that the areas need, in points."""
    return 8 + AREA_POINTS * _rows(areas)


def _rows(areas: Sequence[str]) -> int:
    return ceil(len(areas) / AREAS_IN_A_ROW)


def model_legend(names: Sequence[str], figure: Figure, *, coloured: bool = True) -> None:
    """Puts the models' names above all axes of a figure; `coloured` is whether lines have the models' colours."""
    styles = class_styles(len(names)) if coloured else [{"linestyle": ""}] * len(names)
    figure.legend(
        [Line2D([], [], **style) for style in styles],
        [plain(name, longest=LONGEST_MODEL) for name in names],
        loc="outside upper left",
        ncols=min(LEGEND_COLUMNS, len(names)),
        frameon=False,
        fontsize=9.5,
        handlelength=2.8 if coloured else 0,
        labelcolor=INK,
    )


def curves_of_models(models: Sequence[Sequence[Sequence[float | None]]], *, label: str, ax: Axes) -> Axes:
    """Draws a metric on validation over the epochs, those of a model's runs in one colour.

    Args:
        models: Of each model its runs, of each run its epochs; None leaves a gap.
        label: What the metric is called.
        ax: Where to draw.
    """
    prepare(ax, f"{label} on validation", "epoch", label)
    longest = max((len(run) for runs in models for run in runs), default=1)
    marker: dict[str, Any] = {"marker": "o", "markersize": 3.5} if longest <= MOST_DOTTED_EPOCHS else {}
    for runs, style in zip(models, class_styles(len(models)), strict=True):
        for run in runs:
            values = np.array(run, dtype=np.float64)
            ax.plot(np.arange(1, len(values) + 1), values, **_of_runs(style, len(runs)), **marker)
    ax.set_xlim(0.5, longest + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return ax


def units_size(count: int) -> tuple[float, float]:
    """Returns width and height in inches of `dice_of_units` for so many units."""
    return 7.5, 1.6 + (0.24 * count if count <= MOST_NAMED_UNITS else 5.0)


def dice_of_units(names: Sequence[str], models: Sequence[Values], *, label: str, ax: Axes) -> Axes:
    """Draws the Dice of each unit (a patient, an image) for each model, the unit that is hardest for the first on top.

    Args:
        names: m units.
        models: Of each model (m,) values in 0..1.
        label: What the values are.
        ax: Where to draw.
    """
    prepare(ax, plain(label, longest=60), "Dice", "")
    order = np.argsort(-np.mean(models, axis=0), kind="stable")
    places = np.arange(len(names))
    stacked = np.stack(models)[:, order]
    ax.hlines(places, stacked.min(axis=0), stacked.max(axis=0), color=SOFT, linewidth=1, alpha=0.6)
    for values, style in zip(stacked, class_styles(len(models)), strict=True):
        ax.plot(values, places, linestyle="", marker="o", markersize=5, color=style["color"], alpha=0.85)
    if len(names) <= MOST_NAMED_UNITS:
        ax.set_yticks(places, [plain(names[index]) for index in order], fontsize=7.5)
    else:
        ax.set_yticks([])
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.8, len(names) - 0.2)
    return ax


def differences_size(count: int) -> tuple[float, float]:
    """Returns width and height in inches of `differences` for so many pairs."""
    return 8.5, 1.5 + 0.42 * count


def differences(bars: Sequence[Bar], *, label: str, ax: Axes) -> Axes:
    """Draws differences with their intervals; what crosses the line of 0 is no evidence.

    Args:
        bars: From top to bottom.
        label: What the difference is of.
        ax: Where to draw.
    """
    prepare(ax, "Differences, with 95 % intervals", label, "")
    ax.axvline(0, color=INK, linewidth=1)
    for place, bar in enumerate(reversed(bars)):
        colour = COLOURS[0] if bar.evidence else SOFT
        if bar.low is not None and bar.high is not None:
            ax.hlines(place, bar.low, bar.high, color=colour, linewidth=2.2)
        ax.plot([bar.value], [place], marker="o", markersize=7, color=colour, linestyle="")
    ax.set_yticks(range(len(bars)), [plain(bar.label, longest=70) for bar in reversed(bars)], fontsize=9)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.6, len(bars) - 0.4)
    ax.grid(axis="y", visible=False)
    return ax


def panel_columns(count: int) -> int:
    """Returns how many panels stand in a row."""
    return count if count <= 3 else min(4, ceil(count / 2)) if count <= 8 else 4
