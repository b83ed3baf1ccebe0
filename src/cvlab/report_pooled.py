"""The part of a cross-validation's report that is about the predictions of all folds together."""

from __future__ import annotations

from dataclasses import replace

from cvlab.document import Block, Paragraph, Section, Table
from cvlab.repetitions import Parent
from cvlab.report import task_report
from cvlab.report_expected import HEADING as EXPECTED
from cvlab.report_expected import expected_section
from cvlab.report_intervals import about_intervals
from cvlab.report_record import RunRecord
from cvlab.report_spread import Cells, Labels, binary_scalars, scalars, spread_text
from cvlab.report_text import md, number
from cvlab.run_folder import Json, read_json

# What depends on how the outputs for different images compare, and so, pooled, on several networks at once.
COMPARING = ("auc", "average_precision", "ece", "reliability", "resolution", "corr", "ccc", "r2")
# What of a task's report pooled predictions can say; the rest is about one network, its threshold or its training.
SHOWN = (
    "Results by",
    "Over thresholds",
    "ROC",
    "Precision and recall",
    "Confusion matrix",
    "Predictions and truth",
)
TITLE, AT_POINT = "All folds together", "At the operating point, all folds"
ABOUT_COMPARING = (
    "The following depend on how the outputs for different images compare. Pooled, these are outputs of different "
    "networks, whose scores need not mean the same; the mean of the folds compares within each network alone. The two "
    "are different quantities: say which one you report."
)


def pooled_sections(parent: Parent, summary: Json, record: RunRecord, labels: Labels) -> list[Section]:
    """Draws the figures and returns the sections; none where nothing is pooled.

    Args:
        parent: The folder.
        summary: What its `summary.json` holds.
        record: A part, for what all have in common.
        labels: What the metrics are called.
    """
    if parent.repetitions.kind != "folds":
        return []
    if not parent.folder.metrics.is_file():
        return [Section(TITLE, [Paragraph("Not before all folds are finished: images would be missing.")])]
    pooled, spread = read_json(parent.folder.metrics)["test"], summary["splits"]["test"]
    whole = replace(record, run=parent.folder, history=[])
    named = {name: labels.of(name) for name in scalars(pooled)}
    at_point = _tables(binary_scalars(pooled), binary_scalars(spread), labels)
    of_task = {title: blocks for title, blocks in task_report(whole).sections.items() if title.startswith(SHOWN)}
    expected = expected_section(whole)
    return [
        Section(
            TITLE,
            [
                Paragraph(_explained(whole)),
                *about_intervals(whole, {"test": pooled}, named),
                *_tables(scalars(pooled), scalars(spread), labels),
            ],
        ),
        *([Section(AT_POINT, at_point, level=3)] if at_point else []),
        *(Section(title, blocks, level=3) for title, blocks in of_task.items() if blocks),
        *([Section(EXPECTED, expected, level=3)] if expected else []),
    ]


def _tables(pooled: Cells, spread: Cells, labels: Labels) -> list[Block]:
    """What is pooled beside what each fold came to: first what counts images one by one, then what compares them."""
    rows = {
        name: [md(labels.of(name)), number(cell), spread_text(spread[name]) if name in spread else "not in every fold"]
        for name, cell in pooled.items()
    }
    comparing = [name for name in rows if any(word in name for word in COMPARING)]
    head = ["metric", "pooled", "mean of the folds ± standard deviation"]
    blocks: list[Block] = []
    if counting := [row for name, row in rows.items() if name not in comparing]:
        blocks.append(Table(head, counting))
    if comparing:
        blocks += [Paragraph(ABOUT_COMPARING), Table(head, [rows[name] for name in comparing])]
    return blocks


def _explained(record: RunRecord) -> str:
    decided = {
        "classification": " Each class is the one with the highest score of that network; what stands at the operating "
        "point is decided at that network's own threshold, and counted.",
        "segmentation": " Pixels are counted at that network's own threshold, chosen on its own validation split or "
        "given.",
    }
    return (
        "[predictions/test.csv](predictions/test.csv) holds one prediction of each image, by the network that was not "
        "trained on it; [out_of_fold.csv](out_of_fold.csv) says which that was."
        f"{decided.get(str(record.task.get('name')), '')} Intervals are those of drawing other images to test; that "
        "training would then have had other images too is not in them."
    )
