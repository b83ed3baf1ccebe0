"""The folder of what is computed once: where it is, and building in it by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cvlab.console import Console
from cvlab.errors import DataError
from cvlab.run_folder import free_bytes


def default_cache_dir() -> Path:
    """Returns `$CVLAB_CACHE_DIR`, else `$XDG_CACHE_HOME/cvlab`, else `~/.cache/cvlab`."""
    if own := os.environ.get("CVLAB_CACHE_DIR"):
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is invalid and is to be ignored.
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".cache") / "cvlab"


@contextmanager
def building_in(place: Path, what: str, *, needed: int, console: Console) -> Iterator[None]:
    """Holds the lock of one cache while it is built; the system releases it even when the process is killed.

    Args:
        place: The folder or file that is built.
        what: What it holds, in words, in the plural.
        needed: How many bytes it will take.
        console: Where it says that it waits for another process.

    Raises:
        DataError: The disk cannot be written to.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.with_name(f"{place.name}.lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                console.say(f"Another process is making {what}; waiting for it.")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise DataError(_cannot_write(place, what, error.strerror or str(error), needed)) from error


def check_space(place: Path, what: str, *, needed: int) -> None:
    """Raises DataError where the disk has not `needed` bytes left."""
    if needed > free_bytes(place.parent):
        raise DataError(_cannot_write(place, what, "the disk is too full", needed))


def _cannot_write(place: Path, what: str, reason: str, needed: int) -> str:
    free = free_bytes(place.parent)
    return (
        f"{place.parent}: {what} cannot be written ({reason}). They need {_megabytes(needed)}; {_megabytes(free)} are "
        "free there. Make room, or choose another folder with `data.cache_dir=...`."
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
