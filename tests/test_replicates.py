"""Every replicate equals the metric of the resampled table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvlab.metrics import classification_replicates, regression_replicates, segmentation_replicates
from cvlab.metrics.binary import binary_metrics
from cvlab.metrics.calibration import DECOMPOSITION
from cvlab.metrics.classification import ClassificationPredictions, classification_metrics
from cvlab.metrics.operating_point import OperatingPoint
from cvlab.metrics.regression import RegressionPredictions, regression_metrics
from cvlab.metrics.replicates import flat
from cvlab.metrics.segmentation import PixelCounts, SegmentationPredictions, segmentation_metrics
from cvlab.statistics.bootstrap import group_weights, jackknife_weights

# Left out of `scripts/test fast`.
pytestmark = pytest.mark.slow

SEEDS = st.integers(0, 2**32)


def names(prefix: str, values: np.ndarray) -> np.ndarray:
    return np.array([f"{prefix}{value}" for value in values], dtype=object)


def check(replicates: dict[str, Any], tables: list[dict[str, Any]], left_out: tuple[str, ...]) -> None:
    """Compares replicates with the cells of each resampled table; what has no replicate must be named."""
    arrays = flat(replicates)
    for row, cells in enumerate(tables):
        for path, values in arrays.items():
            cell = cells
            for key in path:
                cell = cell[key]
            expected = np.nan if cell["value"] is None else cell["value"]
            if str(cell.get("reason", "")).startswith("infinite"):
                expected = np.inf
            if path == ("ece_equal_mass",):
                continue  # Its bins are those of the whole table, and not of the resampled one.
            assert values[row] == pytest.approx(expected, abs=1e-9, rel=1e-9, nan_ok=True), (path, cell)
    without = {path for path in metric_paths(tables[0]) if path not in arrays and path[-1] not in left_out}
    assert not without


def metric_paths(cells: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    paths = []
    for name, cell in cells.items():
        if isinstance(cell, dict):
            paths += [(*above, name)] if "value" in cell else metric_paths(cell, (*above, name))
    return paths


def weights_of(draw: np.random.Generator, group: np.ndarray, target: np.ndarray | None) -> np.ndarray:
    """Resamples with rare classes kept, without (so that classes vanish), and the jackknife."""
    kept = group_weights(group, target, resamples=3, seed=int(draw.integers(100)))
    free = group_weights(group, None, resamples=4, seed=int(draw.integers(100)))
    left_out = jackknife_weights(group)[:3] if len(set(group)) > 1 else kept
    return np.concatenate([kept, free, left_out])


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 25), st.integers(2, 4), st.booleans(), st.sampled_from([1, 3]))
def test_classification(seed: int, n: int, k: int, with_ties: bool, top_k: int) -> None:
    draw = np.random.default_rng(seed)
    scores = draw.integers(1, 4, size=(n, k)) if with_ties else draw.random((n, k)) + 1e-9
    scores = scores / scores.sum(axis=1, keepdims=True)
    scores[0] = np.eye(k)[0]
    group = names("g", draw.integers(0, 8, size=n))
    class_names = tuple(["a.b", "per_class", "", "c"][:k])
    p = ClassificationPredictions(
        names("s", np.arange(n)), group, draw.integers(0, k, size=n), scores.argmax(axis=1), scores, class_names
    )
    point = OperatingPoint(class_names[1], 0.5, 0.4, "val", n, {})
    weights = weights_of(draw, group, p.target)
    found = classification_replicates.replicates(p, weights, top_k=top_k, point=point)
    tables = []
    for row in weights:
        chosen = np.repeat(np.arange(n), row)
        table = ClassificationPredictions(
            p.sample_id[chosen], group[chosen], p.target[chosen], p.predicted[chosen], scores[chosen], class_names
        )
        cells = classification_metrics(table, top_k=top_k)
        cells["binary"] = binary_metrics(*point.of(table), threshold=point.threshold)
        tables.append(cells)
    if top_k >= k:
        del found[f"top_{top_k}_accuracy"]
    # The parts of the Brier score have no intervals: in small samples they are off to one side.
    check(found, tables, ("support", "tp", "fp", "fn", "tn", f"top_{top_k}_accuracy", *DECOMPOSITION))


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 20), st.integers(1, 3), st.booleans(), st.sampled_from(["mse", "mae", "huber", "ccc"]))
def test_regression(seed: int, n: int, k: int, coarse: bool, loss: str) -> None:
    draw = np.random.default_rng(seed)
    values = draw.integers(-1, 2, size=(2, n, k)) / 7 if coarse else draw.normal(1e6, 1, size=(2, n, k))
    target, predicted = values.astype(np.float64)
    group = names("g", draw.integers(0, 6, size=n))
    target_names = tuple(f"t.{index}" for index in range(k))
    p = RegressionPredictions(names("s", np.arange(n)), group, target, predicted, target_names)
    how = {"name": loss, "delta": 0.7}
    weights = weights_of(draw, group, None)
    tables = []
    for row in weights:
        chosen = np.repeat(np.arange(n), row)
        if not len(chosen):
            continue
        table = RegressionPredictions(
            p.sample_id[chosen], group[chosen], target[chosen], predicted[chosen], target_names
        )
        tables.append(regression_metrics(table, loss=how))
    weights = weights[weights.sum(axis=1) > 0]
    check(regression_replicates.replicates(p, weights, loss=how), tables, ("rmse_standard_error",))


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 20))
def test_segmentation(seed: int, n: int) -> None:
    draw = np.random.default_rng(seed)
    parts = draw.integers(0, 4, size=(4, n)) * draw.integers(0, 2, size=(4, n))
    parts[3] = 20 - parts[:3].sum(axis=0)
    counts = PixelCounts(*parts.astype(np.int64))
    both = (counts.true > 0) & (counts.predicted > 0)
    distance = np.where(both, draw.integers(0, 50, size=n) / 2, np.nan)
    group = names("g", draw.integers(0, 6, size=n))
    grid = np.zeros((n, 19), dtype=np.int64)
    p = SegmentationPredictions(names("s", np.arange(n)), group, counts, distance, grid, grid)
    weights = weights_of(draw, group, counts.true > 0)
    tables = []
    for row in weights:
        chosen = np.repeat(np.arange(n), row)
        # A group that is drawn again is another volume.
        copy = np.concatenate([np.arange(times) for times in row])
        table = SegmentationPredictions(
            p.sample_id[chosen],
            np.array([f"{one}/{number}" for one, number in zip(group[chosen], copy, strict=True)], dtype=object),
            PixelCounts(*(values[chosen] for values in vars(counts).values())),
            distance[chosen],
            grid[chosen],
            grid[chosen],
        )
        tables.append(
            {k: v for k, v in segmentation_metrics(table).items() if k not in ("over_thresholds", "predict_nothing")}
        )
    counted = ("true_pixels", "predicted_pixels", "images", "nonempty_images", "groups")
    left_out = (*counted, "hd95_defined", "hd95_one_empty", "hd95_both_empty", "dice_group_standard_error")
    check(segmentation_replicates.replicates(p, weights), tables, left_out)


def test_a_volume_is_drawn_whole() -> None:
    counts = PixelCounts(*(np.ones(3, dtype=np.int64) for _ in range(4)))
    grid = np.zeros((3, 19), dtype=np.int64)
    p = SegmentationPredictions(
        names("s", np.arange(3)), names("g", np.array([0, 0, 1])), counts, np.ones(3), grid, grid
    )
    with pytest.raises(ValueError, match="whole"):
        segmentation_replicates.replicates(p, [[1, 2, 0]])


def test_what_is_constant_in_a_resample_alone_has_no_relation() -> None:
    """The mean of equal numbers is often another number by rounding, and must not make a spread."""
    draw = np.random.default_rng(1)
    for count in (3, 5, 6, 7, 9, 11):
        target = np.concatenate([np.full(count, draw.random()), np.zeros(count + 1)])[:, None]
        group = names("s", np.arange(len(target)))
        p = RegressionPredictions(group, group, target, draw.normal(size=target.shape), ("t",))
        drawn = np.concatenate([np.ones(count, dtype=int), np.zeros(count + 1, dtype=int)])
        found = regression_replicates.replicates(p, [drawn])["per_target"]["t"]
        assert found["truth_std"] == 0
        assert np.isnan(found["corr"]), count
        assert np.isnan(found["r2"]), count
        assert found["ccc"] == 0
