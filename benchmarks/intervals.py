"""How long the intervals of all metrics take, and the memory that they need. Run: python -m benchmarks.intervals."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from cvlab.config_evaluate import Bootstrap
from cvlab.metrics import classification_replicates, regression_replicates, segmentation_replicates
from cvlab.metrics.binary import binary_metrics
from cvlab.metrics.classification import ClassificationPredictions, classification_metrics
from cvlab.metrics.intervals import with_intervals
from cvlab.metrics.operating_point import OperatingPoint
from cvlab.metrics.regression import RegressionPredictions, regression_metrics
from cvlab.metrics.replicates import Resampling
from cvlab.metrics.segmentation import PixelCounts, SegmentationPredictions, segmentation_metrics

Prepared = tuple[dict[str, Any], Resampling]


def classes(samples: int, count: int) -> Prepared:
    """Scores of softmax, two samples a group; the second class is the positive one."""
    draw = np.random.default_rng(0)
    target = draw.integers(count, size=samples)
    logits = draw.normal(size=(samples, count))
    logits[np.arange(samples), target] += 1.5
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = tuple(f"class {index}" for index in range(count))
    p = ClassificationPredictions(*_keys(samples), target, scores.argmax(axis=1), scores, names)
    point = OperatingPoint(names[1], 0.5, 0.3, "val", samples, {})
    metrics = {**classification_metrics(p), "binary": binary_metrics(*point.of(p), threshold=point.threshold)}
    return metrics, classification_replicates.resampling(p, point=point)


def numbers(samples: int, count: int) -> Prepared:
    """Targets and predictions, two samples a group."""
    draw = np.random.default_rng(0)
    target = draw.normal(size=(samples, count))
    names = tuple(f"target {index}" for index in range(count))
    p = RegressionPredictions(*_keys(samples), target, target + draw.normal(size=target.shape), names)
    return regression_metrics(p), regression_replicates.resampling(p)


def masks(samples: int, _: int) -> Prepared:
    """Pixel counts, two images a group."""
    draw = np.random.default_rng(0)
    tp, fp, fn = draw.integers(0, 500, size=(3, samples)) * draw.integers(0, 2, size=(3, samples))
    distance = np.where((tp + fn > 0) & (tp + fp > 0), draw.random(samples), np.nan)
    grid = np.zeros((samples, 19), dtype=np.int64)
    p = SegmentationPredictions(*_keys(samples), PixelCounts(tp, fp, fn, 65_536 - tp - fp - fn), distance, grid, grid)
    return segmentation_metrics(p), segmentation_replicates.resampling(p)


def _keys(samples: int) -> tuple[Any, Any]:
    return np.arange(samples).astype(object), (np.arange(samples) // 2).astype(object)


CASES: dict[str, tuple[Callable[[int, int], Prepared], int, int]] = {
    "1,600 samples of 8 classes": (classes, 1600, 8),
    "10,000 samples of 100 classes": (classes, 10_000, 100),
    "10,000 samples of 2 targets": (numbers, 10_000, 2),
    "4,000 masks": (masks, 4000, 0),
}


def measured(name: str, resamples: int, smoke: bool) -> tuple[float, float, float, int]:
    """Seconds, those of processors, the most memory in MB that it added, and how many metrics got an interval."""
    prepare, samples, count = CASES[name]
    metrics, table = prepare(samples // 100 if smoke else samples, min(count, 4) if smoke else count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, spent = time.perf_counter(), time.process_time()
    found = with_intervals(metrics, table, Bootstrap(resamples=resamples), seed=42)
    seconds, spent = time.perf_counter() - start, time.process_time() - spent
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return seconds, spent, memory / 1000, _intervals(found)


def _intervals(cells: dict[str, Any]) -> int:
    inner = [cell for cell in cells.values() if isinstance(cell, dict)]
    return sum(1 if "low" in cell else _intervals(cell) for cell in inner)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--smoke", action="store_true", help="toy size: shows that it runs")
    options = parser.parse_args()
    print("| table of predictions | metrics with an interval | seconds | processor seconds | memory (MB) |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in CASES:
        # A process of its own, since the most memory of a process never falls.
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
            seconds, spent, memory, intervals = pool.submit(measured, name, options.resamples, options.smoke).result()
        print(f"| {name} | {intervals:,} | {seconds:.1f} | {spent:.1f} | {memory:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
