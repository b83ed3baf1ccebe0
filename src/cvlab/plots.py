"""Figures: pure functions of arrays that draw into the axes they are given. No pyplot, no global state."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cvlab.run_folder import atomic_path
from cvlab.text import printable

# Twice what a screen of 100 pixels an inch shows, for dense screens.
DPI = 200
INK, SOFT, FAINT, ALERT = "#1f2933", "#66727f", "#e3e7eb", "#b3261e"
# Okabe and Ito 2008, told apart with any colour vision; its yellow, too pale for lines, is left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LONGEST_NAME = 24
CELL_INCHES = 1.35
MOST_DOTTED_EPOCHS = 40


def new_figure(width: float, height: float, *, synthetic: bool) -> tuple[Figure, Axes]:
    """Returns a figure of `width` x `height` inches with one pair of axes; synthetic data is marked on it."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    if synthetic:
        _mark_synthetic(figure)
    return figure, figure.add_subplot()


def new_panels(count: int, columns: int, width: float, height: float, *, synthetic: bool) -> tuple[Figure, list[Axes]]:
    """Returns a figure with `count` pairs of axes in rows of `columns`, each `width` x `height` inches."""
    columns = min(columns, count)
    rows = ceil(count / columns)
    figure = Figure(figsize=(width * columns, height * rows), dpi=DPI, layout="constrained", facecolor="white")
    if synthetic:
        _mark_synthetic(figure)
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(count)]


def _mark_synthetic(figure: Figure) -> None:
    frame = {"boxstyle": "round,pad=0.35", "facecolor": "#fdecea", "edgecolor": ALERT, "linewidth": 0.8}
    figure.supxlabel("synthetic sample data", color=ALERT, fontsize=9, fontweight="bold", bbox=frame)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes `figure` as PNG, whole or not at all; the same figure gives the same bytes."""
    # Trimmed to what is drawn: a long class name widens the picture and is never cut off.
    trim: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.12}
    # Pictures of photographs are written in half the time of zlib's level 6, and are a twelfth larger.
    encoding = {"compress_level": 4}
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # A class name may hold letters that the font lacks: a box in the figure, the name in the report.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None}, pil_kwargs=encoding, **trim)


def plain(text: str, *, longest: int = LONGEST_NAME) -> str:
    """Returns `text` for a figure: on one line, cut to `longest` characters, a dollar is no formula."""
    line = printable(text)
    short = line if len(line) <= longest else line[: longest - 1] + "…"
    return short.replace("$", r"\$")


def prepare(ax: Axes, title: str, x_label: str, y_label: str, *, pad: float = 12) -> None:
    """Gives `ax` its title, its labels and the look that all figures share."""
    ax.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=pad)
    ax.set_xlabel(x_label, color=INK)
    ax.set_ylabel(y_label, color=INK)
    ax.tick_params(colors=SOFT, labelcolor=INK, labelsize=9, length=3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(SOFT)
    ax.grid(color=FAINT, linewidth=0.8)
    ax.set_axisbelow(True)


def learning_curves(
    train: Sequence[float | None],
    validation: Sequence[float | None],
    stages: Sequence[str],
    best: Sequence[bool],
    *,
    label: str,
    ax: Axes,
) -> Axes:
    """Draws one metric over the epochs of all stages in turn; the best epoch of each stage is marked.

    Args:
        train: Value of each epoch on the training split; None leaves a gap, no line if there is nothing else.
        validation: The same on the validation split.
        stages: Name of each epoch's stage.
        best: Whether an epoch became its stage's best; the last such epoch of a stage is its best.
        label: What the metric is called.
        ax: Where to draw.
    """
    epochs = np.arange(1, len(stages) + 1)
    train_values, validation_values = (np.array(values, dtype=np.float64) for values in (train, validation))
    prepare(ax, f"{label} by epoch", "epoch", label, pad=22 if len(set(stages)) > 1 else 12)
    style: dict[str, Any] = {"linewidth": 1.8}
    if len(epochs) <= MOST_DOTTED_EPOCHS:
        style |= {"marker": "o", "markersize": 3.5}
    if not np.isnan(train_values).all():
        ax.plot(epochs, train_values, color=COLOURS[0], label="training (running mean)", **style)
    ax.plot(epochs, validation_values, color=COLOURS[1], label="validation", **style)
    marked = _stage_borders(stages, best, ax)
    star: dict[str, Any] = {"marker": "*", "markersize": 15, "markeredgecolor": "white", "linestyle": ""}
    ax.plot(
        epochs[marked],
        validation_values[marked],
        color=COLOURS[1],
        zorder=5,
        label=f"best epoch{' of a stage' if len(marked) > 1 else ''}",
        **star,
    )
    ax.set_xlim(0.5, len(epochs) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9, borderaxespad=0)
    return ax


def _stage_borders(stages: Sequence[str], best: Sequence[bool], ax: Axes) -> list[int]:
    marked, start = [], 0
    several = len(set(stages)) > 1
    for stage, epochs in groupby(stages):
        end = start + len(list(epochs))
        marked += [index for index in range(start, end) if best[index]][-1:]
        if start:
            ax.axvline(start + 0.5, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        if several:
            fits = max(3, int(70 * (end - start) / len(stages)))
            name = plain(stage, longest=min(fits, LONGEST_NAME))
            ax.text(
                (start + end + 1) / 2,
                1.005,
                name,
                transform=ax.get_xaxis_transform(),
                ha="center",
                va="bottom",
                color=SOFT,
                fontsize=9,
                style="italic",
            )
        start = end
    return marked


def image_grid(
    images: NDArray[np.uint8], titles: Sequence[str], *, columns: int, title: str, synthetic: bool
) -> Figure:
    """Draws images in rows, each with its title above it; a title may have several lines.

    Args:
        images: (n, h, w, 3) uint8.
        titles: n titles.
        columns: Images in a row.
        title: Of the whole figure.
        synthetic: Whether to mark the figure as made from synthetic sample data.
    """
    count, height, width = images.shape[:3]
    if len(titles) != count or not count:
        raise ValueError(f"Expected a title for each of one or more images, received {len(titles)} for {count}.")
    columns = min(columns, count)
    rows = ceil(count / columns)
    lines = max(text.count("\n") + 1 for text in titles)
    image_height = CELL_INCHES * height / width
    cell_height = image_height + 0.16 * lines + 0.12
    figure, ax = new_figure(columns * (CELL_INCHES + 0.1) + 0.1, rows * cell_height + 0.3, synthetic=synthetic)
    # One pair of axes for all images, in inches: laying out one pair an image takes seconds.
    for index, (image, text) in enumerate(zip(images, titles, strict=True)):
        left = (index % columns) * (CELL_INCHES + 0.1)
        top = (index // columns) * cell_height + 0.16 * lines
        extent = (left, left + CELL_INCHES, top + image_height, top)
        ax.imshow(image, extent=extent, interpolation="antialiased", interpolation_stage="rgba")
        shown = "\n".join(plain(line) for line in text.split("\n"))
        ax.text(left, top - 0.03, shown, fontsize=7.5, color=INK, va="bottom", linespacing=1.1)
    ax.set_xlim(-0.02, columns * (CELL_INCHES + 0.1))
    ax.set_ylim(rows * cell_height, 0)
    ax.set_aspect("equal")
    ax.axis("off")
    ax.set_title(plain(title, longest=80), loc="left", fontsize=12, fontweight="bold", color=INK)
    return figure
