"""The run folder: every file name of a run in one place, and writes that are whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cvlab.bounded_file import BadJson, parse_json, read_bounded
from cvlab.errors import RunFolderError, WriteError
from cvlab.run_forms import misfit
from cvlab.text import printable

Json = dict[str, Any]

MAX_JSON_BYTES = 500_000_000


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; it takes the place of `path` only when the block ends well.

    Raises:
        WriteError: The disk is full, or cannot be written to; the file that was there before is untouched.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=f".tmp{path.suffix}")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        sync_folder(path.parent)
    except WriteError:
        raise
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _write_error(path: Path, error: OSError) -> WriteError:
    """Says what cannot be written, why, and how much room there is."""
    above = path.parent
    while not os.path.exists(above):
        above = above.parent
    # HDF5 puts the system's reason into a longer text of its own.
    reason = os.strerror(errno.ENOSPC) if "errno = 28" in str(error) else error.strerror or str(error)
    free = shutil.disk_usage(above).free / 1e6
    return WriteError(f"{path}: cannot be written ({reason}); {free:,.1f} MB are free there.")


def sync_folder(folder: Path) -> None:
    """Makes sure that the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def free_bytes(place: Path) -> int:
    """Returns how many bytes are free where `place` is, or will be."""
    return shutil.disk_usage(existing(place)).free


def existing(place: Path) -> Path:
    """Returns the innermost folder above a place (or the place itself) that exists."""
    place = place.absolute()
    while not os.path.exists(place):  # Path.exists would raise where the folder above is forbidden.
        place = place.parent
    return place


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Writes `value` as indented JSON, atomically. NaN is refused: an undefined value is null with a reason."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run.

    Raises:
        RunFolderError: The file is missing, is no JSON, or is not what cvlab writes under its name.
    """
    try:
        value = parse_json(read_bounded(path, MAX_JSON_BYTES).decode("utf-8"))
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({error.strerror}).") from error
    except (BadJson, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path}: is damaged: expected JSON ({error}).") from error
    if wrong := misfit(path.name, value):
        raise RunFolderError(f"{path}: is damaged: {wrong}.")
    return value


class _File:
    """The path of a file or folder of a run."""

    def __init__(self, *parts: str) -> None:
        self.parts = parts

    def __get__(self, run: RunFolder, owner: type[RunFolder]) -> Path:
        return run.path.joinpath(*self.parts)


@dataclass(frozen=True)
class RunFolder:
    """The files of one run. Only names live here; who writes what stands in docs/architecture.md."""

    path: Path

    @classmethod
    def create(cls, parent: Path, name: str) -> RunFolder:
        """Makes a new folder `parent/name/<YYYYmmdd-HHMMSS>`; a second one in the same second gets `-2`."""
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        base = (parent / name).resolve()
        try:
            base.mkdir(parents=True, exist_ok=True)
            for count in range(1, 1000):
                path = base / (stamp if count == 1 else f"{stamp}-{count}")
                with suppress(FileExistsError):
                    path.mkdir()
                    # What is flushed to the disk in it later is of no use where its own name is not.
                    sync_folder(base)
                    sync_folder(base.parent)
                    return cls(path)
        except OSError as error:
            raise RunFolderError(
                f"{base}: a run folder cannot be made there ({error.strerror}). Choose another place with --run-dir."
            ) from error
        raise RunFolderError(f"{base}: cannot make a new run folder; 999 were started in this second.")

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Opens an existing run folder.

        Raises:
            RunFolderError: `path` is no run folder.
        """
        run = cls(path.resolve())
        if path.is_file():
            raise RunFolderError(f"{path}: is a file; expected the folder of a run, such as {path.parent}.")
        if not path.is_dir():
            raise RunFolderError(f"{path}: there is no such run folder. `ls runs/*` shows the runs that there are.")
        if not run.config.is_file():
            raise RunFolderError(
                f"{path}: is not a run folder: expected a `config.yaml` in it, as `cvlab train` writes first."
            )
        if run.repetitions.is_file():
            raise RunFolderError(
                f"{path}: holds several runs (cvlab train --seeds or --folds); name one of them, as `ls {path}` shows."
            )
        run._check_links()
        return run

    def _check_links(self) -> None:
        """Refuses links that would make a command write outside of the folder.

        Files that are replaced as a whole may be links, since it is the link that is replaced.
        """
        folders = [Path(above, name) for above, names, _ in os.walk(self.path) for name in names]
        for path in (*folders, self.log, self.lock):
            if path.is_symlink() and not path.resolve().is_relative_to(self.path):
                raise RunFolderError(
                    f"{path}: is a link that leads out of the run folder, where files would be overwritten. Put a "
                    "folder or file in its place."
                )

    @property
    def to_resume(self) -> Path:
        """What `cvlab train --resume` is to be given: this folder, or the one that it is a part of."""
        return self.path.parent if RunFolder(self.path.parent).repetitions.is_file() else self.path

    config = _File("config.yaml")
    environment = _File("environment.json")
    samples = _File("samples.csv")
    earlier_samples = _File("earlier_samples.csv")
    data = _File("data.json")
    history = _File("metrics.jsonl")
    model = _File("model.json")
    metrics = _File("metrics.json")
    operating_point = _File("operating_point.json")
    status = _File("status.json")
    log = _File("log.txt")
    lock = _File(".lock")
    report = _File("report.md")
    report_page = _File("report.html")
    plots = _File("plots")
    pictures = _File("samples")
    heat_maps = _File("samples", "heat_maps.json")
    uncertain_masks = _File("samples", "uncertain_masks.png")
    repetitions = _File("repetitions.json")
    summary = _File("summary.json")
    out_of_fold = _File("out_of_fold.csv")
    uncertainty_metrics = _File("uncertainty", "metrics.json")
    last = _File("checkpoints", "last.keras")
    best = _File("checkpoints", "best.keras")
    initial = _File("checkpoints", "initial.keras")

    def stage_best(self, stage: str) -> Path:
        """The best checkpoint of one stage."""
        return self.path / "checkpoints" / f"{self._name(stage)}.best.keras"

    def predictions(self, split: str, *, moment: str | None = None) -> Path:
        """The predictions table of a split; `moment` is `<stage>-before` or `<stage>-after`."""
        folder = self.path / "predictions"
        return (folder / self._name(moment) if moment else folder) / f"{self._name(split)}.csv"

    def uncertainty(self, split: str) -> Path:
        """The table of uncertainties of a split; uncertainty maps of masks lie in the folder of the same name."""
        return self.path / "uncertainty" / f"{self._name(split)}.csv"

    def figure(self, stem: str) -> Path:
        """The picture of a figure, by its name without ending."""
        return self.plots / f"{self._name(stem)}.png"

    def _name(self, name: str) -> str:
        """Returns the name of a file or folder, which may come from a damaged file, if it stays in its folder."""
        if name != os.path.basename(name) or name.startswith(".") or "\0" in name:
            raise RunFolderError(f"{self.path}: is damaged: '{printable(name)}' is no name of a file in it.")
        return name
