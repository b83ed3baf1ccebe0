"""A finished run of a regression, made of numbers alone: what training and evaluation would leave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.metrics.regression import predictions_csv
from cvlab.run_folder import RunFolder, write_text
from tests.report_fixture import write_records

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
SKILLS = {"train": 0.75, "train-augmented": 0.72, "val": 0.65, "test": 0.62}

Values = NDArray[np.float64]


def fake_truth(samples: int, targets: int, seed: int) -> Values:
    """Truth (samples, targets) in -1..1, a little above 0 on average, two decimals."""
    raw = np.random.default_rng(seed).normal([0.15] * targets, 0.42, (samples, targets))
    return np.asarray(np.round(np.clip(raw, -1, 1), 2), dtype=np.float64)


def fake_predictions(truth: Values, skill: float, seed: int) -> NDArray[np.float32]:
    """Predictions that follow the truth by `skill` and are drawn to its mean, as a network's are."""
    noise = np.random.default_rng(seed).normal(scale=0.3, size=truth.shape)
    return np.asarray(skill * truth + (1 - skill) * (0.15 + noise), dtype=np.float32)


def write_table(path: Path, truth: Values, predicted: NDArray[Any], names: Sequence[str]) -> None:
    ids = [f"faces/{path.stem}_{number:04d}.jpg" for number in range(len(truth))]
    groups = [f"person_{number // 3}" for number in range(len(truth))]
    write_text(path, predictions_csv(ids, groups, truth, predicted, names))


def fake_history(stages: Sequence[str], epochs: int = 12) -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    lines: list[dict[str, Any]] = []
    for stage in stages:
        lowest = np.inf
        for epoch in range(1, epochs + 1):
            step = len(lines) + 1
            rmse = 0.3 * np.exp(-step / 9) + 0.12 + 0.004 * rng.normal()
            val_rmse = 0.2 * np.exp(-step / 6) + 0.2 + 0.002 * step + 0.006 * rng.normal()
            lines.append(
                {
                    "stage": stage,
                    "epoch": epoch,
                    "learning_rate": 1e-3,
                    "seconds": 10.0,
                    "images_per_second": 100.0,
                    "loss": float(rmse**2),
                    "rmse": float(rmse),
                    "val_loss": float(val_rmse**2),
                    "val_rmse": float(val_rmse),
                    "val_ccc": float(1 - 1.6 * val_rmse),
                    "best": bool(val_rmse < lowest),
                }
            )
            lowest = min(lowest, val_rmse)
    return lines


def fake_regression_run(
    parent: Path,
    *,
    names: tuple[str, ...] = ("valence", "arousal"),
    samples: int = 1600,
    stages: tuple[str, ...] = ("train", "tune"),
    loss: dict[str, Any] | None = None,
    synthetic: bool = False,
) -> RunFolder:
    """Writes a whole run folder under `parent`; the same arguments give the same files."""
    run = RunFolder(parent / "vgg_affect" / "20250102-030405")
    truths = {
        split: fake_truth(round(share * samples), len(names), seed)
        for seed, (split, share) in enumerate(SHARES.items())
    }
    for seed, (split, skill) in enumerate(SKILLS.items()):
        truth = truths[split.removesuffix("-augmented")]
        write_table(run.predictions(split), truth, fake_predictions(truth, skill, seed), names)
    for number, stage in enumerate(stages if len(stages) > 1 else ()):
        for moment, skill in (("before", 0.25 * number), ("after", 0.25 * number + 0.25)):
            for split in ("val", "test"):
                path = run.predictions(split, moment=f"{stage}-{moment}")
                write_table(path, truths[split], fake_predictions(truths[split], skill, 9), names)
    counts = {split: {"images": len(truth)} for split, truth in truths.items()}
    config = {
        "name": "vgg_affect",
        "task": {"name": "regression", "targets": None, "loss": loss or {"name": "mse"}},
        "data": {"name": "csv_table", "root": "/data/faces", "table": "/data/faces.csv"},
        "model": {"name": "vggnet"},
        "stages": [{"name": stage, "epochs": 12} for stage in stages],
    }
    described = {
        "class_names": [],
        "numbers": list(names),
        "outputs": ["regression", *names],
        "counts": counts,
        "images": sum(by_name["images"] for by_name in counts.values()),
        "groups": 540,
    }
    model = {"total": 1_200_000, "trainable": 1_180_000}
    write_records(run, config, described, fake_history(stages), model=model, synthetic=synthetic)
    run.best.parent.mkdir(parents=True)
    run.best.touch()
    return run
