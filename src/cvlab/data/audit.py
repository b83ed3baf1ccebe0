"""The gate: no person, id, identical file or near-duplicate may be trained on and then judged by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cvlab.data.samples import SampleTable
from cvlab.errors import counted

_COLUMNS = {"sample_id": "sample", "group": "group", "content": "identical file"}
_OTHER_FILE = "id"
NEAR_DUPLICATE = "near-duplicate"
# What must not be followed by what: trained on and then judged by; chosen by and then tested on.
_BORDERS = (("train", "val"), ("train", "test"), ("val", "test"))


@dataclass(frozen=True)
class Leak:
    """Something that stands on both sides of a border that it must not cross.

    Attributes:
        kind: `sample`, `group`, `identical file`, `near-duplicate`, or `id` (one id for files of different content).
        name: The id, group, content hash, or entry of `SampleTable.pixels`.
        seen_in: The split and stage where it was seen first.
        again_in: The split and stage whose results it spoils.
        stage: The name of that stage.
        samples: The ids concerned.
    """

    kind: str
    name: str
    seen_in: str
    again_in: str
    stage: str
    samples: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.samples[:4]) + (f" and {len(self.samples) - 4} more" if len(self.samples) > 4 else "")
        name = f" '{self.name}'" if self.kind == "group" else ""
        other = " (the files differ; unrelated folders need different names)" if self.kind == _OTHER_FILE else ""
        return f"{self.kind}{name} stands in {self.seen_in} and in {self.again_in}: {shown}{other}"


@dataclass(frozen=True)
class PartedPatients:
    """Patients who stand in several splits because `data.unit: slice` asks for it, which is a leak all the same.

    Attributes:
        stage: The name of the stage.
        parted: How many patients stand in several splits.
        total: How many patients there are.
    """

    stage: str
    parted: int
    total: int

    def __str__(self) -> str:
        return (
            f"data.unit: slice, in stage '{self.stage}': {self.parted:,} of {counted(self.total, 'patient')} "
            f"{'stands' if self.parted == 1 else 'stand'} in several splits, so that the network is judged by slices "
            "of patients that it was trained on; the results look better than they are"
        )


def find_parted(table: SampleTable, patients: Mapping[str, str]) -> PartedPatients | None:
    """Returns how many patients stand in several splits of a stage; None where none does.

    Args:
        table: The samples, split.
        patients: Whom each sample shows, by id.
    """
    splits_of: dict[str, set[str]] = defaultdict(set)
    for sample_id, split in zip(table.sample_id, table.split, strict=True):
        if sample_id in patients:
            splits_of[patients[sample_id]].add(split)
    parted = sum(len(splits) > 1 for splits in splits_of.values())
    return PartedPatients(table.stage[0], parted, len(splits_of)) if parted else None


def find_leaks(
    stages: Sequence[SampleTable],
    *,
    before: Sequence[SampleTable] = (),
    near: Sequence[Mapping[str, Collection[str]]] = (),
) -> list[Leak]:
    """Finds every group, id, identical file and near-duplicate that crosses splits or stages.

    Within a stage the three splits must share nothing. What an earlier stage trained on (or the run that
    `init_from` names) must not stand in a later stage's validation or test split; what it chose its weights by
    may be trained on later, but not tested on.

    Args:
        stages: The tables of this run's stages, in order.
        before: The tables of the stages of earlier runs whose weights this run starts from; their near-duplicates are
            not known.
        near: For each stage, the near-duplicates of its images in this stage and those before
            (`near_duplicates.find_near`); empty where none were looked for.
    """
    leaks: list[Leak] = []
    history = [(table, " of an earlier run") for table in before]
    for table, alike in zip(stages, near or [{}] * len(stages), strict=True):
        for earlier, whose in [*history, (table, "")]:
            for first, second in _BORDERS:
                leaks += _shared(earlier.of_split(first), whose, table.of_split(second), alike)
        history.append((table, ""))
    return list(dict.fromkeys(leaks))


def find_collisions(stages: Sequence[SampleTable]) -> list[str]:
    """Finds ids that stand for files of different content in different stages: roots of the same name."""
    first: dict[str, tuple[str, str]] = {}
    found: dict[str, str] = {}
    for table in stages:
        for sample_id, path, content in zip(table.sample_id, table.path, table.content, strict=True):
            path_before, content_before = first.setdefault(sample_id, (path, content))
            if content != content_before:
                found.setdefault(sample_id, f"{sample_id}: {path_before} and {path}")
    return [found[sample_id] for sample_id in sorted(found)]


def _shared(
    earlier: SampleTable, whose: str, later: SampleTable, near: Mapping[str, Collection[str]]
) -> Iterator[Leak]:
    """Finds what two tables of one split each have in common; the same samples once."""
    told: dict[str, list[frozenset[str]]] = defaultdict(list)
    for kind, name, samples in [*_in_common(earlier, later), *_alike(earlier, later, near)]:
        members = frozenset(samples)
        # Copies may belong to a larger group, which is worth a line; near-duplicates within a group are not.
        if any(members == done or (kind == NEAR_DUPLICATE and members < done) for done in told[samples[0]]):
            continue
        for sample in samples:
            told[sample].append(members)
        yield Leak(
            kind,
            name,
            f"{earlier.split[0]} of stage '{earlier.stage[0]}'{whose}",
            f"{later.split[0]} of stage '{later.stage[0]}'",
            later.stage[0],
            samples,
        )


def _in_common(earlier: SampleTable, later: SampleTable) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    content, content_again = (dict(zip(side.sample_id, side.content, strict=True)) for side in (earlier, later))
    for column, kind in _COLUMNS.items():
        found, again = _by_value(earlier, column), _by_value(later, column)
        for value in sorted(found.keys() & again.keys()):
            other = column == "sample_id" and content[value] != content_again[value]
            yield _OTHER_FILE if other else kind, value, tuple(dict.fromkeys([*found[value], *again[value]]))


def _alike(
    earlier: SampleTable, later: SampleTable, near: Mapping[str, Collection[str]]
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    if not near:
        return
    found, again = _by_value(earlier, "pixels"), _by_value(later, "pixels")
    for pixels in sorted(again.keys() & near.keys()):
        before = [sample for other in sorted(near[pixels]) for sample in found.get(other, ())]
        if before:
            yield NEAR_DUPLICATE, pixels, tuple(dict.fromkeys([*before, *again[pixels]]))


def _by_value(table: SampleTable, column: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for value, sample in zip(getattr(table, column), table.sample_id, strict=True):
        if value:
            found[value].append(sample)
    return found
