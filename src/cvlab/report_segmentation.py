"""The part of a report that fits a segmentation: its tables, figures and findings."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from cvlab.document import Block, Bullets, Paragraph, Table
from cvlab.errors import RunFolderError, counted
from cvlab.metrics.segmentation import (
    MaskThreshold,
    SegmentationPredictions,
    read_predictions,
    segmentation_metrics,
)
from cvlab.metrics.segmentation_table import THRESHOLDS
from cvlab.reading_segmentation import has_volumes, read_cautions, read_curves, read_fit
from cvlab.reading_stages import SPLITS
from cvlab.report_gallery import gallery_section
from cvlab.report_intervals import about_intervals, brackets, interval_cautions, with_stored_intervals
from cvlab.report_parts import (
    changes_by_stage,
    draw_curves,
    draw_named,
    picture_blocks,
    read_after,
    read_splits,
    shown_of,
)
from cvlab.report_record import RunRecord, TaskReport, TaskSummary
from cvlab.report_segmentation_figures import Names, figures_of
from cvlab.report_text import change, code, md, number
from cvlab.report_uncertainty import uncertainty_section
from cvlab.run_folder import Json, read_json

Metrics = dict[str, Any]
Cell = dict[str, Any]
Predictions = dict[str, SegmentationPredictions]

MEANS = {
    "all": "mean over all images",
    "nonempty": "mean over images with {structure}",
    "pooled": "pooled over all pixels",
    "group_mean": "by {group}, mean of the volumes",
    "group_median": "by {group}, median of the volumes",
}
LABELS = {
    **{f"dice_{kind}": f"Dice, {text}" for kind, text in MEANS.items()},
    **{f"iou_{kind}": f"IoU, {text}" for kind, text in MEANS.items()},
    "precision": "precision (pooled)",
    "recall": "recall (pooled)",
    "pixel_accuracy": "pixel accuracy",
    "image_sensitivity": "images with {structure} where anything is predicted (sensitivity)",
    "image_specificity": "images without {structure} where nothing is predicted (specificity)",
    "hd95_mean": "HD95, mean (pixels)",
    "hd95_median": "HD95, median (pixels)",
    "hd95_defined": "images with an HD95",
    "hd95_one_empty": "images without one: one mask is empty",
    "hd95_both_empty": "images without one: both masks are empty",
    "images": "images",
    "nonempty_images": "images with {structure}",
    "groups": "{group}s",
}
EXPLAINED = (
    "Dice = 2 tp / (2 tp + fp + fn), IoU = tp / (tp + fp + fn). In means over all images two empty masks count as 1, "
    "and one empty mask as 0. HD95 is the 95th percentile of the distances between the boundaries of both masks, at "
    "the size that the network sees."
)
VOLUMES = "By {group}, the pixels of all images of a {group} are one volume."
OVER_THRESHOLDS = {
    "dice_pooled": "Dice, pooled",
    "dice_nonempty": "Dice, with {structure}",
    "dice_all": "Dice, all images",
    "iou_pooled": "IoU, pooled",
    "precision": "precision",
    "recall": "recall",
    "image_sensitivity": "sensitivity by image",
    "image_specificity": "specificity by image",
}
CURVES = {"loss": "loss", "dice": "Dice", "iou": "IoU", "accuracy": "pixel accuracy"}
CHANGES = {"dice_pooled": "Dice, pooled", "dice_nonempty": "Dice, with {structure}", "iou_pooled": "IoU, pooled"}
HEADLINE = ("dice_pooled", "dice_nonempty", "dice_all", "dice_group_mean", "iou_pooled")
MOST_GROUPS = 60
# The threshold of the run belongs to its last weights.
COMPARED_AT = "0.50"
TRAINED_ON = ("train", "train-augmented")


def build(record: RunRecord) -> TaskReport:
    """Draws the figures into the run folder and returns tables, findings and pictures.

    Raises:
        RunFolderError: There are predictions neither of test nor of val, or a table is damaged.
    """
    predictions = read_splits(record, read_predictions)
    point = _read_point(record, predictions)
    metrics = with_stored_intervals(record, {split: segmentation_metrics(p) for split, p in predictions.items()})
    shown, names = shown_of(predictions), _names(record, record.stages_of_task)
    figures = {
        figure.stem: figure for figure in figures_of(predictions[shown], metrics, point, split=shown, names=names)
    }
    drawn = partial(draw_named, record, figures, split=shown)
    return TaskReport(
        sections={
            "Results": [
                *_results(metrics, shown, names),
                *about_intervals(record, metrics, _shown_labels(metrics[shown], names), group=names.group),
            ],
            f"Results by image ({shown})": drawn("dice_histogram"),
            f"Results by {md(names.group)} ({shown})": [*_by_group(metrics[shown], names), *drawn("dice_by_group")],
            "Dice of the best weights": [_of_splits(metrics, names)],
            "Before and after each stage": _changes(record, names),
            "Mask threshold": [Paragraph(_threshold(record, point))],
            f"Over thresholds ({shown})": [
                _over_thresholds(metrics[shown], point, names),
                *drawn("dice_over_thresholds"),
            ],
            "Predictions to look at": gallery_section(record),
            "Uncertainty by dropout injection": uncertainty_section(record),
        },
        curves=draw_curves(record, CURVES),
        findings=read_curves(record.history_of_task, metrics, **names._asdict()),
        summary=TaskSummary(
            headline=_headline(metrics, shown, names),
            baseline=brackets(metrics).strip(),
            fit=read_fit(metrics),
            cautions=[*read_cautions(metrics, **names._asdict()), *interval_cautions(metrics)],
        ),
    )


def stage_results(record: RunRecord, stage: str) -> list[Block]:
    """Returns what an earlier stage came to, before the run went on with another task; draws its curves."""
    tables = read_after(record, stage, read_predictions)
    computed = {split: segmentation_metrics(p) for split, p in tables.items()}
    metrics = with_stored_intervals(record, computed, moment=f"{stage}-after")
    results = _results(metrics, shown_of(metrics), _names(record, [stage])) if metrics else []
    return [*results, *picture_blocks(draw_curves(record, CURVES, stage=stage))]


def _names(record: RunRecord, stages: list[str]) -> Names:
    """How things are called in the first of some stages; what its masks show is the output behind the task's name."""
    asked = (stage for stage in record.data.get("stages") or [] if str(stage["stage"]) in stages)
    first: Json = next(asked, {})
    outputs = first.get("outputs") or []
    return Names(str(outputs[1]) if len(outputs) > 1 else "structure", str(first.get("group_name", "group")))


def _read_point(record: RunRecord, predictions: Predictions) -> MaskThreshold | None:
    """Returns the threshold of a run; None where it has none yet."""
    path = record.run.operating_point
    if not path.is_file():
        return None
    point = MaskThreshold.from_json(read_json(path))
    for split, p in predictions.items():
        counts = vars(point.counts(p) or p.counts)
        other = any(not np.array_equal(vars(p.counts)[name], values) for name, values in counts.items())
        if other or (split == point.split and len(p.counts) != point.images):
            raise RunFolderError(
                f"{record.run.predictions(split)}: was not counted at the threshold of {path.name}, "
                f"{point.threshold:g}, or holds other images. Run `cvlab evaluate {record.run.path}` again."
            )
    return point


def _results(metrics: dict[str, Metrics], shown: str, names: Names) -> list[Block]:
    splits = [split for split in metrics if split not in TRAINED_ON]
    nothing, grouped = metrics[shown]["predict_nothing"], has_volumes(metrics[shown])
    rows = [
        [
            label,
            *(_cell(name, metrics[split][name]) for split in splits),
            _short(nothing[name], _cell(name, nothing[name])),
        ]
        for name, label in _shown_labels(metrics[shown], names).items()
    ]
    head = ["metric", *map(md, splits), f"predicting nothing ({md(shown)})"]
    missing = "There is no test split: sections and figures below are those of **val**."
    return [
        *([Paragraph(missing)] if "test" not in metrics else []),
        Table(head, rows),
        Paragraph(" ".join(names.fill({"all": EXPLAINED, **({"volumes": VOLUMES} if grouped else {})}).values())),
        *(_empty_volumes({split: metrics[split] for split in splits}, names) if grouped else []),
    ]


def _shown_labels(metrics: Metrics, names: Names) -> dict[str, str]:
    # Where every image is a group of its own, a mean over groups is that over images under another name.
    grouped = has_volumes(metrics)
    return names.fill({name: label for name, label in LABELS.items() if grouped or "group" not in name})


def _empty_volumes(metrics: dict[str, Metrics], names: Names) -> list[Block]:
    """Says where a mean over volumes holds some that have no Dice of their own."""
    empty = {split: sum(not of["true_pixels"] for of in m["by_group"].values()) for split, m in metrics.items()}
    said = [
        f"{split}: {counted(count, names.group)} without any true pixel; such a volume counts as 1 where nothing is "
        "predicted in it, and as 0 else."
        for split, count in empty.items()
        if count
    ]
    return [Bullets(said)] if said else []


def _headline(metrics: dict[str, Metrics], shown: str, names: Names) -> Table:
    splits = [split for split in metrics if split not in TRAINED_ON]
    nothing, labels = metrics[shown]["predict_nothing"], _shown_labels(metrics[shown], names)
    rows = [
        [labels[name], *(number(metrics[split][name]) for split in splits), _short(nothing[name])]
        for name in HEADLINE
        if name in labels
    ]
    return Table(["metric", *map(md, splits), f"predicting nothing ({md(shown)})"], rows)


def _threshold(record: RunRecord, point: MaskThreshold | None) -> str:
    if point is None:
        return f"There is no threshold yet; {code(f'cvlab evaluate {record.run.path}')} chooses it on validation."
    said = f"A pixel is predicted where its probability is at least **{point.threshold:g}**."
    if not point.is_chosen:
        return f"{said} The configuration gives this threshold (`evaluate.threshold`); it was not fitted to any data."
    edge = point.threshold in (THRESHOLDS[0], THRESHOLDS[-1])
    at_edge = " It is the last of those tried, so that a better one may lie beyond it." if edge else ""
    return (
        f"{said} This threshold was chosen on {counted(point.images, 'image')} of **{md(point.split)}** by the rule "
        f"{code(point.rule)} (the largest Dice pooled over all pixels, {point.dice_pooled:.3f} there) and applied "
        f"unchanged to all others.{at_edge}"
    )


def _over_thresholds(metrics: Metrics, point: MaskThreshold | None, names: Names) -> Table:
    """The table over thresholds; the one in use is bold."""
    rows = []
    for threshold, (name, cells) in zip(THRESHOLDS, metrics["over_thresholds"].items(), strict=True):
        row = [name, *(_short(cells[metric]) for metric in OVER_THRESHOLDS)]
        in_use = point is not None and threshold == point.threshold
        rows.append([f"**{text}**" for text in row] if in_use else row)
    return Table(["threshold", *names.fill(OVER_THRESHOLDS).values()], rows)


def _short(cell: Cell, shown: str = "") -> str:
    return "undefined" if cell["value"] is None else shown or f"{cell['value']:.3f}"


def _cell(name: str, cell: Cell) -> str:
    # Nearly all pixels are right whatever is predicted: three decimals would hide what differs.
    return number(cell, "{:.4f}".format) if name == "pixel_accuracy" else number(cell)


def _by_group(metrics: Metrics, names: Names) -> list[Block]:
    groups: dict[str, Json] = metrics["by_group"]
    if not has_volumes(metrics):
        return [Paragraph(f"Every image is the only one of its {md(names.group)}: there are no volumes.")]
    worst = sorted(groups, key=lambda name: (groups[name]["dice"], name))
    counts, scores = ("images", "nonempty_images", "true_pixels", "predicted_pixels"), ("dice", "iou")
    rows = [
        [md(name), *(f"{groups[name][key]:,}" for key in counts), *(f"{groups[name][key]:.3f}" for key in scores)]
        for name in worst[:MOST_GROUPS]
    ]
    head = [md(names.group), "images", f"with {md(names.structure)}", "true pixels", "predicted pixels", "Dice", "IoU"]
    more = len(worst) - len(rows)
    left_out = f"{counted(more, md(names.group))} with a higher Dice are left out; metrics.json has all."
    return [
        Paragraph(f"Each {md(names.group)} is one volume; the lowest Dice stands first."),
        Table(head, rows),
        *([Paragraph(left_out)] if more else []),
    ]


def _of_splits(metrics: dict[str, Metrics], names: Names) -> Table:
    shown = ["dice_pooled", "dice_nonempty", "dice_group_mean", "iou_pooled"]
    if not any(map(has_volumes, metrics.values())):
        shown.remove("dice_group_mean")
    rows = [
        [md(SPLITS.get(split, split)), *(_short(values[name]) for name in shown), number(values["images"])]
        for split, values in metrics.items()
    ]
    return Table(["images", *names.fill({name: LABELS[name] for name in shown}).values(), "number"], rows)


def _changes(record: RunRecord, names: Names) -> list[Block]:
    def cells(before: SegmentationPredictions, after: SegmentationPredictions) -> list[str]:
        metrics = [segmentation_metrics(p)["over_thresholds"][COMPARED_AT] for p in (before, after)]
        return [change(*(of[name] for of in metrics)) for name in CHANGES]

    rows = changes_by_stage(record, read_predictions, cells)
    if not rows:
        return []
    head = ["stage", "split", *names.fill(CHANGES).values()]
    return [Paragraph(f"All of these at threshold {COMPARED_AT}."), Table(head, rows, text_columns=2)]
