"""What dropout injection makes of each kind of output: numbers, classes, masks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvlab.data.decoded import DecodedSamples
from cvlab.metrics.segmentation_calibration import mask_gaps
from cvlab.metrics.segmentation_counts import count_grid, predicted_masks
from cvlab.metrics.segmentation_table import THRESHOLDS
from cvlab.metrics.segmentation_threshold import BEST_DICE, best_threshold
from cvlab.metrics.uncertainty import (
    Moments,
    class_losses,
    gaussian_losses,
    mask_losses,
    variance_scale,
)
from cvlab.metrics.uncertainty_table import (
    ClassUncertainty,
    MaskUncertainty,
    RegressionUncertainty,
    UncertaintyTable,
)
from cvlab.png_file import read_png
from cvlab.run_folder import Json, atomic_path
from cvlab.tasks.classification import Classification
from cvlab.tasks.regression import Regression
from cvlab.tasks.segmentation import mask_path
from cvlab.tasks.task import Task
from cvlab.uncertainty import Reading

Array = NDArray[Any]
Results = Iterator[tuple[Moments, Array]]


class Kind(Protocol):
    """How the passes over a kind of output are read, judged and written."""

    @property
    def reading(self) -> Reading:
        """How outputs are read."""

    def truth(self, samples: DecodedSamples) -> Array:
        """The truth of a batch, as `reading.losses` takes it."""

    def fit(self, results: Results) -> Json:
        """What is chosen on validation besides the rate, as `operating_point.json` holds it."""

    def table(self, sample_id: Array, results: Results, chosen: Json) -> UncertaintyTable:
        """The uncertainties of samples; `chosen` is what was chosen on validation."""


def kind_of(task: Task, *, rule: Any, maps: Path) -> Kind:
    """Returns what fits the outputs of a task.

    Args:
        task: Of classes, of numbers, or else of masks (one sigmoid a pixel).
        rule: `evaluate.threshold`; of masks a number or `dice`.
        maps: The folder for uncertainty maps of masks.
    """
    if isinstance(task, Regression):
        return _Numbers(task)
    return _Classes(task) if isinstance(task, Classification) else _Masks(rule, maps)


@dataclass(frozen=True)
class _Numbers:
    task: Regression

    @property
    def reading(self) -> Reading:
        return Reading(False, np.asarray, lambda found, truth: gaussian_losses(truth, found.mean, found.variance))

    def truth(self, samples: DecodedSamples) -> Array:
        return self.task.labels(samples.table)

    def fit(self, results: Results) -> Json:
        """The scale of the variance of each target."""
        moments, truth = _joined(results)
        columns = zip(self.task.targets, truth.T, moments.mean.T, moments.variance.T, strict=True)
        return {"scale": {name: variance_scale(*values) for name, *values in columns}}

    def table(self, sample_id: Array, results: Results, chosen: Json) -> RegressionUncertainty:
        moments, truth = _joined(results)
        scales = [chosen["scale"][name]["value"] for name in self.task.targets]
        # Without a scale, the variance stays what it is; the reason stands in the operating point.
        factors = np.array([1.0 if scale is None else scale for scale in scales])
        return RegressionUncertainty(sample_id, truth, moments.mean, moments.variance * factors, self.task.targets)


@dataclass(frozen=True)
class _Classes:
    task: Classification

    @property
    def reading(self) -> Reading:
        return Reading(True, self.task.scores, lambda found, truth: class_losses(truth, found.mean))

    def truth(self, samples: DecodedSamples) -> Array:
        return self.task.labels(samples.table)

    def fit(self, results: Results) -> Json:
        return {}

    def table(self, sample_id: Array, results: Results, chosen: Json) -> ClassUncertainty:
        moments, truth = _joined(results)
        values = (moments.mean, moments.variance, moments.entropy, moments.mutual_information)
        return ClassUncertainty(sample_id, truth, *values, self.task.class_names)


@dataclass(frozen=True)
class _Masks:
    rule: float | str
    maps: Path

    @property
    def reading(self) -> Reading:
        return Reading(True, _of_both, lambda found, truth: mask_losses(truth, found.mean[..., 1]))

    def truth(self, samples: DecodedSamples) -> Array:
        return samples.truth() > 0

    def fit(self, results: Results) -> Json:
        """The threshold of the mean mask. The passes spread the probabilities: that of the plain mask does not fit."""
        if self.rule != BEST_DICE:
            return {"threshold": self.rule}
        tp, fp, true = np.zeros(len(THRESHOLDS), np.int64), np.zeros(len(THRESHOLDS), np.int64), 0
        for moments, truth in results:
            found = count_grid(moments.mean[..., 1], truth)
            tp, fp, true = tp + found[0].sum(axis=0), fp + found[1].sum(axis=0), true + int(truth.sum())
        return {"threshold": best_threshold(tp, fp, true)}

    def table(self, sample_id: Array, results: Results, chosen: Json) -> MaskUncertainty:
        """Keeps a few numbers of each mask, and writes its map: the predictive entropy, ln 2 as white (8 bits).

        A map has the name of the predicted mask.
        """
        counts, means = [], []
        names = iter(sample_id)
        for moments, truth in results:
            inside, entropy = moments.mean[..., 1], moments.entropy
            of_pixels = (entropy.mean(axis=(1, 2)), moments.mutual_information.mean(axis=(1, 2)))
            counts.append(_counts(truth, predicted_masks(inside, chosen["threshold"])))
            means.append(np.column_stack([mask_losses(truth, inside), *of_pixels, mask_gaps(truth, inside)]))
            for one in entropy:
                _write_map(mask_path(self.maps, next(names)), one)
        nll, entropies, information, *gaps = np.concatenate(means).T
        return MaskUncertainty(sample_id, np.concatenate(counts), nll, entropies, information, np.stack(gaps, axis=1))


def read_map(path: Path) -> NDArray[np.float32]:
    """Returns an uncertainty map as it was written, from 0 (certain) to 1 (entropy ln 2)."""
    return np.asarray(read_png(path), dtype=np.float32) / np.float32(255)


def _write_map(path: Path, entropy: Array) -> None:
    pixels = np.rint(entropy * (255 / math.log(2))).clip(0, 255).astype(np.uint8)
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def _counts(truth: Array, predicted: Array) -> Array:
    """Pixels tp, fp, fn, tn of each mask."""
    kinds = (truth & predicted, ~truth & predicted, truth & ~predicted, ~truth & ~predicted)
    return np.stack([kind.sum(axis=(1, 2)) for kind in kinds], axis=1)


def _of_both(outputs: Array) -> Array:
    """From a probability a pixel (n, h, w, 1) to the scores of both classes (n, h, w, 2)."""
    inside = np.asarray(outputs, dtype=np.float64)
    return np.concatenate([1 - inside, inside], axis=-1)


def _joined(results: Results) -> tuple[Moments, Array]:
    found, truths = zip(*results, strict=True)
    entropies = [one.pass_entropy for one in found if one.pass_entropy is not None]
    mean, variance = (np.concatenate([getattr(one, name) for one in found]) for name in ("mean", "variance"))
    return Moments(mean, variance, np.concatenate(entropies) if entropies else None), np.concatenate(truths)
