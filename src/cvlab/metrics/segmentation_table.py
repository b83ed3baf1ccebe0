"""The table of predictions of a segmentation: counts of pixels, one row an image, written and checked here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cvlab.errors import RunFolderError
from cvlab.metrics.prediction_rows import (
    check_first_columns,
    check_rows,
    check_unique,
    csv_line,
    damaged,
    read_rows,
)

Counts = NDArray[np.int64]
Values = NDArray[np.float64]
Flags = NDArray[np.bool_]

THRESHOLDS: tuple[float, ...] = tuple(step / 20 for step in range(1, 20))
THRESHOLD_NAMES = tuple(f"{threshold:.2f}" for threshold in THRESHOLDS)
GRID_COLUMNS = tuple(f"{kind}@{name}" for name in THRESHOLD_NAMES for kind in ("tp", "fp"))
COUNT_COLUMNS = ("tp", "fp", "fn", "tn")
COLUMNS = ("sample_id", "group", *COUNT_COLUMNS, "hd95", *GRID_COLUMNS)
FIRST_COUNT, DISTANCE, FIRST_OF_GRID = 2, 6, 7
# More pixels than any image has, and few enough that sums over all images stay exact.
MOST_DIGITS = 12


@dataclass(frozen=True)
class PixelCounts:
    """Pixels of n images (or of n volumes) by truth and prediction, each (n,) int64.

    Attributes:
        tp: Pixels of the structure that are predicted.
        fp: Pixels that are predicted and are not of the structure.
        fn: Pixels of the structure that are not predicted.
        tn: All other pixels.
    """

    tp: Counts
    fp: Counts
    fn: Counts
    tn: Counts

    def __len__(self) -> int:
        return len(self.tp)

    @property
    def true(self) -> Counts:
        """Pixels of the structure."""
        return self.tp + self.fn

    @property
    def predicted(self) -> Counts:
        """Pixels that are predicted."""
        return self.tp + self.fp

    @property
    def pixels(self) -> Counts:
        """All pixels."""
        return self.tp + self.fp + self.fn + self.tn

    def dice(self) -> Values:
        """2 tp / (2 tp + fp + fn) of each image; 1 where both masks are empty, 0 where one of them is."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def iou(self) -> Values:
        """Returns tp / (tp + fp + fn) of each image; 1 where both masks are empty, 0 where one of them is."""
        return _share(self.tp, self.tp + self.fp + self.fn)

    def pooled(self) -> PixelCounts:
        """The sums over all images, as one."""
        return PixelCounts(*(counts.sum(keepdims=True) for counts in vars(self).values()))

    def by_group(self, group: NDArray[np.object_]) -> tuple[list[str], PixelCounts]:
        """Returns the groups in the order of their names, and the sums over the images of each."""
        names = sorted({*group})
        place = {name: index for index, name in enumerate(names)}
        which = [place[name] for name in group]
        sums = [np.zeros(len(names), dtype=np.int64) for _ in COUNT_COLUMNS]
        for total, counts in zip(sums, vars(self).values(), strict=True):
            np.add.at(total, which, counts)
        return names, PixelCounts(*sums)


def _share(part: Counts, whole: Counts) -> Values:
    return np.divide(part, whole, out=np.ones(len(part)), where=whole > 0)


@dataclass(frozen=True)
class SegmentationPredictions:
    """What a model said of each of n images.

    Attributes:
        sample_id: (n,) strings, unique.
        group: (n,) strings: the patient or whatever else must not be split.
        counts: Pixels at the threshold of the run.
        hd95: (n,) float64, 95th percentile of the Hausdorff distance there, in pixels; NaN where a mask is empty.
        grid_tp: (n, 19) int64, `tp` at each of `THRESHOLDS`.
        grid_fp: (n, 19) int64, `fp` there.
    """

    sample_id: NDArray[np.object_]
    group: NDArray[np.object_]
    counts: PixelCounts
    hd95: Values
    grid_tp: Counts
    grid_fp: Counts

    def at(self, index: int) -> PixelCounts:
        """Returns the counts at threshold `THRESHOLDS[index]`."""
        tp, fp, true = self.grid_tp[:, index], self.grid_fp[:, index], self.counts.true
        return PixelCounts(tp, fp, true - tp, self.counts.pixels - true - fp)


def predictions_csv(p: SegmentationPredictions) -> str:
    """Returns the text of a predictions table: COLUMNS, a row an image; no distance is an empty field.

    Raises:
        RunFolderError: The counts of an image contradict each other.
    """
    if problem := _contradiction(p):
        row, where, text = problem
        raise RunFolderError(f"Predictions of sample '{p.sample_id[row]}', {where}: {text}")
    counts = np.column_stack([*vars(p.counts).values()]).tolist()
    grid = np.stack([p.grid_tp, p.grid_fp], axis=2).reshape(len(p.sample_id), -1).tolist()
    distances = ["" if np.isnan(value) else repr(value) for value in p.hd95.tolist()]
    lines = [csv_line(COLUMNS)]
    for one_id, group, row_counts, distance, row_grid in zip(
        p.sample_id, p.group, counts, distances, grid, strict=True
    ):
        lines.append(csv_line([str(one_id), str(group), *map(str, row_counts), distance, *map(str, row_grid)]))
    return "".join(lines)


def read_predictions(path: Path) -> SegmentationPredictions:
    """Reads and checks a predictions table.

    Raises:
        RunFolderError: The file is missing, or something in it is wrong; the message names row and column
            (the header is row 1).
    """
    header, *rows = read_rows(path)
    check_first_columns(path, header, COLUMNS)
    if len(header) > len(COLUMNS):
        problem = f"expected no further column, received '{header[len(COLUMNS)]}'."
        raise damaged(path, f"row 1 (the header), column {len(COLUMNS) + 1}", problem)
    check_rows(path, header, rows)
    check_unique(path, [row[0] for row in rows])
    grid = _counts(path, rows, start=FIRST_OF_GRID, stop=len(COLUMNS)).reshape(len(rows), len(THRESHOLDS), 2)
    counts = _counts(path, rows, start=FIRST_COUNT, stop=DISTANCE)
    p = SegmentationPredictions(
        sample_id=np.array([row[0] for row in rows], dtype=object),
        group=np.array([row[1] for row in rows], dtype=object),
        counts=PixelCounts(*counts.T),
        hd95=_distances(path, rows),
        grid_tp=grid[:, :, 0],
        grid_fp=grid[:, :, 1],
    )
    if found := _contradiction(p):
        number, where, text = found
        raise damaged(path, f"row {number + 2}, {where}", text)
    return p


def _counts(path: Path, rows: list[list[str]], *, start: int, stop: int) -> Counts:
    for number, row in enumerate(rows, start=2):
        for column in range(start, stop):
            text = row[column]
            if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
                problem = f"expected a number of pixels (digits alone, at most {MOST_DIGITS}), received '{text}'."
                raise damaged(path, f"row {number}, column '{COLUMNS[column]}'", problem)
    return np.array([[int(text) for text in row[start:stop]] for row in rows], dtype=np.int64)


def _distances(path: Path, rows: list[list[str]]) -> Values:
    distances = np.full(len(rows), np.nan)
    for number, row in enumerate(rows):
        text = row[DISTANCE]
        try:
            distances[number] = float(text) if text else np.nan
            sound = not text or 0 <= distances[number] < np.inf
        except ValueError:
            sound = False
        if not sound:
            problem = f"expected a distance in pixels (a number from 0), or nothing, received '{text}'."
            raise damaged(path, f"row {number + 2}, column 'hd95'", problem)
    return distances


def _contradiction(p: SegmentationPredictions) -> tuple[int, str, str] | None:
    """The first count that cannot stand beside the others: its row, where it stands and what is wrong."""
    counts, pixels = p.counts, p.counts.pixels
    if len(other := np.flatnonzero((pixels != pixels[:1]) | (pixels == 0))):
        row = int(other[0])
        expected = f"the {pixels[0]:,} pixels of the first image" if row else "at least one pixel"
        return row, "columns 'tp' to 'tn'", f"expected a sum of {expected}, received {pixels[row]:,}."
    both = (counts.true > 0) & (counts.predicted > 0)
    if len(wrong := np.flatnonzero(both == np.isnan(p.hd95))):
        row = int(wrong[0])
        expected = "a distance: neither mask is empty" if both[row] else "nothing: a mask is empty"
        return row, "column 'hd95'", f"expected {expected}, received {p.hd95[row]}."
    return _impossible_grid(p.grid_tp, counts.true, "tp") or _impossible_grid(p.grid_fp, counts.fp + counts.tn, "fp")


def _impossible_grid(grid: Counts, most: Counts, kind: str) -> tuple[int, str, str] | None:
    """The first count over the thresholds that is higher than at the threshold before, or than there are pixels."""
    before = np.column_stack([most, grid[:, :-1]])
    wrong = np.argwhere(grid > before)
    if not len(wrong):
        return None
    row, column = map(int, wrong[0])
    problem = f"expected at most {before[row, column]:,}, received {grid[row, column]:,}."
    return row, f"column '{kind}@{THRESHOLD_NAMES[column]}'", problem
