"""A finished run of a classification, made of numbers alone: what training and evaluation would leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.metrics.classification import predictions_csv
from cvlab.run_folder import RunFolder, read_json, write_json, write_text
from tests.report_fixture import write_records

EMOTIONS = ("anger", "contempt", "disgust", "fear", "happy", "neutral", "sadness", "surprise")
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def fake_scores(target: NDArray[np.int64], classes: int, skill: float, seed: int) -> NDArray[np.float32]:
    """Softmax scores (n, classes) that lean to the truth by `skill`, more so for later classes."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(target), classes))
    logits[np.arange(len(target)), target] += skill * np.linspace(0.5, 1.4, classes)[target]
    scores = np.exp(logits)
    return np.asarray(scores / scores.sum(axis=1, keepdims=True), dtype=np.float32)


def fake_targets(samples: int, classes: int, seed: int) -> NDArray[np.int64]:
    """Classes of `samples` samples, heavily imbalanced, each there at least once where they fit."""
    shares = np.geomspace(1, 12, classes)
    rest = np.random.default_rng(seed).choice(classes, size=samples, p=shares / shares.sum())
    rest[: min(classes, samples)] = np.arange(min(classes, samples))
    return rest.astype(np.int64)


def write_predictions(path: Path, target: NDArray[np.int64], scores: NDArray[Any], names: tuple[str, ...]) -> None:
    ids = [f"faces/{path.stem}_{number:04d}.jpg" for number in range(len(target))]
    groups = [f"person_{number // 3}" for number in range(len(target))]
    write_text(path, predictions_csv(ids, groups, target, scores, names))


def fake_history(stages: dict[str, int]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    lines: list[dict[str, Any]] = []
    step = 0
    for stage, epochs in stages.items():
        lowest = np.inf
        for epoch in range(1, epochs + 1):
            step += 1
            loss = 1.9 * np.exp(-step / 9) + 0.15 + 0.02 * rng.normal()
            val_loss = 1.6 * np.exp(-step / 6) + 0.75 + 0.012 * step + 0.04 * rng.normal()
            lines.append(
                {
                    "stage": stage,
                    "epoch": epoch,
                    "learning_rate": 1e-3 if stage == "train" else 1e-4,
                    "seconds": 12.5,
                    "images_per_second": 106.0,
                    "loss": float(loss),
                    "accuracy": float(1 - 0.45 * loss),
                    "val_loss": float(val_loss),
                    "val_accuracy": float(1 - 0.38 * val_loss),
                    "best": bool(val_loss < lowest),
                }
            )
            lowest = min(lowest, val_loss)
    return lines


def fake_run(
    parent: Path,
    *,
    names: tuple[str, ...] = EMOTIONS,
    samples: int = 1600,
    stages: tuple[str, ...] = ("train", "tune"),
    synthetic: bool = False,
    leaks: tuple[str, ...] = (),
    splits: tuple[str, ...] = ("train", "train-augmented", "val", "test"),
) -> RunFolder:
    """Writes a whole run folder under `parent`; the same arguments give the same files."""
    run = RunFolder(parent / "vgg_emotion_tune" / "20250102-030405")
    targets = {
        split: fake_targets(round(share * samples), len(names), seed)
        for seed, (split, share) in enumerate(SHARES.items())
    }
    skills = {"train": 4.5, "train-augmented": 3.6, "val": 2.4, "test": 2.3}
    for seed, split in enumerate(splits):
        target = targets[split.removesuffix("-augmented")]
        scores = fake_scores(target, len(names), skills[split], seed)
        write_predictions(run.predictions(split), target, scores, names)
    for number, stage in enumerate(stages if len(stages) > 1 else ()):
        for moment, skill in (("before", 1.2 * number), ("after", 1.2 * number + 1.2)):
            for split in {"val", "test"} & set(splits):
                scores = fake_scores(targets[split], len(names), skill, 9)
                path = run.predictions(split, moment=f"{stage}-{moment}")
                write_predictions(path, targets[split], scores, names)
    counts = {
        split: {name: int((target == index).sum()) for index, name in enumerate(names)}
        for split, target in targets.items()
    }
    _describe(run, names, stages, counts, synthetic=synthetic, leaks=leaks)
    return run


def _describe(
    run: RunFolder,
    names: tuple[str, ...],
    stages: tuple[str, ...],
    counts: dict[str, dict[str, int]],
    *,
    synthetic: bool,
    leaks: tuple[str, ...],
) -> None:
    tune = {"data": {"name": "image_folder", "root": ["/data/emotion/tune", "/data/more"]}}
    config = {
        "name": "vgg_emotion_tune",
        "seed": 42,
        "task": {"name": "classification"},
        "data": {"name": "image_folder", "root": ["/data/emotion/train"], "allow_leakage": bool(leaks)},
        "model": {"name": "vggnet", "dropout": 0.5, "batchnorm": True},
        "stages": [{"name": stage, "epochs": 24, **own} for stage, own in zip(stages, ({}, tune), strict=False)],
        "evaluate": {"top_k": 2},
    }
    environment = {
        "python": "3.11.7",
        "versions": {"cvlab": "0.1.0", "keras": "3.12.0"},
        "git": {"commit": "0123abc", "dirty": True},
        "device": "CPU, 2 cores",
        "precision": "mixed_bfloat16",
        "deterministic": True,
    }
    described = {
        "class_names": list(names),
        "outputs": ["classification", "softmax", *names],
        "counts": counts,
        "images": sum(sum(by_class.values()) for by_class in counts.values()),
        "groups": 540,
        "unmatched_groups": 3,
        "notes": ["3 images were converted from RGBA"],
    }
    layer = {
        "name": "conv_1",
        "type": "Conv2D",
        "output_shape": [None, 64, 64, 32],
        "parameters": 896,
        "trainable": True,
    }
    model_stages = [{"stage": stage, "trainable": 1_180_000, "frozen": 20_000} for stage in stages]
    model = {"layers": [layer], "total": 1_200_000, "trainable": 1_180_000, "frozen": 20_000, "stages": model_stages}
    history = fake_history(dict.fromkeys(stages, 14))
    write_records(
        run,
        config,
        described,
        history,
        model=model,
        environment=environment,
        synthetic=synthetic,
        leaks=leaks,
    )
    data = read_json(run.data)
    data["stages"][0]["warnings"] = ["class contempt has 9 samples"]
    write_json(run.data, data)
