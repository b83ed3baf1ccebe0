"""Focal loss against a NumPy formula, cross-entropy and Keras, and in a tiny model that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvlab.tasks import classification
from tests.config_fixture import changed, problems_of

pytestmark = pytest.mark.tensorflow

LOGITS = np.array([-30.0, -4.0, -0.7, 0.0, 0.3, 2.5, 9.0, 40.0], dtype=np.float32)


def focal(loss: dict[str, Any], *, output: str, classes: int = 2, **settings: Any) -> classification.Classification:
    config = classification.Config.model_validate({"output": output, "loss": loss, **settings})
    return classification.Classification(config, tuple("abcdefgh"[:classes]))


def scored(output: str, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth as indices, truth as the loss takes it, and logits (float32), extreme ones among them."""
    rng = np.random.default_rng(seed)
    columns = 1 if output == "sigmoid" else classes
    logits = np.vstack([rng.normal(scale=3, size=(40, columns)), np.repeat(LOGITS[:, None], columns, axis=1)])
    logits[40:, 1:] = 0
    labels = rng.integers(0, classes, len(logits))
    truth = labels[:, None] if output == "sigmoid" else np.eye(classes)[labels]
    return labels, truth.astype(np.float32), logits.astype(np.float32)


def value_and_gradient(loss: Any, truth: np.ndarray, logits: np.ndarray, output: str) -> tuple[float, np.ndarray]:
    import keras
    import tensorflow as tf

    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(truth, keras.activations.get(output)(variable))
    return float(value), np.asarray(tape.gradient(value, variable))


def focal_formula(labels: np.ndarray, logits: np.ndarray, loss: dict[str, Any], classes: int) -> float:
    """The focal loss in float64 from the logits."""
    wide = logits.astype(np.float64)
    wide = np.hstack([np.zeros_like(wide), wide]) if wide.shape[1] == 1 else wide
    log_scores = wide - np.logaddexp.reduce(wide, axis=1, keepdims=True)
    truth = np.eye(classes)[labels]
    smoothing = loss.get("label_smoothing", 0.0)
    entropy = -((truth * (1 - smoothing) + smoothing / classes) * log_scores).sum(axis=1)
    factor = (1 - np.exp((truth * log_scores).sum(axis=1))) ** loss.get("gamma", 2.0)
    alpha = loss.get("alpha")
    weight = 1.0 if alpha is None else np.where(labels == 1, alpha, 1 - alpha)
    return float((weight * factor * entropy).mean())


@pytest.mark.parametrize(("output", "classes"), [("sigmoid", 2), ("softmax", 2), ("softmax", 5)])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_loss_equals_its_formula(output: str, classes: int, gamma: float, smoothing: float) -> None:
    loss = {"name": "focal", "gamma": gamma, "label_smoothing": smoothing}
    labels, truth, logits = scored(output, classes)
    made = focal(loss, output=output, classes=classes).loss()
    value, gradient = value_and_gradient(made, truth, logits, output)
    assert value == pytest.approx(focal_formula(labels, logits, loss, classes), rel=1e-5)
    step = 1e-3
    for place in ((0, 0), (7, -1), (41, 0), (44, 0)):
        moved = [logits.astype(np.float64), logits.astype(np.float64)]
        moved[0][place] += step
        moved[1][place] -= step
        more, less = (focal_formula(labels, change, loss, classes) for change in moved)
        assert gradient[place] == pytest.approx((more - less) / (2 * step), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(("output", "classes"), [("sigmoid", 2), ("softmax", 2), ("softmax", 5)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_loss_with_gamma_0_is_cross_entropy_in_value_and_gradient(
    output: str, classes: int, smoothing: float
) -> None:
    _, truth, logits = scored(output, classes)
    settings = ({"name": "focal", "gamma": 0.0}, {"name": "cross_entropy"})
    (value, gradient), (expected, direction) = (
        value_and_gradient(
            focal({**loss, "label_smoothing": smoothing}, output=output, classes=classes).loss(), truth, logits, output
        )
        for loss in settings
    )
    assert value == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(gradient, direction, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0, 2.0])
def test_a_sure_prediction_has_a_finite_gradient_right_or_wrong(gamma: float) -> None:
    for output in ("sigmoid", "softmax"):
        logits = np.array([[-200.0], [200.0]], dtype=np.float32)
        logits = logits if output == "sigmoid" else np.hstack([-logits, logits])
        truth = np.ones((2, 1), np.float32) if output == "sigmoid" else np.eye(2, dtype=np.float32)[[1, 1]]
        made = focal({"name": "focal", "gamma": gamma}, output=output).loss()
        value, gradient = value_and_gradient(made, truth, logits, output)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        # The wrong one still learns.
        assert gradient[0, -1] < -0.4


def test_focal_loss_equals_that_of_keras_where_scores_are_not_extreme() -> None:
    import keras

    rng = np.random.default_rng(3)
    scores = rng.uniform(0.02, 0.98, (50, 1)).astype(np.float32)
    truth = rng.integers(0, 2, (50, 1)).astype(np.float32)
    ours = focal({"name": "focal", "gamma": 2.0, "alpha": 0.3}, output="sigmoid").loss()
    theirs = keras.losses.BinaryFocalCrossentropy(apply_class_balancing=True, alpha=0.3, gamma=2.0)
    assert float(ours(truth, scores)) == pytest.approx(float(theirs(truth, scores)), rel=1e-5)
    many = rng.dirichlet(np.ones(4), 50).astype(np.float32)
    one_hot = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 50)]
    ours = focal({"name": "focal", "gamma": 3.0}, output="softmax", classes=4).loss()
    theirs = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=3.0)
    assert float(ours(one_hot, many)) == pytest.approx(float(theirs(one_hot, many)), rel=1e-4)


@pytest.mark.parametrize("alpha", [0.25, 0.9])
def test_alpha_weighs_the_second_class_of_a_sigmoid(alpha: float) -> None:
    loss = {"name": "focal", "gamma": 1.5, "alpha": alpha}
    labels, truth, logits = scored("sigmoid", 2)
    made = focal(loss, output="sigmoid").loss()
    value, _ = value_and_gradient(made, truth, logits, "sigmoid")
    assert value == pytest.approx(focal_formula(labels, logits, loss, 2), rel=1e-5)
    only = truth[:, 0] == 1
    ones, _ = value_and_gradient(made, truth[only], logits[only], "sigmoid")
    plain = {"name": "focal", "gamma": 1.5}
    assert ones == pytest.approx(alpha * focal_formula(labels[only], logits[only], plain, 2), rel=1e-5)


def test_class_weights_multiply_the_focal_loss() -> None:
    labels, truth, logits = scored("softmax", 3)
    task = focal({"name": "focal"}, output="softmax", classes=3, class_weights={"a": 1, "b": 2, "c": 5})
    made, weights = task.loss(), np.array([1, 2, 5], np.float32)[labels]
    import keras

    scores = keras.activations.softmax(logits)
    each = [focal_formula(labels[i : i + 1], logits[i : i + 1], {"gamma": 2.0}, 3) for i in range(len(labels))]
    assert float(made(truth, scores, sample_weight=weights)) == pytest.approx(np.mean(each * weights), rel=1e-4)


def test_a_model_trained_with_focal_loss_is_saved_and_opened_again(tmp_path: Path) -> None:
    import keras

    task = focal({"name": "focal", "gamma": 1.0, "alpha": 0.6, "label_smoothing": 0.1}, output="sigmoid")
    inputs = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    truth = (inputs[:, :1] > 0).astype(np.float32)
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, activation="relu"), task.output_layer()])
    model.compile(optimizer=keras.optimizers.Adam(0.02), loss=task.loss(), metrics=task.training_metrics())
    history = model.fit(inputs, truth, batch_size=16, epochs=15, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert opened.loss.get_config() == task.loss().get_config()
    values = [m.evaluate(inputs, truth, batch_size=64, verbose=0) for m in (model, opened)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "problem"),
    [
        ("{name: focl}", "3: task.loss.name: expected 'cross_entropy' or 'focal', received 'focl'; did you mean "
         "'focal'?"),
        ("{name: focal, gama: 1}", "3: task.loss.gama: unknown key; did you mean 'gamma'?"),
        ("{name: focal, gamma: -1}", "3: task.loss.gamma: expected at least 0, received -1."),
        ("{name: focal, alpha: 0.25}", "3: task: received `loss.alpha: 0.25`, which weighs the two classes of a "
         "sigmoid, with `output: softmax`. Weigh the classes with `class_weights`."),
        ("{name: focal, alpha: 0.25}, output: sigmoid", "3: task: received `loss.alpha: 0.25` with `class_weights: "
         "balanced`, which would weigh the classes twice. Keep one."),
        ("{name: focal, alpha: 1}", "3: task.loss.alpha: expected below 1, received 1."),
        ("{gamma: 1}", "3: task.loss.gamma: unknown key; the keys of 'cross_entropy' are name, label_smoothing."),
    ],
)  # fmt: skip
def test_wrong_settings_of_focal_loss_are_named(tmp_path: Path, loss: str, problem: str) -> None:
    output = "" if "sigmoid" in loss else "output: softmax, "
    text = changed(("output: softmax, ", output), ("{name: cross_entropy}", loss))
    assert problems_of(tmp_path / "c.yaml", text) == [f"c.yaml:{problem}"]


def test_a_loss_without_a_name_is_cross_entropy() -> None:
    config = classification.Config.model_validate({"loss": {"label_smoothing": 0.1}})
    assert config.loss == classification.CrossEntropy(label_smoothing=0.1)
