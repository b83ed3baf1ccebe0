"""Learning curves and results of a classification read in words, each sentence with its numbers.

What a curve alone cannot tell apart is told by the accuracy of the same best weights, in inference
mode, on four tables: training images plain (`train`) and augmented (`train-augmented`), `val`, `test`.

| finding | rule |
| --- | --- |
| overfitting | train plain - val > 0.10 and > 2 standard errors of val |
| biased augmentation | train augmented - train plain > 0.10: what was learned fits the altered images only |
| lagging BatchNorm | training's running accuracy at the best epoch - the best of plain and augmented > 0.10 |
| not above chance | every accuracy <= majority share, and every balanced one <= 1/k, + 0.02 or 2 standard errors |
| too few samples | a class with fewer than 10 test samples (of val when there is no test) |

What the stages did is read as `reading_stages` says. Running accuracy is held against the balanced
accuracies too, since training may resample the classes.
"""

from __future__ import annotations

from math import sqrt

from cvlab.errors import counted
from cvlab.reading_stages import SPLITS, Epoch, Metrics, running_at_best, stage_sentences

CLEAR_GAP = 0.10
CHANCE_MARGIN = 0.02
STANDARD_ERRORS = 2.0
FEW_SAMPLES = 10
MOST_NAMED = 20


def read_curves(history: list[Epoch], metrics: dict[str, Metrics]) -> list[str]:
    """Returns findings in plain language: what each stage did, then what the best weights show.

    Args:
        history: The lines of metrics.jsonl, in order: one an epoch, stage by stage.
        metrics: `classification_metrics` of the best weights by split; any split may be missing.
    """
    stages = stage_sentences(history, ("val_loss", "val_accuracy", "loss", "accuracy"))
    fit = read_fit(metrics)
    return [*stages, *([fit] if fit else []), *read_cautions(history, metrics)]


def read_cautions(history: list[Epoch], metrics: dict[str, Metrics]) -> list[str]:
    """Returns those of the findings that speak against the numbers, or say how to better them."""
    running = running_at_best(history, "accuracy")
    findings = [
        _overfitting(metrics),
        _biased_augmentation(metrics),
        _lagging_batchnorm(metrics, running),
        _not_above_chance(metrics, running),
        _few_samples(metrics),
    ]
    return [finding for finding in findings if finding]


def _value(metrics: dict[str, Metrics], split: str, metric: str = "accuracy") -> float | None:
    value = metrics.get(split, {}).get(metric, {}).get("value")
    return None if value is None else float(value)


def _noise(share: float, samples: int) -> float:
    return STANDARD_ERRORS * sqrt(share * (1 - share) / samples)


def read_fit(metrics: dict[str, Metrics]) -> str:
    """Returns the accuracy of the best weights by split, with the gap between training and validation."""
    values = {split: value for split in SPLITS if (value := _value(metrics, split)) is not None}
    shown = ", ".join(f"{SPLITS[split]} {value:.3f}" for split, value in values.items())
    if "train" not in values or "val" not in values:
        return f"Accuracy of the best weights: {shown}." if shown else ""
    gap = values["train"] - values["val"]
    return f"Accuracy of the best weights: {shown}; training plain less validation: {gap:+.3f}."


def _overfitting(metrics: dict[str, Metrics]) -> str:
    train, val = _value(metrics, "train"), _value(metrics, "val")
    if train is None or val is None:
        return ""
    samples = metrics["val"]["samples"]
    if train - val <= max(CLEAR_GAP, _noise(val, samples)):
        return ""
    return (
        f"Overfitting: the best weights reach {train:.3f} on the training images plain and {val:.3f} on "
        f"{counted(samples, 'validation image')}; more data, stronger augmentation, more dropout or a "
        "smaller model narrow the gap."
    )


def _biased_augmentation(metrics: dict[str, Metrics]) -> str:
    plain, augmented, val = (_value(metrics, split) for split in ("train", "train-augmented", "val"))
    if plain is None or augmented is None or augmented - plain <= CLEAR_GAP:
        return ""
    on_val = "" if val is None else f" and {val:.3f} on validation"
    return (
        f"Biased augmentation: the same weights reach {augmented:.3f} on the training images augmented but "
        f"{plain:.3f} on them plain{on_val}; augmentation moves or changes every image the same way. "
        "Look at samples/augmented.png and give ranges around no change, such as [-0.1, 0.1]."
    )


def _lagging_batchnorm(metrics: dict[str, Metrics], running: float | None) -> str:
    plain, augmented = _value(metrics, "train"), _value(metrics, "train-augmented")
    if running is None or plain is None or augmented is None:
        return ""
    keys = ("accuracy", "balanced_accuracy")
    known = [_value(metrics, split, key) for split in ("train", "train-augmented") for key in keys]
    if running - max(value for value in known if value is not None) <= CLEAR_GAP:
        return ""
    return (
        f"Lagging BatchNorm: training itself counted {running:.3f} at the best epoch, but the same weights in "
        f"inference mode reach {plain:.3f} on the training images plain and {augmented:.3f} augmented; the "
        "moving averages have not caught up. Train more steps or lower the BatchNorm momentum."
    )


def _not_above_chance(metrics: dict[str, Metrics], running: float | None) -> str:
    known = [split for split in SPLITS if _value(metrics, split) is not None]
    if not known or not all(_near_chance(metrics[split]) for split in known):
        return ""
    split = next((name for name in ("val", "test") if name in known), known[0])
    classes, majority = _classes_and_majority(metrics[split])
    # What training itself counted speaks too: BatchNorm that lags can hide a model that has learned.
    if running is not None and running > max(majority, 1 / classes) + CLEAR_GAP:
        return ""
    accuracy, balanced = (_value(metrics, split, key) for key in ("accuracy", "balanced_accuracy"))
    return (
        f"Not above chance: accuracy {accuracy:.3f} and balanced accuracy {balanced:.3f} on {SPLITS[split]}, "
        f"where the largest class alone gives {majority:.3f} and guessing among {classes} classes "
        f"{1 / classes:.3f}; the model has learned nothing yet. Try another learning rate or more epochs."
    )


def _classes_and_majority(metrics: Metrics) -> tuple[int, float]:
    supports = [cells["support"]["value"] for cells in metrics["per_class"].values()]
    return len(supports), max(supports) / sum(supports)


def _near_chance(metrics: Metrics) -> bool:
    classes, majority = _classes_and_majority(metrics)
    present = sum(cells["support"]["value"] > 0 for cells in metrics["per_class"].values())
    pairs = ((metrics["accuracy"], majority), (metrics["balanced_accuracy"], 1 / present))
    return classes > 1 and all(
        cell["value"] <= chance + max(CHANCE_MARGIN, _noise(chance, metrics["samples"])) for cell, chance in pairs
    )


def _few_samples(metrics: dict[str, Metrics]) -> str:
    split = next((name for name in ("test", "val") if name in metrics), None)
    if split is None:
        return ""
    supports = {name: cells["support"]["value"] for name, cells in metrics[split]["per_class"].items()}
    few = {name: count for name, count in supports.items() if count < FEW_SAMPLES}
    if not few:
        return ""
    more = f" and {len(few) - MOST_NAMED} more" if len(few) > MOST_NAMED else ""
    listed = ", ".join(f"{name} ({count})" for name, count in [*few.items()][:MOST_NAMED]) + more
    return (
        f"Too few samples: fewer than {FEW_SAMPLES} {split} samples in {listed}; one sample more or less "
        "changes the numbers of such a class a lot, so do not compare models by them."
    )
