"""Losses and running metrics of masks against NumPy formulas, with empty and full masks among them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cvlab.metrics.segmentation_monitor import monitored
from cvlab.tasks.segmentation_settings import Dice, Loss

pytestmark = pytest.mark.tensorflow

LOSSES: dict[str, dict[str, Any]] = {
    "dice": {"name": "dice"},
    "bce": {"name": "bce"},
    "dice_bce": {"name": "dice_bce", "weight": 0.7},
    "focal": {"name": "focal", "gamma": 1.5, "alpha": 0.3},
    "tversky": {"name": "tversky", "alpha": 0.2, "beta": 0.9},
}
losses = pytest.mark.parametrize("name", LOSSES)
SHAPE = (3, 8, 6, 1)


def made(name: str) -> Any:
    from cvlab.tasks.segmentation_losses import make_loss

    return make_loss(TypeAdapter(Loss).validate_python(LOSSES[name]))


def formula(name: str, truth: np.ndarray, logits: np.ndarray) -> float:
    """The loss of a batch in float64, from the logits."""
    t, x = truth.astype(np.float64), logits.astype(np.float64)
    p, own = 1 / (1 + np.exp(-x)), LOSSES[name]
    entropy = t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x)
    dice = 1 - (2 * (t * p).sum() + 1e-6) / (t.sum() + p.sum() + 1e-6)
    if name == "bce":
        return float(entropy.mean())
    if name == "dice_bce":
        return float(own["weight"] * dice + (1 - own["weight"]) * entropy.mean())
    if name == "focal":
        alpha, wrong = np.where(t == 1, own["alpha"], 1 - own["alpha"]), np.where(t == 1, 1 - p, p)
        return float((alpha * wrong ** own["gamma"] * entropy).mean())
    if name == "tversky":
        tp, fp, fn = (t * p).sum(), ((1 - t) * p).sum(), (t * (1 - p)).sum()
        return float(1 - (tp + 1e-6) / (tp + own["alpha"] * fp + own["beta"] * fn + 1e-6))
    return float(dice)


def masks(kind: str, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """uint8 masks of 0 and 1: `some`, `empty`, `full`, or `mixed` (an empty, a full one, and some)."""
    found = (np.random.default_rng(seed).random(shape) < 0.3).astype(np.uint8)
    if kind == "mixed":
        found[0], found[1] = 0, 1
    return {"empty": np.zeros_like(found), "full": np.ones_like(found)}.get(kind, found)


def scores(logits: np.ndarray) -> Any:
    import keras

    return keras.activations.sigmoid(keras.ops.convert_to_tensor(logits))


def value_and_gradient(loss: Any, truth: np.ndarray, logits: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss, and its slope by the logits."""
    import tensorflow as tf

    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(truth, scores(variable))
    return float(value), np.asarray(tape.gradient(value, variable))


@losses
@pytest.mark.parametrize("kind", ["some", "mixed", "empty", "full"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_loss_and_its_gradient_equal_the_formula(name: str, kind: str, dtype: str) -> None:
    truth = masks(kind)
    logits = np.random.default_rng(1).normal(scale=2, size=SHAPE).astype(np.float32)
    value, gradient = value_and_gradient(made(name), truth.astype(dtype), logits)
    assert value == pytest.approx(formula(name, truth, logits), rel=1e-6, abs=1e-6)
    step = 1e-4
    for place in ((0, 0, 0, 0), (1, 7, 5, 0), (2, 3, 2, 0)):
        more, less = logits.astype(np.float64), logits.astype(np.float64)
        more[place] += step
        less[place] -= step
        slope = (formula(name, truth, more) - formula(name, truth, less)) / (2 * step)
        assert gradient[place] == pytest.approx(slope, rel=1e-3, abs=1e-7)


@losses
@pytest.mark.parametrize("kind", ["some", "empty", "full"])
@pytest.mark.parametrize("logit", [-200.0, -20.0, 20.0, 200.0])
def test_sure_scores_give_finite_values_and_gradients(name: str, kind: str, logit: float) -> None:
    value, gradient = value_and_gradient(made(name), masks(kind), np.full(SHAPE, logit, dtype=np.float32))
    assert math.isfinite(value)
    assert np.isfinite(gradient).all()
    # In logits the slope is bounded, however small the sums of an empty batch are.
    assert np.abs(gradient).sum() <= 10


@pytest.mark.parametrize("name", ["dice", "tversky"])
def test_an_empty_batch_is_0_without_and_nearly_1_with_false_positives(name: str) -> None:
    truth, none = masks("empty"), np.zeros(SHAPE, dtype=np.float32)
    assert float(made(name)(truth, none)) == 0.0
    assert float(made(name)(1 - truth, 1 - none)) == 0.0
    one = none.copy()
    one[0, 0, 0, 0] = 0.9
    assert float(made(name)(truth, one)) == pytest.approx(1.0, abs=1e-5)


def test_dice_is_pooled_so_that_an_empty_slice_without_false_positives_changes_nothing() -> None:
    truth, p = masks("some").astype(np.float32), np.random.default_rng(2).random(SHAPE).astype(np.float32)
    blank = np.zeros((5, *SHAPE[1:]), dtype=np.float32)
    padded = (np.concatenate([truth, blank]), np.concatenate([p, blank]))
    assert float(made("dice")(*padded)) == pytest.approx(float(made("dice")(truth, p)), rel=1e-6)
    mean_of_images = np.mean([float(made("dice")(t[None], q[None])) for t, q in zip(truth, p, strict=True)])
    assert abs(float(made("dice")(truth, p)) - mean_of_images) > 1e-4


def test_half_and_half_tversky_is_dice() -> None:
    from cvlab.tasks.segmentation_losses import DiceLoss, TverskyLoss

    truth, p = masks("some"), np.random.default_rng(3).random(SHAPE).astype(np.float32)
    assert float(TverskyLoss(0.5, 0.5)(truth, p)) == pytest.approx(float(DiceLoss()(truth, p)), rel=1e-6)


@losses
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_scores_in_half_precision_are_summed_in_float32(name: str, precision: str) -> None:
    import keras

    truth = masks("some", (4, 200, 200, 1))
    logits = np.random.default_rng(4).normal(scale=2, size=truth.shape).astype(np.float32)
    rounded = keras.ops.cast(scores(logits), precision)
    value = made(name)(truth, rounded)
    assert str(value.dtype.name) == "float32"
    exact = np.asarray(keras.ops.cast(rounded, "float32")).astype(np.float64)
    with np.errstate(divide="ignore"):
        again = np.clip(np.log(exact) - np.log1p(-exact), -16, 16)
    # 160,000 pixels: float16 ends at 65,504, and bfloat16 counts in steps of 1,024 there.
    assert float(value) == pytest.approx(formula(name, truth, again), rel=1e-4)


@losses
def test_the_loss_is_the_one_that_validation_computes(name: str) -> None:
    truth = masks("mixed", (4, 16, 16, 1))
    p = np.asarray(scores(np.random.default_rng(5).normal(scale=3, size=truth.shape).astype(np.float32)))
    seen = monitored([(p[:3], truth[:3]), (p[3:], truth[3:])], loss=LOSSES[name])
    assert float(made(name)(truth, p)) == pytest.approx(seen["loss"], rel=1e-6)
    for metric in metrics_of([(truth, p)]):
        assert float(metric.result()) == pytest.approx(seen[metric.name], rel=1e-6)


@pytest.mark.parametrize(("name", "precision"), [("dice_bce", "float32"), ("tversky", "mixed_bfloat16")])
def test_a_model_trains_on_uint8_masks_and_is_opened_again(name: str, precision: str, tmp_path: Path) -> None:
    import keras

    from cvlab.tasks.segmentation_losses import training_metrics

    images = np.random.default_rng(0).random((16, 8, 8, 1)).astype(np.float32)
    truth = (images > 0.6).astype(np.uint8)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        keras.utils.set_random_seed(3)
        layers = [keras.layers.Conv2D(8, 1, activation="relu"), output_layer()]
        model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    finally:
        keras.config.set_dtype_policy(before)
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss=made(name), metrics=training_metrics())
    history = model.fit(images, truth, batch_size=8, epochs=25, verbose=0).history
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    assert list(history) == ["accuracy", "dice", "iou", "loss"]
    assert history["dice"][-1] > history["dice"][0]
    model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert opened.loss.get_config() == made(name).get_config()
    values = [one.evaluate(images, truth, batch_size=16, verbose=0) for one in (model, opened)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    p = model.predict(images, verbose=0)
    seen = monitored([(p, truth)], loss=LOSSES[name])
    names = ["loss", *(metric.name for metric in training_metrics())]
    assert dict(zip(names, values[0], strict=True)) == pytest.approx(seen, rel=1e-5)


def output_layer(**settings: Any) -> Any:
    import keras

    return keras.layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", **settings)


@pytest.mark.parametrize("name", ["bce", "dice_bce", "focal"])
def test_a_pixel_that_is_surely_wrong_still_learns(name: str) -> None:
    """Behind a sigmoid the cross-entropy is computed from the logits, in compiled steps too."""
    import keras

    layer = output_layer(kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(60.0))
    model = keras.Sequential([keras.Input((2, 2, 3)), layer])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=made(name))
    model.train_on_batch(np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 1), dtype=np.uint8))
    expected = {"bce": 1.0, "dice_bce": 0.3, "focal": 0.7}
    # The slope of the mean of four pixels by their common bias.
    assert 60 - float(np.asarray(layer.bias)[0]) == pytest.approx(expected[name], rel=1e-4)


def metrics_of(batches: list[tuple[np.ndarray, np.ndarray]]) -> list[Any]:
    from cvlab.tasks.segmentation_losses import training_metrics

    found = training_metrics()
    for truth, p in batches:
        for metric in found:
            metric.update_state(truth, p)
    return found


def by_hand(batches: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """Dice, IoU and accuracy of all pixels together, from Python's whole numbers."""
    tp = fp = fn = tn = 0
    for truth, p in batches:
        t, called = truth.astype(bool), p >= 0.5
        tp, fp = tp + int((t & called).sum()), fp + int((~t & called).sum())
        fn, tn = fn + int((t & ~called).sum()), tn + int((~t & ~called).sum())
    some = tp + fp + fn
    dice, iou = (2 * tp / (2 * tp + fp + fn), tp / some) if some else (1.0, 1.0)
    return [dice, iou, (tp + tn) / (some + tn)]


@settings(max_examples=25)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    called=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_metrics_pool_the_pixels_of_all_batches(
    sizes: list[tuple[int, int, int]], share: float, called: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    batches = []
    for size in sizes:
        truth = (rng.random((*size, 1)) < share).astype(np.uint8)
        p = np.where(rng.random((*size, 1)) < called, rng.choice([0.5, 0.75, 1.0], (*size, 1)), rng.random((*size, 1)))
        batches.append((truth, p.astype(np.float32)))
    found = metrics_of(batches)
    assert [metric.name for metric in found] == ["dice", "iou", "accuracy"]
    np.testing.assert_allclose([float(metric.result()) for metric in found], by_hand(batches), rtol=1e-6)


def test_counts_stay_exact_where_float32_would_lose_pixels() -> None:
    """2^24 + 1 is no float32, and 1,000 such batches are not lost one by one."""
    truth = np.ones((2, 1024, 1024, 1), dtype=np.uint8)
    truth[0, 0, 0, 0] = 0
    (dice, *_) = metrics_of([(truth, truth.astype(np.float32))])
    dice.units.assign(np.array([2.0**23, 0, 0, 0], dtype=np.float32))
    for _ in range(3):
        dice.update_state(truth, truth.astype(np.float32))
    pixels = int(np.asarray(dice.units)[0]) * 4096 + int(np.asarray(dice.rest)[0])
    rest = 2**21 - 1
    assert pixels == 2**35 + 3 * rest + rest % 4096
    assert (np.asarray(dice.rest) < 4096).all()


def test_metrics_go_on_from_their_saved_variables() -> None:
    rng = np.random.default_rng(6)
    batches = [(masks("some", (2, 70, 70, 1), seed), rng.random((2, 70, 70, 1)).astype(np.float32)) for seed in (1, 2)]
    whole, half, resumed = metrics_of(batches), metrics_of(batches[:1]), metrics_of([])
    for metric, stopped, full in zip(resumed, half, whole, strict=True):
        assert float(metric.result()) == 1.0
        for variable, other in zip(metric.variables, stopped.variables, strict=True):
            variable.assign(np.asarray(np.asarray(other).tolist(), dtype=variable.dtype))
        metric.update_state(*batches[1])
        for variable, other in zip(metric.variables, full.variables, strict=True):
            np.testing.assert_array_equal(np.asarray(variable), np.asarray(other))
        metric.reset_state()
        assert not any(np.asarray(variable).any() for variable in metric.variables)


@losses
def test_settings_make_their_loss(name: str) -> None:
    loss = made(name)
    own = {key: value for key, value in LOSSES[name].items() if key != "name"}
    assert {key: loss.get_config()[key] for key in own} == own


def test_the_settings_are_told_apart_by_their_name() -> None:
    read = TypeAdapter(Loss).validate_python
    assert read({"name": "dice"}) == Dice()
    assert read({"name": "focal"}).model_dump() == {"name": "focal", "gamma": 2.0, "alpha": 0.25}
    assert read({"name": "tversky"}).model_dump() == {"name": "tversky", "alpha": 0.3, "beta": 0.7}
    wrong: list[dict[str, Any]] = [
        {},
        {"name": "dise"},
        {"name": "dice", "weight": 0.5},
        {"name": "dice_bce", "weight": 1.0},
        {"name": "focal", "gamma": -1.0},
        {"name": "focal", "alpha": None},
        {"name": "tversky", "alpha": 0.0},
    ]
    for settings_ in wrong:
        with pytest.raises(ValidationError):
            read(settings_)
