"""What the reports of all tasks are made of: predictions read split by split, changes by stage, figures drawn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from matplotlib.axes import Axes

from cvlab.document import Block, Picture, Pictures
from cvlab.errors import RunFolderError, counted
from cvlab.plots import learning_curves, new_figure, save_figure
from cvlab.reading_stages import SPLITS
from cvlab.report_record import RunRecord
from cvlab.report_text import md
from cvlab.run_folder import Json

CURVE_SIZE = (9.0, 4.4)
HELD_OUT = ("val", "test")


class Predictions(Protocol):
    """A table of predictions of any task."""

    @property
    def sample_id(self) -> np.ndarray:
        """The id of each sample."""


Table = TypeVar("Table", bound=Predictions)
Read = Callable[[Path], Table]


class Figure(NamedTuple):
    """A figure to draw.

    Attributes:
        stem: The name of its file without ending.
        caption: What it shows, as Markdown.
        size: Width and height in inches.
        draw: Draws it.
        alt: What is to be seen on it, in plain text, for those who cannot see it.
    """

    stem: str
    caption: str
    size: tuple[float, float]
    draw: Callable[[Axes], Axes]
    alt: str = ""


def read_splits(record: RunRecord, read: Read[Table]) -> dict[str, Table]:
    """Reads the predictions of the run's own splits, then those that `cvlab evaluate RUN_DIR --data PATH` added.

    Args:
        record: The run.
        read: Reads one table.

    Raises:
        RunFolderError: There are predictions neither of test nor of val, or a table is damaged.
    """
    paths = {split: record.run.predictions(split) for split in SPLITS}
    added = {path.stem: path for path in sorted(paths["test"].parent.glob("[!.]*.csv")) if path.stem not in paths}
    found = {split: read(path) for split, path in {**paths, **added}.items() if path.is_file()}
    if "val" not in found and "test" not in found:
        raise RunFolderError(
            f"{paths['test']}: there are no predictions of test or val. Run `cvlab evaluate {record.run.path}` first."
        )
    return found


def read_after(record: RunRecord, stage: str, read: Read[Table]) -> dict[str, Table]:
    """Reads what an earlier stage ended with; splits without predictions are left out."""
    paths = {split: record.run.predictions(split, moment=f"{stage}-after") for split in HELD_OUT}
    return {split: read(path) for split, path in paths.items() if path.is_file()}


def shown_of(found: Collection[str]) -> str:
    """Returns the split that a report is about: test, or validation where there is none."""
    return "test" if "test" in found else "val"


def changes_by_stage(
    record: RunRecord,
    read: Read[Table],
    cells: Callable[[Table, Table], Sequence[str]],
    *,
    same: Callable[[Table], object] | None = None,
    named: str = "samples",
) -> list[list[str]]:
    """Returns a row for each stage and held-out split: both names, then what `cells` makes of before and after.

    Args:
        record: The run; one with a single stage of the task has no rows.
        read: Reads one table.
        cells: What to show of the tables of before and after a stage.
        same: What else must be the same in both; None for nothing.
        named: What must be the same, in words.

    Raises:
        RunFolderError: The two tables of a stage cannot be compared.
    """
    rows: list[list[str]] = []
    for stage in record.stages_of_task if len(record.stages_of_task) > 1 else ():
        for split in HELD_OUT:
            paths = [record.run.predictions(split, moment=f"{stage}-{moment}") for moment in ("before", "after")]
            if not all(path.is_file() for path in paths):
                continue
            before, after = map(read, paths)
            same_samples = np.array_equal(np.sort(before.sample_id), np.sort(after.sample_id))
            if not same_samples or (same is not None and same(before) != same(after)):
                raise RunFolderError(
                    f"{paths[1]}: expected the same {named} as in {paths[0]}, or the two cannot be compared. "
                    f"Run `cvlab evaluate {record.run.path}` again."
                )
            rows.append([md(stage), split, *cells(before, after)])
    return rows


def draw_curves(record: RunRecord, labels: Mapping[str, str], *, stage: str | None = None) -> list[Picture]:
    """Draws learning curves, a figure for each metric of `labels`.

    Args:
        record: The run.
        labels: What each key of an epoch is called.
        stage: Draw the epochs of this stage, in files that begin with its name; None for those of the last task.
    """
    history = record.history_of_task
    if stage is not None:
        history = [epoch for epoch in record.history if str(epoch["stage"]) == stage]
    figures = [_curve(history, metric, label) for metric, label in labels.items()] if history else []
    prefix = "" if stage is None else f"{stage}_"
    return draw_figures(record, [figure._replace(stem=f"{prefix}{figure.stem}") for figure in figures])


def _curve(history: Sequence[Json], metric: str, label: str) -> Figure:
    stages = [str(epoch["stage"]) for epoch in history]
    best = [bool(epoch.get("best")) for epoch in history]
    train, val = ([epoch.get(key) for epoch in history] for key in (metric, f"val_{metric}"))
    return Figure(
        f"curve_{metric}",
        f"{label} by epoch",
        CURVE_SIZE,
        lambda ax: learning_curves(train, val, stages, best, label=label, ax=ax),
        f"Line chart of {label} over {counted(len(history), 'epoch')}, for training and for validation; the best epoch "
        "of each stage is marked.",
    )


def draw_figures(record: RunRecord, figures: Iterable[Figure], *, split: str | None = None) -> list[Picture]:
    """Draws figures into `plots/`; `split` stands behind what each shows."""
    pictures = []
    for stem, caption, size, draw, alt in figures:
        figure, ax = new_figure(*size, synthetic=record.synthetic)
        draw(ax)
        save_figure(figure, record.run.figure(stem))
        pictures.append(Picture(f"plots/{stem}.png", caption if split is None else f"{caption} ({split})", alt))
    return pictures


def draw_named(record: RunRecord, figures: Mapping[str, Figure], *stems: str, split: str) -> list[Block]:
    """Draws those of `figures` that `stems` name, as far as there are any, as blocks of a section."""
    return picture_blocks(draw_figures(record, [figures[stem] for stem in stems if stem in figures], split=split))


def picture_blocks(pictures: Sequence[Picture]) -> list[Block]:
    """Returns pictures as a block; none as nothing."""
    return [Pictures(pictures)] if pictures else []
