"""The report of a repetition: its parts, the spread of their results, and pooled results. From files only."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvlab import registry
from cvlab.config_file import differences
from cvlab.document import Alert, Block, Bullets, Code, Document, Paragraph, Quote, Section, Table
from cvlab.errors import counted
from cvlab.pooling import is_pooled, pool
from cvlab.problems import shown
from cvlab.repetitions import OWN_BUSINESS, Parent
from cvlab.report import write_document, write_report
from cvlab.report_pooled import pooled_sections
from cvlab.report_record import RunRecord, read_record
from cvlab.report_spread import Cell, Labels, binary_scalars, scalars, spread_table, spread_text, value_text
from cvlab.report_summary import LEAK_WARNING, SYNTHETIC
from cvlab.report_text import md, number
from cvlab.run_folder import Json, read_json
from cvlab.text import duration

HELD_OUT = ("val", "test")
BINARY_HEADLINE = {
    "binary.sensitivity": "sensitivity at the operating point, for",
    "binary.specificity": "specificity at the operating point, for",
    "binary.roc_auc": "ROC AUC of",
}
REPORTS = ("report.html", "report.md")
# What is another in each part because that is what is repeated.
REPEATED = re.compile(r"seed|(stages\.\d+\.)?data\.split\.fold")


def write_all_reports(parent: Parent) -> Path:
    """Writes the reports of all finished parts anew, then the parent's; returns the path of that.

    Where a part was evaluated on its own meanwhile, all are summarised anew.

    Raises:
        RunFolderError: A file is missing or damaged.
    """
    for part in parent.finished():
        write_report(parent.run(part))
    if not is_pooled(parent):
        pool(parent)
    return write_repetition_report(parent)


def write_repetition_report(parent: Parent) -> Path:
    """Writes the parent's report; the reports of the parts stay as they are. The same files give the same bytes.

    Raises:
        RunFolderError: A file of the parent or of a part is missing or damaged.
    """
    summary = read_json(parent.folder.summary)
    records = {part: read_record(parent.run(part)) for part in summary["parts"]}
    of_all = replace(next(iter(records.values())), run=parent.folder)
    return write_document(of_all, _document(parent, summary, records))


def headline(parent: Parent, metrics: Sequence[str]) -> Iterator[str]:
    """Yields a line for each held-out split, with the spread of `metrics`, and one for pooled results."""
    summary = read_json(parent.folder.summary)
    runs = counted(len(summary["parts"]), parent.repetitions.one)
    for split in HELD_OUT:
        if found := summary["splits"].get(split):
            told = ", ".join(f"{name} {spread_text(found[name])}" for name in metrics)
            yield f"{split}: {told} (mean ± standard deviation of {runs})"
    if parent.folder.metrics.is_file():
        pooled = read_json(parent.folder.metrics)["test"]
        told = ", ".join(f"{name} {value_text(pooled[name]['value'])}" for name in metrics)
        yield f"test, all folds pooled: {told} ({counted(pooled['samples'], 'image')})"


def _document(parent: Parent, summary: Json, records: dict[str, RunRecord]) -> Document:
    first = next(iter(records.values()))
    count, kind = len(parent.repetitions.parts), parent.repetitions.kind
    name = f"{first.config.get('name', parent.path.parent.name)} {parent.path.name}: {count} {kind}"
    labels, positive = Labels.of_run(first), _of_operating_point(first, "positive_class")
    sections = [
        Section("Summary", [_what(parent, records), *_in_short(parent, summary, labels, positive)]),
        *([Section("What to beware of", [Bullets(cautions)], level=3)] if (cautions := _cautions(records)) else []),
        Section("The runs", [_parts(parent, records, labels)]),
        *(
            section
            for split in _held_out(summary)
            for section in _spread(split, summary["splits"][split], labels, positive)
        ),
        *pooled_sections(parent, summary, first, labels),
        Section("Configuration", [Code(parent.folder.config.read_text(encoding="utf-8"), "yaml")]),
        Section("Repeat this", [Code(_command(parent), "sh")]),
    ]
    title = f"{SYNTHETIC}: {md(name)}" if any(record.synthetic for record in records.values()) else md(name)
    return Document(title, _opening(parent, records), sections)


def _spread(split: str, metrics: Json, labels: Labels, positive: Any) -> list[Section]:
    binary = binary_scalars(metrics)
    told = Paragraph(f"**{md(positive)}** against the rest, at each run's own threshold (see The runs).")
    at_point = [Section(f"At the operating point ({md(split)})", [told, *spread_table(binary, labels)], level=3)]
    heading = f"Spread of the results ({md(split)})"
    return [Section(heading, spread_table(scalars(metrics), labels)), *(at_point if binary else [])]


def _held_out(summary: Json) -> list[str]:
    """The splits that were not trained on: test first, then validation, then what `--data` named."""
    found = [split for split in summary["splits"] if split not in ("train", "train-augmented")]
    return sorted(found, key=lambda split: ({"test": 0, "val": 1}.get(split, 2), split))


def _in_short(parent: Parent, summary: Json, labels: Labels, positive: Any) -> list[Block]:
    """The metrics that are printed at the end of a training, of the split that the results are about."""
    split = _held_out(summary)[0]
    cells = _all_scalars(summary["splits"][split])
    pooled = _all_scalars(read_json(parent.folder.metrics)["test"]) if parent.folder.metrics.is_file() else {}
    names = {name: labels.of(name) for name in _headline_metrics(labels.task)}
    names |= {name: f"{label} {positive}" for name, label in BINARY_HEADLINE.items() if name in cells}
    rows = [
        [
            md(label),
            spread_text(cells[name]),
            f"{value_text(cells[name]['minimum'])} to {value_text(cells[name]['maximum'])}",
            *([number(pooled[name])] if pooled else []),
        ]
        for name, label in names.items()
    ]
    head = [f"metric ({md(split)})", "mean ± standard deviation", "smallest to largest"]
    return [Table([*head, *(["all folds pooled"] if pooled else [])], rows)]


def _all_scalars(metrics: Json) -> dict[str, Cell]:
    return {**scalars(metrics), **binary_scalars(metrics)}


def _headline_metrics(task: str) -> list[str]:
    config = registry.load(registry.TASKS, task).Config
    return [*(config.headline or config.monitors)]


def _opening(parent: Parent, records: dict[str, RunRecord]) -> list[Block]:
    """What must not be overlooked."""
    blocks: list[Block] = []
    if any(record.synthetic for record in records.values()):
        blocks.append(
            Quote(
                f"**{SYNTHETIC}.** The images of these runs were drawn by a program. Their numbers say nothing about "
                "real images; they only show that everything works."
            )
        )
    leaks = {part: len(record.data.get("leaks") or []) for part, record in records.items()}
    if any(leaks.values()):
        found = [f"{part}: {counted(count, 'finding')}, listed in its report" for part, count in leaks.items() if count]
        blocks.append(Alert("LEAKAGE: the results may look better than they are.", found))
    missing = [part for part in parent.repetitions.parts if part not in records]
    if missing:
        go_on = f"Go on with: cvlab train --resume {parent.path}"
        blocks.append(Alert(f"Not complete: {len(records)} of {len(records) + len(missing)} are finished.", [go_on]))
    if other := [*_other_settings(records)]:
        blocks.append(Alert("The runs differ in more than what is repeated; their spread is not that of one.", other))
    return blocks


def _cautions(records: dict[str, RunRecord]) -> list[str]:
    """What the runs warn of in their data, each once; those that not all share with the names of the runs."""
    found: dict[str, list[str]] = {}
    for part, record in records.items():
        warnings = [warning for stage in record.data.get("stages") or [] for warning in stage.get("warnings", [])]
        for warning in dict.fromkeys(warnings):
            if not warning.startswith(LEAK_WARNING):
                found.setdefault(warning, []).append(part)
    return [
        warning if len(parts) == len(records) else f"{', '.join(parts)}: {warning}" for warning, parts in found.items()
    ]


def _other_settings(records: dict[str, RunRecord]) -> Iterator[str]:
    (first, one), *others = records.items()
    for part, record in others:
        for key, old, new in differences(one.config, record.config):
            if not REPEATED.fullmatch(key) and not OWN_BUSINESS.fullmatch(key):
                yield f"{part}: {key}: {shown(new)}, and {shown(old)} in {first}"


def _what(parent: Parent, records: dict[str, RunRecord]) -> Paragraph:
    """What the parts have in common, and what is another in each."""
    record = next(iter(records.values()))
    stages = record.data.get("stages") or [{}]
    images, groups = (counted(int(stages[-1].get(f"{noun}s", 0)), noun) for noun in ("image", "group"))
    seeds = ", ".join(map(str, parent.repetitions.numbers))
    count = len(parent.repetitions.numbers)
    if parent.repetitions.kind == "seeds":
        return Paragraph(
            f"The same experiment was trained {count} times, with the seeds {seeds}, on one split of {images}. The "
            "standard deviation below is that between these trainings: first weights, order of images, "
            "augmentation, dropout. How much the results depend on which images were tested is not in it; the "
            "intervals in the reports of the runs speak of that."
        )
    whole = [str(stage["stage"]) for stage in stages if stage["stage"] not in parent.repetitions.folded]
    even = ", and classes are spread evenly" if stages[-1].get("class_names") else ""
    said = f" The data of stage {md(', '.join(whole))} came split and are the same in all." if whole else ""
    return Paragraph(
        f"Cross-validation in {count} folds of {images} in {groups}.{said} Each image was tested once, by a network "
        "that saw neither it nor another image of its group while training; groups and identical files are never "
        f"parted{even}. The standard deviation below is that between folds; since each two networks share most of "
        "their training images, it is not the standard error of the mean."
    )


def _parts(parent: Parent, records: dict[str, RunRecord], labels: Labels) -> Table:
    metrics = _headline_metrics(labels.task)
    thresholds = {part: _threshold(record) for part, record in records.items()}
    chosen = any(thresholds.values())
    rows = []
    for part, record in records.items():
        found = read_json(record.run.metrics)
        of_split = found.get("test") or found["val"]
        best = [str(epoch["epoch"]) for epoch in record.history_of_task if epoch.get("best")]
        rows.append(
            [
                md(part),
                ", ".join(f"[{name}]({part}/{name})" for name in REPORTS if (record.run.path / name).is_file()),
                f"{of_split['samples']:,}",
                *(value_text(of_split[name]["value"]) for name in metrics),
                *([thresholds[part] or "none"] if chosen else []),
                best[-1] if best else "none",
                duration(sum(epoch.get("seconds") or 0.0 for epoch in record.history)),
            ]
        )
    head = [
        parent.repetitions.one,
        "report",
        "tested",
        *(md(labels.of(name)) for name in metrics),
        *(["threshold"] if chosen else []),
    ]
    return Table([*head, "best epoch", "time"], rows, text_columns=2)


def _threshold(record: RunRecord) -> str:
    threshold = _of_operating_point(record, "threshold")
    return "" if threshold is None else f"{threshold:.4g}"


def _of_operating_point(record: RunRecord, key: str) -> Any:
    path = record.run.operating_point
    return read_json(path).get(key) if path.is_file() else None


def _command(parent: Parent) -> str:
    kind, count = parent.repetitions.kind, len(parent.repetitions.numbers)
    return f"cvlab train {shlex.quote(str(parent.folder.config))} --{kind} {count}"
