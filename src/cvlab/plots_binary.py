"""Figures of a binary table: ROC and precision-recall curves of one class, with the operating point on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from cvlab.plots import COLOURS, SOFT, plain, prepare

SIZE = (7.4, 5.2)
LONGEST_CLASS = 16
# The first split is the one that a report is about.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": COLOURS[0], "linewidth": 2.0},
    {"color": COLOURS[1], "linewidth": 1.4, "linestyle": (0, (5, 1.5))},
)
POINT: dict[str, Any] = {"marker": "o", "markersize": 9, "markeredgecolor": "white", "markeredgewidth": 1.2}

Cell = dict[str, Any]


@dataclass(frozen=True)
class Scored:
    """A split: whether each sample is positive, its score, and the binary table of them at the threshold."""

    positive: NDArray[np.bool_]
    score: NDArray[np.float64]
    cells: Mapping[str, Cell]


def roc_with_point(splits: Mapping[str, Scored], *, threshold: str, positive_class: str, ax: Axes) -> Axes:
    """Draws the ROC curve of one class on each split, and where the threshold lies on it.

    Args:
        splits: One or two by name, the main one first.
        threshold: As it is shown.
        positive_class: Stands in the title.
        ax: Where to draw.
    """
    title = f"ROC of {plain(positive_class, longest=LONGEST_CLASS)} ({', '.join(splits)})"
    prepare(ax, title, "1 - specificity (dotted: chance)", "sensitivity")
    ax.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (2, 2)))
    entries = []
    for (split, scored), style in zip(splits.items(), STYLES, strict=False):
        cells = scored.cells
        if cells["roc_auc"]["value"] is not None:
            false_rate, true_rate, _ = roc_curve(scored.positive, scored.score)
            ax.plot(false_rate, true_rate, **style)
            _mark(1 - cells["specificity"]["value"], cells["sensitivity"]["value"], style, ax)
        shown = {"AUC": "roc_auc", "sensitivity": "sensitivity", "specificity": "specificity"}
        entries.append(_entry(split, scored, shown))
    return _with_legend(ax, entries, threshold)


def precision_recall_with_point(splits: Mapping[str, Scored], *, threshold: str, positive_class: str, ax: Axes) -> Axes:
    """Draws precision over recall of one class on each split, and where the threshold lies; as `roc_with_point`."""
    named = plain(positive_class, longest=LONGEST_CLASS)
    title = f"Precision and recall of {named} ({', '.join(splits)})"
    prepare(ax, title, "recall = sensitivity (ticks at the right: chance)", "precision = PPV")
    entries = []
    for (split, scored), style in zip(splits.items(), STYLES, strict=False):
        cells = scored.cells
        if cells["average_precision"]["value"] is not None:
            precision, recall, _ = precision_recall_curve(scored.positive, scored.score)
            # Steps through all thresholds: the area below them is the average precision, and the point lies on them.
            ax.plot(recall, precision, drawstyle="steps-post", **style)
            share = cells["prevalence"]["value"]
            ax.plot([1.005, 1.03], [share, share], color=style["color"], linewidth=2, clip_on=False)
            if cells["ppv"]["value"] is not None:
                _mark(cells["sensitivity"]["value"], cells["ppv"]["value"], style, ax)
        shown = {"AP": "average_precision", "chance": "prevalence", "recall": "sensitivity", "precision": "ppv"}
        entries.append(_entry(split, scored, shown))
    return _with_legend(ax, entries, threshold)


def _mark(x: float, y: float, style: dict[str, Any], ax: Axes) -> None:
    ax.plot([x], [y], color=style["color"], linestyle="", zorder=5, clip_on=False, **POINT)


def _entry(split: str, scored: Scored, shown: Mapping[str, str]) -> str:
    values = [f"{label} {_number(scored.cells[name])}" for label, name in shown.items()]
    return "\n".join([f"{plain(split)}, n = {len(scored.score):,}", *values])


def _number(cell: Cell) -> str:
    return "undefined" if cell["value"] is None else f"{cell['value']:.3f}"


def _with_legend(ax: Axes, entries: list[str], threshold: str) -> Axes:
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.02)
    ax.set_box_aspect(1)
    legend = ax.legend(
        [Line2D([], [], **style, **POINT) for style, _ in zip(STYLES, entries, strict=False)],
        entries,
        title=f"point: threshold {threshold}",
        loc="upper left",
        bbox_to_anchor=(1.05, 1.0),
        alignment="left",
        frameon=False,
        fontsize=9,
        title_fontsize=9,
        handlelength=2.8,
        labelspacing=1.2,
        borderaxespad=0,
    )
    legend.get_title().set_color(SOFT)
    return ax
