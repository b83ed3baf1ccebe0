"""Trains for many epochs and measures the process from outside: its memory and its open files stay as they are.

Run it with `python -m tests.faults.long_training --epochs 200` (Linux).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.faults.experiments import write_experiment
from tests.faults.kill_and_resume import start

MOST_GROWTH = 0.05


class Measured(NamedTuple):
    """What a process holds after an epoch: memory of its own in MB, and open files."""

    epoch: int
    megabytes: float
    files: int


def measure(process: subprocess.Popen[bytes], history: Path) -> list[Measured]:
    """Measures a training after each of its epochs, as soon as it is seen in `metrics.jsonl`."""
    found: list[Measured] = []
    while process.poll() is None:
        epochs = history.read_text().count("\n") if history.is_file() else 0
        if epochs and (not found or found[-1].epoch < epochs):
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
                files = len([*Path(f"/proc/{process.pid}/fd").iterdir()])
            except OSError:
                break
            own = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
            found.append(Measured(epochs, int(own.split()[1]) / 1024, files))
        time.sleep(0.05)
    return found


def train_long(folder: Path, *, epochs: int) -> list[Measured]:
    """Trains the first stage of the faces for `epochs` and returns what was measured."""
    config = write_experiment(folder)
    words = [f"stages.0.epochs={epochs}", "stages.1.epochs=1", "train.early_stopping=null"]
    process = start(str(config), *words, "--run-dir", str(folder / "runs"), folder=folder)
    while not (runs := [*folder.glob("runs/toy/*")]):
        assert process.poll() is None, (folder / "output.txt").read_text()
        time.sleep(0.05)
    found = measure(process, runs[0] / "metrics.jsonl")
    assert process.wait() == 0, (folder / "output.txt").read_text()[-3000:]
    return found


def main() -> None:
    """Trains, prints a line now and then, and compares the last epochs with the early ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = train_long(Path(name), epochs=arguments.epochs)
    found = [measured for measured in found if measured.epoch <= arguments.epochs]
    shown = max(1, arguments.epochs // 10)
    for number in range(shown, arguments.epochs + 1, shown):
        measured = max((one for one in found if one.epoch <= number), key=lambda one: one.epoch)
        print(f"epoch {measured.epoch:4}: {measured.megabytes:7.1f} MB, {measured.files} open files")
    early = [one for one in found if one.epoch <= arguments.epochs // 10 + 1][-1]
    growth = found[-1].megabytes / early.megabytes - 1
    print(
        f"from epoch {early.epoch} to {found[-1].epoch}: {growth:+.1%} memory, {found[-1].files - early.files:+} files"
    )
    if growth > MOST_GROWTH or found[-1].files > early.files + 2:
        sys.exit(1)


if __name__ == "__main__":
    main()
