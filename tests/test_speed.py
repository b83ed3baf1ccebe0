"""What a training waited for: measured step by step, and said with the setting to change."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvlab.data.augment import Augmenter
from cvlab.experiment import train
from cvlab.speed import verdict, waiting_share
from tests.experiment_fixture import write_toy
from tests.test_experiment import request

CPU: dict[str, Any] = {"augmented": True, "precision": "float32", "device": "CPU", "backend": "tensorflow"}


def epochs(*pairs: tuple[float | None, float]) -> list[dict[str, Any]]:
    return [{"waiting": share, "seconds": seconds} for share, seconds in pairs]


def test_epochs_count_by_their_time_and_those_without_a_measure_do_not() -> None:
    assert waiting_share(epochs((0.5, 1.0), (0.1, 3.0), (None, 100.0))) == pytest.approx(0.2)
    assert waiting_share(epochs((None, 2.0))) is None
    assert waiting_share([{"seconds": 3.0}]) is None
    assert verdict([], **CPU) == ""


def test_the_verdict_names_the_setting_to_change() -> None:
    waiting, working = epochs((0.34, 2.0)), epochs((0.02, 2.0))
    assert verdict(waiting, **CPU).startswith("Input-bound: 34% of the time of the steps went to waiting for images.")
    assert "`augment`" in verdict(waiting, **CPU)
    assert "`data.cache_dir`" in verdict(waiting, **{**CPU, "augmented": False})
    assert verdict(working, **CPU).startswith("Compute-bound: 2% of the time of the steps")
    assert "`train.precision=mixed_bfloat16`" in verdict(working, **CPU)
    assert "a GPU" in verdict(working, **CPU)
    assert "precision" not in verdict(working, **{**CPU, "device": "cpu", "backend": "jax"})
    on_gpu = verdict(
        working, augmented=True, precision="mixed_bfloat16", device="GPU 0 (NVIDIA H200)", backend="tensorflow"
    )
    assert "a GPU" not in on_gpu
    assert "precision" not in on_gpu


@pytest.mark.tensorflow
def test_slow_images_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_toy(tmp_path, identities=8)
    plain = Augmenter.__call__

    def slow(self: Augmenter, images: np.ndarray, **options: Any) -> Any:
        time.sleep(0.15)
        return plain(self, images, **options)

    monkeypatch.setattr(Augmenter, "__call__", slow)
    run = train(config, ["stages.0.epochs=1"], request(), sample=False, parent=tmp_path / "runs")
    (epoch,) = map(json.loads, run.history.read_text().splitlines())
    assert 0.5 < epoch["waiting"] <= 1
    assert "Input-bound" in run.log.read_text()
    assert "\n\nInput-bound: " in run.report.read_text()
