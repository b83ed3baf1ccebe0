"""Curves of one class with the operating point: areas, and a point that lies on its curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from cvlab.metrics.binary import binary_metrics
from cvlab.plots import new_figure, save_figure
from cvlab.plots_binary import SIZE, Scored, precision_recall_with_point, roc_with_point

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow

THRESHOLD = 0.4


def scored(seed: int, samples: int = 150, share: float = 0.3) -> Scored:
    rng = np.random.default_rng(seed)
    positive = rng.random(samples) < share
    score = np.clip(rng.normal(0.35 + 0.3 * positive, 0.2), 0, 1).round(2)
    return of(positive, score)


def of(positive: np.ndarray, score: np.ndarray) -> Scored:
    return Scored(positive, score, binary_metrics(positive, score, threshold=THRESHOLD))


def axes() -> Axes:
    return new_figure(*SIZE, synthetic=False)[1]


def lines(ax: Axes) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata()) for line in ax.get_lines()]


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    assert found is not None
    return [text.get_text() for text in (found.get_title(), *found.get_texts())]


def on_steps(point: np.ndarray, curve: np.ndarray) -> bool:
    """Whether a point is one of the corners of a curve."""
    return bool(np.isclose(curve, point, atol=1e-9).all(axis=1).any())


def test_roc_of_both_splits_with_the_point_of_each() -> None:
    splits = {"test": scored(0), "val": scored(1)}
    ax = roc_with_point(splits, threshold="0.400", positive_class="ill$", ax=axes())
    _, *drawn = lines(ax)
    for (split, one), curve, point, text in zip(splits.items(), drawn[::2], drawn[1::2], legend(ax)[1:], strict=True):
        called = one.score >= THRESHOLD
        sensitivity, specificity = called[one.positive].mean(), 1 - called[~one.positive].mean()
        area = roc_auc_score(one.positive, one.score)
        assert auc(*curve.T) == pytest.approx(area, abs=1e-9)
        np.testing.assert_allclose(point, [[1 - specificity, sensitivity]], atol=1e-9)
        assert text.split("\n") == [
            f"{split}, n = 150",
            f"AUC {area:.3f}",
            f"sensitivity {sensitivity:.3f}",
            f"specificity {specificity:.3f}",
        ]
    assert legend(ax)[0] == "point: threshold 0.400"
    assert ax.get_title(loc="left") == r"ROC of ill\$ (test, val)"


def test_precision_recall_steps_have_the_average_precision_below_them_and_the_point_on_them() -> None:
    for seed in range(5):
        splits = {"test": scored(seed)}
        ax = precision_recall_with_point(splits, threshold="0.400", positive_class="ill", ax=axes())
        curve, tick, point = lines(ax)
        one = splits["test"]
        assert ax.get_lines()[0].get_drawstyle() == "steps-post"
        recall, precision = curve.T
        area = average_precision_score(one.positive, one.score)
        assert float(-np.diff(recall) @ precision[:-1]) == pytest.approx(area, abs=1e-9)
        called = one.score >= THRESHOLD
        np.testing.assert_allclose(point, [[called[one.positive].mean(), one.positive[called].mean()]], atol=1e-9)
        assert on_steps(point[0], curve)
        assert tick[:, 1].tolist() == [one.positive.mean()] * 2
        assert f"AP {area:.3f}\nchance {one.positive.mean():.3f}\n" in legend(ax)[1]


def test_what_is_undefined_is_not_drawn_and_says_so() -> None:
    healthy = of(np.zeros(4, dtype=bool), np.array([0.1, 0.2, 0.6, 0.9]))
    ax = roc_with_point({"test": healthy}, threshold="0.4", positive_class="ill", ax=axes())
    assert len(ax.get_lines()) == 1
    assert legend(ax)[1] == "test, n = 4\nAUC undefined\nsensitivity undefined\nspecificity 0.500"
    ax = precision_recall_with_point({"test": healthy}, threshold="0.4", positive_class="ill", ax=axes())
    assert not ax.get_lines()
    none_called = of(np.array([True, False]), np.array([0.2, 0.1]))
    ax = precision_recall_with_point({"test": none_called}, threshold="0.4", positive_class="ill", ax=axes())
    assert len(ax.get_lines()) == 2
    assert legend(ax)[1].endswith("recall 0.000\nprecision undefined")


@pytest.mark.parametrize("draw", [roc_with_point, precision_recall_with_point])
def test_the_legend_never_covers_the_curves(draw: type, tmp_path: Path) -> None:
    figure, ax = new_figure(*SIZE, synthetic=True)
    splits = {"data-a_rather_long_folder_name": scored(0), "val": scored(1)}
    draw(splits, threshold="0.9999999", positive_class="a rather long class name", ax=ax)
    figure.draw_without_rendering()
    found = ax.get_legend()
    assert found is not None
    assert found.get_window_extent().x0 > ax.get_window_extent().x1
    save_figure(figure, tmp_path / "figure.png")
