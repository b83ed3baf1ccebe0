"""A run whose process is gone without a word: said by the next command, with what speaks for a lack of memory."""

from __future__ import annotations

import fcntl
from pathlib import Path

from cvlab import memory
from cvlab.errors import RunFolderError
from cvlab.run_folder import Json, RunFolder, read_json


def told_if_killed(run: RunFolder, *, system: Path = memory.SYSTEM) -> str:
    """Returns what is known of the end of a run whose process was killed or crashed; empty where none was.

    Args:
        run: The run; this process holds it (`resume.locked`), or nobody does (`is_in_use`).
        system: The folder that holds `proc` and `sys`.
    """
    status = _status(run)
    if status.get("status") != "running":
        return ""
    reached = "before its first save"
    if status.get("stage"):
        reached = (
            f"after epoch {status.get('epoch', 0)}, step {status.get('step', 0)} of stage '{status['stage']}' was saved"
        )
    return f"This run did not end by itself: its process was killed, or crashed, {reached}. {_why(status, system)}"


def _status(run: RunFolder) -> Json:
    """What the run said of itself last; a damaged file says nothing, and hinders nobody."""
    try:
        status: Json = read_json(run.status)
    except RunFolderError:
        return {}
    return status


def _why(status: Json, system: Path) -> str:
    recorded = status.get("memory") or {}
    found = memory.evidence(recorded, system)
    if found:
        return (
            f"Likely for lack of memory: {', and '.join(found)}. Give it more, or close other programs; a run goes on "
            "with its own batch size, and a smaller one needs a new run."
        )
    if memory.was_restarted(recorded, system):
        return "The machine has been started anew since."
    return "Nothing that was kept says why."


def is_in_use(run: RunFolder) -> bool:
    """Whether another process holds the run folder."""
    try:
        with run.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # There is no lock, or it cannot be read.
        return False
    return False
