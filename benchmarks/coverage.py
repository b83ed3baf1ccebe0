"""How often 95 % intervals hold the truth: data drawn from a known distribution, again and again.

A patient has a difficulty of its own, so that its images are alike; both are drawn anew in each repetition. Intervals
are those that `cvlab evaluate` writes. Run: python -m benchmarks.coverage
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from cvlab.config_evaluate import Bootstrap
from cvlab.metrics import classification_replicates, segmentation_replicates
from cvlab.metrics.classification import ClassificationPredictions, classification_metrics
from cvlab.metrics.intervals import with_intervals
from cvlab.metrics.replicates import Resampling
from cvlab.metrics.segmentation import PixelCounts, SegmentationPredictions, segmentation_metrics

Array = np.ndarray[Any, Any]

METRICS = {"accuracy": "accuracy", "roc_auc": "ROC AUC", "dice": "mean Dice"}
# Of a patient, beside the standard deviation 1 of an image.
DIFFICULTY, SHIFT = 0.7, 0.7
SKILL = 0.9
SHARE_POSITIVE = 0.4


@dataclass(frozen=True)
class Scenario:
    """How many groups there are, whether a group has several images, which then are alike, and if that is known."""

    groups: int
    alike: bool
    known: bool = True

    @property
    def name(self) -> str:
        taken = "" if self.known else ", taken as independent images"
        return f"{self.groups} patients of about 5 images{taken}" if self.alike else f"{self.groups} images"

    def members(self, draw: np.random.Generator) -> Array:
        """The group of each image."""
        sizes = 1 + draw.poisson(4, self.groups) if self.alike else np.ones(self.groups, dtype=int)
        return np.repeat(np.arange(self.groups), sizes)

    def group(self, member: Array) -> Array:
        """What the predictions tables call the groups."""
        return (member if self.known else np.arange(len(member))).astype(object)


SCENARIOS = [
    *(Scenario(groups, False) for groups in (100, 400)),
    *(Scenario(groups, True) for groups in (200, 80, 40, 20, 8)),
    Scenario(40, True, known=False),
]


def scores(scenario: Scenario, draw: np.random.Generator) -> ClassificationPredictions:
    """A binary classification; of a patient, its images are harder or easier, and its scores higher or lower."""
    member = scenario.members(draw)
    positive = draw.random(len(member)) < SHARE_POSITIVE
    spread = np.array([DIFFICULTY, SHIFT]) * scenario.alike
    difficulty, shift = (draw.normal(size=(2, scenario.groups)) * spread[:, None])[:, member]
    logit = np.where(positive, 1, -1) * (SKILL + difficulty) + shift + draw.normal(size=len(member))
    both = np.column_stack([expit(-logit), expit(logit)])
    ids = np.arange(len(member)).astype(object)
    target = positive.astype(np.int64)
    return ClassificationPredictions(ids, scenario.group(member), target, both.argmax(axis=1), both, ("no", "yes"))


def masks(scenario: Scenario, draw: np.random.Generator) -> SegmentationPredictions:
    """Masks of all sizes, found in part and with false pixels beside them; one in eight images shows nothing."""
    member = scenario.members(draw)
    tp, fp, fn = pixels(draw, difficulty=draw.normal(size=scenario.groups)[member] * 0.8 * scenario.alike)
    shown = draw.random(len(member)) >= 1 / 8
    counts = PixelCounts(tp * shown, fp, fn * shown, 65_536 - tp * shown - fp - fn * shown)
    grid = np.zeros((len(member), 19), dtype=np.int64)
    ids = np.arange(len(member)).astype(object)
    return SegmentationPredictions(ids, scenario.group(member), counts, np.full(len(member), np.nan), grid, grid)


def pixels(draw: np.random.Generator, difficulty: Array) -> tuple[Array, Array, Array]:
    """True positives, false positives and false negatives of images that show something."""
    size = np.exp(draw.normal(6, 1, size=len(difficulty)))
    recall = expit(2 + difficulty + draw.normal(size=len(difficulty)))
    false = 0.2 * np.exp(draw.normal(size=len(difficulty)) - difficulty / 2)
    tp = np.round(recall * size) + 1
    return tp.astype(np.int64), np.round(false * size).astype(np.int64), np.round((1 - recall) * size).astype(np.int64)


def truths(scenario: Scenario, *, draws: int = 1_000_000) -> dict[str, float]:
    """What each metric is in the whole population: from formulas, and for Dice from very many images."""
    spread = np.sqrt(1 + scenario.alike * (DIFFICULTY**2 + SHIFT**2))
    draw = np.random.default_rng(0)
    tp, fp, fn = pixels(draw, difficulty=draw.normal(size=draws) * 0.8 * scenario.alike)
    return {
        "accuracy": float(norm.cdf(SKILL / spread)),
        "roc_auc": float(norm.cdf(2 * SKILL / (np.sqrt(2) * spread))),
        "dice": float((2 * tp / (2 * tp + fp + fn)).mean()),
    }


def cells(scenario: Scenario, settings: Bootstrap, seed: int) -> dict[str, dict[str, Any]]:
    """The cells of one simulated data set, with their intervals."""
    draw = np.random.default_rng([seed, scenario.groups, scenario.alike])
    p, m = scores(scenario, draw), masks(scenario, draw)
    classes = _intervals(classification_metrics(p), classification_replicates.resampling(p), settings, seed)
    images = _intervals(segmentation_metrics(m), segmentation_replicates.resampling(m), settings, seed)
    return {
        "accuracy": classes["accuracy"],
        "roc_auc": classes["per_class"]["yes"]["roc_auc"],
        "dice": images["dice_nonempty"],
    }


def _intervals(metrics: dict[str, Any], table: Resampling, settings: Bootstrap, seed: int) -> dict[str, Any]:
    return with_intervals(metrics, table, settings, seed=seed)


@dataclass(frozen=True)
class Coverage:
    """How often the truth was held, lay below, lay above; how wide the intervals were; and how many there were none."""

    held: float
    below: float
    above: float
    width: float
    missing: int
    method: str


def coverage(found: Iterable[dict[str, Any]], truth: float) -> Coverage:
    """Counts cells whose interval holds the truth."""
    cells = list(found)
    ends = np.array([(cell["low"], cell["high"]) for cell in cells if "low" in cell])
    below, above = truth < ends[:, 0], truth > ends[:, 1]
    held = 1 - float((below | above).mean())
    method = next(cell["method"] for cell in cells if "low" in cell).partition(",")[0]
    missing = len(cells) - len(ends)
    return Coverage(held, float(below.mean()), float(above.mean()), float(np.ptp(ends, axis=1).mean()), missing, method)


def measured(
    scenario: Scenario, settings: Bootstrap, repeats: int, pool: ProcessPoolExecutor | None = None
) -> dict[str, Coverage]:
    """Repeats a scenario and counts, for each metric."""
    one = partial(cells, scenario, settings)
    found = list(pool.map(one, range(repeats), chunksize=20) if pool else map(one, range(repeats)))
    truth = truths(scenario)
    return {metric: coverage((each[metric] for each in found), truth[metric]) for metric in METRICS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000, help="data sets of each scenario")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--method", default="bca", choices=["bca", "percentile"])
    parser.add_argument("--groups", type=int, nargs="*", help="scenarios with so many groups only")
    parser.add_argument("--smoke", action="store_true", help="toy size: shows that it runs")
    options = parser.parse_args()
    settings = Bootstrap(resamples=200 if options.smoke else options.resamples, method=options.method)
    repeats = 5 if options.smoke else options.repeats
    print("| data | metric | method | held | truth below | truth above | mean width | without |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    start = time.perf_counter()
    with ProcessPoolExecutor() as pool:
        for scenario in SCENARIOS:
            if options.groups and scenario.groups not in options.groups:
                continue
            for metric, c in measured(scenario, settings, repeats, pool).items():
                shares = " | ".join(f"{share:.1%}" for share in (c.held, c.below, c.above))
                row = f"| {scenario.name} | {METRICS[metric]} | {c.method} | {shares} | {c.width:.3f} | {c.missing} |"
                print(row, flush=True)
    print(f"\n{repeats:,} data sets each, {time.perf_counter() - start:,.0f} s")


if __name__ == "__main__":
    main()
