"""Figures of a regression: prediction over truth, residuals, and the plane of valence and arousal."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from cvlab.plots import COLOURS, INK, SOFT, plain, prepare

Values = NDArray[np.float64]

SQUARE = (6.4, 5.6)
WIDE = (8.4, 4.6)
PLANE = (7.5, 5.2)
MINUS = "\N{MINUS SIGN}"
MOST_POINTS = 1500
MARGIN = 0.05
LIMIT = 1.96
CELL = 0.25
SAMPLES_PER_ARROW = 250
MOST_BINS = 40
DENSITY = LinearSegmentedColormap.from_list("density", ["#cfe3f3", "#4a90c6", "#08306b"])


def file_stem(index: int, name: str) -> str:
    """Returns a file name without ending for target `name`, the `index`-th from 1: number, then safe characters."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    return f"{index}_{slug}" if slug else f"{index}"


def prediction_over_truth(truth: Values, predicted: Values, *, name: str, facts: str, split: str, ax: Axes) -> Axes:
    """Draws predictions over truth with the line where both are equal; many points become a map of their density.

    Args:
        truth: (n,) values of one target.
        predicted: (n,) predictions.
        name: Of the target.
        facts: What stands below the title, such as `RMSE 0.410 · CORR 0.590`.
        split: Which samples; stands in the title.
        ax: Where to draw.
    """
    prepare(ax, f"{plain(name)}: prediction over truth ({split})", "truth", "prediction", pad=24)
    _subtitle(ax, facts)
    low, high = _range(np.concatenate([truth, predicted]))
    ax.plot([low, high], [low, high], color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    _cloud(truth, predicted, (low, high, low, high), ax)
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_box_aspect(1)
    # The same ticks on both axes: they have one unit and one range.
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(6))
    return ax


def residuals_over_truth(truth: Values, predicted: Values, *, name: str, split: str, ax: Axes) -> Axes:
    """Draws residuals (prediction - truth) over truth, and beside them how often each occurs.

    The lines are no error, the mean, and the limits of agreement, mean +- 1.96 standard deviations (Bland & Altman
    1986), between which 95 % of residuals lie if they are normal.

    Args:
        truth: (n,) values of one target.
        predicted: (n,) predictions.
        name: Of the target.
        split: Which samples; stands in the title.
        ax: Where to draw.
    """
    residuals = predicted - truth
    prepare(ax, f"{plain(name)}: residuals ({split})", "truth", f"prediction {MINUS} truth", pad=24)
    mean, spread = float(residuals.mean()), LIMIT * float(residuals.std(ddof=1)) if np.ptp(residuals) else 0.0
    agreement = f"{_signed(mean - spread)} to {_signed(mean + spread)}, mean ± {LIMIT} sd"
    _subtitle(ax, f"solid: mean {_signed(mean)}" + (f" · dashed: limits of agreement {agreement}" if spread else ""))
    low, high = _range(truth)
    bottom, top = _range(np.array([0.0, mean - spread, mean + spread, residuals.min(), residuals.max()]))
    _cloud(truth, residuals, (low, high, bottom, top), ax)
    bars = ax.inset_axes((1.02, 0.0, 0.2, 1.0), sharey=ax)
    edges = np.linspace(bottom, top, int(np.clip(1.2 * np.sqrt(len(residuals)), 10, MOST_BINS)) + 1)
    bars.hist(residuals, bins=edges.tolist(), orientation="horizontal", color=COLOURS[0])
    bars.set_axis_off()
    ax.axhline(0, color=SOFT, linewidth=1, zorder=3)
    for value, style in ((mean, "-"), *(((mean - spread, "--"), (mean + spread, "--")) if spread else ())):
        for each in (ax, bars):
            each.axhline(value, color=COLOURS[1], linewidth=1.3, linestyle=style, zorder=3)
    ax.set_xlim(low, high)
    ax.set_ylim(bottom, top)
    return ax


def affect_plane(truth: Values, predicted: Values, *, split: str, ax: Axes) -> Axes:
    """Draws truth and prediction in the plane of valence and arousal, and where the model moves the truth on average.

    An arrow leads from the mean truth of the samples whose truth lies in one cell of 0.25 x 0.25 to their mean
    prediction; a cell with hardly any samples has none.

    Args:
        truth: (n, 2) valence and arousal, in -1..1.
        predicted: (n, 2) predictions; those outside the plane are counted in the legend.
        split: Which samples; stands in the title.
        ax: Where to draw.
    """
    prepare(ax, f"Valence and arousal ({split})", "valence", "arousal")
    for line in (ax.axhline, ax.axvline):
        line(0, color=SOFT, linewidth=0.9, zorder=1)
    outside = int((np.abs(predicted) > 1 + MARGIN).any(axis=1).sum())
    beyond = f" ({outside:,} outside)" if outside else ""
    alpha = 0.6 * _alpha(len(truth))
    for values, colour in ((truth, COLOURS[0]), (predicted, COLOURS[1])):
        ax.scatter(values[:, 0], values[:, 1], s=11, color=colour, alpha=alpha, linewidths=0, zorder=2)
    start, end = _cell_means(truth, predicted)
    ax.quiver(*start.T, *(end - start).T, angles="xy", scale_units="xy", scale=1, width=0.0045, color=INK, zorder=4)
    ax.set_xlim(-1 - MARGIN, 1 + MARGIN)
    ax.set_ylim(-1 - MARGIN, 1 + MARGIN)
    ax.set_box_aspect(1)
    dot: dict[str, Any] = {"marker": "o", "markersize": 5, "linestyle": ""}
    handles = [
        Line2D([], [], color=COLOURS[0], **dot),
        Line2D([], [], color=COLOURS[1], **dot),
        Line2D([], [], color=INK, marker=">", markersize=4, markevery=[1]),
    ]
    labels = ["truth", f"prediction{beyond}", "mean truth to mean\nprediction, by cell"]
    ax.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=9, borderaxespad=0)
    return ax


def _cell_means(truth: Values, predicted: Values) -> tuple[Values, Values]:
    """The mean truth and the mean prediction of the samples in each cell of the plane, (cells, 2) each."""
    cells = np.minimum(np.floor((truth + 1) / CELL), 2 / CELL - 1).astype(np.int64)
    _, which, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    members = [which == cell for cell in np.flatnonzero(counts >= max(2, len(truth) // SAMPLES_PER_ARROW))]
    means = [np.array([values[member].mean(axis=0) for member in members]) for values in (truth, predicted)]
    return means[0].reshape(-1, 2), means[1].reshape(-1, 2)


def _subtitle(ax: Axes, text: str) -> None:
    ax.text(0, 1.02, text, transform=ax.transAxes, fontsize=9.5, color=SOFT, va="bottom")


def _range(values: Values) -> tuple[float, float]:
    """The range of some values with a margin; something around them where they are all equal."""
    low, high = float(values.min()), float(values.max())
    margin = MARGIN * (high - low) or MARGIN * abs(high) or 1.0
    return low - margin, high + margin


def _alpha(count: int) -> float:
    return float(np.clip(25 / np.sqrt(count), 0.12, 0.8))


def _cloud(x: Values, y: Values, extent: tuple[float, float, float, float], ax: Axes) -> None:
    """Draws points, or hexagons whose colour is the number of points where these would hide each other."""
    if len(x) <= MOST_POINTS:
        ax.scatter(x, y, s=16, color=COLOURS[0], alpha=_alpha(len(x)), linewidths=0, zorder=2)
        return
    cells = ax.hexbin(x, y, gridsize=45, extent=extent, mincnt=1, bins="log", cmap=DENSITY, linewidths=0.1, zorder=2)
    bar = ax.figure.colorbar(cells, ax=ax, fraction=0.046, pad=0.02)
    bar.set_label("samples", color=INK, fontsize=9)
    bar.formatter = FuncFormatter(lambda count, _: f"{count:,.0f}")
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=SOFT, labelcolor=INK, labelsize=8)


def _signed(value: float) -> str:
    return f"{value:#.3g}".replace("-", MINUS)
