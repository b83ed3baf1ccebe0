"""What `cvlab data audit` prints: all that can be known of data before a network is trained on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cvlab.config_file import load_experiment
from cvlab.console import Console
from cvlab.data.checks import noted_in
from cvlab.data.confounding import FEWEST, TELLING, told
from cvlab.data.findings import strata
from cvlab.data.near_duplicates import BITS, FREQUENCIES
from cvlab.data.prepare import StageData, audit, load_sources
from cvlab.data.samples import CLASS, MASK, SPLITS
from cvlab.data.stage_audit import NAME_AND_NUMBER, StageAudit, pair_text
from cvlab.errors import counted, listing
from cvlab.initial import build_tasks, samples_before
from cvlab.tasks.task import Task
from cvlab.text import printable

SHOWN = 30
COMMON_SIZES = 3
TOTAL = "total"


def audit_data(config: Path, overrides: Sequence[str], console: Console) -> tuple[str, bool]:
    """Audits the data of a configuration.

    Returns:
        The report as plain text, and whether a training would start.

    Raises:
        CvlabError: The configuration is wrong, or there is nothing to audit.
    """
    experiment = load_experiment(config, overrides)
    stops: list[str] = []
    sources = load_sources(experiment, stops=stops)
    tasks: list[Task] = []
    with noted_in(stops):
        tasks = build_tasks(experiment, [source.labels for source in sources])
    data = audit(experiment, sources, console, stops, before=samples_before(experiment))
    table = data.stages[-1].samples.table
    if tasks and table.split[0]:
        with noted_in(stops):
            tasks[-1].check_evaluation(experiment.evaluate, table)
    leaks = _list("Groups, ids and pictures that cross splits or stages", map(str, data.leaks))
    return "\n\n".join([*map(_stage, data.stages), leaks, _verdict(stops)]), not stops


def _stage(stage: StageData) -> str:
    found = stage.audit
    and_class = " and class" if stage.source.labels.class_names else ""
    sections = [
        _head(stage),
        _section(f"Images by split{and_class}", _counts(stage)),
        _section(
            "Images by format and by pixel mode", [*_by_class(found.formats, stage), *_by_class(found.modes, stage)]
        ),
        _section("Sizes", _sizes(found)),
        _list("Files that cannot be read", found.unreadable),
        _list("Files of another format than their ending says", found.misnamed),
        _list("Images that are enlarged very much", found.tiny),
        _list("Images nearly of one colour, which are not compared", map(printable, found.one_colour)),
        _list("Identical pictures", [_same(names) for names in found.copies]),
        _near(found),
        _list("One picture under several labels", _contradictions(stage)),
        _persons(found),
        _clues(stage),
        # What the audit found stands above, and in full.
        _list("Other notes", [note for note in stage.notes if note not in found.notes]),
        _list("Other warnings", [warning for warning in stage.warnings if warning not in found.warnings]),
    ]
    return "\n\n".join(sections)


def _head(stage: StageData) -> str:
    table = stage.samples.table
    groups = Counter(table.group)
    size = f"{counted(len(table), 'image')} in {counted(len(groups), 'group')}"
    size += f", the largest of {max(groups.values()):,}" if len(groups) < len(table) else ""
    drawn = "\nSYNTHETIC SAMPLE DATA: drawn pictures" if stage.source.synthetic else ""
    return f"Stage '{table.stage[0]}': {stage.source.origin}\n{size}{drawn}"


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _list(title: str, items: Iterable[str]) -> str:
    found = [*items]
    return f"{title}: {len(found):,}\n{listing(found, limit=SHOWN)}" if found else f"{title}: none"


def _names(stage: StageData) -> list[str]:
    return [*stage.source.labels.class_names] or [str(strata(stage.samples.table, stage.source)[0])]


def _counts(stage: StageData) -> list[str]:
    table = stage.samples.table
    column = strata(table, stage.source)
    splits = [split for split in ("", *SPLITS) if split in table.split]
    return _by_class({split or "not split": Counter(column[table.split == split]) for split in splits}, stage)


def _by_class(counts: Mapping[str, Mapping[str, int]], stage: StageData) -> list[str]:
    """Returns a table with a row for each key of `counts` and a column for each class, with sums."""
    names = _names(stage)
    rows = {key: [found.get(name, 0) for name in names] for key, found in counts.items()}
    if len(rows) > 1:
        rows[TOTAL] = [sum(column) for column in zip(*rows.values(), strict=True)]
    total = [TOTAL] if len(names) > 1 else []
    cells = [
        [key, *(f"{value:,}" for value in [*row, sum(row)][: len(names) + len(total)])] for key, row in rows.items()
    ]
    return _aligned([["", *map(printable, names), *total], *cells])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligns a table: the first column to the left, the others to the right."""
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([f"{row[0]:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(row[1:], others, strict=True))])
        for row in rows
    ]


def _sizes(found: StageAudit) -> list[str]:
    if not found.sizes:
        return ["unknown"]
    common = ", ".join(f"{size} ({count:,})" for size, count in [*found.sizes.items()][:COMMON_SIZES])
    different = f"{len(found.sizes):,} different, most often " if len(found.sizes) > 1 else ""
    least, median, most = (f"{size / 1000:,.3g} kB" for size in found.file_sizes)
    return [
        f"width x height  {different}{common}",
        f"smallest image  {found.smallest}",
        f"largest image   {found.largest}",
        f"files           from {least} to {most}, median {median}",
    ]


def _same(names: Sequence[str]) -> str:
    return " = ".join(map(printable, names))


def _near(found: StageAudit) -> str:
    if found.distance is None:
        reason = f"data.near_duplicate_distance is null, or images have less than {FREQUENCIES} pixels a side"
        return f"Near-duplicates: not looked for ({reason})"
    title = f"Near-duplicates, pairs that differ in at most {found.distance} of {BITS} bits"
    return _list(title, map(pair_text, found.near))


def _persons(found: StageAudit) -> str:
    text = _list("Names (without their numbers) that stand in several splits", found.persons)
    advice = f"If they name persons or patients: data.split.group_pattern='{NAME_AND_NUMBER}'"
    return f"{text}\n  {advice}" if found.persons else text


def _contradictions(stage: StageData) -> list[str]:
    table = stage.samples.table
    # The hash of a mask says nothing to people, and other masks of like slices are no contradiction.
    columns = [column for name, column in table.targets.items() if name != MASK]
    labels = [", ".join(map(str, values)) for values in zip(*columns, strict=True)]
    label_of = dict(zip(table.sample_id, labels, strict=True))
    copies = [(_same(names), [*dict.fromkeys(label_of[name] for name in names)]) for names in stage.audit.copies]
    alike = [(pair_text(pair), [label_of[name] for name in pair[1:]]) for pair in stage.audit.contradictory]
    return [f"{text} ({' / '.join(map(printable, found))})" for text, found in [*copies, *alike] if len(found) > 1]


def _clues(stage: StageData) -> str:
    title = "How well names and storage tell each class from the rest, without the picture (AUC)"
    if CLASS not in stage.samples.table.targets:
        return f"{title}: there are no classes"
    clues = stage.audit.clues
    if not clues:
        return f"{title}: they are the same for all"
    names = _names(stage)
    mean = ["mean"] if len(names) > 2 else []
    rows = [["", *map(printable, names), *mean]]
    for clue in clues:
        values = [clue.auc[name] for name in names]
        known = [value for value in values if value is not None]
        values += [sum(known) / len(known) if known else None for _ in mean]
        rows.append([clue.name, *("-" if value is None else f"{value:.2f}" for value in values)])
    legend = f"0.5: not at all; 1: always; -: fewer than {FEWEST} groups; {TELLING} and more, beyond chance:"
    lines = [*_aligned(rows), legend, *(told(clues) or ["none"])]
    return _section(title, lines)


def _verdict(stops: Sequence[str]) -> str:
    """Says what would stop a training; what the messages list stands above already."""
    if not stops:
        return "Nothing here stops a training."
    lines = [line for text in stops for line in text.splitlines() if not line.startswith("  ")]
    return "\n".join(["A training would stop:", *(f"  {line}" for line in lines)])
