"""The reliability diagram: how often what a score says is true, over the score, above a histogram of the scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cvlab.metrics.calibration import EQUAL_WIDTH, ReliabilityBins, reliability_bins
from cvlab.plots import COLOURS, FAINT, INK, SOFT, plain, prepare
from cvlab.statistics.proportions import wilson

Values = NDArray[np.float64]

SIZE = (7.4, 6.4)
STYLES: tuple[dict[str, Any], ...] = (
    {"color": COLOURS[0], "linewidth": 2.0, "marker": "o", "markersize": 5},
    {"color": COLOURS[1], "linewidth": 1.4, "marker": "s", "markersize": 4, "linestyle": (0, (5, 1.5))},
)
EDGES = np.array([0.0, *EQUAL_WIDTH, 1.0])


@dataclass(frozen=True)
class Judged:
    """Scores that are judged, (n,), whether each is true, (n,) of 0 and 1, and their calibration error."""

    score: Values
    true: Values
    error: float


def reliability_diagram(scored: Mapping[str, Judged], *, score: str, share: str, split: str, ax: Axes) -> Axes:
    """Draws the share of true ones over the mean score of 15 equally wide bins, with Wilson's 95 % intervals.

    Args:
        scored: One or two by name, the main one first, such as before and after a temperature.
        score: What the score is, such as `highest score`.
        share: What is true in which share of samples, such as `share of right predictions`.
        split: Which samples; stands in the title.
        ax: Where to draw; the histogram stands below.
    """
    prepare(ax, f"Reliability diagram ({plain(split)})", "", share)
    ax.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (2, 2)), label="perfectly calibrated")
    for (name, one), style in zip(scored.items(), STYLES, strict=False):
        bins = reliability_bins(one.score, one.true)
        mean, true = one.score.mean(), one.true.mean()
        label = f"{plain(name)}, n = {len(one.score):,}\nECE {one.error:.3f}\nmean score {mean:.3f}, true {true:.3f}"
        ax.plot(bins.score, bins.share, label=label, **style)
        if one is next(iter(scored.values())):
            _intervals(bins, style["color"], ax)
    ax.text(0.03, 0.97, "above: less sure than right", transform=ax.transAxes, va="top", color=SOFT, fontsize=9)
    ax.text(0.97, 0.03, "below: surer than right", transform=ax.transAxes, ha="right", color=SOFT, fontsize=9)
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.02)
    ax.set_box_aspect(1)
    ax.tick_params(labelbottom=False)
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.03, 1.0),
        alignment="left",
        frameon=False,
        fontsize=9,
        handlelength=2.8,
        labelspacing=1.2,
        borderaxespad=0,
    )
    _histogram(scored, score, ax.inset_axes((0, -0.3, 1, 0.25)))
    return ax


def _intervals(bins: ReliabilityBins, colour: str, ax: Axes) -> None:
    """The interval of each share, as if samples were independent."""
    for score, share, samples in zip(bins.score, bins.share, bins.samples.tolist(), strict=True):
        low, high = wilson(round(share * samples), samples)
        ax.plot([score, score], [low, high], color=colour, linewidth=1.2, alpha=0.55, zorder=1.5)


def _histogram(scored: Mapping[str, Judged], score: str, ax: Axes) -> None:
    """How many samples have each score: filled for the main one, a line for the other."""
    for one, style in zip(scored.values(), STYLES, strict=False):
        counts = np.bincount(np.searchsorted(EQUAL_WIDTH, one.score, side="left"), minlength=len(EDGES) - 1)
        main = style is STYLES[0]
        ax.stairs(
            counts,
            EDGES,
            fill=main,
            color=style["color"],
            alpha=0.45 if main else 1.0,
            linewidth=1.4,
            linestyle=style.get("linestyle", "solid"),
        )
    ax.set_xlim(-0.01, 1.01)
    ax.set_xlabel(score, color=INK)
    ax.set_ylabel("samples", color=INK)
    ax.tick_params(colors=SOFT, labelcolor=INK, labelsize=9, length=3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(SOFT)
    ax.grid(color=FAINT, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.yaxis.set_major_locator(MaxNLocator(3, integer=True))
