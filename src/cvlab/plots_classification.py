"""Figures of a classification: curves, confusion matrix and a bar a class, drawn into given axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from cvlab.plots import COLOURS, INK, LONGEST_NAME, SOFT, plain, prepare

DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (2.5, 1)), (0, (9, 2)), ":")
RATES = LinearSegmentedColormap.from_list("rates", ["#ffffff", "#9ecae9", "#2f7ebc", "#08306b"])
LEGEND_ROWS = 22
MOST_NUMBERED_CLASSES = 20


def class_styles(count: int) -> list[dict[str, Any]]:
    """Returns a line style for each of `count` classes: seven colours, then the same with other dashes."""
    width = 1.8 if count <= len(COLOURS) + 1 else 1.1
    return [
        {
            "color": COLOURS[index % len(COLOURS)],
            "linestyle": DASHES[index // len(COLOURS) % len(DASHES)],
            "linewidth": width,
        }
        for index in range(count)
    ]


def curves_size(class_names: Sequence[str]) -> tuple[float, float]:
    """Returns width and height in inches of a square of curves with the legend of the classes beside it."""
    longest = max(min(len(name), LONGEST_NAME) for name in class_names)
    return 5.2 + ceil(len(class_names) / LEGEND_ROWS) * (1.6 + 0.07 * longest), 5.2


def matrix_size(classes: int) -> tuple[float, float]:
    """Returns width and height in inches of a confusion matrix."""
    side = min(max(4.2, 2.2 + 0.5 * classes), 12.0)
    return side + 0.9, side


def bars_size(classes: int) -> tuple[float, float]:
    """Returns width and height in inches of a figure with one bar a class."""
    return 7.0, 1.4 + 0.28 * max(classes, 2)


def roc_curves(
    target: NDArray[np.int64], scores: NDArray[np.float64], class_names: Sequence[str], *, split: str, ax: Axes
) -> Axes:
    """Draws a ROC curve a class, that class against the rest; target (n,), scores (n, k)."""
    prepare(
        ax,
        f"ROC, one class against the rest ({split})",
        "false positive rate (dotted: chance)",
        "true positive rate (recall)",
    )
    ax.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (2, 2)))
    labels = []
    styles = class_styles(len(class_names))
    for index, name in enumerate(class_names):
        is_class = target == index
        if is_class.any() and not is_class.all():
            false_rate, true_rate, _ = roc_curve(is_class, scores[:, index])
            ax.plot(false_rate, true_rate, **styles[index])
            labels.append(f"{roc_auc_score(is_class, scores[:, index]):.3f}  {plain(name)}")
        else:
            labels.append(f"undefined  {plain(name)}")
    return _with_class_legend(ax, labels, styles, "AUC · class")


def precision_recall_curves(
    target: NDArray[np.int64], scores: NDArray[np.float64], class_names: Sequence[str], *, split: str, ax: Axes
) -> Axes:
    """Draws precision over recall for each class; chance is the class's share of the samples."""
    prepare(
        ax,
        f"Precision and recall, one class against the rest ({split})",
        "recall (ticks at the right: chance)",
        "precision",
    )
    labels = []
    styles = class_styles(len(class_names))
    for index, name in enumerate(class_names):
        is_class = target == index
        if not is_class.any():
            labels.append(f"undefined  {plain(name)}")
            continue
        precision, recall, _ = precision_recall_curve(is_class, scores[:, index])
        # Steps, not straight lines, and one a recall: AP is the area under exactly these steps
        # (Davis and Goadrich 2006 on why straight lines are too kind).
        steps = np.append(np.diff(recall) < 0, True)
        ax.plot(recall[steps], precision[steps], drawstyle="steps-post", **styles[index])
        share = float(is_class.mean())
        ax.plot([1.005, 1.03], [share, share], color=styles[index]["color"], linewidth=2, clip_on=False)
        area = average_precision_score(is_class, scores[:, index])
        labels.append(f"{area:.3f}  {share:.3f}  {plain(name)}")
    return _with_class_legend(ax, labels, styles, "AP · chance · class")


def _with_class_legend(ax: Axes, labels: list[str], styles: list[dict[str, Any]], title: str) -> Axes:
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.02)
    ax.set_box_aspect(1)
    legend = ax.legend(
        [Line2D([], [], **style) for style in styles],
        labels,
        title=title,
        loc="upper left",
        bbox_to_anchor=(1.05, 1.0),
        alignment="left",
        ncols=ceil(len(labels) / LEGEND_ROWS),
        frameon=False,
        fontsize=8.5,
        title_fontsize=8.5,
        handlelength=2.8,
        borderaxespad=0,
    )
    legend.get_title().set_color(SOFT)
    return ax


def confusion_matrix(
    counts: NDArray[np.int64], class_names: Sequence[str], *, rates: bool, split: str, ax: Axes, title: str = ""
) -> Axes:
    """Draws a confusion matrix; colour is always the share of the row, so that rare classes show.

    Args:
        counts: (k, k), rows are the truth, columns what was predicted.
        class_names: k names.
        rates: Numbers are shares of the row instead of counts. Beyond 20 classes there are none.
        split: Which samples; stands in the title.
        ax: Where to draw.
        title: What stands in the place of the usual title.
    """
    rows = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, rows, out=np.full(counts.shape, np.nan), where=rows > 0)
    what = "share of the true class" if rates else "number of samples"
    prepare(ax, title or f"Confusion, {what} ({split})", "predicted", "truth")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.set_facecolor("#eeeeee")
    image = ax.imshow(share, cmap=RATES, vmin=0, vmax=1)
    _class_ticks(ax, class_names)
    if len(class_names) <= MOST_NUMBERED_CLASSES:
        _numbers(ax, counts, share, rates=rates)
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.02)
    bar.set_label("share of the true class" + ("" if rows.all() else " (grey: no sample)"), color=INK, fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=SOFT, labelcolor=INK, labelsize=8)
    return ax


def _class_ticks(ax: Axes, class_names: Sequence[str]) -> None:
    count = len(class_names)
    size = 9 if count <= MOST_NUMBERED_CLASSES else max(4.0, 9 - 0.06 * count)
    names = [plain(name, longest=LONGEST_NAME if count <= 40 else 16) for name in class_names]
    upright = count > MOST_NUMBERED_CLASSES
    turned = {"rotation": 90} if upright else {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(count), names, fontsize=size, **turned)
    ax.set_yticks(range(count), names, fontsize=size)
    ax.tick_params(length=0)


def _numbers(ax: Axes, counts: NDArray[np.int64], share: NDArray[np.float64], *, rates: bool) -> None:
    size = 10 if len(counts) <= 10 else 7.5
    for (row, column), count in np.ndenumerate(counts):
        rate = share[row, column]
        if np.isnan(rate):
            continue
        text = f"{rate:.2f}" if rates and count else f"{count:,}"
        faint = SOFT if not count else INK
        colour = "white" if rate > 0.5 else faint
        ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)


def class_bars(
    values: Sequence[float | None],
    support: Sequence[int],
    class_names: Sequence[str],
    *,
    label: str,
    split: str,
    ax: Axes,
) -> Axes:
    """Draws one value in 0..1 a class as bars, best first; None is shown as undefined."""
    prepare(ax, f"{label} by class ({split})", label, "")
    heights = [-1.0 if value is None else value for value in values]
    order = sorted(range(len(values)), key=lambda index: heights[index])
    bars = [max(heights[index], 0.0) for index in order]
    ax.barh(range(len(order)), bars, color=COLOURS[0], height=0.72)
    for place, index in enumerate(order):
        value = values[index]
        text = "undefined" if value is None else f"{value:.3f}"
        shown = f" {text}   n = {support[index]:,}"
        ax.text(bars[place], place, shown, va="center", fontsize=8.5, color=INK if value is not None else SOFT)
    ax.set_yticks(range(len(order)), [plain(class_names[index]) for index in order])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.6, len(order) - 0.4)
    ax.set_xlim(0, 1.25)
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.spines["bottom"].set_bounds(0, 1)
    ax.grid(axis="y", visible=False)
    return ax
