"""What the numbers of a report mean: the definitions of those that it shows, and links to them for the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from cvlab.definitions import GROUPS
from cvlab.definitions_binary import BINARY
from cvlab.definitions_calibration import CALIBRATION, FITTED
from cvlab.definitions_classes import CLASS, CLASSIFICATION
from cvlab.definitions_masks import SEGMENTATION, VOLUME
from cvlab.definitions_model import Definition, Group
from cvlab.definitions_numbers import REGRESSION, TARGET
from cvlab.definitions_training import TRAINING
from cvlab.definitions_uncertainty import INTERVALS, UNCERTAINTY_CLASSES, UNCERTAINTY_MASKS, UNCERTAINTY_NUMBERS
from cvlab.document import Block, Document, Paragraph, Section, Table
from cvlab.document_inline import plain_of
from cvlab.expected import definition_of
from cvlab.report_expected import HEADING as EXPECTED
from cvlab.report_expected import tables_of
from cvlab.report_record import RunRecord
from cvlab.report_text import md
from cvlab.run_folder import read_json

HEADING = "What the numbers mean"
ABOUT = "The numbers of this report, how they are computed, and when they say something else than one may think."
NOT_LINKED = "Defined at the end:"
# Where numbers stand, by what their section's heading begins with; of two groups the first has the last word.
PLACES: dict[str, dict[str, tuple[Group, ...]]] = {
    "classification": {
        "Results by class": (CLASS,),
        "At the operating point": (BINARY,),
        "Over thresholds": (BINARY,),
        "Uncertainty": (UNCERTAINTY_CLASSES,),
        "": (CLASSIFICATION, CALIBRATION, BINARY),
    },
    "regression": {
        "Results by target": (TARGET,),
        "Uncertainty": (UNCERTAINTY_NUMBERS,),
        "": (REGRESSION,),
    },
    "segmentation": {
        # By group, or by patient or whatever the source calls one.
        "Results by ": (VOLUME,),
        "Uncertainty": (UNCERTAINTY_MASKS,),
        "": (SEGMENTATION,),
    },
}
# In the tables of these the rows are classes, targets and groups.
OF_COLUMNS = {"class", "target", "volume"}
OF_TRAINING = ("Training", "Samples")
WITHOUT_NUMBERS = ("Summary", "Data audit", "Configuration", "Environment", "Model", "Repeat this run", HEADING)
# What tables call some numbers for want of room.
SHORT_NAMES = {
    "binary": {"PPV": "ppv", "NPV": "npv", "MCC": "mcc", "sensitivity": "sensitivity"},
    "target": {
        "RMSE ± standard error": "rmse",
        "truth (mean ± sd)": "truth_mean",
        "prediction (mean ± sd)": "predicted_mean",
    },
    "segmentation": {
        "Dice, pooled": "dice_pooled",
        "Dice, with {structure}": "dice_nonempty",
        "Dice, all images": "dice_all",
        "IoU, pooled": "iou_pooled",
        "precision": "precision",
        "recall": "recall",
        "sensitivity by image": "image_sensitivity",
        "specificity by image": "image_specificity",
    },
    "volume": {"with {structure}": "nonempty_images"},
    "uncertainty-numbers": {"RMSE as trained": "rmse"},
    "training": {"val loss there": "val_loss"},
}
Found = tuple[Group, Definition]


def with_definitions(record: RunRecord, document: Document) -> Document:
    """Returns a report with the definitions of the numbers in its tables as its last part."""
    terms = definition_sections([*_of_tables(record, document), *_of_the_run(record)], ABOUT)
    return replace(document, sections=[*document.sections, *terms])


def definition_sections(shown: Iterable[Found], about: str) -> list[Section]:
    """Returns the last part of a document, a section each definition in their usual order; none where there are none.

    Args:
        shown: The definitions, some of them more than once.
        about: A sentence to begin with.
    """
    found = {*shown}
    ordered = [(group, one) for group in GROUPS for one in group.definitions if (group, one) in found]
    labels = [one.label for _, one in ordered]
    parts = [
        Section(
            _heading(group, one, unique=labels.count(one.label) == 1), [_text(one)], level=3, anchor=group.anchor(one)
        )
        for group, one in ordered
    ]
    return [Section(HEADING, [Paragraph(about)]), *parts] if parts else []


def _of_tables(record: RunRecord, document: Document) -> Iterator[Found]:
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Table):
                yield from _of_columns(record, section, block).values()
                yield from _of_rows(record, section, block).values()


def with_links(record: RunRecord, document: Document) -> Document:
    """Returns a report in whose tables the names of numbers are links to their definitions, for a page.

    Names of columns stay as they are, since a click sorts by them: a line below the table has their links.
    """
    sections = [
        replace(section, blocks=[linked for block in section.blocks for linked in _linked(record, section, block)])
        for section in document.sections
    ]
    return replace(document, sections=sections)


def _linked(record: RunRecord, section: Section, block: Block) -> Iterator[Block]:
    if not isinstance(block, Table):
        yield block
        return
    links = {text: link(text, found) for text, found in _of_rows(record, section, block).items()}
    yield replace(block, rows=[[links.get(row[0], row[0]), *row[1:]] if row else row for row in block.rows])
    if columns := _of_columns(record, section, block):
        yield Paragraph(f"{NOT_LINKED} {', '.join(link(text, found) for text, found in columns.items())}.")


def link(text: str, found: Found) -> str:
    """Returns inline Markdown as a link to a definition in the same document."""
    group, one = found
    return f"[{text}](#{group.anchor(one)})"


def _of_columns(record: RunRecord, section: Section, table: Table) -> dict[str, Found]:
    """Returns the definitions of the columns that name a number."""
    found = {text: _find(plain_of(text), _groups(record, section)) for text in table.head}
    return {text: one for text, one in found.items() if one is not None}


def _of_rows(record: RunRecord, section: Section, table: Table) -> dict[str, Found]:
    """Returns the definitions of the first cells that name a number."""
    names, groups = [row[0] for row in table.rows if row], _groups(record, section)
    found: dict[str, Found | None] = {}
    if section.heading == EXPECTED:
        # They stand in the order of the configuration.
        figures, tables = record.config.get("expected") or [], tables_of(record)
        found = {name: definition_of(one["metric"], tables) for name, one in zip(names, figures, strict=False)}
    elif not {group.name for group in groups} & OF_COLUMNS:
        found = {name: _find(plain_of(name), groups) for name in names}
    return {text: one for text, one in found.items() if one is not None}


def _groups(record: RunRecord, section: Section) -> tuple[Group, ...]:
    heading, task = plain_of(section.heading), str(record.task.get("name"))
    if heading in OF_TRAINING:
        return (TRAINING,)
    if heading in WITHOUT_NUMBERS or section.anchor:
        return ()
    stages = {f"Stage {stage}: {other['name']}": str(other["name"]) for stage, other in record.tasks.items()}
    places = PLACES.get(stages.get(heading, task), {})
    return next((groups for start, groups in places.items() if heading.startswith(start)), ())


def _find(text: str, groups: Sequence[Group]) -> Found | None:
    """Returns what a name in a table stands for; ` for ...` may follow."""
    name = text.partition(" for ")[0]
    for group in groups:
        for one in group.definitions:
            if _names(name, one.label):
                return group, one
        for short, key in SHORT_NAMES.get(group.name, {}).items():
            one_of = group.find(key)
            if one_of is not None and _names(name, short):
                return group, one_of
    return None


def _names(name: str, label: str) -> bool:
    """Whether a name is a label; those of the loss, structure, group and top k accuracy stand for any of them."""
    pattern = re.escape(label).replace(r"top\ k\ ", r"top\ \d+\ ")
    # A group is one word, and none of an image's.
    pattern = pattern.replace(re.escape("{structure}"), ".+").replace(re.escape("{group}"), r"(?!image)\w+")
    return re.fullmatch(rf"{pattern}( \(\w+\))?" if label == "loss" else pattern, name) is not None


def _of_the_run(record: RunRecord) -> Iterator[Found]:
    """What stands in the text of a report: kinds of intervals, and what was fitted on validation."""
    run = record.run
    stored = run.metrics.read_text(encoding="utf-8") if run.metrics.is_file() else ""
    yield from interval_definitions(re.findall(r'"method": "([^"]+)"', stored))
    point: Mapping[str, object] = read_json(run.operating_point) if run.operating_point.is_file() else {}
    for key in ("threshold", "temperature"):
        if key in point and (one := FITTED.find(key)):
            yield FITTED, one


def interval_definitions(methods: Iterable[str]) -> Iterator[Found]:
    """Yields the definitions of some kinds of intervals, which cells of metrics name as their `method`."""
    said = [*methods]
    for key, word in (("bootstrap", "bootstrap, "), ("wilson", "Wilson"), ("delong", "DeLong")):
        if any(word in method for method in said) and (one := INTERVALS.find(key)):
            yield INTERVALS, one


def _heading(group: Group, one: Definition, *, unique: bool) -> str:
    label = one.named()
    return md(label if unique else f"{label} ({group.title})")


def _text(one: Definition) -> Paragraph:
    source = f" Source: {md(one.source)}." if one.source else ""
    return Paragraph(f"{md(one.formula)}. Range: {md(one.range)}.{source} Beware: {md(one.misleads)}")
