"""Each loss against a NumPy formula, and in a tiny model that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvlab.metrics.regression import monitored
from cvlab.tasks.regression import Config, Regression

pytestmark = pytest.mark.tensorflow

SETTINGS: dict[str, dict[str, Any]] = {
    "mse": {"name": "mse"},
    "mae": {"name": "mae"},
    "huber": {"name": "huber", "delta": 0.3},
    "ccc": {"name": "ccc"},
}
losses = pytest.mark.parametrize("name", SETTINGS)


def regression(name: str) -> Regression:
    config = Config.model_validate_json(f'{{"loss": {str(SETTINGS[name]).replace(chr(39), chr(34))}}}')
    return Regression(config, ("valence", "arousal"))


def formula(name: str, t: np.ndarray, p: np.ndarray) -> float:
    """The loss of one batch, in float64."""
    t, p = t.astype(np.float64), p.astype(np.float64)
    error = np.abs(t - p)
    if name == "ccc":
        covariance = ((t - t.mean(0)) * (p - p.mean(0))).mean(0)
        return float(1 - (2 * covariance / (t.var(0) + p.var(0) + (t.mean(0) - p.mean(0)) ** 2 + 1e-8)).mean())
    if name == "huber":
        delta = SETTINGS["huber"]["delta"]
        return float(np.where(error <= delta, error**2 / 2, delta * (error - delta / 2)).mean())
    return float((error**2 if name == "mse" else error).mean())


def affect(samples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, 6), and truth (n, 2) that is a linear function of them with a little noise."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(samples, 6))
    truth = inputs @ rng.normal(size=(6, 2)) * 0.2 + [0.3, -0.1] + 0.02 * rng.normal(size=(samples, 2))
    return inputs.astype(np.float32), truth.astype(np.float32)


def tiny_model(task: Regression) -> Any:
    import keras

    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, activation="relu"), task.output_layer()])
    model.compile(optimizer=keras.optimizers.Adam(0.02), loss=task.loss(), metrics=task.training_metrics())
    return model


@losses
@pytest.mark.parametrize("samples", [2, 7, 64])
def test_a_loss_equals_its_formula(name: str, samples: int) -> None:
    _, truth = affect(samples)
    predicted = truth + np.random.default_rng(1).normal(scale=0.4, size=truth.shape).astype(np.float32)
    value = float(regression(name).loss()(truth, predicted))
    assert value == pytest.approx(formula(name, truth, predicted), rel=1e-5)


@losses
def test_a_tiny_model_learns_and_its_running_loss_is_that_of_evaluation(name: str) -> None:
    inputs, truth = affect(65)
    task = regression(name)
    model = tiny_model(task)
    predicted = model.predict(inputs, batch_size=65, verbose=0)
    # The loss of the only batch of an epoch is that of the weights before it.
    first = model.fit(inputs, truth, batch_size=65, epochs=1, shuffle=False, verbose=0).history
    seen = monitored(truth.astype(np.float64), predicted.astype(np.float64), loss=task.config.loss.model_dump())
    assert first["loss"][0] == pytest.approx(formula(name, truth, predicted), rel=1e-5)
    assert first["loss"][0] == pytest.approx(seen["loss"], rel=1e-5)
    assert first["rmse"][0] == pytest.approx(seen["rmse"], rel=1e-5)
    # The last batch of an epoch is one sample.
    history = model.fit(inputs, truth, batch_size=32, epochs=25, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < 0.5 * first["loss"][0]
    assert history["rmse"][-1] < 0.7 * first["rmse"][0]


@pytest.mark.parametrize("name", ["huber", "ccc"])
def test_a_loss_is_computed_in_float32_under_mixed_precision(name: str) -> None:
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs, truth = affect(33)
        model = tiny_model(regression(name))
        value = model.evaluate(inputs[:32], truth[:32], batch_size=32, verbose=0)[0]
        predicted = model.predict(inputs[:32], verbose=0)
        history = model.fit(inputs, truth, batch_size=32, epochs=3, verbose=0).history
    finally:
        keras.config.set_dtype_policy(before)
    assert predicted.dtype == np.float32
    assert value == pytest.approx(formula(name, truth[:32], predicted), rel=1e-5)
    assert history["loss"][-1] < history["loss"][0]


def test_concordance_of_half_precision_inputs_is_computed_in_float32() -> None:
    from cvlab.tasks.losses import ConcordanceLoss

    truth = np.linspace(0.9, 1.1, 50, dtype=np.float32)[:, None]
    value = ConcordanceLoss()(truth, truth.astype(np.float16))
    assert str(np.asarray(value).dtype) == "float32"
    assert float(value) == pytest.approx(formula("ccc", truth, truth.astype(np.float16)), abs=1e-6)


@pytest.mark.parametrize(
    ("truth", "bias"),
    [([[0.4, -0.2]], 0.0), ([[0.4, -0.2]] * 3, 0.0), ([[0.0, 0.0]] * 3, 0.0), ([[0.4, -0.2]], 5.0)],
)
def test_a_batch_without_spread_has_loss_1_and_a_finite_gradient(truth: list[list[float]], bias: float) -> None:
    import keras

    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(2, bias_initializer=keras.initializers.Constant(bias))]
    )
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=regression("ccc").loss())
    before = [weight.copy() for weight in model.get_weights()]
    loss = model.train_on_batch(np.zeros((len(truth), 1)), np.array(truth))
    assert float(np.asarray(loss)) == pytest.approx(1.0)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_constant_predictions_of_a_varying_truth_are_left() -> None:
    """All outputs are equal at first, and equal to the mean: only the gradient can tell where to go."""
    import keras

    inputs, truth = affect(64)
    truth -= truth.mean(axis=0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, kernel_initializer="zeros")])
    model.compile(optimizer=keras.optimizers.Adam(0.02), loss=regression("ccc").loss())
    history = model.fit(inputs, truth, batch_size=32, epochs=15, verbose=0).history
    assert history["loss"][0] > 0.5
    assert history["loss"][-1] < 0.3


def test_a_compiled_model_with_the_own_loss_and_metric_is_saved_and_opened_again(tmp_path: Path) -> None:
    import keras

    from cvlab.tasks.losses import ConcordanceLoss

    inputs, truth = affect(40)
    model = tiny_model(regression("ccc"))
    model.fit(inputs, truth, batch_size=16, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(opened.loss) is ConcordanceLoss
    values = [m.evaluate(inputs, truth, batch_size=40, verbose=0) for m in (model, opened)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    opened.fit(inputs, truth, batch_size=16, epochs=1, verbose=0)


def test_running_rmse_is_the_mean_over_targets_of_the_whole_epoch() -> None:
    import keras

    from cvlab.tasks.losses import TargetRMSE

    truth, predicted = np.random.default_rng(0).normal(size=(2, 50, 2)) * [1.0, 30.0]
    metric = TargetRMSE(2)
    assert float(metric.result()) == 0
    for start in range(0, 50, 16):
        metric.update_state(truth[start : start + 16], predicted[start : start + 16])
    errors = np.sqrt(((truth - predicted) ** 2).mean(axis=0))
    assert float(metric.result()) == pytest.approx(errors.mean(), rel=1e-5)
    one = TargetRMSE(1)
    one.update_state(truth[:, 1:], predicted[:, 1:])
    theirs = keras.metrics.RootMeanSquaredError()
    theirs.update_state(truth[:, 1:], predicted[:, 1:])
    assert float(one.result()) == pytest.approx(float(theirs.result()), rel=1e-5)
    metric.reset_state()
    assert float(metric.result()) == 0
