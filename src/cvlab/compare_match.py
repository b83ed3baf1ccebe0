"""On which samples models are compared: the same ones, with the same truth, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cvlab.compare_entrants import Entrant, Result
from cvlab.compare_integrity import samples_of
from cvlab.compare_task import ComparedTask, take
from cvlab.errors import CompareError, counted, listing

Indices = NDArray[np.intp]
NAMED = 3


@dataclass(frozen=True)
class Samples:
    """The test samples of a comparison.

    Attributes:
        ids: (n,) those of all runs, sorted.
        group: (n,) the number of each sample's group; groups that any run keeps together are one.
        pairing: `samples` where all runs were tested on the same ones; `seeds` where those of equal seeds were, as when
            the seed decides the split; `nothing` where there is a single model, whose runs differ.
        left_out: By model, how many of its samples are left out since others lack them.
        warnings: What is odd about them.
    """

    ids: NDArray[np.object_]
    group: Indices
    pairing: Literal["samples", "seeds", "nothing"]
    left_out: dict[str, int]
    warnings: tuple[str, ...] = ()

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return int(self.group.max()) + 1

    @property
    def grouped(self) -> bool:
        """Whether some group has two samples or more."""
        return self.groups < len(self.ids)

    def rows(self, result: Result) -> Indices:
        """Where the samples of a result stand among all."""
        places: Indices = np.searchsorted(self.ids.astype(str), result.table.sample_id.astype(str))
        return places


def match(
    entrants: Sequence[Entrant], task: ComparedTask, *, split: str, intersect: bool
) -> tuple[list[Entrant], Samples]:
    """Finds the samples that models can be compared on.

    Args:
        entrants: The models.
        task: Their task.
        split: What the samples are called.
        intersect: Whether to compare on the samples that all runs share, where they differ.

    Returns:
        The models, with these samples alone, and the samples.

    Raises:
        CompareError: The runs were tested on other samples, or disagree about the truth of one.
    """
    results = [result for entrant in entrants for result in entrant.results]
    pairing = _pairing(entrants)
    left_out: dict[str, int] = {}
    if pairing is None:
        common = _common(entrants, split=split, intersect=intersect)
        left_out = {entrant.name: len(entrant.results[0].table.sample_id) - len(common) for entrant in entrants}
        entrants = [_on(entrant, common, task) for entrant in entrants]
        results = [result for entrant in entrants for result in entrant.results]
    ids = np.unique(np.concatenate([result.table.sample_id for result in results]).astype(str)).astype(object)
    found = Samples(ids, np.zeros(len(ids), dtype=np.intp), pairing or "samples", left_out)
    _check_truth(results, found, task, split)
    group, warnings = _groups(results, found)
    warnings += _other_files(results, split)
    return list(entrants), replace(found, group=group, warnings=tuple(warnings))


def _pairing(entrants: Sequence[Entrant]) -> Literal["samples", "seeds", "nothing"] | None:
    """How the runs can be compared as they are; None where they cannot."""
    tested = [[tuple(result.table.sample_id) for result in entrant.results] for entrant in entrants]
    if len({ids for of_entrant in tested for ids in of_entrant}) == 1:
        return "samples"
    if len(entrants) == 1:
        return "nothing"
    by_seed = [dict(zip(seeds(entrant), ids, strict=True)) for entrant, ids in zip(entrants, tested, strict=True)]
    several = all(len(entrant.results) > 1 for entrant in entrants)
    return "seeds" if several and all(other == by_seed[0] for other in by_seed) else None


def seeds(entrant: Entrant) -> list[Any]:
    """Returns the seed of each result of a model."""
    return [result.record.config.get("seed") for result in entrant.results]


def _name(model: str, run: str) -> str:
    """The name of a run of a model, which may be that of its folder already."""
    return model if model.endswith(run) else f"{model} {run}"


def _common(entrants: Sequence[Entrant], *, split: str, intersect: bool) -> NDArray[np.object_]:
    """The samples that all runs were tested on."""
    sets = {
        _name(entrant.name, result.record.run.path.name): {*result.table.sample_id}
        for entrant in entrants
        for result in entrant.results
    }
    common = set.intersection(*sets.values())
    if common and intersect:
        return np.array(sorted(common), dtype=object)
    kinds = {entrant.records[0].synthetic for entrant in entrants}
    also = " Some runs are of synthetic sample data, others are not." if len(kinds) > 1 else ""
    if not common:
        sizes = listing([f"{name}: {counted(len(ids), 'sample')}, such as {min(ids)}" for name, ids in sets.items()])
        raise CompareError(
            f"The runs cannot be compared: no sample stands in the {split} split of all of them.{also}\n{sizes}\n"
            "Train them on the same data with the same `data.split` and seed."
        )
    lines = [_own(name, ids, common) for name, ids in sets.items()]
    several = len({seed for entrant in entrants for seed in seeds(entrant)}) > 1
    hint = "Their seeds differ, and the seed decides the split where `data.split.seed` is not set.\n" if several else ""
    raise CompareError(
        f"The runs were not tested on the same samples: {counted(len(common), 'sample')} of the {split} split are "
        f"those of all runs.{also}\n{listing(lines)}\n{hint}To compare them on the shared ones: add --intersect"
    )


def _own(name: str, ids: set[Any], common: set[Any]) -> str:
    own = sorted(ids - common)
    if not own:
        return f"{name}: {counted(len(ids), 'sample')}, all shared"
    shown = ", ".join(own[:NAMED]) + (", ..." if len(own) > NAMED else "")
    return f"{name}: {counted(len(ids), 'sample')}, of which {len(own):,} are not shared: {shown}"


def _on(entrant: Entrant, ids: NDArray[np.object_], task: ComparedTask) -> Entrant:
    """The same model, judged on some of its samples."""

    def judged(result: Result) -> Result:
        table = take(result.table, np.flatnonzero(np.isin(result.table.sample_id.astype(str), ids.astype(str))))
        return replace(result, table=table, metrics=task.values(table, result.record, pooled=result.pooled))

    results = tuple(map(judged, entrant.results))
    return replace(entrant, results=results, parts=entrant.parts if entrant.kind == "folds" else results)


def _check_truth(results: Sequence[Result], samples: Samples, task: ComparedTask, split: str) -> None:
    truths = task.truths([result.table for result in results])
    known, told = np.full(len(samples.ids), None, dtype=object), np.full(len(samples.ids), 0)
    for number, (result, truth) in enumerate(zip(results, truths, strict=True)):
        rows = samples.rows(result)
        new = np.array([value is None for value in known[rows]], dtype=bool)
        known[rows[new]], told[rows[new]] = truth[new], number
        other = np.flatnonzero(known[rows] != truth)
        if len(other):
            row = rows[other[0]]
            before = results[told[row]].file
            more = f" {counted(len(other), 'sample')} differ so." if len(other) > 1 else ""
            raise CompareError(
                f"The runs disagree about the truth of {split} sample '{samples.ids[row]}': {known[row]} in {before}, "
                f"{truth[other[0]]} in {result.file}.{more} Their labels are not the same."
            )


def _groups(results: Sequence[Result], samples: Samples) -> tuple[Indices, list[str]]:
    """The group of each sample: what any of the runs keeps together."""
    n = len(samples.ids)
    edges: list[tuple[Indices, Indices]] = []
    nodes, counts = n, set()
    for result in results:
        names, member = np.unique(result.table.group.astype(str), return_inverse=True)
        edges.append((samples.rows(result), member + nodes))
        nodes += len(names)
        counts.add((len(result.table.sample_id), len(names)))
    rows, columns = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(nodes, nodes))
    group = connected_components(graph, directed=False)[1][:n]
    group = np.unique(group, return_inverse=True)[1].astype(np.intp)
    if {groups for size, groups in counts if size == n} <= {int(group.max()) + 1}:
        return group, []
    return group, [
        "The runs do not put the same samples into groups; what any of them keeps together is one group here."
    ]


def _other_files(results: Sequence[Result], split: str) -> list[str]:
    """Whether equal ids stand for other files."""
    known: dict[str, str] = {}
    other: set[str] = set()
    for result in results:
        for sample_id, row in samples_of(result.record, split).items():
            content = row.get("content")
            if content and known.setdefault(sample_id, content) != content:
                other.add(sample_id)
    if not other:
        return []
    return [
        f"{counted(len(other), 'sample')} of {split} have the same id and the same truth in all runs, but not the same "
        f"file contents, such as {min(other)}: the runs did not see the same images."
    ]
