"""What a file holds, as a hash of its bytes; files that did not change are not read a second time."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cvlab.bounded_file import parse_json, read_bounded
from cvlab.console import Console
from cvlab.errors import DataError, counted, listing
from cvlab.run_folder import write_json

# A file written twice within the clock's granularity (2 s on FAT) looks unchanged, so young files are not remembered.
SETTLED_NANOSECONDS = 3_000_000_000

MAX_INDEX_BYTES = 5_000_000_000
_HASH = re.compile("[0-9a-f]{64}")

Signature = list[int]


@dataclass(frozen=True)
class _Hashed:
    """The outcome for one file: its hash, or why it could not be read."""

    sha256: str = ""
    problem: str = ""
    signature: Signature | None = None  # None: do not remember


def content_hashes(paths: Sequence[Path], *, cache_dir: Path, console: Console) -> list[str]:
    """Returns the SHA-256 (hexadecimal) of each file's bytes, in the order of `paths`.

    Hashes are remembered under `cache_dir/hashes` by path, size, modification and change time and inode.

    Raises:
        DataError: Files are missing or cannot be read; all of them are named.
    """
    names = [os.path.abspath(path) for path in paths]
    index = _index_path(names, cache_dir)
    remembered = _load_index(index)
    hashes: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if known := _known_hash(name, remembered.get(name)):
            hashes[name] = known
    unknown = [name for name in dict.fromkeys(names) if name not in hashes]
    fresh = _hash_all(unknown, console)
    if problems := [f"{name}: {hashed.problem}" for name, hashed in fresh.items() if hashed.problem]:
        raise DataError(
            f"{counted(len(problems), 'file')} of {len(set(names)):,} cannot be read:\n{listing(problems)}\n"
            "Check the paths and the permissions of these files."
        )
    hashes.update((name, hashed.sha256) for name, hashed in fresh.items())
    additions = {name: [*h.signature, h.sha256] for name, h in fresh.items() if h.signature is not None}
    _save_index(index, remembered | additions, changed=bool(additions), console=console)
    return [hashes[name] for name in names]


def remembered_hashes(paths: Sequence[Path], *, cache_dir: Path) -> list[str] | None:
    """Returns what `content_hashes` would, if it need read no file for it; else None."""
    names = [os.path.abspath(path) for path in paths]
    remembered = _load_index(_index_path(names, cache_dir))
    hashes = {name: _known_hash(name, remembered.get(name)) for name in names}
    known = [found for name in names if (found := hashes[name]) is not None]
    return known if len(known) == len(names) else None


def worker_count() -> int:
    """Returns how many threads to read and decode with: the CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _hash_all(names: Sequence[str], console: Console) -> dict[str, _Hashed]:
    if not names:
        return {}
    hashed: dict[str, _Hashed] = {}
    with (
        ThreadPoolExecutor(worker_count()) as pool,
        console.track("Reading files", total=len(names)) as advance,
    ):
        for name, result in zip(names, pool.map(_hash_file, names), strict=True):
            hashed[name] = result
            advance(1)
    return hashed


def _hash_file(name: str) -> _Hashed:
    try:
        # Asked before opening: opening a named pipe waits for ever.
        if not stat.S_ISREG(os.stat(name).st_mode):
            return _Hashed(problem="is not a regular file")
        with open(name, "rb") as file:
            before = _signature(os.fstat(file.fileno()))
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            after = _signature(os.fstat(file.fileno()))
    except (OSError, ValueError) as error:
        return _Hashed(problem=getattr(error, "strerror", None) or str(error))
    settled = before == after and time.time_ns() - max(after[1], after[2]) > SETTLED_NANOSECONDS
    return _Hashed(sha256=sha256, signature=after if settled else None)


def _signature(status: os.stat_result) -> Signature:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _known_hash(name: str, entry: object) -> str | None:
    """Returns the remembered hash if the file still looks as it did then."""
    if not isinstance(entry, list) or len(entry) != 5 or not isinstance(entry[4], str) or not _HASH.fullmatch(entry[4]):
        return None
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    # Readability is asked too: a remembered file may have lost its permission since.
    same = entry[:4] == _signature(status) and os.access(name, os.R_OK)
    return entry[4] if same else None


def _index_path(names: Sequence[str], cache_dir: Path) -> Path:
    """One index for each common folder, so that it stays as small as its data set."""
    folder = os.path.commonpath([os.path.dirname(name) for name in names]) if names else ""
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()
    return cache_dir / "hashes" / f"{digest[:32]}.json"


def _load_index(index: Path) -> dict[str, object]:
    # Only a memory: one that is missing or damaged means reading the files again, nothing worse.
    try:
        content = parse_json(read_bounded(index, MAX_INDEX_BYTES))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _save_index(index: Path, entries: dict[str, object], *, changed: bool, console: Console) -> None:
    if not changed:
        return
    try:
        write_json(index, entries)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        console.warn(f"{index}: cannot be written ({reason}); the files are read again next time.")
