"""Features of a frozen backbone, computed once: the same result as the whole network in every step, sooner."""

from __future__ import annotations

import io
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvlab.experiment import evaluate, resume, train
from cvlab.run_folder import RunFolder, read_json
from tests.experiment_fixture import write_toy
from tests.faults.kill_and_resume import arrays, differences, run_through, run_with_kills
from tests.test_experiment import request

pytestmark = pytest.mark.tensorflow

# Its backbone has BatchNorm and dropout, which a frozen backbone must not use as in training.
MODEL = """model:
  name: covid_cnn
  depth: 3
  head: [{units: 12, batchnorm: true, dropout: 0.3}, {units: 6, activation: tanh, dropout: 0.1}]
"""
STAGES = """stages:
  - {name: fit, epochs: 1, learning_rate: 1e-3}
  - {name: head, epochs: 3, learning_rate: 1e-2, trainable: head, reduce_lr: {factor: 0.5, patience: 1}}
"""


def write_config(folder: Path, *, stages: str = STAGES, model: str = MODEL) -> Path:
    """A toy experiment without augmentation, whose training images become two samples each."""
    config = write_toy(folder, identities=6)
    text = config.read_text()
    text = text[: text.index("augment:")] + text[text.index("model:") :]
    text = text[: text.index("stages:")] + stages
    lines = [model.rstrip() if line.startswith("model:") else line for line in text.splitlines()]
    config.write_text("\n".join(lines).replace("  sample: emotion", "  sample: emotion\n  expand: [identity, flip]"))
    return config


def history(run: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.history.read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder, RunFolder, str]:
    """The configuration, its run with cached features, without, and what the first one said."""
    folder = tmp_path_factory.mktemp("features")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVLAB_CACHE_DIR", str(folder / "cache"))
        config, said = write_config(folder), io.StringIO()
        cached = train(config, [], request(said), sample=False, parent=folder / "cached")
        plain = train(config, ["train.cache_features=false"], request(), sample=False, parent=folder / "plain")
        return config, cached, plain, said.getvalue()


def test_the_curves_and_weights_are_those_of_the_whole_network(runs: tuple[Path, RunFolder, RunFolder, str]) -> None:
    _, cached, plain, said = runs
    assert "Stage 'head': the backbone is frozen and the images are not augmented" in said
    assert said.count("computed once") == 1
    assert "Stage 'head': 24," in said
    first, second = history(cached), history(plain)
    assert [record.get("features") for record in first] == [None, *["computed once"] * 3]
    assert not any("features" in record for record in second)
    for one, other in zip(first, second, strict=True):
        for key in ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate"):
            assert one[key] == pytest.approx(other[key], rel=1e-4), key
    weights, others = (arrays(run.best) for run in (cached, plain))
    assert weights.keys() == others.keys()
    for key, value in weights.items():
        np.testing.assert_allclose(value, others[key], rtol=1e-3, atol=1e-4, err_msg=key)


def test_what_is_saved_is_the_whole_network_with_the_optimizer_of_the_head(
    runs: tuple[Path, RunFolder, RunFolder, str],
) -> None:
    import keras

    _, cached, plain, _ = runs
    names = [{key for key in arrays(run.last) if "optimizer" in key} for run in (cached, plain)]
    assert names[0] == names[1]
    assert len(names[0]) > 10
    model = keras.saving.load_model(cached.best)
    assert model.input_shape == (None, 32, 32, 3)
    assert read_json(cached.model) == read_json(plain.model)


def test_features_are_read_back_by_the_next_run_with_another_head(
    runs: tuple[Path, RunFolder, RunFolder, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, cached, _, _ = runs
    monkeypatch.setenv("CVLAB_CACHE_DIR", str(config.parent / "cache"))
    folder = config.parent / "cache" / "features"
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert len(before) == 1
    again = train(config, [], request(), sample=False, parent=config.parent / "again")
    assert differences(cached.path, again.path) == []
    one_stage = "stages=[{name: head, epochs: 1, learning_rate: 1e-2, trainable: head}]"
    for units in (4, 3):
        words = [one_stage, f"model.head=[{{units: {units}}}]"]
        train(config, words, request(), sample=False, parent=config.parent / "other")
    assert len({*folder.glob("*.npy")} - before.keys()) == 1


def test_the_name_of_features_holds_all_that_they_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from cvlab import features
    from cvlab.data.cache import IMAGES
    from tests.test_models import network, stage

    def name(net: Any, keys: list[tuple[str, str]], *made_with: str | int) -> str:
        return features._name(net, keys, made_with)

    net = network("covid_cnn", depth=2)
    net.connect(stage(trainable="head"))
    keys = [("a", ""), ("b", "flip")]
    names = {name(net, keys, "CPU", 8), name(net, keys[:1], "CPU", 8), name(net, keys, "GPU", 8)}
    names |= {name(net, [("a", ""), ("b", "")], "CPU", 8), name(net, keys, "CPU", 9)}
    for weight in net.backbone.weights:
        before = weight.numpy()
        weight.assign(before + 1)
        names.add(name(net, keys, "CPU", 8))
        weight.assign(before)
    other = network("covid_cnn", depth=2, preprocessing="tf")
    other.backbone.set_weights(net.backbone.get_weights())
    names.add(name(other, keys, "CPU", 8))
    with monkeypatch.context() as patch:
        patch.setattr(features, "IMAGES", replace(IMAGES, version=-1))
        names.add(name(net, keys, "CPU", 8))
    assert len(names) == 7 + len(net.backbone.weights)
    assert name(net, keys, "CPU", 8) in names


def test_augmentation_rules_it_out_and_the_log_says_so(
    runs: tuple[Path, RunFolder, RunFolder, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, said = runs[0], io.StringIO()
    monkeypatch.setenv("CVLAB_CACHE_DIR", str(config.parent / "cache"))
    overrides = ["augment=[{name: HorizontalFlip, p: 0.5}]", "stages.1.epochs=1"]
    run = train(config, overrides, request(said), sample=False, parent=config.parent / "augmented")
    assert "features cannot be computed once, since the images are augmented" in " ".join(said.getvalue().split())
    assert not any("features" in record for record in history(run))


def test_a_run_stopped_after_the_frozen_stage_began_evaluates_and_goes_on(
    runs: tuple[Path, RunFolder, RunFolder, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = runs[0]
    monkeypatch.setenv("CVLAB_CACHE_DIR", str(config.parent / "cache"))
    short = train(config, ["stages.1.epochs=2"], request(), sample=False, parent=config.parent / "short")
    # The features are made again from the weights that the stage began with, not from the first ones.
    for path in (config.parent / "cache" / "features").iterdir():
        path.unlink()
    longer = resume(short, ["stages.1.epochs=3"], request())
    evaluate(longer, request(), split=None, folder=None)
    for one, other in zip(history(longer), history(runs[1]), strict=True):
        assert one["val_loss"] == other["val_loss"]
    assert all(np.array_equal(value, arrays(runs[1].best)[key]) for key, value in arrays(longer.best).items())


@pytest.mark.slow
def test_killed_and_resumed_over_features_it_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    model = "model: {name: alexnet, width: 0.25, dense_units: [16], dropout: 0.2}"
    config = write_config(tmp_path, model=model, stages=STAGES.replace("epochs: 3", "epochs: 15"))
    whole = run_through(config, tmp_path)
    killed = run_with_kills(config, tmp_path, kills=2, seed=1, number=signal.SIGKILL)
    assert differences(whole, killed) == []
