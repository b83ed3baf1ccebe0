from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import pearsonr
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from cvlab.errors import RunFolderError
from cvlab.metrics.regression import (
    AVERAGED,
    RegressionPredictions,
    monitored,
    predictions_csv,
    read_predictions,
    regression_metrics,
)

Values = NDArray[np.float64]

TOLERANCE = 1e-9
LOSSES: list[dict[str, Any]] = [{"name": "mse"}, {"name": "mae"}, {"name": "huber", "delta": 0.7}, {"name": "ccc"}]


def made(target: Any, predicted: Any, names: tuple[str, ...] | None = None) -> RegressionPredictions:
    truth, prediction = (np.asarray(values, dtype=np.float64) for values in (target, predicted))
    if truth.ndim == 1:
        truth, prediction = truth[:, None], prediction[:, None]
    ids = np.array([f"s{i}" for i in range(len(truth))], dtype=object)
    return RegressionPredictions(ids, ids, truth, prediction, names or tuple(f"t{i}" for i in range(truth.shape[1])))


def one_target(target: Any, predicted: Any) -> dict[str, Any]:
    cells: dict[str, Any] = regression_metrics(made(target, predicted))["per_target"]["t0"]
    return cells


def hand(t: Values, p: Values) -> dict[str, float]:
    """The formulas as they stand in the literature, for columns that vary."""
    n = len(t)
    r = float(
        ((t - t.mean()) * (p - p.mean())).sum() / math.sqrt(((t - t.mean()) ** 2).sum() * ((p - p.mean()) ** 2).sum())
    )
    return {
        "rmse": math.sqrt(sum((p[i] - t[i]) ** 2 for i in range(n)) / n),
        "mae": sum(abs(p[i] - t[i]) for i in range(n)) / n,
        "corr": r,
        "sagr": sum((t[i] > 0) == (p[i] > 0) for i in range(n)) / n,
        "ccc": float(2 * r * t.std() * p.std() / (t.var() + p.var() + (t.mean() - p.mean()) ** 2)),
        "r2": float(1 - ((p - t) ** 2).sum() / ((t - t.mean()) ** 2).sum()),
        "truth_mean": float(t.mean()),
        "truth_std": float(t.std()),
        "predicted_mean": float(p.mean()),
        "predicted_std": float(p.std()),
    }


def hand_loss(t: Values, p: Values, loss: dict[str, Any]) -> float:
    e: list[float] = np.abs(t - p).ravel().tolist()
    if loss["name"] == "ccc":
        return float(1 - sum(hand(*columns)["ccc"] for columns in zip(t.T, p.T, strict=True)) / t.shape[1])
    if loss["name"] == "huber":
        d = loss["delta"]
        return sum(x * x / 2 if x <= d else d * x - d * d / 2 for x in e) / len(e)
    return sum(x * x if loss["name"] == "mse" else x for x in e) / len(e)


moderate = st.floats(-100, 100).map(lambda value: round(value, 4))


@st.composite
def tables(draw: st.DrawFn) -> RegressionPredictions:
    samples, targets = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    rows = st.lists(st.lists(moderate, min_size=targets, max_size=targets), min_size=samples, max_size=samples)
    return made(draw(rows), draw(rows))


@settings(max_examples=80, deadline=None)
@given(p=tables(), loss=st.sampled_from(LOSSES))
def test_every_metric_equals_the_formula_scipy_and_scikit_learn(p: RegressionPredictions, loss: dict[str, Any]) -> None:
    columns = [(p.target[:, i], p.predicted[:, i]) for i in range(p.target.shape[1])]
    assume(len(p.target) > 1 and all(np.ptp(values) > 1e-3 for pair in columns for values in pair))
    metrics = regression_metrics(p, loss=loss)
    for name, (t, predicted) in zip(p.target_names, columns, strict=True):
        cells = metrics["per_target"][name]
        for metric, value in hand(t, predicted).items():
            assert cells[metric]["value"] == pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE), metric
        assert cells["corr"]["value"] == pytest.approx(pearsonr(t, predicted).statistic, abs=TOLERANCE)
        assert cells["rmse"]["value"] == pytest.approx(math.sqrt(mean_squared_error(t, predicted)), abs=TOLERANCE)
        assert cells["mae"]["value"] == pytest.approx(mean_absolute_error(t, predicted), abs=TOLERANCE)
        assert cells["r2"]["value"] == pytest.approx(r2_score(t, predicted), rel=TOLERANCE, abs=TOLERANCE)
    for metric in AVERAGED:
        values = [metrics["per_target"][name][metric]["value"] for name in p.target_names]
        assert metrics[metric]["value"] == pytest.approx(sum(values) / len(values), rel=TOLERANCE, abs=TOLERANCE)
    expected = hand_loss(p.target, p.predicted, loss)
    assert metrics["loss"]["value"] == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)
    assert metrics["samples"] == len(p.target)
    assert list(metrics) == ["loss", *AVERAGED, "per_target", "samples"]


anything = st.floats(-3e38, 3e38, allow_nan=False, allow_infinity=False)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), samples=st.integers(1, 6), loss=st.sampled_from(LOSSES))
def test_any_finite_numbers_give_cells_that_json_can_hold(
    data: st.DataObject, samples: int, loss: dict[str, Any]
) -> None:
    truth, predicted = (data.draw(st.lists(anything, min_size=samples, max_size=samples)) for _ in range(2))
    p = made(truth, predicted)
    metrics = regression_metrics(p, loss=loss)
    json.dumps(metrics, allow_nan=False)
    for cell in [*metrics["per_target"]["t0"].values(), metrics["loss"]]:
        assert cell["value"] is not None or cell["reason"]
    for metric in ("corr", "ccc"):
        assert metrics[metric]["value"] is None or abs(metrics[metric]["value"]) <= 1
    assert metrics["r2"]["value"] is None or metrics["r2"]["value"] <= 1
    assert all(math.isfinite(value) for value in monitored(p.target, p.predicted, loss=loss).values())


def test_large_numbers_with_a_small_spread_lose_no_digits() -> None:
    rng = np.random.default_rng(0)
    small = rng.normal(size=(500, 2)) @ [[0.03, 0.02], [0.0, 0.02]]
    # Multiples of 2^-30 below 2^21 are exact beside 1e6 too, so that both tables hold the same spread.
    small = np.round(small * 2**30) / 2**30
    near_zero, far = one_target(small[:, 0], small[:, 1]), one_target(1e6 + small[:, 0], 1e6 + small[:, 1])
    for metric in ("rmse", "mae", "corr", "ccc", "r2", "truth_std", "predicted_std", "rmse_standard_error"):
        assert far[metric]["value"] == pytest.approx(near_zero[metric]["value"], rel=0, abs=TOLERANCE), metric
    assert far["truth_mean"]["value"] == pytest.approx(1e6 + small[:, 0].mean(), rel=1e-15)
    assert far["corr"]["value"] == pytest.approx(pearsonr(small[:, 0], small[:, 1]).statistic, abs=TOLERANCE)


def test_standard_error_of_rmse_is_the_spread_of_rmse_over_samples() -> None:
    rng = np.random.default_rng(1)
    errors = rng.laplace(size=(4000, 200))
    spread = np.sqrt((errors**2).mean(axis=1)).std()
    cells = [one_target(np.zeros(200), sample) for sample in errors[:200]]
    assert np.mean([cell["rmse_standard_error"]["value"] for cell in cells]) == pytest.approx(spread, rel=0.05)
    assert one_target([1, 2], [1, 2])["rmse_standard_error"] == {"value": 0.0}
    assert one_target([1], [2])["rmse_standard_error"]["value"] is None


def test_perfect_and_opposite_predictions() -> None:
    truth = np.array([-0.5, 0.1, 0.4])
    cells = one_target(truth, truth)
    assert [cells[metric]["value"] for metric in ("rmse", "mae", "sagr", "r2")] == [0, 0, 1, 1]
    assert [cells[metric]["value"] for metric in ("corr", "ccc")] == pytest.approx([1, 1], abs=TOLERANCE)
    assert one_target([-1, 1], [1, -1])["ccc"]["value"] == pytest.approx(-1, abs=TOLERANCE)
    assert one_target([-1, 1], [1, -1])["sagr"] == {"value": 0.0}


def test_sagr_counts_zero_as_not_positive() -> None:
    assert one_target([0, 0, -1, 1], [0.0, -1, -0.0, 2])["sagr"] == {"value": 1.0}
    assert one_target([0, -1, 1, 1], [1, 1, 0, 1])["sagr"] == {"value": 0.25}


@pytest.mark.parametrize(("truth", "sign"), [([0, 1, 2], "negative"), ([-1, 0, -2], "positive"), ([0, 0], "negative")])
def test_sagr_says_where_the_truth_has_one_sign_only(truth: list[float], sign: str) -> None:
    cell = one_target(truth, [1.0] * len(truth))["sagr"]
    assert cell["note"] == f"the truth is never {sign}, so that its sign says little"


TRUTH, PREDICTION = "the truth is constant", "the prediction is constant"
BOTH, SAME = "the truth and the prediction are constant", "truth and prediction are the same constant"
ALONE = "one sample shows no relation"


@pytest.mark.parametrize(
    ("truth", "predicted", "undefined", "ccc"),
    [
        ([0.1] * 3, [0.1, 0.2, 0.3], {"corr": TRUTH, "r2": TRUTH}, 0.0),
        ([0.1, 0.2, 0.3], [0.1] * 3, {"corr": PREDICTION}, 0.0),
        ([0.1] * 3, [0.7] * 3, {"corr": BOTH, "r2": TRUTH}, 0.0),
        ([0.1] * 7, [0.1] * 7, {"corr": BOTH, "r2": TRUTH, "ccc": SAME}, None),
        ([0.1], [0.4], dict.fromkeys(("corr", "ccc", "r2"), ALONE), None),
    ],
)
def test_what_is_undefined_has_a_reason_and_is_never_zero(
    truth: list[float], predicted: list[float], undefined: dict[str, str], ccc: float | None
) -> None:
    cells = one_target(truth, predicted)
    for metric in ("rmse", "mae", "corr", "sagr", "ccc", "r2"):
        if metric in undefined:
            assert cells[metric] == {"value": None, "reason": undefined[metric]}
        else:
            assert cells[metric]["value"] is not None
    assert cells["ccc"]["value"] == ccc
    assert cells["truth_std"]["value"] == pytest.approx(np.std(truth), abs=1e-15)


def test_a_mean_with_an_undefined_part_is_undefined() -> None:
    truth, predicted = np.array([[1, 1, 1.0], [2, 1, 1]]), np.array([[1, 1, 2.0], [3, 1, 1]])
    metrics = regression_metrics(made(truth, predicted, ("a", "b", "c")), loss={"name": "ccc"})
    assert metrics["corr"] == {"value": None, "reason": "the truth and the prediction are constant for b and 1 more"}
    assert metrics["ccc"] == {"value": None, "reason": "truth and prediction are the same constant for b"}
    assert metrics["loss"] == {"value": None, "reason": "truth and prediction are the same constant for b"}
    assert metrics["rmse"]["value"] is not None


@settings(max_examples=60, deadline=None)
@given(p=tables(), loss=st.sampled_from(LOSSES))
def test_what_training_monitors_are_the_same_numbers(p: RegressionPredictions, loss: dict[str, Any]) -> None:
    metrics = regression_metrics(p, loss=loss)
    values = monitored(p.target, p.predicted, loss=loss)
    assert list(values) == ["loss", "rmse", "ccc"]
    for name, value in values.items():
        if metrics[name]["value"] is not None:
            assert value == pytest.approx(metrics[name]["value"], rel=TOLERANCE, abs=TOLERANCE)


def test_an_undefined_agreement_counts_as_none_while_training() -> None:
    truth = np.array([[1.0, 0.5], [2.0, 0.5], [3.0, 0.5]])
    values = monitored(truth, truth, loss={"name": "ccc"})
    assert values == {"loss": pytest.approx(0.5), "rmse": 0.0, "ccc": pytest.approx(0.5)}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_make_a_loss_that_is_none(bad: float) -> None:
    values = monitored(np.array([[1.0], [2.0]]), np.array([[1.0], [bad]]), loss={"name": "ccc"})
    assert all(math.isnan(value) for value in values.values())


def test_no_sample_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        regression_metrics(made(np.empty((0, 1)), np.empty((0, 1))))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), names=st.lists(st.text(max_size=6), min_size=1, max_size=4, unique=True))
def test_table_reads_back_exactly(
    data: st.DataObject, names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    ids = data.draw(st.lists(st.text(max_size=8), min_size=1, max_size=5, unique=True))
    rows = st.lists(st.lists(anything, min_size=len(names), max_size=len(names)), min_size=len(ids), max_size=len(ids))
    target, predicted = np.array(data.draw(rows)), np.array(data.draw(rows))
    groups = [f"{one} " for one in ids]
    path = tmp_path_factory.getbasetemp() / "table.csv"
    text = predictions_csv(ids, groups, target, predicted, names)
    path.write_text(text, encoding="utf-8", newline="")
    read = read_predictions(path)
    assert read.target_names == tuple(names)
    assert (read.sample_id.tolist(), read.group.tolist()) == (ids, groups)
    np.testing.assert_array_equal(read.target, target)
    np.testing.assert_array_equal(read.predicted, predicted)
    assert predictions_csv(read.sample_id, read.group, read.target, read.predicted, read.target_names) == text


def test_float32_outputs_are_written_exactly(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(predictions_csv(["a"], ["g"], np.array([[0.1]]), np.array([[1 / 3]], dtype=np.float32), ["x"]))
    read = read_predictions(path)
    assert path.read_text().splitlines()[1] == "a,g,0.1,0.3333333432674408"
    assert (read.target.item(), read.predicted.item()) == (0.1, float(np.float32(1 / 3)))


HEADER = "sample_id,group,target:a,target:b,predicted:a,predicted:b\n"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "row 1 (the header), column 1", "expected 'sample_id', received 'nothing'"),
        ("sample_id,target\n", "row 1 (the header), column 2", "expected 'group', received 'target'"),
        ("sample_id,group\n", "row 1 (the header), column 3", "expected 'target:' and the name of a target"),
        ("sample_id,group,target,predicted\n", "row 1 (the header), column 3", "received 'target'"),
        ("sample_id,group,target:a,target:a\n", "row 1 (the header), column 4", "received 'target:a' again"),
        ("sample_id,group,target:a\n", "row 1 (the header), column 4", "expected 'predicted:a', received 'nothing'"),
        ("sample_id,group,target:a,target:b,predicted:b\n", "row 1 (the header), column 5", "expected 'predicted:a'"),
        (HEADER.strip() + ",predicted:c\n", "row 1 (the header), column 7", "expected no further column"),
        (HEADER, "row 2", "at least one sample"),
        (HEADER + "s,g,1,2,3\n", "row 2", "expected 6 columns, received 5"),
        (HEADER + "s,g,1,2,3,4\n\n", "row 3", "expected 6 columns, received 0"),
        (HEADER + "s,g,1,2,3,4\ns,g,1,2,3,4\n", "row 3, column 'sample_id'", "first in row 2"),
        (HEADER + "s,g,1,2,3,4\nt,g,1,high,3,4\n", "row 3, column 'target:b'", "expected a number, received 'high'"),
        (HEADER + "s,g,1,2,3,\n", "row 2, column 'predicted:b'", "received ''"),
        (HEADER + "s,g,nan,2,3,4\n", "row 2, column 'target:a'", "expected a finite number"),
        (HEADER + "s,g,1,2,-inf,4\n", "row 2, column 'predicted:a'", "received -inf"),
        (HEADER + "s,g,1,2,3,1e39\n", "row 2, column 'predicted:b'", "at most 3.4e+38), received 1e+39"),
        (HEADER + 's,"g,1,2,3,4\n', "the file", "UTF-8 CSV"),
    ],
)
def test_a_damaged_table_is_refused_with_the_place(tmp_path: Path, text: str, where: str, what: str) -> None:
    path = tmp_path / "test.csv"
    path.write_text(text)
    with pytest.raises(RunFolderError) as caught:
        read_predictions(path)
    assert str(caught.value).startswith(f"{path}: {where}")
    assert what in str(caught.value)
    assert "cvlab evaluate RUN_DIR" in str(caught.value)


def test_a_missing_table_and_one_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="evaluate RUN_DIR` first"):
        read_predictions(tmp_path / "test.csv")
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(RunFolderError, match="UTF-8"):
        read_predictions(tmp_path / "bad.csv")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_could_not_be_read_back_is_not_written(bad: float) -> None:
    good = np.array([[1.0, 2.0]])
    with pytest.raises(RunFolderError, match=r"sample 's', column 'predicted:b': expected a finite number"):
        predictions_csv(["s"], ["g"], good, np.array([[1.0, bad]]), ["a", "b"])
    with pytest.raises(ValueError, match=r"Expected truth and prediction \(1, 2\), received \(1, 2\) and \(2,\)"):
        predictions_csv(["s"], ["g"], good, np.array([1.0, 0.0]), ["a", "b"])
