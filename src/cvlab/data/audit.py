"""The gate: no person, id or identical file may be trained on and then judged by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cvlab.data.samples import SampleTable

_KINDS = {"sample_id": "sample", "group": "group", "content": "identical file"}


@dataclass(frozen=True)
class Leak:
    """Something that stands on both sides of a border that it must not cross."""

    kind: str
    name: str
    seen_in: str
    again_in: str
    samples: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.samples[:4]) + (f" and {len(self.samples) - 4} more" if len(self.samples) > 4 else "")
        name = f" '{self.name}'" if self.kind == "group" else ""
        return f"{self.kind}{name} stands in {self.seen_in} and in {self.again_in}: {shown}"


def find_leaks(stages: Sequence[SampleTable], *, before: Sequence[SampleTable] = ()) -> list[Leak]:
    """Finds every group, id and identical file that crosses splits or stages.

    Within a stage the three splits must share nothing. What an earlier stage trained on or chose its weights by
    (or the run that `init_from` names) must not stand in a later stage's validation or test split; what it chose
    its weights by may be trained on later, but not tested on.

    Args:
        stages: The tables of this run's stages, in order.
        before: The tables of the stages of earlier runs whose weights this run starts from.
    """
    leaks: list[Leak] = []
    history: list[SampleTable] = list(before)
    for table in stages:
        leaks += _within(table)
        for earlier in history:
            leaks += _across(earlier, table)
        history.append(table)
    return list(dict.fromkeys(leaks))


def _within(table: SampleTable) -> Iterable[Leak]:
    pairs = [("train", "val"), ("train", "test"), ("val", "test")]
    return (leak for first, second in pairs for leak in _shared(table, first, table, second))


def _across(earlier: SampleTable, later: SampleTable) -> Iterable[Leak]:
    pairs = [("train", "val"), ("train", "test"), ("val", "test")]
    return (leak for first, second in pairs for leak in _shared(earlier, first, later, second))


def _shared(a: SampleTable, split_a: str, b: SampleTable, split_b: str) -> Iterable[Leak]:
    side_a, side_b = a.of_split(split_a), b.of_split(split_b)
    already: set[tuple[str, ...]] = set()
    for column, kind in _KINDS.items():
        found_a, found_b = _by_value(side_a, column), _by_value(side_b, column)
        for value in sorted(found_a.keys() & found_b.keys()):
            samples = tuple(dict.fromkeys([*found_a[value], *found_b[value]]))
            if samples not in already:
                already.add(samples)
                yield Leak(kind, value, _where(side_a, split_a), _where(side_b, split_b), samples)


def _by_value(table: SampleTable, column: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for value, sample in zip(getattr(table, column), table.sample_id, strict=True):
        if value:
            found[value].append(sample)
    return found


def _where(table: SampleTable, split: str) -> str:
    return f"{split} of stage '{table.stage[0]}'"
