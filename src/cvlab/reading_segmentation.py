"""Learning curves and results of a segmentation read in words, each sentence with its numbers.

Published values of Dice differ by which images are averaged more than by the model, so that the first sentence on
results says which mean is which. A group is what must not be split, such as a patient.

| finding | rule |
| --- | --- |
| overfitting | train plain mean Dice by group more than 0.10 above that of val, and by more than 2 standard errors |
| biased augmentation | train augmented pooled Dice more than 0.10 above that of train plain |
| nothing predicted | no pixel of val (test when there is no val) is predicted |
| not better than nothing | mean Dice over all images at most that of predicting nothing |
| known groups | images of test (or val) belong to groups that stand in train too |
| too few groups | fewer than 10 groups in test (in val when there is no test) |
| pixel accuracy | always, beside that of predicting nothing |

What the stages did is read as `reading_stages` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import hypot
from typing import Any

from cvlab.errors import counted
from cvlab.reading_stages import SPLITS, Epoch, Metrics, decimals, stage_sentences

CLEAR_GAP = 0.10
STANDARD_ERRORS = 2.0
FEW_GROUPS = 10
SHOWN = ("val_loss", "val_dice", "val_iou", "val_accuracy", "loss")


def read_curves(
    history: list[Epoch], metrics: Mapping[str, Metrics], *, structure: str, group: str = "group"
) -> list[str]:
    """Returns findings in plain language: what each stage did, then what the best weights show.

    Args:
        history: The lines of metrics.jsonl, in order: one an epoch, stage by stage.
        metrics: `segmentation_metrics` of the best weights by split; any split may be missing.
        structure: What the masks show, such as `tumour`.
        group: What one of the groups is called, such as `patient`.
    """
    reported = next((split for split in ("test", "val") if split in metrics), None)
    findings = stage_sentences(history, SHOWN)
    if reported is not None:
        values = metrics[reported]
        findings += [
            _which_mean(values, reported, structure, group),
            _accuracy(values, reported),
            _detection(values, reported, structure),
        ]
    fit = read_fit(metrics)
    return [*findings, *([fit] if fit else []), *read_cautions(metrics, structure=structure, group=group)]


def read_cautions(metrics: Mapping[str, Metrics], *, structure: str, group: str = "group") -> list[str]:
    """Returns those of the findings that speak against the numbers, or say how to better them."""
    reported = next((split for split in ("test", "val") if split in metrics), None)
    held_out = next((split for split in ("val", "test") if split in metrics), None)
    findings = [_overfitting(metrics, group), _biased_augmentation(metrics)]
    if held_out is not None:
        findings.append(_not_better_than_nothing(metrics[held_out], held_out, structure))
    if reported is not None:
        findings += [_known_groups(metrics, reported, group), _few_groups(metrics[reported], reported, group)]
    return [finding for finding in findings if finding]


def has_volumes(metrics: Metrics) -> bool:
    """Whether any group has several images: a mean over groups is that over images under another name else."""
    return len(metrics["by_group"]) < int(metrics["samples"])


def _value(metrics: Metrics, name: str) -> Any:
    return metrics[name]["value"]


def _shown(metrics: Metrics, name: str) -> str:
    value = _value(metrics, name)
    return "undefined" if value is None else decimals(value)


def _which_mean(m: Metrics, split: str, structure: str, group: str) -> str:
    images, shown, groups = (_value(m, name) for name in ("images", "nonempty_images", "groups"))
    empty = images - shown
    right = _value(m, "hd95_both_empty")
    over_all = f"mean Dice over all {counted(images, 'image')} {_shown(m, 'dice_all')}"
    if empty:
        over_all += (
            f" counts {right:,} of the {counted(empty, 'image')} without {structure} as 1 and "
            f"{empty - right:,} as 0 (predicting nothing at all would reach {_shown(m['predict_nothing'], 'dice_all')})"
        )
    volumes = (
        f"; by {group}, each of {counted(groups, group)} as one volume, mean {_shown(m, 'dice_group_mean')} and median "
        f"{_shown(m, 'dice_group_median')}"
    )
    return (
        f"Which mean is which ({SPLITS[split]}): {over_all}; over the {counted(shown, 'image')} with {structure} it is "
        f"{_shown(m, 'dice_nonempty')}; pooled over all pixels {_shown(m, 'dice_pooled')}"
        f"{volumes if has_volumes(m) else ''}. Only values of one kind can be compared."
    )


def _accuracy(m: Metrics, split: str) -> str:
    accuracy, nothing = _value(m, "pixel_accuracy"), _value(m["predict_nothing"], "pixel_accuracy")
    return (
        f"Pixel accuracy on {SPLITS[split]} is {accuracy:.4f}, that of predicting nothing at all {nothing:.4f}: "
        "read Dice in its place."
    )


def _detection(m: Metrics, split: str, structure: str) -> str:
    images, shown = _value(m, "images"), _value(m, "nonempty_images")
    sensitivity, specificity = _value(m, "image_sensitivity"), _value(m, "image_specificity")
    parts = []
    if sensitivity is not None:
        parts.append(f"something is predicted in {round(sensitivity * shown):,} of {shown:,} images with {structure}")
    if specificity is not None:
        empty = images - shown
        parts.append(f"false alarms in {round((1 - specificity) * empty):,} of {empty:,} images without")
    return f"Detection by image on {SPLITS[split]}: {'; '.join(parts)}."


def read_fit(metrics: Mapping[str, Metrics]) -> str:
    """Returns the pooled Dice of the best weights by split."""
    known = {split: metrics[split] for split in SPLITS if split in metrics}
    shown = ", ".join(f"{SPLITS[split]} {_shown(values, 'dice_pooled')}" for split, values in known.items())
    return f"Dice of the best weights, pooled over all pixels: {shown}." if len(known) > 1 else ""


def _overfitting(metrics: Mapping[str, Metrics], group: str) -> str:
    if "train" not in metrics or "val" not in metrics:
        return ""
    train, val = (_value(metrics[split], "dice_group_mean") for split in ("train", "val"))
    errors = [_value(metrics[split], "dice_group_standard_error") for split in ("train", "val")]
    noise = hypot(*(error or 0.0 for error in errors))
    if errors[1] is None or train - val <= max(CLEAR_GAP, STANDARD_ERRORS * noise):
        return ""
    kind, unit = (f"by {group}", group) if has_volumes(metrics["val"]) else ("over all images", "image")
    return (
        f"Overfitting: mean Dice {kind} {decimals(train)} on the training images plain, but {decimals(val)} on "
        f"validation ({counted(_value(metrics['val'], 'groups'), unit)}); more data, stronger augmentation or a "
        "smaller decoder narrow the gap."
    )


def _biased_augmentation(metrics: Mapping[str, Metrics]) -> str:
    if "train" not in metrics or "train-augmented" not in metrics:
        return ""
    plain, augmented = (_value(metrics[split], "dice_pooled") for split in ("train", "train-augmented"))
    if augmented - plain <= CLEAR_GAP:
        return ""
    return (
        f"Biased augmentation: pooled Dice of the same weights is {decimals(augmented)} on the training images "
        f"augmented, but {decimals(plain)} on them plain; augmentation changes every image the same way. "
        "Look at samples/augmented.png and give ranges around no change."
    )


def _not_better_than_nothing(m: Metrics, split: str, structure: str) -> str:
    nothing = _value(m["predict_nothing"], "dice_all")
    if not _value(m, "predicted_pixels") and _value(m, "true_pixels"):
        return (
            f"Nothing predicted: no pixel of {SPLITS[split]} is called {structure}; the mean Dice over all images, "
            f"{_shown(m, 'dice_all')}, is that of the empty images alone. Train for more epochs, try another loss or "
            "learning rate, or lower the threshold."
        )
    if not _value(m, "true_pixels") or _value(m, "dice_all") > nothing:
        return ""
    return (
        f"Not better than nothing: mean Dice over all images of {SPLITS[split]} is {_shown(m, 'dice_all')}, predicting "
        f"nothing at all reaches {decimals(nothing)}: false alarms in images without {structure} cost more than what "
        "was found brings."
    )


def _known_groups(metrics: Mapping[str, Metrics], split: str, group: str) -> str:
    if "train" not in metrics or split == "train":
        return ""
    groups = metrics[split]["by_group"]
    known = [name for name in groups if name in metrics["train"]["by_group"]]
    if not known:
        return ""
    images = sum(groups[name]["images"] for name in known)
    return (
        f"Known {group}s: {images:,} of {counted(_value(metrics[split], 'images'), split + ' image')} belong to "
        f"{group}s whose other images were trained on ({len(known):,} of {counted(len(groups), group)}); the values "
        f"are those of known {group}s and look better than those of new ones would."
    )


def _few_groups(m: Metrics, split: str, group: str) -> str:
    groups, error = _value(m, "groups"), _value(m, "dice_group_standard_error")
    if groups >= FEW_GROUPS:
        return ""
    if not has_volumes(m):
        return f"Too few images: {counted(groups, 'image')} in {SPLITS[split]}, each by itself."
    shown = "" if error is None else f" (mean Dice {_shown(m, 'dice_group_mean')} ± {decimals(error)} standard error)"
    return (
        f"Too few {group}s: {counted(groups, group)} in {SPLITS[split]}{shown}; images of one {group} are alike, so "
        f"that one {group} more or less changes the numbers a lot."
    )
