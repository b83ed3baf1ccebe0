"""The part of a cross-validation's report that is about the predictions of all folds together."""

from __future__ import annotations

from dataclasses import replace

from cvlab.document import Block, Paragraph, Table
from cvlab.repetitions import Parent
from cvlab.report import task_report
from cvlab.report_intervals import about_intervals
from cvlab.report_record import RunRecord
from cvlab.report_spread import label, scalars, spread_text
from cvlab.report_text import number
from cvlab.run_folder import Json, read_json

# What compares the outputs for different images, and so, pooled, those of different networks.
RANKING = ("auc", "average_precision", "corr", "ccc", "r2")
# What of a task's report the pooled predictions can say; the rest is about one network, its threshold or its training.
SHOWN = ("Results by", "Over thresholds", "ROC", "Precision and recall", "Confusion matrix", "Truth and prediction")


def pooled_sections(parent: Parent, summary: Json, record: RunRecord) -> dict[str, list[Block]]:
    """Draws the figures and returns the sections; none where there are no pooled predictions.

    Args:
        parent: The folder.
        summary: What its `summary.json` holds.
        record: A part, for what all have in common.
    """
    if parent.repetitions.kind != "folds":
        return {}
    if not parent.folder.metrics.is_file():
        return {"All folds together": [Paragraph("Not before all folds are finished: images would be missing.")]}
    pooled = read_json(parent.folder.metrics)["test"]
    whole = replace(record, run=parent.folder, history=[])
    return {
        "All folds together": _results(pooled, summary["splits"]["test"], record),
        **{f"{title}, all folds": blocks for title, blocks in task_report(whole).sections.items() if _is_shown(title)},
    }


def _is_shown(heading: str) -> bool:
    return heading.startswith(SHOWN)


def _results(pooled: Json, spread: Json, record: RunRecord) -> list[Block]:
    found, means = scalars(pooled), scalars(spread)
    rows = {name: [label(name), number(cell), _mean(means, name)] for name, cell in found.items()}
    ranking = [name for name in rows if any(word in name for word in RANKING)]
    own = Table(["metric", "pooled", "mean of the folds"], [row for name, row in rows.items() if name not in ranking])
    labels = {name: label(name) for name in found if name in pooled}
    blocks: list[Block] = [Paragraph(_explained(record)), own, *about_intervals(record, {"test": pooled}, labels)]
    if ranking:
        blocks += [
            Paragraph(
                "The following compare the outputs for different images. Pooled, they compare those of different "
                "networks, whose scores need not mean the same; the mean of the folds compares within each network "
                "alone. The two are different quantities: say which one you report."
            ),
            Table(["metric", "pooled", "mean of the folds"], [rows[name] for name in ranking]),
        ]
    return blocks


def _mean(means: Json, name: str) -> str:
    return spread_text(means[name]) if name in means else "not in every fold"


def _explained(record: RunRecord) -> str:
    decided = {
        "classification": "Each class is the one with the highest score of that network, and what stands at the "
        "operating point is decided at that network's own threshold and then counted.",
        "segmentation": "Pixels are counted at that network's own threshold, which it has from its own validation "
        "split.",
    }
    said = decided.get(str(record.task.get("name")), "")
    return (
        "[predictions/test.csv](predictions/test.csv) holds one prediction of each image, by the network that was not "
        f"trained on it ([out_of_fold.csv](out_of_fold.csv) says which that was). {said} Intervals are those "
        "of drawing other images to test; that training would then have had other images too is not in them."
    ).replace("  ", " ")
