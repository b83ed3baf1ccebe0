"""The reliability diagram shows the bins, their intervals and how many samples are in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from cvlab.metrics.calibration import reliability_bins
from cvlab.plots import new_figure, save_figure
from cvlab.plots_calibration import SIZE, Reliability, reliability_diagram
from cvlab.statistics.proportions import wilson

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow


def of(samples: int, seed: int) -> Reliability:
    rng = np.random.default_rng(seed)
    score = rng.uniform(size=samples)
    bins = reliability_bins(score, (rng.random(samples) < score).astype(np.float64))
    error = float((bins.samples * np.abs(bins.share - bins.score)).sum() / samples)
    return Reliability(**vars(bins), error=error)


def draw(found: dict[str, Reliability], path: Path | None = None) -> tuple[Axes, Axes]:
    figure, ax = new_figure(*SIZE, synthetic=True)
    named = {"score": "score of $x$", "share": "share of <b>", "split": "test"}
    assert reliability_diagram(found, **named, ax=ax) is ax
    if path is not None:
        save_figure(figure, path)
    above, below = ax.child_axes
    assert isinstance(above, Axes)
    assert isinstance(below, Axes)
    return above, below


def test_points_intervals_and_bars_are_those_of_the_bins(tmp_path: Path) -> None:
    one, other = of(400, 1), of(90, 2)
    above, below = draw({"as trained": one, "temperature 1.3": other}, tmp_path / "a.png")
    diagonal, first, second, *intervals = [np.asarray(line.get_xydata()) for line in above.get_lines()]
    np.testing.assert_array_equal(diagonal, [[0, 0], [1, 1]])
    np.testing.assert_allclose(first, np.column_stack([one.score, one.share]))
    np.testing.assert_allclose(second, np.column_stack([other.score, other.share]))
    assert len(intervals) == len(one.samples)
    for points, score, share, samples in zip(intervals, one.score, one.share, one.samples.tolist(), strict=True):
        low, high = wilson(round(share * samples), samples)
        np.testing.assert_allclose(points, [[score, low], [score, high]])
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in below.patches]  # type: ignore[attr-defined]
    expected = [
        (low, high - low, count)
        for r in (one, other)
        for low, high, count in zip(r.low, r.high, r.samples, strict=True)
    ]
    np.testing.assert_allclose(bars, expected)
    legend = above.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    mean = float(np.average(one.score, weights=one.samples))
    assert texts[1].startswith(f"as trained, n = 400\nECE {one.error:.3f}\nmean score {mean:.3f}\nshare of <b> 0.")
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 600


@pytest.mark.parametrize("score", [[0.0], [1.0, 1.0], [0.5, 0.5, 0.5]])
def test_few_samples_are_drawn_too(score: list[float], tmp_path: Path) -> None:
    values = np.array(score)
    bins = reliability_bins(values, np.zeros(len(values)))
    draw({"as trained": Reliability(**vars(bins), error=float(values.mean()))}, tmp_path / "a.png")
    assert (tmp_path / "a.png").is_file()
