"""What every data source gives back, whatever its files look like."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cvlab.data.samples import CLASS, SampleTable
from cvlab.errors import DataError
from cvlab.text import has_control, printable

SYNTHETIC_MARK = "SYNTHETIC.md"


@dataclass(frozen=True)
class Labels:
    """What the samples of a source are labelled with, and so what a task can ask a network for.

    Attributes:
        class_names: Names of the classes, in the order of a network's outputs; empty where samples have no class.
        numbers: Names of the number targets, in order.
        masks: Names of the structures that masks show. The classes are then what a mask shows, nothing or something.
    """

    class_names: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises DataError for names that would break lines of messages, tables and figures."""
        strange = [name for name in (*self.class_names, *self.numbers, *self.masks) if has_control(name)]
        if strange:
            raise DataError(
                f"the name '{printable(strange[0])}' of a class or a number holds a control character: expected words. "
                "Rename the folder, or correct the table."
            )

    @classmethod
    def of_masks(cls, structure: str) -> Labels:
        """Returns the labels of samples whose masks show where a structure is."""
        return cls(class_names=(f"no {structure}", structure), masks=(structure,))


@dataclass(frozen=True)
class LoadedSource:
    """The samples that a source found.

    Attributes:
        table: The samples; `split` is empty where they are still to be split.
        labels: What the samples are labelled with.
        origin: Where the samples come from, for people.
        synthetic: Whether these are drawn sample data.
        unmatched_groups: How many file names the group pattern did not fit; None without a pattern.
        notes: What the user should know (files left out, for example).
        to_merge: How to split anew what is split already, as the end of a sentence.
        places: Where samples stand in a table, by id (`faces.csv:12`), for messages; empty for folders.
        stratified: Whether splits are stratified by class.
        patients: Whom each sample shows, by id, where `unit: slice` does not keep them on one side of a split.
        group_name: What one of its groups is called, for people.
    """

    table: SampleTable
    labels: Labels
    origin: str
    synthetic: bool
    unmatched_groups: int | None = None
    notes: list[str] = field(default_factory=list)
    to_merge: str = "merge the splits and split anew"
    places: Mapping[str, str] = field(default_factory=dict)
    stratified: bool = True
    patients: Mapping[str, str] = field(default_factory=dict)
    group_name: str = "group"

    @property
    def strata(self) -> str | None:
        """The target column that splits are counted by, and stratified by if `stratified`, if there is one."""
        return CLASS if self.labels.class_names else None


def find_groups(sample_ids: Sequence[str], pattern: str | None) -> tuple[list[str], int | None]:
    """Returns each sample's group and how many names do not fit the pattern (each is then its own group).

    `pattern` is searched in the file's stem; group 1 of the match if there is one, else the whole match. An
    empty match tells nothing, so that it counts as none.
    """
    if pattern is None:
        return list(sample_ids), None
    compiled = re.compile(pattern)
    groups, unmatched = [], 0
    for sample_id in sample_ids:
        match = compiled.search(Path(sample_id).stem)
        name = ""
        if match:
            first = match.group(1) if compiled.groups else None
            name = match.group(0) if first is None else first
        unmatched += not name
        groups.append(name or sample_id)
    return groups, unmatched


def is_synthetic(root: Path) -> bool:
    """Whether `root` lies in a folder of drawn sample data."""
    return any((folder / SYNTHETIC_MARK).is_file() for folder in (root, *root.parents[:2]))
