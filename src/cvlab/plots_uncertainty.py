"""Figures of uncertainty: risk over coverage, coverage of Gaussians, entropy of right and wrong predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cvlab.plots import COLOURS, SOFT, plain, prepare

Values = NDArray[np.float64]
Curve = tuple[Values, Values]

WIDE = (7.8, 4.6)
SQUARE = (7.4, 5.2)
MOST_BINS = 20
STYLES: tuple[dict[str, Any], ...] = (
    {"color": COLOURS[0], "linewidth": 2.0},
    {"color": COLOURS[1], "linewidth": 1.4, "linestyle": (0, (5, 1.5))},
)


def risk_coverage_curves(curves: Mapping[str, Curve], *, risk: str, title: str, split: str, ax: Axes) -> Axes:
    """Draws the mean risk of the most certain samples over their share, with the area below it (AURC).

    The dotted line is the risk of a random order; the lower the curve to the left, the more the uncertainty says.

    Args:
        curves: Coverage 1 / n, 2 / n, ... 1 and the risk at each, both (n,); one or two by name, the main one first.
        risk: What the risk is, such as `share of wrong predictions`.
        title: Of the figure.
        split: Which samples; stands in the title.
        ax: Where to draw.
    """
    samples = len(next(iter(curves.values()))[0])
    prepare(ax, f"{plain(title, longest=40)} ({split})", f"coverage: share kept, of {samples:,} samples", risk)
    for (name, (coverage, kept)), style in zip(curves.items(), STYLES, strict=False):
        ax.plot(coverage, kept, label=f"{name}\nAURC {kept.mean():.3g}", **style)
        ax.axhline(kept[-1], color=style["color"], linewidth=1, linestyle=(0, (1, 2)))
    ax.plot([], [], color=SOFT, linewidth=1, linestyle=(0, (1, 2)), label="in random order")
    ax.set_xlim(0, 1.01)
    ax.set_ylim(bottom=0)
    return _with_legend(ax)


def coverage_of_intervals(expected: Values, observed: Mapping[str, Values], *, name: str, split: str, ax: Axes) -> Axes:
    """Draws which share of the truth lies in the central intervals of the Gaussian, over the share that should.

    Args:
        expected: (levels,) the shares that should lie in the intervals.
        observed: (levels,) those that do; one or two by what they are called, the main one first.
        name: Of the target.
        split: Which samples; stands in the title.
        ax: Where to draw.
    """
    title = f"{plain(name)}: coverage of the intervals ({split})"
    prepare(ax, title, "expected share of the truth in the interval", "observed share")
    ax.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (2, 2)), label="as it should be")
    for (label, shares), style in zip(observed.items(), STYLES, strict=False):
        error = float(np.abs(expected - shares).mean())
        ax.plot(expected, shares, marker="o", markersize=4, label=f"{label}\ncalibration error {error:.3f}", **style)
    ax.text(0.03, 0.97, "above: too wide", transform=ax.transAxes, va="top", color=SOFT, fontsize=9)
    ax.text(0.97, 0.03, "below: too narrow", transform=ax.transAxes, ha="right", color=SOFT, fontsize=9)
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.02)
    ax.set_box_aspect(1)
    return _with_legend(ax)


def entropy_of_right_and_wrong(
    entropy: Values, right: NDArray[np.bool_], *, classes: int, split: str, ax: Axes
) -> Axes:
    """Draws how often each predictive entropy occurs among right and among wrong predictions, as shares of each.

    Args:
        entropy: (n,) in nats.
        right: (n,) whether the prediction is right.
        classes: Their number; ln of it is the highest entropy there is.
        split: Which samples; stands in the title.
        ax: Where to draw.
    """
    prepare(ax, f"Entropy of right and wrong predictions ({split})", "predictive entropy in nats", "share of its kind")
    highest = float(np.log(classes))
    edges = np.linspace(0, highest, MOST_BINS + 1)
    for label, chosen, colour in (("right", right, COLOURS[0]), ("wrong", ~right, COLOURS[1])):
        count = int(chosen.sum())
        if not count:
            ax.plot([], [], color=colour, linewidth=6, alpha=0.5, label=f"{label}: none")
            continue
        shares = np.histogram(np.minimum(entropy[chosen], highest), edges)[0] / count
        middle = float(np.median(entropy[chosen]))
        ax.stairs(shares, edges, fill=True, color=colour, alpha=0.35)
        ax.stairs(shares, edges, color=colour, linewidth=1.6, label=f"{label}: {count:,}\nmedian {middle:.3f}")
    ax.set_xlim(0, highest)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_locator(MaxNLocator(6))
    return _with_legend(ax)


def _with_legend(ax: Axes) -> Axes:
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.03, 1.0),
        alignment="left",
        frameon=False,
        fontsize=9,
        handlelength=2.8,
        labelspacing=1.0,
        borderaxespad=0,
    )
    return ax
