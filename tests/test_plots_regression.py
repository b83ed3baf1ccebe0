from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.patches import Rectangle
from matplotlib.quiver import Quiver
from matplotlib.text import Text
from numpy.typing import NDArray

from cvlab.plots import new_figure, save_figure
from cvlab.plots_regression import (
    MOST_POINTS,
    PLANE,
    SQUARE,
    WIDE,
    affect_plane,
    file_stem,
    prediction_over_truth,
    residuals_over_truth,
)

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow

HOSTILE = ("a$b$", "_hidden_", "line\nbreak", "x" * 80, "\\frac{", "表情", "%d {}", "<b>|`", "", "../up")


def affect(samples: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    truth = np.clip(rng.normal(0.1, 0.4, (samples, 2)), -1, 1)
    return truth, 0.6 * truth + rng.normal(0.05, 0.2, (samples, 2))


def axes(size: tuple[float, float] = SQUARE) -> Axes:
    return new_figure(*size, synthetic=False)[1]


def scatter(truth: NDArray[np.float64], predicted: NDArray[np.float64], name: str = "valence") -> Axes:
    return prediction_over_truth(truth, predicted, name=name, facts="RMSE 0.412", split="test", ax=axes())


def residuals(truth: NDArray[np.float64], predicted: NDArray[np.float64], name: str = "valence") -> Axes:
    return residuals_over_truth(truth, predicted, name=name, split="test", ax=axes(WIDE))


def points(ax: Axes) -> list[NDArray[np.float64]]:
    return [np.asarray(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection)]


def test_predictions_stand_over_the_truth_with_the_line_of_equality() -> None:
    truth, predicted = (values[:, 0] for values in affect(100))
    ax = scatter(truth, predicted)
    np.testing.assert_array_equal(points(ax)[0], np.column_stack([truth, predicted]))
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    assert ax.get_xlim() == ax.get_ylim() == tuple(np.asarray(line.get_xdata()))
    assert ax.get_xlim()[0] < min(truth.min(), predicted.min()) < max(truth.max(), predicted.max()) < ax.get_xlim()[1]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_box_aspect()) == ("truth", "prediction", 1)
    assert ax.get_title(loc="left") == "valence: prediction over truth (test)"
    assert [text.get_text() for text in ax.texts] == ["RMSE 0.412"]


def test_many_points_become_counts_of_all_of_them() -> None:
    truth, predicted = (values[:, 0] for values in affect(MOST_POINTS + 1))
    for ax in (scatter(truth, predicted), residuals(truth, predicted)):
        assert not points(ax)
        (cells,) = [c for c in ax.collections if isinstance(c, PolyCollection)]
        counts = cells.get_array()
        assert counts is not None
        assert np.asarray(counts).sum() == MOST_POINTS + 1


def test_residuals_show_their_mean_and_the_limits_of_agreement() -> None:
    truth, predicted = (values[:, 0] for values in affect(100))
    ax = residuals(truth, predicted)
    difference = predicted - truth
    np.testing.assert_array_equal(points(ax)[0], np.column_stack([truth, difference]))
    zero, mean, low, high = (np.asarray(line.get_ydata())[0] for line in ax.get_lines())
    spread = 1.96 * np.sqrt(((difference - difference.mean()) ** 2).sum() / 99)
    assert zero == 0
    assert [mean, low, high] == pytest.approx(
        [difference.mean(), difference.mean() - spread, difference.mean() + spread]
    )
    (facts,) = (text.get_text() for text in ax.texts)
    expected = [f"{value:#.3g}".replace("-", "\N{MINUS SIGN}") for value in (mean, low, high)]
    assert facts == (
        f"solid: mean {expected[0]} · dashed: limits of agreement {expected[1]} to {expected[2]}, mean ± 1.96 sd"
    )


def test_the_histogram_beside_counts_every_residual_on_the_same_axis() -> None:
    truth, predicted = (values[:, 0] for values in affect(100))
    ax = residuals(truth, predicted)
    (bars,) = ax.child_axes
    assert isinstance(bars, Axes)
    assert sum(bar.get_width() for bar in bars.patches if isinstance(bar, Rectangle)) == 100
    assert bars.get_ylim() == ax.get_ylim()


def test_one_sample_and_equal_values_have_no_limits() -> None:
    # The mean of seven times 0.4 - 0.1 is not that number again, so that they deviate by rounding alone.
    for truth, predicted in ((np.array([0.2]), np.array([0.5])), (np.full(7, 0.1), np.full(7, 0.4))):
        ax = residuals(truth, predicted)
        assert len(ax.get_lines()) == 2
        assert [text.get_text() for text in ax.texts] == ["solid: mean 0.300"]
        assert scatter(truth, predicted).get_xlim()[0] < 0.2


def test_arrows_lead_from_the_mean_truth_of_a_cell_to_its_mean_prediction() -> None:
    truth = np.array([[0.9, 0.9], [1.0, 1.0], [0.8, 0.8], [-1.0, 0.1], [-0.9, 0.2], [0.1, -0.6]])
    predicted = np.array([[0.5, 0.5], [0.6, 0.6], [0.4, 0.1], [-0.5, 0.0], [-0.5, 0.1], [3.0, 0.0]])
    ax = affect_plane(truth, predicted, split="val", ax=axes(PLANE))
    np.testing.assert_array_equal(points(ax), [truth, predicted])
    (arrows,) = [c for c in ax.collections if isinstance(c, Quiver)]
    np.testing.assert_allclose(np.asarray(arrows.get_offsets()), np.array([[-0.95, 0.15], [0.9, 0.9]]))
    np.testing.assert_allclose(np.column_stack([arrows.U, arrows.V]), [[0.45, -0.1], [-0.4, -0.5]])
    assert ax.get_xlim() == ax.get_ylim() == (-1.05, 1.05)
    legend = ax.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["truth", "prediction (1 outside)", "mean truth to mean\nprediction, by cell"]


@pytest.mark.parametrize("samples", [1, 40, pytest.param(3000, marks=pytest.mark.slow)])
def test_every_figure_is_drawn_for_few_and_many_samples(samples: int, tmp_path: Path) -> None:
    truth, predicted = affect(samples)
    for number, ax in enumerate(
        (
            scatter(truth[:, 0], predicted[:, 0]),
            residuals(truth[:, 0], predicted[:, 0]),
            affect_plane(truth, predicted, split="test", ax=axes(PLANE)),
        )
    ):
        figure = ax.get_figure(root=True)
        assert figure is not None
        save_figure(figure, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 5000


@pytest.mark.parametrize("scale", [1e-30, 1e6, 1e30])
def test_any_scale_is_drawn(scale: float) -> None:
    truth, predicted = (values[:, 0] * scale for values in affect(50))
    for ax in (scatter(truth, predicted), residuals(truth, predicted)):
        figure = ax.get_figure(root=True)
        assert figure is not None
        figure.draw_without_rendering()


def test_hostile_target_names_are_drawn_as_they_are(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    truth, predicted = (values[:, 0] for values in affect(20))
    for name in HOSTILE[:4]:
        ax = scatter(truth, predicted, name)
        figure = ax.get_figure(root=True)
        assert figure is not None
        save_figure(figure, tmp_path / "one.png")
        titles = [artist.get_text() for artist in figure.findobj(Text) if isinstance(artist, Text)]
        assert not any("\n" in title for title in titles)
    assert not recwarn.list
    assert scatter(truth, predicted, "a$b").get_title(loc="left").startswith(r"a\$b: prediction")


def test_file_names_are_safe_and_never_the_same() -> None:
    stems = [file_stem(index + 1, name) for index, name in enumerate((*HOSTILE, "valence", "Valence"))]
    assert all(stem and set(stem) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") for stem in stems)
    assert len({*stems}) == len(stems)
    assert stems[0] == "1_a-b"
    assert stems[5] == "6"
    assert stems[-1] == "12_valence"
    assert max(map(len, stems)) < 50
