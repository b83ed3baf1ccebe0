"""Starts the same training many times at once from a cold cache: as many whole runs, and each cache built once.

Run it with `python -m tests.faults.many_at_once --processes 8`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.experiments import write_experiment
from tests.faults.kill_and_resume import differences, start


def train_at_once(config: Path, folder: Path, *, processes: int) -> tuple[list[Path], set[str]]:
    """Trains `config` in several processes at once, into one parent.

    Args:
        config: The configuration.
        folder: Where `cache`, `runs` and the output are.
        processes: How many.

    Returns:
        The run folders, and the temporary folders of all builds of a cache that were seen meanwhile.
    """
    started = [start(str(config), "--run-dir", str(folder / "runs"), folder=folder) for _ in range(processes)]
    builds: set[str] = set()
    while any(process.poll() is None for process in started):
        builds |= {path.name for path in (folder / "cache").glob("images/*.tmp")}
        time.sleep(0.002)
    codes = [process.wait() for process in started]
    assert codes == [0] * processes, (codes, (folder / "output.txt").read_text()[-3000:])
    return sorted((folder / "runs" / "toy").iterdir()), builds


def caches(folder: Path) -> list[Path]:
    """Returns the caches of decoded images below `folder`, half-built ones too."""
    return sorted(path for path in (folder / "cache" / "images").iterdir() if path.is_dir())


def main() -> None:
    """Trains at once and compares all runs with the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs, builds = train_at_once(write_experiment(folder), folder, processes=arguments.processes)
        different = {run.name: lines for run in runs[1:] if (lines := differences(runs[0], run))}
        found = caches(folder)
        print(f"{len(runs)} run folders, {len(runs) - len(different)} bit-identical with the first")
        print(f"{len(found)} caches (one a stage), {len(builds)} builds")
        if different or len(runs) != arguments.processes or len(builds) > len(found) or len(found) != 2:
            print(different, builds, found)
            sys.exit(1)


if __name__ == "__main__":
    main()
