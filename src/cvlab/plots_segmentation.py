"""Figures of a segmentation: Dice as a histogram, by group and over thresholds; masks laid over their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cvlab.plots import COLOURS, FAINT, INK, SOFT, new_figure, plain, prepare

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
Image = NDArray[np.uint8]

WIDE = (7.6, 4.2)
BINS = 20
MOST_GROUPS = 40
LONGEST_GROUP = 28
# A light green, a middle red and a dark blue: told apart with any colour vision, by how bright they are too.
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = "#2EE6A8", "#F0321E", "#3D6BFF"
KINDS = {
    TRUE_POSITIVE: "found (true positive)",
    FALSE_POSITIVE: "too much (false positive)",
    FALSE_NEGATIVE: "missed (false negative)",
}
TRUTH = "#E69F00"
BOX = "#cfe3f3"
COVERAGE = 0.75
PREDICTION_COLUMNS = ("image", "truth", "prediction", "overlay")
TILE, GAP, LINE, HEADING = 1.6, 0.08, 0.16, 0.24
LONGEST_HEADING = 18


def dice_histogram(dice: Values, nonempty: Flags, *, structure: str, split: str, ax: Axes) -> Axes:
    """Draws how often each Dice occurs among the images that show the structure; the others are counted in words.

    Args:
        dice: (n,) Dice of each image.
        nonempty: (n,) whether its true mask shows anything.
        structure: What the masks show, such as `tumour`.
        split: Which images; stands in the title.
        ax: Where to draw.
    """
    named, shown = plain(structure), dice[nonempty]
    prepare(ax, f"Dice of images with {named} ({split})", "Dice", "images", pad=24)
    right, others = int((dice[~nonempty] == 1).sum()), int((~nonempty).sum())
    _subtitle(ax, f"left out: {others:,} images without {named}, {right:,} of them with nothing predicted")
    ax.hist(shown, bins=np.linspace(0, 1, BINS + 1).tolist(), color=COLOURS[0], edgecolor="white", linewidth=0.6)
    if len(shown):
        for value, style, name in ((shown.mean(), "-", "mean"), (float(np.median(shown)), "--", "median")):
            ax.axvline(value, color=COLOURS[1], linestyle=style, linewidth=1.6, label=f"{name} {value:.3f}")
        _legend(ax)
    ax.set_xlim(0, 1)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return ax


def groups_height(groups: int) -> float:
    """Returns the height in inches that `dice_by_group` needs."""
    return 1.5 + 0.26 * min(groups, MOST_GROUPS)


def dice_by_group(
    dice: Values,
    group: NDArray[np.object_],
    nonempty: Flags,
    volumes: Mapping[str, float],
    *,
    split: str,
    ax: Axes,
    named: str = "group",
) -> Axes:
    """Draws the Dice of each group's images as a box, and that of its volume; the worst volume stands on top.

    A box reaches over the middle half of the images with a true mask, its line is their median, and the whiskers
    reach to the lowest and the highest. Beyond 40 groups only the worst are shown.

    Args:
        dice: (n,) Dice of each image.
        group: (n,) its group, such as the patient.
        nonempty: (n,) whether its true mask shows anything.
        volumes: Dice of the pixels of all images of a group, by group.
        split: Which images; stands in the title.
        ax: Where to draw.
        named: What a group is called.
    """
    worst = sorted(volumes, key=lambda name: (volumes[name], name))
    names = worst[:MOST_GROUPS]
    more = f": the worst {len(names)} of {len(worst):,}" if len(worst) > len(names) else ""
    prepare(ax, f"Dice by {named} ({split}){more}", "Dice", "")
    members = {name: dice[nonempty & (group == name)] for name in names}
    _boxes({place: members[name] for place, name in enumerate(names) if len(members[name])}, ax)
    marker: dict[str, Any] = {"marker": "D", "markersize": 6, "markeredgecolor": "white", "linestyle": ""}
    ax.plot([volumes[name] for name in names], range(len(names)), color=COLOURS[1], zorder=4, clip_on=False, **marker)
    labels = [f"{plain(name, longest=LONGEST_GROUP)} ({len(members[name])})" for name in names]
    ax.set_yticks(range(len(names)), labels)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(-0.01, 1.01)
    handles = [Patch(facecolor=BOX, edgecolor=COLOURS[0]), Line2D([], [], color=COLOURS[1], **marker)]
    return _legend(ax, handles, ["images with a true mask\n(their number in brackets)", "volume (all pixels)"])


def _boxes(members: Mapping[int, Values], ax: Axes) -> None:
    """Draws a lying box plot at each place; by hand, since that of matplotlib imports pyplot."""
    if not members:
        return
    places = np.array([*members])
    low, first, middle, third, high = np.array([np.percentile(of, (0, 25, 50, 75, 100)) for of in members.values()]).T
    ax.hlines(places, low, high, color=COLOURS[0], linewidth=1.1, zorder=1.5)
    for end in (low, high):
        ax.vlines(end, places - 0.15, places + 0.15, color=COLOURS[0], linewidth=1.1)
    ax.barh(places, third - first, left=first, height=0.6, facecolor=BOX, edgecolor=COLOURS[0], zorder=2)
    ax.vlines(middle, places - 0.3, places + 0.3, color=COLOURS[0], linewidth=2.2, zorder=3)


@dataclass(frozen=True)
class ThresholdCurves:
    """Dice of a split at each threshold: pooled over all pixels, and the mean over images with a true mask."""

    pooled: Values
    nonempty: Values


def dice_over_thresholds(
    splits: Mapping[str, ThresholdCurves], thresholds: Sequence[float], *, chosen: float, structure: str, ax: Axes
) -> Axes:
    """Draws Dice over the threshold of a predicted pixel, and the threshold in use.

    Args:
        splits: Curves by name, at most two, the main one first; NaN leaves a gap.
        thresholds: Where the curves are known.
        chosen: The threshold in use.
        structure: What the masks show.
        ax: Where to draw.
    """
    prepare(ax, f"Dice over thresholds ({', '.join(splits)})", "threshold of a predicted pixel", "Dice")
    ax.axvline(chosen, color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)), label=f"threshold in use: {chosen:g}")
    for (split, curves), colour in zip(splits.items(), COLOURS, strict=False):
        name = plain(split)
        ax.plot(thresholds, curves.pooled, color=colour, linewidth=2, marker="o", markersize=4, label=f"{name}, pooled")
        label = f"{name}, mean of images\nwith {plain(structure)}"
        ax.plot(thresholds, curves.nonempty, color=colour, linewidth=1.4, linestyle=(0, (1, 1.2)), label=label)
    ax.set_xlim(0, 1)
    ax.set_ylim(-0.01, 1.02)
    return _legend(ax)


def overlay(image: Image, truth: Flags, predicted: Flags) -> Image:
    """Returns the grey image (h, w, 3) with true positives green, false positives red and false negatives blue.

    Args:
        image: (h, w, 3) uint8.
        truth: (h, w) mask.
        predicted: (h, w) mask.
    """
    places = (truth & predicted, predicted & ~truth, truth & ~predicted)
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    return _tinted(grey, dict(zip(KINDS, places, strict=True)))


def truth_overlay(image: Image, truth: Flags) -> Image:
    """Returns the image (h, w, 3) in its own colours, which augmentation may have changed, with the mask in orange."""
    return _tinted(image.astype(np.float64), {TRUTH: truth})


def _tinted(image: Values, places: Mapping[str, Flags]) -> Image:
    for colour, mask in places.items():
        image[mask] = (1 - COVERAGE) * image[mask] + COVERAGE * 255 * np.array(to_rgb(colour))
    return np.round(image).astype(np.uint8)


def mask_image(mask: Flags) -> Image:
    """Returns a mask (h, w) in black and white, (h, w, 3) uint8."""
    return np.repeat(np.where(mask, 255, 0).astype(np.uint8)[:, :, None], 3, axis=2)


def prediction_rows(
    images: Image, truths: Flags, predictions: Flags, titles: Sequence[str], *, title: str, synthetic: bool
) -> Figure:
    """Draws a row for each image: the image, its true mask, the predicted one, and both laid over it.

    Args:
        images: (n, h, w, 3) uint8.
        truths: (n, h, w) masks.
        predictions: (n, h, w) masks.
        titles: n titles, one line each.
        title: Of the whole figure.
        synthetic: Whether to mark the figure as made from synthetic sample data.
    """
    rows = [
        [image, mask_image(truth), mask_image(predicted), overlay(image, truth, predicted)]
        for image, truth, predicted in zip(images, truths, predictions, strict=True)
    ]
    return tile_rows(rows, titles, PREDICTION_COLUMNS, legend=KINDS, title=title, synthetic=synthetic)


def tile_rows(
    rows: Sequence[Sequence[Image]],
    row_titles: Sequence[str],
    column_titles: Sequence[str],
    *,
    title: str,
    synthetic: bool,
    legend: Mapping[str, str] | None = None,
) -> Figure:
    """Draws rows of images of one size, a title above each row and a heading above each column.

    Args:
        rows: Images (h, w, 3) uint8 by row; each row has an image for each column.
        row_titles: A title for each row, one line each.
        column_titles: A heading for each column.
        title: Of the whole figure.
        synthetic: Whether to mark the figure as made from synthetic sample data.
        legend: What each colour means, by colour.
    """
    if not rows or len(rows) != len(row_titles) or any(len(row) != len(column_titles) for row in rows):
        raise ValueError(f"Expected {len(row_titles)} rows of {len(column_titles)} images, one or more.")
    height, width = rows[0][0].shape[:2]
    tile_height = TILE * height / width
    row_height, top = tile_height + LINE + GAP, HEADING
    across = len(column_titles) * (TILE + GAP)
    bottom = top + len(rows) * row_height + (0.3 if legend else 0)
    figure, ax = new_figure(across + 0.1, bottom + 0.3, synthetic=synthetic)
    for column, name in enumerate(column_titles):
        heading = plain(name, longest=LONGEST_HEADING)
        ax.text(column * (TILE + GAP), top - 0.08, heading, fontsize=9, color=SOFT, style="italic", va="bottom")
    for index, (row, row_title) in enumerate(zip(rows, row_titles, strict=True)):
        upper = top + index * row_height + LINE
        ax.text(0, upper - 0.03, plain(row_title, longest=90), fontsize=8, color=INK, va="bottom")
        for column, image in enumerate(row):
            left = column * (TILE + GAP)
            extent = (left, left + TILE, upper + tile_height, upper)
            ax.imshow(image, extent=extent, interpolation="antialiased", interpolation_stage="rgba")
    _frame(ax, across, bottom, title)
    if legend:
        handles = [Patch(facecolor=colour, edgecolor=FAINT, label=name) for colour, name in legend.items()]
        style: dict[str, Any] = {"frameon": False, "fontsize": 9, "borderaxespad": 0, "handlelength": 1.2}
        ax.legend(handles=handles, loc="lower left", ncols=len(handles), columnspacing=1.2, **style)
    return figure


def _frame(ax: Axes, across: float, bottom: float, title: str) -> None:
    ax.set_xlim(-0.02, across)
    ax.set_ylim(bottom, 0)
    ax.set_aspect("equal")
    ax.axis("off")
    ax.set_title(plain(title, longest=80), loc="left", fontsize=12, fontweight="bold", color=INK)


def _subtitle(ax: Axes, text: str) -> None:
    ax.text(0, 1.02, text, transform=ax.transAxes, fontsize=9.5, color=SOFT, va="bottom")


def _legend(ax: Axes, *entries: Any) -> Axes:
    ax.legend(*entries, loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=9, borderaxespad=0)
    return ax
