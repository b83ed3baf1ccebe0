"""The same experiments under JAX: trained, killed and resumed, and opened by the other backend."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.experiment_fixture import write_toy
from tests.faults.kill_and_resume import differences, run_through, start

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed"),
]

PREDICT = """
import sys
import keras
import numpy as np
backend, images, outputs, *checkpoints = sys.argv[1:]
assert keras.backend.backend() == backend
models = [keras.saving.load_model(path, compile=False, safe_mode=True) for path in checkpoints]
np.save(outputs, [model.predict(np.load(images), verbose=0) for model in models])
"""


@pytest.fixture(scope="module")
def jax_chosen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Chooses JAX for every process started here; what one of them has compiled, the next ones load."""
    folder = tmp_path_factory.mktemp("jax")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "jax")
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
        patch.setenv("JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        yield folder


@pytest.fixture(scope="module")
def whole(jax_chosen: Path) -> tuple[Path, Path, Path]:
    """Folder, configuration and run folder of an uninterrupted training of two stages."""
    config = write_toy(jax_chosen, identities=5, tune=True)
    # The last batch of an epoch is smaller.
    config.write_text(config.read_text().replace("batch_size: 4", "batch_size: 5"))
    return jax_chosen, config, run_through(config, jax_chosen)


def test_two_stages_are_trained_evaluated_and_reported(whole: tuple[Path, Path, Path]) -> None:
    run = whole[2]
    assert json.loads((run / "status.json").read_text())["status"] == "done"
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [epoch["stage"] for epoch in epochs] == ["train", "train", "tune"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"train", "val", "test", "tune-after/test"} <= set(metrics)
    assert (run / "report.md").is_file()
    environment = json.loads((run / "environment.json").read_text())
    assert environment["backend"] == "jax"
    assert environment["versions"]["jax"]


def test_the_same_seed_gives_the_same_bits_even_if_killed_within_an_epoch(whole: tuple[Path, Path, Path]) -> None:
    folder, config, run = whole
    at_every_step = "train.save_every_minutes=1e-5"
    process = start(str(config), at_every_step, "--run-dir", str(folder / "killed"), folder=folder)
    while not reached(folder / "killed", epoch=1, step=2):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    (killed,) = (folder / "killed").glob("toy/*")
    resumed = start("--resume", str(killed), folder=folder)
    assert resumed.wait() == 0
    assert differences(run, killed) == []
    assert "after epoch 1, step" in (folder / "output.txt").read_text()


def reached(parent: Path, *, epoch: int, step: int) -> bool:
    for path in parent.glob("toy/*/status.json"):
        status = json.loads(path.read_text())
        return bool(status.get("epoch") == epoch and status.get("step", 0) >= step)
    return False


def predictions(backend: str, checkpoints: list[Path], images: Path) -> np.ndarray:
    """The outputs of saved models, opened by a backend in a process of its own, without cvlab."""
    outputs = images.with_name(f"{backend}.npy")
    command = [sys.executable, "-c", PREDICT, backend, *map(str, (images, outputs, *checkpoints))]
    subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}, check=True, capture_output=True)
    result: np.ndarray = np.load(outputs)
    return result


def test_the_best_weights_of_one_backend_predict_the_same_under_the_other(
    whole: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, config, run = whole
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    one_stage = "stages=[{name: train, epochs: 1, learning_rate: 5e-3}]"
    assert start(str(config), one_stage, "--run-dir", str(tmp_path), folder=folder).wait() == 0
    (other,) = (tmp_path / "toy").iterdir()
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8))
    best = [path / "checkpoints" / "best.keras" for path in (run, other)]
    jax, tensorflow = (predictions(backend, best, images) for backend in ("jax", "tensorflow"))
    assert np.ptp(jax, axis=1).max(axis=1).min() > 0.001
    assert np.abs(jax[0] - jax[1]).max() > 0.001
    np.testing.assert_allclose(jax, tensorflow, rtol=0, atol=1e-5)


def test_a_backend_that_cannot_be_used_is_an_error_that_says_so(tmp_path: Path) -> None:
    config = write_toy(tmp_path, identities=5)
    command = [sys.executable, "-m", "cvlab", "train", str(config)]
    done = subprocess.run(
        command, env={**os.environ, "KERAS_BACKEND": "jaxx"}, cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "KERAS_BACKEND: expected 'tensorflow' or 'jax', received 'jaxx'; did you mean 'jax'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
