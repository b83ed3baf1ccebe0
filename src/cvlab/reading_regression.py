"""Learning curves and results of a regression read in words, each sentence with its numbers.

What a curve alone cannot tell apart is told by the RMSE of the same best weights, in inference mode, on
four tables: training images plain (`train`) and augmented (`train-augmented`), `val`, `test`. Targets may have any
unit, so that each is judged by itself, by shares of its own RMSE.

| finding | rule, for a target |
| --- | --- |
| overfitting | train plain RMSE more than 20 % below val RMSE, and by more than 2 standard errors |
| biased augmentation | train augmented RMSE more than 20 % below train plain RMSE, and by more than 2 standard errors |
| lagging BatchNorm | training's running RMSE at the best epoch more than 20 % below that of plain and of augmented |
| not better than the mean | every target: r2 <= 0.02 or 4/n on val (test when there is no val); no lagging BatchNorm |
| constant prediction | predictions on val spread less than 1 % as much as the truth |
| too few samples | fewer than 50 test samples (of val when there is no test) |
| sign | the truth of test (or val) is never negative, or never positive: SAGR says little |

The standard error of a difference is the root of the sum of the squared standard errors of both RMSE. 4/n: r2 is at
most the squared correlation, and predictions that have nothing to do with the truth keep that below (2 / sqrt(n))^2
in 19 of 20 cases; a CORR beyond it shows that the predictions are related to the truth after all, only on a wrong
scale. What the stages did is read as `reading_stages` says.
"""

from __future__ import annotations

from math import hypot, sqrt
from typing import Any

from cvlab.errors import counted
from cvlab.reading_stages import SPLITS, Epoch, Metrics, decimals, running_at_best, stage_sentences

CLEAR_SHARE = 0.20
STANDARD_ERRORS = 2.0
MEAN_MARGIN = 0.02
CONSTANT_SHARE = 0.01
FEW_SAMPLES = 50
SHOWN = ("val_loss", "val_rmse", "val_ccc", "loss", "rmse")

Cells = dict[str, Any]


def read_curves(history: list[Epoch], metrics: dict[str, Metrics]) -> list[str]:
    """Returns findings in plain language: what each stage did, then what the best weights show.

    Args:
        history: The lines of metrics.jsonl, in order: one an epoch, stage by stage.
        metrics: `regression_metrics` of the best weights by split; any split may be missing.
    """
    fit = read_fit(metrics)
    return [*stage_sentences(history, SHOWN), *([fit] if fit else []), *read_cautions(history, metrics)]


def read_cautions(history: list[Epoch], metrics: dict[str, Metrics]) -> list[str]:
    """Returns those of the findings that speak against the numbers, or say how to better them."""
    held_out = next((split for split in ("val", "test") if split in metrics), None)
    reported = next((split for split in ("test", "val") if split in metrics), None)
    lagging = _lagging_batchnorm(metrics, running_at_best(history, "rmse"))
    findings = [_overfitting(metrics), _biased_augmentation(metrics), lagging]
    if held_out is not None:
        # BatchNorm that lags can hide a model that has learned.
        findings.append("" if lagging else _not_better_than_the_mean(metrics, held_out))
        findings.append(_constant(metrics[held_out], held_out))
    if reported is not None:
        findings += [_few_samples(metrics[reported], reported), _one_sign(metrics[reported], reported)]
    return [finding for finding in findings if finding]


def read_fit(metrics: dict[str, Metrics]) -> str:
    """Returns the RMSE of the best weights by split, with the gap between training and validation."""
    values = {split: metrics[split]["rmse"]["value"] for split in SPLITS if split in metrics}
    if not values:
        return ""
    targets = len(metrics[next(iter(values))]["per_target"])
    what = "RMSE of the best weights" + (f", mean of {targets} targets" if targets > 1 else "")
    shown = ", ".join(f"{SPLITS[split]} {decimals(value)}" for split, value in values.items())
    if "train" not in values or "val" not in values:
        return f"{what}: {shown}."
    gap = decimals(values["val"] - values["train"], sign="+")
    return f"{what}: {shown}; validation less training plain: {gap}."


def _targets(metrics: dict[str, Metrics], split: str) -> dict[str, Cells]:
    return dict(metrics[split]["per_target"]) if split in metrics else {}


def _clearly_below(low: Cells, high: Cells) -> bool:
    """Whether one RMSE is below another by more than a fifth and by more than noise."""
    gap = high["rmse"]["value"] - low["rmse"]["value"]
    noise = hypot(*(cells["rmse_standard_error"]["value"] or 0.0 for cells in (low, high)))
    return bool(gap > max(CLEAR_SHARE * high["rmse"]["value"], STANDARD_ERRORS * noise))


def _lower(metrics: dict[str, Metrics], low: str, high: str) -> list[str]:
    """The targets whose RMSE on one split is clearly below that on another, each with both."""
    lows, highs = _targets(metrics, low), _targets(metrics, high)
    return [
        f"{name} {decimals(lows[name]['rmse']['value'])} against {decimals(cells['rmse']['value'])}"
        for name, cells in highs.items()
        if name in lows and cells["rmse_standard_error"]["value"] is not None and _clearly_below(lows[name], cells)
    ]


def _overfitting(metrics: dict[str, Metrics]) -> str:
    clear = _lower(metrics, "train", "val")
    if not clear:
        return ""
    images = counted(metrics["val"]["samples"], "validation image")
    return (
        f"Overfitting: RMSE of the best weights on the training images plain against that on {images}: "
        f"{', '.join(clear)}; more data, stronger augmentation, more dropout or a smaller model narrow the gap."
    )


def _biased_augmentation(metrics: dict[str, Metrics]) -> str:
    clear = _lower(metrics, "train-augmented", "train")
    if not clear:
        return ""
    return (
        "Biased augmentation: RMSE of the same weights on the training images augmented against that on them plain: "
        f"{', '.join(clear)}; augmentation moves or changes every image the same way. "
        "Look at samples/augmented.png and give ranges around no change, such as [-0.1, 0.1]."
    )


def _lagging_batchnorm(metrics: dict[str, Metrics], running: float | None) -> str:
    known = {split: metrics[split]["rmse"]["value"] for split in ("train", "train-augmented") if split in metrics}
    if running is None or len(known) < 2 or running >= (1 - CLEAR_SHARE) * min(known.values()):
        return ""
    return (
        f"Lagging BatchNorm: training itself counted an RMSE of {decimals(running)} at the best epoch, but the same "
        f"weights in inference mode reach {decimals(known['train'])} on the training images plain and "
        f"{decimals(known['train-augmented'])} augmented; the moving averages have not caught up. Train more steps or "
        "lower the BatchNorm momentum."
    )


def _explained_by_chance(samples: int) -> float:
    """The share of the variance that predictions may seem to explain without knowing anything."""
    return max(MEAN_MARGIN, STANDARD_ERRORS**2 / samples)


def _all_near_mean(metrics: dict[str, Metrics], split: str) -> bool:
    chance = _explained_by_chance(metrics[split]["samples"])
    values = [cells["r2"]["value"] for cells in _targets(metrics, split).values()]
    return all(value is not None and value <= chance for value in values)


def _not_better_than_the_mean(metrics: dict[str, Metrics], split: str) -> str:
    if not _all_near_mean(metrics, split):
        return ""
    shown = ", ".join(
        f"{name} {decimals(cells['rmse']['value'])} against {decimals(cells['truth_std']['value'])}"
        for name, cells in _targets(metrics, split).items()
    )
    return (
        f"Not better than the mean, as far as {counted(metrics[split]['samples'], 'image')} can tell: RMSE on "
        f"{SPLITS[split]} against the standard deviation of the truth there, which is the RMSE of always saying the "
        f"mean: {shown}; {_what_was_learned(metrics, split)}"
    )


def _what_was_learned(metrics: dict[str, Metrics], split: str) -> str:
    """Tells a wrong scale, and what was learned by heart, from nothing learned."""
    clear = sqrt(_explained_by_chance(metrics[split]["samples"]))
    related = [
        f"{name} CORR {decimals(cells['corr']['value'])}, {_spread(cells, 'predicted')} for a truth of "
        f"{_spread(cells, 'truth')}"
        for name, cells in _targets(metrics, split).items()
        if cells["corr"]["value"] is not None and cells["corr"]["value"] > clear
    ]
    if related:
        return (
            f"but the predictions go with the truth, on a wrong scale ({'; '.join(related)}): train for more epochs, "
            "or lower the learning rate."
        )
    training = [name for name in ("train", "train-augmented") if name in metrics]
    if any(not _all_near_mean(metrics, name) for name in training):
        return "what the model has learned holds for its training images only."
    return "the model has learned nothing yet. Try another learning rate or more epochs."


def _spread(cells: Cells, of: str) -> str:
    return f"{decimals(cells[f'{of}_mean']['value'])} ± {decimals(cells[f'{of}_std']['value'])}"


def _constant(metrics: Metrics, split: str) -> str:
    constant = [
        f"{name} {_spread(cells, 'predicted')} (truth {_spread(cells, 'truth')})"
        for name, cells in metrics["per_target"].items()
        if cells["predicted_std"]["value"] < CONSTANT_SHARE * cells["truth_std"]["value"]
    ]
    if not constant:
        return ""
    return (
        f"Constant prediction: the model says nearly the same of every image of {SPLITS[split]}: {', '.join(constant)}."
    )


def _few_samples(metrics: Metrics, split: str) -> str:
    samples = metrics["samples"]
    if samples >= FEW_SAMPLES:
        return ""
    errors = ", ".join(
        f"{name} {decimals(cells['rmse']['value'])} ± {decimals(error)}"
        for name, cells in metrics["per_target"].items()
        if (error := cells["rmse_standard_error"]["value"]) is not None
    )
    shown = f" (RMSE with its standard error: {errors})" if errors else ""
    return (
        f"Too few samples: {counted(samples, split + ' sample')}{shown}; a few samples more or less change the numbers "
        "a lot, so do not compare models by them."
    )


def _one_sign(metrics: Metrics, split: str) -> str:
    notes = [f"{name}: {note}" for name, cells in metrics["per_target"].items() if (note := cells["sagr"].get("note"))]
    return f"Sign agreement (SAGR) on {SPLITS[split]}: {'; '.join(notes)}." if notes else ""
