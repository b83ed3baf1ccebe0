"""Runs side by side: which is better, by how much, and whether that is more than chance. From files alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from shutil import rmtree

from cvlab.compare_definitions import with_links
from cvlab.compare_document import document_of
from cvlab.compare_draws import SEED, resamples_of
from cvlab.compare_entrants import Entrant, Result, read_entrants
from cvlab.compare_figures import Drawer
from cvlab.compare_found import SYNTHETIC, Compared, costs_row, value_text
from cvlab.compare_json import json_of
from cvlab.compare_match import Samples, match
from cvlab.compare_runs import Candidate, find_candidates
from cvlab.compare_task import ComparedTask, Metric
from cvlab.compare_tests import compare_pairs
from cvlab.compare_warnings import warnings_of
from cvlab.config_evaluate import Bootstrap
from cvlab.console import Console
from cvlab.document import Picture, to_markdown
from cvlab.document_html import to_html
from cvlab.errors import CompareError, did_you_mean, listing
from cvlab.metrics.intervals import INTERVALS, with_intervals
from cvlab.registry import load
from cvlab.run_folder import write_json, write_text

TASKS = {
    "classification": "cvlab.compare_classification",
    "regression": "cvlab.compare_regression",
    "segmentation": "cvlab.compare_segmentation",
}
TEST = "test"
# What is printed of more pairs is the first sentence of each; the page has all.
MOST_TOLD_WHOLLY = 3
PARENT = Path("comparisons")


@dataclass(frozen=True)
class Request:
    """What is to be compared, and how.

    Attributes:
        paths: Run folders, folders of repetitions, or folders that hold any of these.
        out: Where to write; None for a new folder in `comparisons/`.
        split: Whose predictions.
        by: The key of the metric that ranks the models; None for the task's own.
        intersect: Whether to compare on the samples that all runs share, where they differ.
    """

    paths: Sequence[Path]
    out: Path | None
    split: str
    by: str | None
    intersect: bool

    @property
    def command(self) -> list[str]:
        """The command line that asks for it, into a new folder."""
        split = ["--split", self.split] if self.split != TEST else []
        by = ["--by", self.by] if self.by is not None else []
        return ["cvlab", "compare", *map(str, self.paths), *split, *by, *(["--intersect"] if self.intersect else [])]


def compare(request: Request, console: Console) -> Path:
    """Compares runs, writes `compare.md`, `compare.html`, `compare.json` and `plots/`, and says the main things.

    Returns:
        The folder.

    Raises:
        CompareError: The runs cannot be compared, or the folder is not empty.
        RunFolderError: A run is missing, unfinished or damaged.
    """
    if request.out is not None:
        _check_empty(request.out)
    found = compare_runs(request, console)
    _say(found, console)
    folder = _write(found, request.out)
    console.say(f"\nComparison: {folder / 'compare.html'}")
    return folder


def compare_runs(request: Request, console: Console) -> Compared:
    """Reads, matches and tests the runs; writes nothing.

    Raises:
        CompareError: The runs cannot be compared.
        RunFolderError: A run is missing, unfinished or damaged.
    """
    candidates, left_out = find_candidates(request.paths)
    task = _task(candidates)
    read = read_entrants(candidates, task, request.split)
    matched, samples = match(read, task, split=request.split, intersect=request.intersect)
    metrics = _metrics(matched, samples, task, request.by)
    entrants = _ranked([_with_intervals(entrant, task) for entrant in matched], metrics[0])
    total = resamples_of(entrants) * sum(len(entrant.results) for entrant in entrants)
    with console.track("Resampling", total) as advance:
        pairs = compare_pairs(entrants, samples, metrics, task, advance)
    warnings = warnings_of(entrants, samples)
    return Compared(entrants, samples, request.split, metrics, pairs, task, warnings, left_out, request.command)


def _task(candidates: Sequence[Candidate]) -> ComparedTask:
    """The task of all runs."""
    by_task: dict[str, list[str]] = {}
    for candidate in candidates:
        by_task.setdefault(candidate.task, []).append(str(candidate.path))
    if len(by_task) > 1:
        lines = [f"{task}: {', '.join(paths)}" for task, paths in by_task.items()]
        raise CompareError(f"Runs of different tasks cannot be compared:\n{listing(lines)}")
    (name,) = by_task
    if name not in TASKS:
        expected = ", ".join(f"'{known}'" for known in TASKS)
        raise CompareError(f"{candidates[0].path}: task.name: expected one of {expected}, received '{name}'.")
    found: ComparedTask = load(TASKS, name).compared_task()
    return found


def _metrics(entrants: Sequence[Entrant], samples: Samples, task: ComparedTask, by: str | None) -> list[Metric]:
    """What is compared; the one that ranks the models first."""
    results = [result for entrant in entrants for result in entrant.results]
    metrics = task.metrics(
        [result.metrics for result in results], task.outputs(results[0].table), grouped=samples.grouped
    )
    if by is None:
        return metrics
    chosen = next((metric for metric in metrics if metric.key == by), None)
    if chosen is None:
        keys = [metric.key for metric in metrics]
        expected = f"--by: expected one of {', '.join(keys)}; received '{by}'"
        raise CompareError(f"{expected}{did_you_mean(by, keys) or '.'}")
    return [chosen, *(metric for metric in metrics if metric != chosen)]


def _with_intervals(entrant: Entrant, task: ComparedTask) -> Entrant:
    """Adds intervals to values that have none: runs of before there were any, and samples that were left out."""

    def filled(result: Result) -> Result:
        if INTERVALS in result.metrics:
            return result
        resampling = task.resampling(result.table, result.record, pooled=result.pooled)
        return replace(result, metrics=with_intervals(result.metrics, resampling, Bootstrap(), seed=SEED))

    if entrant.kind == "seeds":
        return entrant
    return replace(entrant, results=tuple(map(filled, entrant.results)))


def _ranked(entrants: Sequence[Entrant], metric: Metric) -> list[Entrant]:
    """The models from the best on, with their letters; those without a value are last."""

    def place(entrant: Entrant) -> tuple[bool, float, str]:
        value = entrant.value(metric.path)
        sign = 1 if metric.lower_is_better else -1
        return value is None, sign * (value or 0.0), entrant.name

    return [replace(entrant, letter=_letter(place)) for place, entrant in enumerate(sorted(entrants, key=place))]


def _letter(place: int) -> str:
    """A to Z, then AA and so on."""
    above, rest = divmod(place, 26)
    return (_letter(above - 1) if above else "") + chr(ord("A") + rest)


def _say(found: Compared, console: Console) -> None:
    """Prints the leaderboard and the sentences."""
    for line in found.left_out:
        console.say(line)
    if all(found.synthetic):
        console.warn(f"{SYNTHETIC}: the numbers say nothing about real images.")
    for warning in found.warnings:
        console.warn(warning)
    metrics = found.metrics[:2]
    head = ["", "model", *(metric.label for metric in metrics), "parameters", "size", "training", "images/s"]
    rows = [
        [model.letter, model.title, *(value_text(found, model, metric) for metric in metrics), *costs_row(model)]
        for model in found.entrants
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        console.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    console.say()
    for sentence in found.sentences(brief=len(found.pairs) > MOST_TOLD_WHOLLY):
        console.say(f"- {sentence}")


def _draw(found: Compared, folder: Path) -> list[Picture]:
    drawer = Drawer(folder, found.entrants, found.split, any(found.synthetic), found.task.show)
    results = [result.metrics for entrant in found.entrants for result in entrant.results]
    return [
        *drawer.differences(found.told_pairs, found.metrics[0]),
        *found.task.draw(drawer, results, grouped=found.samples.grouped),
        *drawer.learning_curves(found.task.curves),
    ]


def _write(found: Compared, out: Path | None) -> Path:
    """Writes the folder of a comparison, whole or not at all."""
    with new_folder(out) as (temporary, target):
        pictures = _draw(found, temporary)
        document = document_of(found, pictures)
        write_text(temporary / "compare.md", to_markdown(document))
        write_text(temporary / "compare.html", to_html(with_links(found, document), temporary))
        write_json(temporary / "compare.json", json_of(found))
    return target


def _check_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CompareError(f"--out: {out} is there already and is not an empty folder. Choose a new one.")


@contextmanager
def new_folder(out: Path | None) -> Iterator[tuple[Path, Path]]:
    """Yields a temporary folder and what it becomes when the block ends well."""
    try:
        target = _stamped() if out is None else out
        target.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".compare-"))
    except OSError as error:
        raise CompareError(f"{out or PARENT}: a folder cannot be made there ({error.strerror}). See --out.") from error
    try:
        yield temporary, target
        temporary.chmod(0o755)
        temporary.replace(target)
    finally:
        rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            target.rmdir()


def _stamped() -> Path:
    """A new folder in `comparisons/`; a second one in the same second gets `-2`."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    PARENT.mkdir(parents=True, exist_ok=True)
    for count in range(1, 1000):
        path = PARENT / (stamp if count == 1 else f"{stamp}-{count}")
        with suppress(FileExistsError):
            path.mkdir()
            return path
    raise CompareError(f"{PARENT}: cannot make a new folder; 999 comparisons were started in this second.")
