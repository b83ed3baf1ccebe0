"""What is compared: each model with its runs, their predictions and what these come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cvlab.compare_config import same_but_for_the_seed
from cvlab.compare_integrity import check_against_samples
from cvlab.compare_runs import Candidate, Kind
from cvlab.compare_task import ComparedTask, cell_at, take
from cvlab.errors import CompareError, RunFolderError, counted, listing
from cvlab.report_intervals import with_stored_intervals
from cvlab.report_record import RunRecord
from cvlab.run_folder import Json, RunFolder


@dataclass(frozen=True)
class Result:
    """The predictions of one network, or those of all folds together.

    Attributes:
        record: The run, whose settings they are judged by.
        file: Where they lie.
        table: They, sorted by `sample_id`, classes and targets in the order that all runs share.
        metrics: What they come to, in the form of `metrics.json`, with the intervals of that file.
        pooled: Whether they are those of all folds.
    """

    record: RunRecord
    file: Path
    table: Any
    metrics: Json
    pooled: bool = False


@dataclass(frozen=True)
class Entrant:
    """A model that is compared.

    Attributes:
        name: Unique among the models compared.
        path: The folder of its run or of its repetitions; of the first run where several were named.
        kind: `run`, `seeds` or `folds`.
        results: Of each run; of folds a single one, pooled.
        parts: Of each run, for folds too.
        letter: Its place, from A on.
    """

    name: str
    path: Path
    kind: Kind
    results: tuple[Result, ...]
    parts: tuple[Result, ...]
    letter: str = ""

    @property
    def records(self) -> list[RunRecord]:
        """Its runs."""
        return [part.record for part in self.parts]

    @property
    def title(self) -> str:
        """Its name, with how many runs it stands for."""
        return self.name if self.kind == "run" else f"{self.name} ({counted(len(self.parts), self.kind[:-1])})"

    def value(self, path: tuple[str, ...]) -> float | None:
        """The value of a metric, the mean over its results; None where one of them has none."""
        cells = [cell_at(result.metrics, path) for result in self.results]
        values = [None if cell is None else cell["value"] for cell in cells]
        found = [float(value) for value in values if value is not None]
        return float(np.mean(found)) if len(found) == len(values) else None

    def values_of_parts(self, path: tuple[str, ...]) -> list[float]:
        """The values of a metric of its runs, those that have one."""
        cells = (cell_at(part.metrics, path) for part in self.parts)
        return [float(cell["value"]) for cell in cells if cell is not None and cell["value"] is not None]


def read_entrants(candidates: Sequence[Candidate], task: ComparedTask, split: str) -> list[Entrant]:
    """Reads the predictions of all runs; runs of one configuration with other seeds become one model.

    Args:
        candidates: What is compared.
        task: Their task.
        split: Whose predictions.

    Raises:
        RunFolderError: A table is missing or damaged, or is not what `metrics.json` was computed from.
        CompareError: Classes or targets differ.
    """
    together = _by_seed(candidates)
    names = _names([group[0] for group in together])
    entrants = [_entrant(group, name, task, split) for group, name in zip(together, names, strict=True)]
    return _in_one_order(entrants, task)


def _by_seed(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Puts single runs together whose configurations differ in the seed alone, all seeds being different."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        same = same_but_for_the_seed(candidate.records[0].config) if candidate.kind == "run" else str(candidate.path)
        groups.setdefault(same, []).append(candidate)
    found: list[list[Candidate]] = []
    for group in groups.values():
        seeds = [candidate.records[0].config.get("seed") for candidate in group]
        found += [group] if len(set(seeds)) == len(seeds) else [[candidate] for candidate in group]
    return found


def _names(candidates: Sequence[Candidate]) -> list[str]:
    """The experiment's name; where several have the same, the end of the folder's path that tells them apart, too.

    Where all have the same name it says nothing, and is left out.
    """
    names = [str(candidate.records[0].config.get("name") or candidate.path.parent.name) for candidate in candidates]
    found = []
    for candidate, name in zip(candidates, names, strict=True):
        rivals = [other.path for other, same in zip(candidates, names, strict=True) if same == name]
        if len(rivals) == 1:
            found.append(name)
            continue
        parts = candidate.path.parts
        depth = next(depth for depth in range(1, len(parts) + 1) if _apart(rivals, depth))
        end = "/".join(part for part in parts[-depth:] if part != name)
        found.append(end if len(rivals) == len(names) else f"{name} {end}")
    return found


def _apart(paths: Sequence[Path], depth: int) -> bool:
    return len({path.parts[-depth:] for path in paths}) == len(paths)


def _entrant(group: Sequence[Candidate], name: str, task: ComparedTask, split: str) -> Entrant:
    first = group[0]
    parts = tuple(_result(record, task, split) for candidate in group for record in candidate.records)
    if first.kind == "folds":
        return Entrant(name, first.path, "folds", (_pooled(first, parts, task, split),), parts)
    return Entrant(name, first.path, "run" if len(parts) == 1 else "seeds", parts, parts)


def _result(record: RunRecord, task: ComparedTask, split: str) -> Result:
    file = record.run.predictions(split)
    if not file.is_file():
        raise RunFolderError(f"{file}: there are no predictions of {split}. {_instead(record.run, split)}")
    table = task.read(file)
    check_against_samples(record, file, split)
    return Result(record, file, _sorted(table), _judged(record, table, task, split, pooled=False))


def _judged(record: RunRecord, table: Any, task: ComparedTask, split: str, *, pooled: bool) -> Json:
    """Every metric of a table, with the intervals of `metrics.json`, whose values must be the same."""
    found: Json = with_stored_intervals(record, {split: task.values(table, record, pooled=pooled)})[split]
    return found


def _instead(run: RunFolder, split: str) -> str:
    found = sorted(file.stem for file in run.predictions(split).parent.glob("[!.]*.csv"))
    held_out = [name for name in found if not name.startswith("train")]
    if held_out:
        return f"There are those of {', '.join(held_out)}: choose with --split {held_out[0]}."
    return f"Run `cvlab evaluate {run.path}` first."


def _pooled(candidate: Candidate, parts: Sequence[Result], task: ComparedTask, split: str) -> Result:
    folder = RunFolder(candidate.path)
    file = folder.predictions(split)
    if not file.is_file():
        raise RunFolderError(f"{file}: the pooled predictions are missing. `cvlab report {folder.path}` writes them.")
    record, table = replace(parts[0].record, run=folder), task.read(file)
    ids = [result.table.sample_id for result in parts]
    if sorted(table.sample_id) != sorted(np.concatenate(ids)):
        raise RunFolderError(
            f"{file}: does not hold the test samples of its {counted(len(parts), 'fold')}, each once. "
            f"`cvlab report {folder.path}` writes it anew."
        )
    metrics = _judged(record, table, task, split, pooled=True)
    return Result(record, file, _sorted(table), metrics, pooled=True)


def _sorted(table: Any) -> Any:
    return take(table, np.argsort(table.sample_id.astype(str), kind="stable"))


def _in_one_order(entrants: Sequence[Entrant], task: ComparedTask) -> list[Entrant]:
    """Puts the classes or targets of all tables into the order of the first one."""
    results = [result for entrant in entrants for result in (*entrant.results, *entrant.parts)]
    outputs = task.outputs(results[0].table)
    for result in results:
        found = task.outputs(result.table)
        if sorted(found) != sorted(outputs):
            one, other = results[0].file.parent.parent, result.file.parent.parent
            only = [
                f"{path}: {', '.join(sorted({*own} - {*rest}))}"
                for path, own, rest in ((one, outputs, found), (other, found, outputs))
                if {*own} - {*rest}
            ]
            raise CompareError(
                f"{one} and {other} do not predict the same classes or targets ({len(outputs)} and {len(found)}). "
                f"In one of them alone:\n{listing(only)}"
            )

    def ordered(result: Result) -> Result:
        return replace(result, table=task.in_order(result.table, outputs))

    return [
        replace(entrant, results=tuple(map(ordered, entrant.results)), parts=tuple(map(ordered, entrant.parts)))
        for entrant in entrants
    ]
