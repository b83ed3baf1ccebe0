"""What the parts of a repetition come to together: the spread of each metric, and pooled out-of-fold predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cvlab.data.samples import SampleTable, read_samples
from cvlab.errors import RunFolderError, counted, listing
from cvlab.initial import tasks_of
from cvlab.metrics.classification_table import read_predictions
from cvlab.metrics.intervals import is_cell
from cvlab.metrics.operating_point import OperatingPoint
from cvlab.metrics.pooled_binary import BINARY, pooled_binary
from cvlab.metrics.prediction_rows import csv_line, read_rows
from cvlab.metrics.spread import spread_of_all
from cvlab.repetitions import Parent
from cvlab.run_folder import Json, RunFolder, read_json, write_json, write_text
from cvlab.tasks.segmentation import mask_path

TEST = "test"


@dataclass(frozen=True)
class Part:
    """A finished part: its name, its folder, and the samples of its last stage as they are."""

    name: str
    run: RunFolder
    samples: SampleTable

    @property
    def tested(self) -> set[str]:
        """The ids of its test split."""
        return {*self.samples.of_split(TEST).sample_id}


def pool(parent: Parent) -> None:
    """Writes `summary.json`; of all folds also `predictions/test.csv`, `out_of_fold.csv` and `metrics.json`.

    While folds are missing there are no pooled results: those of an earlier time are removed.

    Raises:
        RunFolderError: The parts do not belong together, or a file of one is missing or damaged.
    """
    parts, folder = _read_parts(parent), parent.folder
    write_json(folder.summary, _summary(parts))
    if _has_all_folds(parent, parts):
        write_text(folder.predictions(TEST), _pooled_rows(parts))
        write_text(folder.out_of_fold, _origins(parts))
        write_json(folder.metrics, {TEST: _pooled_metrics(parent, parts)})
        return
    for stale in (folder.predictions(TEST), folder.out_of_fold, folder.metrics):
        stale.unlink(missing_ok=True)


def is_pooled(parent: Parent) -> bool:
    """Whether the parent's files are those of its parts as these are now; one may have been evaluated on its own.

    Raises:
        RunFolderError: The parts do not belong together, or a file of one is missing or damaged.
    """
    parts, folder = _read_parts(parent), parent.folder
    if not folder.summary.is_file() or read_json(folder.summary) != _summary(parts):
        return False
    pooled = folder.predictions(TEST)
    if not _has_all_folds(parent, parts):
        return not pooled.is_file()
    whole = pooled.is_file() and folder.out_of_fold.is_file() and _has_pooled_metrics(parent, parts)
    return whole and pooled.read_text(encoding="utf-8") == _pooled_rows(parts)


def _has_pooled_metrics(parent: Parent, parts: list[Part]) -> bool:
    """Whether the parent's `metrics.json` holds what a report reads of it: each metric of the parts."""
    path = parent.folder.metrics
    found = read_json(path).get(TEST, {}) if path.is_file() else {}
    of_part = _metrics(parts[0])[TEST]
    return all(is_cell(found.get(name)) for name, cell in of_part.items() if is_cell(cell))


def _read_parts(parent: Parent) -> list[Part]:
    names = parent.finished()
    if not names:
        raise RunFolderError(
            f"{parent.path}: no part is finished, so that there is nothing to summarise. Go on with: "
            f"cvlab train --resume {parent.path}"
        )
    parts = [_read_part(parent, name) for name in names]
    _check_same_samples(parent, parts)
    if _has_all_folds(parent, parts):
        _check_tested_once(parent, parts)
    return parts


def _has_all_folds(parent: Parent, parts: list[Part]) -> bool:
    return parent.repetitions.kind == "folds" and len(parts) == len(parent.repetitions.parts)


def _read_part(parent: Parent, name: str) -> Part:
    run = parent.run(name)
    table = read_samples(run.samples).originals()
    return Part(name, run, table.take(table.stage == table.stage[-1]))


def _check_same_samples(parent: Parent, parts: list[Part]) -> None:
    """All parts must have the same files with the same truth; with other seeds the same split too."""
    by_seed = parent.repetitions.kind == "seeds"

    def rows(part: Part) -> dict[str, tuple[str, ...]]:
        table = part.samples
        split = table.split if by_seed else np.full(len(table), "")
        truth = [table.targets[name] for name in sorted(table.targets)]
        return {row[0]: row for row in zip(table.sample_id, table.content, table.group, split, *truth, strict=True)}

    first = rows(parts[0])
    for part in parts[1:]:
        now = rows(part)
        other = sorted(name for name in first.keys() | now.keys() if first.get(name) != now.get(name))
        if other:
            what = "files, labels, groups or splits" if by_seed else "files, labels or groups"
            raise RunFolderError(
                f"{part.run.samples}: holds other {what} than {parts[0].name} ({counted(len(other), 'sample')}), so "
                f"that the two are no repetitions of one experiment:\n{listing(other)}"
            )


def _check_tested_once(parent: Parent, parts: list[Part]) -> None:
    tested = [name for part in parts for name in part.tested]
    if len(tested) != len({*tested}) or {*tested} != {*parts[0].samples.sample_id}:
        raise RunFolderError(
            f"{parent.path}: the folds do not belong together: expected each of "
            f"{counted(len(parts[0].samples), 'sample')} in the test split of one of them. Train them anew."
        )


def _summary(parts: list[Part]) -> Json:
    """The spread of every metric by split; tables of stages before and after training are left to the parts."""
    metrics = {part.name: _metrics(part) for part in parts}
    splits = [split for split in metrics[parts[0].name] if "/" not in split]
    everywhere = [split for split in splits if all(split in found for found in metrics.values())]
    return {
        "parts": [part.name for part in parts],
        "splits": {
            split: spread_of_all({name: found[split] for name, found in metrics.items()}) for split in everywhere
        },
    }


def _metrics(part: Part) -> Json:
    """The metrics of a part, those of test among them where it has such samples."""
    metrics: Json = read_json(part.run.metrics)
    if part.tested and TEST not in metrics:
        raise RunFolderError(
            f"{part.run.metrics}: lacks the metrics of {TEST}. To write them anew: cvlab evaluate {part.run.path}"
        )
    return metrics


def _pooled_rows(parts: list[Part]) -> str:
    """The rows of all test predictions in the order of ids, as they are."""
    header: list[str] = []
    pooled: list[list[str]] = []
    for part in parts:
        path = part.run.predictions(TEST)
        first, *rows = read_rows(path)
        header = header or first
        if first != header:
            raise RunFolderError(f"{path}: expected the columns {', '.join(header)}, received {', '.join(first)}.")
        if sorted(row[0] for row in rows if row) != sorted(part.tested):
            raise RunFolderError(
                f"{path}: does not hold the {counted(len(part.tested), 'sample')} of the test split. Run "
                f"`cvlab evaluate {part.run.path}` again."
            )
        pooled += rows
    return "".join(map(csv_line, [header, *sorted(pooled, key=lambda row: row[0])]))


def _origins(parts: list[Part]) -> str:
    """Which part tested each sample, and the mask that it predicted, if any; as CSV."""
    rows = sorted((name, part.name, _mask(part, name)) for part in parts for name in part.tested)
    return "".join(map(csv_line, [("sample_id", "part", "mask"), *rows]))


def _mask(part: Part, sample_id: str) -> str:
    path = mask_path(part.run.predictions(TEST).with_suffix(""), sample_id)
    return f"{part.name}/{path.relative_to(part.run.path)}" if path.is_file() else ""


def _pooled_metrics(parent: Parent, parts: list[Part]) -> Json:
    """Every metric of the pooled table.

    Decisions are those of the parts, each at its own operating point: masks are counted at it in the rows already, and
    the binary table is counted at it here. Areas under curves compare scores of several networks.
    """
    experiment, path = parent.experiment(), parent.folder.predictions(TEST)
    settings, seed = experiment.evaluate, experiment.seed
    found = tasks_of(parts[0].run, experiment)[-1].metrics(path, settings, seed=seed)
    points = {part.name: _operating_point(part) for part in parts if BINARY in _metrics(part)[TEST]}
    if len(points) < len(parts):
        return found
    p = read_predictions(path)
    thresholds = {name: points[part.name].threshold for part in parts for name in part.tested}
    at = np.array([thresholds[name] for name in p.sample_id])
    return {**found, BINARY: pooled_binary(p, *points[parts[0].name].of(p), at, settings.bootstrap, seed=seed)}


def _operating_point(part: Part) -> OperatingPoint:
    return OperatingPoint.from_json(read_json(part.run.operating_point))
