from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from cvlab.plots import image_grid, learning_curves, new_figure, plain, save_figure
from cvlab.plots_classification import (
    MOST_NUMBERED_CLASSES,
    bars_size,
    class_bars,
    class_styles,
    confusion_matrix,
    curves_size,
    matrix_size,
    precision_recall_curves,
    roc_curves,
)

# Left out of `scripts/test fast`.
pytestmark = pytest.mark.slow

HOSTILE = ("a$b$", "_hidden", "line\nbreak", "x" * 80, "\\frac{", "表情", "%d {}", "<b>|`")


def example(classes: int, samples: int = 120, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, classes, samples), rng.dirichlet(np.ones(classes), size=samples)


def axes() -> Axes:
    return new_figure(5, 4, synthetic=False)[1]


def texts(figure: Figure) -> list[str]:
    return [artist.get_text() for artist in figure.findobj(Text) if isinstance(artist, Text)]


def legend_texts(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def test_roc_curve_of_each_class_has_the_area_in_the_legend() -> None:
    target, scores = example(4)
    ax = roc_curves(target, scores, ["a", "b", "c", "d"], split="test", ax=axes())
    chance, *curves = ax.get_lines()
    np.testing.assert_array_equal(chance.get_xydata(), [[0, 0], [1, 1]])
    for index, (curve, text) in enumerate(zip(curves, legend_texts(ax), strict=True)):
        expected = roc_auc_score(target == index, scores[:, index])
        assert auc(*np.asarray(curve.get_xydata()).T) == pytest.approx(expected, abs=1e-9)
        assert text == f"{expected:.3f}  {'abcd'[index]}"


def test_area_under_the_drawn_precision_steps_is_the_average_precision() -> None:
    target, scores = example(3)
    scores = scores.round(1)
    ax = precision_recall_curves(target, scores, ["a", "b", "c"], split="test", ax=axes())
    curves, ticks = ax.get_lines()[::2], ax.get_lines()[1::2]
    for index, (curve, tick) in enumerate(zip(curves, ticks, strict=True)):
        recall, precision = np.asarray(curve.get_xydata()).T
        assert curve.get_drawstyle() == "steps-post"
        assert recall[-1] == 0
        expected = average_precision_score(target == index, scores[:, index])
        assert float(-np.diff(recall) @ precision[:-1]) == pytest.approx(expected, abs=1e-9)
        share = (target == index).mean()
        assert list(np.asarray(tick.get_ydata())) == [share, share]
        assert legend_texts(ax)[index] == f"{expected:.3f}  {share:.3f}  {'abc'[index]}"


def test_a_class_without_samples_has_no_curve_and_says_so() -> None:
    target, scores = np.zeros(5, dtype=np.int64), np.tile([0.6, 0.4], (5, 1))
    ax = roc_curves(target, scores, ["all", "none"], split="test", ax=axes())
    assert legend_texts(ax) == ["undefined  all", "undefined  none"]
    assert len(ax.get_lines()) == 1
    ax = precision_recall_curves(target, scores, ["all", "none"], split="test", ax=axes())
    assert legend_texts(ax) == ["1.000  1.000  all", "undefined  none"]


@pytest.mark.parametrize("classes", [8, 43])
def test_class_styles_differ(classes: int) -> None:
    assert len({(style["color"], str(style["linestyle"])) for style in class_styles(classes)}) == classes


def test_confusion_shows_counts_or_row_rates_and_grey_rows_without_samples() -> None:
    counts = np.array([[3, 1, 0], [0, 0, 0], [1, 1, 6]], dtype=np.int64)
    for rates, expected in (
        (False, ["3", "1", "0", "1", "1", "6"]),
        (True, ["0.75", "0.25", "0", "0.12", "0.12", "0.75"]),
    ):
        ax = confusion_matrix(counts, ["a", "b", "c"], rates=rates, split="test", ax=axes())
        assert [text.get_text() for text in ax.texts] == expected
        colours = ax.get_images()[0].get_array()
        np.testing.assert_array_equal(np.asarray(colours)[[0, 2]], [[0.75, 0.25, 0], [0.125, 0.125, 0.75]])
        assert np.isnan(np.asarray(colours)[1]).all()
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "truth")
        assert ax.yaxis_inverted()


@pytest.mark.parametrize("classes", [2, MOST_NUMBERED_CLASSES, MOST_NUMBERED_CLASSES + 1, 100])
def test_confusion_drops_the_numbers_of_many_classes(classes: int) -> None:
    _, ax = new_figure(*matrix_size(classes), synthetic=False)
    names = [f"class {index}" for index in range(classes)]
    confusion_matrix(np.eye(classes, dtype=np.int64), names, rates=False, split="val", ax=ax)
    assert len(ax.texts) == (classes**2 if classes <= MOST_NUMBERED_CLASSES else 0)
    assert len(ax.get_yticklabels()) == classes


def test_curves_mark_the_last_best_epoch_of_each_stage_and_the_border() -> None:
    train, val = [3.0, 2.0, 1.0, 0.5, 0.4], [3.0, 2.5, None, 2.0, 2.1]
    best = [True, True, False, True, False]
    ax = learning_curves(train, val, ["head"] * 3 + ["tune"] * 2, best, label="loss", ax=axes())
    lines: dict[Any, Any] = {line.get_label(): np.asarray(line.get_xydata()) for line in ax.get_lines()}
    np.testing.assert_array_equal(lines["validation"], [[1, 3], [2, 2.5], [3, np.nan], [4, 2], [5, 2.1]])
    np.testing.assert_array_equal(lines["training (running mean)"][:, 1], train)
    np.testing.assert_array_equal(lines["best epoch of a stage"], [[2, 2.5], [4, 2.0]])
    assert [3.5, 3.5] in [list(np.asarray(line.get_xdata())) for line in ax.get_lines()]
    assert [text.get_text() for text in ax.texts] == ["head", "tune"]


def test_bars_are_sorted_and_undefined_is_no_bar() -> None:
    ax = class_bars([0.5, None, 0.9], [10, 0, 3], ["a", "b", "c"], label="F1", split="test", ax=axes())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "a", "c"]
    assert [text.get_text().split() for text in ax.texts] == [
        ["undefined", "n", "=", "0"],
        ["0.500", "n", "=", "10"],
        ["0.900", "n", "=", "3"],
    ]
    assert [bar.get_bbox().x1 for bar in ax.patches if isinstance(bar, Rectangle)] == [0.0, 0.5, 0.9]


@pytest.mark.parametrize("synthetic", [True, False])
def test_every_figure_carries_the_mark_of_synthetic_data(synthetic: bool) -> None:
    figure, _ = new_figure(4, 3, synthetic=synthetic)
    grid = image_grid(np.zeros((3, 8, 8, 3), np.uint8), ["a", "b", "c"], columns=2, title="t", synthetic=synthetic)
    for drawn in (figure, grid):
        assert ("synthetic sample data" in texts(drawn)) is synthetic


def test_image_grid_shows_every_image_under_its_title() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3)).astype(np.uint8)
    figure = image_grid(images, [f"t{i}\nsecond" for i in range(5)], columns=2, title="all", synthetic=False)
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == [f"t{i}\nsecond" for i in range(5)]
    for image, shown, text in zip(images, ax.get_images(), ax.texts, strict=True):
        np.testing.assert_array_equal(np.asarray(shown.get_array()), image)
        left, _, _, top = shown.get_extent()
        assert text.get_position()[0] == left
        assert text.get_position()[1] < top
    with pytest.raises(ValueError, match="a title for each"):
        image_grid(images, ["one"], columns=2, title="all", synthetic=False)


def test_hostile_class_names_are_drawn_as_they_are(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    target, scores = example(len(HOSTILE))
    for number, draw in enumerate((roc_curves, precision_recall_curves)):
        figure, ax = new_figure(*curves_size(HOSTILE), synthetic=True)
        draw(target, scores, HOSTILE, split="test", ax=ax)
        assert len(legend_texts(ax)) == len(HOSTILE)
        save_figure(figure, tmp_path / f"{number}.png")
    figure, ax = new_figure(*bars_size(len(HOSTILE)), synthetic=True)
    class_bars([0.5] * len(HOSTILE), [1] * len(HOSTILE), HOSTILE, label="F1", split="test", ax=ax)
    save_figure(figure, tmp_path / "bars.png")
    assert not recwarn.list
    assert plain("a$b$\n") == r"a\$b\$\n"
    assert plain("x" * 80) == "x" * 23 + "…"


def test_a_saved_figure_has_the_same_bytes_twice_and_no_date(tmp_path: Path) -> None:
    digests = set()
    for number in range(2):
        figure, ax = new_figure(4, 3, synthetic=True)
        learning_curves([1.0], [2.0], ["train"], [True], label="loss", ax=ax)
        path = tmp_path / f"{number}" / "curve.png"
        save_figure(figure, path)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
        assert [file.name for file in path.parent.iterdir()] == ["curve.png"]
    assert len(digests) == 1
    with Image.open(path) as image:
        assert set(image.info) <= {"dpi"}
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)


def test_the_legend_never_covers_the_curves() -> None:
    for classes in (2, 8, 43):
        names = [f"a rather long class name {index}" for index in range(classes)]
        target, scores = example(classes, samples=500)
        figure, ax = new_figure(*curves_size(names), synthetic=False)
        roc_curves(target, scores, names, split="test", ax=ax)
        figure.draw_without_rendering()
        legend = ax.get_legend()
        assert legend is not None
        assert legend.get_window_extent().x0 > ax.get_window_extent().x1
        assert legend.get_window_extent().y0 > figure.bbox.y0
