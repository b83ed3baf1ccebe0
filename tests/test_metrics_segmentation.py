from __future__ import annotations

import json
import math
import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, log_loss, precision_score, recall_score

from cvlab.errors import DataError, RunFolderError
from cvlab.metrics.segmentation import (
    MaskCounter,
    MaskMonitor,
    MaskThreshold,
    SegmentationPredictions,
    choose,
    choose_threshold,
    hd95,
    monitored,
    predicted_masks,
    segmentation_metrics,
    spread_rows,
    worst_rows,
)
from cvlab.metrics.segmentation_counts import boundary, count_grid
from cvlab.metrics.segmentation_table import THRESHOLDS

Masks = NDArray[np.bool_]
Values = NDArray[np.float64]

TOLERANCE = 1e-9
LOSSES: list[dict[str, Any]] = [
    {"name": "dice"},
    {"name": "bce"},
    {"name": "dice_bce", "weight": 0.3},
    {"name": "focal", "alpha": 0.25, "gamma": 2.0},
    {"name": "tversky", "alpha": 0.3, "beta": 0.7},
]


def drawn(images: int, side: int = 12, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Probabilities and truth; among them empty and full masks, and predictions of nothing and of everything."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((images, side, side)) < rng.choice([0, 0.05, 0.3, 1], (images, 1, 1))).astype(np.uint8)
    noise = rng.random((images, side, side)) * rng.choice([0, 0.4, 1], (images, 1, 1))
    skill = rng.choice([0, 0.5, 0.9], (images, 1, 1))
    return np.asarray(skill * truth + (1 - skill) * noise, dtype=np.float32), truth


def counted(p: NDArray[Any], t: NDArray[Any], *, threshold: float = 0.5, groups: int = 3) -> SegmentationPredictions:
    counter = MaskCounter(threshold)
    for start in range(0, len(p), 4):
        rows = range(start, min(start + 4, len(p)))
        group = [f"patient {row % groups}" for row in rows]
        counter.add([f"s{row}" for row in rows], group, p[start : start + 4], t[start : start + 4])
    return counter.predictions()


def brute_force_hd95(a: Masks, b: Masks) -> float | None:
    """Every distance between the boundary pixels of both masks, by loops and hand-written percentile."""
    if not a.any() or not b.any():
        return None

    def edge(mask: Masks) -> list[tuple[int, int]]:
        height, width = mask.shape
        found = []
        for y in range(height):
            for x in range(width):
                around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                inside = [0 <= v < height and 0 <= u < width and bool(mask[v, u]) for v, u in around]
                if mask[y, x] and not all(inside):
                    found.append((y, x))
        return found

    one, other = edge(a), edge(b)
    distances = [min(math.dist(p, q) for q in other) for p in one] + [min(math.dist(p, q) for q in one) for p in other]
    distances.sort()
    place = 0.95 * (len(distances) - 1)
    low = math.floor(place)
    high = min(low + 1, len(distances) - 1)
    return distances[low] + (place - low) * (distances[high] - distances[low])


@pytest.mark.parametrize("seed", range(40))
def test_hd95_equals_a_brute_force_over_all_boundary_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 14, 2))
    a, b = (rng.random(shape) < rng.choice([0.02, 0.3, 0.9, 1.0]) for _ in range(2))
    expected, found = brute_force_hd95(a, b), hd95(a, b)
    assert (found is None) == (expected is None)
    assert found is None or found == pytest.approx(expected, abs=TOLERANCE)


def test_hd95_of_full_empty_equal_and_distant_masks() -> None:
    full, empty = np.ones((9, 7), dtype=bool), np.zeros((9, 7), dtype=bool)
    one, far = empty.copy(), empty.copy()
    one[0, 0], far[8, 6] = True, True
    assert hd95(full, full) == 0
    assert hd95(empty, empty) is None
    assert hd95(full, empty) is None
    assert hd95(empty, full) is None
    assert hd95(one, far) == 10
    # The boundary of the full mask is its frame: 28 pixels of it look at the corner, the corner at itself.
    assert hd95(one, full) == pytest.approx(brute_force_hd95(one, full), abs=TOLERANCE)


def test_boundary_has_the_pixels_with_an_outer_neighbour_of_four() -> None:
    mask = np.zeros((5, 6), dtype=bool)
    mask[0:4, 1:5] = True
    expected = mask.copy()
    expected[1:3, 2:4] = False
    np.testing.assert_array_equal(boundary(mask), expected)


@st.composite
def batches(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    return drawn(draw(st.integers(1, 6)), draw(st.integers(1, 8)), draw(st.integers(0, 2**32 - 1)))


@settings(max_examples=40, deadline=None)
@given(batch=batches(), threshold=st.sampled_from([0.0, 0.05, 0.4, 0.5, 0.731, 0.95, 1.0]))
def test_counts_sum_to_pixels_and_the_grid_is_every_threshold(
    batch: tuple[NDArray[np.float32], NDArray[np.uint8]], threshold: float
) -> None:
    probabilities, truth = batch
    p = counted(probabilities, truth, threshold=threshold)
    for row, (one, true) in enumerate(zip(probabilities, truth, strict=True)):
        called = [[float(value) >= threshold for value in line] for line in one.tolist()]
        pairs = [(bool(t), bool(c)) for t, c in zip(true.ravel(), np.ravel(called), strict=True)]
        expected = [pairs.count(kind) for kind in ((True, True), (False, True), (True, False), (False, False))]
        assert [int(counts[row]) for counts in vars(p.counts).values()] == expected
        assert sum(expected) == truth[0].size
    for index, level in enumerate(THRESHOLDS):
        at = counted(probabilities, truth, threshold=level).counts
        for name, counts in vars(p.at(index)).items():
            np.testing.assert_array_equal(counts, getattr(at, name))


def test_a_pixel_at_the_threshold_is_predicted_and_one_just_below_is_not() -> None:
    exact = np.array([[[0.7, np.nextafter(0.7, 0), 0.05, 0.95]]])
    tp, fp = count_grid(exact, np.ones_like(exact, dtype=bool))
    assert tp[0, THRESHOLDS.index(0.7)] == 2
    assert tp[0, 0] == 4
    assert tp[0, -1] == 1
    assert not fp.any()
    # 0.7 as float32 is a little less than 0.7: not predicted, whatever the type of the array.
    for kind in (np.float32, np.float64):
        assert not predicted_masks(np.array([np.float32(0.7)], dtype=kind), 0.7).any()


@settings(max_examples=30, deadline=None)
@given(batch=batches())
def test_every_score_equals_scikit_learn(batch: tuple[NDArray[np.float32], NDArray[np.uint8]]) -> None:
    probabilities, truth = batch
    metrics = segmentation_metrics(counted(probabilities, truth))
    called = probabilities >= np.float32(0.5)
    t, c = truth.ravel() == 1, called.ravel()

    def image_scores(score: Any, rows: list[int]) -> list[float]:
        return [float(score(truth[row].ravel(), called[row].ravel(), zero_division=1.0)) for row in rows]

    everyone, shown = [*range(len(truth))], [row for row in range(len(truth)) if truth[row].any()]
    volumes = [[row for row in everyone if row % 3 == patient] for patient in range(min(3, len(truth)))]
    for name, score in (("dice", f1_score), ("iou", jaccard_score)):
        pooled = [float(score(truth[rows].ravel(), called[rows].ravel(), zero_division=1.0)) for rows in volumes]
        expected = {
            f"{name}_all": np.mean(image_scores(score, everyone)),
            f"{name}_nonempty": np.mean(image_scores(score, shown)) if shown else None,
            f"{name}_pooled": score(t, c, zero_division=1.0),
            f"{name}_group_mean": np.mean(pooled),
            f"{name}_group_median": np.median(pooled),
        }
        for metric, value in expected.items():
            assert metrics[metric]["value"] == (value if value is None else pytest.approx(value, abs=TOLERANCE))
        assert [group[name] for group in metrics["by_group"].values()] == pytest.approx(pooled, abs=TOLERANCE)
    assert metrics["pixel_accuracy"]["value"] == pytest.approx(accuracy_score(t, c), abs=TOLERANCE)
    for name, score, defined in (("precision", precision_score, c.any()), ("recall", recall_score, t.any())):
        assert metrics[name]["value"] == (pytest.approx(score(t, c), abs=TOLERANCE) if defined else None)
    any_true, any_called = truth.any(axis=(1, 2)), called.any(axis=(1, 2))
    for name, label in (("image_sensitivity", True), ("image_specificity", False)):
        defined = (any_true == label).any()
        expected_rate = recall_score(any_true, any_called, pos_label=label, zero_division=0.0) if defined else None
        assert metrics[name]["value"] == (pytest.approx(expected_rate, abs=TOLERANCE) if defined else None)


@settings(max_examples=60, deadline=None)
@given(batch=batches(), seed=st.integers(0, 99))
def test_dice_is_twice_iou_over_one_more_and_the_order_of_images_changes_nothing(
    batch: tuple[NDArray[np.float32], NDArray[np.uint8]], seed: int
) -> None:
    p = counted(*batch)
    metrics = segmentation_metrics(p)
    json.dumps(metrics, allow_nan=False)
    iou = p.counts.iou()
    np.testing.assert_allclose(p.counts.dice(), 2 * iou / (1 + iou), atol=1e-12)
    pooled = metrics["iou_pooled"]["value"]
    assert metrics["dice_pooled"]["value"] == pytest.approx(2 * pooled / (1 + pooled), abs=1e-12)
    order = np.random.default_rng(seed).permutation(len(batch[0]))
    counter = MaskCounter(0.5)
    for row in order:
        counter.add([f"s{row}"], [f"patient {row % 3}"], batch[0][[row]], batch[1][[row]])
    shuffled = segmentation_metrics(counter.predictions())
    for name, cell in metrics.items():
        if isinstance(cell, dict) and cell.get("value") is not None:
            assert shuffled[name]["value"] == pytest.approx(cell["value"], abs=1e-12), name
        else:
            assert shuffled[name] == cell or name in ("by_group", "over_thresholds", "predict_nothing"), name
    assert shuffled["by_group"] == metrics["by_group"]


def test_which_images_a_mean_is_over_by_hand() -> None:
    truth, probabilities = np.zeros((5, 2, 2)), np.zeros((5, 2, 2))
    truth[0] = probabilities[0] = [[1, 1], [0, 0]]  # dice 1
    truth[1], probabilities[1] = [[1, 1], [0, 0]], [[0, 1], [1, 0]]  # dice 1/2, iou 1/3
    truth[2] = [[1, 0], [0, 0]]  # missed: 0
    probabilities[3] = [[0, 0], [0, 1]]  # a false alarm: 0; the fifth is empty and stays so: 1
    metrics = segmentation_metrics(counted(probabilities, truth, groups=2))
    expected = {
        "dice_all": (1 + 0.5 + 0 + 0 + 1) / 5,
        "dice_nonempty": (1 + 0.5 + 0) / 3,
        "dice_pooled": 2 * 3 / (2 * 3 + 2 + 2),
        "dice_group_mean": (2 * 2 / (2 * 2 + 1) + 2 * 1 / (2 * 1 + 2 + 1)) / 2,
        "iou_all": (1 + 1 / 3 + 0 + 0 + 1) / 5,
        "pixel_accuracy": 16 / 20,
        "image_sensitivity": 2 / 3,
        "image_specificity": 1 / 2,
        "hd95_mean": (0 + hd95(truth[1] == 1, probabilities[1] == 1)) / 2,  # type: ignore[operator]
    }
    assert {name: metrics[name]["value"] for name in expected} == pytest.approx(expected)
    assert [metrics[f"hd95_{name}"]["value"] for name in ("defined", "one_empty", "both_empty")] == [2, 2, 1]
    assert metrics["by_group"]["patient 0"] == {
        "images": 3, "nonempty_images": 2, "true_pixels": 3, "predicted_pixels": 2, "dice": 0.8, "iou": 2 / 3
    }  # fmt: skip
    assert (metrics["images"]["value"], metrics["nonempty_images"]["value"], metrics["samples"]) == (5, 3, 5)


def test_predicting_nothing_is_what_a_network_of_zeros_gets() -> None:
    probabilities, truth = drawn(30, seed=4)
    nothing = segmentation_metrics(counted(probabilities, truth))["predict_nothing"]
    zeros = segmentation_metrics(counted(0 * probabilities, truth))
    assert nothing == {name: zeros[name] for name in nothing}
    assert nothing["dice_all"]["value"] == (truth.sum(axis=(1, 2)) == 0).mean()
    assert nothing["dice_nonempty"]["value"] == nothing["dice_pooled"]["value"] == 0


def test_what_is_undefined_has_a_reason() -> None:
    empty, full = np.zeros((2, 3, 3)), np.ones((2, 3, 3))
    metrics = segmentation_metrics(counted(empty, empty))
    assert metrics["dice_nonempty"] == {"value": None, "reason": "no image shows the structure"}
    assert metrics["precision"] == {"value": None, "reason": "no pixel is predicted"}
    assert metrics["dice_pooled"] == {
        "value": 1.0, "note": "nothing is true and nothing is predicted, which counts as 1"
    }  # fmt: skip
    assert "2 groups without any true pixel" in metrics["dice_group_mean"]["note"]
    metrics = segmentation_metrics(counted(full, full, groups=1))
    assert metrics["image_specificity"] == {"value": None, "reason": "every image shows the structure"}
    assert metrics["dice_group_standard_error"] == {"value": None, "reason": "one group shows no spread"}
    assert metrics["hd95_mean"] == {"value": 0.0}
    assert segmentation_metrics(counted(empty, full))["hd95_median"]["reason"].startswith("no image has both")


def test_over_thresholds_are_the_metrics_at_each_of_them() -> None:
    probabilities, truth = drawn(20, seed=7)
    table = segmentation_metrics(counted(probabilities, truth))["over_thresholds"]
    assert [*table] == [f"{step / 20:.2f}" for step in range(1, 20)]
    for name, cells in table.items():
        other = segmentation_metrics(counted(probabilities, truth, threshold=float(name)))
        assert cells == {metric: other[metric] for metric in cells}


def test_the_threshold_with_the_best_pooled_dice_is_chosen() -> None:
    probabilities, truth = drawn(40, seed=3)
    p = counted(probabilities, truth)
    scores = {level: f1_score(truth.ravel(), probabilities.ravel().astype(np.float64) >= level) for level in THRESHOLDS}
    chosen = choose(p, "dice")
    assert scores[chosen.threshold] == max(scores.values())
    assert chosen.dice_pooled == pytest.approx(max(scores.values()), abs=TOLERANCE)
    assert (chosen.split, chosen.images, chosen.rule, chosen.is_chosen) == ("val", 40, "dice", True)
    assert MaskThreshold.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen
    assert chosen.counts(p) is not None


def test_equal_thresholds_give_the_middle_and_a_number_is_kept() -> None:
    truth = np.array([[[1, 0], [0, 1]]])
    assert choose_threshold(counted(truth.astype(float), truth), "dice") == 0.5
    for (low, high), expected in {(0.2, 0.3): 0.3, (0.62, 0.9): 0.65}.items():
        assert choose_threshold(counted(np.where(truth == 1, high, low), truth), "dice") == expected
    point = choose(counted(truth * 0.42, truth, threshold=0.42), 0.42)
    assert (point.threshold, point.dice_pooled, point.is_chosen) == (0.42, 1.0, False)
    assert point.counts(counted(truth * 0.42, truth)) is None


def test_a_rule_without_any_true_pixel_is_refused_and_a_number_is_not() -> None:
    p = counted(np.full((2, 2, 2), 0.3), np.zeros((2, 2, 2)))
    with pytest.raises(DataError, match=r"evaluate.threshold: dice .* masks of all 2 images are empty"):
        choose_threshold(p, "dice")
    assert choose_threshold(p, 0.5) == 0.5
    with pytest.raises(ValueError, match="'youden'"):
        choose_threshold(p, "youden")


@pytest.mark.parametrize(
    "change", [{"threshold": 1.5}, {"threshold": None}, {"rule": "youden"}, {"images": 0}, {"dice_pooled": "high"}]
)
def test_a_damaged_threshold_is_refused(change: dict[str, Any]) -> None:
    value = MaskThreshold("dice", 0.5, "val", 3, 0.8).to_json()
    with pytest.raises(RunFolderError, match=r"operating_point\.json: is damaged"):
        MaskThreshold.from_json(value | change)
    with pytest.raises(RunFolderError, match=r"operating_point\.json: is damaged"):
        MaskThreshold.from_json({key: value[key] for key in value if key not in change})


def hand_loss(p: list[float], t: list[int], loss: dict[str, Any]) -> Any:
    """The formulas pixel by pixel."""
    tp, n, e = sum(a * b for a, b in zip(p, t, strict=True)), len(p), 1e-6
    dice = 1 - (2 * tp + e) / (sum(p) + sum(t) + e)
    safe = [min(max(a, 1e-7), 1 - 1e-7) for a in p]
    right = [a if b else 1 - a for a, b in zip(safe, t, strict=True)]
    if loss["name"] == "dice":
        return dice
    if loss["name"] == "tversky":
        fp = sum(a * (1 - b) for a, b in zip(p, t, strict=True))
        fn = sum((1 - a) * b for a, b in zip(p, t, strict=True))
        return 1 - (tp + e) / (tp + loss["alpha"] * fp + loss["beta"] * fn + e)
    if loss["name"] == "focal":
        weights = [loss["alpha"] if b else 1 - loss["alpha"] for b in t]
        parts = (w * (1 - r) ** loss["gamma"] * -math.log(r) for w, r in zip(weights, right, strict=True))
        return sum(parts) / n
    bce = sum(-math.log(r) for r in right) / n
    return bce if loss["name"] == "bce" else loss["weight"] * dice + (1 - loss["weight"]) * bce


@pytest.mark.parametrize("loss", LOSSES, ids=[loss["name"] for loss in LOSSES])
@settings(max_examples=25, deadline=None)
@given(batch=batches())
def test_what_is_watched_equals_the_formula_and_the_offline_metrics(
    loss: dict[str, Any], batch: tuple[NDArray[np.float32], NDArray[np.uint8]]
) -> None:
    probabilities, truth = batch
    parts = [(probabilities[start : start + 2], truth[start : start + 2]) for start in range(0, len(truth), 2)]
    values = monitored(parts, loss=loss)
    assert list(values) == ["loss", "dice", "iou", "accuracy"]
    expected = hand_loss(probabilities.astype(np.float64).ravel().tolist(), truth.ravel().tolist(), loss)
    assert values["loss"] == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)
    metrics = segmentation_metrics(counted(probabilities, truth))
    for name, metric in {"dice": "dice_pooled", "iou": "iou_pooled", "accuracy": "pixel_accuracy"}.items():
        assert values[name] == metrics[metric]["value"]


def test_cross_entropy_equals_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    p, t = rng.uniform(0.01, 0.99, (3, 8, 8)), rng.integers(0, 2, (3, 8, 8))
    assert monitored([(p, t)], loss={"name": "bce"})["loss"] == pytest.approx(log_loss(t.ravel(), p.ravel()), abs=1e-12)


def test_empty_masks_neither_reward_nor_break_the_pooled_dice_loss() -> None:
    probabilities, truth = drawn(1, seed=11)
    truth[0, :4] = 1
    empty = np.zeros_like(truth)
    alone = monitored([(probabilities, truth)], loss={"name": "dice"})
    with_empty = monitored([(probabilities, truth), (empty * 1.0, empty)], loss={"name": "dice"})
    assert with_empty["loss"] == pytest.approx(alone["loss"], abs=1e-12)
    assert monitored([(empty * 1.0, empty)], loss={"name": "dice"})["loss"] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_make_all_that_is_watched_none(bad: float) -> None:
    truth = np.array([[[0, 1]]])
    good = truth * 0.5
    for loss in LOSSES:
        monitor = MaskMonitor(loss)
        for values in (good, np.array([[[bad, 0.5]]]), good):
            monitor.add(values, truth)
        assert all(math.isnan(value) for value in monitor.values().values())


def test_wrong_input_is_refused() -> None:
    masks = np.zeros((2, 3, 3))
    for bad in (np.nan, 1.01, -0.1):
        wrong = masks.copy()
        wrong[1, 2, 0] = bad
        with pytest.raises(RunFolderError, match=r"sample 'b': expected probabilities from 0 to 1, received"):
            MaskCounter(0.5).add(["a", "b"], ["g", "g"], wrong, masks)
    with pytest.raises(ValueError, match="0 and 1 alone"):
        MaskCounter(0.5).add(["a", "b"], ["g", "g"], masks, masks + 0.5)
    for ids, probabilities, truth in (
        (["a"], masks, masks),
        (["a", "b"], masks, masks[:, :2]),
        (["a"], masks[0], masks),
    ):
        with pytest.raises(ValueError, match="Expected probabilities and truth of"):
            MaskCounter(0.5).add(ids, ids, probabilities, truth)
    with pytest.raises(ValueError, match="one shape"):
        MaskMonitor({"name": "dice"}).add(masks, masks[..., None])
    with pytest.raises(ValueError, match="at least one pixel"):
        monitored([], loss={"name": "dice"})


def test_a_channel_axis_is_taken_and_the_predicted_masks_come_back() -> None:
    probabilities, truth = drawn(3, seed=1)
    counter = MaskCounter(0.4)
    masks = counter.add(["a", "b", "c"], ["g"] * 3, probabilities[..., None], truth[..., None])
    np.testing.assert_array_equal(masks, probabilities >= 0.4)
    np.testing.assert_array_equal(counter.predictions().counts.predicted, masks.sum(axis=(1, 2)))


def test_worst_and_spread_rows() -> None:
    truth = np.zeros((6, 4, 4))
    truth[[0, 1, 2, 3], 0] = 1
    probabilities = truth.copy()
    probabilities[0, 0, 0] = 0  # nearly right
    probabilities[1] = 0  # missed
    probabilities[2] = 1 - truth[2]  # all wrong
    probabilities[4, 0, 0] = 1  # one pixel of false alarm
    p = counted(probabilities, truth)
    assert worst_rows(p, 4).tolist() == [2, 1, 4, 0]
    assert spread_rows(p, 3).tolist() == [3, 1, 2]
    assert spread_rows(p, 10).tolist() == [3, 0, 1, 2]
    assert len(spread_rows(counted(0 * truth, 0 * truth), 2)) == 2


def test_memory_does_not_grow_by_the_images() -> None:
    probabilities, truth = drawn(20, side=64)

    def kept(batches: int) -> int:
        counter, monitor = MaskCounter(0.5), MaskMonitor({"name": "dice"})
        tracemalloc.start()
        for _ in range(batches):
            counter.add([f"s{n}" for n in range(20)], ["g"] * 20, probabilities, truth)
            monitor.add(probabilities, truth)
        current, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return current

    few, many = kept(1), kept(5)
    assert (many - few) / 80 < 1500  # bytes an image; its pixels alone are 4,096


def test_over_thresholds_counts_only_fall() -> None:
    p = counted(*drawn(30, seed=9))
    for before, after in pairwise(range(len(THRESHOLDS))):
        assert (p.grid_tp[:, before] >= p.grid_tp[:, after]).all()
        assert (p.grid_fp[:, before] >= p.grid_fp[:, after]).all()
