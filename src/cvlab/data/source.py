"""What every data source gives back, whatever its files look like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cvlab.data.samples import SampleTable

SYNTHETIC_MARK = "SYNTHETIC.md"


@dataclass(frozen=True)
class LoadedSource:
    """The samples that a source found.

    Attributes:
        table: The samples; `split` is empty where they are still to be split.
        class_names: Names in the order of the network's outputs.
        strata: The target column that splits are stratified by.
        origin: Where the samples come from, for people.
        synthetic: Whether these are drawn sample data.
        unmatched_groups: How many file names the group pattern did not fit; None without a pattern.
        notes: What the user should know (files left out, for example).
    """

    table: SampleTable
    class_names: tuple[str, ...]
    strata: str
    origin: str
    synthetic: bool
    unmatched_groups: int | None = None
    notes: list[str] = field(default_factory=list)


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
