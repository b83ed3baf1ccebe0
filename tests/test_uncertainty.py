"""Dropout injection: the trained network stays as it is, passes are reproducible, and whole runs with it."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score

from cvlab import checkpoint
from cvlab.config import DropoutInjection, EvaluateConfig
from cvlab.config_file import load_experiment
from cvlab.console import Console
from cvlab.data.decoded import DecodedSamples
from cvlab.data.samples import new_table
from cvlab.errors import ConfigError
from cvlab.evaluation_uncertainty import UncertaintyStep
from cvlab.experiment import evaluate
from cvlab.metrics.classification import read_predictions
from cvlab.metrics.uncertainty import gaussian_losses
from cvlab.metrics.uncertainty_metrics import uncertainty_metrics
from cvlab.metrics.uncertainty_table import ClassUncertainty, MaskUncertainty, RegressionUncertainty
from cvlab.run_folder import RunFolder, read_json, write_json
from cvlab.tasks.segmentation import mask_path
from cvlab.uncertainty import RATES, InjectedNetwork, Reading, best_rate, chosen_layers, rate_losses, uncertain
from cvlab.uncertainty_kinds import read_map
from tests.config_fixture import changed, problems_of
from tests.experiment_fixture import write_toy
from tests.test_experiment import request, run_toy
from tests.test_models import images, network, stage
from tests.test_task_switch import write_shapes

pytestmark = pytest.mark.tensorflow

MODEL = "model={name: covid_cnn, depth: 2, head: [{units: 8}]}"
NUMBERS = Reading(False, np.asarray, lambda found, truth: gaussian_losses(truth, found.mean, found.variance))


def vggnet() -> Any:
    """BatchNorm, GaussianDropout and Dropout in it, none of which a prediction may stir."""
    return network("vggnet", width=0.25, dense_units=[16]).connect(stage())


def unet() -> Any:
    """An encoder with two outputs and a decoder that is a model in the head."""
    import keras
    from keras import layers

    inside = keras.Input((16, 16, 3))
    skip = layers.Conv2D(4, 3, padding="same", activation="relu", name="down1")(inside)
    bridge = layers.Conv2D(6, 3, padding="same", activation="relu", name="down2")(layers.MaxPooling2D()(skip))
    backbone = keras.Model(inside, [skip, bridge], name="backbone")
    levels = [keras.Input(tensor.shape[1:]) for tensor in (skip, bridge)]
    up = layers.Concatenate()([levels[0], layers.Conv2DTranspose(4, 2, strides=2, name="up")(levels[1])])
    decoder = keras.Model(levels, layers.Dropout(0.5)(layers.Conv2D(4, 3, padding="same", name="up_conv")(up)))
    decoder.name = "decoder"
    image = keras.Input((16, 16, 3), name="image")
    scaled = layers.Rescaling(1 / 255, dtype="float32")(image)
    output = layers.Conv2D(1, 1, activation="sigmoid", name="output")(decoder(backbone(scaled, training=False)))
    return keras.Model(image, output)


def linear(weights: list[float]) -> Any:
    """One dense layer without bias behind pixels."""
    import keras

    image = keras.Input((1, len(weights), 1))
    model = keras.Model(image, keras.layers.Dense(1, use_bias=False, name="output")(keras.layers.Flatten()(image)))
    model.layers[-1].set_weights([np.array(weights, dtype=np.float32)[:, None]])
    return model


def passes(injected: InjectedNetwork, batch: np.ndarray, **settings: Any) -> np.ndarray:
    settings = {"rate": 0.3, "samples": 3, "seed": (1, 2), **settings}
    return np.stack([*injected.passes(injected.features(batch), **settings)])


@pytest.mark.parametrize("layers", ["head", "all", ["backbone/conv2d_1", "dense"]])
def test_the_trained_network_stays_bit_for_bit_as_it_is(layers: Any) -> None:
    import keras

    keras.utils.clear_session()
    model = unet() if layers == "all" else vggnet()
    batch = images(5, size=model.input_shape[1])
    before, weights = model.predict(batch, verbose=0), [value.copy() for value in model.get_weights()]
    names = [layer.name for layer in model.layers]
    found = passes(InjectedNetwork.of(model, layers), batch)
    assert all((one != other).any() for one, other in zip(found, [*found[1:], before], strict=True))
    np.testing.assert_array_equal(model.predict(batch, verbose=0), before)
    assert names == [layer.name for layer in model.layers]
    for value, kept in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(value, kept)


@pytest.mark.parametrize("make", [vggnet, unet])
def test_without_a_rate_the_injected_network_is_the_trained_one(make: Any) -> None:
    model = make()
    batch = images(4, size=model.input_shape[1])
    nothing = passes(InjectedNetwork.of(model, "all"), batch, rate=0.0)
    np.testing.assert_allclose(nothing, np.broadcast_to(model.predict(batch, verbose=0), nothing.shape), atol=1e-6)


def test_layers_are_those_that_the_setting_means() -> None:
    model = unet()
    head = ("decoder/up", "decoder/up_conv", "output")
    assert (*chosen_layers(model, "head"),) == head
    assert (*chosen_layers(model, "all"),) == ("backbone/down1", "backbone/down2", *head)
    assert (*chosen_layers(model, ["output", "backbone/down2", "up"]),) == ("backbone/down2", "decoder/up", "output")
    injected = InjectedNetwork.of(model, "head")
    assert injected.layers == head
    # What the encoder gives is computed once for all passes.
    assert injected.below is not None
    assert {tensor.shape[1:] for tensor in injected.below.outputs} == {(16, 16, 4), (8, 8, 6)}


def test_unknown_layers_are_all_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        InjectedNetwork.of(unet(), ["outptu", "output", "zebra"])
    where = "evaluate.dropout_injection.layers: expected names of layers as in model.json, received"
    assert caught.value.problems == [f"{where} 'outptu'; did you mean 'output'?", f"{where} 'zebra'."]


def test_passes_depend_on_seed_and_number_alone() -> None:
    injected, batch = InjectedNetwork.of(unet(), "all"), images(4, size=16)
    first = passes(injected, batch, samples=4)
    np.testing.assert_array_equal(passes(injected, batch, samples=2), first[:2])
    assert (passes(injected, batch, seed=(1, 3)) != first[:3]).any()
    assert len({one.tobytes() for one in first}) == 4


def test_moments_are_those_of_dropout() -> None:
    """Of a sum of w x with dropout p the mean is sum[w x] and the variance sum[(w x)^2] p / (1 - p)."""
    weights, pixels = np.array([1.0, -2.0, 0.5, 3.0]), np.array([1.0, 2.0, 4.0, 1.0])
    injected = InjectedNetwork.of(linear(weights.tolist()), "all")
    batch = np.tile(pixels[None, None, :, None], (4000, 1, 1, 1))
    outputs = passes(injected, batch, rate=0.2, samples=5)
    np.testing.assert_allclose(outputs.mean(), (weights * pixels).sum(), atol=0.05)
    np.testing.assert_allclose(outputs.var(), ((weights * pixels) ** 2).sum() * 0.25, rtol=0.05)


def test_small_rates_are_kept_in_low_precision() -> None:
    import keras

    from cvlab.models.injected_dropout import InjectedDropout

    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        layer = InjectedDropout(keras.Variable(0.002, dtype="float32"), keras.random.SeedGenerator(0))
        dropped = np.asarray(layer(keras.ops.ones((1000, 1000), dtype="bfloat16"))) == 0
    finally:
        keras.config.set_dtype_policy(before)
    assert 0.0018 < dropped.mean() < 0.0022


def test_rate_and_scale_are_those_of_the_passes_computed_by_hand() -> None:
    """The negative log-likelihood of every rate of the grid, summed in plain Python from the passes themselves."""
    rng = np.random.default_rng(0)
    model, seed, samples = linear([1.0, -0.5, 2.0, 1.5, -1.0, 0.5]), (7, 1), 6
    batches = [
        (rng.uniform(1, 2, (count, 1, 6, 1)).astype(np.float32), rng.normal(4, 1, (count, 1))) for count in (3, 2)
    ]
    injected = InjectedNetwork.of(model, ["output"])
    found = rate_losses(injected, batches, NUMBERS, samples=samples, seed=seed)
    assert [*found] == [*RATES]
    for rate, cell in found.items():
        losses = []
        for number, (batch, truth) in enumerate(batches):
            outputs = passes(injected, batch, rate=rate, samples=samples, seed=(*seed, number))[..., 0]
            for values, (y,) in zip(outputs.T.astype(float).tolist(), truth.tolist(), strict=True):
                mean = sum(values) / samples
                variance = sum((value - mean) ** 2 for value in values) / samples
                known = 0.5 * np.log(variance) + 0.5 * (y - mean) ** 2 / variance if variance else np.inf
                losses.append(known)
        expected = sum(losses) / len(losses)
        if np.isfinite(expected):
            assert cell["value"] == pytest.approx(expected, abs=1e-9)
        else:
            assert cell["value"] is None
    defined = {rate: cell["value"] for rate, cell in found.items() if cell["value"] is not None}
    # So few values are rarely dropped at the lowest rates: no variance, no likelihood.
    assert found[0.001]["value"] is None
    assert best_rate(found) == min(defined, key=lambda rate: defined[rate])
    assert best_rate({0.1: {"value": None, "reason": "x"}}) is None
    moments = [one for one, _ in uncertain(injected, batches, NUMBERS, rate=0.5, samples=samples, seed=seed)]
    assert [len(one.mean) for one in moments] == [3, 2]


def masked(count: int) -> DecodedSamples:
    """Bright discs on noise with their masks."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:16, :16]
    centres = rng.uniform(4, 12, (count, 2))
    masks = np.stack([(rows - row) ** 2 + (columns - column) ** 2 < 12 for row, column in centres]).astype(np.uint8)
    pixels = (rng.integers(0, 90, (count, 16, 16, 3)) + 160 * masks[..., None]).astype(np.uint8)
    # With `.png` behind it, the last name would be too long for a file.
    names = [f"brains/p{number}/slice#flip {number}.tif" for number in range(count - 1)] + [f"brains/{'x' * 250}"]
    table = new_table(names, [Path("/") / name for name in names], names, {}, split=["val"] * count)
    return DecodedSamples(table, pixels, np.arange(count), masks, np.arange(count))


def test_masks_become_counts_means_maps_and_a_picture(tmp_path: Path) -> None:
    model, samples, run = unet(), masked(5), RunFolder(tmp_path / "run")
    (tmp_path / "c.yaml").write_text(changed(("batch_size: 40", "batch_size: 3")))
    experiment = load_experiment(tmp_path / "c.yaml", ["evaluate.threshold=dice"])
    write_json(run.operating_point, {"threshold": 0.95})
    # What is neither a classification nor a regression has masks.
    task: Any = object()
    settings = DropoutInjection(layers="head", samples=4, rate=0.4)
    step = UncertaintyStep(run, experiment, task, False, Console(io.StringIO()), settings)
    step.evaluate(model, {"val": samples}, lambda: samples)
    point = read_json(run.operating_point)
    assert {*point} == {"threshold", "dropout_injection"}
    assert point["threshold"] == 0.95
    table = MaskUncertainty.read(run.uncertainty("val"))

    injected, seed = InjectedNetwork.of(model, "head"), (experiment.seed, *b"val")
    parts = [passes(injected, samples.images[part], rate=0.4, samples=4, seed=(*seed, number))
             for number, part in enumerate((slice(3), slice(3, 5)))]  # fmt: skip
    outputs = np.concatenate(parts, axis=1)[..., 0].astype(float)
    assert samples.masks is not None
    mean, truth = outputs.mean(axis=0), samples.masks == 1
    # The threshold of the trained network's masks would not fit the means of the passes: they have one of their own.
    scores = {step / 20: f1_score(truth.ravel(), mean.ravel() >= step / 20) for step in range(1, 20)}
    threshold = point["dropout_injection"]["threshold"]
    assert scores[threshold] == max(scores.values()) > scores[0.95]
    tp = ((mean >= threshold) & truth).sum(axis=(1, 2))
    np.testing.assert_array_equal(table.counts[:, 0], tp)
    np.testing.assert_array_equal(table.counts[:, 0] + table.counts[:, 2], truth.sum(axis=(1, 2)))
    np.testing.assert_array_equal(table.counts.sum(axis=1), [256] * 5)
    np.testing.assert_allclose(table.nll, -np.log(np.where(truth, mean, 1 - mean)).mean(axis=(1, 2)), atol=1e-9)
    entropy = -(mean * np.log(mean) + (1 - mean) * np.log(1 - mean))
    np.testing.assert_allclose(table.entropy, entropy.mean(axis=(1, 2)), atol=1e-9)
    of_passes = -(outputs * np.log(outputs) + (1 - outputs) * np.log(1 - outputs)).mean(axis=0)
    np.testing.assert_allclose(table.mutual_information, (entropy - of_passes).mean(axis=(1, 2)), atol=1e-9)
    folder = run.uncertainty("val").with_suffix("")
    for name, one in zip(table.sample_id, entropy, strict=True):
        np.testing.assert_allclose(read_map(mask_path(folder, name)), one / np.log(2), atol=0.5 / 255 + 1e-6)
    with Image.open(run.uncertain_masks) as picture:
        assert picture.width > 500


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    """A finished run of two classes without dropout injection."""
    folder = tmp_path_factory.mktemp("classes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVLAB_CACHE_DIR", str(folder / "cache"))
        settings = ("task.output=sigmoid", "data.classes=[happy, anger]", "stages.0.epochs=1", "augment=[]", MODEL)
        split = "data.split={train: 0.4, val: 0.3, test: 0.3}"
        yield run_toy(
            write_toy(folder, identities=14), *settings, split, "evaluate.threshold=youden", parent=folder / "runs"
        )


def with_injection(finished: RunFolder, folder: Path, setting: str) -> RunFolder:
    """Evaluates a copy of a run with dropout injection."""
    run = RunFolder(Path(shutil.copytree(finished.path, folder / "copy")))
    text = run.config.read_text()
    assert "dropout_injection: null" in text
    run.config.write_text(text.replace("dropout_injection: null", f"dropout_injection: {setting}"))
    evaluate(run, request(), split=None, folder=None)
    return run


def tables(run: RunFolder) -> dict[str, bytes]:
    folder = run.predictions("test").parent
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.csv"))}


def test_a_run_of_classes_keeps_its_predictions_and_gets_uncertainties(classified: RunFolder, tmp_path: Path) -> None:
    assert not classified.uncertainty("test").parent.exists()
    run = with_injection(classified, tmp_path, "{layers: head, samples: 4, rate: auto}")
    assert tables(run) == tables(classified)
    assert run.metrics.read_bytes() == classified.metrics.read_bytes()
    point, plain = read_json(run.operating_point), read_json(classified.operating_point)
    chosen = point.pop("dropout_injection")
    assert point == plain
    assert (chosen["layers"], chosen["samples"], chosen["rule"]) == ("head", 4, "auto")
    assert [tried["rate"] for tried in chosen["nll"]] == [*RATES]
    assert chosen["rate"] == min(chosen["nll"], key=lambda tried: tried["value"])["rate"]
    val = ClassUncertainty.read(run.uncertainty("val"))
    best = min(tried["value"] for tried in chosen["nll"])
    assert uncertainty_metrics(val)["nll"]["value"] == pytest.approx(best, abs=1e-12)
    test = ClassUncertainty.read(run.uncertainty("test"))
    np.testing.assert_array_equal(test.sample_id, read_predictions(run.predictions("test")).sample_id)
    np.testing.assert_array_equal(test.target, read_predictions(run.predictions("test")).target)
    np.testing.assert_allclose(test.mean.sum(axis=1), 1, atol=1e-12)
    assert read_json(run.uncertainty_metrics)["splits"]["test"] == uncertainty_metrics(test)
    assert {path.name for path in run.uncertainty("test").parent.iterdir()} == {"val.csv", "test.csv", "metrics.json"}

    before = {path: path.read_bytes() for path in (run.operating_point, run.uncertainty("test"))}
    run.uncertainty("test").unlink()
    evaluate(run, request(), split="test", folder=None)
    assert before == {path: path.read_bytes() for path in before}


def test_a_layer_that_is_not_there_stops_the_evaluation_with_its_name(classified: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"layers: .* received 'outputs'; did you mean 'output'\?"):
        with_injection(classified, tmp_path, "{layers: [outputs], samples: 2, rate: 0.1}")


def test_a_run_of_numbers_is_scaled_on_validation_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVLAB_CACHE_DIR", str(tmp_path / "cache"))
    stages = "stages=[{name: numbers, epochs: 1, learning_rate: 1e-3}]"
    task = "task={name: regression, loss: {name: huber}}"
    setting = "evaluate.dropout_injection={layers: all, samples: 5, rate: 0.1}"
    data = write_shapes(tmp_path / "data", images=40)
    run = run_toy(data, task, stages, "augment=[]", MODEL, setting, parent=tmp_path / "runs")
    point = read_json(run.operating_point)
    assert [*point] == ["dropout_injection"]
    chosen = point["dropout_injection"]
    assert (chosen["rate"], chosen["rule"]) == (0.1, 0.1)
    assert "nll" not in chosen
    val = RegressionUncertainty.read(run.uncertainty("val"))
    # Behind the scale of validation, its own squared deviations have the mean 1.
    deviations = (val.target - val.mean) ** 2 / val.variance
    np.testing.assert_allclose(deviations.mean(axis=0), 1, atol=1e-9)
    assert {*chosen["scale"]} == {"x", "y"}
    with run.predictions("val").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["target:x"] for row in rows] == [repr(value) for value in val.target[:, 0].tolist()]
    report = run.report.read_text()
    assert "\n## Uncertainty by dropout injection\n" in report
    assert "given by the configuration" in report
    assert (run.plots / "interval_coverage_1_x.png").is_file()
    assert_without_variance_nothing_is_made_up(run)


def assert_without_variance_nothing_is_made_up(run: RunFolder) -> None:
    """Weights of 0 give the same number in every pass, whatever is dropped."""
    model = checkpoint.load_model(run.best)
    model.get_layer("output").set_weights([0 * value for value in model.get_layer("output").get_weights()])
    checkpoint.save_inference(run.best, model, {})
    text = run.config.read_text()
    run.config.write_text(text.replace("samples: 5", "samples: 2").replace("rate: 0.1", "rate: auto"))
    output = io.StringIO()
    evaluate(run, request(output), split="val", folder=None)
    reason = "the negative log-likelihood of val is undefined at every rate: infinite: the variance is 0"
    assert reason in output.getvalue().replace("\n", " ")
    chosen = read_json(run.operating_point)["dropout_injection"]
    assert chosen["rate"] is None
    assert reason in chosen["reason"]
    assert not run.uncertainty("val").exists()


LAYERS = "dropout_injection.layers: expected 'head', 'all' or a list of names of layers, each once, received"
RATE = "dropout_injection.rate: expected 'auto' or a number above 0 and below 1, received"


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{layers: heads}", f"{LAYERS} 'heads'; did you mean 'head'?"),
        ("{layers: []}", f"{LAYERS} []"),
        ("{layers: [a, a]}", f"{LAYERS} ['a', 'a']"),
        ("{rate: best}", f"{RATE} 'best'"),
        ("{rate: 1.0}", f"{RATE} 1.0"),
        ("{rate: true}", f"{RATE} true"),
        ("{samples: 1}", "dropout_injection.samples: expected at least 2, received 1"),
        ("{sample: 30}", "dropout_injection.sample: unknown key; did you mean 'samples'?"),
        ("head", "dropout_injection: expected a mapping with the keys layers, samples, rate or null, received 'head'"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, written: str, problem: str) -> None:
    text = changed(("{top_k: 3}", f"{{dropout_injection: {written}}}"))
    (found,) = problems_of(tmp_path / "c.yaml", text)
    assert found.rstrip(".") == f"c.yaml:28: evaluate.{problem}"


def test_settings_as_they_are_written(tmp_path: Path) -> None:
    for written, layers in (("{}", "head"), ("{layers: [output, backbone/conv2d]}", ["output", "backbone/conv2d"])):
        (tmp_path / "c.yaml").write_text(changed(("{top_k: 3}", f"{{dropout_injection: {written}}}")))
        settings = load_experiment(tmp_path / "c.yaml").evaluate.dropout_injection
        assert settings == DropoutInjection(layers=layers, samples=30, rate="auto")
    assert EvaluateConfig().dropout_injection is None


JAX = """
import keras, numpy as np
assert keras.backend.backend() == "jax"
from tests.test_uncertainty import images, passes, unet
from cvlab.uncertainty import InjectedNetwork
model, batch = unet(), images(2, size=16)
before = model.predict(batch, verbose=0)
injected = InjectedNetwork.of(model, "head")
first = passes(injected, batch)
assert (first[0] != first[1]).any()
assert (passes(injected, batch) == first).all()
assert np.abs(passes(injected, batch, rate=0.0) - before).max() < 1e-6
assert (model.predict(batch, verbose=0) == before).all()
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_it_works_under_jax() -> None:
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run([sys.executable, "-c", JAX], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
