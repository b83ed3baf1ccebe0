"""The parts of a report on its data: how many samples there are, and what the audit found in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cvlab.data.confounding import FEWEST
from cvlab.document import Block, Bullets, Paragraph, Table
from cvlab.errors import RunFolderError, counted
from cvlab.report_imbalance import class_frequencies
from cvlab.report_record import RunRecord
from cvlab.report_text import md
from cvlab.run_folder import Json, read_json

COMMON_SIZES = 3
SHOWN = 10
LISTS = {
    "unreadable": "files that cannot be read",
    "misnamed": "files of another format than their ending says",
    "tiny": "images that are enlarged very much",
    "one_colour": "images nearly of one colour",
    "copies": "sets of identical pictures",
    "near": "pairs of near-duplicates",
    "contradictory": "near-duplicates of different classes",
    "persons": "names that stand in several splits",
}


def samples_section(record: RunRecord) -> list[Block]:
    """Returns the samples by split and class, and what training sees of each class."""
    stages = record.data.get("stages") or []
    blocks: list[Block] = []
    if not stages:
        return blocks
    if all(stage["counts"] == stages[0]["counts"] for stage in stages):
        blocks.append(_counts(stages[0]["counts"]))
    else:
        for stage in stages:
            blocks += [Paragraph(f"Stage {md(stage['stage'])}:"), _counts(stage["counts"])]
    return blocks + class_frequencies(record)


def _counts(counts: dict[str, dict[str, int]]) -> Table:
    classes = dict.fromkeys(name for by_class in counts.values() for name in by_class)
    rows = {name: [by_class.get(name, 0) for by_class in counts.values()] for name in classes}
    cells = [[md(name), *(f"{count:,}" for count in (*row, sum(row)))] for name, row in rows.items()]
    if len(cells) == 1:
        return Table(["samples", *map(md, counts), "all"], cells)
    sums = [sum(by_class.values()) for by_class in counts.values()]
    total = ["**all**", *(f"**{count:,}**" for count in (*sums, sum(sums)))]
    return Table(["class", *map(md, counts), "all"], cells, foot=[total])


def audit_section(record: RunRecord) -> list[Block]:
    """Returns what was found in the files of each stage; stages of the same files have one part together.

    Raises:
        RunFolderError: `data.json` holds something else in the place of an audit.
    """
    stages = record.data.get("stages") or []
    blocks: list[Block] = []
    audits = [stage.get("audit") for stage in stages]
    for audit in (audit for place, audit in enumerate(audits) if audit and audit not in audits[:place]):
        names = [md(stage["stage"]) for stage in stages if stage.get("audit") == audit]
        if len(names) < len(stages):
            blocks.append(Paragraph(f"Stage {', '.join(names)}:"))
        try:
            blocks += _audit(audit)
        except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise RunFolderError(
                f"{record.run.data}: is damaged: 'audit' of a stage is not what cvlab writes."
            ) from error
    notes = _notes(record)
    return [*blocks, *([Bullets(notes)] if notes else [])]


def _audit(audit: Json) -> list[Block]:
    alike = ("near", "contradictory") if audit["distance"] is None else ()
    looked_for = {key: name for key, name in LISTS.items() if key not in alike}
    facts = [
        ["formats", _with_counts(audit["formats"])],
        ["pixel modes", _with_counts(audit["modes"])],
        ["width x height", _sizes(audit["sizes"])],
        ["smallest image", md(audit["smallest"] or "unknown")],
        ["largest image", md(audit["largest"] or "unknown")],
        ["size of a file", _file_sizes(audit["file_sizes"])],
        *([name, f"{_number_of(audit, key):,}"] for key, name in looked_for.items() if audit[key]),
        [
            "looked for, not found",
            md(", ".join(name for key, name in looked_for.items() if not audit[key])) or "nothing",
        ],
    ]
    if alike:
        facts.append(["not looked for", "near-duplicates"])
    listed = [f"{name}: {_first(audit[key])}" for key, name in looked_for.items() if audit[key]]
    return [
        Table(["", ""], facts, text_columns=2),
        *([Bullets(listed)] if listed else []),
        *_by_class({**audit["formats"], **audit["modes"]}),
        *_clues(audit["clues"]),
    ]


def _with_counts(found: Mapping[str, Mapping[str, int]]) -> str:
    return ", ".join(f"{md(name)} ({sum(by_class.values()):,})" for name, by_class in found.items()) or "unknown"


def _sizes(sizes: Mapping[str, int]) -> str:
    common = ", ".join(f"{md(size)} ({count:,})" for size, count in [*sizes.items()][:COMMON_SIZES])
    return f"{len(sizes):,} different, most often {common}" if len(sizes) > 1 else common or "unknown"


def _file_sizes(sizes: Sequence[int]) -> str:
    if not sizes:
        return "unknown"
    least, median, most = (f"{size / 1000:,.3g} kB" for size in sizes)
    return f"{least} to {most}, median {median}"


def _number_of(audit: Json, key: str) -> int:
    """How many there are; of many near-duplicates the run keeps the nearest."""
    return int(audit["near_pairs"]) if key == "near" else len(audit[key])


def _first(items: Sequence[Any]) -> str:
    """The first of many findings, as plain text."""
    more = f" and {len(items) - SHOWN:,} more" if len(items) > SHOWN else ""
    return f"{'; '.join(map(_item, items[:SHOWN]))}{more}"


def _item(item: Any) -> str:
    if isinstance(item, str):
        return item
    if item and isinstance(item[0], int):
        bits, one, two = item
        return f"{one} ~ {two} ({counted(bits, 'bit')} apart)"
    return " = ".join(map(str, item))


def _by_class(found: Mapping[str, Mapping[str, int]]) -> list[Block]:
    """How formats and modes are spread over the classes, where there are several of either."""
    classes = [*dict.fromkeys(name for by_class in found.values() for name in by_class)]
    if len(classes) < 2 or len(found) < 3:
        return []
    rows = [[md(name), *(f"{by_class.get(name, 0):,}" for by_class in found.values())] for name in sorted(classes)]
    return [Paragraph("Formats and pixel modes by class:"), Table(["class", *map(md, found)], rows)]


def _clues(clues: Sequence[Json]) -> list[Block]:
    if not clues:
        return []
    classes = [*clues[0]["auc"]]
    rows = [[md(name), *(_auc(clue["auc"].get(name)) for clue in clues)] for name in classes]
    said = (
        "How well names and storage tell each class from the rest, without the picture (AUC; 0.5: not at all, 1: "
        f"always; -: fewer than {FEWEST} groups). What is high here may be what the network learned:"
    )
    return [Paragraph(said), Table(["class", *(md(clue["name"]) for clue in clues)], rows)]


def _auc(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _notes(record: RunRecord) -> list[str]:
    """What preparing the data had to say, and evaluation of other data."""
    stages_of: dict[str, list[str]] = {}
    for stage in record.data.get("stages") or []:
        said = [*stage.get("notes", []), *(f"WARNING: {warning}" for warning in stage.get("warnings", []))]
        if stage.get("groups") is not None:
            said.insert(
                0,
                f"{counted(stage['images'], 'image')} in {counted(stage['groups'], stage.get('group_name', 'group'))}",
            )
        for line in said:
            stages_of.setdefault(line, []).append(stage["stage"])
    lines = [f"Stage {', '.join(names)}: {line}" for line, names in stages_of.items()]
    for path in sorted(record.run.predictions("test").parent.glob("data-*.json")):
        lines += [f"{path.stem}: {note}" for note in read_json(path)["notes"]]
    return lines
