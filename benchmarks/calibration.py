"""How often 95 % intervals of the calibration error hold the truth, and what other bootstrap intervals would do.

Scores of a network that is as sure as it should be, or surer, are drawn again and again with their truth; the true
error is that of the binned probabilities, without the noise of a sample. Run: python -m benchmarks.calibration
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from cvlab.config_evaluate import Bootstrap
from cvlab.metrics.calibration import (
    EQUAL_WIDTH,
    error_replicates,
    errors_by_chance,
    expected_calibration_error,
    judged,
)
from cvlab.metrics.intervals import JACKKNIFE_BLOCKS, with_intervals
from cvlab.metrics.replicates import Resampling
from cvlab.statistics.bootstrap import bca_interval, group_weights, jackknife_weights, percentile_interval

Array = np.ndarray[Any, Any]

SPREAD = 1.5
MANY = 300_000
COLUMNS = (
    "samples",
    "classes",
    "logits too large by",
    "true ECE",
    "held",
    "mean width",
    "held by BCa",
    "by percentiles",
)


@dataclass(frozen=True)
class Scenario:
    """So many samples and classes, of a network whose logits are so many times too large."""

    samples: int
    classes: int
    sureness: float

    def draw(self, rng: np.random.Generator, samples: int) -> tuple[Array, Array]:
        """The true probability of each class and its score, (n, k) both."""
        if self.classes == 2:
            logit = rng.normal(scale=SPREAD, size=samples)
            sides = np.column_stack([-logit, logit])
            return expit(sides), expit(self.sureness * sides)
        logits = rng.normal(scale=SPREAD, size=(samples, self.classes))
        return softmax(logits, axis=1), softmax(self.sureness * logits, axis=1)

    def truth(self) -> float:
        """The calibration error without noise."""
        true, scores = self.draw(np.random.default_rng(0), MANY)
        score = judged(np.zeros(MANY, dtype=np.int64), scores)[0]
        chosen = np.ones(MANY, dtype=np.int64) if self.classes == 2 else scores.argmax(axis=1)
        gaps = true[np.arange(MANY), chosen] - score
        return float(np.abs(np.bincount(np.searchsorted(EQUAL_WIDTH, score), weights=gaps)).sum() / MANY)


SCENARIOS = [
    Scenario(samples, classes, sureness)
    for samples in (100, 400, 1600)
    for classes, sureness in ((2, 1.0), (2, 1.3), (2, 2.0), (8, 1.0), (8, 1.3), (8, 2.0))
]


def intervals(scenario: Scenario, settings: Bootstrap, seed: int) -> list[tuple[float, float]]:
    """The interval of one drawn sample as it is reported, by BCa and by percentiles."""
    rng = np.random.default_rng([seed, scenario.samples, scenario.classes])
    true, scores = scenario.draw(rng, scenario.samples)
    target = (rng.random(scenario.samples)[:, None] > true.cumsum(axis=1)).sum(axis=1)
    table = Resampling(
        group=np.arange(scenario.samples),
        strata=None,
        class_names=(),
        replicates=lambda weights: {"ece": error_replicates(target, scores, np.asarray(weights))["ece"]},
        proportions={},
        areas={},
        by_chance={("ece",): errors_by_chance(scores)["ece"]},
    )
    cell = {"ece": expected_calibration_error(target, scores)}
    reported = with_intervals(cell, table, settings, seed=seed)["ece"]
    drawn = table.replicates(group_weights(table.group, resamples=settings.resamples, seed=seed))["ece"]
    left_out = table.replicates(jackknife_weights(table.group, blocks=JACKKNIFE_BLOCKS))["ece"]
    percentiles = bca = percentile_interval(drawn, groups=scenario.samples)
    with suppress(ValueError):
        bca = bca_interval(cell["ece"]["value"], drawn, left_out, groups=scenario.samples)
    return [(reported["low"], reported["high"]), bca, percentiles]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300, help="samples of each kind")
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--smoke", action="store_true", help="toy size: shows that it runs")
    options = parser.parse_args()
    settings = Bootstrap(resamples=200 if options.smoke else options.resamples)
    repeats, scenarios = (3, SCENARIOS[:2]) if options.smoke else (options.repeats, SCENARIOS)
    print(
        "| samples | classes | logits too large by | true ECE | held | mean width | held by BCa | held by percentiles |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    start = time.perf_counter()
    with ProcessPoolExecutor() as pool:
        for one in scenarios:
            # A perfectly calibrated network has no error; what is left of it in bins is noise.
            truth = 0.0 if one.sureness == 1 else one.truth()
            found = [*zip(*pool.map(partial(intervals, one, settings), range(repeats), chunksize=10), strict=True)]
            held = [np.mean([low <= truth <= high for low, high in ends]) for ends in found]
            width = np.mean([high - low for low, high in found[0]])
            head = f"| {one.samples:,} | {one.classes} | {one.sureness:g} | {truth:.3f} | {held[0]:.1%} | {width:.3f}"
            print(f"{head} | {held[1]:.1%} | {held[2]:.1%} |", flush=True)
    print(f"\n{repeats:,} samples each, {time.perf_counter() - start:,.0f} s")


if __name__ == "__main__":
    main()
