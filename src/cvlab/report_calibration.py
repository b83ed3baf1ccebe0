"""The part of a classification's report that is about calibration: whether scores are right as often as they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from typing import Any

from cvlab.document import Block, Paragraph, Table
from cvlab.errors import RunFolderError, counted
from cvlab.metrics.calibration import (
    DECOMPOSITION,
    EQUAL_WIDTH,
    Indices,
    Values,
    equal_mass_edges,
    error_by_chance,
    judged,
    reliability_bins,
)
from cvlab.metrics.classification_table import ClassificationPredictions
from cvlab.metrics.temperature import CALIBRATED, Temperature, calibrated_table, with_temperature
from cvlab.metrics.uncertainty import class_losses
from cvlab.plots_calibration import SIZE, Reliability, reliability_diagram
from cvlab.report_parts import Figure, draw_figures, picture_blocks
from cvlab.report_record import RunRecord
from cvlab.report_text import change, code, md, number, three_decimals
from cvlab.run_folder import read_json

Cell = dict[str, Any]
Predictions = Mapping[str, ClassificationPredictions]
Metrics = Mapping[str, Mapping[str, Any]]

LABELS = {
    "brier": "Brier score",
    "ece": "ECE, bins of equal width",
    "ece_equal_mass": "ECE, bins of equal mass",
    "brier_reliability": "Brier score, reliability",
    "brier_resolution": "Brier score, resolution",
    "brier_uncertainty": "Brier score, uncertainty",
}
BY_CHANCE = {
    "ece": "ECE by chance, bins of equal width",
    "ece_equal_mass": "ECE by chance, bins of equal mass",
}
CHANGED = {"loss": "loss", "brier": "Brier score", "ece": LABELS["ece"], "ece_equal_mass": LABELS["ece_equal_mass"]}
TRAINED_ON = ("train", "train-augmented")
SAME_LOSS = 1e-6


@dataclass(frozen=True)
class Judged:
    """What is judged of the scores of one class (of two), or of the highest ones.

    Attributes:
        name: The class; None for the highest score.
        target: (n,) the truth, the class second where there are two.
        scores: (n, k) in the same order.
    """

    name: str | None
    target: Indices
    scores: Values

    @classmethod
    def of(cls, p: ClassificationPredictions, positive: str | None) -> Judged:
        """Takes the score of the positive class of two, that of the second where none is named."""
        if len(p.class_names) > 2:
            return cls(None, p.target, p.scores)
        if positive == p.class_names[0]:
            return cls(positive, 1 - p.target, p.scores[:, ::-1])
        return cls(p.class_names[1], p.target, p.scores)

    def about(self) -> str:
        """What calibration means here, as Markdown."""
        if self.name is None:
            return "Judged is the highest score: of the images where it is 0.8, 80 in 100 predictions should be right."
        return f"Judged is the score of **{md(self.name)}**: of the images where it is 0.8, 80 in 100 should be that."

    def reading(self, split: str, error: float) -> str:
        """What the calibration error of a split says, in view of chance, as Markdown."""
        score, true = judged(self.target, self.scores)
        mean, high = error_by_chance(score)
        said = (
            f"Perfectly calibrated scores of {counted(len(score), 'image')} like these would have an ECE of {mean:.3f} "
            f"on average, and of {high:.3f} at most in 95 of 100 cases, if the images were independent."
        )
        if error <= high:
            return f"{said} The ECE of {md(split)}, {error:.3f}, is no evidence against the scores."
        what = "right" if self.name is None else md(self.name)
        side = "too high" if score.mean() > true.mean() else "too low"
        return (
            f"{said} The ECE of {md(split)}, {error:.3f}, is more than that: the scores are not calibrated. On average "
            f"they are {side}: the mean score is {score.mean():.3f}, and {true.mean():.3f} of the images are {what}."
        )


def read_temperature(record: RunRecord, predictions: Predictions) -> Temperature | None:
    """Returns the temperature of a run; None where it has none.

    Raises:
        RunFolderError: The file is damaged, or the temperature was fitted to other predictions.
    """
    path = record.run.operating_point
    found = Temperature.from_json(read_json(path)) if path.is_file() else None
    if found is not None and found.split in predictions:
        p = predictions[found.split]
        loss = float(class_losses(p.target, p.scores).mean())
        if len(p.target) != found.samples or not isclose(loss, found.nll_before, rel_tol=SAME_LOSS, abs_tol=1e-12):
            raise RunFolderError(
                f"{path}: its temperature was fitted to other predictions than "
                f"{record.run.predictions(found.split)} holds. Run `cvlab evaluate {record.run.path}` again."
            )
    return found


def calibrated_of(temperature: Temperature | None, p: ClassificationPredictions) -> dict[str, dict[str, Cell]]:
    """Returns the metrics after the temperature under their key in metrics.json; nothing without one."""
    return calibrated_table(p.target, p.scores, temperature)


def calibration_section(
    record: RunRecord,
    predictions: Predictions,
    metrics: Metrics,
    shown: str,
    *,
    temperature: Temperature | None,
    positive: str | None,
) -> list[Block]:
    """Draws the reliability diagram and returns the section's blocks.

    Args:
        record: The run.
        predictions: The tables by split.
        metrics: Their metrics by split, with what `calibrated_of` gives.
        shown: The split that the report is about.
        temperature: That of the run.
        positive: The positive class, if there is one.
    """
    splits = [split for split in predictions if split not in TRAINED_ON]
    one = Judged.of(predictions[shown], positive)
    rows = []
    for name, label in LABELS.items():
        rows.append([label, *(_number(name, metrics[split][name]) for split in splits)])
        if name in BY_CHANCE:
            rows.append([BY_CHANCE[name], *(_by_chance(predictions[split], name) for split in splits)])
    return [
        Paragraph(one.about()),
        Table(["metric", *map(md, splits)], rows),
        Paragraph(one.reading(shown, metrics[shown]["ece"]["value"])),
        *picture_blocks(draw_figures(record, [_figure(one, temperature, shown)], split=shown)),
        *_temperature_blocks(record, metrics, splits, temperature),
    ]


def _number(name: str, cell: Cell) -> str:
    return three_decimals(cell["value"]) if name in DECOMPOSITION else number(cell)


def _by_chance(p: ClassificationPredictions, name: str) -> str:
    score = judged(p.target, p.scores)[0]
    mean, high = error_by_chance(score, EQUAL_WIDTH if name == "ece" else equal_mass_edges(score))
    return f"{mean:.3f} (at most {high:.3f})"


def _figure(one: Judged, temperature: Temperature | None, split: str) -> Figure:
    drawn = {"as trained": one.scores}
    if temperature is not None and temperature.value is not None:
        drawn[f"temperature {temperature.value:.3g}"] = with_temperature(one.scores, temperature.value)
    found = {name: _reliability(one.target, scores) for name, scores in drawn.items()}
    score = "highest score" if one.name is None else f"score of {one.name}"
    share = "share of right predictions" if one.name is None else f"share of {one.name}"
    return Figure(
        "reliability",
        "reliability diagram",
        SIZE,
        lambda ax: reliability_diagram(found, score=score, share=share, split=split, ax=ax),
        f"Reliability diagram: the {share} over the mean {score} of 15 bins, with a diagonal where both are equal, "
        "above a histogram of the scores.",
    )


def _reliability(target: Indices, scores: Values) -> Reliability:
    bins = reliability_bins(*judged(target, scores))
    error = float((bins.samples * abs(bins.share - bins.score)).sum() / bins.samples.sum())
    return Reliability(**vars(bins), error=error)


def _temperature_blocks(
    record: RunRecord, metrics: Metrics, splits: list[str], temperature: Temperature | None
) -> list[Block]:
    """What a temperature changes; nothing where none is asked for."""
    if temperature is None:
        if not (record.config.get("evaluate") or {}).get("temperature"):
            return []
        return [Paragraph(f"There is no temperature yet; {code(f'cvlab evaluate {record.run.path}')} fits it.")]
    fitted_on = f"{counted(temperature.samples, 'sample')} of **{md(temperature.split)}**"
    if temperature.value is None:
        return [Paragraph(f"There is no temperature, which would be fitted to {fitted_on}: {md(temperature.note)}.")]
    said = (
        f"Divided by a temperature of **{temperature.value:.3f}**, fitted to {fitted_on} (loss "
        f"{temperature.nll_before:.3f} → {temperature.nll_after:.3f} there), the logits predict the same classes with "
        "other scores. Scores everywhere else in this report are those of the network."
    )
    note = [Paragraph(f"The temperature stands {md(temperature.note)}.")] if temperature.note else []
    rows = [
        [md(split), *(_change(metrics[split][name], metrics[split][CALIBRATED][name]) for name in CHANGED)]
        for split in splits
    ]
    return [Paragraph(said), *note, Table(["images", *CHANGED.values()], rows)]


def _change(before: Cell, after: Cell) -> str:
    # Intervals stand in metrics.json: those of the same samples say nothing about the change.
    return change({"value": before["value"]}, {"value": after["value"]})
