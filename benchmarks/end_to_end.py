"""The whole of a training as a user sees it: `cvlab train` against the notebook way, in seconds of wall time.

Both train VGGNet on the same images, split the same way, with the same augmentation, optimizer, epochs and batch
size. cvlab starts without a cache, decodes, trains, checkpoints each epoch and then evaluates and writes its report;
the time is given with and without those last two. The notebook way only trains and validates.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import images, measure

NAMES = {"training": "until the network is trained", "whole": "the whole command"}


@dataclass
class Trained:
    """Seconds until the network was trained, until the command ended, and the validation accuracies."""

    training: float
    whole: float
    accuracies: list[float]


def train_with_cvlab(folder: Path, scratch: Path, settings: argparse.Namespace) -> tuple[Trained, Path]:
    """Runs `cvlab train` as a user does; returns what came out and the run folder."""
    runs = scratch / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    shutil.rmtree(os.environ["CVLAB_CACHE_DIR"], ignore_errors=True)
    overrides = [
        f"data.root={folder}",
        "data.split={train: 0.7, val: 0.15, test: 0.15, group_pattern: '(.+)_\\d+$'}",
        f"data.image_size=[{settings.size}, {settings.size}]",
        f"train.batch_size={settings.batch_size}",
        f"stages.0.epochs={settings.epochs}",
        "task.class_weights=null",
    ]
    config = measure.ROOT / "configs" / "vgg_emotion.yaml"
    command = [sys.executable, "-m", "cvlab", "train", str(config), *overrides, "--run-dir", str(runs)]
    began, started = time.perf_counter(), time.time()
    run_command(command)
    whole = time.perf_counter() - began
    (run,) = (runs / "vgg_emotion").iterdir()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    trained = (run / "checkpoints" / "best.keras").stat().st_mtime - started
    return Trained(trained, whole, [line["val_accuracy"] for line in lines]), run


def train_like_a_notebook(split: Path, settings: argparse.Namespace) -> Trained:
    arguments = ["--epochs", settings.epochs, "--batch-size", settings.batch_size, "--size", settings.size]
    began = time.perf_counter()
    output = run_command([sys.executable, "-m", "benchmarks.notebook", str(split), *map(str, arguments)])
    whole = time.perf_counter() - began
    return Trained(whole, whole, json.loads(output.splitlines()[-1])["val_accuracy"])


def run_command(command: list[str]) -> str:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=measure.ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def link_split(run: Path, target: Path) -> Path:
    """Lays out the split of a run as folders of links: `train/<class>/*` and `val/<class>/*`."""
    with (run / "samples.csv").open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            path = Path(row["path"])
            link = target / row["split"] / row["target:class"] / f"{number:06d}{path.suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    return target


def report(pairs: list[tuple[Trained, Trained]]) -> str:
    """The table: medians of both sides, and how many times as fast cvlab was."""
    cvlab, notebook = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    rows = []
    for name in ("training", "whole"):
        ours, theirs = ([float(getattr(one, name)) for one in side] for side in (cvlab, notebook))
        before, after, *ratio = measure.Comparison(ours, theirs).cells()
        rows.append([NAMES[name], f"{after} s", f"{before} s", *ratio])
    last, best = ([[choose(one) for one in side] for side in (notebook, cvlab)] for choose in (_last, _best))
    for name, accuracies in (("last", last), ("best", best)):
        rows.append([f"validation accuracy, {name} epoch", *(f"{median(side):.3f}" for side in accuracies), "", ""])
    return measure.table(("", "notebook", "cvlab", "times as fast", "smallest .. largest"), rows)


def _last(trained: Trained) -> float:
    return trained.accuracies[-1]


def _best(trained: Trained) -> float:
    return max(trained.accuracies)


def main() -> None:
    parser = measure.parser(__doc__)
    images.add_argument(parser)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.set_defaults(repeats=1)
    arguments = parser.parse_args()
    arguments.size = 32 if arguments.smoke else 128
    with measure.scratch() as scratch:
        folder = images.image_folder(arguments.data, scratch, identities=10 if arguments.smoke else 80)
        measure.show(
            f"{measure.machine()}\n{images.describe(folder)}; {arguments.epochs} epochs, "
            f"batches of {arguments.batch_size}.\n"
        )
        pairs: list[tuple[Trained, Trained]] = []
        for _ in range(arguments.repeats):
            cvlab, run = train_with_cvlab(folder, scratch, arguments)
            split = scratch / "split"
            if not split.exists():
                link_split(run, split)
            pairs.append((cvlab, train_like_a_notebook(split, arguments)))
        measure.show(report(pairs))


if __name__ == "__main__":
    main()
