"""Runs every configuration in configs/ on drawn sample data (`cvlab train CONFIG --sample`) and tabulates the results.

The exit status is 1 if one of them fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import measure
from cvlab.config_file import load_experiment

CONFIGS = measure.ROOT / "configs"


def run(config: Path, scratch: Path, *, backend: str, epochs: int | None) -> tuple[bool, list[str]]:
    """Runs a configuration; returns whether it ended well, and its row of the table."""
    stages = len(load_experiment(config).stages) if epochs else 0
    words = [str(config), *(f"stages.{stage}.epochs={epochs}" for stage in range(stages))]
    command = [sys.executable, "-m", "cvlab", "train", *words, "--sample", "--run-dir", str(scratch / "runs")]
    began = time.perf_counter()
    environment = os.environ | {"KERAS_BACKEND": backend}
    done = subprocess.run(command, cwd=measure.ROOT, env=environment, capture_output=True, text=True)
    seconds = f"{time.perf_counter() - began:,.0f}"
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        return False, [config.stem, seconds, f"**failed** ({done.returncode}): {' '.join(last)}"]
    results = [line for line in done.stdout.splitlines() if line.startswith("test")]
    return True, [config.stem, seconds, results[-1].removeprefix("test: ") if results else "no test split"]


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--backend", default="tensorflow", choices=("tensorflow", "jax"))
    parser.add_argument("--epochs", type=int, help="epochs of every stage; left out: those of --sample, at most 12")
    parser.add_argument("--configs", nargs="+", type=Path, help="files; left out: all in configs/")
    arguments = parser.parse_args()
    configs = arguments.configs or sorted(CONFIGS.glob("*.yaml"))
    measure.show(f"{measure.machine()}\nBackend: {arguments.backend}.\n")
    rows, well = [], True
    with measure.scratch() as scratch:
        for config in configs[: 1 if arguments.smoke else None]:
            epochs = 1 if arguments.smoke else arguments.epochs
            ended_well, row = run(config, scratch, backend=arguments.backend, epochs=epochs)
            rows.append(row)
            well = well and ended_well
            print(f"{row[0]}: {row[1]} s", file=sys.stderr, flush=True)
    measure.show(measure.table(("configuration", "seconds", "test"), rows))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
