"""Which runs a comparison is about: paths become finished runs, or repetitions of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cvlab.errors import CompareError, RunFolderError
from cvlab.repetitions import Repetitions
from cvlab.report_record import RunRecord, read_record
from cvlab.run_folder import RunFolder, read_json

REPETITIONS = "repetitions.json"
CONFIG = "config.yaml"

Kind = Literal["run", "seeds", "folds"]


@dataclass(frozen=True)
class Candidate:
    """What is compared: a run, or the repetitions of one in their parent folder.

    Attributes:
        path: The folder, resolved.
        kind: `run`, `seeds` or `folds`.
        records: The one run, or the parts.
    """

    path: Path
    kind: Kind
    records: tuple[RunRecord, ...]

    @property
    def task(self) -> str:
        """The name of the task that its results are about."""
        return str(self.records[0].task.get("name"))

    @property
    def synthetic(self) -> bool:
        """Whether it used synthetic sample data."""
        return any(record.synthetic for record in self.records)


def find_candidates(paths: Sequence[Path]) -> tuple[list[Candidate], list[str]]:
    """Reads what `paths` name: run folders, folders of repetitions, or folders that hold any of these.

    Returns:
        The candidates, in order; and sentences on what was left out: the runs of a folder that are not finished. A run
        that is named itself must be finished.

    Raises:
        RunFolderError: A path is no run folder and holds none, or a file of a run is damaged.
        CompareError: A run is not finished, stands there twice, or is alone.
    """
    candidates: list[Candidate] = []
    left_out: list[str] = []
    for path in paths:
        if _is_one(path) or not path.is_dir():
            candidates.append(_open(path))
            continue
        for inner in _inside(path):
            if problem := _unfinished(inner):
                left_out.append(f"Left out: {inner}: {problem}.")
            else:
                candidates.append(_open(inner))
    _check_each_once(candidates)
    if sum(len(candidate.records) for candidate in candidates) < 2:
        _refuse_one(candidates, left_out)
    return candidates, left_out


def _is_one(path: Path) -> bool:
    return (path / REPETITIONS).is_file() or (path / CONFIG).is_file()


def _inside(path: Path) -> list[Path]:
    """The runs and repetitions in a folder such as `runs/` or `runs/<name>/`; parts of repetitions belong to these."""
    found = {
        file.parent
        for pattern in ("*", "*/*")
        for name in (CONFIG, REPETITIONS)
        for file in path.glob(f"{pattern}/{name}")
    }
    outer = {folder for folder in found if (folder / REPETITIONS).is_file()}
    hidden = {folder for folder in found if any(part.startswith(".") for part in folder.relative_to(path).parts)}
    kept = sorted(folder for folder in found - hidden if folder.parent not in outer)
    if not kept:
        raise RunFolderError(
            f"{path}: is not a run folder and holds none: expected a `{CONFIG}` in it, as `cvlab train` writes first."
        )
    return kept


def _open(path: Path) -> Candidate:
    if problem := _unfinished(path):
        raise CompareError(f"{path}: {problem}. Go on with: cvlab train --resume {path}")
    records = tuple(read_record(run) for run in _runs(path))
    kind: Kind = "run"
    if (path / REPETITIONS).is_file():
        kind = Repetitions.read(path / REPETITIONS).kind
    return Candidate(path.resolve(), kind, records)


def _runs(path: Path) -> list[RunFolder]:
    parts = Repetitions.read(path / REPETITIONS).parts if (path / REPETITIONS).is_file() else [""]
    return [RunFolder.open(path / part) for part in parts]


def _unfinished(path: Path) -> str:
    """Why a run, or one of the repetitions, is not finished; empty if it is, and for what is no run."""
    if not _is_one(path):
        return ""
    several = (path / REPETITIONS).is_file()
    for part in Repetitions.read(path / REPETITIONS).parts if several else [""]:
        file = RunFolder(path / part).status
        status = read_json(file) if file.is_file() else {}
        if not isinstance(status, dict) or status.get("status") != "done":
            word, reason = (status.get(key) if isinstance(status, dict) else None for key in ("status", "reason"))
            said = f"{word or 'no status'}{f': {reason}' if reason else ''}".rstrip(".")
            return f"is not finished ({f'{part}: ' if several else ''}{said})"
    return ""


def _check_each_once(candidates: Sequence[Candidate]) -> None:
    seen: dict[Path, str] = {}
    copies: dict[tuple[str, str], RunRecord] = {}
    for candidate in candidates:
        for record in candidate.records:
            path = record.run.path
            inside = f" (a part of {candidate.path})" if candidate.kind != "run" else ""
            if path in seen:
                raise CompareError(f"{path}: the same run stands there twice{seen[path] or inside}. Name it once.")
            seen[path] = inside
            for fingerprint in _fingerprint(record):
                if fingerprint in copies:
                    raise CompareError(
                        f"{path}: is a copy of {copies[fingerprint].run.path}: settings and history are equal, the "
                        "seconds of each epoch included. Name one of them."
                    )
                copies[fingerprint] = record


def _fingerprint(record: RunRecord) -> Iterator[tuple[str, str]]:
    """What two runs never share: their settings with their history, which holds measured times."""
    if record.history:
        yield repr(record.config), repr(record.history)


def _refuse_one(candidates: Sequence[Candidate], left_out: Sequence[str]) -> None:
    if candidates:
        path = candidates[0].path
        found = f"received one, {path}. `cvlab report {path}` shows what a single run came to."
    else:
        found = "none is finished."
    raise CompareError("\n".join([f"Expected two or more runs to compare; {found}", *left_out]))
