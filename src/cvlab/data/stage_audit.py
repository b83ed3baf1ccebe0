"""The audit of a stage's files: what they are like, before anything is trained on them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cvlab.config import DataConfig
from cvlab.data.confounding import Clue, find_clues, told
from cvlab.data.findings import find_copies, strata
from cvlab.data.image_facts import ImageFacts
from cvlab.data.near_duplicates import Looks, Near
from cvlab.data.samples import CLASS, SPLITS, SampleTable
from cvlab.data.source import LoadedSource
from cvlab.data.split import find_blocks
from cvlab.errors import counted
from cvlab.text import printable

# An image that is enlarged more than so many times in area is a thumbnail, or no picture at all.
ENLARGED = 64
# A name and a number: `Jane_Doe_0002`, `00001280_004`, `IM-0115-0001`.
NAME_AND_NUMBER = r"(.+?)[_ .-]+\d+$"
# How many such names there must be, which share of the files must share theirs, and what one name may hold.
FEWEST_NAMES, LEAST_SHARED, LARGEST_NAME = 10, 0.05, 0.25
KEPT_PAIRS = 100
SHOWN = 3

Pair = tuple[int, str, str]


@dataclass(frozen=True)
class StageAudit:
    """What an audit finds in the files of one stage.

    Attributes:
        formats: Files by format and class (one for all where samples have no classes).
        modes: Files by pixel mode and class.
        sizes: Files by `width x height`, the most frequent first.
        smallest: The image of the fewest pixels, with its size.
        largest: The image of the most pixels, with its size.
        file_sizes: Least, median and greatest size of a file in bytes; empty if nothing could be read.
        unreadable: Files that cannot be decoded, with the reason.
        misnamed: Files whose ending names another format than they have.
        tiny: Images that are enlarged very much, with their sizes.
        one_colour: Samples that show nearly nothing.
        copies: Sets of samples with identical pixels.
        near: Near-duplicates, the nearest first: bits that differ, and two samples (one for all copies of a file).
        contradictory: Near-duplicates that are of different classes.
        persons: Names that several files share and that stand in several splits, where groups are not known.
        clues: How well names, sizes, modes and formats tell the class.
        distance: How many bits near-duplicates may differ in; None where they were not looked for.
    """

    formats: Mapping[str, Mapping[str, int]]
    modes: Mapping[str, Mapping[str, int]]
    sizes: Mapping[str, int]
    smallest: str
    largest: str
    file_sizes: Sequence[int]
    unreadable: Sequence[str]
    misnamed: Sequence[str]
    tiny: Sequence[str]
    one_colour: Sequence[str]
    copies: Sequence[Sequence[str]]
    near: Sequence[Pair]
    contradictory: Sequence[Pair]
    persons: Sequence[str]
    clues: Sequence[Clue]
    distance: int | None

    def json(self) -> dict[str, Any]:
        """Returns the audit for `data.json`; of many near-duplicates the nearest."""
        return asdict(self) | {"near": [*map(list, self.near[:KEPT_PAIRS])], "near_pairs": len(self.near)}

    @property
    def notes(self) -> list[str]:
        """What a user should know before a training."""
        notes = []
        if self.near:
            notes.append(
                f"{counted(len(self.near), 'pair')} of near-duplicates, which a split never parts (nearest: "
                f"{pair_text(self.near[0])}; `cvlab data audit` lists all)."
            )
        if self.misnamed:
            many = counted(len(self.misnamed), "file is", "files are")
            notes.append(f"{many} of another format than the ending says (first: {self.misnamed[0]}).")
        if self.one_colour:
            many = counted(len(self.one_colour), "image is", "images are")
            notes.append(f"{many} nearly of one colour (first: {printable(self.one_colour[0])}).")
        return notes

    @property
    def warnings(self) -> list[str]:
        """What may spoil the results of a training."""
        warnings = []
        if self.tiny:
            many = counted(len(self.tiny), "image is", "images are")
            warnings.append(f"{many} enlarged more than {ENLARGED} times in area (first: {self.tiny[0]}).")
        if self.contradictory:
            shown = _first([pair_text(pair) for pair in self.contradictory])
            number = counted(len(self.contradictory), "pair")
            warnings.append(f"Near-duplicates in several classes: {number}: {shown}.")
        if self.persons:
            warnings.append(
                f"{counted(len(self.persons), 'name')} of files, their numbers left out, stand in several splits: "
                f"{_first(self.persons)}. If they name persons or patients, the results look better than they are; "
                f"this keeps each on one side: data.split.group_pattern='{NAME_AND_NUMBER}'"
            )
        if telling := told(self.clues):
            warnings.append(
                "How files are named or stored tells the class, without a look at the picture; a network may learn "
                f"what goes with it (the source, not the content): {_first(telling)}."
            )
        return warnings


def _first(items: Sequence[str]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return f"{'; '.join(items[:SHOWN])}{more}"


def pair_text(pair: Pair) -> str:
    """Returns two near-duplicates with how far they are apart, for people."""
    bits, one, two = pair
    return f"{printable(one)} ~ {printable(two)}, {counted(bits, 'bit')}"


def audit_stage(
    table: SampleTable,
    facts: Sequence[ImageFacts | None],
    source: LoadedSource,
    config: DataConfig,
    *,
    looks: Looks | None,
    near: Near,
    unreadable: Sequence[str],
) -> StageAudit:
    """Audits the readable samples of a stage.

    Args:
        table: The samples, split, not expanded.
        facts: What the header of each sample's file says.
        source: Where the samples come from.
        config: The settings of the data.
        looks: The perceptual hashes of the images; None where near-duplicates are not looked for.
        near: The near-duplicates of each image.
        unreadable: The files that are left out, with the reasons.
    """
    pairs = _near_pairs(table, near)
    class_of = dict(zip(table.sample_id, table.targets[CLASS], strict=True)) if CLASS in table.targets else {}
    known = sorted((fact.width * fact.height, row) for row, fact in enumerate(facts) if fact is not None)
    extremes = [f"{_size(facts[row])}: {printable(table.sample_id[row])}" for _, row in (*known[:1], *known[-1:])]
    bytes_of = sorted(fact.file_size for fact in facts if fact is not None)
    plain = frozenset() if looks is None else looks.of_one_colour
    return StageAudit(
        formats=_by_class([fact.format if fact else None for fact in facts], table, source),
        modes=_by_class([fact.mode if fact else None for fact in facts], table, source),
        sizes=dict(Counter(_size(fact) for fact in facts if fact is not None).most_common()),
        smallest=extremes[0] if extremes else "",
        largest=extremes[-1] if extremes else "",
        file_sizes=[bytes_of[0], bytes_of[len(bytes_of) // 2], bytes_of[-1]] if bytes_of else [],
        unreadable=[*unreadable],
        misnamed=_misnamed(table, facts),
        tiny=_tiny(table, facts, config),
        one_colour=[name for name, key in zip(table.sample_id, table.pixels, strict=True) if key in plain],
        copies=[table.sample_id[rows].tolist() for rows in find_copies(table)],
        near=pairs,
        contradictory=[pair for pair in pairs if class_of.get(pair[1]) != class_of.get(pair[2])],
        persons=[] if source.patients else _persons(table, config),
        clues=find_clues(table, facts, source.labels.class_names, find_blocks(table, near)) if class_of else [],
        distance=None if looks is None else config.near_duplicate_distance,
    )


def _size(fact: ImageFacts | None) -> str:
    return f"{fact.width} x {fact.height}" if fact else ""


def _by_class(values: Sequence[str | None], table: SampleTable, source: LoadedSource) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for value, name in zip(values, strata(table, source), strict=True):
        if value is not None:
            found[value][str(name)] += 1
    return {value: dict(found[value]) for value in sorted(found)}


def _misnamed(table: SampleTable, facts: Sequence[ImageFacts | None]) -> list[str]:
    rows = zip(table.path, facts, strict=True)
    found = [f"{printable(path)} is {fact.format}" for path, fact in rows if fact and fact.belies(Path(path))]
    return [*dict.fromkeys(found)]


def _tiny(table: SampleTable, facts: Sequence[ImageFacts | None], config: DataConfig) -> list[str]:
    height, width = config.image_size
    sizes = [
        (fact.width * fact.height, f"{printable(path)}: {_size(fact)}")
        for path, box, fact in zip(table.path, table.box, facts, strict=True)
        if fact and not box and fact.width * fact.height * ENLARGED < height * width
    ]
    return [text for _, text in sorted(sizes)]


def _near_pairs(table: SampleTable, near: Near) -> list[Pair]:
    first: dict[str, str] = {}
    for key, sample in zip(table.pixels, table.sample_id, strict=True):
        first.setdefault(key, sample)
    return sorted(
        (bits, min(first[key], first[other]), max(first[key], first[other]))
        for key, alike in near.items()
        for other, bits in alike.items()
        if key < other and key in first and other in first
    )


def _persons(table: SampleTable, config: DataConfig) -> list[str]:
    """Names the files' names without their numbers, where they look like persons and stand in several splits.

    Files that the pattern for groups fits are known.
    """
    pattern = re.compile(NAME_AND_NUMBER)
    if config.split.group_pattern is not None:
        table = table.take(table.group == table.sample_id)
    one_file_a_group = len({*table.group}) == len({*table.path}) == len({*zip(table.group, table.path, strict=True)})
    if not one_file_a_group:
        return []
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, path in enumerate(table.path):
        if match := pattern.search(Path(path).stem):
            rows_of[match[1]].append(row)
    shared = {name: rows for name, rows in rows_of.items() if len({table.path[row] for row in rows}) > 1}
    files = sum(map(len, shared.values()))
    largest = max(map(len, shared.values()), default=0)
    if len(rows_of) < FEWEST_NAMES or files < LEAST_SHARED * len(table) or largest > LARGEST_NAME * len(table):
        return []
    found = []
    for name, rows in sorted(shared.items()):
        splits = [split for split in SPLITS if split in table.split[rows]]
        if len(splits) > 1:
            found.append(f"{printable(name)}: {counted(len(rows), 'file')} in {' and '.join(splits)}")
    return found
