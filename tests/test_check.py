"""`cvlab check`: what it tells of configurations that are ready, of those that are not, and that it leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvlab import checkpoint
from cvlab.check import Check, _died
from cvlab.config_file import load_experiment
from cvlab.data.cache_folder import default_cache_dir
from cvlab.memory import Room
from cvlab.preflight import Preflight
from cvlab.preflight_text import Findings
from tests.experiment_fixture import write_toy
from tests.test_memory import GB
from tests.test_segmentation import write_config as write_masks
from tests.test_task_switch import write_shapes

SMALL = "model={name: covid_cnn, depth: 1, head: [{units: 8, batchnorm: true, dropout: 0.1}]}"
ONE_STAGE = "stages=[{name: only, epochs: 2, learning_rate: 1e-3}]"


def preflight(config: Path, *overrides: str) -> Findings:
    """Checks in this process."""
    folder = config.parent / "check"
    folder.mkdir(exist_ok=True)
    found = Preflight(load_experiment(config, overrides), config.parent / "runs", folder).run()
    assert not (config.parent / "runs").exists()
    assert not default_cache_dir().exists() or not [*default_cache_dir().rglob("*.npy")]
    return found


def facts(found: Findings, label: str) -> list[str]:
    return [text for name, text in found.facts if name == label]


@pytest.mark.tensorflow
def test_balanced_classes_then_numbers_over_features_in_mixed_precision(tmp_path: Path) -> None:
    config = write_shapes(tmp_path)
    head = ["stages.1.trainable=head", "stages.1.augment=[]"]
    found = preflight(config, "train.precision=mixed_bfloat16", "data.sampling=balanced", SMALL, *head)
    assert found.problems == []
    assert facts(found, "Device") == ["CPU, mixed_bfloat16, tensorflow backend"]
    assert facts(found, "Data")[1:3] == [
        "60 images in 60 groups; train 36, val 12, test 12",
        "all of them read and decoded",
    ]
    assert facts(found, "Epochs") == [
        "classes: 2 epochs of 5 steps, batch size 8",
        "numbers: 2 epochs of 5 steps, batch size 8",
    ]
    trials = [text for text in facts(found, "Trial") if "outputs" in text]
    assert trials == [
        f"{stage}: a batch of 8 images trained, saved, resumed, reloaded and predicted; outputs are equal"
        for stage in ("classes", "numbers")
    ]
    assert [*(tmp_path / "check" / "cache").rglob("features/*.npy")]
    assert any(re.fullmatch(r"[\d.]+ [GM]B of memory used at most", text) for text in facts(found, "Trial"))
    written = sum(path.stat().st_size for path in (tmp_path / "check").rglob("*.keras"))
    (needed,) = [re.search(r"the run: (\d+) MB at most", text) for text in facts(found, "Disk") if "run" in text]
    assert needed
    assert 0 < int(needed[1]) * 1e6 - written < 25e6


@pytest.mark.tensorflow
def test_masks_with_a_frozen_encoder_and_dropout_injection(tmp_path: Path) -> None:
    stage = "stages=[{name: only, epochs: 2, learning_rate: 1e-3, trainable: head}]"
    found = preflight(write_masks(tmp_path), stage)
    assert found.problems == []
    assert [text for text in facts(found, "Trial") if "outputs are equal" in text]
    assert len([*(tmp_path / "check").rglob("only-after/val/*.png")]) > 5


@pytest.mark.tensorflow
def test_a_checkpoint_that_comes_back_changed_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = checkpoint.save_inference

    def save_another(path: Path, model: Any, state: dict[str, Any]) -> None:
        kept = model.get_weights()
        model.set_weights([value + 0.3 for value in kept])
        save(path, model, state)
        model.set_weights(kept)

    monkeypatch.setattr(checkpoint, "save_inference", save_another)
    (problem,) = preflight(write_shapes(tmp_path), SMALL, ONE_STAGE).problems
    assert "the saved network, read back, predicts something else" in problem


@pytest.mark.tensorflow
def test_a_state_that_is_not_saved_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = checkpoint.save_training

    def forget_the_optimizer(path: Path, model: Any, state: dict[str, Any]) -> None:
        kept = [np.array(variable) for variable in model.optimizer.variables]
        for variable in model.optimizer.variables:
            variable.assign(np.zeros_like(variable))
        save(path, model, state)
        for variable, value in zip(model.optimizer.variables, kept, strict=True):
            variable.assign(value)

    monkeypatch.setattr(checkpoint, "save_training", forget_the_optimizer)
    (problem,) = preflight(write_shapes(tmp_path), SMALL, ONE_STAGE).problems
    assert "could not be resumed exactly: " in problem


@pytest.mark.tensorflow
def test_one_problem_hides_no_other(tmp_path: Path) -> None:
    config = write_toy(tmp_path, tune=True)
    (tmp_path / "data" / "tune").rename(tmp_path / "data" / "gone")
    words = [
        "data.root=nowhere",
        "train.device=gpu:9",
        "stages.0.trainable={from_layer: conv_99}",
        "augment=[{name: Affine, p: 1.0, translate_percent: 0.1}]",
    ]
    found = preflight(config, *words)
    problems = "\n".join(found.problems)
    assert problems.count("there is no such folder") == 2
    assert "train.device: TensorFlow sees no GPU, received 'gpu:9'" in problems
    assert "expected the name of a layer of the backbone, received 'conv_99'" in problems
    assert len(found.problems) == 4
    assert any("is a constant, not a range" in warning for warning in found.warnings)


@pytest.mark.tensorflow
def test_bad_files_and_a_bad_model_are_told_together(tmp_path: Path) -> None:
    config = write_toy(tmp_path)
    next((tmp_path / "data" / "train" / "happy").iterdir()).write_text("no image")
    cache = f"data.cache_dir={config}/cache"
    found = preflight(config, "stages.0.trainable={last_layers: 900}", "evaluate.positive_class=hapy", cache)
    for pattern in ("1 image of 64", "hapy", "900", "toy.yaml: is no folder: decoded images cannot be written there"):
        assert re.search(pattern, "\n".join(found.problems)), pattern


@pytest.mark.tensorflow
def test_a_batch_that_surely_does_not_fit_is_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_toy(tmp_path)
    monkeypatch.setattr("cvlab.shortage.room", lambda: Room(available=GB // 1000, total=GB, limit="memory group"))
    found = preflight(config)
    (problem,) = found.problems
    assert "a step would not fit into memory" in problem
    assert facts(found, "Trial") == []


def test_what_a_check_says() -> None:
    found = Findings(warnings=["odd"], facts=[("Data", "a"), ("Data", "b"), ("Model", "c")], unchecked=["more"])
    assert found.text("Ready.") == (
        "Data        a\n            b\nModel       c\nWARNING: odd\nNot checked: more.\nReady."
    )
    found.problems += ["one\n  of two lines", "two", "two"]
    assert found.without_repetitions().text("Ready.").splitlines()[-4:] == [
        "2 problems, each of which would stop a training:",
        "  - one",
        "      of two lines",
        "  - two",
    ]


def test_the_training_that_was_checked_is_named_as_it_must_be_typed() -> None:
    check = Check(Path("my file.yaml"), ("data.root=a b", "seed=1"), sample=True, parent=Path("/big"), verbose=False)
    assert check.command == "cvlab train 'my file.yaml' 'data.root=a b' seed=1 --sample --run-dir /big"


def test_how_a_check_ended_that_told_nothing() -> None:
    assert _died(1, {}) == "The check itself failed; its error stands above."
    assert _died(-signal.SIGKILL, {}) == "The trial of a batch was ended by SIGKILL."
    assert "ended by SIGSEGV; TensorFlow ends so where memory is refused" in _died(-signal.SIGSEGV, {})
    near = {"peak_bytes": 9 * GB, "limit_bytes": 10 * GB}
    assert "SIGKILL, likely for lack of memory: it had used up to 9.0 GB" in _died(-signal.SIGKILL, near)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_the_command_checks_every_file_and_leaves_nothing(tmp_path: Path) -> None:
    write_toy(tmp_path, identities=6)
    (tmp_path / "typo.yaml").write_text("extends: toy.yaml\nname: typo\ntrain: {batchsize: 3}\n")
    (tmp_path / "tmp").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "cvlab", "check", "typo.yaml", "toy.yaml", "none.yaml", SMALL],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp"), "CVLAB_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr == ""
    assert "typo.yaml:3: train.batchsize: unknown key; did you mean 'batch_size'?" in done.stdout
    assert "none.yaml: there is no such file" in done.stdout
    assert "outputs are equal" in done.stdout
    assert f"Ready to train: cvlab train toy.yaml '{SMALL}'\n" in done.stdout
    assert done.stdout.endswith("1 of 3 configurations ready to train.\n")
    assert sorted(tmp_path.rglob("*")) == before
