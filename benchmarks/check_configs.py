"""Checks every configuration in configs/ on drawn sample data (`cvlab check CONFIG --sample`), in a table.

The exit status is 1 if one of them is not ready to train.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import measure

CONFIGS = measure.ROOT / "configs"


def row_of(config: Path, output: str, seconds: float, processor: float) -> list[str]:
    """Returns the row of the table for what a check has printed."""
    estimates = re.findall(r"about ([\d.,]+ \w+) for a step", output)
    steps = re.findall(r": ([\d.]+ m?s) a step", output)
    used = re.search(r"([\d.,]+ \w+) of memory used", output)
    outputs = re.findall(r"outputs are (equal[^\n]*)", output)
    return [
        config.stem,
        f"{seconds:,.0f}",
        f"{processor:,.0f}",
        ", ".join(steps) or "-",
        ", ".join(estimates) or "-",
        used[1] if used else "-",
        ", ".join(dict.fromkeys(outputs)) or "**not ready**",
    ]


def spent() -> float:
    """Returns the seconds that processors have spent on the commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--configs", nargs="+", type=Path, help="files; left out: all in configs/")
    parser.add_argument("--words", nargs="*", default=[], help="settings to override in all of them")
    arguments = parser.parse_args()
    configs = arguments.configs or sorted(CONFIGS.glob("*.yaml"))
    measure.show(f"{measure.machine()}\n")
    rows, well = [], True
    for config in configs[: 1 if arguments.smoke else None]:
        command = [sys.executable, "-m", "cvlab", "check", str(config), *arguments.words, "--sample"]
        began, before = time.perf_counter(), spent()
        done = subprocess.run(command, cwd=measure.ROOT, capture_output=True, text=True)
        rows.append(row_of(config, done.stdout, time.perf_counter() - began, spent() - before))
        well = well and not done.returncode
        print(
            f"{config.stem}: {rows[-1][1]} s{'' if not done.returncode else done.stdout + done.stderr}",
            file=sys.stderr,
            flush=True,
        )
    head = (
        "configuration",
        "seconds",
        "of processors",
        "step",
        "memory of a step, estimated",
        "memory of the process",
        "outputs",
    )
    measure.show(measure.table(head, rows))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
