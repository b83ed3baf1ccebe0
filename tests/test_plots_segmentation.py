from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from cvlab.metrics.segmentation_table import THRESHOLDS
from cvlab.plots import new_figure, save_figure
from cvlab.plots_segmentation import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    KINDS,
    MOST_GROUPS,
    TRUE_POSITIVE,
    TRUTH,
    WIDE,
    ThresholdCurves,
    dice_by_group,
    dice_histogram,
    dice_over_thresholds,
    groups_height,
    mask_image,
    overlay,
    prediction_rows,
    tile_rows,
    truth_overlay,
)

# Nearly every test draws a figure, or reads a whole run: `scripts/test fast` leaves them out.
pytestmark = pytest.mark.slow

HOSTILE = ("a$b$", "line\nbreak", "x" * 80, "\\frac{", "表情", "", "<b>|`")


def axes(size: tuple[float, float] = WIDE) -> Axes:
    return new_figure(*size, synthetic=False)[1]


def legend_texts(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def figure_of(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


DICE = np.array([0.0, 0.03, 0.52, 0.88, 1.0, 1.0, 0.0, 1.0])
NONEMPTY = np.array([True, True, True, True, True, False, False, False])


def test_the_histogram_counts_the_images_that_show_the_structure_and_says_what_it_leaves_out() -> None:
    ax = dice_histogram(DICE, NONEMPTY, structure="tumour", split="test", ax=axes())
    bars = [bar for bar in ax.patches if isinstance(bar, Rectangle)]
    assert [bar.get_height() for bar in bars if bar.get_height()] == [2, 1, 1, 1]
    assert len(bars) == 20
    assert [text.get_text() for text in ax.texts] == [
        "left out: 3 images without tumour, 2 of them with nothing predicted"
    ]
    assert legend_texts(ax) == ["mean 0.486", "median 0.520"]
    assert ax.get_title(loc="left") == "Dice of images with tumour (test)"


def test_the_box_of_a_group_reaches_over_its_images_and_its_volume_is_marked() -> None:
    group = np.array(["b", "b", "b", "a", "a", "a", "a", "c"], dtype=object)
    volumes = {"a": 0.9, "b": 0.2, "c": 1.0}
    ax = dice_by_group(DICE, group, NONEMPTY, volumes, split="val", ax=axes(), named="patient")
    assert ax.get_title(loc="left") == "Dice by patient (val)"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b (3)", "a (2)", "c (0)"]
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert [box.get_x() for box in boxes] == pytest.approx([np.percentile(DICE[:3], 25), 0.91])
    assert [box.get_x() + box.get_width() for box in boxes] == pytest.approx([np.percentile(DICE[:3], 75), 0.97])
    whiskers, *_, medians = [c.get_segments() for c in ax.collections if isinstance(c, LineCollection)]
    np.testing.assert_allclose([segment[:, 0] for segment in whiskers], [[0, 0.52], [0.88, 1]])
    assert [segment[0, 0] for segment in medians] == pytest.approx([0.03, 0.94])
    diamonds = ax.get_lines()[-1]
    assert [float(value) for value in np.asarray(diamonds.get_xdata())] == [0.2, 0.9, 1.0]
    top, bottom = ax.get_ylim()
    assert top > bottom  # the first group, the worst one, stands on top


def test_of_many_groups_the_worst_are_shown() -> None:
    names = [f"g{number:03d}" for number in range(100)]
    volumes = {name: number / 100 for number, name in enumerate(names)}
    dice = np.array([*volumes.values()])
    ax = dice_by_group(
        dice, np.array(names, dtype=object), dice >= 0, volumes, split="train", ax=axes((8, groups_height(100)))
    )
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [f"g{number:03d} (1)" for number in range(MOST_GROUPS)]
    assert ax.get_title(loc="left").endswith(": the worst 40 of 100")
    assert groups_height(100) == groups_height(40) > groups_height(3)


def test_curves_over_thresholds_hold_the_values_and_the_threshold_in_use() -> None:
    pooled, nonempty = np.linspace(0.5, 0.9, 19), np.full(19, np.nan)
    ax = dice_over_thresholds(
        {"test": ThresholdCurves(pooled, nonempty), "val": ThresholdCurves(pooled / 2, pooled / 3)},
        THRESHOLDS,
        chosen=0.35,
        structure="tumour",
        ax=axes(),
    )
    line, first, _, second, third = ax.get_lines()
    assert np.asarray(line.get_xdata()).tolist() == [0.35, 0.35]
    for drawn, values in ((first, pooled), (second, pooled / 2), (third, pooled / 3)):
        np.testing.assert_array_equal(np.asarray(drawn.get_ydata()), values)
    assert legend_texts(ax)[:2] == ["threshold in use: 0.35", "test, pooled"]


def masks() -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    image = np.full((4, 4, 3), (30, 60, 90), dtype=np.uint8)
    truth, predicted = np.zeros((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    truth[0, :2] = True
    predicted[0, 1:3] = True
    return image, truth, predicted


def test_overlay_has_a_colour_for_each_kind_of_pixel_and_leaves_the_others_grey() -> None:
    drawn = overlay(*masks())
    expected = {(0, 0): FALSE_NEGATIVE, (0, 1): TRUE_POSITIVE, (0, 2): FALSE_POSITIVE}
    for place, colour in expected.items():
        np.testing.assert_allclose(drawn[place], 0.25 * 60 + 0.75 * 255 * np.array(to_rgb(colour)), atol=0.51)
    assert (drawn[1:] == 60).all()
    assert (drawn[0, 3] == 60).all()
    assert drawn.dtype == np.uint8
    image, truth, _ = masks()
    assert (truth_overlay(image, truth)[~truth] == image[~truth]).all()
    assert (truth_overlay(image, truth)[truth] != 60).any()
    np.testing.assert_array_equal(mask_image(truth)[..., 1], 255 * truth.astype(np.uint8))


def test_colours_are_told_apart_without_red_green_or_blue_cones() -> None:
    """Colours as seen without one kind of cone (Machado et al. 2009), compared by distance in CIELAB."""
    seen = {
        "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    }  # fmt: skip
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    for cones in seen.values():
        colours = []
        for colour in KINDS:
            linear = np.array([((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)])
            x, y, z = np.cbrt(to_xyz @ np.clip(np.array(cones) @ linear, 0, 1) / [0.9505, 1.0, 1.089])
            colours.append(np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)]))
        assert min(np.linalg.norm(a - b) for i, a in enumerate(colours) for b in colours[:i]) > 35


def test_rows_show_image_truth_prediction_and_overlay() -> None:
    image, truth, predicted = masks()
    figure = prediction_rows(
        np.stack([image] * 3), np.stack([truth] * 3), np.stack([predicted] * 3), ["one", "two", "three"],
        title="Lowest Dice (test)", synthetic=False,
    )  # fmt: skip
    (ax,) = figure.axes
    drawn = [np.asarray(shown.get_array()) for shown in ax.get_images()]
    assert len(drawn) == 12
    for found, expected in zip(
        drawn[4:8], (image, mask_image(truth), mask_image(predicted), overlay(image, truth, predicted)), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert [text.get_text() for text in ax.texts] == ["image", "truth", "prediction", "overlay", "one", "two", "three"]
    assert legend_texts(ax) == [*KINDS.values()]
    assert "Lowest Dice (test)" in ax.get_title(loc="left")


def test_rows_of_another_length_are_refused() -> None:
    image, *_ = masks()
    for rows, titles, columns in (([], [], ["a"]), ([[image]], ["a", "b"], ["c"]), ([[image, image]], ["a"], ["c"])):
        with pytest.raises(ValueError, match="Expected"):
            tile_rows(rows, titles, columns, title="t", synthetic=False)


@pytest.mark.parametrize("samples", [1, 30])
def test_every_figure_is_drawn_and_synthetic_data_are_marked(samples: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dice, group = rng.random(samples), np.array([f"P{number % 4}" for number in range(samples)], dtype=object)
    volumes = dict.fromkeys({*group}, 0.5)
    empty = np.zeros(samples, dtype=bool)
    image = rng.integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    mask = image[..., 0] > 128
    figures = [prediction_rows(image, mask, ~mask, ["a", "b"], title="t", synthetic=True)]
    figures.append(tile_rows([[*image]], ["plain"], ["a", "b"], title="t", synthetic=True, legend={TRUTH: "true mask"}))
    for nonempty in (~empty, empty):
        ax = new_figure(*WIDE, synthetic=True)[1]
        figures.append(figure_of(dice_histogram(dice, nonempty, structure="tumour", split="test", ax=ax)))
        ax = new_figure(*WIDE, synthetic=True)[1]
        figures.append(figure_of(dice_by_group(dice, group, nonempty, volumes, split="test", ax=ax)))
    for number, figure in enumerate(figures):
        save_figure(figure, tmp_path / f"{number}.png")
        with Image.open(tmp_path / f"{number}.png") as picture:
            alert = (np.asarray(picture.convert("RGB")) == (0xB3, 0x26, 0x1E)).all(axis=2).sum()
        assert alert > 100


def test_hostile_names_are_drawn_as_they_are(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    image, truth, predicted = masks()
    images, truths, predictions = (np.stack([image] * 7), np.stack([truth] * 7), np.stack([predicted] * 7))
    figure = prediction_rows(images, truths, predictions, HOSTILE, title=HOSTILE[0], synthetic=False)
    save_figure(figure, tmp_path / "rows.png")
    dice, group = np.linspace(0, 1, len(HOSTILE)), np.array(HOSTILE, dtype=object)
    volumes = dict(zip(HOSTILE, dice.tolist(), strict=True))
    ax = dice_by_group(dice, group, dice >= 0, volumes, split=HOSTILE[1], ax=axes())
    save_figure(figure_of(ax), tmp_path / "box.png")
    ax = dice_histogram(dice, dice >= 0, structure=HOSTILE[0], split="test", ax=axes())
    save_figure(figure_of(ax), tmp_path / "histogram.png")
    assert not recwarn.list
    assert ax.get_title(loc="left") == r"Dice of images with a\$b\$ (test)"
