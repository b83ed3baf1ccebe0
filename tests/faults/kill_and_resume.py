"""Kills real trainings at random instants, resumes them, and compares them bit for bit with one that ran through.

Run it with `python -m tests.faults.kill_and_resume --kills 100`. Two runs of your own, of which one was killed and
resumed, are compared with `python -m tests.faults.kill_and_resume --compare RUN_DIR RUN_DIR`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.faults.experiments import KINDS, write_experiment


def start(*words: str, folder: Path) -> subprocess.Popen[bytes]:
    """Starts cvlab in a process group of its own."""
    environment = {**os.environ, "CVLAB_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-m", "cvlab", "train", *words]
    with (folder / "output.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def run_through(config: Path, folder: Path) -> Path:
    """Trains without interruption and returns the run folder."""
    parent = folder / "whole"
    process = start(str(config), "--run-dir", str(parent), folder=folder)
    assert process.wait() == 0, (folder / "output.txt").read_text()
    return next((parent / "toy").iterdir())


def run_with_kills(config: Path, folder: Path, *, kills: int, seed: int, number: signal.Signals) -> Path:
    """Trains with `kills` signals at random instants, resuming after each, and returns the run folder."""
    parent = folder / f"killed-{seed}"
    rng = random.Random(seed)
    left = kills
    while True:
        runs = sorted((parent / "toy").glob("*/config.yaml")) if parent.is_dir() else []
        words = ["--resume", str(runs[0].parent)] if runs else [str(config), "--run-dir", str(parent)]
        process = start(*words, folder=folder)
        if left and _signal_at_random(process, parent, rng, number):
            left -= 1
            continue
        code = process.wait()
        assert code == 0, (code, (folder / "output.txt").read_text()[-3000:])
        return next(path.parent for path in (parent / "toy").glob("*/config.yaml"))


def _signal_at_random(
    process: subprocess.Popen[bytes], parent: Path, rng: random.Random, number: signal.Signals
) -> bool:
    """Signals the process some time after its training began; returns whether it was still running."""
    status = {path: path.stat().st_mtime_ns for path in parent.glob("toy/*/status.json")}
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        now = {path: path.stat().st_mtime_ns for path in parent.glob("toy/*/status.json")}
        if now != status:
            break
        time.sleep(0.05)
    time.sleep(rng.uniform(0, 6))
    if process.poll() is not None:
        return False
    os.killpg(process.pid, number)
    process.wait()
    return True


def differences(a: Path, b: Path) -> list[str]:
    """Returns in what two runs differ; times are not compared."""
    found = []
    names = [{path.name for path in (run / "checkpoints").glob("*.keras")} for run in (a, b)]
    if names[0] != names[1]:
        found.append(f"checkpoints: {', '.join(sorted(names[0] ^ names[1]))} in one of them only")
    for name in sorted(names[0] & names[1]):
        first, second = arrays(a / "checkpoints" / name), arrays(b / "checkpoints" / name)
        if first.keys() != second.keys():
            found.append(f"{name}: other arrays")
        found += [
            f"{name}: {key}" for key in first.keys() & second.keys() if not np.array_equal(first[key], second[key])
        ]
    if training_state(a) != training_state(b):
        found.append("last.keras: state")
    files = [path.relative_to(a) for path in (a / "predictions").rglob("*.csv")]
    files += [Path("metrics.json"), Path("samples.csv"), Path("data.json"), Path("model.json")]
    found += [str(name) for name in files if (a / name).read_bytes() != (b / name).read_bytes()]
    if history(a) != history(b):
        found.append("metrics.jsonl")
    return found


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads every array of a checkpoint: weights, and the state of the optimizer if it is there."""
    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file, h5py.File(file) as weights:
        weights.visititems(lambda name, item: found.update({name: item[()]}) if hasattr(item, "shape") else None)
    return found


def training_state(run: Path) -> dict[str, Any]:
    """The state inside `last.keras` without times."""
    with zipfile.ZipFile(run / "checkpoints" / "last.keras") as archive:
        state: dict[str, Any] = json.loads(archive.read("cvlab_state.json"))["training"]
    return {**state, "history": without_times(state["history"]), "seconds": 0}


def history(run: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` without times."""
    return without_times([json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()])


def without_times(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drops what depends on the speed of the machine."""
    times = ("seconds", "images_per_second", "waiting")
    return [{key: value for key, value in record.items() if key not in times} for record in records]


def main() -> None:
    """Kills runs of every kind of experiment in turn, and compares each with one that ran through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--each", type=int, default=10, help="kills in one run")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compare", nargs=2, type=Path, metavar="RUN_DIR", help="only compare two finished runs")
    arguments = parser.parse_args()
    if arguments.compare:
        found = differences(*arguments.compare)
        print("\n".join(found) or "bit-identical: weights, optimizer, state, predictions, metrics, history")
        sys.exit(1 if found else 0)
    whole: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as name:
        for number in range(arguments.kills // arguments.each):
            kind, folder = arguments.kinds[number % len(arguments.kinds)], Path(name)
            folder /= kind
            if kind not in whole:
                whole[kind] = run_through(write_experiment(folder, kind), folder)
            seed, config = arguments.seed + number, folder / "toy.yaml"
            killed = run_with_kills(config, folder, kills=arguments.each, seed=seed, number=signal.SIGKILL)
            found = differences(whole[kind], killed)
            print(f"run {number} ({kind}): {arguments.each} kills, {'; '.join(found) or 'bit-identical'}", flush=True)
            if found:
                sys.exit(1)


if __name__ == "__main__":
    main()
