"""What the benchmarks share: two sides measured in turn, each in its own process, and tables in Markdown."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

Settings = Mapping[str, Any]
PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "albumentations")
ROOT = Path(__file__).parent.parent
ANSWERS = "CVLAB_BENCHMARK_ANSWERS"  # the file descriptor that a side writes its measurements to


@dataclass(frozen=True)
class Comparison:
    """Measurements of two sides, taken in turn; the ratio is that of the second to the first in the same turn.

    `processor` is the same by the time that processors spent instead of the time that passed: what else runs on the
    machine hardly changes it, but it cannot tell how well the cores are used together.
    """

    first: Sequence[float]
    second: Sequence[float]
    processor: Comparison | None = None

    @property
    def ratios(self) -> list[float]:
        return [after / before for before, after in zip(self.first, self.second, strict=True)]

    def turned(self) -> Comparison:
        """The same with the sides exchanged."""
        return Comparison(self.second, self.first, self.processor and self.processor.turned())

    def cells(self) -> list[str]:
        """Medians of both sides, median ratio, smallest and largest ratio; the ratio by processor time if known."""
        ratios = self.ratios
        span = f"{min(ratios):.2f} .. {max(ratios):.2f}"
        cells = [f"{median(self.first):,.0f}", f"{median(self.second):,.0f}", f"**{median(ratios):.2f}**", span]
        return [*cells, f"{median(self.processor.ratios):.2f}"] if self.processor else cells


class Side:
    """One side of a comparison: `python -m MODULE --side SETTINGS` in a process of its own.

    Determinism, threads and oneDNN can be set only once in a process. The other end is `serve` or `answer`.
    """

    def __init__(self, module: str, settings: Settings, environment: Mapping[str, str] | None = None) -> None:
        here, there = os.pipe()
        self._answers = os.fdopen(here)
        self._folder = tempfile.TemporaryDirectory(prefix="cvlab-benchmark-side-")
        self._log = Path(self._folder.name) / "errors.txt"
        own = {ANSWERS: str(there), "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
        with self._log.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, "--side", json.dumps(dict(settings))],
                cwd=ROOT,
                env=os.environ | own,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                pass_fds=(there,),
            )
        os.close(there)

    def ask(self) -> Any:
        """Has it measure once more."""
        assert self._process.stdin is not None
        self._process.stdin.write("measure\n")
        self._process.stdin.flush()
        return self.read()

    def read(self) -> Any:
        """Waits for its next answer."""
        line = self._answers.readline()
        if not line:
            self._process.wait()
            raise SystemExit(f"A side of the comparison failed:\n{self._log.read_text()[-4000:]}")
        return json.loads(line)

    def close(self) -> None:
        self._process.communicate()
        self._answers.close()
        self._folder.cleanup()


def serve(measure: Callable[[], float]) -> None:
    """Warms up, says that it is ready, then measures whenever `Side.ask` does."""
    measure()
    answer("ready")
    for _ in sys.stdin:
        began, used = time.perf_counter(), time.process_time()
        rate = measure()
        passed, worked = time.perf_counter() - began, time.process_time() - used
        answer([rate, rate * passed / worked])


def answer(value: object) -> None:
    """Gives `Side.read` what it waits for."""
    os.write(int(os.environ[ANSWERS]), f"{json.dumps(value)}\n".encode())


def once(module: str, settings: Settings, environment: Mapping[str, str] | None = None) -> Any:
    """Returns the one answer of a process of its own."""
    side = Side(module, settings, environment)
    try:
        return side.read()
    finally:
        side.close()


def compare(
    module: str,
    first: Settings,
    seconds: Sequence[Settings],
    *,
    repeats: int,
    environments: Sequence[Mapping[str, str]] = (),
) -> Iterator[Comparison]:
    """Measures one side of a module in turn with each of several others; `environments` hold for the others."""
    with _ready(Side(module, first)) as one:
        for number, settings in enumerate(seconds):
            with _ready(Side(module, settings, environments[number] if environments else None)) as other:
                turns = [(one.ask(), other.ask()) for _ in range(repeats)]
            wall, processor = (
                Comparison([before[kind] for before, _ in turns], [after[kind] for _, after in turns])
                for kind in (0, 1)
            )
            yield replace(wall, processor=processor)


@contextmanager
def _ready(side: Side) -> Iterator[Side]:
    try:
        side.read()
        yield side
    finally:
        side.close()


def parser(description: str | None) -> argparse.ArgumentParser:
    """The arguments that all benchmarks share."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--repeats", type=int, default=5, help="how often both sides are measured")
    made.add_argument("--smoke", action="store_true", help="toy sizes: shows that it runs, the numbers mean nothing")
    made.add_argument("--side", type=json.loads, help=argparse.SUPPRESS)
    return made


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; every column but the first is aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(text: str = "") -> None:
    print(text, flush=True)


def machine() -> str:
    """The machine, the versions and how busy it is, in two lines."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.+)", cpu)
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if re.search(rf"\b{flag}\b", cpu)]
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        f"{os.cpu_count()} CPU cores ({name[1] if name else platform.processor()}; {', '.join(flags)}); "
        f"Python {platform.python_version()}, {versions}.\n"
        f"Load average at the start: {os.getloadavg()[0]:.1f} (what else runs lowers the rates, the ratios less so)."
    )


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder that also holds cvlab's cache, so that nothing of the user's is read or filled."""
    with tempfile.TemporaryDirectory(prefix="cvlab-benchmark-") as name:
        kept = os.environ.get("CVLAB_CACHE_DIR")
        os.environ["CVLAB_CACHE_DIR"] = str(Path(name) / "cache")
        try:
            yield Path(name)
        finally:
            if kept is None:
                del os.environ["CVLAB_CACHE_DIR"]
            else:
                os.environ["CVLAB_CACHE_DIR"] = kept
