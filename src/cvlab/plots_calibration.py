"""The reliability diagram: how often what a score says is true, over the score, above a histogram of the scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cvlab.plots import COLOURS, SOFT, plain, prepare
from cvlab.statistics.proportions import wilson

Values = NDArray[np.float64]

SIZE = (7.4, 6.4)
LONGEST = 40
HEIGHT = 0.74  # of the diagram; the histogram has the rest
STYLES: tuple[dict[str, Any], ...] = (
    {"color": COLOURS[0], "linewidth": 1.2, "marker": "o", "markersize": 6},
    {"color": COLOURS[1], "linewidth": 1.0, "marker": "s", "markersize": 4, "linestyle": (0, (4, 2))},
)


@dataclass(frozen=True)
class Reliability:
    """Scores and truth in bins, as `ReliabilityBins` has them, (b,) each, and their calibration error."""

    low: Values
    high: Values
    samples: NDArray[np.int64]
    score: Values
    share: Values
    error: float

    def mean(self, values: Values) -> float:
        """The mean over all samples of what is given for each bin."""
        return float(np.average(values, weights=self.samples))


def reliability_diagram(found: Mapping[str, Reliability], *, score: str, share: str, split: str, ax: Axes) -> Axes:
    """Draws the share of true ones over the mean score of each bin, with Wilson's 95 % intervals of the main one.

    Args:
        found: One or two by name, the main one first, such as before and after a temperature.
        score: What the score is, such as `highest score`.
        share: What is true in which share of samples, such as `share of right predictions`.
        split: Which samples; stands in the title.
        ax: Where to draw: the diagram and the histogram below it become axes of their own within it.
    """
    ax.axis("off")
    ax.set_box_aspect(1 / HEIGHT)
    above, below = ax.inset_axes((0, 1 - HEIGHT, 1, HEIGHT)), ax.inset_axes((0, 0, 1, 0.8 * (1 - HEIGHT)))
    prepare(above, f"Reliability diagram ({plain(split)})", "", plain(share, longest=LONGEST))
    above.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (2, 2)), label="perfectly calibrated")
    for (name, one), style in zip(found.items(), STYLES, strict=False):
        above.plot(one.score, one.share, label=_entry(name, one, share), **style)
    _intervals(next(iter(found.values())), above)
    above.text(0.03, 0.97, "above: scores too low", transform=above.transAxes, va="top", color=SOFT, fontsize=9)
    above.text(0.97, 0.03, "below: scores too high", transform=above.transAxes, ha="right", color=SOFT, fontsize=9)
    above.set_ylim(-0.01, 1.02)
    above.tick_params(labelbottom=False)
    above.legend(
        loc="upper left",
        bbox_to_anchor=(1.03, 1.0),
        alignment="left",
        frameon=False,
        fontsize=9,
        handlelength=2.8,
        labelspacing=1.2,
        borderaxespad=0,
    )
    _histogram(found.values(), below)
    prepare(below, "", plain(score, longest=LONGEST), "samples")
    for axes in (above, below):
        axes.set_xlim(-0.01, 1.01)
    return ax


def _entry(name: str, one: Reliability, share: str) -> str:
    values = [
        f"{plain(name)}, n = {one.samples.sum():,}",
        f"ECE {one.error:.3f}",
        f"mean score {one.mean(one.score):.3f}",
        f"{plain(share, longest=LONGEST)} {one.mean(one.share):.3f}",
    ]
    return "\n".join(values)


def _intervals(one: Reliability, ax: Axes) -> None:
    """The interval of each share, as if samples were independent."""
    ends = [wilson(round(share * n), n) for share, n in zip(one.share.tolist(), one.samples.tolist(), strict=True)]
    for score, (low, high) in zip(one.score, ends, strict=True):
        ax.plot([score, score], [low, high], color=STYLES[0]["color"], linewidth=1.2, alpha=0.55, zorder=1.5)


def _histogram(found: Iterable[Reliability], ax: Axes) -> None:
    """How many samples have each score: filled for the main one, lines for the other."""
    looks: tuple[dict[str, Any], ...] = ({"alpha": 0.45}, {"fill": False, "linewidth": 1.4})
    for one, style, look in zip(found, STYLES, looks, strict=False):
        colour = {"edgecolor": style["color"]} | ({} if look.get("fill") is False else {"facecolor": style["color"]})
        ax.bar(one.low, one.samples, width=one.high - one.low, align="edge", **colour, **look)
    ax.yaxis.set_major_locator(MaxNLocator(3, integer=True))
